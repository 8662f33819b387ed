"""BroadWorks and Webex Calling: a root of their own, one mixed stream or two, a pause by address, a third party by UPDATE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.flow.siprec.scenario import (
    EVENTS,
    PCMU,
    RS_XML,
    Client,
    Part,
    description,
    line,
    metadata_part,
    multipart,
    session_part,
)
from tests.flow.siprec.shapes.shape import Shape, two_voices
from tests.flow.siprec.speaking import Say

PAUSED_MS: Final = 800
TRACKING: Final = "4711:1"
CORRELATION: Final = "6f1a2b3c-0d4e-4f5a-8b6c-7d8e9fa0b1c2"
SESSION: Final = "urn:uuid:2f0a7cc4-5b0e-4a55-9a54-0f3dd52b7a10"
OWN: Final = "http://schema.broadsoft.com/broadworksCallRecording"


class _Parties:
    """Ids that stand in one call; the third one joins it."""

    people = tuple(f"urn:uuid:00000000-5b0e-4a55-9a54-0f3dd52b7a2{at}" for at in range(3))
    streams = tuple(f"urn:uuid:00000000-5b0e-4a55-9a54-0f3dd52b7a3{at}" for at in range(2))


def _xml(aors: Sequence[str], mode: str, labels: Sequence[str], *, mixed: bool, names: Sequence[str] = ()) -> str:
    """Each participant has what it sends in it; of a mixed stream all send it."""
    people = []
    for at, aor in enumerate(aors):
        stream = _Parties.streams[0 if mixed or at == 0 else 1]
        name = f'<name xml:lang="en">{names[at]}</name>' if at < len(names) and names[at] else ""
        people.append(
            f'<participant id="{_Parties.people[at]}" session="{SESSION}"><aor>{aor}</aor>{name}<send><id>{stream}</id></send><start-time>2026-03-02T09:34:00Z</start-time></participant>'
        )
    streams = [
        f'<stream id="{_Parties.streams[at]}" session="{SESSION}"><label>{label}</label><mode>{"mixed" if mixed else "separate"}</mode></stream>' for at, label in enumerate(labels)
    ]
    called = aors[1].removeprefix("sip:").partition("@")[0]
    return "\n".join([
        '<?xml version="1.0" encoding="UTF-8"?>', '<recording_metadata xmlns="urn:ietf:params:xml:ns:siprec">', f"<dataMode>{mode}</dataMode>",
        '<recording id="urn:uuid:0badcafe-5b0e-4a55-9a54-0f3dd52b7a99"><requestor>SRC</requestor><type>selective</type></recording>',
        '<group id="urn:uuid:0badcafe-5b0e-4a55-9a54-0f3dd52b7a77" recording="urn:uuid:0badcafe-5b0e-4a55-9a54-0f3dd52b7a99"><initiator>sip:5308@bw.example.com</initiator></group>',
        f'<session id="{SESSION}" group="urn:uuid:0badcafe-5b0e-4a55-9a54-0f3dd52b7a77"><start-time>2026-03-02T09:34:00Z</start-time></session>', *people, *streams,
        f'<extensiondata id="urn:uuid:0badcafe-5b0e-4a55-9a54-0f3dd52b7a55" parent="{SESSION}"><broadWorksRecordingMetadata xmlns="{OWN}">'
        f"<extTrackingID>{TRACKING}</extTrackingID><serviceProviderID>North</serviceProviderID><groupID>Sales</groupID><userID>5308@bw.example.com</userID>"
        f"<callID>callhalf-98765:0</callID><callType><origCall><calledPartyNumber>{called}</calledPartyNumber></origCall></callType>"
        "<recordingType>on</recordingType></broadWorksRecordingMetadata></extensiondata>",
        "</recording_metadata>",
    ])  # fmt: skip


def _client(*headers: str) -> Client:
    """Neither Require nor a feature tag that anybody else has."""
    return Client(user="5308", contact="<sip:{address}>;src", headers=["Recv-Info:", "Supported:", "Accept: application/sdp", *headers])


def _body(sdp: str, xml: str, *, first: str = "sdp") -> tuple[str, str]:
    parts: list[Part] = [session_part(sdp), metadata_part(xml, RS_XML)]
    return multipart("UniqueBroadWorksBoundary", *(parts if first == "sdp" else reversed(parts)))


def _mixed(ports: Sequence[int]) -> Client:
    aors = ["sip:5308@bw.example.com", "sip:+15550105@bw.example.com;user=phone"]

    def body(version: int, address: str = "") -> tuple[str, str]:
        offer = description(line(ports[0], "1", PCMU, EVENTS, direction="", address=address), origin=f"BroadWorks 55 {version}")
        return _body(offer, _xml(aors, "complete", ["1"], mixed=True, names=["Desk Eight"]))

    return _client().invite(body(1)).waits(1300).invite(body(2, "0.0.0.0")).waits(PAUSED_MS).invite(body(3)).waits(1200).bye()


def _conference(ports: Sequence[int]) -> Client:
    """Two streams; a third party comes to the second one by an UPDATE without a description."""
    aors = ["sip:5308@bw.example.com", "sip:+15550105@bw.example.com"]
    offer = description(*(line(port, label, PCMU, EVENTS, direction="") for port, label in zip(ports, "12", strict=True)), origin="BroadWorks 56 1")
    made = _client().invite(_body(offer, _xml(aors, "complete", ["1", "2"], mixed=False))).waits(1400)
    third = multipart("UniqueBroadWorksBoundary", metadata_part(_xml([*aors, "sip:5310@bw.example.com"], "complete", ["1", "2"], mixed=False)))
    return made.update(third).waits(1500).bye()


def _webex(ports: Sequence[int]) -> Client:
    """The metadata come first, and who takes part is not to be read from them."""
    aors = ["sip:2b1f7c3e9d@webex.example.com", "sip:+15550106@webex.example.com"]
    offer = description(*(line(port, label, PCMU, EVENTS, direction="") for port, label in zip(ports, "12", strict=True)), origin="BroadWorks 57 1")
    made = _client("User-Agent: BroadWorks", f"X-BroadWorks-Correlation-Info: {CORRELATION}")
    return made.invite(_body(offer, _xml(aors, "complete", ["1", "2"], mixed=False, names=["", ""]), first="xml")).waits(2400).bye()


SHAPES: Final = {
    "broadworks-mixed": Shape(script=_mixed, ports=1, says=(Say(packets=55), Say(packets=0, after=3, numbers="on"))),
    "broadworks-conference": Shape(script=_conference, says=(Say(line=0, packets=0), Say(line=1, packets=55, delay_ms=200), Say(line=1, packets=60, after=2))),
    "webex": Shape(script=_webex, says=two_voices()),
}

__all__ = ["CORRELATION", "PAUSED_MS", "SHAPES", "TRACKING"]
