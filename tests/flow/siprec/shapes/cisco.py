"""Cisco: CUBE as it does SIPREC, CUBE with a network-based recording, and the built-in bridge of a telephone, which is two calls without an offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.flow.siprec.scenario import (
    EVENTS,
    PCMU,
    RFC,
    SDP,
    Client,
    description,
    line,
    metadata_part,
    multipart,
    session_part,
)
from tests.flow.siprec.shapes.shape import Shape, two_voices
from tests.flow.siprec.speaking import Say

ORIGIN: Final = "CiscoSystemsSIP-GW-UserAgent 4711 8153"
SESSION: Final = "9Ra4kbAzEeeAC5cSbDFzPw=="
FIRST, SECOND = "9Ra4kbAzEeeAAAAAAAAAAA==", "9Ra4kbAzEeeABBBBBBBBBB=="
STREAMS: Final = ("9Rd5trAzEeeAEZcSbDFzPw==", "9Rd5trAzEeeAEpcSbDFzPw==")
LOCAL_ID, REMOTE_ID = "2f9a01d477c55ab0b2c0aa49a2e3d7c1", "5d7be1cc00105000a0007446a0fbd1c3"
GUID: Final = "4110234507-2955219431-2148243218-1815180095"
REFCIS: Final = ("27298698", "27298699")


def _headers(agent: str) -> list[str]:
    return [
        "Require: siprec", "Supported: 100rel,timer,resource-priority,replaces,sdp-anat", f"User-Agent: {agent}", "Min-SE: 1800", "Session-Expires: 1800;refresher=uac",
        "Allow: INVITE, OPTIONS, BYE, CANCEL, ACK, PRACK, UPDATE, REFER, SUBSCRIBE, NOTIFY, INFO, REGISTER", f"Cisco-Guid: {GUID}",
        f"Session-ID: {LOCAL_ID};remote={REMOTE_ID}", "Expires: 180",
    ]  # fmt: skip


def _xml(*, sends: bool) -> str:
    """Elements in the order in which CUBE thinks of them: the first party with all it has, then the second. The first has no address of record."""
    streams = [f'<stream stream_id="{stream}" session_id="{SESSION}"><label>{label}</label></stream>' for stream, label in zip(STREAMS, "12", strict=True)]
    people = ['<nameID aor=""></nameID>', '<nameID aor="sip:5302@cube.example.com"><name xml:lang="en">Desk Two</name></nameID>']
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<recording xmlns="{RFC}">', "<datamode>complete</datamode>"]
    lines.append(f'<session session_id="{SESSION}"><sipSessionID>{LOCAL_ID};remote={REMOTE_ID}</sipSessionID><start-time>2026-03-02T09:30:00.120Z</start-time></session>')
    for at, (one, name, stream) in enumerate(zip((FIRST, SECOND), people, streams, strict=True)):
        carried = f"<send>{STREAMS[at]}</send><recv>{STREAMS[1 - at]}</recv>" if sends else ""
        lines += [
            f'<participant participant_id="{one}">{name}</participant>',
            f'<participantsessionassoc participant_id="{one}" session_id="{SESSION}"><associate-time>2026-03-02T09:30:00.120Z</associate-time></participantsessionassoc>',
            stream,
            f'<participantstreamassoc participant_id="{one}">{carried}</participantstreamassoc>',
        ]
    return "\n".join([*lines, "</recording>"])


def _offer(ports: Sequence[int], direction: str, version: int) -> str:
    lines = [line(port, label, PCMU, EVENTS, "19 CN/8000", direction=direction, more=["a=fmtp:101 0-16", "a=ptime:20"]) for port, label in zip(ports, "12", strict=True)]
    return description(*lines, origin=f"{ORIGIN[:-4]}{8153 + version}", session="SIP Call")


def _cube(ports: Sequence[int]) -> Client:
    gtd = "IAM,\nPRN,isdn*,,NI***,\nCPC,09\nFDC,09"
    body = multipart(
        "uniqueBoundary", session_part(_offer(ports, "sendonly", 0)), metadata_part(_xml(sends=True)), ("application/gtd", "signal;handling=optional", gtd)
    )
    return Client(user="5302", headers=_headers("Cisco-SIPGateway/IOS-17.3.3"), to="srs").invite(body, "Mime-Version: 1.0").waits(3000).bye("Reason: Q.850;cause=16")


def _cube_inactive(ports: Sequence[int]) -> Client:
    """The first offer is inactive, and names nobody's streams; the second one is the call."""
    begin, then = (
        multipart("uniqueBoundary", session_part(_offer(ports, direction, version)), metadata_part(_xml(sends=version > 0)))
        for version, direction in enumerate(("inactive", "sendonly"))
    )
    return Client(user="5302", headers=_headers("Cisco-SIPGateway/IOS-16.12.4")).invite(begin, "Mime-Version: 1.0").waits(400).invite(then).waits(1500).bye()


def _network(ports: Sequence[int]) -> Client:
    """No SIPREC at all: one description with one stream of both, and who takes part in headers. A transfer is another port with other headers."""

    def who(*people: str) -> list[str]:
        return [f'X-Cisco-Recording-Participant: <sip:{one}@cube.example.com>;media-index="0"' for one in people]

    made = Client(user="recorder", contact="<sip:{address}>", headers=["User-Agent: Cisco-SIPGateway/IOS-15.6", f"Cisco-Guid: {GUID}", "Supported: 100rel,timer"])
    made.invite((SDP, description(line(ports[0], "", PCMU), origin=f"{ORIGIN}", session="SIP Call")), *who("5301", "5302")).waits(1500)
    return made.invite((SDP, description(line(ports[1], "", PCMU), origin=f"{ORIGIN[:-4]}8154", session="SIP Call")), *who("5301", "5399")).waits(1500).bye()


def _bridge(side: str, own: str, other: str, device: str) -> Client:
    whose = f"x-{side};x-refci={own};x-nearendclusterid=Campus;x-nearenddevice={device};x-nearendaddr=5301;x-farendrefci={other};x-farendclusterid=Campus;x-farendaddr=5302"
    return Client(
        sender=f'"Recording" <sip:5301@[local_ip]:[local_port];{whose}>', contact="<sip:{address}>;isFocus", to="8500",
        headers=["User-Agent: Cisco-CUCM14.0", "Supported: timer,resource-priority,replaces,X-cisco-srtp-fallback,Geolocation", "Cisco-Guid: 2187263872-0000065536-0000000009-0151653386"],
    )  # fmt: skip


def _bib(side: str) -> Shape:
    own, other = REFCIS if side == "nearend" else REFCIS[::-1]

    def script(ports: Sequence[int]) -> Client:
        answer = (SDP, description(line(ports[0], "", PCMU, EVENTS), origin="CiscoSystemsCCM-SIP 88 1", session="SIP Call"))
        return _bridge(side, own, other, "SEP0021CCCC0001").invite(None, acked=answer).waits(2000).bye()

    return Shape(script=script, ports=1, says=(Say(packets=0, delay_ms=100),), call_id=f"bib-{side}")


SHAPES: Final = {
    "cisco-cube": Shape(script=_cube, says=two_voices()),
    "cisco-cube-inactive": Shape(script=_cube_inactive, says=(Say(line=0, packets=0, after=2), Say(line=1, packets=40, after=2, delay_ms=300))),
    "cisco-network": Shape(script=_network, says=(Say(packets=60), Say(packets=0, after=2, numbers="anew", port=1))),
    "cisco-bib-near": _bib("nearend"),
    "cisco-bib-far": _bib("farend"),
}

__all__ = ["FIRST", "GUID", "LOCAL_ID", "REFCIS", "REMOTE_ID", "SECOND", "SESSION", "SHAPES"]
