"""Genesys, OpenSIPS with rtpengine, FreeSWITCH's mod_siprec, NetSapiens, and SEMS with ProComm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.flow.siprec.scenario import (
    EVENTS,
    PCMA,
    PCMU,
    RS_OLD,
    SDP,
    Client,
    description,
    line,
    metadata_part,
    multipart,
    session_part,
)
from tests.flow.siprec.shapes.shape import Person, Shape, metadata, two_voices
from tests.flow.siprec.speaking import Say

GENESYS: Final = "01NC7F5T2S9O72FF50OCD2LAES00000K"
PAUSED_MS: Final = 700
LEG: Final = "20260302093600012345-6789@ns.example.com"


def _genesys(ports: Sequence[int]) -> Client:
    people = [
        Person(id="YWdlbnQtZ2VuZXN5cy0wMDE=", aor="sip:agent7@gen.example.com", name="Agent Seven", sends=("Z2VuLTE=",), hears=("Z2VuLTI=",)),
        Person(id="Y3VzdG9tZXItZ2VuLTAwMDI=", aor="sip:+15550107@gen.example.com", sends=("Z2VuLTI=",), hears=("Z2VuLTE=",)),
    ]
    xml = metadata("Z2VuZXN5cy1zZXNzaW9uLTE=", people, [("Z2VuLTE=", "1"), ("Z2VuLTI=", "2")])
    offer = description(*(line(port, label, PCMU, EVENTS) for port, label in zip(ports, "12", strict=True)), origin="Genesys 1 1")
    made = Client(user="msml", headers=["Require: siprec", f"X-Genesys-CallUUID: {GENESYS}", "User-Agent: GENESYS-SIPS/8.1.1"])
    return made.invite(multipart("gen-boundary", session_part(offer), metadata_part(xml))).waits(2400).bye()


def _opensips(ports: Sequence[int]) -> Client:
    """A relay's description that says more than anybody asked for, in an INVITE of several datagrams' size over UDP; labels begin with 0."""
    more = [
        "a=rtcp-mux", "a=ice-ufrag:Jx7a", "a=ice-pwd:t1Jrs9S9YyoZ5DNJkBmsZhSR", "a=rtcp-fb:0 nack", "a=ssrc:3421001 cname:relay", "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        *(f"a=candidate:{number} 1 UDP {2130706431 - number} 127.0.0.1 {9000 + number} typ host" for number in range(18)),
    ]  # fmt: skip
    people = [
        Person(id="b3BlbnNpcHMtY2FsbGVyLTE=", aor="sip:caller@os.example.com", name='"Ada" (mobile)', sends=("b3MtMA==",), hears=("b3MtMQ==",)),
        Person(id="b3BlbnNpcHMtY2FsbGVlLTI=", aor="sip:callee@os.example.com;transport=tcp", name="Ljósið", sends=("b3MtMQ==",), hears=("b3MtMA==",)),
    ]
    notes = "".join(f'<note xmlns="http://example.com/notes" number="{number}">{"kept as it is " * 5}</note>' for number in range(20))
    xml = metadata("b3BlbnNpcHMtc2Vzc2lvbg==", people, [("b3MtMA==", "0"), ("b3MtMQ==", "1")], sip_session="a84b4c76e66710@pc33.example.com", more=notes)
    offer = description(*(line(port, label, PCMU, PCMA, EVENTS, more=more) for port, label in zip(ports, "01", strict=True)), origin="- 17724440 17724440")
    made = Client(user="opensips", headers=["Require: siprec", "User-Agent: OpenSIPS (3.4.5 (x86_64/linux))"])
    return made.invite(multipart("OSS-unique-boundary-42", session_part(offer), metadata_part(xml))).waits(2400).bye()


def _freeswitch(ports: Sequence[int]) -> Client:
    """One stream of both without a label and without metadata; its pause is inactive."""

    def offer(direction: str, version: int) -> tuple[str, str]:
        return SDP, description(line(ports[0], "", PCMU, PCMA, direction=direction), origin=f"FreeSWITCH 1772444100 {version}", session="FreeSWITCH")

    made = Client(user="mod_siprec", contact="<sip:{address}>;+sip.src", headers=["Require: siprec", "User-Agent: FreeSWITCH-mod_sofia/1.10.11", "X-FS-UUID: 5cf0c0fe-1d3e-4a55-8a54-0f3dd52b7a10"])
    made.invite(offer("sendonly", 1)).waits(1200).invite(offer("inactive", 2)).waits(PAUSED_MS)
    return made.invite(offer("sendonly", 3)).waits(1100).bye()


def _netsapiens(ports: Sequence[int]) -> Client:
    """Participants have the Call-IDs of their legs for ids; a supervised transfer is another INVITE with who is there then."""

    def body(aor: str, name: str, leg: str, version: int) -> tuple[str, str]:
        people = [
            Person(id=LEG, aor="sip:5312@ns.example.com", name="Desk Twelve", sends=("1",), hears=("2",)), Person(id=leg, aor=aor, name=name, sends=("2",), hears=("1",)),
        ]  # fmt: skip
        came_from = f'<xfer-from xmlns="http://netsapiens.com/siprec">{LEG}</xfer-from>' if version > 1 else ""
        xml = metadata("ns-session-20260302", people, [("1", "1"), ("2", "2")], group="ns-group-20260302", more=came_from)
        offer = description(*(line(port, label, PCMU, EVENTS) for port, label in zip(ports, "12", strict=True)), origin=f"- 909 {version}")
        return multipart("ns_boundary", session_part(offer), metadata_part(xml))

    made = Client(user="ns", contact="<sip:{address}>;+sip.src", headers=["Require: siprec", "User-Agent: NetSapiens SiPBx 44.1"])
    made.invite(body("sip:+15550108@ns.example.com", "Bob", "leg-b-0001@ns.example.com", 1)).waits(1500)
    return made.invite(body("sip:5313@ns.example.com", "Desk Thirteen", "leg-c-0001@ns.example.com", 2)).waits(1300).bye()


def _procomm(ports: Sequence[int]) -> Client:
    people = [
        Person(id="cHJvY29tbS1hLWxlZy0wMDE=", aor="5314@pc.example.com", sends=("a-stream",), hears=("b-stream",)),
        Person(id="cHJvY29tbS1iLWxlZy0wMDI=", aor="anonymous@anonymous.invalid", sends=("b-stream",), hears=("a-stream",)),
    ]
    xml = metadata("cHJvY29tbS1zZXNzaW9uLTE=", people, [("a-stream", "a_leg"), ("b-stream", "b_leg")])
    offer = description(*(line(port, label, PCMU, EVENTS, more=["a=direction:both"]) for port, label in zip(ports, ("a_leg", "b_leg"), strict=True)), origin="sems 77 1")
    made = Client(user="sems", headers=["Require: siprec", "User-Agent: Sems/ProComm 1.8"])
    return made.invite(multipart("sems-mixed", session_part(offer), metadata_part(xml, RS_OLD))).waits(2400).bye()


SHAPES: Final = {
    "genesys": Shape(script=_genesys, says=two_voices()),
    "opensips": Shape(script=_opensips, says=two_voices(), call_id="B2B.160.1762863004."),
    "freeswitch": Shape(script=_freeswitch, ports=1, says=(Say(packets=50), Say(packets=0, after=3, numbers="still"))),
    "netsapiens": Shape(
        script=_netsapiens, says=(Say(line=0, packets=0, labelled=True), Say(line=1, packets=55, labelled=True), Say(line=1, packets=45, after=2, numbers="anew", labelled=True))
    ),
    "procomm": Shape(script=_procomm, says=two_voices()),
}  # fmt: skip

__all__ = ["GENESYS", "LEG", "PAUSED_MS", "SHAPES"]
