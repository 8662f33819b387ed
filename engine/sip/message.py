"""A SIP message to work with: text where text is meant, parsed values where RFC 3261 gives them parts.

The bytes are read once by the native tokenizer; everything here is looked up on access and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from engine._native.sip import (
    Address,
    Essentials,
    Flag,
    Uri,
    Via,
    ViaFlag,
    parse_address,
    parse_cseq,
    parse_number,
    parse_uri,
    parse_via,
    scan,
    split_list,
)
from engine._native.sip import Message as Tokens

# Forms that RFC 3261 allows (§7.3.1 folding, §7.3.3 compact names, §7.5 leading empty lines, §18.3 no Content-Length
# in a datagram). They are seen, not held against a message.
_RPORT = int(ViaFlag.RPORT)
FORMS = Flag.FOLDED | Flag.COMPACT | Flag.LONG | Flag.LEADING_CRLF | Flag.LENGTH_MISSING

DEFECTS: dict[Flag, str] = {
    Flag.BARE_LF: "a line ends in LF without CR",
    Flag.BARE_CR: "a CR stands without LF",
    Flag.NO_BLANK_LINE: "no empty line ends the headers",
    Flag.BAD_HEADER_LINE: "a header line has no valid name",
    Flag.SPACE_BEFORE_COLON: "white space stands between a header name and its colon",
    Flag.CONTROL_BYTE: "a control byte stands in the start line or a header",
    Flag.NON_UTF8: "the start line or a header is not UTF-8",
    Flag.LENGTH_INVALID: "Content-Length is no decimal number",
    Flag.LENGTH_CONFLICT: "two Content-Length values differ",
    Flag.LENGTH_REPEATED: "Content-Length stands more than once",
    Flag.BODY_SHORT: "the body is shorter than Content-Length",
    Flag.BODY_LONG: "bytes follow the body that Content-Length announces",
    Flag.TOO_MANY_HEADERS: "there are more headers than are kept",
    Flag.START_LINE_SPACES: "the start line has white space too much",
    Flag.URI_SPACES: "white space stands in the Request-URI",
    Flag.VERSION_BAD: "the SIP version is not SIP/2.0",
    Flag.STATUS_RANGE: "the status code is not within 100 to 699",
    Flag.STATUS_BAD: "the status code is not three digits",
    Flag.METHOD_BAD: "the method is no token",
    Flag.REASON_MISSING: "no space follows the status code",
    Flag.QUOTE_UNBALANCED: "a quoted string never closes",
}


Value = TypeVar("Value")


class _once(Generic[Value]):
    """A value that is worked out when it is first asked for. functools.cached_property takes a lock for it, in Python 3.11."""

    def __init__(self, work: Callable[[Any], Value]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type[object], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, message: None, owner: type[object]) -> _once[Value]: ...
    @overload
    def __get__(self, message: object, owner: type[object]) -> Value: ...
    def __get__(self, message: object | None, owner: type[object]) -> Value | _once[Value]:
        if message is None:
            return self
        value = message.__dict__[self._name] = self._work(message)
        return value


def text(value: bytes) -> str:
    """Bytes of a message as text; what is not UTF-8 survives as surrogates and encodes back."""
    return value.decode("utf-8", "surrogateescape")


class Message:
    """One SIP request or response. `tokens` is the tokenizer's view of it, with flags and byte offsets."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def __repr__(self) -> str:
        return f"<Message {self.start}>"

    # ---- start line ----

    @property
    def is_request(self) -> bool:
        return not self.tokens.is_response

    @property
    def start(self) -> str:
        """The start line, rebuilt with single spaces."""
        t = self.tokens
        if t.is_response:
            return text(b"%s %d %s" % (t.version, t.status, t.reason))
        return text(b"%s %s %s" % (t.method, t.request_uri, t.version))

    @property
    def method(self) -> str:
        """Method of a request, or of the transaction a response answers (its CSeq); empty when unknown."""
        if self.is_request:
            return text(self.tokens.method)
        return self.cseq[1] if self.cseq else ""

    @property
    def status(self) -> int:
        """Status code; 0 for requests."""
        return self.tokens.status

    @property
    def reason(self) -> str:
        return text(self.tokens.reason)

    @_once
    def request_uri(self) -> Uri | None:
        """Parts of the Request-URI; None for responses."""
        return parse_uri(self.tokens.request_uri) if self.is_request else None

    # ---- headers ----

    def values(self, name: str) -> list[str]:
        """Every value of a header (any case, long or compact name), unfolded, one a header line."""
        return [text(value) for value in self.tokens.header(name)]

    def value(self, name: str, default: str = "") -> str:
        """First value of a header."""
        values = self.tokens.header(name)
        return text(values[0]) if values else default

    def elements(self, name: str) -> list[bytes]:
        """Elements of a header that is a comma-joined list, over all its lines (RFC 3261 §7.3.1)."""
        return [element for value in self.tokens.header(name) for element in split_list(value) if element]

    def addresses(self, name: str) -> list[Address]:
        """Elements of an address list header such as Contact or Route."""
        return [parse_address(element) for element in self.elements(name)]

    def number(self, name: str) -> int | None:
        """Decimal at the start of a header's first value; None when there is none."""
        values = self.tokens.header(name)
        value, digits = parse_number(values[0]) if values else (0, 0)
        return value if digits else None

    def _address(self, name: str) -> Address | None:
        values = self.tokens.header(name)
        return parse_address(values[0]) if values else None

    @property
    def call_id(self) -> str:
        return self.value("Call-ID")

    @_once
    def cseq(self) -> tuple[int, str] | None:
        """Number and method; None when missing or malformed."""
        values = self.tokens.header("CSeq")
        found = parse_cseq(values[0]) if values else None
        return (found[0], text(found[1])) if found else None

    @_once
    def sender(self) -> Address | None:
        """The From header."""
        return self._address("From")

    @_once
    def recipient(self) -> Address | None:
        """The To header."""
        return self._address("To")

    @_once
    def vias(self) -> list[Via]:
        """Via elements, topmost first."""
        return [parse_via(element) for element in self.elements("Via")]

    @_once
    def contacts(self) -> list[Address]:
        return self.addresses("Contact")

    @_once
    def plain_essentials(self) -> Essentials | None:
        """The same from one native call; None where each header must be looked at."""
        return self.tokens.essentials()

    @_once
    def essentials(self) -> Essentials:
        """What transactions and dialogs are found by. Raises ValueError for a message that lacks any of it: ask `defect_of` first."""
        found = self.plain_essentials
        return self.essentials_by_header() if found is None else found

    def essentials_by_header(self) -> Essentials:
        """The same, looked up header by header."""
        element, via, sender, recipient, cseq = self.elements("Via")[:1], self.vias[:1], self.sender, self.recipient, self.cseq
        if not via or sender is None or recipient is None or cseq is None:
            raise ValueError("a header that every message has is missing")
        top = via[0]
        return Essentials(
            text(element[0]), text(top.branch), text(top.host), top.port, bool(int(top.flags) & _RPORT), self.call_id, cseq[0], cseq[1],
            text(sender.tag), text(recipient.tag),
        )  # fmt: skip

    # ---- body and defects ----

    @property
    def body(self) -> bytes:
        return self.tokens.body

    @property
    def content_type(self) -> str:
        """Media type in lower case, without parameters."""
        return self.value("Content-Type").partition(";")[0].strip().lower()

    @property
    def defects(self) -> list[str]:
        """What is wrong with the bytes, one sentence each."""
        return [sentence for flag, sentence in DEFECTS.items() if flag & self.tokens.flags]


def parse(data: bytes | bytearray | memoryview | str) -> Message:
    """Reads one message that ends where `data` ends. Raises Malformed (a ValueError) without a SIP start line."""
    return Message(scan(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data))


def split_stream(data: bytes) -> tuple[list[Message], bytes]:
    """Messages of a TCP or TLS byte stream by Content-Length (RFC 3261 §18.3), and the bytes of the one still open.

    Raises Malformed where a message should start and none does.
    """
    messages = []
    view = memoryview(data)
    while view:
        tokens = scan(view, True)
        if tokens is None:
            break
        messages.append(Message(tokens))
        view = view[tokens.length :]
    rest = bytes(view)
    return messages, b"" if not rest.strip(b"\r\n") else rest
