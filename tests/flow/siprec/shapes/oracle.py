"""Oracle's and Acme's session border controllers: a namespace of before the RFC, single quotes, no elements that join participants and streams, and copies of the call's
headers among extensions. Over TCP, as they advise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.flow.siprec.scenario import (
    EVENTS,
    PCMU,
    PRE_RFC,
    Client,
    description,
    line,
    metadata_part,
    multipart,
    session_part,
)
from tests.flow.siprec.shapes.shape import Shape
from tests.flow.siprec.speaking import Say

UCID: Final = "00FA080018803B69810C6D"
SESSION: Final = "BYiC7uSZQGN3VQdzWI1HWw=="
CALLER, CALLED, OTHER = "0uUxInbSTUpqqwGWKPHb4w==", "WMV5zcGFTQVNIJaHXUr/uw==", "mTCLv4B7TWpbIUXcjkmC2Q=="
STREAMS: Final = ("aOo9BOv5TAxPBDR4wzTHOA==", "LRfLzNUDSrxzAmRwDP8Kbw==")
LABELS: Final = ("16777227", "16777228")
TRANSFER_MS: Final = 1600


def _person(identity: str, aor: str, name: str, stream: str) -> str:
    return (
        f"<participant id='{identity}' session='{SESSION}'><nameID aor='{aor}'><name>{name}</name></nameID><send>{stream}</send>"
        f"<associate-time>2026-03-02T09:31:10</associate-time>"
        f"<extensiondata xmlns:apkt='http://acmepacket.com/siprec/extensiondata'><apkt:callingParty>{'true' if identity == CALLER else 'false'}</apkt:callingParty>"
        f"<apkt:request-uri>{aor}</apkt:request-uri><apkt:realm>core</apkt:realm>"
        f"<apkt:header label='X-Tenant'><value>north</value></apkt:header></extensiondata></participant>"
    )


def _xml(second: tuple[str, str, str]) -> str:
    return "\n".join([
        "<?xml version='1.0' encoding='UTF-8'?>", f"<recording xmlns='{PRE_RFC}'>", "<dataMode>complete</dataMode>", f"<session id='{SESSION}'>",
        "<associate-time>2026-03-02T09:31:10</associate-time>",
        f"<extensiondata xmlns:apkt='http://acmepacket.com/siprec/extensiondata'><apkt:ucid>{UCID};encoding=hex</apkt:ucid><apkt:callerOrig>true</apkt:callerOrig></extensiondata>",
        "</session>", _person(CALLER, "&lt;sip:+15550100@core.example.com;user=phone&gt;", "Ada &amp; Sons", STREAMS[0]), _person(*second, STREAMS[1]),
        *(f"<stream id='{stream}' session='{SESSION}'><label>{label}</label><mode>separate</mode></stream>" for stream, label in zip(STREAMS, LABELS, strict=True)),
        "</recording>",
    ])  # fmt: skip


def _script(ports: Sequence[int]) -> Client:
    def body(second: tuple[str, str, str], version: int) -> tuple[str, str]:
        lines = [line(port, label, PCMU, EVENTS) for port, label in zip(ports, LABELS, strict=True)]
        return multipart("unique-boundary-1", session_part(description(*lines, origin=f"- 15440 {version}"), ""), metadata_part(_xml(second), disposition="recording-session"))

    made = Client(
        sender="sip:acmeSrc@[local_ip]", user="acmeSrc", contact="<sip:{address}>;+sip.src",
        headers=["Require: siprec", "User-Agent: OESBC/9.0.0", "P-Charging-Vector: icid-value=ocsbc-5f2e91;icid-generated-at=[local_ip]", "MIME-Version: 1.0"],
    )  # fmt: skip
    made.invite(body((CALLED, "&lt;sip:5302@core.example.com&gt;", "Desk Two"), 15440)).waits(TRANSFER_MS)
    return made.invite(body((OTHER, "sip:5399@core.example.com", "Desk Nine"), 15441)).waits(1400).bye()


SHAPES: Final = {"oracle": Shape(script=_script, says=(Say(line=0, packets=0), Say(line=1, packets=60), Say(line=1, packets=50, after=2, numbers="anew")), transport="t1")}

__all__ = ["CALLED", "CALLER", "OTHER", "SHAPES", "UCID"]
