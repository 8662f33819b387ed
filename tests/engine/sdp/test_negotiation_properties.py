"""What holds for every offer: answers match it line by line, never take what was not offered, and never fail in another way than they say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sdp.codecs import G722, G729, OPUS, PCMA, PCMU, CodecCapability, key_of
from engine.sdp.description import parse
from engine.sdp.direction import DIRECTIONS, receives, seen_from_the_other_end, sends
from engine.sdp.errors import NegotiationError
from engine.sdp.offer_answer import Negotiation, State
from engine.sdp.terms import Terms

from . import vendors
from .descriptions import HOST, KEY, Ports, negotiation, offer, read

FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
ILBC = CodecCapability(name="iLBC", clock_rate_hz=8000, ptime_ms=30, frame_ms=30)
CODECS = (OPUS, G722, PCMU, PCMA, G729, ILBC)
MAPPINGS = (
    "opus/48000/2", "PCMU/8000", "pcma/8000", "G722/8000", "G722/16000", "iLBC/8000", "telephone-event/8000", "telephone-event/48000",
    "CN/8000", "AMR-WB/16000", "VP8/90000", "G729A/8000", "L16/44100/2", "x/1", "bad", "PCMU/0",
)  # fmt: skip
ATTRIBUTES = (
    *(f"a={direction}" for direction in DIRECTIONS), "a=rtcp-mux", "a=rtcp:5", "a=ptime:30", "a=maxptime:10", "a=label:1", "a=mid:a",
    "a=mid:b", "a=setup:actpass", f"a=fingerprint:{FINGERPRINT}", f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
    "a=crypto:2 X inline:y", "a=ice-ufrag:abcd", "a=ice-pwd:" + "p" * 22, "a=candidate:1 1 UDP 5 198.51.100.7 5000 typ host",
    "c=IN IP4 0.0.0.0", "c=IN IP6 2001:db8::9", "c=IN IP4 233.252.0.1/127", "b=AS:64", "a=unknown:x", "i=title",
)  # fmt: skip
PROTOS = ("RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF", "TCP/RTP/AVP", "udptl", "UDP/DTLS/SCTP", "x")


@st.composite
def media_lines(draw: st.DrawFn) -> list[str]:
    kind = draw(st.sampled_from(("audio", "audio", "audio", "video", "image", "application", "AUDIO", "other")))
    proto = draw(st.sampled_from(("RTP/AVP", *PROTOS)))
    numbers = draw(st.lists(st.sampled_from((0, 3, 8, 9, 13, 18, 19, 35, 72, 96, 97, 101, 107, 127)), min_size=1, max_size=8))
    port = draw(st.sampled_from((0, 9, 5000, 65535)))
    mapped = [f"a=rtpmap:{number} {draw(st.sampled_from(MAPPINGS))}" for number in numbers if draw(st.booleans())]
    return [f"m={kind} {port} {proto} {' '.join(map(str, numbers))}", *mapped, *draw(st.lists(st.sampled_from(ATTRIBUTES), max_size=8))]


session_lines = st.lists(st.sampled_from((*ATTRIBUTES[:4], "a=group:BUNDLE a b", "a=ice-lite", *ATTRIBUTES[15:17])), max_size=3)
bodies = st.builds(
    lambda media, session: offer(*(line for section in media for line in section), session=tuple(session)),
    st.lists(media_lines(), max_size=5),
    session_lines,
)
all_terms = st.builds(
    Terms,
    host=st.just(HOST),
    codecs=st.lists(st.sampled_from(CODECS), min_size=1, max_size=6, unique=True).map(tuple),
    order=st.sampled_from(("theirs", "ours")),
    answered_codecs=st.integers(1, 3),
    telephone_event=st.booleans(),
    comfort_noise=st.booleans(),
    direction=st.sampled_from(DIRECTIONS),
    streams_max=st.integers(1, 3),
    streams=st.integers(1, 3),
    rtcp_mux=st.booleans(),
    rtcp_mux_offered=st.booleans(),
    srtp=st.sampled_from(("off", "optional", "required")),
    best_effort=st.booleans(),
    fingerprint=st.just(FINGERPRINT),
    keying=st.sampled_from(("sdes", "dtls")),
    ice=st.sampled_from(("off", "lite")),
    bundle=st.booleans(),
    accepts_mki=st.booleans(),
)


def must_fit(offered: bytes, answer: bytes, ours: Negotiation) -> None:
    """What RFC 3264 6 asks of an answer."""
    theirs, made = parse(offered), read(answer)
    assert theirs is not None
    assert len(made.media) == len(theirs.media) == len(ours.media)
    for before, after, media in zip(theirs.media, made.media, ours.media, strict=True):
        assert after.kind == before.kind
        assert after.proto.upper() == before.proto.upper()
        assert media.accepted == (after.port > 0)
        if not media.accepted:
            continue
        assert before.port > 0
        assert before.kind == "audio"
        meant = {codec.payload_type: key_of(codec) for codec in before.codecs}
        for codec in after.codecs:
            assert meant[codec.payload_type] == key_of(codec)
        assert any(one.is_speech for one in media.send)
        numbers = {codec.payload_type for codec in after.codecs}
        assert {one.payload_type for one in media.send} == {one.payload_type for one in media.receive} == numbers
        assert not sends(media.direction) or receives(media.by_them)
        assert not receives(media.direction) or before.direction in ("sendrecv", "sendonly")
        assert after.direction == media.direction
        assert 10 <= media.ptime_ms <= 120
        assert ("rtcp-mux" not in after.traits) or "rtcp-mux" in before.traits
        assert media.send_crypto is None or media.receive_crypto is not None
        assert (media.send_crypto is not None or media.dtls is not None) or "SAVP" not in before.proto.upper()


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(body=bodies, wanted=all_terms, seed=st.integers(0, 2**32))
def test_an_answer_fits_its_offer(body: bytes, wanted: Terms, seed: int) -> None:
    ours = Negotiation(wanted, Ports((4, 6)), random=Random(seed).randbytes)
    try:
        answer = ours.remote_offer(body)
    except NegotiationError as error:
        assert error.status in (400, 488)
        assert (ours.state, ours.media) == (State.NONE, ())
        return
    must_fit(body, answer, ours)
    assert ours.remote_offer(body) == answer


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(first=bodies, second=bodies, wanted=all_terms)
def test_a_second_offer_never_loses_a_line(first: bytes, second: bytes, wanted: Terms) -> None:
    ours = Negotiation(wanted, Ports((4, 6)), random=Random(1).randbytes)
    for body in (first, second):
        before = ours.media
        try:
            must_fit(body, ours.remote_offer(body), ours)
        except NegotiationError:
            assert ours.media == before
        assert len(ours.media) >= len(before)
        again = read(ours.local_offer())
        assert len(again.media) >= len(ours.media)
        ours.rollback()


STEPS = ("offer", "hold", "mute", "resume", "refresh", "more", "fewer", "refused")


def agree(one: Negotiation, other: Negotiation) -> None:
    """Two ends of one call say the same of it."""
    assert len(one.media) == len(other.media)
    for here, there in zip(one.media, other.media, strict=True):
        assert here.accepted == there.accepted
        if not here.accepted:
            continue
        assert here.direction == seen_from_the_other_end(there.direction)
        assert here.send == there.receive
        assert here.receive == there.send
        assert (here.send_crypto, here.receive_crypto) == (there.receive_crypto, there.send_crypto)
        assert here.rtcp_mux == there.rtcp_mux
        assert (here.local_ice is None, here.remote_ice is None) == (there.remote_ice is None, there.local_ice is None)
        assert here.local is not None
        assert (here.local.host, here.local.port) == (there.remote_host, there.remote_port)
        assert (here.dtls is None) == (there.dtls is None)
        assert here.dtls is None or there.dtls is None or {here.dtls.role, there.dtls.role} == {"active", "passive"}


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    one_terms=all_terms,
    other_terms=all_terms,
    steps=st.lists(st.tuples(st.booleans(), st.sampled_from(STEPS)), min_size=1, max_size=6),
)
def test_two_ends_always_agree(one_terms: Terms, other_terms: Terms, steps: list[tuple[bool, str]]) -> None:
    one = Negotiation(one_terms, Ports(), random=Random(1).randbytes)
    other = Negotiation(other_terms, Ports(), random=Random(2).randbytes)
    for swapped, step in steps:
        offers, answers = (other, one) if swapped else (one, other)
        if step == "refresh" and offers.state is State.NONE:
            continue
        steps_of: dict[str, Callable[[], bytes]] = {
            "offer": offers.local_offer, "refused": offers.local_offer, "hold": offers.hold, "mute": partial(offers.hold, send=False),
            "resume": offers.resume, "refresh": offers.refresh, "more": partial(offers.local_offer, streams=3),
            "fewer": partial(offers.local_offer, streams=1),
        }  # fmt: skip
        made = steps_of[step]()
        read(made)
        try:
            answer = answers.remote_offer(made) if step != "refused" else None
        except NegotiationError as error:
            assert error.status == 488
            answer = None
        if answer is None:
            offers.rollback()
        else:
            offers.remote_answer(answer)
        agree(one, other)


INSERTED = (b" ", b"\r\n", b"\n", b":", b"/", b"=", b"99999999999", b"\x00", b"m=audio 1 RTP/AVP 0\r\n", b"a=")


def mutated(body: bytes, random: Random) -> bytes:
    """A description with some of its bytes, words and lines changed, lost or doubled."""
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(body)) if body else 0
        what = random.randrange(6)
        if what == 0:
            body = body[:at] + bytes([random.randrange(256)]) + body[at + 1 :]
        elif what == 1:
            body = body[:at] + body[at + random.randint(1, 40) :]
        elif what == 2:
            body = body[:at] + random.choice(INSERTED) + body[at:]
        else:
            rows = body.split(b"\r\n")
            row = random.randrange(len(rows))
            if what == 3:
                rows.insert(random.randrange(len(rows)), rows[row])
            elif what == 4:
                rows.pop(row)
            else:
                other = random.randrange(len(rows))
                rows[row], rows[other] = rows[other], rows[row]
            body = b"\r\n".join(rows)
    return body


@pytest.mark.parametrize("name", list(vendors.ALL))
def test_broken_offers_are_answered_or_refused(name: str) -> None:
    random = Random(name)
    answered = 0
    for seed in range(250):
        body = mutated(vendors.ALL[name], random)
        ours = negotiation(
            seed=seed, ports=Ports((4, 6)), codecs=CODECS, srtp="optional", best_effort=True, fingerprint=FINGERPRINT, ice="lite", bundle=True,
            streams_max=2, comfort_noise=True,
        )  # fmt: skip
        try:
            must_fit(body, ours.remote_offer(body), ours)
            answered += 1
        except NegotiationError as error:
            assert error.status in (400, 488)
        waiting = negotiation(seed=seed, codecs=CODECS, srtp="optional", best_effort=True, ice="lite")
        waiting.local_offer()
        try:
            waiting.remote_answer(body)
        except NegotiationError as error:
            assert error.status in (400, 488)
    assert answered > 25 or name == "T.38"


@pytest.mark.parametrize(
    "unit",
    [
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY, "a=candidate:1 1 UDP 1 h 1 typ host", "a=rtpmap:0 PCMU/8000", "a=fmtp:0 " + "a;" * 20,
        "a=" + "x" * 60, "m=video 1 RTP/AVP 0",
    ],
)  # fmt: skip
def test_long_offers_take_no_longer_than_their_length(unit: str) -> None:
    def spent_s(count: int) -> float:
        body = offer("m=audio 5000 RTP/SAVP 0", *[unit] * count)
        best = 1.0
        for _ in range(5):
            begin = perf_counter()
            for _ in range(4):
                try:
                    negotiation(srtp="optional", ice="lite").remote_offer(body)
                except NegotiationError:
                    continue
            best = min(best, perf_counter() - begin)
        return best

    count = 60_000 // (len(unit) + 2)
    assert spent_s(count) < 8 * spent_s(count // 4) + 0.01
    with pytest.raises(NegotiationError, match="longer"):
        negotiation().remote_offer(offer(*[unit] * (70_000 // (len(unit) + 2) + 1)))


@pytest.mark.parametrize("blank", [" ", "\t"])
def test_long_lines_take_no_longer_than_their_length(blank: str) -> None:
    for line in (
        "m=audio" + blank * 60_000, "m=audio 1 RTP/AVP" + (blank + "1" * 64) * 900 + "\x01", "m=audio 1 RTP/AVP 0" + blank * 60_000 + "\x01",
        "a=fmtp:0 " + "0-1," * 15_000, "a=rtcp:1" + blank * 60_000 + "x", "a=crypto:1" + blank * 60_000 + "x",
    ):  # fmt: skip
        begin = perf_counter()
        with suppress(NegotiationError):
            negotiation().remote_offer(offer("m=audio 1 RTP/AVP 0", line))
        assert perf_counter() - begin < 0.5
