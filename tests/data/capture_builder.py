"""Builds capture files and packets byte by byte, so that a test states exactly what it feeds in.

Layers compose from the inside out: each function takes the bytes it carries and returns the bytes of the
layer around them, for example ``ethernet(ipv4(udp(b"OPTIONS ...", 5060, 5062), "10.0.0.1", "10.0.0.2"))``.
`pcap`, `pcapng` and `hep_file` wrap packets into a file. Addresses are text, ports and ids are integers,
times are nanoseconds since 1970.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence

ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP = 0x0800, 0x86DD, 0x0806
IP_ICMP, IP_IPIP, IP_TCP, IP_UDP, IP_IPV6, IP_GRE, IP_ICMPV6, IP_SCTP = 1, 4, 6, 17, 41, 47, 58, 132
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

Timed = tuple[int, bytes] | tuple[int, bytes, int]
"""(time in ns, captured bytes) or (time in ns, captured bytes, length on the wire)."""

# ---- internet and transport layers ----


def checksum(octets: bytes) -> int:
    """Internet checksum (RFC 1071)."""
    if len(octets) % 2:
        octets += b"\0"
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp(payload: bytes, source_port: int = 5060, target_port: int = 5060, length: int | None = None) -> bytes:
    """UDP datagram (RFC 768) without checksum; `length` overrides the length field."""
    return (
        struct.pack("!4H", source_port, target_port, length if length is not None else 8 + len(payload), 0)
        + payload
    )


def tcp(
    payload: bytes = b"",
    source_port: int = 5060,
    target_port: int = 5060,
    sequence: int = 1,
    acknowledgement: int = 0,
    flags: int = ACK,
    options: bytes = b"",
    window: int = 65535,
) -> bytes:
    """TCP segment (RFC 9293); `options` is padded to a multiple of four."""
    options += b"\0" * (-len(options) % 4)
    offset = (20 + len(options)) // 4
    header = struct.pack(
        "!HHIIBBHHH",
        source_port,
        target_port,
        sequence & 0xFFFFFFFF,
        acknowledgement & 0xFFFFFFFF,
        offset << 4,
        flags,
        window,
        0,
        0,
    )
    return header + options + payload


def sctp(chunks: bytes, source_port: int = 5060, target_port: int = 5060, tag: int = 1) -> bytes:
    """SCTP packet (RFC 9260): the common header in front of ready-made chunks."""
    return struct.pack("!HHII", source_port, target_port, tag, 0) + chunks


def sctp_data(payload: bytes, tsn: int = 1, stream: int = 0, sequence: int = 0, flags: int = 3) -> bytes:
    """One SCTP DATA chunk, padded to four bytes."""
    length = 16 + len(payload)
    return (
        struct.pack("!BBHIHHI", 0, flags, length, tsn, stream, sequence, 0) + payload + b"\0" * (-length % 4)
    )


def ipv4(
    payload: bytes,
    source: str = "10.0.0.1",
    target: str = "10.0.0.2",
    protocol: int = IP_UDP,
    *,
    ttl: int = 64,
    tos: int = 0,
    identification: int = 0,
    fragment_offset: int = 0,
    more_fragments: bool = False,
    options: bytes = b"",
    total_length: int | None = None,
) -> bytes:
    """IPv4 packet (RFC 791). `fragment_offset` is in bytes, a multiple of eight."""
    options += b"\0" * (-len(options) % 4)
    header_words = 5 + len(options) // 4
    total = header_words * 4 + len(payload) if total_length is None else total_length
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | header_words,
        tos,
        total,
        identification,
        (fragment_offset // 8) | (0x2000 if more_fragments else 0),
        ttl,
        protocol,
        0,
        ipaddress.IPv4Address(source).packed,
        ipaddress.IPv4Address(target).packed,
    )
    header += options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv6(
    payload: bytes,
    source: str = "2001:db8::1",
    target: str = "2001:db8::2",
    next_header: int = IP_UDP,
    *,
    hop_limit: int = 64,
    traffic_class: int = 0,
    payload_length: int | None = None,
) -> bytes:
    """IPv6 packet (RFC 8200); put extension headers in front of `payload` with `ipv6_extension`."""
    length = len(payload) if payload_length is None else payload_length
    return (
        struct.pack("!IHBB", 6 << 28 | traffic_class << 20, length, next_header, hop_limit)
        + ipaddress.IPv6Address(source).packed
        + ipaddress.IPv6Address(target).packed
        + payload
    )


def ipv6_extension(payload: bytes, next_header: int, body: bytes = b"\0" * 6) -> bytes:
    """A hop-by-hop, routing or destination-options header, `body` padded to make it a multiple of eight."""
    body += b"\0" * (-(len(body) + 2) % 8)
    return struct.pack("!BB", next_header, (len(body) + 2) // 8 - 1) + body + payload


def ipv6_fragment(payload: bytes, next_header: int, offset: int, more: bool, identification: int) -> bytes:
    """IPv6 fragment header (RFC 8200 §4.5), next header 44 in what carries it; `offset` in bytes."""
    return struct.pack("!BBHI", next_header, 0, offset & 0xFFF8 | int(more), identification) + payload


def ipv4_fragments(
    payload: bytes,
    size: int,
    source: str = "10.0.0.1",
    target: str = "10.0.0.2",
    protocol: int = IP_UDP,
    identification: int = 7,
) -> list[bytes]:
    """`payload` cut into IPv4 fragments of at most `size` bytes (a multiple of eight), in order."""
    return [
        ipv4(
            payload[at : at + size],
            source,
            target,
            protocol,
            identification=identification,
            fragment_offset=at,
            more_fragments=at + size < len(payload),
        )
        for at in range(0, len(payload), size)
    ]


def icmp_error(quoted: bytes, kind: int = 3, code: int = 3) -> bytes:
    """ICMP error (RFC 792) quoting the beginning of an IP packet; ICMPv6 (RFC 4443) has the same layout."""
    return struct.pack("!BBHI", kind, code, 0, 0) + quoted


# ---- links ----


def ethernet(
    payload: bytes,
    ethertype: int | None = None,
    source: str = "02:00:00:00:00:01",
    target: str = "02:00:00:00:00:02",
) -> bytes:
    """Ethernet II frame; the type is taken from the IP version when not given."""
    return _mac(target) + _mac(source) + _ethertype(payload, ethertype) + payload


def vlan(payload: bytes, identifier: int, ethertype: int | None = None, priority: int = 0) -> bytes:
    """An 802.1Q or 802.1ad tag's four bytes behind its own type: use `ethernet(vlan(...), 0x8100)`."""
    return struct.pack("!H", priority << 13 | identifier) + _ethertype(payload, ethertype) + payload


def vntag(payload: bytes, ethertype: int | None = None) -> bytes:
    """VN-Tag (type 0x8926): four bytes of tag and the next type."""
    return b"\x00\x10\x00\x20" + _ethertype(payload, ethertype) + payload


def mpls(payload: bytes, labels: Sequence[int] = (16,), control_word: bool = False) -> bytes:
    """MPLS label stack (RFC 3032), type 0x8847; `control_word` adds the pseudowire word (RFC 4448)."""
    stack = b"".join(
        struct.pack("!I", label << 12 | (0x100 if at == len(labels) - 1 else 0) | 64)
        for at, label in enumerate(labels)
    )
    return stack + (b"\0\0\0\0" if control_word else b"") + payload


def ppp(payload: bytes, protocol: int | None = None, framed: bool = True) -> bytes:
    """PPP (RFC 1661): address and control when `framed`, then the protocol."""
    number = protocol if protocol is not None else (0x0021 if payload[0] >> 4 == 4 else 0x0057)
    return (b"\xff\x03" if framed else b"") + struct.pack("!H", number) + payload


def pppoe(payload: bytes, session: int = 1) -> bytes:
    """PPPoE session packet (RFC 2516), type 0x8864, around an IP packet."""
    inner = ppp(payload, framed=False)
    return struct.pack("!BBHH", 0x11, 0, session, len(inner)) + inner


def snap(payload: bytes, ethertype: int | None = None) -> bytes:
    """802.2 LLC/SNAP: use as the payload of `ethernet` with its length as the type."""
    return b"\xaa\xaa\x03\0\0\0" + _ethertype(payload, ethertype) + payload


def sll(payload: bytes, ethertype: int | None = None) -> bytes:
    """Linux cooked capture, link type 113."""
    return struct.pack("!HHH8s", 0, 1, 6, b"\2\0\0\0\0\1\0\0") + _ethertype(payload, ethertype) + payload


def sll2(payload: bytes, ethertype: int | None = None, interface: int = 1) -> bytes:
    """Linux cooked capture version 2, link type 276."""
    return (
        _ethertype(payload, ethertype)
        + struct.pack("!HIHBB8s", 0, interface, 1, 0, 6, b"\2\0\0\0\0\1\0\0")
        + payload
    )


def null(payload: bytes, big_endian: bool = False, family: int | None = None) -> bytes:
    """BSD loopback, link types 0 (`big_endian` as the capturing machine) and 108 (always big)."""
    number = family if family is not None else (2 if payload[0] >> 4 == 4 else 30)
    return struct.pack(">I" if big_endian else "<I", number) + payload


def nflog(payload: bytes, big_endian: bool = False) -> bytes:
    """NFLOG, link type 239: a prefix attribute, then the payload attribute."""
    order = ">" if big_endian else "<"
    family = 2 if payload[0] >> 4 == 4 else 10
    prefix = struct.pack(order + "HH", 4 + 5, 10) + b"sip:\0" + b"\0" * 3
    body = struct.pack(order + "HH", 4 + len(payload), 9) + payload
    return struct.pack("!BBH", family, 0, 0) + prefix + body


# ---- tunnels ----


def gre(
    payload: bytes,
    protocol: int | None = None,
    *,
    key: int | None = None,
    sequence: int | None = None,
    with_checksum: bool = False,
) -> bytes:
    """GRE (RFC 2784, 2890); IP protocol 47."""
    flags = (
        (0x8000 if with_checksum else 0)
        | (0x2000 if key is not None else 0)
        | (0x1000 if sequence is not None else 0)
    )
    parts = struct.pack("!H", flags) + _ethertype(payload, protocol)
    if with_checksum:
        parts += b"\0\0\0\0"
    if key is not None:
        parts += struct.pack("!I", key)
    if sequence is not None:
        parts += struct.pack("!I", sequence)
    return parts + payload


def nvgre(frame: bytes, subnet: int = 5000) -> bytes:
    """NVGRE (RFC 7637): an Ethernet frame in GRE with the subnet id in the key."""
    return gre(frame, 0x6558, key=subnet << 8)


def gre_pptp(
    payload: bytes, call_id: int = 1, sequence: int | None = 1, acknowledgement: int | None = None
) -> bytes:
    """Enhanced GRE of PPTP (RFC 2637) around PPP around an IP packet."""
    inner = ppp(payload)
    flags = 0x2001 | (0x1000 if sequence is not None else 0) | (0x80 if acknowledgement is not None else 0)
    parts = struct.pack("!HHHH", flags, 0x880B, len(inner), call_id)
    if sequence is not None:
        parts += struct.pack("!I", sequence)
    if acknowledgement is not None:
        parts += struct.pack("!I", acknowledgement)
    return parts + inner


def erspan(frame: bytes, kind: int = 2, session: int = 1, subheader: bool = False) -> bytes:
    """ERSPAN type 1, 2 or 3 in GRE around an Ethernet frame; `subheader` adds type III's optional one."""
    if kind == 1:
        return gre(frame, 0x88BE)
    if kind == 2:
        return gre(struct.pack("!HHI", 0x1000 | 10, session, 0) + frame, 0x88BE, sequence=1)
    header = struct.pack("!HHIHH", 0x2000 | 10, session, 0, 0, 1 if subheader else 0)
    return gre(header + (b"\0" * 8 if subheader else b"") + frame, 0x22EB, sequence=1)


def vxlan(frame: bytes, identifier: int = 100, port: int = 4789) -> bytes:
    """VXLAN (RFC 7348): the UDP datagram around an Ethernet frame."""
    return udp(struct.pack("!II", 0x08000000, identifier << 8) + frame, 49152, port)


def vxlan_gpe(payload: bytes, next_protocol: int, identifier: int = 100) -> bytes:
    """VXLAN-GPE: next protocol 1 IPv4, 2 IPv6, 3 Ethernet."""
    return udp(struct.pack("!II", 0x0C000000 | next_protocol, identifier << 8) + payload, 49152, 4790)


def geneve(payload: bytes, protocol: int = 0x6558, identifier: int = 100, options: bytes = b"") -> bytes:
    """Geneve (RFC 8926): the UDP datagram around a frame or an IP packet; options in multiples of four."""
    return udp(
        struct.pack("!BBHI", len(options) // 4, 0, protocol, identifier << 8) + options + payload, 49152, 6081
    )


def gtp(
    payload: bytes, tunnel: int = 1, extensions: Sequence[tuple[int, bytes]] = (), sequence: int | None = None
) -> bytes:
    """GTP-U G-PDU (3GPP TS 29.281): the UDP datagram around an IP packet. Extensions are (type, content), the
    content's length being a multiple of four minus two."""
    flags = 0x30 | (4 if extensions else 0) | (2 if sequence is not None else 0)
    optional = b""
    if extensions or sequence is not None:
        kinds = [kind for kind, _ in extensions] + [0]
        optional = struct.pack("!HBB", sequence or 0, 0, kinds[0])
        for at, (_, content) in enumerate(extensions):
            optional += (
                struct.pack("!B", (len(content) + 2) // 4) + content + struct.pack("!B", kinds[at + 1])
            )
    return udp(
        struct.pack("!BBHI", flags, 255, len(optional) + len(payload), tunnel) + optional + payload,
        2152,
        2152,
    )


def tzsp(frame: bytes) -> bytes:
    """TZSP: the UDP datagram around an Ethernet frame, with a padding, a length and an end tag."""
    return udp(b"\x01\x00\x00\x01" + b"\x00" + b"\x29\x02\x00\x40" + b"\x01" + frame, 37008, 37008)


def l2tp(payload: bytes, tunnel: int = 1, session: int = 2, with_length: bool = True) -> bytes:
    """L2TP data message (RFC 2661): the UDP datagram around PPP around an IP packet."""
    inner = ppp(payload)
    if with_length:
        return udp(struct.pack("!HHHH", 0x4002, 8 + len(inner), tunnel, session) + inner, 1701, 1701)
    return udp(struct.pack("!HHH", 0x0002, tunnel, session) + inner, 1701, 1701)


# ---- HEP ----


def hep_chunk(kind: int, body: bytes, vendor: int = 0, length: int | None = None) -> bytes:
    """One HEP3 chunk; `length` overrides the length field."""
    return struct.pack("!HHH", vendor, kind, 6 + len(body) if length is None else length) + body


def hep3(
    payload: bytes,
    source: str = "10.0.0.1",
    target: str = "10.0.0.2",
    source_port: int = 5060,
    target_port: int = 5060,
    *,
    time_ns: int = 1_700_000_000_000_000_000,
    protocol: int = IP_UDP,
    kind: int = 1,
    correlation: bytes = b"",
    extra: bytes = b"",
    magic: bytes = b"HEP3",
    total_length: int | None = None,
) -> bytes:
    """A HEP3 packet; `kind` is the protocol type (1 SIP, 5 RTCP JSON, 100 log), `extra` ready-made chunks."""
    a, b = ipaddress.ip_address(source), ipaddress.ip_address(target)
    v4 = a.version == 4
    chunks = hep_chunk(1, bytes([2 if v4 else 10])) + hep_chunk(2, bytes([protocol]))
    chunks += hep_chunk(3 if v4 else 5, a.packed) + hep_chunk(4 if v4 else 6, b.packed)
    chunks += hep_chunk(7, struct.pack("!H", source_port)) + hep_chunk(8, struct.pack("!H", target_port))
    chunks += hep_chunk(9, struct.pack("!I", time_ns // 10**9))
    chunks += hep_chunk(10, struct.pack("!I", time_ns % 10**9 // 1000))
    chunks += hep_chunk(11, bytes([kind])) + hep_chunk(12, struct.pack("!I", 2001))
    if correlation:
        chunks += hep_chunk(0x11, correlation)
    chunks += extra + hep_chunk(15, payload)
    return magic + struct.pack("!H", 6 + len(chunks) if total_length is None else total_length) + chunks


def hep1(
    payload: bytes,
    source: str = "10.0.0.1",
    target: str = "10.0.0.2",
    source_port: int = 5060,
    target_port: int = 5060,
) -> bytes:
    """A HEP version 1 packet."""
    return _hep_old(1, payload, source, target, source_port, target_port, b"")


def hep2(
    payload: bytes,
    source: str = "10.0.0.1",
    target: str = "10.0.0.2",
    source_port: int = 5060,
    target_port: int = 5060,
    *,
    time_ns: int = 1_700_000_000_000_000_000,
    big_endian: bool = False,
    padded: bool = False,
) -> bytes:
    """A HEP version 2 packet: the time block is little or `big_endian`, 10 bytes or `padded` to 12."""
    seconds, micros = time_ns // 10**9, time_ns % 10**9 // 1000
    block = struct.pack(">IIH" if big_endian else "<IIH", seconds, micros, 1) + (b"\0\0" if padded else b"")
    return _hep_old(2, payload, source, target, source_port, target_port, block)


def _hep_old(
    version: int, payload: bytes, source: str, target: str, source_port: int, target_port: int, block: bytes
) -> bytes:
    a, b = ipaddress.ip_address(source), ipaddress.ip_address(target)
    addresses = a.packed + b.packed
    family = 2 if a.version == 4 else 10
    header = struct.pack("!BBBBHH", version, 8 + len(addresses), family, IP_UDP, source_port, target_port)
    return header + addresses + block + payload


# ---- WebSocket ----


def websocket(
    payload: bytes, opcode: int = 1, *, final: bool = True, mask: bytes | None = None, reserved: int = 0
) -> bytes:
    """One WebSocket frame (RFC 6455 §5.2); `mask` is four bytes for a client's frame."""
    header = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    bit = 0x80 if mask is not None else 0
    if len(payload) < 126:
        header += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        header += bytes([bit | 126]) + struct.pack("!H", len(payload))
    else:
        header += bytes([bit | 127]) + struct.pack("!Q", len(payload))
    if mask is None:
        return header + payload
    return header + mask + bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))


# ---- files ----

PCAP_MICRO, PCAP_NANO, PCAP_MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34


def pcap(
    packets: Iterable[Timed | bytes],
    link_type: int = 1,
    nanosecond: bool = False,
    big_endian: bool = False,
    *,
    modified: bool = False,
    snap_length: int = 262144,
    version: tuple[int, int] = (2, 4),
) -> bytes:
    """A pcap file. A packet without a time gets one millisecond after the one before."""
    order = ">" if big_endian else "<"
    magic = PCAP_MODIFIED if modified else PCAP_NANO if nanosecond else PCAP_MICRO
    parts = [struct.pack(order + "IHHiIII", magic, *version, 0, 0, snap_length, link_type)]
    for time_ns, octets, original in _timed(packets):
        fraction = time_ns % 10**9
        parts.append(
            struct.pack(
                order + "IIII",
                time_ns // 10**9 & 0xFFFFFFFF,
                fraction if nanosecond else fraction // 1000,
                len(octets),
                original,
            )
        )
        if modified:
            parts.append(struct.pack(order + "IHBB", 1, 0x0800, 0, 0))
        parts.append(octets)
    return b"".join(parts)


def pcapng_option(code: int, value: bytes, big_endian: bool = False) -> bytes:
    """One pcapng option, padded to four bytes."""
    order = ">" if big_endian else "<"
    return struct.pack(order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def pcapng_block(kind: int, body: bytes, big_endian: bool = False) -> bytes:
    """One pcapng block around a body, which is padded to four bytes."""
    order = ">" if big_endian else "<"
    body += b"\0" * (-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def pcapng_section(big_endian: bool = False, options: bytes = b"") -> bytes:
    """Section header block."""
    order = ">" if big_endian else "<"
    return pcapng_block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options, big_endian)


def pcapng_interface(
    link_type: int = 1, snap_length: int = 262144, options: bytes = b"", big_endian: bool = False
) -> bytes:
    """Interface description block; options (if_tsresol 9, if_tsoffset 14, if_fcslen 13) are ready-made."""
    order = ">" if big_endian else "<"
    return pcapng_block(1, struct.pack(order + "HHI", link_type, 0, snap_length) + options, big_endian)


def pcapng_enhanced(
    octets: bytes,
    ticks: int,
    interface: int = 0,
    original: int | None = None,
    options: bytes = b"",
    big_endian: bool = False,
) -> bytes:
    """Enhanced packet block; `ticks` in the interface's resolution."""
    order = ">" if big_endian else "<"
    wire = len(octets) if original is None else original
    head = struct.pack(
        order + "IIIII", interface, ticks >> 32 & 0xFFFFFFFF, ticks & 0xFFFFFFFF, len(octets), wire
    )
    return pcapng_block(6, head + octets + b"\0" * (-len(octets) % 4) + options, big_endian)


def pcapng_simple(octets: bytes, original: int | None = None, big_endian: bool = False) -> bytes:
    """Simple packet block: no time, interface 0."""
    order = ">" if big_endian else "<"
    return pcapng_block(
        3, struct.pack(order + "I", len(octets) if original is None else original) + octets, big_endian
    )


def pcapng_old_packet(octets: bytes, ticks: int, interface: int = 0, big_endian: bool = False) -> bytes:
    """The obsolete packet block (type 2)."""
    order = ">" if big_endian else "<"
    head = struct.pack(
        order + "HHIIII", interface, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(octets), len(octets)
    )
    return pcapng_block(2, head + octets, big_endian)


def pcapng_secrets(key_log: bytes, big_endian: bool = False) -> bytes:
    """Decryption secrets block with a TLS key log."""
    order = ">" if big_endian else "<"
    return pcapng_block(10, struct.pack(order + "II", 0x544C534B, len(key_log)) + key_log, big_endian)


def pcapng(
    packets: Iterable[Timed | bytes], link_type: int = 1, big_endian: bool = False, *, resolution: int = 9
) -> bytes:
    """A pcapng file of one section and one interface; `resolution` is if_tsresol (9: nanoseconds)."""
    ticks_per_second = 1 << (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    parts = [
        pcapng_section(big_endian),
        pcapng_interface(
            link_type, options=pcapng_option(9, bytes([resolution]), big_endian), big_endian=big_endian
        ),
    ]
    for time_ns, octets, original in _timed(packets):
        ticks = time_ns * ticks_per_second // 10**9
        parts.append(pcapng_enhanced(octets, ticks, original=original, big_endian=big_endian))
    return b"".join(parts)


def hep_file(packets: Iterable[bytes]) -> bytes:
    """HEP packets as a collector's TCP stream leaves them on disk."""
    return b"".join(packets)


def tcp_conversation(
    exchanges: Iterable[tuple[bool, bytes]],
    client: tuple[str, int] = ("10.0.0.1", 40000),
    server: tuple[str, int] = ("10.0.0.2", 5060),
    *,
    client_sequence: int = 1000,
    server_sequence: int = 5000,
    handshake: bool = True,
    closing: bool = True,
) -> list[bytes]:
    """Ethernet frames of one TCP connection; an exchange is (from the client?, bytes of one segment)."""
    ends = (client, server)
    sequence = [client_sequence, server_sequence]
    frames: list[bytes] = []

    def send(origin: int, payload: bytes, flags: int) -> None:
        source, target = ends[origin], ends[1 - origin]
        acknowledgement = sequence[1 - origin] if flags & ACK else 0
        segment = tcp(payload, source[1], target[1], sequence[origin], acknowledgement, flags)
        wrap = ipv6 if ":" in source[0] else ipv4
        frames.append(ethernet(wrap(segment, source[0], target[0], IP_TCP)))
        sequence[origin] += len(payload) + bool(flags & (SYN | FIN))

    if handshake:
        send(0, b"", SYN)
        send(1, b"", SYN | ACK)
        send(0, b"", ACK)
    for from_client, payload in exchanges:
        send(0 if from_client else 1, payload, PSH | ACK)
    if closing:
        send(0, b"", FIN | ACK)
        send(1, b"", FIN | ACK)
        send(0, b"", ACK)
    return frames


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ethertype(payload: bytes, given: int | None) -> bytes:
    if given is None:
        given = ETHERTYPE_IPV6 if payload and payload[0] >> 4 == 6 else ETHERTYPE_IPV4
    return struct.pack("!H", given)


def _timed(packets: Iterable[Timed | bytes]) -> Iterable[tuple[int, bytes, int]]:
    time_ns = 1_700_000_000_000_000_000
    for packet in packets:
        if isinstance(packet, bytes):
            time_ns += 1_000_000
            yield time_ns, packet, len(packet)
        elif len(packet) == 2:
            time_ns = packet[0]
            yield time_ns, packet[1], len(packet[1])
        else:
            time_ns = packet[0]
            yield time_ns, packet[1], packet[2]
