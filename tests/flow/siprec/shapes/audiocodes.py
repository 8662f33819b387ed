"""AudioCodes Mediant: its metadata of before the RFC, and that of the RFC. Both hold a call by making both lines inactive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.flow.siprec.scenario import (
    EVENTS,
    PCMA,
    PRE_RFC,
    RS_OLD,
    Body,
    Client,
    description,
    line,
    metadata_part,
    multipart,
    session_part,
)
from tests.flow.siprec.shapes.shape import Person, Shape, metadata
from tests.flow.siprec.speaking import Say

HELD_MS: Final = 900
UCID: Final = "FA080019F3651E9BB24C"
GENESYS: Final = "02C1T9Q8FG8HR2D3KAUI2LAES000042"
SESSION: Final = "MTIzNDU2Nzg5MDEyMzQ1Ng=="


def _legacy() -> str:
    """Without joining elements, a participant's id is the number that called."""
    people = "\n".join(
        f'<participant id="{number}" session="{SESSION}"><nameID aor="{number}@sbc.example.com"><name>{name}</name></nameID>'
        f"<associate-time>2026-03-02T09:32:00</associate-time><send>{stream}</send><recv>{other}</recv></participant>"
        for number, name, stream, other in (("+15550101", "", "s1", "s2"), ("5304", "Agent Four", "s2", "s1"))
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns="{PRE_RFC}" xmlns:ac="http://AudioCodes">
<datamode>complete</datamode>
<group id="R3JvdXBPZlRoaXNDYWxsMA=="><associate-time>2026-03-02T09:32:00</associate-time>
<ac:AvayaUCID xmlns="urn:ietf:params:xml:ns:Avaya">{UCID}</ac:AvayaUCID>
<ac:GenesysUUID xmlns="urn:ietf:params:xml:ns:Genesys">{GENESYS}</ac:GenesysUUID></group>
<session id="{SESSION}"><group-ref>R3JvdXBPZlRoaXNDYWxsMA==</group-ref><associate-time>2026-03-02T09:32:00</associate-time></session>
{people}
<stream id="s1" session="{SESSION}"><label>1</label></stream>
<stream id="s2" session="{SESSION}"><label>2</label></stream>
</recording>"""


def _offer(ports: Sequence[int], direction: str, version: int) -> str:
    lines = [line(port, label, PCMA, EVENTS, direction=direction, more=["a=ptime:20"]) for port, label in zip(ports, "12", strict=True)]
    return description(*lines, origin=f"AudiocodesGW 915 {version}", session="SBC-Call")


def _held(made: Client, ports: Sequence[int], body: Body, headers: Sequence[str] = ()) -> Client:
    """The hold and the rest of the call: descriptions alone, the metadata stay what they were."""
    made.invite(body, *headers).waits(1300).invite(("application/sdp", _offer(ports, "inactive", 2))).waits(HELD_MS)
    return made.invite(("application/sdp", _offer(ports, "sendonly", 3))).waits(1200).bye()


def _old(ports: Sequence[int]) -> Client:
    made = Client(user="sbc", contact="<sip:{address}>;src", headers=["Supported: em,timer,replaces,path,resource-priority,sdp-anat", "User-Agent: Device /7.20A.258.459"])
    body = multipart("boundary_ac12", session_part(_offer(ports, "sendonly", 1)), metadata_part(_legacy(), RS_OLD), quoted=True)
    return _held(made, ports, body, ["X-AC-Action: start-siprec;recording-ip-group=2;recorded-side=0"])


def _new(ports: Sequence[int]) -> Client:
    people = [
        Person(id="cGFydGljaXBhbnQtb25lLWFjMQ==", aor="sip:+15550102@sbc.example.com", sends=("c3RyZWFtLW9uZQ==",), hears=("c3RyZWFtLXR3bw==",)),
        Person(id="cGFydGljaXBhbnQtdHdvLWFjMg==", aor="sip:5305@sbc.example.com", name="Agent Five", sends=("c3RyZWFtLXR3bw==",), hears=("c3RyZWFtLW9uZQ==",)),
    ]
    xml = metadata("c2Vzc2lvbi1hdWRpb2NvZGVz", people, [("c3RyZWFtLW9uZQ==", "1"), ("c3RyZWFtLXR3bw==", "2")], group="Z3JvdXAtYXVkaW9jb2Rlcw==")
    made = Client(user="sbc", contact="<sip:{address}>;+sip.src", headers=["Require: siprec", "User-Agent: Mediant VE SBC/v.7.40A.250.440", f"X-AC-Avaya-UCID: {UCID}"])
    return _held(made, ports, multipart("boundary_ac12", session_part(_offer(ports, "sendonly", 1)), metadata_part(xml)))


def _said(numbers: str) -> tuple[Say, ...]:
    return (
        Say(line=0, packets=55, law="alaw"), Say(line=1, packets=30, delay_ms=500, law="alaw"),
        Say(line=0, packets=0, after=3, law="alaw", numbers=numbers), Say(line=1, packets=40, after=3, delay_ms=100, law="alaw", numbers=numbers),  # type: ignore[arg-type]
    )  # fmt: skip


SHAPES: Final = {"audiocodes-legacy": Shape(script=_old, says=_said("still")), "audiocodes": Shape(script=_new, says=_said("on"))}

__all__ = ["GENESYS", "HELD_MS", "SHAPES", "UCID"]
