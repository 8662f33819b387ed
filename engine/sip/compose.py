"""SIP messages to bytes: requests, the answers to requests, and what ACK and CANCEL take from the INVITE they belong to.

Header values come from this program, but parts of them come from configuration and from other people's messages: one that holds a line
end would become two headers, so it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from engine._native.sip import split_list
from engine.sip.message import Message


class Block(msgspec.Struct, frozen=True):
    """Headers that stand in many messages, checked and written once. It is a header to those that take headers."""

    text: str

    @classmethod
    def of(cls, headers: Iterable[tuple[str, str]]) -> Block:
        """Raises ValueError for a line end in any part."""
        return cls("\r\n".join(_lines(headers)))


Header: TypeAlias = tuple[str, str] | Block

MAGIC_COOKIE: Final = "z9hG4bK"  # RFC 3261 8.1.1.7
MAX_FORWARDS: Final = 70
# RFC 3261 21 and the registry behind it (RFC 3329, 3903, 4412, 4474, 5360, 5393, 6050, 6086, 6228, 6442, 8224, 8197, 8599, 8688)
REASONS: Final = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress", 199: "Early Dialog Terminated",
    200: "OK", 202: "Accepted", 204: "No Notification", 300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily",
    305: "Use Proxy", 380: "Alternative Service", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
    410: "Gone", 412: "Conditional Request Failed", 413: "Request Entity Too Large", 414: "Request-URI Too Long",
    415: "Unsupported Media Type", 416: "Unsupported URI Scheme", 417: "Unknown Resource-Priority", 420: "Bad Extension",
    421: "Extension Required", 422: "Session Interval Too Small", 423: "Interval Too Brief", 424: "Bad Location Information",
    425: "Bad Alert Message", 428: "Use Identity Header", 429: "Provide Referrer Identity", 430: "Flow Failed",
    433: "Anonymity Disallowed", 436: "Bad Identity Info", 437: "Unsupported Credential", 438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support", 440: "Max-Breadth Exceeded", 469: "Bad Info Package", 470: "Consent Needed",
    480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops",
    484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
    489: "Bad Event", 491: "Request Pending", 493: "Undecipherable", 494: "Security Agreement Required", 500: "Server Internal Error",
    501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported",
    513: "Message Too Large", 555: "Push Notification Service Not Supported", 580: "Precondition Failure", 600: "Busy Everywhere",
    603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable", 607: "Unwanted", 608: "Rejected",
}  # fmt: skip
_LINE_END = re.compile(r"[\r\n\0]")
_NAME = re.compile(r"[A-Za-z0-9!%*_+`'~.-]+")


def _lines(headers: Iterable[Header]) -> list[str]:
    lines = []
    for header in headers:
        if isinstance(header, Block):
            if header.text:
                lines.append(header.text)
            continue
        name, value = header
        if not _NAME.fullmatch(name) or _LINE_END.search(value):
            raise ValueError(f"{name[:80]!r} cannot be a header with that value: it holds a line end, or the name is no token")
        lines.append(f"{name}: {value}")
    return lines


def _joined(start: str, lines: Sequence[str], body: bytes) -> bytes:
    head = "\r\n".join((start, *lines, f"Content-Length: {len(body)}", "", ""))
    return head.encode("utf-8", "surrogateescape") + body


def request(method: str, uri: str, headers: Iterable[Header], body: bytes = b"") -> bytes:
    """A request; Content-Length is added, everything else is the caller's. Raises ValueError for a line end in any part."""
    start = f"{method} {uri} SIP/2.0"
    if _LINE_END.search(start) or not _NAME.fullmatch(method) or " " in uri:
        raise ValueError(f"{start[:80]!r} is no request line")
    return _joined(start, _lines(headers), body)


def response(
    to: Message, status: int, reason: str = "", *, to_tag: str = "", headers: Iterable[Header] = (), body: bytes = b"", via: str = ""
) -> bytes:
    """An answer to a request (RFC 3261 8.2.6): its Vias, From, To, Call-ID and CSeq, and Record-Route where a dialog may come of it.

    `to_tag` is added to a To without one, except in a 100. `via` stands for the topmost Via, with received and rport filled in
    (18.2.1, RFC 3581 4). Raises ValueError for a status that is none and for line ends.
    """
    if not 100 <= status <= 699:
        raise ValueError(f"{status} is no status code")
    start = f"SIP/2.0 {status} {reason or REASONS.get(status, REASONS[status // 100 * 100])}"
    if _LINE_END.search(start) or _LINE_END.search(to_tag):
        raise ValueError("a reason phrase or a tag cannot hold a line end")
    head = to.tokens.answer_head(
        start.encode("utf-8", "surrogateescape"), via.encode("utf-8", "surrogateescape"), b"" if status == 100 else to_tag.encode(),
        101 <= status <= 299, status == 100,
    )  # fmt: skip
    if head is not None:
        lines = _lines(headers)
        rest = "\r\n".join(("", *lines, f"Content-Length: {len(body)}", "", ""))
        return head + rest.encode("utf-8", "surrogateescape") + body
    lines = answer_head_by_header(to, status, to_tag, via)
    return _joined(start, [*lines, *_lines(headers)], body)


def answer_head_by_header(to: Message, status: int, to_tag: str, via: str) -> list[str]:
    """The lines of an answer's head that come from the request, looked up header by header."""
    lines = []
    vias = to.values("Via")
    if via and vias:
        _, comma, others = _first_element(vias[0])
        vias[0] = via + comma + others
    lines += [f"Via: {value}" for value in vias]
    if 101 <= status <= 299:
        lines += [f"Record-Route: {value}" for value in to.values("Record-Route")]
    lines.append(f"From: {to.value('From')}")
    recipient = to.value("To")
    if to_tag and status != 100 and not (to.recipient and to.recipient.tag):
        recipient += f";tag={to_tag}"
    lines += [f"To: {recipient}", f"Call-ID: {to.value('Call-ID')}", f"CSeq: {to.value('CSeq')}"]
    if status == 100 and (stamp := to.value("Timestamp")):
        lines.append(f"Timestamp: {stamp}")
    return lines


def _first_element(value: str) -> tuple[str, str, str]:
    """A header value cut behind its first list element: (element, comma, rest)."""
    if "," not in value:
        return value, "", ""
    raw = value.encode("utf-8", "surrogateescape")
    elements = split_list(raw)
    if not elements:
        return value, "", ""
    begin = raw.find(elements[0])
    end = raw.find(b",", begin + len(elements[0]))
    end = len(raw) if end < 0 else end
    first, comma, rest = raw[begin : begin + len(elements[0])], raw[end : end + 1], raw[end + 1 :]
    return first.decode("utf-8", "surrogateescape"), comma.decode(), rest.decode("utf-8", "surrogateescape")


def ack(invite: Message, final: Message) -> bytes:
    """The ACK of a final answer that is no 2xx: same Request-URI, topmost Via, Route and CSeq number; To of the answer (17.1.1.3)."""
    return _beside(invite, "ACK", final.value("To"))


def cancel(invite: Message) -> bytes:
    """The CANCEL of an INVITE: same Request-URI, topmost Via, From, To, Call-ID, Route and CSeq number (9.1)."""
    return _beside(invite, "CANCEL", invite.value("To"))


def _beside(invite: Message, method: str, to: str) -> bytes:
    number = invite.cseq[0] if invite.cseq else 0
    top = _first_element(invite.value("Via"))[0]
    lines = [f"Via: {top}", *(f"Route: {value}" for value in invite.values("Route")), f"Max-Forwards: {MAX_FORWARDS}"]
    lines += [f"From: {invite.value('From')}", f"To: {to}", f"Call-ID: {invite.value('Call-ID')}", f"CSeq: {number} {method}"]
    return _joined(f"{method} {_uri(invite)} SIP/2.0", lines, b"")


def _uri(invite: Message) -> str:
    return invite.tokens.request_uri.decode("utf-8", "surrogateescape")


__all__ = ["MAGIC_COOKIE", "MAX_FORWARDS", "REASONS", "Block", "Header", "ack", "cancel", "request", "response"]
