"""Metaswitch: one stream of both, whose hold is another port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.flow.siprec.scenario import (
    EVENTS,
    PCMA,
    PCMU,
    PRE_RFC,
    RS_OLD,
    Client,
    description,
    line,
    metadata_part,
    multipart,
    session_part,
)
from tests.flow.siprec.shapes.shape import Shape
from tests.flow.siprec.speaking import Say

SESSION, STREAM = "f3b6a1d4c2e5", "0a1b2c3d4e5f"


def _xml() -> str:
    people = "".join(
        f'<participant id="{one}" session="{SESSION}"><nameID aor="sip:{number}@ms.example.com"><name>{name}</name></nameID><send>{STREAM}</send><recv>{STREAM}</recv>'
        "<associate-time>2026-03-02T09:35:00Z</associate-time></participant>"
        for one, number, name in (("p-caller", "5556301", "Sales, North"), ("p-called", "5556302", ""))
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns="{PRE_RFC}" id="a1a2a3a4">
<datamode>complete</datamode>
<session id="{SESSION}"><associate-time>2026-03-02T09:35:00Z</associate-time></session>
{people}
<stream id="{STREAM}" session="{SESSION}"><label>1</label><mode>mixed</mode></stream>
<extensiondata id="x1" parent="{SESSION}"><metaswitchRecordingMetadata xmlns="http://www.metaswitch.com/ns/siprec">
<callType>outgoing</callType><recordedParty>5556301</recordedParty><businessGroup>North</businessGroup><userName>Sales</userName><systemName>ms1</systemName>
<callingPartyNumber>5556301</callingPartyNumber><dialedDigits>6302</dialedDigits></metaswitchRecordingMetadata></extensiondata>
</recording>"""


def _script(ports: Sequence[int]) -> Client:
    def body(port: int, version: int) -> tuple[str, str]:
        offer = description(line(port, "1", "18 G729/8000", PCMU, PCMA, EVENTS, direction=""), origin=f"- 600 {version}")
        return multipart("boundary-ms-0017", session_part(offer, ""), metadata_part(_xml(), RS_OLD))

    made = Client(user="5556301", contact="<sip:{address}>;+sip.src", headers=["Require: siprec", "User-Agent: Metaswitch-Perimeta", "Supported: 100rel"])
    return made.invite(body(ports[0], 1)).waits(1200).invite(body(ports[1], 2)).waits(1400).bye()


SHAPES: Final = {"metaswitch": Shape(script=_script, says=(Say(packets=50), Say(packets=0, after=2, delay_ms=100, port=1, numbers="anew")))}

__all__ = ["SHAPES"]
