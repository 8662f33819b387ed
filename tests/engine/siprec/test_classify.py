"""Which calls are recording sessions: by each thing that clients say of it, alone and together, and by where they come from."""

from __future__ import annotations

import pytest

from engine.sip.message import Message
from engine.sip.message import parse as read
from engine.siprec.bodies import RecordingParts, parts_of
from engine.siprec.classify import Peers, is_recording
from tests.engine.siprec import shaped

DESCRIPTION = RecordingParts(sdp=b"v=0\r\n")
METADATA = RecordingParts(sdp=b"v=0\r\n", metadata=b"<recording/>", metadata_type="application/rs-metadata")
BRIDGE = "<sip:5301@h;x-nearend;x-refci=27298698;x-farendrefci=27298699>"


def message(*headers: str, sender: str = "<sip:a@b>") -> Message:
    lines = ("INVITE sip:r@s SIP/2.0", "Via: SIP/2.0/UDP h;branch=z9hG4bK1", f"From: {sender};tag=1", "To: <sip:r@s>", "Call-ID: rs-1", "CSeq: 1 INVITE", *headers)
    return read("\r\n".join(lines) + "\r\n\r\n")


def is_one(request: Message, parts: RecordingParts = DESCRIPTION, *, strict: bool = False, known: bool = False) -> bool:
    return is_recording(request, parts, strict=strict, known=known)


@pytest.mark.parametrize("name", [name for name in shaped.NAMES if "update" not in name])
def test_every_shape_is_one(name: str) -> None:
    """Also those that have one part alone, no option tag or no feature tag."""
    found = shaped.message(name)
    assert is_one(found, parts_of(found.value("Content-Type").encode(), found.body))


@pytest.mark.parametrize(
    "header",
    [
        "Require: siprec", "Require: SIPREC", "Require: timer,siprec", "Require: 100rel ,\tsiprec,timer", "Contact: <sip:a@b>;+sip.src", "Contact: <sip:a@b;transport=tcp>;expires=60;+sip.src",
        "Contact: <sip:a@b;+sip.src>", "Contact: <sip:a@b>;src", "Contact: sip:a@b;+sip.src", 'Contact: <sip:a@b>;+sip.src="TRUE"', "m: <sip:a@b>;+sip.src",
        'X-Cisco-Recording-Participant: <sip:1@h>;media-index="0"',
    ],
)  # fmt: skip
def test_one_word_of_it_is_enough(header: str) -> None:
    assert is_one(message(header))


@pytest.mark.parametrize("parts", [METADATA, RecordingParts(metadata=b"<recording/>", metadata_type="application/rs-metadata+xml")])
def test_metadata_in_the_body_are_enough(parts: RecordingParts) -> None:
    assert is_one(message(), parts)


def test_a_telephones_bridge_is_known_by_its_from() -> None:
    assert is_one(message(sender=BRIDGE), RecordingParts())
    assert is_one(message(sender=BRIDGE.replace("x-nearend", "x-farend")), RecordingParts())
    assert not is_one(message(sender="<sip:5301@h;x-nearend>"), RecordingParts())


@pytest.mark.parametrize(
    "header",
    ["Supported: siprec", "Require: siprecs", "Require: x-siprec", "Contact: <sip:src@b>", "Contact: <sip:a@src>", "Contact: <sip:a@b>;+sip.srs", "Contact: <sip:a@b>;srcs", "X-Other: +sip.src"],
)
def test_other_calls_are_none(header: str) -> None:
    """A call that is answered is no recording because a user is called "src", or because its client could record too."""
    assert not is_one(message(header))


def test_what_a_multipart_is_decides_its_parts() -> None:
    """Several parts make no recording session, nor does one part make none."""
    found = parts_of(b"multipart/mixed;boundary=b", b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b\r\nContent-Type: application/isup\r\n\r\nx\r\n--b--\r\n")
    assert found.sdp and not is_one(message(), found)


def test_strict_wants_option_and_feature_tag_both() -> None:
    both = message("Require: siprec", "Contact: <sip:a@b>;+sip.src")
    assert is_one(both, strict=True)
    for one in (message("Require: siprec"), message("Contact: <sip:a@b>;+sip.src"), message('X-Cisco-Recording-Participant: <sip:1@h>;media-index="0"')):
        assert not is_one(one, METADATA, strict=True)


def test_calls_of_a_known_peer_are_recordings_whatever_they_say() -> None:
    assert is_one(message(), known=True)
    peers = Peers(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"])
    assert all(host in peers for host in ("192.0.2.9", "2001:db8::1", "::ffff:192.0.2.9", "198.51.100.7"))
    assert not any(host in peers for host in ("192.0.3.1", "2001:db9::1", "198.51.100.8", "not-an-address", ""))
    assert "192.0.2.9" not in Peers([])
    with pytest.raises(ValueError, match=r"192\.0\.2\.300"):
        Peers(["192.0.2.300"])
