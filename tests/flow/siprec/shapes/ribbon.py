"""Ribbon's (Sonus') session border controllers: everything has a prefix, the group says best who calls whom."""

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
from tests.flow.siprec.shapes.shape import Shape, two_voices

GCID: Final = "235421798"
CALL: Final = "1912_87321045@10.4.7.1"


def _xml() -> str:
    """What is sent and what is heard are crossed, beside the order of the labels; its clock was never set."""
    people = "".join(
        f'<tns:participant participant_id="{one}"><tns:nameID aor="{aor}"><tns:name xml:lang="EN"> </tns:name></tns:nameID></tns:participant>'
        for one, aor in (("P1aaaaaaaaaaaaaaaaaaaa==", "+15550104@sbc.example.com"), ("P2bbbbbbbbbbbbbbbbbbbb==", "5307@sbc.example.com"))
    )
    carried = "".join(
        f'<tns:participantstreamassoc participant_id="{one}"><tns:send>{sends}</tns:send><tns:recv>{hears}</tns:recv></tns:participantstreamassoc>'
        for one, sends, hears in (("P1aaaaaaaaaaaaaaaaaaaa==", "S2==", "S1=="), ("P2bbbbbbbbbbbbbbbbbbbb==", "S1==", "S2=="))
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<tns:recording xmlns:tns="{PRE_RFC}">
<tns:datamode>complete</tns:datamode>
<tns:group group_id="NgAAAAAAAAAAAAAAAAAAAA=="><tns:associate-time>1970-01-01T00:21:07Z</tns:associate-time>
<callData xmlns="urn:ietf:params:xml:ns:callData"><fromhdr>&lt;sip:+15550104@sbc.example.com&gt;;tag=gK0c</fromhdr><tohdr>&lt;sip:5307@sbc.example.com&gt;</tohdr>
<callid>{CALL}</callid><gcid>{GCID}</gcid></callData></tns:group>
<tns:session session_id="SgAAAAAAAAAAAAAAAAAAAA=="><tns:group-ref>NgAAAAAAAAAAAAAAAAAAAA==</tns:group-ref><tns:start-time>1970-01-01T00:21:07Z</tns:start-time></tns:session>
{people}
<tns:stream stream_id="S1==" session_id="SgAAAAAAAAAAAAAAAAAAAA=="><tns:label>1</tns:label></tns:stream>
<tns:stream stream_id="S2==" session_id="SgAAAAAAAAAAAAAAAAAAAA=="><tns:label>2</tns:label></tns:stream>
<tns:sessionrecordingassoc session_id="SgAAAAAAAAAAAAAAAAAAAA=="><tns:associate-time>1970-01-01T00:21:07Z</tns:associate-time></tns:sessionrecordingassoc>
{carried}
</tns:recording>"""


def _script(ports: Sequence[int]) -> Client:
    offer = description(*(line(port, label, PCMU, EVENTS, more=["a=maxptime:20"]) for port, label in zip(ports, "12", strict=True)), origin="Sonus_UAC 20971 16034", session="SIP Media Capabilities")
    made = Client(
        user="ribbon", contact="<sip:{address};+sip.src>",
        headers=["Require: siprec", "Accept: application/sdp, application/rs-metadata-request", "Session-Expires: 1800;refresher=uac", "Supported: timer", "User-Agent: Ribbon SBC SWe Core V12.1"],
    )  # fmt: skip
    return made.invite(multipart("sonus-content-delim", session_part(offer), metadata_part(_xml()))).waits(2600).bye()


SHAPES: Final = {"ribbon": Shape(script=_script, says=two_voices())}

__all__ = ["CALL", "GCID", "SHAPES"]
