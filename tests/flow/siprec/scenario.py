"""Scenarios of SIPp as recording clients (RFC 7866): what one of them sends and waits for, step by step, and the bodies in it.

SIPp takes blanks off the beginning of each line, ends lines with CR LF and fills in `[...]`, so no body has a bracket of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

from tests.flow.sipp import DTD

RS_XML: Final = "application/rs-metadata+xml"
RS_OLD: Final = "application/rs-metadata"  # as it was before RFC 9806
SDP: Final = "application/sdp"
PCMU: Final = "0 PCMU/8000"
PCMA: Final = "8 PCMA/8000"
EVENTS: Final = "101 telephone-event/8000"
PRE_RFC: Final = "urn:ietf:params:xml:ns:recording"
RFC: Final = "urn:ietf:params:xml:ns:recording:1"

Part = tuple[str, str, str]  # content type, disposition ("" for none), content
Body = tuple[str, str]  # content type, content


def line(port: int, label: str = "", *formats: str, direction: str = "sendonly", address: str = "", more: Sequence[str] = ()) -> str:
    """An m= line with what belongs to it. No `direction` is said where that is empty."""
    chosen = formats or (PCMU,)
    numbers = " ".join(one.split()[0] for one in chosen)
    lines = [f"m=audio {port} RTP/AVP {numbers}", *([f"c=IN IP4 {address}"] if address else []), *(f"a=rtpmap:{one}" for one in chosen if " " in one)]
    return "\n".join([*lines, *([f"a={direction}"] if direction else []), *([f"a=label:{label}"] if label else []), *more])


def description(*lines: str, origin: str = "- 7001 1", session: str = "-", address: str = "127.0.0.1", more: Sequence[str] = ()) -> str:
    """A session description of these m= lines."""
    return "\n".join(["v=0", f"o={origin} IN IP4 127.0.0.1", f"s={session}", f"c=IN IP4 {address}", "t=0 0", *more, *lines]) + "\n"


def session_part(sdp: str, disposition: str = "session;handling=required") -> Part:
    return SDP, disposition, sdp


def metadata_part(xml: str, content_type: str = RS_XML, disposition: str = "recording-session") -> Part:
    return content_type, disposition, xml


def multipart(boundary: str, *parts: Part, quoted: bool = False, preamble: str = "") -> Body:
    """A body of several parts (RFC 2046 5.1)."""
    text = preamble
    for content_type, disposition, content in parts:
        head = f"Content-Type: {content_type}\n" + (f"Content-Disposition: {disposition}\n" if disposition else "")
        text += f"--{boundary}\n{head}\n{content.rstrip()}\n\n"
    return "multipart/mixed;boundary=" + (f'"{boundary}"' if quoted else boundary), f"{text}--{boundary}--\n"


class Client:
    """The scenario of one recording client, one call long. Each method adds steps; `xml` is what SIPp is given.

    `sender` is the value of its From without the tag; `contact` is the whole value of its Contact, `{address}` in it its own; `headers` stand in every request that
    begins or changes something.
    """

    def __init__(self, *, user: str = "src", sender: str = "", contact: str = "<sip:{address}>;+sip.src", headers: Sequence[str] = (), to: str = "srs") -> None:
        address = "[local_ip]:[local_port];transport=[transport]"
        self._from = f"{sender or f'<sip:{user}@[local_ip]:[local_port]>'};tag=[pid]x[call_number]"
        self._contact = contact.replace("{address}", f"{user}@{address}")
        self._to = f"<sip:{to}@[remote_ip]:[remote_port]>"
        self._uri = f"sip:{to}@[remote_ip]:[remote_port]"
        self._headers = tuple(headers)
        self._cseq = 0
        self._steps: list[str] = []

    def _request(self, method: str, body: Body | None, headers: Sequence[str], *, number: int, retrans: bool = True) -> None:
        first = method == "INVITE" and number == 1
        carried = [f"Content-Type: {body[0]}"] if body else []
        lines = [
            f"{method} {self._uri if first else '[next_url]'} SIP/2.0", "Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]",
            *([] if first else ["[routes]"]), f"From: {self._from}", f"To: {self._to}{'' if first else '[peer_tag_param]'}", "Call-ID: [call_id]", f"CSeq: {number} {method}",
            f"Contact: {self._contact}", "Max-Forwards: 70", *headers, *carried, "Content-Length: [len]", "", *(body[1].rstrip("\n").split("\n") if body else [""]),
        ]  # fmt: skip
        if body and body[1].startswith("--"):
            lines.append("")  # the end of a multipart body is a line
        self._steps.append(f"<send{' retrans=' + chr(34) + '500' + chr(34) if retrans else ''}><![CDATA[\n" + "\n".join(lines) + "\n]]></send>")

    def _answered(self, *, rings: bool) -> None:
        if rings:
            self._steps += [f'<recv response="{status}" optional="true"/>' for status in (100, 180, 183)]
        self._steps.append('<recv response="200" rrs="true"/>')

    def invite(self, body: Body | None, *headers: str, acked: Body | None = None) -> Self:
        """An INVITE, or behind the first one a re-INVITE, its 200 and the ACK, which has the answer where there was no offer."""
        self._cseq += 1
        self._request("INVITE", body, [*self._headers, *headers], number=self._cseq)
        self._answered(rings=True)
        self._request("ACK", acked, [], number=self._cseq, retrans=False)
        return self

    def update(self, body: Body | None, *headers: str) -> Self:
        """An UPDATE (RFC 3311) and its 200."""
        self._cseq += 1
        self._request("UPDATE", body, [*self._headers, *headers], number=self._cseq)
        self._answered(rings=False)
        return self

    def waits(self, ms: int) -> Self:
        """Nothing for a while."""
        self._steps.append(f'<pause milliseconds="{ms}"/>')
        return self

    def hears_bye(self) -> Self:
        """The end, by the other side."""
        answer = ["SIP/2.0 200 OK", "[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]", "Content-Length: 0", ""]
        self._steps += ['<recv request="BYE"/>', "<send><![CDATA[\n" + "\n".join(answer) + "\n]]></send>"]
        return self

    def bye(self, *headers: str) -> Self:
        """The end."""
        self._cseq += 1
        self._request("BYE", None, headers, number=self._cseq)
        self._answered(rings=False)
        return self

    def xml(self) -> str:
        """The scenario."""
        return f'{DTD}<scenario name="recording client">\n' + "\n".join(self._steps) + "\n</scenario>\n"


__all__ = [
    "EVENTS", "PCMA", "PCMU", "PRE_RFC", "RFC", "RS_OLD", "RS_XML", "SDP", "Body", "Client", "Part", "description", "line", "metadata_part", "multipart", "session_part",
]  # fmt: skip
