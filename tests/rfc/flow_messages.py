"""What the canonical flows are said with: parties, messages, dialogs and proxies, as RFC 3261 has them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

START = datetime(2025, 3, 14, 9, 0, 0, 120_000, UTC)
SDP_TYPE = ("Content-Type", "application/sdp")
ALLOW = ("Allow", "INVITE, ACK, CANCEL, OPTIONS, BYE, PRACK, UPDATE, REFER, NOTIFY, SUBSCRIBE")
COPIED = ("Via", "From", "To", "Call-ID", "CSeq")


@dataclass(frozen=True)
class Party:
    """A user agent or proxy: user part, host name and the address that its packets carry."""

    user: str
    host: str
    address: str

    @property
    def uri(self) -> str:
        """Address of record."""
        return f"sip:{self.user}@{self.host}"

    @property
    def contact(self) -> str:
        """Contact header value."""
        return f"<sip:{self.user}@{self.address}:5060>"


ALICE = Party("alice", "atlanta.example.com", "198.51.100.11")
BOB = Party("bob", "biloxi.example.org", "203.0.113.21")
CAROL = Party("carol", "chicago.example.net", "203.0.113.35")
PROXY_1 = Party("", "ss1.atlanta.example.com", "198.51.100.2")
PROXY_2 = Party("", "ss2.biloxi.example.org", "203.0.113.2")


@dataclass
class Message:
    """A SIP message: start line, headers in order, body."""

    start: str
    headers: list[tuple[str, str]]
    body: str = ""

    def get(self, name: str) -> str:
        """First value of a header."""
        return next(value for known, value in self.headers if known == name)

    def wire(self) -> bytes:
        """Octets, with the Content-Length of the body."""
        head = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        body = self.body.encode()
        return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


@dataclass
class Flow:
    """Messages said so far, each with its time and ends."""

    said: list[tuple[datetime, Party, Party, Message]] = field(default_factory=list)
    clock: datetime = START
    branches: int = 0

    def say(self, source: Party, target: Party, message: Message, after_ms: float = 20) -> Message:
        """Appends a message `after_ms` after the last one and returns it."""
        self.clock += timedelta(milliseconds=after_ms)
        self.said.append((self.clock, source, target, message))
        return message

    def branch(self) -> str:
        """A fresh branch (RFC 3261 section 8.1.1.7)."""
        self.branches += 1
        return "z9hG4bK" + hashlib.sha256(b"%d" % self.branches).hexdigest()[:10]

    def via(self, party: Party, branch: str = "") -> tuple[str, str]:
        """A Via header of this party."""
        return "Via", f"SIP/2.0/UDP {party.address}:5060;branch={branch or self.branch()}"

    def forward(self, proxy: Party, message: Message, target: str = "") -> Message:
        """A request as a proxy sends it on (RFC 3261 section 16.6); `target` replaces the Request-URI."""
        method, uri, version = message.start.split(" ")
        headers = []
        for name, value in message.headers:
            if name == "Max-Forwards":
                value = str(int(value) - 1)
            if name == "Route":
                value = ", ".join(hop for hop in value.split(", ") if proxy.address not in hop)
            if value:
                headers.append((name, value))
        if method == "INVITE" and ";tag=" not in message.get("To"):
            vias = sum(name == "Via" for name, _ in headers)
            headers.insert(vias, ("Record-Route", f"<sip:{proxy.address};lr>"))
        return Message(f"{method} {target or uri} {version}", [self.via(proxy), *headers], message.body)

    def text(self) -> bytes:
        """The whole flow as a file."""
        parts = []
        for at, source, target, message in self.said:
            stamp = at.strftime("%Y/%m/%d %H:%M:%S.%f")
            parts.append(f"{stamp} {source.address}:5060 -> {target.address}:5060\n".encode())
            parts.append(message.wire() + b"\n\n")
        return b"".join(parts)


def back(message: Message) -> Message:
    """A response as a proxy sends it back: without its own Via."""
    return replace(message, headers=message.headers[1:])


def session(
    party: Party, port: int, version: int = 1, formats: str = "0 8 101", way: str = "sendrecv"
) -> str:
    """A session description with one audio line."""
    names = {"0": "PCMU/8000", "8": "PCMA/8000", "101": "telephone-event/8000"}
    lines = [
        "v=0", f"o={party.user} 2890844526 {2890844525 + version} IN IP4 {party.address}", "s=-",
        f"c=IN IP4 {party.address}", "t=0 0", f"m=audio {port} RTP/AVP {formats}",
        *(f"a=rtpmap:{number} {names[number]}" for number in formats.split()), "a=fmtp:101 0-16", "a=ptime:20", f"a={way}",
    ]  # fmt: skip
    return "".join(line + "\r\n" for line in lines)


def answer(
    request: Message, status: str, tag: str = "", *headers: tuple[str, str], body: str = ""
) -> Message:
    """A response to a request: the headers that RFC 3261 section 8.2.6.2 copies, then others."""
    copied = [
        (name, f"{value};tag={tag}" if name == "To" and tag and ";tag=" not in value else value)
        for name, value in request.headers
        if name in COPIED or (name == "Record-Route" and not status.startswith("100"))
    ]
    return Message(f"SIP/2.0 {status}", [*copied, *headers], body)


@dataclass
class Dialog:
    """A dialog seen from both ends; builds the requests inside it."""

    flow: Flow
    caller: Party
    called: Party
    call_id: str
    caller_tag: str
    called_tag: str
    numbers: dict[str, int] = field(default_factory=dict)
    route: str = ""

    def request(
        self,
        method: str,
        by: Party | None = None,
        *headers: tuple[str, str],
        body: str = "",
        first: bool = False,
        again: str = "",
    ) -> Message:
        """A request by one of the ends. `first` is outside the dialog (no To tag, address of record as target);
        `again` gives the branch of an ACK or CANCEL that belongs to the INVITE's transaction."""
        by = by or self.caller
        own, other = (self.caller, self.called) if by == self.caller else (self.called, self.caller)
        tags = (self.caller_tag, self.called_tag) if by == self.caller else (self.called_tag, self.caller_tag)
        if method not in ("ACK", "CANCEL"):
            self.numbers[by.user] = self.numbers.get(by.user, 100 if by == self.caller else 700) + 1
        target = other.uri if first else f"sip:{other.user}@{other.address}:5060"
        fixed = [
            self.flow.via(own, again), ("Max-Forwards", "70"),
            *([("Route", self.route)] if self.route and not first else []),
            ("From", f"{own.user.title()} <{own.uri}>;tag={tags[0]}"),
            ("To", f"{other.user.title()} <{other.uri}>" + ("" if first else f";tag={tags[1]}")),
            ("Call-ID", self.call_id), ("CSeq", f"{self.numbers[by.user]} {method}"),
        ]  # fmt: skip
        if method in ("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"):
            fixed.append(("Contact", own.contact))
        return Message(f"{method} {target} SIP/2.0", [*fixed, *headers], body)

    def finish(self, by: Party | None = None, after_ms: float = 8000) -> None:
        """BYE and its 200, directly between the ends."""
        by = by or self.caller
        other = self.called if by == self.caller else self.caller
        bye = self.flow.say(by, other, self.request("BYE", by), after_ms)
        self.flow.say(other, by, answer(bye, "200 OK"))

    def invite(self, *headers: tuple[str, str], port: int = 49172) -> Message:
        """Says the INVITE with an offer."""
        given = (ALLOW, *headers, SDP_TYPE)
        return self.flow.say(
            self.caller,
            self.called,
            self.request("INVITE", None, *given, body=session(self.caller, port), first=True),
        )

    def accept(
        self, invite: Message, *headers: tuple[str, str], body: str | None = None, after_ms: float = 2500
    ) -> None:
        """Says the 200 to an INVITE, with an answer unless `body` says otherwise, and the ACK."""
        body = session(self.called, 3456, formats="0 101") if body is None else body
        kind = (SDP_TYPE,) if body else ()
        self.flow.say(
            self.called,
            self.caller,
            answer(
                invite,
                "200 OK",
                self.called_tag,
                ("Contact", self.called.contact),
                ALLOW,
                *headers,
                *kind,
                body=body,
            ),
            after_ms,
        )
        ack = self.request("ACK")
        ack.headers = [
            (name, invite.get("CSeq").replace("INVITE", "ACK") if name == "CSeq" else value)
            for name, value in ack.headers
        ]
        self.flow.say(self.caller, self.called, ack)


def dialog(flow: Flow, caller: Party = ALICE, called: Party = BOB, number: int = 1) -> Dialog:
    """A dialog with identifiers of its own."""
    return Dialog(
        flow,
        caller,
        called,
        f"{number}848276298220188511@{caller.address}",
        f"9fxced76s{number}",
        f"314159{number}",
    )


def digest(method: str, uri: str, user: str, realm: str, nonce: str) -> str:
    """Credentials with qop=auth, computed as RFC 8760 and RFC 7616 say, with MD5."""
    count, client = "00000001", "0a4f113b"
    md5 = lambda text: hashlib.md5(text.encode()).hexdigest()  # noqa: E731
    secret = md5(f"{user}:{realm}:open sesame")
    proof = md5(f"{secret}:{nonce}:{count}:{client}:auth:{md5(f'{method}:{uri}')}")
    return (
        f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{proof}", '
        f'algorithm=MD5, cnonce="{client}", qop=auth, nc={count}'
    )


def through(flow: Flow, request: Message, path: tuple[Party, ...], target: str = "") -> Message:
    """Sends a request along a path of parties; the last proxy puts `target` in. Returns what arrives."""
    for number, (source, sink) in enumerate(pairwise(path)):
        if number:
            request = flow.forward(source, request, target if number == len(path) - 2 else "")
        request = flow.say(source, sink, request, 15)
        if request.start.startswith("INVITE") and sink in (PROXY_1, PROXY_2):
            flow.say(sink, source, answer(request, "100 Trying"), 5)
    return request


def returned(flow: Flow, response: Message, path: tuple[Party, ...], after_ms: float = 15) -> None:
    """Sends a response back along the reversed path."""
    for number, (sink, source) in enumerate(zip(path[-2::-1], path[:0:-1], strict=True)):
        response = flow.say(source, sink, back(response) if number else response, 15 if number else after_ms)
