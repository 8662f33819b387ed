"""Offers and answers: the examples of RFC 3264 10 and RFC 4317, versions, lines that come and go, refusals, forks."""

from __future__ import annotations

from random import Random

import pytest

from engine.sdp.codecs import G729, PCMA, PCMU, CodecCapability
from engine.sdp.errors import NegotiationError
from engine.sdp.offer_answer import Negotiation, State
from engine.sdp.terms import Transport

from .descriptions import Ports, lines, negotiation, offer, read, terms

G723 = CodecCapability(name="G723", clock_rate_hz=8000, payload_type=4, ptime_ms=30, frame_ms=30)
ILBC = CodecCapability(name="iLBC", clock_rate_hz=8000, ptime_ms=30, frame_ms=30)
AUDIO = "m=audio 49170 RTP/AVP 0 8"


def payload_types(body: bytes) -> list[list[int]]:
    return [[codec.payload_type for codec in line.codecs] for line in read(body).media]


def ports(body: bytes) -> list[int]:
    return [line.port for line in read(body).media]


def version(body: bytes) -> int | None:
    return read(body).version


def established(*media: str, **more: object) -> Negotiation:
    found = negotiation(**more)  # type: ignore[arg-type]
    found.remote_offer(offer(*(media or (AUDIO,))))
    return found


# ---- the examples ----


def test_basic_exchange() -> None:
    """RFC 3264 10.1: audio is taken, both videos stay in their places with port 0; the second offer adds a line of events only."""
    ours = negotiation(streams_max=2)
    first = ours.remote_offer(offer(
        "m=audio 49170 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", "m=video 51372 RTP/AVP 31", "a=rtpmap:31 H261/90000", "m=video 53000 RTP/AVP 32",
        "a=rtpmap:32 MPV/90000",
    ))  # fmt: skip
    assert lines(first, "m=") == ["m=audio 20000 RTP/AVP 0", "m=video 0 RTP/AVP 31", "m=video 0 RTP/AVP 32"]
    assert [one.accepted for one in ours.media] == [True, False, False]
    second = ours.remote_offer(offer(
        "m=audio 65422 RTP/AVP 0", "m=video 0 RTP/AVP 31", "m=video 53000 RTP/AVP 32", "m=audio 51434 RTP/AVP 110",
        "a=rtpmap:110 telephone-event/8000", "a=recvonly", version=2,
    ))  # fmt: skip
    assert ports(second) == [20000, 0, 0, 0]
    assert ours.media[0].remote_port == 65422
    assert (version(first), version(second)) == (1, 2)


def test_one_of_n_codecs() -> None:
    """RFC 3264 10.2: the answer names two of three; a second offer by us settles on one of them."""
    theirs = offer("m=audio 62986 RTP/AVP 0 4 18", "a=rtpmap:0 PCMU/8000", "a=rtpmap:4 G723/8000", "a=rtpmap:18 G729/8000", "a=inactive")
    ours = negotiation(codecs=(PCMU, G723), answered_codecs=2)
    answer = ours.remote_offer(theirs)
    assert payload_types(answer) == [[0, 4]]
    assert lines(answer, "a=inactive")
    ours.terms = terms(codecs=(G723,))
    again = ours.local_offer()
    assert payload_types(again) == [[4, 101]]
    ours.remote_answer(offer("m=audio 62986 RTP/AVP 4", "a=rtpmap:4 G723/8000", version=2))
    codec = ours.media[0].codec
    assert codec is not None
    assert (codec.name, ours.media[0].direction, ours.media[0].ptime_ms) == ("G723", "sendrecv", 30)


def test_audio_is_narrowed_and_video_refused() -> None:
    """RFC 4317 2.1, 2.2: PCMU out of three codecs."""
    ours = negotiation(codecs=(PCMU,))
    answer = ours.remote_offer(offer(
        "m=audio 49170 RTP/AVP 0 8 97", "a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000", "a=rtpmap:97 iLBC/8000", "m=video 51372 RTP/AVP 31 32",
        "a=rtpmap:31 H261/90000", "a=rtpmap:32 MPV/90000",
    ))  # fmt: skip
    assert lines(answer, "m=") == ["m=audio 20000 RTP/AVP 0", "m=video 0 RTP/AVP 31"]


def test_a_dynamic_number_is_the_offerers() -> None:
    """RFC 4317 2.4: iLBC as 97, and only that."""
    ours = negotiation(codecs=(ILBC,))
    answer = ours.remote_offer(offer("m=audio 49170 RTP/AVP 0 8 97", "a=rtpmap:97 iLBC/8000"))
    assert payload_types(answer) == [[97]]
    assert lines(answer, "a=fmtp") == ["a=fmtp:97 mode=30"]
    assert ours.media[0].ptime_ms == 30


def test_hold_and_resume_of_theirs() -> None:
    """RFC 4317 3.1: sendonly is answered recvonly, and the stream comes back."""
    ours = established()
    held = ours.remote_offer(offer(AUDIO, "a=sendonly", version=2))
    assert lines(held, "a=recvonly")
    assert (ours.media[0].held_by_them, ours.media[0].sends, ours.media[0].receives) == (True, False, True)
    resumed = ours.remote_offer(offer(AUDIO, version=3))
    assert lines(resumed, "a=sendrecv")
    assert not ours.media[0].held_by_them
    assert [version(held), version(resumed)] == [2, 3]


def test_a_second_stream_is_added_and_taken_away() -> None:
    """RFC 4317 4.1: lines go to the end; RFC 3264 8.1, 8.2: a place that is free is taken again, and none is ever lost."""
    theirs = negotiation(seed=2, streams_max=2)
    ours = negotiation()
    ours.remote_answer(theirs.remote_offer(ours.local_offer()))
    two = ours.local_offer(streams=2)
    assert len(ports(two)) == 2
    ours.remote_answer(theirs.remote_offer(two))
    assert [one.accepted for one in ours.media] == [one.accepted for one in theirs.media] == [True, True]
    one = ours.local_offer(streams=1)
    assert [port > 0 for port in ports(one)] == [True, False]
    ours.remote_answer(theirs.remote_offer(one))
    assert [each.accepted for each in ours.media] == [each.accepted for each in theirs.media] == [True, False]
    again = ours.local_offer(streams=2)
    assert len(ports(again)) == 2
    assert all(ports(again))
    theirs.remote_offer(again)
    assert [each.accepted for each in theirs.media] == [True, True]


# ---- states ----


def test_an_offer_of_ours_and_its_answer() -> None:
    ours, theirs = negotiation(codecs=(PCMA, PCMU)), negotiation(seed=2, codecs=(PCMU, PCMA, G729), order="ours")
    assert (ours.state, ours.can_offer, ours.media) == (State.NONE, True, ())
    body = ours.local_offer()
    assert (ours.state, ours.can_offer) == (State.LOCAL_OFFER, False)
    assert ours.proposed[0].receives
    assert [one.payload_type for one in ours.proposed[0].receive] == [8, 0, 101]
    ours.remote_answer(theirs.remote_offer(body))
    assert (ours.state, theirs.state, ours.proposed) == (State.STABLE, State.STABLE, ())
    codec = ours.media[0].codec
    assert codec is not None
    assert codec.name == "PCMU"
    assert ours.media[0].send == ours.media[0].receive == theirs.media[0].send
    assert (ours.media[0].remote_host, ours.media[0].remote_port, ours.media[0].remote_rtcp_port) == ("192.0.2.1", 20000, 20001)


def test_only_one_offer_at_a_time() -> None:
    ours = negotiation()
    ours.local_offer()
    for offers in (ours.local_offer, ours.hold, ours.resume, ours.refresh, lambda: ours.remote_offer(offer(AUDIO))):
        with pytest.raises(NegotiationError, match="under way") as caught:
            offers()
        assert caught.value.status == 491
    assert not ours.is_held_by_us
    with pytest.raises(NegotiationError):
        negotiation().remote_answer(offer(AUDIO))
    with pytest.raises(NegotiationError):
        negotiation().refresh()
    with pytest.raises(NegotiationError):
        negotiation().answer()


def test_an_offer_may_be_looked_at_before_it_is_answered() -> None:
    ours = negotiation()
    would = ours.receive_offer(offer(AUDIO, "a=sendonly"))
    assert (ours.state, would[0].direction, ours.media) == (State.REMOTE_OFFER, "recvonly", ())
    ours.rollback()
    assert (ours.state, ours.proposed) == (State.NONE, ())
    ours.receive_offer(offer(AUDIO))
    assert ports(ours.answer()) == [20000]
    assert ours.media[0].direction == "sendrecv"


def test_a_refused_offer_changes_nothing() -> None:
    """RFC 3264 4, RFC 3261 14.1."""
    ours = established()
    before = ours.media
    refused = ours.hold()
    assert ours.is_held_by_us
    ours.rollback()
    assert (ours.media, ours.state, ours.is_held_by_us) == (before, State.STABLE, False)
    ours.rollback()
    assert ours.state is State.STABLE
    again = ours.hold()
    assert (version(refused), version(again)) == (2, 2)  # the same words need no new number
    ours.rollback()
    other = ours.hold(send=False)
    assert version(other) == 3


def test_an_answer_that_cannot_be_used_leaves_the_offer_open() -> None:
    ours = negotiation()
    ours.local_offer()
    for wrong, status in (
        (b"hello", 400), (offer(), 400), (offer(AUDIO, AUDIO), 400), (offer("m=video 9 RTP/AVP 31"), 400),
        (offer("m=audio 9 RTP/AVP 3"), 488), (offer("m=audio 9 RTP/SAVP 0"), 488),
        (offer("m=audio 9 RTP/AVP 101", "a=rtpmap:101 telephone-event/8000"), 488),
    ):  # fmt: skip
        with pytest.raises(NegotiationError) as caught:
            ours.remote_answer(wrong)
        assert caught.value.status == status, wrong
        assert ours.state is State.LOCAL_OFFER
    ours.remote_answer(offer(AUDIO))
    assert ours.media[0].accepted


def test_an_answer_may_refuse_every_line() -> None:
    ours = negotiation()
    ours.local_offer()
    ours.remote_answer(offer("m=audio 0 RTP/AVP 0"))
    assert (ours.state, ours.media[0].accepted, ours.media[0].reason) == (State.STABLE, False, "refused by them")
    assert ports(ours.local_offer()) == [20002]  # and the line is offered again, with ports of its own


def test_forks_have_their_own_answers() -> None:
    """RFC 3261 13.1: each early dialog, and what the offer itself is still waiting for."""
    ours = negotiation(codecs=(PCMU, PCMA))
    offered = ours.local_offer()
    one, two = ours.fork(), ours.fork()
    one.remote_answer(offer("m=audio 30000 RTP/AVP 0", session_id="1"))
    two.remote_answer(offer("m=audio 40000 RTP/AVP 8", session_id="2"))
    assert [(fork.media[0].remote_port, fork.media[0].send[0].name) for fork in (one, two)] == [(30000, "PCMU"), (40000, "PCMA")]
    assert (ours.state, ours.media) == (State.LOCAL_OFFER, ())
    assert one.media[0].local == two.media[0].local
    ours.remote_answer(offer("m=audio 50000 RTP/AVP 0", session_id="3"))
    assert version(one.hold()) == version(two.hold()) == 2
    one.rollback()
    assert ports(one.refresh()) == ports(offered)


def test_a_fork_that_loses_its_stream_takes_it_from_no_other() -> None:
    opener = Ports()
    ours = negotiation(ports=opener)
    ours.local_offer()
    one, two = ours.fork(), ours.fork()
    one.remote_answer(offer("m=audio 0 RTP/AVP 0"))
    two.remote_answer(offer(AUDIO))
    assert ports(two.hold()) == [20000]
    assert len(opener.opened) == 1


def test_a_malformed_answer_is_none_even_where_a_part_of_it_would_do() -> None:
    ours = negotiation(streams=2)
    ours.local_offer()
    with pytest.raises(NegotiationError) as caught:
        ours.remote_answer(offer(AUDIO, "m=video 9 RTP/AVP 31"))
    assert (caught.value.status, ours.state) == (400, State.LOCAL_OFFER)
    ours.remote_answer(offer(AUDIO, "m=audio 9 RTP/AVP 3"))
    assert [one.accepted for one in ours.media] == [True, False]
    assert "GSM" in ours.media[1].reason


# ---- the o= line ----


def test_a_version_rises_only_with_the_content() -> None:
    """RFC 3264 8; RFC 4028 7.4."""
    ours = negotiation(srtp="required", ice="lite")
    secure = ("m=audio 49170 RTP/SAVP 0", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40, "a=ice-ufrag:abcd", "a=ice-pwd:" + "p" * 22,
              "a=candidate:1 1 UDP 1 198.51.100.7 49170 typ host")  # fmt: skip
    bodies = [ours.remote_offer(offer(*secure)), ours.remote_offer(offer(*secure, version=2)), ours.refresh()]
    assert len(set(bodies)) == 1
    ours.rollback()
    held = ours.remote_offer(offer(*secure, "a=sendonly", version=3))
    assert (version(held), read(held).same_origin(read(bodies[0]))) == (2, True)


def test_an_offer_that_says_the_same_has_the_same_version() -> None:
    ours, theirs = negotiation(codecs=(PCMU,)), negotiation(seed=2)
    first = ours.local_offer()
    ours.remote_answer(theirs.remote_offer(first))
    assert ours.local_offer() == first


# ---- lines ----


def test_lines_may_not_become_fewer() -> None:
    """RFC 3264 8."""
    ours = established(AUDIO, "m=video 51372 RTP/AVP 31")
    before = ours.media
    with pytest.raises(NegotiationError, match="2 media lines have become 1") as caught:
        ours.remote_offer(offer(AUDIO, version=2))
    assert (caught.value.status, ours.media) == (488, before)
    answer = ours.remote_offer(offer(AUDIO, session_id="78"))  # put through to another end
    assert len(ports(answer)) == 1


def test_a_line_that_ended_is_used_again_by_them() -> None:
    """RFC 3264 8.1: by another kind of media too; its numbers then mean something new."""
    opener = Ports()
    ours = negotiation(ports=opener, codecs=(PCMU, ILBC), streams_max=1)
    ours.remote_offer(offer("m=audio 49170 RTP/AVP 97", "a=rtpmap:97 iLBC/8000"))
    assert ports(ours.remote_offer(offer("m=audio 0 RTP/AVP 97", version=2))) == [0]
    ours.remote_offer(offer("m=image 0 udptl t38", version=3))
    assert lines(ours.remote_offer(offer(AUDIO, version=4)), "m=") == ["m=audio 20002 RTP/AVP 0"]
    assert opener.opened == [(0, 4), (0, 4)]


def test_an_offer_without_lines_is_answered_without_lines() -> None:
    """RFC 3264 5: streams come later."""
    ours = negotiation()
    assert ports(ours.remote_offer(offer())) == []
    assert ports(ours.remote_offer(offer(AUDIO, version=2))) == [20000]


def test_a_line_that_stands_goes_before_a_new_one() -> None:
    ours = established("m=audio 0 RTP/AVP 0", AUDIO)
    assert [port > 0 for port in ports(ours.remote_offer(offer("m=audio 5000 RTP/AVP 0", AUDIO, version=2)))] == [False, True]
    assert [port > 0 for port in ports(ours.remote_offer(offer("m=audio 5000 RTP/AVP 0", "m=audio 0 RTP/AVP 0", version=3)))] == [True, False]


def test_a_stream_that_cannot_go_on_makes_room() -> None:
    ours = established()
    answer = ours.remote_offer(offer("m=audio 49170 RTP/AVP 3", AUDIO, version=2))
    assert [port > 0 for port in ports(answer)] == [False, True]


def test_streams_on_several_addresses_have_their_own_c_lines() -> None:
    hosts = ("192.0.2.1", "192.0.2.2", "192.0.2.1")
    transports = [Transport(host=host, port=4000 + 2 * at, rtcp_port=4001 + 2 * at) for at, host in enumerate(hosts)]
    ours = Negotiation(terms(streams=3), lambda index, version: transports[index], random=Random(1).randbytes)
    body = ours.local_offer()
    assert [line.host for line in read(body).media] == list(hosts)
    assert len(lines(body, "c=")) == 2


@pytest.mark.parametrize(
    ("media", "status", "warning", "told"),
    [
        (("m=video 51372 RTP/AVP 31",), 488, 304, "video"),
        (("m=image 4000 udptl t38",), 488, 304, "image"),
        (("m=video 51372 RTP/AVP 31", "m=audio 4 RTP/AVP 3 96", "a=rtpmap:96 AMR/8000"), 488, 305, "GSM, AMR"),
        (("m=audio 5000 RTP/SAVP 0",), 488, 302, "encrypted"),
        (("m=audio 5000 UDP/TLS/RTP/SAVPF 0",), 488, 302, "encrypted"),
        (("m=audio 5000 TCP/RTP/AVP 0",), 488, 302, "TCP/RTP/AVP"),
        (("m=audio 5000 RTP/AVP 0", "c=IN IP4 233.252.0.1/127"), 488, 330, "multicast"),
        (("m=audio 5000 RTP/AVP 0", "c=IN IP6 2001:db8::7"), 488, 301, "IPv6"),
        (("m=audio 5000 RTP/AVP 13 101", "a=rtpmap:101 telephone-event/8000"), 488, 305, "codecs"),
        (("m=audio",), 400, 399, "m= line"),
        (("m=audio 65536 RTP/AVP 0",), 400, 399, "port"),
        (("m=audio 5000 RTP/AVP",), 400, 399, "m= line"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(media: tuple[str, ...], status: int, warning: int, told: str) -> None:
    """RFC 3261 20.43, 21.4.26; what stood before stands."""
    for ours in (negotiation(), established()):
        before = ours.media, ours.state
        with pytest.raises(NegotiationError, match=told) as caught:
            ours.remote_offer(offer(*media, session_id="9"))
        assert (caught.value.status, caught.value.warning) == (status, warning)
        assert (ours.media, ours.state) == before


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\r\n", b"hello", b"v=0\r\n", b"m=audio 9 RTP/AVP 0\r\n", b"x" * 70000, offer(*["m=video 9 RTP/AVP 31"] * 65),
        offer(AUDIO).replace(b"v=0", b"v=1"),
    ],
)  # fmt: skip
def test_what_is_no_description_is_refused(body: bytes) -> None:
    with pytest.raises(NegotiationError) as caught:
        negotiation().remote_offer(body)
    assert caught.value.status in (400, 488)


def test_a_line_without_an_address_is_malformed() -> None:
    body = offer(AUDIO).replace(b"c=IN IP4 198.51.100.7\r\n", b"")
    with pytest.raises(NegotiationError, match="c= line") as caught:
        negotiation().remote_offer(body)
    assert caught.value.status == 400


def test_ports_are_opened_for_what_is_taken_and_no_more() -> None:
    opener = Ports(limit=1)
    ours = negotiation(ports=opener, streams_max=3)
    answer = ours.remote_offer(offer("m=audio 1000 RTP/AVP 3", "m=video 1 RTP/AVP 31", AUDIO, AUDIO))
    assert [port > 0 for port in ports(answer)] == [False, False, True, False]
    assert (opener.opened, ours.media[3].reason) == ([(2, 4)], "no port is left for another stream")
    ours.remote_offer(offer("m=audio 0 RTP/AVP 3", "m=video 0 RTP/AVP 31", AUDIO, "m=audio 0 RTP/AVP 0", version=2))
    assert opener.opened == [(2, 4)]
    with pytest.raises(NegotiationError) as caught:
        negotiation(ports=Ports(limit=0)).local_offer()
    assert caught.value.status == 503


def test_the_other_address_family_has_its_own_ports() -> None:
    opener = Ports((4, 6))
    ours = negotiation(ports=opener)
    ours.remote_offer(offer(AUDIO))
    answer = ours.remote_offer(offer(AUDIO, host="2001:db8::7", version=2, session_id="8"))
    assert lines(answer, "c=") == ["c=IN IP6 2001:db8::1"]
    assert opener.opened == [(0, 4), (0, 6)]
    assert ours.media[0].remote_host == "2001:db8::7"
    named = ours.remote_offer(offer(AUDIO, "c=IN IP4 media.example.net", version=2, session_id="8"))
    assert lines(named, "c=") == ["c=IN IP6 2001:db8::1"]  # a name may be either, so nothing moves
    assert ours.media[0].remote_host == "media.example.net"


def test_a_negotiation_shows_no_keys() -> None:
    ours = negotiation(srtp="required")
    key = lines(ours.local_offer(), "a=crypto")[0].partition("inline:")[2]
    assert key not in f"{ours!r} {ours._proposal!r} {ours.proposed!r}"
    assert len(key) == 40
