"""Which formats are the same codec, with which numbers and parameters, and how long packets are."""

from __future__ import annotations

import pytest

from engine.sdp.codecs import (
    G722,
    G729,
    OPUS,
    PCMA,
    PCMU,
    CodecCapability,
    events_of,
    events_text,
    numbers_for,
    parameters_of,
)
from engine.sdp.errors import NegotiationError
from engine.sdp.negotiated import NegotiatedMedia

from .descriptions import lines, negotiation, offer, read

ILBC20 = CodecCapability(name="iLBC", clock_rate_hz=8000, fmtp="mode=20")
ILBC30 = CodecCapability(name="iLBC", clock_rate_hz=8000, ptime_ms=30, frame_ms=30)
G729B = CodecCapability(name="G729", clock_rate_hz=8000, payload_type=18)
AMR = CodecCapability(name="AMR", clock_rate_hz=8000, payload_type=110, fmtp="octet-align=1")
L16 = CodecCapability(name="L16", clock_rate_hz=16000)
G7221 = CodecCapability(name="G7221", clock_rate_hz=16000, fmtp="bitrate=24000")
ALL = (OPUS, G722, PCMU, PCMA, G729)


def answer(payloads: str, *attributes: str, **more: object) -> tuple[bytes, NegotiatedMedia]:
    ours = negotiation(**more)  # type: ignore[arg-type]
    body = ours.remote_offer(offer(f"m=audio 5000 RTP/AVP {payloads}", *attributes))
    read(body)
    return body, ours.media[0]


@pytest.mark.parametrize(
    ("payloads", "attributes", "codecs", "line"),
    [
        ("0 8", (), (PCMA,), "a=rtpmap:8 PCMA/8000"),
        ("96 0", ("a=rtpmap:96 OPUS/48000/2",), ALL, "a=rtpmap:96 opus/48000/2"),
        ("96 0", ("a=rtpmap:96 opus/48000",), ALL, "a=rtpmap:96 opus/48000/2"),
        ("9 0", ("a=rtpmap:9 G722/16000",), ALL, "a=rtpmap:9 G722/8000"),
        ("9 0", (), ALL, "a=rtpmap:9 G722/8000"),
        ("18", ("a=rtpmap:18 G729A/8000",), ALL, "a=rtpmap:18 G729/8000"),
        ("98", ("a=rtpmap:98 pcma/8000/1",), ALL, "a=rtpmap:98 PCMA/8000"),
        ("96 97", ("a=rtpmap:96 L16/16000/2", "a=rtpmap:97 L16/16000"), (L16,), "a=rtpmap:97 L16/16000"),
        ("96 97", ("a=rtpmap:96 L16/8000", "a=rtpmap:97 L16/16000"), (L16,), "a=rtpmap:97 L16/16000"),
        ("0 96", ("a=rtpmap:0 opus/48000/2", "a=rtpmap:96 PCMU/8000"), (OPUS, PCMU), "a=rtpmap:96 PCMU/8000"),
        ("35", ("a=rtpmap:35 PCMU/8000",), (PCMU,), "a=rtpmap:35 PCMU/8000"),
    ],
)
def test_the_same_codec_is_found(payloads: str, attributes: tuple[str, ...], codecs: tuple[CodecCapability, ...], line: str) -> None:
    body, media = answer(payloads, *attributes, codecs=codecs)
    assert lines(body, "a=rtpmap") == [line]
    assert media.codec is not None
    assert f"a=rtpmap:{media.codec.payload_type} " == line.partition(" ")[0] + " "


@pytest.mark.parametrize(("order", "name"), [("theirs", "PCMA"), ("ours", "opus")])
def test_the_order_is_theirs_or_ours(order: str, name: str) -> None:
    _, media = answer("8 9 0 96", "a=rtpmap:96 opus/48000/2", codecs=ALL, order=order)
    assert media.codec is not None
    assert media.codec.name == name


def test_several_codecs_are_kept_where_that_is_wanted() -> None:
    body, media = answer("18 8 9 0 101", "a=rtpmap:101 telephone-event/8000", codecs=ALL, answered_codecs=3)
    assert lines(body, "m=") == ["m=audio 20000 RTP/AVP 18 8 9 101"]
    assert [one.name for one in media.send] == ["G729", "PCMA", "G722", "telephone-event"]


@pytest.mark.parametrize(
    ("codec", "offered", "agreed"),
    [
        (G729, "", "annexb=no"), (G729, "annexb=yes", "annexb=no"), (G729B, "annexb=no", "annexb=no"), (G729B, "AnnexB = NO", "annexb=no"),
        (G729B, "", "annexb=yes"), (G729B, "annexb=yes", "annexb=yes"),
        (ILBC20, "mode=20", "mode=20"), (ILBC20, "mode=30", "mode=30"), (ILBC20, "", "mode=30"), (ILBC30, "mode=20", "mode=30"),
        (AMR, "octet-align=1", "octet-align=1"), (AMR, "octet-align=1;mode-set=0,7", "octet-align=1;mode-set=0,7"), (AMR, "", None),
        (AMR, "octet-align=1; crc=1", None), (AMR, "octet-align=1;mode-set=9", None), (AMR, "octet-align=1;mode-set=", None),
        (G7221, "bitrate=24000", "bitrate=24000"), (G7221, "bitrate=32000", None),
        (OPUS, "maxplaybackrate=16000;stereo=0", "useinbandfec=1"),
    ],
)  # fmt: skip
def test_parameters_that_both_ends_share(codec: CodecCapability, offered: str, agreed: str | None) -> None:
    """RFC 4856 2.1.9, 3952 5, 4867 8.3.1, 5577 4.1; all others are each end's own."""
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    attributes = (f"a=rtpmap:96 {codec.name}/{codec.clock_rate_hz}{channels}", *([f"a=fmtp:96 {offered}"] if offered else []))
    for _ in range(2):
        if agreed is None:
            with pytest.raises(NegotiationError):
                answer("96", *attributes, codecs=(codec,))
        else:
            body, media = answer("96", *attributes, codecs=(codec,))
            assert lines(body, "a=fmtp") == [f"a=fmtp:96 {agreed}"]
            assert media.receive[0].fmtp == agreed
            assert media.send[0].fmtp == (offered if codec is OPUS else agreed)


@pytest.mark.parametrize(
    ("codec", "attributes", "ptime_ms", "asked_ms"),
    [
        (PCMU, (), 20, 20), (PCMU, ("a=ptime:30",), 30, 30), (PCMU, ("a=ptime:10",), 10, 10), (PCMU, ("a=ptime:5",), 10, 10),
        (PCMU, ("a=ptime:65000",), 120, 120), (PCMU, ("a=ptime:60", "a=maxptime:40"), 40, 60), (PCMU, ("a=maxptime:10",), 10, 20),
        (PCMU, ("a=ptime:25",), 20, 20), (PCMU, ("a=ptime:0",), 20, 20), (PCMU, ("a=ptime:x",), 20, 20), (PCMU, ("a=ptime:20.5",), 20, 20),
        (ILBC30, ("a=ptime:20",), 30, 30), (ILBC30, ("a=ptime:70",), 60, 60), (ILBC20, ("a=fmtp:96 mode=20", "a=ptime:45"), 40, 40),
        (ILBC20, ("a=ptime:20",), 30, 30),
    ],
)  # fmt: skip
def test_packet_times_are_whole_frames(codec: CodecCapability, attributes: tuple[str, ...], ptime_ms: int, asked_ms: int) -> None:
    body, media = answer("96", f"a=rtpmap:96 {codec.name}/8000", *attributes, codecs=(codec,))
    assert (media.ptime_ms, media.receive_ptime_ms) == (ptime_ms, asked_ms)
    assert lines(body, "a=ptime") == [f"a=ptime:{asked_ms}"]


EVENTS = ("a=rtpmap:96 opus/48000/2", "a=rtpmap:101 telephone-event/8000", "a=rtpmap:110 telephone-event/48000", "a=fmtp:101 0-16", "a=fmtp:110 0-9,11")


@pytest.mark.parametrize(
    ("payloads", "codecs", "event", "events"),
    [
        ("0 96 101 110", (PCMU,), 101, "0-15"), ("96 0 101 110", ALL, 110, "0-9,11"), ("96 0 101", ALL, 101, "0-15"),
        ("0 110", ALL, 110, "0-9,11"), ("0", ALL, None, ""),
    ],
)
def test_events_go_at_the_clock_of_the_codec(payloads: str, codecs: tuple[CodecCapability, ...], event: int | None, events: str) -> None:
    """RFC 4733 2.1; where there is no such clock, what there is is better than no digits."""
    offered = [line for line in EVENTS if line.partition(":")[2].split()[0] in payloads.split()]
    body, media = answer(payloads, *offered, codecs=codecs)
    found = media.event_out()
    assert (found.payload_type if found else None) == event
    assert [one.payload_type for one in media.events_in()] == ([event] if event else [])
    assert lines(body, "a=fmtp:1") == ([f"a=fmtp:{event} {events}"] if event else [])


def test_events_may_be_left_out() -> None:
    body, media = answer("0 101", EVENTS[1], telephone_event=False)
    assert (lines(body, "m="), media.event_out()) == (["m=audio 20000 RTP/AVP 0"], None)
    body, _ = answer("0 101", EVENTS[1], "a=fmtp:101 16-20")
    assert lines(body, "m=") == ["m=audio 20000 RTP/AVP 0"]  # no event that both know


@pytest.mark.parametrize(
    ("payloads", "attributes", "kept"),
    [("0 13", (), [0, 13]), ("0 19", (), [0, 19]), ("18 13", (), [18]), ("0 98", ("a=rtpmap:98 CN/16000",), [0]), ("9 13", (), [9, 13])],
)
def test_comfort_noise_goes_with_codecs_that_have_none(payloads: str, attributes: tuple[str, ...], kept: list[int]) -> None:
    """RFC 3389 5."""
    body, _ = answer(payloads, *attributes, codecs=ALL, comfort_noise=True)
    assert [codec.payload_type for codec in read(body).media[0].codecs] == kept
    body, _ = answer(payloads, *attributes, codecs=ALL)
    assert len(read(body).media[0].codecs) == 1


def test_an_answer_with_numbers_of_its_own_is_sent_with_those() -> None:
    """RFC 3264 6.1 allows it: we send what they asked for, and get what we asked for."""
    ours = negotiation(codecs=(OPUS,))
    ours.local_offer()
    ours.remote_answer(offer("m=audio 5000 RTP/AVP 120 121", "a=rtpmap:120 opus/48000/2", "a=rtpmap:121 telephone-event/48000"))
    media = ours.media[0]
    assert [one.payload_type for one in media.send] == [120, 121]
    assert [one.payload_type for one in media.receive] == [107, 96]
    ours.local_offer()
    ours.remote_answer(offer("m=audio 5000 RTP/AVP 120", "a=rtpmap:120 opus/48000/2", "a=sendonly"))
    assert [one.payload_type for one in ours.media[0].receive] == [107, 120]


def test_an_answer_without_rtpmap_means_what_we_offered() -> None:
    ours = negotiation(codecs=(OPUS, PCMU))
    ours.local_offer()
    ours.remote_answer(offer("m=audio 5000 RTP/AVP 107 101"))
    assert [one.name for one in ours.media[0].send] == ["opus", "telephone-event"]


def test_digits_go_at_the_clock_of_the_codec_whatever_their_order() -> None:
    ours = negotiation(codecs=(OPUS, PCMU))
    ours.local_offer()
    events = ("a=rtpmap:96 telephone-event/48000", "a=rtpmap:101 telephone-event/8000")
    ours.remote_answer(offer("m=audio 5000 RTP/AVP 101 96 107", "a=rtpmap:107 opus/48000/2", *events))
    event = ours.media[0].event_out()
    assert event is not None
    assert (event.payload_type, event.clock_rate_hz) == (96, 48000)


def test_numbers_keep_their_meaning() -> None:
    """RFC 3264 8.3.2: what was iLBC as 107 is that for as long as the stream lives."""
    ours = negotiation(codecs=(ILBC30, OPUS, PCMU))
    ours.remote_offer(offer("m=audio 5000 RTP/AVP 107 0", "a=rtpmap:107 iLBC/8000"))
    mapped = lines(ours.local_offer(), "a=rtpmap")
    assert mapped[:2] == ["a=rtpmap:107 iLBC/8000", "a=rtpmap:96 opus/48000/2"]
    ours.rollback()
    ours.remote_offer(offer("m=audio 5000 RTP/AVP 0", version=2))
    assert lines(ours.local_offer(), "a=rtpmap")[0] == "a=rtpmap:0 PCMU/8000"  # what is in use comes first


def test_numbers_are_found_while_there_are_any() -> None:
    keys = [((f"x{at}", 8000, 1), 97) for at in range(70)]
    found = numbers_for(keys, {97: ("x5", 8000, 1), 96: ("old", 8000, 1)})
    assert found[5] == 97
    given = [number for number in found if number >= 0]
    assert len(given) == len(set(given)) == 61
    assert given[-1] == 96  # the one that meant something else is the last resort
    assert numbers_for([(OPUS.key, 107), (PCMU.key, 0)], {107: ILBC30.key}) == [96, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": "a b"}, {"name": "x\r\na=y"}, {"clock_rate_hz": 0}, {"channels": 0}, {"payload_type": 128}, {"payload_type": 0},
        {"payload_type": 72}, {"fmtp": "a\r\nb"}, {"frame_ms": 0}, {"ptime_ms": 5},
    ],
)  # fmt: skip
def test_a_capability_that_no_description_can_say_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        CodecCapability(**{"name": "x", "clock_rate_hz": 8000, **wrong})  # type: ignore[arg-type]


def test_parameters_and_events_are_read_as_they_come() -> None:
    assert parameters_of(" A=1 ; b ; a=2;;=3") == {"a": "1", "b": ""}
    assert events_of("0-15,66,70") == {*range(16), 66, 70}
    assert events_of("nonsense") == events_of("") == set(range(16))
    assert events_of("0-999") == set(range(256))
    assert events_text([3, 1, 2, 7, 9, 10]) == "1-3,7,9-10"
