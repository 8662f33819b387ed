"""A made-up trace, told step by step: SIP calls as real user agents speak, media, and the packets around
them.

    scene = Scene()
    call = scene.call()
    call.invite().trying().ringing().ok().ack()
    call.rtp(seconds=4).rtp(seconds=4, from_caller=False)
    call.bye().ok()
    assert "missing-ack" not in scene.findings()

Times (`at`) are seconds since the scene's start. A step without `at` comes 0.1 s after the call's last one
(0.02 s for a 100, an ACK and answers to BYE and CANCEL). Addresses are "host:port" ("[v6]:port"). Packets may
be made in any order: the capture is sorted by time. Hosts are from the documentation ranges, which count as
public.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from tests.data import scene_packets as wire
from tests.data.scene_packets import ACK, FIN, PSH, RST, SYN, host_text, split_address

if TYPE_CHECKING:
    from engine.trace.finding import Finding, Report

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
class Connection:
    """One TCP connection of a scene: next sequence number by sender."""

    client: str
    server: str
    sequence: dict[str, int]
    websocket: bool = False
    open: bool = True


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


class Scene:
    """Packets of one capture. `start` is seconds since 1970; `mtu` fragments larger IP packets; `seed` is
    of all chance."""

    def __init__(
        self, start: float = 1_700_000_000.0, *, mtu: int = 65535, seed: int = 1, snap_length: int = 262144
    ) -> None:
        self.start = start
        self.mtu = mtu
        self.random = Random(seed)
        self.snap_length = snap_length
        self.frames: list[tuple[float, int, bytes]] = []
        self.calls: list[Call] = []
        self._ip_id = 0x1000
        self._names = 0
        self._connections: dict[frozenset[str], Connection] = {}
        self._report: Report | None = None

    # ---- packets ----

    def packet(self, at: float, frame: bytes) -> Scene:
        """Any Ethernet frame."""
        self.frames.append((at, len(self.frames), frame))
        self._report = None
        return self

    def ip(
        self,
        at: float,
        source: str,
        target: str,
        protocol: int,
        payload: bytes,
        *,
        dscp: int = 0,
        ttl: int = 64,
        ip_id: int | None = None,
    ) -> Scene:
        """An IP packet of a transport payload; `ip_id` is counted up unless given (equal ids look like a
        mirror copy)."""
        if ip_id is None:
            self._ip_id = self._ip_id % 0xFFFF + 1
            ip_id = self._ip_id
        for packet in wire.ip_packets(
            source, target, protocol, payload, dscp=dscp, ttl=ttl, ip_id=ip_id, mtu=self.mtu
        ):
            self.packet(at, wire.ethernet(packet))
        return self

    def udp(
        self,
        at: float,
        source: str,
        target: str,
        payload: bytes,
        *,
        dscp: int = 0,
        ttl: int = 64,
        ip_id: int | None = None,
    ) -> Scene:
        """A UDP datagram of any payload."""
        datagram = wire.udp_datagram(source, target, payload)
        return self.ip(at, source, target, wire.PROTOCOL_UDP, datagram, dscp=dscp, ttl=ttl, ip_id=ip_id)

    def sip(
        self,
        at: float,
        source: str,
        target: str,
        text_or_lines: bytes | str | Sequence[str],
        transport: str = "UDP",
        dscp: int = 0,
        ttl: int = 64,
        ip_id: int | None = None,
    ) -> Scene:
        """A SIP message as it is: bytes, text (LF becomes CRLF), or lines joined by CRLF with an empty
        one behind.

        `transport` is UDP, TCP (a connection is opened when there is none) or WS (HTTP upgrade, then text
        frames).
        """
        if isinstance(text_or_lines, bytes):
            text = text_or_lines
        elif isinstance(text_or_lines, str):
            text = text_or_lines.replace("\r\n", "\n").replace("\n", "\r\n").encode()
        else:
            text = "\r\n".join(text_or_lines).encode()
            text += b"\r\n\r\n" if b"\r\n\r\n" not in text else b""
        if transport == "UDP":
            return self.udp(at, source, target, text, dscp=dscp, ttl=ttl, ip_id=ip_id)
        connection = self._connections.get(frozenset((source, target)))
        if connection is None or not connection.open:
            self.tcp_open(at - 0.003, source, target)
            connection = self._connections[frozenset((source, target))]
            if transport == "WS":
                self._upgrade(at - 0.001, connection)
        payload = text
        if connection.websocket:
            payload = wire.websocket_frame(text, masked=source == connection.client)
        return self.tcp_data(at, source, target, payload, dscp=dscp, ttl=ttl)

    # ---- TCP ----

    def _tcp(
        self,
        at: float,
        source: str,
        target: str,
        sequence: int,
        acknowledgement: int,
        flags: int,
        payload: bytes = b"",
        *,
        dscp: int = 0,
        ttl: int = 64,
    ) -> None:
        segment = wire.tcp_segment(source, target, sequence, acknowledgement, flags, payload)
        self.ip(at, source, target, wire.PROTOCOL_TCP, segment, dscp=dscp, ttl=ttl)

    def tcp_open(self, at: float, client: str, server: str) -> Scene:
        """SYN, SYN/ACK and ACK within a millisecond."""
        first = {client: self.random.getrandbits(31), server: self.random.getrandbits(31)}
        self._tcp(at, client, server, first[client], 0, SYN)
        self._tcp(at + 0.0005, server, client, first[server], first[client] + 1, SYN | ACK)
        self._tcp(at + 0.001, client, server, first[client] + 1, first[server] + 1, ACK)
        sequence = {client: first[client] + 1, server: first[server] + 1}
        self._connections[frozenset((client, server))] = Connection(client, server, sequence)
        return self

    def tcp_data(
        self,
        at: float,
        source: str,
        target: str,
        payload: bytes,
        *,
        segment: int = 65000,
        lose: Collection[int] = (),
        dscp: int = 0,
        ttl: int = 64,
    ) -> Scene:
        """Octets on an open connection, cut into segments of `segment` octets; segments numbered in
        `lose` are not seen."""
        connection = self._connections[frozenset((source, target))]
        for number, begin in enumerate(range(0, len(payload), segment)):
            piece = payload[begin : begin + segment]
            sequence, acknowledgement = connection.sequence[source], connection.sequence[target]
            if number not in lose:
                time = at + number * 0.0001
                self._tcp(
                    time, source, target, sequence, acknowledgement, PSH | ACK, piece, dscp=dscp, ttl=ttl
                )
            connection.sequence[source] += len(piece)
        return self

    def tcp_close(self, at: float, source: str, target: str, *, reset: bool = False) -> Scene:
        """`source` ends the connection: FIN both ways, or one RST."""
        connection = self._connections[frozenset((source, target))]
        own, far = connection.sequence[source], connection.sequence[target]
        connection.open = False
        if reset:
            self._tcp(at, source, target, own, far, RST | ACK)
            return self
        self._tcp(at, source, target, own, far, FIN | ACK)
        self._tcp(at + 0.001, target, source, far, own + 1, FIN | ACK)
        self._tcp(at + 0.002, source, target, own + 1, far + 1, ACK)
        return self

    def tcp_refused(
        self, at: float, client: str, server: str, *, answered: bool = True, tries: int = 1
    ) -> Scene:
        """A SYN that is reset, or (`answered=False`) never answered; repeated after 1, 2, 4 s."""
        sequence = self.random.getrandbits(31)
        for n in range(tries):
            time = at + 2**n - 1
            self._tcp(time, client, server, sequence, 0, SYN)
            if answered:
                self._tcp(time + 0.001, server, client, 0, sequence + 1, RST | ACK)
        return self

    def _upgrade(self, at: float, connection: Connection) -> None:
        ask = (
            f"GET /ws HTTP/1.1\r\nHost: {connection.server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGVzdC1rZXktZm9yLXdz\r\nSec-WebSocket-Protocol: sip\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        )
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept: 7hJmZ0nSw1gkqGxG9bXTYxzXZpM=\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
        )
        self.tcp_data(at, connection.client, connection.server, ask.encode())
        self.tcp_data(at + 0.0005, connection.server, connection.client, answer.encode())
        connection.websocket = True

    # ---- around SIP ----

    def icmp(
        self,
        at: float,
        reporter: str,
        source: str,
        target: str,
        payload: bytes = b"",
        *,
        kind: int = 3,
        code: int = 3,
    ) -> Scene:
        """`reporter` tells `source` that its UDP datagram to `target` did not arrive (3/3 port, 3/1 host;
        v6 1/4)."""
        datagram = wire.udp_datagram(source, target, payload)
        quoted = wire.ip_packets(source, target, wire.PROTOCOL_UDP, datagram, ip_id=7)[0]
        protocol, body = wire.icmp_error(reporter, source, quoted, kind, code)
        return self.ip(at, reporter, source, protocol, body)

    def stun(
        self,
        at: float,
        source: str,
        target: str,
        kind: int = 1,
        attributes: Sequence[bytes] = (),
        transaction: bytes | None = None,
    ) -> Scene:
        """A STUN message; attributes come from `scene_packets.stun_attribute` and `stun_address`."""
        return self.udp(at, source, target, wire.stun_message(kind, attributes, transaction))

    def tls(self, at: float, source: str, target: str, *records: bytes) -> Scene:
        """TLS records (`scene_packets.tls_record`) on the connection of the two, opened when there is
        none."""
        connection = self._connections.get(frozenset((source, target)))
        if connection is None or not connection.open:
            self.tcp_open(at - 0.003, source, target)
        return self.tcp_data(at, source, target, b"".join(records))

    def tls_handshake(
        self,
        at: float,
        client: str,
        server: str,
        *,
        chain: Sequence[bytes] = (),
        server_name: str = "",
        version: int = wire.TLS_12,
        cipher: int = 0xC02F,
        alert: int | None = None,
        alert_by_client: bool = False,
        request_certificate: bool = False,
    ) -> Scene:
        """Client hello, server hello with certificates, then application data or a fatal alert."""
        record, shake = wire.tls_record, wire.tls_handshake
        hello_version = min(version, wire.TLS_12)
        versions = (version,) if version > wire.TLS_12 else ()
        hello = wire.tls_client_hello(server_name, hello_version, (cipher,), versions)
        self.tls(at, client, server, record(22, shake(1, hello), wire.TLS_10))
        if alert is None or alert_by_client or chain:
            answer = shake(2, wire.tls_server_hello(hello_version, cipher, version if versions else 0))
            if chain:
                answer += shake(11, wire.tls_certificates(chain))
            if request_certificate:
                answer += shake(13, b"\x01\x01\x00\x02\x04\x01\x00\x00")
            self.tls(at + 0.01, server, client, record(22, answer + shake(14, b""), hello_version))
        if alert is not None:
            ends = (client, server) if alert_by_client else (server, client)
            return self.tls(at + 0.02, *ends, record(21, wire.tls_alert(alert), hello_version))
        self.tls(
            at + 0.02, client, server, record(22, shake(16, bytes(66)), hello_version), record(20, b"\x01")
        )
        self.tls(
            at + 0.03,
            server,
            client,
            record(20, b"\x01", hello_version),
            record(22, bytes(40), hello_version),
        )
        return self.tls(at + 0.04, client, server, record(23, bytes(600), hello_version))

    def dtls(self, at: float, source: str, target: str, *records: bytes) -> Scene:
        """DTLS records (`scene_packets.dtls_record`) in one datagram."""
        return self.udp(at, source, target, b"".join(records))

    def wait(self, until: float) -> Scene:
        """Lets the capture run on: one DNS query at `until`, so that windows before it count as seen."""
        query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"
        return self.udp(until, "198.51.100.200:40000", "198.51.100.53:53", query)

    # ---- media without a call ----

    def rtp(
        self,
        at: float,
        source: str,
        target: str,
        seconds: float,
        *,
        payload_type: int = 0,
        ssrc: int | None = None,
        start_seq: int = 1000,
        start_timestamp: int = 160_000,
        ptime_ms: float = 20,
        clock: int = 8000,
        loss: float | Collection[int] = (),
        jitter_ms: float | Callable[[int], float] = 0.0,
        duplicates: Collection[int] = (),
        swapped: Collection[int] = (),
        markers: Collection[int] = (0,),
        payload: bytes | Callable[[int], bytes] | None = None,
        pace_ms: float | None = None,
        dscp: int = 46,
        ttl: int = 64,
        level: float = 0.06,
    ) -> int:
        """An RTP stream; returns how many packets were sent (lost ones included).

        `loss` is a ratio by chance, or the indices left out; `jitter_ms` the greatest delay by chance, or
        a function
        of the index; `duplicates` are sent twice, `swapped` change places with the next. `pace_ms` is the
        sending
        interval where it differs from `ptime_ms`. `payload` is one for all, or made by index; else it
        sounds like speech.
        """
        ssrc = self.random.getrandbits(32) if ssrc is None else ssrc
        count = round(seconds * 1000 / ptime_ms)
        samples = round(clock * ptime_ms / 1000)
        sounds = wire.speech(
            ssrc & 0xFFFF, payload_type, samples=samples if payload_type in (0, 8) else 160, level=level
        )
        for n in range(count):
            lost = self.random.random() < loss if isinstance(loss, float) else n in loss
            if lost:
                continue
            delay = jitter_ms(n) if callable(jitter_ms) else self.random.uniform(0, jitter_ms)
            time = at + (n * (pace_ms or ptime_ms) + delay) / 1000
            if n in swapped:
                time += (ptime_ms + 1) / 1000
            body = (
                sounds[n % len(sounds)] if payload is None else payload(n) if callable(payload) else payload
            )
            marker = n in markers
            packet = wire.rtp_packet(
                payload_type, start_seq + n, start_timestamp + n * samples, ssrc, body, marker=marker
            )
            for copy in range(2 if n in duplicates else 1):
                self.udp(time + copy * 0.001, source, target, packet, dscp=dscp, ttl=ttl)
        return count

    # ---- calls ----

    def name(self, purpose: str) -> str:
        """A fresh word for tags, branches and Call-IDs; the same in every run."""
        self._names += 1
        return hashlib.sha256(f"{purpose} {self._names}".encode()).hexdigest()[:16]

    def call(
        self,
        caller: str = CALLER,
        callee: str = CALLEE,
        at: float = 0.0,
        call_id: str | None = None,
        from_user: str = "1001",
        to_user: str = "2002",
        **options: Any,
    ) -> Call:
        """A dialog to be played; options are the fields of `Call`."""
        number = len(self.calls)
        options.setdefault("caller_media", f"{host_text(caller)}:{20000 + 4 * number}")
        options.setdefault("callee_media", f"{host_text(callee)}:{30000 + 4 * number}")
        call_id = f"{self.name('call')}@{host_text(caller)}" if call_id is None else call_id
        call = Call(self, caller, callee, at, call_id, from_user, to_user, **options)
        self.calls.append(call)
        return call

    def forward(
        self,
        text: bytes,
        at: float,
        source: str,
        target: str,
        *,
        transport: str = "UDP",
        record_route: str | None = None,
    ) -> bytes:
        """What a proxy at `source` sends on: a request with its Via on top and one hop less, a response
        without the top Via.

        `record_route` is the proxy's own URI to put in. Returns the message as sent.
        """
        head, _, body = text.partition(b"\r\n\r\n")
        start, *lines = head.decode().split("\r\n")
        if start.startswith("SIP/2.0 "):
            lines.remove(next(line for line in lines if line.lower().startswith("via:")))
        else:
            via = next(line for line in lines if line.lower().startswith("via:"))
            branch = hashlib.sha256((source + via).encode()).hexdigest()[:16]
            lines.insert(lines.index(via), f"Via: SIP/2.0/{transport} {source};branch=z9hG4bK{branch}")
            for n, line in enumerate(lines):
                if line.lower().startswith("max-forwards:"):
                    lines[n] = f"Max-Forwards: {int(line.split(':')[1]) - 1}"
            if record_route:
                lines.insert(1, f"Record-Route: <{record_route}>")
        sent = "\r\n".join([start, *lines]).encode() + b"\r\n\r\n" + body
        self.sip(at, source, target, sent, transport)
        return sent

    # ---- what comes of it ----

    def pcap(self) -> bytes:
        """The capture file, packets in order of time."""
        return wire.pcap_file(
            ((self.start + at, frame) for at, _, frame in sorted(self.frames)), self.snap_length
        )

    def report(self, **options: Any) -> Report:
        """The analysis of the capture; options go to `engine.trace.analyze`."""
        from engine.trace import analyze

        if options or self._report is None:
            report: Report = analyze(self.pcap(), **options)
            if options:
                return report
            self._report = report
        return self._report

    def findings(self) -> dict[str, Finding]:
        """Findings by rule id; the highest ranked one where a rule has several."""
        found: dict[str, Finding] = {}
        for finding in self.report().findings:
            found.setdefault(finding.rule, finding)
        return found

    def rules_found(self) -> set[str]:
        """Ids of the rules that fired."""
        return set(self.findings())


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
