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
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from tests.data import scene_packets as wire
from tests.data.scene_call import CALLEE, CALLER, FORMATS, REASONS, Call, Request, amended, message, sdp
from tests.data.scene_packets import ACK, FIN, PSH, RST, SYN, host_text

if TYPE_CHECKING:
    from engine.trace.finding import Finding, Report

__all__ = ["CALLEE", "CALLER", "FORMATS", "REASONS", "Call", "Request", "Scene", "amended", "message", "sdp"]


@dataclass
class Connection:
    """One TCP connection of a scene: next sequence number by sender."""

    client: str
    server: str
    sequence: dict[str, int]
    websocket: bool = False
    open: bool = True


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
