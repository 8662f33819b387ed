"""Avaya's session border controller: the first metadata name somebody who is not there, an UPDATE with metadata alone names who is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.flow.siprec.scenario import (
    EVENTS,
    PCMU,
    RFC,
    RS_OLD,
    Client,
    description,
    line,
    metadata_part,
    multipart,
    session_part,
)
from tests.flow.siprec.shapes.shape import Shape, two_voices

UCID_HEX: Final = "00FA08000003E8699E8A5D"
CALLER, CALLED = "4fe7d1a2c903b85e6a17", "91c2e0b7d5f34a86ce20"


def _person(identity: str, aor: str, name: str) -> str:
    return f'<participant participant_id="{identity}"><nameID aor="{aor}"><name xml:lang="en">{name}</name></nameID></participant>'


def _sends(identity: str, stream: str) -> str:
    return f'<participantstreamassoc participant_id="{identity}"><send>{stream}</send></participantstreamassoc>'


def _xml(second: tuple[str, str, str]) -> str:
    """The label that comes first is that of who was called."""
    return "\n".join([
        '<?xml version="1.0" encoding="UTF-8"?>', f'<recording xmlns="{RFC}">', "<dataMode>complete</dataMode>",
        f'<session session_id="{UCID_HEX}"><start-time>2026-03-02T09:33:00Z</start-time></session>', _person(CALLER, "sip:+15550103@sbce.example.com", "Grace"), _person(*second),
        *(f'<stream stream_id="{stream}" session_id="{UCID_HEX}"><label>{label}</label></stream>' for stream, label in (("st-called", "10"), ("st-caller", "20"))),
        *(f'<participantsessionassoc participant_id="{one}" session_id="{UCID_HEX}"/>' for one in (CALLER, second[0])), _sends(CALLER, "st-caller"), _sends(second[0], "st-called"),
        "</recording>",
    ])  # fmt: skip


def _script(ports: Sequence[int]) -> Client:
    made = Client(
        user="sbce", contact='<sip:{address}>;+sip.src;+av.sip.iptolerance', headers=["Require: siprec", "User-Agent: Avaya-SBCE-10.1.1.0", f"User-to-User: {UCID_HEX};encoding=hex"]
    )
    offer = description(*(line(port, label, PCMU, EVENTS) for port, label in zip(ports, ("10", "20"), strict=True)), origin="sbce 1772443980 1")
    body = multipart("foobar", session_part(offer, ""), metadata_part(_xml(("ASBCE0000000000dummy1", "sip:ASBCE@asbce.com", "ASBCE")), RS_OLD))
    return made.invite(body).waits(1000).update((RS_OLD, _xml((CALLED, "sip:5306@sbce.example.com", "Agent Six"))), "Content-Disposition: recording-session").waits(1800).bye()


SHAPES: Final = {"avaya": Shape(script=_script, says=two_voices())}

__all__ = ["CALLED", "CALLER", "SHAPES", "UCID_HEX"]
