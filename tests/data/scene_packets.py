"""Bytes of packets for made-up traces: Ethernet, IP, UDP, TCP, ICMP, RTP, RTCP, STUN, TLS and DTLS, and a
pcap file.

Every function is pure: values in, bytes out. Checksums are right, so a test never passes because of a
broken one.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random

PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMPV6 = 1, 6, 17, 58
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
Host = IPv4Address | IPv6Address


def split_address(text: str, default_port: int = 5060) -> tuple[Host, int]:
    """Host and port of "a.b.c.d:port", "[v6]:port" or a bare address."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return ip_address(host), int(rest[1:]) if rest else default_port
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return ip_address(host), int(port)
    return ip_address(text), default_port


def host_text(address: str) -> str:
    """Host of an address as it stands in a URI or a Via: IPv6 in brackets."""
    host, _ = split_address(address)
    return f"[{host}]" if host.version == 6 else str(host)


def checksum(payload: bytes) -> int:
    """Internet checksum (RFC 1071)."""
    if len(payload) % 2:
        payload += b"\0"
    total = sum(struct.unpack(f">{len(payload) // 2}H", payload))
    total = (total & 0xFFFF) + (total >> 16)
    return int(~(total + (total >> 16)) & 0xFFFF)


def pseudo_header(source: Host, target: Host, protocol: int, length: int) -> bytes:
    """What UDP, TCP and ICMPv6 checksums cover of the IP header (RFC 768, RFC 8200 §8.1)."""
    if source.version == 6:
        return source.packed + target.packed + struct.pack(">IHBB", length, 0, 0, protocol)
    return source.packed + target.packed + struct.pack(">BBH", 0, protocol, length)


def udp_datagram(source: str, target: str, payload: bytes) -> bytes:
    """UDP header and payload."""
    (from_host, from_port), (to_host, to_port) = split_address(source), split_address(target)
    head = struct.pack(">HHHH", from_port, to_port, 8 + len(payload), 0)
    pseudo = pseudo_header(from_host, to_host, PROTOCOL_UDP, 8 + len(payload))
    return head[:6] + struct.pack(">H", checksum(pseudo + head + payload) or 0xFFFF) + payload


def tcp_segment(
    source: str, target: str, sequence: int, acknowledgement: int, flags: int, payload: bytes = b""
) -> bytes:
    """TCP header without options, and payload."""
    (from_host, from_port), (to_host, to_port) = split_address(source), split_address(target)
    sequence, acknowledgement = sequence & 0xFFFFFFFF, acknowledgement & 0xFFFFFFFF
    head = struct.pack(">HHIIBBHHH", from_port, to_port, sequence, acknowledgement, 0x50, flags, 64240, 0, 0)
    pseudo = pseudo_header(from_host, to_host, PROTOCOL_TCP, len(head) + len(payload))
    return head[:16] + struct.pack(">H", checksum(pseudo + head + payload)) + head[18:] + payload


def ip_packets(
    source: str,
    target: str,
    protocol: int,
    payload: bytes,
    *,
    dscp: int = 0,
    ttl: int = 64,
    ip_id: int = 0,
    mtu: int = 65535,
) -> list[bytes]:
    """The IPv4 or IPv6 packets that carry a transport payload: several when it is larger than `mtu`
    octets."""
    from_host, to_host = split_address(source)[0], split_address(target)[0]
    if from_host.version == 6:
        return _ipv6_packets(from_host, to_host, protocol, payload, dscp, ttl, ip_id, mtu)
    room = len(payload) if len(payload) + 20 <= mtu else (mtu - 20) // 8 * 8
    packets = []
    for at in range(0, max(len(payload), 1), max(room, 8)):
        piece = payload[at : at + max(room, 8)]
        more = 0x2000 if at + len(piece) < len(payload) else 0
        length = 20 + len(piece)
        head = struct.pack(">BBHHHBBH", 0x45, dscp << 2, length, ip_id, more | at // 8, ttl, protocol, 0)
        head += from_host.packed + to_host.packed
        packets.append(head[:10] + struct.pack(">H", checksum(head)) + head[12:] + piece)
    return packets


def _ipv6_packets(
    source: Host, target: Host, protocol: int, payload: bytes, dscp: int, ttl: int, ip_id: int, mtu: int
) -> list[bytes]:
    def head(next_header: int, length: int) -> bytes:
        return (
            struct.pack(">IHBB", 6 << 28 | dscp << 22, length, next_header, ttl)
            + source.packed
            + target.packed
        )

    if len(payload) + 40 <= mtu:
        return [head(protocol, len(payload)) + payload]
    room = (mtu - 48) // 8 * 8
    packets = []
    for at in range(0, len(payload), room):
        piece = payload[at : at + room]
        extension = struct.pack(">BBHI", protocol, 0, at | int(at + len(piece) < len(payload)), ip_id)
        packets.append(head(44, 8 + len(piece)) + extension + piece)
    return packets


def ethernet(packet: bytes) -> bytes:
    """An IP packet in an Ethernet II frame."""
    kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    return b"\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01" + struct.pack(">H", kind) + packet


def icmp_error(reporter: str, offender: str, quoted: bytes, kind: int, code: int) -> tuple[int, bytes]:
    """Protocol number and bytes of an ICMP error that quotes the start of an IP packet (RFC 792, RFC
    4443)."""
    from_host, to_host = split_address(reporter)[0], split_address(offender)[0]
    if from_host.version == 6:
        message = struct.pack(">BBHI", kind, code, 0, 0) + quoted[:1232]
        pseudo = pseudo_header(from_host, to_host, PROTOCOL_ICMPV6, len(message))
        return PROTOCOL_ICMPV6, message[:2] + struct.pack(">H", checksum(pseudo + message)) + message[4:]
    message = struct.pack(">BBHI", kind, code, 0, 0) + quoted[:548]
    return PROTOCOL_ICMP, message[:2] + struct.pack(">H", checksum(message)) + message[4:]


def pcap_file(frames: Iterable[tuple[float, bytes]], snap_length: int = 262144) -> bytes:
    """A classic pcap file (little endian, microseconds, Ethernet) of (seconds since 1970, frame), in the
    order given."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snap_length, 1)]
    for time, frame in frames:
        microseconds = round(time * 1_000_000)
        kept = frame[:snap_length]
        out.append(struct.pack("<IIII", *divmod(microseconds, 1_000_000), len(kept), len(frame)))
        out.append(kept)
    return b"".join(out)


# ---- RTP and RTCP ----


def mu_law(sample: int) -> int:
    """One octet of ITU-T G.711 mu-law of a 16-bit linear sample."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), 32635) + 132
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> (exponent + 3) & 15) & 0xFF


def a_law(sample: int) -> int:
    """One octet of ITU-T G.711 A-law of a 16-bit linear sample."""
    sign = 0x80 if sample >= 0 else 0
    magnitude = min(abs(sample) >> 3, 4095) if sample >= 0 else min((abs(sample) - 1) >> 3, 4095)
    exponent = max(magnitude.bit_length() - 5, 0)
    mantissa = magnitude >> 1 & 15 if exponent == 0 else magnitude >> exponent & 15
    return (sign | exponent << 4 | mantissa) ^ 0x55


@lru_cache(maxsize=64)
def speech(
    seed: int, payload_type: int = 0, packets: int = 25, samples: int = 160, level: float = 0.06
) -> tuple[bytes, ...]:
    """Payloads of `packets` packets that sound like a busy line: shaped noise in G.711, never silent,
    never clipped.

    `level` is the root mean square as a part of full scale. Other payload types get noise octets of a
    usual size.
    """
    random = Random(seed)
    if payload_type not in (0, 8):
        size = {18: 20, 9: 160, 3: 33, 4: 24}.get(payload_type, 60)
        return tuple(random.randbytes(size) for _ in range(packets))
    encode = mu_law if payload_type == 0 else a_law
    pitch, out = random.uniform(110, 220), []
    for packet in range(packets):
        octets = bytearray()
        for n in range(samples):
            phase = 2 * math.pi * pitch * (packet * samples + n) / 8000
            tone = math.sin(phase) + 0.5 * math.sin(3 * phase)
            value = 32768 * level * (tone * 0.8 + random.gauss(0, 0.6))
            octets.append(encode(max(-30000, min(30000, int(value)))))
        out.append(bytes(octets))
    return tuple(out)


def rtp_packet(
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    *,
    marker: bool = False,
    first: int = 0x80,
) -> bytes:
    """RTP packet (RFC 3550 §5.1); `first` is its first octet (version, padding, extension, CSRC count)."""
    second = payload_type & 0x7F | (0x80 if marker else 0)
    head = struct.pack(">BBHII", first, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc & 0xFFFFFFFF)
    return head + payload


def telephone_event(event: int, duration: int, *, end: bool = False, volume: int = 10) -> bytes:
    """Payload of a telephone-event packet (RFC 4733 §2.3); `duration` in timestamp units."""
    return struct.pack(">BBH", event, (0x80 if end else 0) | volume, duration)


NTP_EPOCH = 2_208_988_800


def ntp_time(seconds: float) -> tuple[int, int]:
    """NTP seconds and fraction of seconds since 1970."""
    whole = math.floor(seconds)
    return whole + NTP_EPOCH & 0xFFFFFFFF, int((seconds - whole) * (1 << 32)) & 0xFFFFFFFF


def report_block(
    ssrc: int,
    *,
    fraction_lost: int = 0,
    lost: int = 0,
    highest: int = 0,
    jitter: int = 0,
    last_sr: int = 0,
    delay_since_sr: int = 0,
) -> bytes:
    """Reception report block (RFC 3550 §6.4.1); `delay_since_sr` in 1/65536 s, `jitter` in timestamp
    units."""
    return struct.pack(
        ">IIIIII", ssrc, fraction_lost << 24 | lost & 0xFFFFFF, highest, jitter, last_sr, delay_since_sr
    )


def rtcp_report(
    ssrc: int, blocks: Sequence[bytes] = (), *, sender: tuple[float, int, int, int] | None = None
) -> bytes:
    """SR when `sender` is (seconds since 1970, RTP timestamp, packets, octets), else RR; then an SDES
    CNAME."""
    body = struct.pack(">I", ssrc)
    if sender:
        time, timestamp, packets, octets = sender
        body += struct.pack(">IIIII", *ntp_time(time), timestamp & 0xFFFFFFFF, packets, octets)
    body += b"".join(blocks)
    first = struct.pack(">BBH", 0x80 | len(blocks), 200 if sender else 201, len(body) // 4)
    name = b"\x01\x0canonymous@ex" + b"\0\0"
    return first + body + struct.pack(">BBHI", 0x81, 202, 1 + len(name) // 4, ssrc) + name


def rtcp_bye(ssrc: int) -> bytes:
    """RTCP BYE (RFC 3550 §6.6)."""
    return struct.pack(">BBHI", 0x81, 203, 1, ssrc)


# ---- STUN ----

STUN_COOKIE = 0x2112A442


def stun_attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded (RFC 8489 §14)."""
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def stun_address(kind: int, address: str, *, xor: bool = True) -> bytes:
    """(XOR-)MAPPED-ADDRESS and relatives; IPv4 (RFC 8489 §14.1, §14.2)."""
    host, port = split_address(address)
    number = int(host)
    if xor:
        port ^= STUN_COOKIE >> 16
        number ^= STUN_COOKIE
    return stun_attribute(kind, struct.pack(">BBHI", 0, 1, port, number))


def stun_message(kind: int, attributes: Sequence[bytes] = (), transaction: bytes | None = None) -> bytes:
    """STUN message: 0x0001 Binding request, 0x0101 success, 0x0111 error, 0x0003 Allocate (RFC 8489 §5)."""
    body = b"".join(attributes)
    transaction = transaction or hashlib.sha1(body + bytes([kind & 0xEF])).digest()[:12]
    return struct.pack(">HHI", kind, len(body), STUN_COOKIE) + transaction + body


# ---- TLS and DTLS ----

TLS_10, TLS_11, TLS_12, TLS_13 = 0x0301, 0x0302, 0x0303, 0x0304
DTLS_10, DTLS_12 = 0xFEFF, 0xFEFD


def tls_record(kind: int, payload: bytes, version: int = TLS_12) -> bytes:
    """TLS record: 20 change cipher spec, 21 alert, 22 handshake, 23 application data (RFC 5246 §6.2)."""
    return struct.pack(">BHH", kind, version, len(payload)) + payload


def tls_handshake(kind: int, body: bytes) -> bytes:
    """Handshake message: 1 client hello, 2 server hello, 11 certificate, 13 request (RFC 5246 §7.4)."""
    return struct.pack(">I", kind << 24 | len(body)) + body


def _hello_extensions(pairs: Sequence[tuple[int, bytes]]) -> bytes:
    body = b"".join(struct.pack(">HH", kind, len(value)) + value for kind, value in pairs)
    return struct.pack(">H", len(body)) + body


def tls_client_hello(
    server_name: str = "",
    version: int = TLS_12,
    ciphers: Sequence[int] = (0xC02F, 0xC030),
    versions: Sequence[int] = (),
) -> bytes:
    """Body of a client hello; `versions` becomes supported_versions (RFC 8446 §4.2.1)."""
    suites = b"".join(struct.pack(">H", cipher) for cipher in ciphers)
    body = (
        struct.pack(">H", version)
        + b"\x11" * 32
        + b"\0"
        + struct.pack(">H", len(suites))
        + suites
        + b"\x01\x00"
    )
    extensions: list[tuple[int, bytes]] = []
    if server_name:
        name = server_name.encode()
        extensions.append((0, struct.pack(">HBH", len(name) + 3, 0, len(name)) + name))
    if versions:
        extensions.append((43, bytes([2 * len(versions)]) + b"".join(struct.pack(">H", v) for v in versions)))
    return body + (_hello_extensions(extensions) if extensions else b"")


def tls_server_hello(version: int = TLS_12, cipher: int = 0xC02F, selected_version: int = 0) -> bytes:
    """Body of a server hello; `selected_version` becomes supported_versions."""
    body = struct.pack(">H", version) + b"\x22" * 32 + b"\0" + struct.pack(">HB", cipher, 0)
    return body + (
        _hello_extensions([(43, struct.pack(">H", selected_version))]) if selected_version else b""
    )


def tls_certificates(chain: Sequence[bytes]) -> bytes:
    """Body of a TLS 1.2 certificate message of DER certificates, the server's own first."""
    entries = b"".join(len(der).to_bytes(3, "big") + der for der in chain)
    return len(entries).to_bytes(3, "big") + entries


def tls_alert(description: int, *, fatal: bool = True) -> bytes:
    """Alert payload: 40 handshake_failure, 42 bad_certificate, 48 unknown_ca, 70 protocol_version, 116
    required."""
    return bytes([2 if fatal else 1, description])


def dtls_record(
    kind: int, payload: bytes, *, version: int = DTLS_12, epoch: int = 0, sequence: int = 0
) -> bytes:
    """DTLS record (RFC 6347 §4.1); kinds as in tls_record."""
    return (
        struct.pack(">BHHHIH", kind, version, epoch, sequence >> 32, sequence & 0xFFFFFFFF, len(payload))
        + payload
    )


def dtls_handshake(kind: int, body: bytes, message_sequence: int = 0) -> bytes:
    """DTLS handshake message in one fragment (RFC 6347 §4.2.2)."""
    size = len(body).to_bytes(3, "big")
    return bytes([kind]) + size + struct.pack(">H", message_sequence) + b"\0\0\0" + size + body


def dtls_client_hello(profiles: Sequence[int] = (1,), version: int = DTLS_12) -> bytes:
    """Body of a DTLS client hello with use_srtp (RFC 5764 §4.1.1)."""
    use_srtp = struct.pack(">H", 2 * len(profiles)) + b"".join(struct.pack(">H", p) for p in profiles) + b"\0"
    head = struct.pack(">H", version) + b"\x33" * 32 + b"\0\0" + b"\x00\x02\xc0\x2b" + b"\x01\x00"
    return head + _hello_extensions([(14, use_srtp)])


# ---- WebSocket ----


def websocket_frame(payload: bytes, *, opcode: int = 1, masked: bool = False) -> bytes:
    """One final frame (RFC 6455 §5.2); a client's frames are masked."""
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([0x80 | opcode, bit | size])
    else:
        head = struct.pack(">BBH", 0x80 | opcode, bit | 126, size)
    if not masked:
        return head + payload
    mask = b"\x37\xfa\x21\x3d"
    return head + mask + bytes(octet ^ mask[n % 4] for n, octet in enumerate(payload))
