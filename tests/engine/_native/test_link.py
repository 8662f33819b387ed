"""Decapsulation: every link type and tunnel down to the transport payload, and headers that lie."""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from engine._native.packet import decode, decode_ip
from tests.data import capture_builder as build
from tests.oracle import capture_twin

if TYPE_CHECKING:
    from engine._native.packet import Packet

MALFORMED, UNSUPPORTED = -1, -4
SNAPPED, FRAGMENT, ICMP_QUOTE, VLAN, MPLS, TUNNEL, HEP = 1, 2, 8, 16, 32, 64, 128
(T_GRE, T_ERSPAN, T_VXLAN, T_GENEVE, T_GTP, T_IPIP, T_TZSP, T_L2TP, T_PPPOE, T_QINQ, T_MPLS, T_VLAN, T_VNTAG, T_HEP) = (
    1 << at for at in range(14)
)
PUBLIC, PRIVATE = 2, 3
SIP = b"OPTIONS sip:carol@chicago.com SIP/2.0\r\nCall-ID: 1\r\n\r\n"
V4 = build.ipv4(build.udp(SIP, 5062, 5060), "192.168.1.10", "198.51.100.7")
V6 = build.ipv6(build.udp(SIP, 5062, 5060), "fd00::10", "2001:db8::7")
FRAME = build.ethernet(V4)


def whole(octets: bytes, link_type: int = 1) -> Packet:
    """The packet of a frame that must decode without any problem."""
    status, packet, problems = decode(octets, link_type)
    assert (status, problems) == (0, {})
    return packet


def refused(octets: bytes, link_type: int = 1) -> tuple[int, list[str]]:
    status, _, problems = decode(octets, link_type)
    return status, list(problems)


def is_v4(packet: Packet) -> bool:
    return (packet["source"], packet["target"], packet["payload"], packet["protocol"]) == (
        ("192.168.1.10", 5062, PRIVATE),
        ("198.51.100.7", 5060, PUBLIC),
        SIP,
        17,
    )


def is_v6(packet: Packet) -> bool:
    return (packet["source"], packet["target"], packet["payload"]) == (
        ("fd00:0000:0000:0000:0000:0000:0000:0010", 5062, PRIVATE),
        ("2001:0db8:0000:0000:0000:0000:0000:0007", 5060, PUBLIC),
        SIP,
    )


LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "Ethernet": (1, build.ethernet),
    "802.3 with LLC and SNAP": (1, lambda ip: build.ethernet(build.snap(ip), len(build.snap(ip)))),
    "SLL": (113, build.sll),
    "SLL2": (276, build.sll2),
    "NULL little-endian": (0, build.null),
    "NULL big-endian": (0, lambda ip: build.null(ip, big_endian=True)),
    "LOOP": (108, lambda ip: build.null(ip, big_endian=True)),
    "ENC": (109, lambda ip: b"\2\0\0\0" + bytes(8) + ip),
    "RAW 12": (12, bytes),
    "RAW 14": (14, bytes),
    "RAW 101": (101, bytes),
    "IPV4 228": (228, bytes),
    "IPV6 229": (229, bytes),
    "PPP": (9, build.ppp),
    "PPP without address and control": (9, lambda ip: build.ppp(ip, framed=False)),
    "PPP with a compressed protocol": (9, lambda ip: (b"\x21" if ip[0] >> 4 == 4 else b"\x57") + ip),
    "PPP serial": (50, build.ppp),
    "PPPoE link": (51, build.pppoe),
    "Cisco HDLC": (104, lambda ip: b"\x0f\0" + (b"\x08\0" if ip[0] >> 4 == 4 else b"\x86\xdd") + ip),
    "NFLOG little-endian": (239, build.nflog),
    "NFLOG big-endian": (239, lambda ip: build.nflog(ip, big_endian=True)),
}


@pytest.mark.parametrize("name", LINKS)
def test_every_link_type_gives_its_ip_packet_of_either_version(name: str) -> None:
    link_type, wrap = LINKS[name]
    assert is_v4(whole(wrap(V4), link_type))
    assert is_v6(whole(wrap(V6), link_type))


TUNNELS: dict[str, tuple[bytes, int, int]] = {
    "one VLAN tag": (build.ethernet(build.vlan(V4, 30), 0x8100), VLAN, T_VLAN),
    "priority tag": (build.ethernet(build.vlan(V4, 0, priority=5), 0x8100), VLAN, T_VLAN),
    "QinQ 88A8": (build.ethernet(build.vlan(build.vlan(V4, 30), 20, 0x8100), 0x88A8), VLAN, T_VLAN | T_QINQ),
    "QinQ 9100": (build.ethernet(build.vlan(build.vlan(V4, 30), 20, 0x8100), 0x9100), VLAN, T_VLAN | T_QINQ),
    "VLAN in SLL": (build.ethernet(build.vlan(V4, 30), 0x8100), VLAN, T_VLAN),
    "VN-Tag": (build.ethernet(build.vntag(V4), 0x8926), 0, T_VNTAG),
    "MPLS": (build.ethernet(build.mpls(V4, (16, 17, 18)), 0x8847), MPLS, T_MPLS),
    "MPLS multicast type": (build.ethernet(build.mpls(V4), 0x8848), MPLS, T_MPLS),
    "Ethernet over MPLS": (build.ethernet(build.mpls(FRAME), 0x8847), MPLS, T_MPLS),
    "Ethernet over MPLS, control word": (
        build.ethernet(build.mpls(FRAME, control_word=True), 0x8847),
        MPLS,
        T_MPLS,
    ),
    "MPLS in IP": (build.ethernet(build.ipv4(build.mpls(V4), protocol=137)), MPLS, T_MPLS),
    "PPPoE": (build.ethernet(build.pppoe(V4), 0x8864), TUNNEL, T_PPPOE),
    "PPPoE in a VLAN": (
        build.ethernet(build.vlan(build.pppoe(V4), 7, 0x8864), 0x8100),
        TUNNEL | VLAN,
        T_PPPOE | T_VLAN,
    ),
    "FabricPath": (build.ethernet(b"\0\x20" + FRAME, 0x8903), 0, T_VNTAG),
    "802.1ah": (build.ethernet(b"\0\0\0\x20" + FRAME, 0x88E7), VLAN, T_QINQ),
    "IP in IP": (build.ethernet(build.ipv4(V4, protocol=4)), TUNNEL, T_IPIP),
    "4in6": (build.ethernet(build.ipv6(V4, next_header=4)), TUNNEL, T_IPIP),
    "EtherIP": (build.ethernet(build.ipv4(b"\x30\0" + FRAME, protocol=97)), TUNNEL, T_IPIP),
    "GRE": (build.ethernet(build.ipv4(build.gre(V4), protocol=47)), TUNNEL, T_GRE),
    "GRE with everything": (
        build.ethernet(build.ipv4(build.gre(V4, key=1, sequence=2, with_checksum=True), protocol=47)),
        TUNNEL,
        T_GRE,
    ),
    "GRE over IPv6": (build.ethernet(build.ipv6(build.gre(V4), next_header=47)), TUNNEL, T_GRE),
    "GRE of Ethernet": (build.ethernet(build.ipv4(build.gre(FRAME, 0x6558), protocol=47)), TUNNEL, T_GRE),
    "NVGRE": (build.ethernet(build.ipv4(build.nvgre(FRAME), protocol=47)), TUNNEL, T_GRE),
    "GRE of MPLS": (
        build.ethernet(build.ipv4(build.gre(build.mpls(V4), 0x8847), protocol=47)),
        TUNNEL | MPLS,
        T_GRE | T_MPLS,
    ),
    "PPTP": (build.ethernet(build.ipv4(build.gre_pptp(V4), protocol=47)), TUNNEL, T_GRE),
    "PPTP acknowledging": (
        build.ethernet(build.ipv4(build.gre_pptp(V4, acknowledgement=4), protocol=47)),
        TUNNEL,
        T_GRE,
    ),
    **{
        f"ERSPAN {kind}{' with subheader' if sub else ''}": (
            build.ethernet(build.ipv4(build.erspan(FRAME, kind, subheader=sub), protocol=47)),
            TUNNEL,
            T_GRE | T_ERSPAN,
        )
        for kind, sub in ((1, False), (2, False), (3, False), (3, True))
    },
    "VXLAN": (build.ethernet(build.ipv4(build.vxlan(FRAME))), TUNNEL, T_VXLAN),
    "VXLAN 8472": (build.ethernet(build.ipv4(build.vxlan(FRAME, port=8472))), TUNNEL, T_VXLAN),
    "VXLAN-GPE IP": (build.ethernet(build.ipv4(build.vxlan_gpe(V4, 1))), TUNNEL, T_VXLAN),
    "VXLAN-GPE Ethernet": (build.ethernet(build.ipv4(build.vxlan_gpe(FRAME, 3))), TUNNEL, T_VXLAN),
    "VXLAN-GPE NSH": (
        build.ethernet(build.ipv4(build.vxlan_gpe(b"\0\x06\1\1" + bytes(20) + V4, 4))),
        TUNNEL,
        T_VXLAN,
    ),
    "Geneve Ethernet": (build.ethernet(build.ipv4(build.geneve(FRAME))), TUNNEL, T_GENEVE),
    "Geneve IP with options": (
        build.ethernet(build.ipv4(build.geneve(V4, 0x0800, options=bytes(12)))),
        TUNNEL,
        T_GENEVE,
    ),
    "GTP-U": (build.ethernet(build.ipv4(build.gtp(V4))), TUNNEL, T_GTP),
    "GTP-U with extensions": (
        build.ethernet(build.ipv4(build.gtp(V4, extensions=[(0x85, bytes(2)), (0x40, bytes(6))], sequence=9))),
        TUNNEL,
        T_GTP,
    ),
    "TZSP": (build.ethernet(build.ipv4(build.tzsp(FRAME))), TUNNEL, T_TZSP),
    "L2TP": (build.ethernet(build.ipv4(build.l2tp(V4))), TUNNEL, T_L2TP),
    "L2TP without length": (build.ethernet(build.ipv4(build.l2tp(V4, with_length=False))), TUNNEL, T_L2TP),
    "three tunnels deep": (
        build.ethernet(
            build.vlan(
                build.ipv4(build.gtp(build.ipv4(build.gre(build.ipv4(build.vxlan(FRAME))), protocol=47))), 9
            ),
            0x8100,
        ),
        TUNNEL | VLAN,
        T_VLAN | T_GTP | T_GRE | T_VXLAN,
    ),
}


@pytest.mark.parametrize("name", TUNNELS)
def test_every_encapsulation_is_taken_off_and_named(name: str) -> None:
    octets, flags, tunnels = TUNNELS[name]
    packet = whole(octets)
    assert is_v4(packet)
    assert (packet["flags"], packet["tunnels"]) == (flags, tunnels)


def test_ipv6_in_ipv4_is_taken_off() -> None:
    packet = whole(build.ethernet(build.ipv4(V6, protocol=41)))
    assert is_v6(packet)
    assert packet["tunnels"] == T_IPIP


def test_the_innermost_vlan_is_named_and_vlans_part_the_flows() -> None:
    tagged = [whole(build.ethernet(build.vlan(V4, n), 0x8100)) for n in (30, 31, 30)]
    assert [p["vlan"] for p in tagged] == [30, 31, 30]
    assert tagged[0]["flow_tag"] == tagged[2]["flow_tag"] != tagged[1]["flow_tag"]
    double = whole(build.ethernet(build.vlan(build.vlan(V4, 30), 20, 0x8100), 0x88A8))
    assert double["vlan"] == 30
    assert double["flow_tag"] not in {p["flow_tag"] for p in tagged}
    assert whole(FRAME)["flow_tag"] == 0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda n: build.ipv4(build.vxlan(FRAME, identifier=n)),
        lambda n: build.ipv4(build.geneve(FRAME, identifier=n)),
        lambda n: build.ipv4(build.nvgre(FRAME, subnet=n), protocol=47),
    ],
)
def test_network_ids_part_the_flows_of_overlapping_address_plans(wrap: Callable[[int], bytes]) -> None:
    assert len({whole(build.ethernet(wrap(n)))["flow_tag"] for n in (1, 2, 3)}) == 3


def test_ids_that_differ_by_direction_do_not_part_the_two_halves_of_a_flow() -> None:
    assert {whole(build.ethernet(build.ipv4(build.gtp(V4, tunnel=n))))["flow_tag"] for n in (1, 2)} == {0}
    assert {whole(build.ethernet(build.mpls(V4, (n,)), 0x8847))["flow_tag"] for n in (16, 17)} == {0}


@pytest.mark.parametrize("port", [4789, 4790, 8472, 6081, 2152, 37008, 1701, 9060])
@pytest.mark.parametrize(
    "payload",
    [SIP, bytes.fromhex("80001234000000a0deadbeef") + bytes(160), b"", b"\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"],
)
def test_sip_and_media_on_a_tunnel_port_stay_what_they_are(port: int, payload: bytes) -> None:
    packet = whole(build.ethernet(build.ipv4(build.udp(payload, port, port))))
    assert (packet["payload"], packet["tunnels"]) == (payload, 0)


# ---- network and transport ----


def test_type_of_service_hop_limit_and_identification_are_kept() -> None:
    packet = whole(build.ethernet(build.ipv4(build.udp(SIP), tos=0xB8, ttl=17, identification=0xBEEF)))
    assert (packet["dscp"], packet["ttl"], packet["fragment_id"]) == (46, 17, 0xBEEF)
    packet = whole(build.ethernet(build.ipv6(build.udp(SIP), traffic_class=0x60, hop_limit=3)))
    assert (packet["dscp"], packet["ttl"]) == (24, 3)


def test_padding_behind_the_ip_packet_is_no_payload() -> None:
    packet = whole(build.ethernet(build.ipv4(build.udp(b"\r\n"))) + bytes(30))
    assert packet["payload"] == b"\r\n"


def test_options_of_ip_and_tcp_are_stepped_over() -> None:
    segment = build.tcp(SIP, 5061, 5060, sequence=77, acknowledgement=88, flags=build.PSH | build.ACK, options=bytes(9))
    packet = whole(build.ethernet(build.ipv4(segment, protocol=build.IP_TCP, options=b"\x94\4\0\0" + bytes(8))))
    assert (packet["payload"], packet["source"][1], packet["protocol"]) == (SIP, 5061, 6)
    assert (packet["tcp_sequence"], packet["tcp_acknowledgement"], packet["tcp_flags"]) == (77, 88, 24)


def test_ipv6_extension_headers_are_stepped_over() -> None:
    payload = build.ipv6_extension(build.ipv6_extension(build.udp(SIP), 17, bytes(20)), 60)
    assert whole(build.ethernet(build.ipv6(payload, next_header=0)))["payload"] == SIP


def test_an_authentication_header_is_stepped_over() -> None:
    header = struct.pack("!BBHIIIII", 17, 5, 0, 1, 1, 0, 0, 0)
    header += bytes(28 - len(header))
    for octets in (build.ipv4(header + build.udp(SIP), protocol=51), build.ipv6(header + build.udp(SIP), next_header=51)):
        assert whole(build.ethernet(octets))["payload"] == SIP


def test_a_jumbogram_and_an_offloaded_segment_reach_to_the_end_of_the_frame() -> None:
    """C07: IPv6 jumbo payload, IPv4 total length left at zero by segmentation offload."""
    hop_by_hop = build.ipv6_extension(build.udp(SIP, length=0), 17, b"\xc2\4\0\0\0\0")
    assert whole(build.ethernet(build.ipv6(hop_by_hop, next_header=0, payload_length=0)))["payload"] == SIP
    segment = build.ipv4(build.tcp(SIP), protocol=build.IP_TCP, total_length=0)
    assert whole(build.ethernet(segment))["payload"] == SIP


def test_sctp_gives_its_chunks() -> None:
    chunk = build.sctp_data(SIP)
    packet = whole(build.ethernet(build.ipv4(build.sctp(chunk, 5062, 5060), protocol=build.IP_SCTP)))
    assert (packet["payload"], packet["source"][1], packet["target"][1]) == (chunk, 5062, 5060)


def test_a_fragment_comes_back_with_its_layer_three_payload() -> None:
    first, second = build.ipv4_fragments(build.udp(SIP), 24, identification=99)[:2]
    packet = whole(build.ethernet(second))
    assert packet["flags"] == FRAGMENT
    assert (packet["fragment_id"], packet["fragment_offset"], packet["more_fragments"]) == (99, 24, True)
    assert packet["payload"] == build.udp(SIP)[24:48]
    assert whole(build.ethernet(first))["source"][1] == 0
    inner = build.ipv6_fragment(b"x" * 16, 17, 16, True, 0xDEADBEEF)
    packet = whole(build.ethernet(build.ipv6(inner, next_header=44)))
    assert (packet["flags"], packet["fragment_id"], packet["fragment_offset"]) == (FRAGMENT, 0xDEADBEEF, 16)


def test_an_atomic_ipv6_fragment_is_no_fragment() -> None:
    inner = build.ipv6_fragment(build.udp(SIP), 17, 0, False, 5)
    assert whole(build.ethernet(build.ipv6(inner, next_header=44)))["payload"] == SIP


@pytest.mark.parametrize(("kind", "code"), [(3, 3), (3, 4), (11, 0), (12, 0)])
def test_an_icmp_error_gives_the_packet_it_quotes(kind: int, code: int) -> None:
    quoted = build.ipv4(build.udp(SIP, 5062, 5060), "192.168.1.10", "198.51.100.7")
    for octets in (quoted, quoted[:28]):
        error = build.icmp_error(octets, kind, code)
        packet = whole(build.ethernet(build.ipv4(error, "198.51.100.7", "192.168.1.10", build.IP_ICMP)))
        assert packet["flags"] == ICMP_QUOTE
        assert packet["icmp"] == (kind, code)
        assert packet["source"][:2] == ("192.168.1.10", 5062)
        assert packet["target"][:2] == ("198.51.100.7", 5060)
        assert packet["payload"] == octets[28:]
        assert packet["wire_length"] == len(SIP)


def test_an_icmpv6_error_and_a_quoted_tcp_segment_are_read() -> None:
    error = build.icmp_error(V6, 1, 4)
    packet = whole(build.ethernet(build.ipv6(error, next_header=build.IP_ICMPV6)))
    assert (packet["flags"], packet["icmp"], packet["payload"]) == (ICMP_QUOTE, (1, 4), SIP)
    quoted = build.ipv4(build.tcp(SIP, 5062, 5060, sequence=9), protocol=build.IP_TCP)[:28]
    packet = whole(build.ethernet(build.ipv4(build.icmp_error(quoted), protocol=build.IP_ICMP)))
    assert (packet["protocol"], packet["tcp_sequence"], packet["payload"]) == (6, 9, b"")


def test_structures_behind_a_quote_are_no_payload_of_it() -> None:
    """RFC 4884: the length field of the error says where the quoted packet ends."""
    quoted = build.ipv4(build.udp(b"A" * 500))[:128]
    error = bytearray(build.icmp_error(quoted + b"extension"))
    error[5] = 32
    packet = whole(build.ethernet(build.ipv4(bytes(error), protocol=build.IP_ICMP)))
    assert packet["payload"] == b"A" * 100


@pytest.mark.parametrize(
    "octets",
    [
        build.ethernet(b"\0\1\x08\0\6\4\0\1" + bytes(20), 0x0806),
        build.ethernet(bytes(46), 0x88CC),
        build.ethernet(b"\x42\x42\x03" + bytes(40), 43),
        build.ethernet(build.ipv4(build.icmp_error(b"", 8, 0), protocol=1)),
        build.ethernet(build.ipv4(bytes(20), protocol=89)),
        build.ethernet(build.ipv6(b"", next_header=59)),
        build.ethernet(b"\x11\x09\0\0\0\4\1\1\0\0", 0x8863),
    ],
)
def test_what_carries_no_datagram_is_unsupported_without_being_a_problem(octets: bytes) -> None:
    assert refused(octets) == (UNSUPPORTED, [])


def test_an_unknown_link_type_is_counted() -> None:
    assert refused(FRAME, 105) == (UNSUPPORTED, ["LINK_UNSUPPORTED"])


# ---- headers that lie ----


def altered(octets: bytes, at: int, value: bytes) -> bytes:
    return octets[:at] + value + octets[at + len(value) :]


@pytest.mark.parametrize(
    ("octets", "problem"),
    [
        (altered(FRAME, 14, b"\x44"), "NETWORK_HEADER"),
        (altered(FRAME, 14, b"\x35"), "NETWORK_HEADER"),
        (altered(FRAME, 16, b"\0\x13"), "NETWORK_HEADER"),
        (altered(FRAME, 38, b"\0\7"), "TRANSPORT_HEADER"),
        (build.ethernet(altered(build.ipv4(build.tcp(), protocol=6), 32, b"\x40")), "TRANSPORT_HEADER"),
        (build.ethernet(altered(build.ipv4(build.tcp(), protocol=6), 32, b"\xf0")), "TRANSPORT_HEADER"),
        (build.ethernet(build.ipv4(b"1234567")), "TRANSPORT_HEADER"),
        (build.ethernet(b"\x45" + bytes(10)), "NETWORK_HEADER"),
        (build.ethernet(build.ipv6(build.ipv6_extension(b"", 17)[:6], next_header=0)), "NETWORK_HEADER"),
        (FRAME[:13], "NETWORK_HEADER"),
    ],
)
def test_an_impossible_header_is_malformed_and_counted(octets: bytes, problem: str) -> None:
    """C07: IP header length < 20, total length < header, and their kin."""
    assert refused(octets) == (MALFORMED, [problem])


def test_a_total_length_beyond_the_frame_is_counted_and_what_is_there_is_given() -> None:
    status, packet, problems = decode(build.ethernet(build.ipv4(build.udp(SIP), total_length=1400)))
    assert (status, packet["payload"]) == (0, SIP)
    assert list(problems) == ["NETWORK_HEADER"]


def test_a_udp_length_beyond_the_packet_is_counted_and_what_is_there_is_given() -> None:
    status, packet, problems = decode(build.ethernet(build.ipv4(build.udp(SIP, length=900))))
    assert (status, packet["payload"], list(problems)) == (0, SIP, ["TRANSPORT_HEADER"])


def test_a_packet_cut_by_the_snap_length_says_how_long_it_was() -> None:
    status, packet, problems = decode(FRAME[:60], original=len(FRAME))
    assert (status, packet["flags"], list(problems)) == (0, SNAPPED, ["SNAPPED"])
    assert packet["payload"] == SIP[:18]
    assert packet["wire_length"] == len(SIP)


@pytest.mark.parametrize("size", range(42))
def test_a_packet_cut_inside_its_headers_is_counted_as_cut(size: int) -> None:
    status, _, problems = decode(FRAME[:size], original=len(FRAME))
    assert (status, list(problems)) == (MALFORMED, ["SNAPPED"])


@pytest.mark.parametrize("tags", [12, 13, 200])
def test_vlan_tags_end_at_the_depth_cap(tags: int) -> None:
    """C07: Ethernet with 200 VLAN tags."""
    octets = V4
    for n in range(tags):
        octets = build.vlan(octets, 1 + n, 0x8100 if n else None)
    expected = (0, []) if tags <= 12 else (MALFORMED, ["ENCAPSULATION_DEPTH"])
    assert refused(build.ethernet(octets, 0x8100)) == expected


@pytest.mark.parametrize("length", [1, 32, 33, 1000])
def test_an_ipv6_extension_chain_ends_at_its_cap(length: int) -> None:
    """C07: IPv6 extension chain 1,000 long."""
    payload = build.udp(SIP)
    for n in range(length):
        payload = build.ipv6_extension(payload, 60 if n else 17)
    expected = (0, []) if length <= 32 else (MALFORMED, ["ENCAPSULATION_DEPTH"])
    assert refused(build.ethernet(build.ipv6(payload, next_header=60))) == expected


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: build.ipv4(inner, protocol=4),
        lambda inner: build.ipv4(build.gre(inner), protocol=47),
        lambda inner: build.ipv4(build.gtp(inner)),
        lambda inner: build.ipv4(build.vxlan(build.ethernet(inner))),
        lambda inner: build.ipv4(build.l2tp(inner)),
    ],
)
def test_tunnels_in_tunnels_end_at_the_depth_cap(wrap: Callable[[bytes], bytes]) -> None:
    """C07: GRE, IPIP and GTP nested without end."""
    octets = V4
    for _ in range(40):
        octets = wrap(octets)
    assert refused(build.ethernet(octets)) == (MALFORMED, ["ENCAPSULATION_DEPTH"])


def test_a_label_stack_without_a_bottom_ends() -> None:
    """C07: MPLS labels that never set the bottom-of-stack bit."""
    assert refused(build.ethernet(bytes(4 * 300), 0x8847)) == (MALFORMED, ["ENCAPSULATION_DEPTH"])


def test_gtp_extensions_of_no_length_end() -> None:
    """C07: a zero-length extension header would loop."""
    packet = bytearray(build.ethernet(build.ipv4(build.gtp(V4, extensions=[(0x85, bytes(2))]))))
    packet[14 + 20 + 8 + 12] = 0
    assert refused(bytes(packet)) == (MALFORMED, ["NETWORK_HEADER"])


# ---- HEP inside a capture ----


@pytest.mark.parametrize("port", [9060, 12345])
def test_hep_in_a_datagram_gives_what_it_reports(port: int) -> None:
    hep = build.hep3(SIP, "192.168.1.10", "198.51.100.7", 5062, 5060, correlation=b"abc@host")
    packet = whole(build.ethernet(build.ipv4(build.udp(hep, 40000, port), "10.9.9.9", "10.8.8.8")))
    assert is_v4(packet)
    assert (packet["flags"], packet["tunnels"], packet["hep_protocol"]) == (HEP, T_HEP, 1)
    assert packet["time_ns"] == 1_700_000_000_000_000_000
    assert packet["hep_correlation"] == b"abc@host"


def test_old_hep_is_read_on_its_port_only() -> None:
    hep = build.hep1(SIP, "192.168.1.10", "198.51.100.7", 5062, 5060)
    assert is_v4(whole(build.ethernet(build.ipv4(build.udp(hep, 40000, 9060)))))
    assert whole(build.ethernet(build.ipv4(build.udp(hep, 40000, 40001))))["payload"] == hep


def test_a_hep_packet_cut_by_the_snap_length_is_counted_as_cut() -> None:
    frame = build.ethernet(build.ipv4(build.udp(build.hep3(SIP), 40000, 9060)))
    status, _, problems = decode(frame[:-10], original=len(frame))
    assert (status, list(problems)) == (MALFORMED, ["SNAPPED"])


# ---- against the twin ----


def random_frame(dice: random.Random) -> bytes:
    """Ethernet with some tags around an IP packet around UDP or TCP."""
    payload = dice.randbytes(dice.randrange(200))
    ports = dice.randrange(1, 65536), dice.randrange(1, 65536)
    over_tcp, version = dice.random() < 0.4, dice.choice((4, 4, 6))
    inner = build.tcp(payload, *ports, sequence=dice.getrandbits(32)) if over_tcp else build.udp(payload, *ports)
    protocol = 6 if over_tcp else 17
    if version == 4:
        source, target = (str(ipaddress.IPv4Address(dice.getrandbits(32))) for _ in range(2))
        octets = build.ipv4(
            inner, source, target, protocol, tos=dice.randrange(256), ttl=dice.randrange(256),
            options=bytes(4 * dice.choice((0, 0, 0, 3))),
        )
    else:
        source, target = (str(ipaddress.IPv6Address(dice.getrandbits(128))) for _ in range(2))
        octets = build.ipv6(inner, source, target, protocol, traffic_class=dice.randrange(256))
    kind = 0x0800 if version == 4 else 0x86DD
    for _ in range(dice.choice((0, 0, 0, 1, 2, 5))):
        octets, kind = build.vlan(octets, dice.randrange(1, 4096), kind), dice.choice((0x8100, 0x88A8, 0x9100))
    return build.ethernet(octets, kind) + bytes(dice.choice((0, 0, 4, 18)))


def same_as_twin(frame: bytes) -> bool:
    """Whether the kernel agrees with the twin; frames the twin does not read agree with anything."""
    twin = capture_twin.decode(frame)
    if twin is None:
        return True
    status, packet, _ = decode(frame)
    return status == 0 and (
        packet["source"][:2],
        packet["target"][:2],
        packet["payload"],
        packet["wire_length"],
        packet["dscp"],
        packet["ttl"],
        packet["vlan"],
    ) == (
        (twin.source, twin.source_port),
        (twin.target, twin.target_port),
        twin.payload,
        twin.wire_length,
        twin.dscp,
        twin.hops,
        next((vlan for vlan in reversed(twin.vlans) if vlan), 0),
    )


def test_random_frames_decode_like_the_twin() -> None:
    dice = random.Random(20)
    frames = [random_frame(dice) for _ in range(3000)]
    assert sum(capture_twin.decode(frame) is not None for frame in frames) > 2900
    assert [frame.hex() for frame in frames if not same_as_twin(frame)] == []


def test_frames_with_damaged_headers_decode_like_the_twin_where_it_reads_them() -> None:
    dice, wrong, read = random.Random(21), [], 0
    for _ in range(3000):
        frame = bytearray(random_frame(dice))
        frame[dice.randrange(min(len(frame), 70))] = dice.randrange(256)
        read += capture_twin.decode(bytes(frame)) is not None
        if not same_as_twin(bytes(frame)):
            wrong.append(frame.hex())
    assert wrong == []
    assert read > 1000


def test_a_bare_ip_packet_decodes_like_one_in_a_frame() -> None:
    for octets in (V4, V6):
        status, packet, problems = decode_ip(octets)
        framed = whole(build.ethernet(octets))
        assert (status, problems) == (0, {})
        assert [packet[key] for key in ("source", "target", "payload")] == [
            framed[key] for key in ("source", "target", "payload")
        ]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("10.0.0.1", 3), ("172.15.0.1", 2), ("172.16.0.1", 3), ("172.31.255.255", 3), ("172.32.0.1", 2),
        ("192.168.0.1", 3), ("192.167.0.1", 2), ("192.0.2.1", 2), ("100.64.0.1", 4), ("100.128.0.1", 2),
        ("169.254.9.9", 5), ("169.253.9.9", 2), ("127.0.0.1", 6), ("0.0.0.0", 7), ("0.1.2.3", 2),
        ("224.0.0.1", 8), ("239.255.255.255", 8), ("255.255.255.255", 9), ("8.8.8.8", 2), ("223.255.255.255", 2),
    ],
)  # fmt: skip
def test_the_class_of_an_address_is_the_address_kernels(text: str, kind: int) -> None:
    assert whole(build.ethernet(build.ipv4(build.udp(SIP), text)))["source"][2] == kind
    assert whole(build.ethernet(build.vlan(build.ipv4(build.udp(SIP), text), 5), 0x8100))["source"][2] == kind
