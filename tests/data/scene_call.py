"""One SIP dialog played step by step, as real user agents speak: the `Call` of a `tests.data.scene.Scene`.

Also what its messages are made of: session descriptions (`sdp`), header lists, RTP and RTCP of its two ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.data import scene_packets as wire
from tests.data.scene_packets import host_text, split_address

if TYPE_CHECKING:
    from tests.data.scene import Scene

CALLER, CALLEE = "198.51.100.10:5060", "203.0.113.20:5060"
HeaderValues = Mapping[str, str | Sequence[str] | None]

REASONS = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    415: "Unsupported Media Type",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}

FORMATS = {
    "PCMU": "0 PCMU/8000",
    "GSM": "3 GSM/8000",
    "G723": "4 G723/8000",
    "PCMA": "8 PCMA/8000",
    "G722": "9 G722/8000",
    "CN": "13 CN/8000",
    "G728": "15 G728/8000",
    "G729": "18 G729/8000",
    "opus": "111 opus/48000/2",
    "iLBC": "97 iLBC/8000",
    "AMR": "98 AMR/8000",
    "AMR-WB": "99 AMR-WB/16000",
    "speex": "100 speex/8000",
    "telephone-event": "101 telephone-event/8000",
    "H264": "102 H264/90000",
    "VP8": "103 VP8/90000",
    "G726-32": "104 G726-32/8000",
}


def sdp(
    address: str,
    port: int,
    codecs: Sequence[str] = ("PCMU", "PCMA", "telephone-event"),
    direction: str | None = "sendrecv",
    ptime: int | None = 20,
    extra: Sequence[str] = (),
    *,
    media: str = "audio",
    proto: str = "RTP/AVP",
    session_id: int = 4711,
    version: int = 1,
    origin: str | None = None,
    session_extra: Sequence[str] = (),
    more_media: Sequence[str] = (),
) -> str:
    """A session description. `codecs` are names (FORMATS) or whole mappings such as "96 opus/48000/2".

    `extra` are lines at media level, `session_extra` at session level (behind t=), `more_media` lines of
    further sections, m= included. `origin` is the address of o= where it differs. None leaves direction or
    ptime out.
    """
    family = "IP6" if ":" in address else "IP4"
    mappings = [FORMATS.get(codec, codec) for codec in codecs]
    numbers = [mapping.split()[0] for mapping in mappings]
    lines = [
        "v=0",
        f"o=- {session_id} {version} IN {family} {origin or address}",
        "s=call",
        f"c=IN {family} {address}",
        "t=0 0",
        *session_extra,
        f"m={media} {port} {proto} {' '.join(numbers)}",
        *(f"a=rtpmap:{mapping}" for mapping in mappings if " " in mapping),
    ]
    lines += [f"a=fmtp:{mapping.split()[0]} 0-16" for mapping in mappings if "telephone-event" in mapping]
    if ptime:
        lines.append(f"a=ptime:{ptime}")
    if direction:
        lines.append(f"a={direction}")
    return "".join(f"{line}\r\n" for line in (*lines, *extra, *more_media))


def message(start_line: str, headers: Sequence[tuple[str, str]], body: str | bytes = b"") -> bytes:
    """A SIP message of header pairs; Content-Length is added when no pair names it."""
    octets = body.encode() if isinstance(body, str) else body
    lines = [start_line, *(f"{name}: {value}" for name, value in headers)]
    if not any(name.lower() in ("content-length", "l") for name, _ in headers):
        lines.append(f"Content-Length: {len(octets)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + octets


def amended(
    pairs: Sequence[tuple[str, str]], headers: HeaderValues | None, drop: Collection[str]
) -> list[tuple[str, str]]:
    """Header pairs with values replaced in place, new ones appended and some left out (names in any case)."""
    given = {name.lower(): (name, value) for name, value in (headers or {}).items()}
    gone = {name.lower() for name in drop} | {key for key, (_, value) in given.items() if value is None}
    out: list[tuple[str, str]] = []
    written: set[str] = set()
    for name, value in (*pairs, *((name, "") for name, _ in given.values())):
        key = name.lower()
        if key in gone or key in written:
            continue
        if key not in given:
            out.append((name, value))
            continue
        written.add(key)
        values = given[key][1]
        out += [(given[key][0], item) for item in ([values] if isinstance(values, str) else values or ())]
    return out


@dataclass
class Request:
    """A request that was sent, for answers, repeats and forwarding."""

    method: str
    cseq: int
    text: bytes
    source: str
    target: str
    from_caller: bool
    in_dialog: bool
    pairs: list[tuple[str, str]]
    answered: bool = False

    def values(self, name: str) -> list[str]:
        """Values of a header as sent."""
        return [value for key, value in self.pairs if key.lower() == name.lower()]


@dataclass
class Flow:
    """One direction of a call's media: where its RTP stands."""

    ssrc: int
    seq: int
    timestamp: int
    packets: int = 0
    octets: int = 0
    last_sr: tuple[int, float] | None = None


@dataclass
class Call:
    """One Call-ID between two ends: state as RFC 3261 §12 has it, messages as real user agents write them.

    Every step may be given `at`, `headers` (name: value, list of values, or None to leave out), `drop`
    (names left out),
    `source`/`target` (packet addresses), and keeps `last` (the request sent last) and `now` (time of the
    last step).
    Steps return the call, so that they chain.
    """

    scene: Scene
    caller: str
    callee: str
    at: float
    call_id: str
    from_user: str
    to_user: str
    transport: str = "UDP"
    caller_media: str = ""
    callee_media: str = ""
    codecs: Sequence[str] = ("PCMU", "PCMA", "telephone-event")
    answer_codecs: Sequence[str] = ("PCMU", "telephone-event")
    caller_agent: str = "Desk Phone/1.0"
    callee_agent: str = "Gateway/1.0"
    caller_contact: str | None = None
    callee_contact: str | None = None
    request_uri: str | None = None
    scheme: str = "sip"
    dscp: int = 24
    ttl: int = 64
    headers: HeaderValues = field(default_factory=dict)
    now: float = 0.0
    caller_tag: str = ""
    callee_tag: str = ""
    caller_cseq: int = 0
    callee_cseq: int = 0
    last: Request | None = None
    requests: list[Request] = field(default_factory=list)
    sent: bytes = b""
    route_set: list[str] = field(default_factory=list)
    sdp_versions: dict[bool, int] = field(default_factory=dict)
    flows: dict[bool, Flow] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now = self.at
        self.caller_tag = self.caller_tag or self.scene.name("caller")
        self.callee_tag = self.callee_tag or self.scene.name("callee")
        self.caller_cseq = self.caller_cseq or 101
        self.callee_cseq = self.callee_cseq or 500
        self._started = False

    # ---- parts ----

    def _time(self, at: float | None, step: float) -> float:
        if at is None:
            at = self.now + step if self._started else self.at
        self._started = True
        self.now = at
        return at

    def _uri(self, user: str, address: str) -> str:
        return f"{self.scheme}:{user}@{host_text(address)}"

    def contact(self, of_caller: bool) -> str:
        """Contact URI of one end."""
        given = self.caller_contact if of_caller else self.callee_contact
        if given:
            return given
        user, address = (self.from_user, self.caller) if of_caller else (self.to_user, self.callee)
        host, port = split_address(address)
        suffix = "" if self.transport == "UDP" else f";transport={self.transport.lower()}"
        return f"{self.scheme}:{user}@{f'[{host}]' if host.version == 6 else host}:{port}{suffix}"

    def sdp(self, of_caller: bool, codecs: Sequence[str] | None = None, **options: Any) -> str:
        """A description of one end's media; a new version each time it is made. Options as `sdp()`."""
        self.sdp_versions[of_caller] = self.sdp_versions.get(of_caller, 0) + 1
        host, port = split_address(self.caller_media if of_caller else self.callee_media)
        chosen = codecs or (self.codecs if of_caller else self.answer_codecs)
        options = {
            "address": str(host),
            "port": port,
            "codecs": chosen,
            "version": self.sdp_versions[of_caller],
            "session_id": 4711 if of_caller else 8822,
            **options,
        }
        return sdp(**options)

    def _ends(self, from_caller: bool) -> tuple[str, str]:
        caller = f"<{self._uri(self.from_user, self.caller)}>;tag={self.caller_tag}"
        callee = f"<{self._uri(self.to_user, self.callee)}>"
        return (caller, callee) if from_caller else (f"{callee};tag={self.callee_tag}", caller)

    def _body(
        self, given: str | bool | None, body: str | bytes, content_type: str | None, of_caller: bool
    ) -> tuple[str | bytes, str | None]:
        if given is True:
            return self.sdp(of_caller), "application/sdp"
        if given:
            return given, "application/sdp"
        return body, content_type

    # ---- requests ----

    def request(
        self,
        method: str,
        *,
        at: float | None = None,
        from_caller: bool = True,
        in_dialog: bool = True,
        sdp: str | bool | None = None,
        body: str | bytes = b"",
        content_type: str | None = None,
        headers: HeaderValues | None = None,
        drop: Collection[str] = (),
        uri: str | None = None,
        cseq: int | None = None,
        cseq_method: str | None = None,
        branch: str | None = None,
        from_tag: str | None = None,
        to_tag: str | None = None,
        source: str | None = None,
        target: str | None = None,
        version: str = "SIP/2.0",
        step: float = 0.1,
    ) -> Call:
        """Sends a request. The CSeq counts up by itself (ACK and CANCEL keep their INVITE's).

        `sdp` True is the end's own description, a text is taken as it is. `in_dialog` False leaves the To
        tag out.
        """
        time = self._time(at, step)
        if cseq is None:
            cseq = self._next_cseq(method, from_caller)
        local, remote = self._ends(from_caller)
        if from_caller and in_dialog:
            remote += f";tag={self.callee_tag}"
        if from_tag is not None:
            local = local.partition(";tag=")[0] + (f";tag={from_tag}" if from_tag else "")
        if to_tag is not None:
            remote = remote.partition(";tag=")[0] + (f";tag={to_tag}" if to_tag else "")
        own = source or (self.caller if from_caller else self.callee)
        far = target or (self.callee if from_caller else self.caller)
        branch = f"z9hG4bK{self.scene.name('branch')}" if branch is None else branch
        if uri is None:
            uri = self.contact(not from_caller) if in_dialog else self.request_uri or self.contact(False)
        text, kind = self._body(sdp, body, content_type, from_caller)
        pairs = [
            ("Via", f"SIP/2.0/{self.transport} {own};branch={branch};rport"),
            ("Max-Forwards", "70"),
            *(
                ("Route", route)
                for route in (self.route_set if from_caller else self.route_set[::-1])
                if in_dialog
            ),
            ("From", local),
            ("To", remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {cseq_method or method}"),
        ]
        if method not in ("ACK", "BYE", "CANCEL", "PRACK"):
            pairs.append(("Contact", f"<{self.contact(from_caller)}>"))
        pairs.append(("User-Agent", self.caller_agent if from_caller else self.callee_agent))
        if method == "INVITE":
            pairs.append(("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, REFER, NOTIFY, PRACK"))
            pairs.append(("Supported", "replaces, timer"))
        if kind:
            pairs.append(("Content-Type", kind))
        own_headers: dict[str, str | Sequence[str] | None] = {
            **(self.headers if method == "INVITE" else {}),
            **(headers or {}),
        }
        pairs = amended(pairs, own_headers, drop)
        sent = message(f"{method} {uri} {version}", pairs, text)
        if "content-length" in {name.lower() for name in drop}:
            sent = b"\r\n".join(
                line for line in sent.split(b"\r\n") if not line.startswith(b"Content-Length:")
            )
        self.last = Request(method, cseq, sent, own, far, from_caller, in_dialog, pairs)
        self.requests.append(self.last)
        return self._send(time, own, far, sent)

    def _next_cseq(self, method: str, from_caller: bool) -> int:
        if method in ("ACK", "CANCEL"):
            invite = self.sent_request("INVITE", from_caller)
            return invite.cseq if invite else self.caller_cseq
        name = "caller_cseq" if from_caller else "callee_cseq"
        setattr(self, name, getattr(self, name) + 1)
        return int(getattr(self, name))

    def _send(self, time: float, source: str, target: str, text: bytes) -> Call:
        self.sent = text
        self.scene.sip(time, source, target, text, self.transport, self.dscp, self.ttl)
        return self

    def sent_request(
        self, method: str, from_caller: bool | None = None, cseq: int | None = None
    ) -> Request | None:
        """The last request of a method (of one end, of one CSeq), None when there was none."""
        for request in reversed(self.requests):
            if (
                request.method == method
                and from_caller in (None, request.from_caller)
                and cseq in (None, request.cseq)
            ):
                return request
        return None

    def repeat(self, at: float, request: Request | None = None, *, source: str | None = None) -> Call:
        """Sends a request again, octet for octet (the last one by default)."""
        chosen = request or self.last
        assert chosen is not None, "nothing was sent yet"
        self.now = at
        return self._send(at, source or chosen.source, chosen.target, chosen.text)

    def retransmit(self, start: float, times: int, request: Request | None = None) -> Call:
        """Repeats an unanswered request `times` more times after its first at `start`, at Timer A or E
        instants."""
        chosen = request or self.last
        assert chosen is not None, "nothing was sent yet"
        at, interval = start, 0.5
        for _ in range(times):
            at += interval
            self.repeat(at, chosen)
            interval = interval * 2 if chosen.method == "INVITE" else min(interval * 2, 4.0)
        return self

    def invite(
        self,
        at: float | None = None,
        *,
        sdp: str | bool | None = True,
        from_caller: bool = True,
        **options: Any,
    ) -> Call:
        """INVITE; outside a dialog unless `in_dialog=True` (see reinvite)."""
        options.setdefault("in_dialog", False)
        return self.request("INVITE", at=at, sdp=sdp, from_caller=from_caller, **options)

    def reinvite(
        self,
        at: float | None = None,
        *,
        sdp: str | bool | None = True,
        from_caller: bool = True,
        **options: Any,
    ) -> Call:
        """INVITE inside the dialog (RFC 3261 §14)."""
        return self.request("INVITE", at=at, sdp=sdp, from_caller=from_caller, **options)

    def ack(
        self,
        at: float | None = None,
        *,
        from_caller: bool | None = None,
        invite: Request | None = None,
        **options: Any,
    ) -> Call:
        """ACK of the last INVITE: its own branch for a 2xx, the INVITE's branch and target otherwise
        (§17.1.1.3)."""
        invite = invite or self.sent_request("INVITE", from_caller)
        assert invite is not None, "no INVITE to acknowledge"
        options.setdefault("step", 0.02)
        options.setdefault("cseq", invite.cseq)
        if getattr(self, "_final_status", 200) >= 300:
            options.setdefault("branch", _branch(invite))
            options.setdefault("uri", invite.text.split(b" ", 2)[1].decode())
        return self.request("ACK", at=at, from_caller=invite.from_caller, **options)

    def bye(self, at: float | None = None, *, from_caller: bool = True, **options: Any) -> Call:
        """BYE."""
        return self.request("BYE", at=at, from_caller=from_caller, **options)

    def cancel(self, at: float | None = None, **options: Any) -> Call:
        """CANCEL of the last INVITE, with its branch, Request-URI and tags (§9.1)."""
        invite = self.sent_request("INVITE")
        assert invite is not None, "no INVITE to cancel"
        options.setdefault("branch", _branch(invite))
        options.setdefault("uri", invite.text.split(b" ", 2)[1].decode())
        options.setdefault("in_dialog", invite.in_dialog)
        return self.request("CANCEL", at=at, from_caller=invite.from_caller, cseq=invite.cseq, **options)

    def prack(self, at: float | None = None, *, rseq: int = 1, **options: Any) -> Call:
        """PRACK of a reliable provisional response to the last INVITE (RFC 3262)."""
        invite = self.sent_request("INVITE")
        assert invite is not None, "no INVITE"
        headers = {"RAck": f"{rseq} {invite.cseq} INVITE", **(options.pop("headers", None) or {})}
        return self.request("PRACK", at=at, from_caller=invite.from_caller, headers=headers, **options)

    # ---- responses ----

    def response(
        self,
        status: int,
        reason: str | None = None,
        *,
        at: float | None = None,
        to: str | int | Request | None = None,
        sdp: str | bool | None = None,
        body: str | bytes = b"",
        content_type: str | None = None,
        headers: HeaderValues | None = None,
        drop: Collection[str] = (),
        to_tag: str | None = None,
        contact: bool | None = None,
        source: str | None = None,
        target: str | None = None,
        repeats: Sequence[float] = (),
        step: float = 0.1,
    ) -> Call:
        """Answers a request: the last one but ACK, the last of a method, the one of a CSeq number, or the
        one given.

        `to_tag` "" leaves the To tag out, another text replaces it. `repeats` are times of further copies.
        """
        request = self._asked(to)
        time = self._time(at, step)
        from_caller = not request.from_caller
        tag = (self.caller_tag if from_caller else self.callee_tag) if to_tag is None else to_tag
        if status == 100 and to_tag is None:
            tag = ""
        remote = request.values("To")[0] if request.values("To") else ""
        if ";tag=" in remote and to_tag is not None:
            remote = remote.partition(";tag=")[0]
        if ";tag=" not in remote and tag:
            remote += f";tag={tag}"
        text, kind = self._body(sdp, body, content_type, from_caller)
        pairs = [
            ("Via", _answered_via(via, request.source) if n == 0 else via)
            for n, via in enumerate(request.values("Via"))
        ]
        pairs += [("Record-Route", value) for value in request.values("Record-Route")]
        pairs += [("From", value) for value in request.values("From")] + [("To", remote)]
        pairs += [("Call-ID", self.call_id), *(("CSeq", value) for value in request.values("CSeq"))]
        if contact or (
            contact is None
            and 101 <= status < 300
            and request.method in ("INVITE", "UPDATE", "SUBSCRIBE", "REFER")
        ):
            pairs.append(("Contact", f"<{self.contact(from_caller)}>"))
        if status > 100:
            pairs.append(("Server", self.caller_agent if from_caller else self.callee_agent))
        if request.method == "INVITE" and 200 <= status < 300:
            pairs.append(("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, REFER, NOTIFY, PRACK"))
        if kind:
            pairs.append(("Content-Type", kind))
        line = f"SIP/2.0 {status} {REASONS.get(status, 'Unknown') if reason is None else reason}"
        sent = message(line, amended(pairs, headers, drop), text)
        if status >= 200:
            request.answered = True
            if request.method == "INVITE":
                self._final_status = status
        own, far = source or request.target, target or request.source
        for again in repeats:
            self.scene.sip(again, own, far, sent, self.transport, self.dscp, self.ttl)
        return self._send(time, own, far, sent)

    def _asked(self, to: str | int | Request | None) -> Request:
        if isinstance(to, Request):
            return to
        for request in reversed(self.requests):
            if request.method != "ACK" and to in (None, request.method, request.cseq):
                return request
        raise AssertionError(f"no request {to!r} to answer")

    def trying(self, at: float | None = None, **options: Any) -> Call:
        """100 to the last INVITE."""
        return self.response(100, at=at, **{"to": "INVITE", "step": 0.02, **options})

    def ringing(self, at: float | None = None, **options: Any) -> Call:
        """180 to the last INVITE."""
        return self.response(180, at=at, **{"to": "INVITE", **options})

    def progress(self, at: float | None = None, *, sdp: str | bool | None = True, **options: Any) -> Call:
        """183 to the last INVITE, with a description unless `sdp=None`."""
        return self.response(183, at=at, sdp=sdp, **{"to": "INVITE", **options})

    def ok(
        self,
        at: float | None = None,
        *,
        sdp: str | bool | None = None,
        to: str | int | Request | None = None,
        **options: Any,
    ) -> Call:
        """200 to the last request that has no final answer; with a description to INVITE and UPDATE that
        carried one."""
        request = self._open_request() if to is None else self._asked(to)
        if sdp is None:
            carried = b"application/sdp" in request.text
            sdp = request.method == "INVITE" or (request.method == "UPDATE" and carried)
        options.setdefault("step", 0.1 if request.method == "INVITE" else 0.02)
        return self.response(200, at=at, to=request, sdp=sdp, **options)

    def _open_request(self) -> Request:
        for request in reversed(self.requests):
            if request.method != "ACK" and not request.answered:
                return request
        return self._asked(None)

    # ---- whole stretches ----

    def answered(self, at: float | None = None, **offer: Any) -> Call:
        """INVITE, 100, 180, 200, ACK: a call set up in 2 s."""
        self.invite(at, **offer).trying()
        return self.ringing(self.now + 0.4).ok(self.now + 1.5).ack()

    def basic(self, talk_s: float = 10.0, rtp: bool = True) -> Call:
        """A whole good call: set up, media and RTCP both ways for `talk_s`, BYE from the caller, 200."""
        self.answered()
        begin = self.now
        if rtp:
            self.media(talk_s)
        return self.bye(begin + talk_s).ok()

    def media(self, seconds: float, at: float | None = None, **options: Any) -> Call:
        """RTP both ways and, from 5 s on, RTCP reports both ways."""
        begin = self.now if at is None else at
        self.rtp(begin + 0.01, seconds - 0.02, **options)
        self.rtp(begin + 0.02, seconds - 0.04, from_caller=False, **options)
        for n in range(int((seconds - 0.5) // 5) + 1):
            when = begin + min(n * 5 + 0.5, seconds - 0.2)
            self.rtcp(when, sent=when - begin).rtcp(when + 0.1, from_caller=False, sent=when - begin)
        return self

    def _flow(self, from_caller: bool) -> Flow:
        if from_caller not in self.flows:
            random = self.scene.random
            self.flows[from_caller] = Flow(
                random.getrandbits(32), random.randrange(1, 30000), random.getrandbits(30)
            )
        return self.flows[from_caller]

    def rtp(
        self, at: float | None = None, seconds: float = 5.0, from_caller: bool = True, **options: Any
    ) -> Call:
        """RTP of one end, as `Scene.rtp`; goes on with the SSRC, sequence and timestamp of the end's last
        stretch."""
        flow = self._flow(from_caller)
        begin = self.now + 0.01 if at is None else at
        if options.get("ssrc", flow.ssrc) == flow.ssrc:
            options.setdefault("start_seq", flow.seq)
            options.setdefault("start_timestamp", flow.timestamp)
            if flow.packets:
                options.setdefault("markers", ())
        options.setdefault("ssrc", flow.ssrc)
        source, target = (
            (self.caller_media, self.callee_media) if from_caller else (self.callee_media, self.caller_media)
        )
        count = self.scene.rtp(
            begin, options.pop("source", source), options.pop("target", target), seconds, **options
        )
        samples = round(options.get("clock", 8000) * options.get("ptime_ms", 20) / 1000)
        flow.ssrc = options["ssrc"]
        flow.seq = options.get("start_seq", 1000) + count
        flow.timestamp = options.get("start_timestamp", 160_000) + count * samples
        flow.packets += count
        flow.octets += count * 160
        return self

    def rtcp(
        self,
        at: float,
        from_caller: bool = True,
        *,
        sent: float | None = None,
        fraction_lost: int = 0,
        lost: int = 0,
        jitter: int = 8,
        highest: int | None = None,
        block: bool = True,
        source: str | None = None,
        target: str | None = None,
    ) -> Call:
        """A sender report of one end with a block about the other's stream.

        `sent` is how many seconds of 20 ms packets had gone by when it was made (all of them by default).
        """
        own, far = self._flow(from_caller), self._flow(not from_caller)
        packets = own.packets if sent is None else min(round(sent * 50), own.packets)
        base = own.timestamp - own.packets * 160
        blocks = []
        if block:
            seen = far.packets if sent is None else min(round(sent * 50), far.packets)
            top = far.seq - far.packets + seen - 1 if highest is None else highest
            last_sr, delay = 0, 0
            if far.last_sr:
                last_sr, delay = far.last_sr[0], round((at - far.last_sr[1]) * 65536)
            blocks.append(
                wire.report_block(
                    far.ssrc,
                    fraction_lost=fraction_lost,
                    lost=lost,
                    highest=max(top, 0),
                    jitter=jitter,
                    last_sr=last_sr,
                    delay_since_sr=delay,
                )
            )
        time = self.scene.start + at
        report = wire.rtcp_report(
            own.ssrc, blocks, sender=(time, base + packets * 160, packets, packets * 160)
        )
        seconds, fraction = wire.ntp_time(time)
        own.last_sr = ((seconds & 0xFFFF) << 16 | fraction >> 16, at)
        media = (
            (self.caller_media, self.callee_media) if from_caller else (self.callee_media, self.caller_media)
        )
        source, target = source or _next_port(media[0]), target or _next_port(media[1])
        self.scene.udp(at, source, target, report, dscp=46)
        return self

    def dtmf(
        self, at: float, digits: str, from_caller: bool = True, *, payload_type: int = 101, **options: Any
    ) -> Call:
        """Telephone events in the end's stream: each digit 160 ms, its end sent three times (RFC 4733
        §2.5)."""
        flow = self._flow(from_caller)
        for digit in digits:
            event = "0123456789*#ABCD".index(digit)

            def payload(n: int, event: int = event) -> bytes:
                return wire.telephone_event(event, 160 * min(n + 1, 8), end=n >= 7)

            source, target = self.caller_media, self.callee_media
            if not from_caller:
                source, target = target, source
            for n in range(10):
                packet = wire.rtp_packet(
                    payload_type, flow.seq + n, flow.timestamp, flow.ssrc, payload(n), marker=n == 0
                )
                self.scene.udp(at + n * 0.02, source, target, packet, dscp=options.get("dscp", 46))
            flow.seq += 10
            flow.packets += 10
            flow.timestamp += 10 * 160
            at += 0.25
        return self


def _branch(request: Request) -> str:
    """Branch of a request's top Via."""
    via = request.values("Via")[0]
    return via.partition(";branch=")[2].partition(";")[0]


def _answered_via(via: str, source: str) -> str:
    """The top Via as a server sends it back: received and rport filled in (RFC 3261 §18.2.1, RFC 3581 §4)."""
    if not via.endswith(";rport"):
        return via
    host, port = split_address(source)
    return f"{via}={port};received={host}"


def _next_port(media: str) -> str:
    host, port = split_address(media)
    return f"{f'[{host}]' if host.version == 6 else host}:{port + 1}"
