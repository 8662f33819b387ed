"""Random damage to capture files, frames, fragments and streams: the packet path may refuse, never invent or crash.

The sanitizer build of the suite turns every stray read here into a failure.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine._native.packet import Capture, Fragments, Tcp, decode, decode_ip, hep, websocket_frame_header
from tests.data import capture_builder as build

MALFORMED, UNSUPPORTED = -1, -4
SIP = b"INVITE sip:bob@biloxi.com SIP/2.0\r\nCall-ID: a\r\nContent-Length: 4\r\n\r\nv=0\n"
IP = build.ipv4(build.udp(SIP))
FRAME = build.ethernet(IP)
LINK_TYPES = (0, 1, 9, 12, 50, 51, 101, 104, 108, 109, 113, 228, 229, 239, 276, 65535)
SEEDS = [
    FRAME,
    build.ethernet(build.vlan(build.vlan(IP, 30), 20, 0x8100), 0x88A8),
    build.ethernet(build.mpls(FRAME, (16, 17), control_word=True), 0x8847),
    build.ethernet(build.pppoe(IP), 0x8864),
    build.ethernet(build.ipv4(build.gre(IP, key=1, sequence=2, with_checksum=True), protocol=47)),
    build.ethernet(build.ipv4(build.gre_pptp(IP, acknowledgement=1), protocol=47)),
    build.ethernet(build.ipv4(build.erspan(FRAME, 2), protocol=47)),
    build.ethernet(build.ipv4(build.erspan(FRAME, 3, subheader=True), protocol=47)),
    build.ethernet(build.ipv4(build.vxlan(FRAME))),
    build.ethernet(build.ipv4(build.vxlan_gpe(IP, 1))),
    build.ethernet(build.ipv4(build.geneve(FRAME, options=bytes(8)))),
    build.ethernet(build.ipv4(build.gtp(IP, extensions=[(0x85, bytes(6))], sequence=1))),
    build.ethernet(build.ipv4(build.tzsp(FRAME))),
    build.ethernet(build.ipv4(build.l2tp(IP))),
    build.ethernet(build.ipv4(build.udp(build.hep3(SIP, correlation=b"c"), 9060, 9060))),
    build.ethernet(build.ipv4(build.udp(build.hep2(SIP), 9060, 9060))),
    build.ethernet(build.ipv4(build.icmp_error(IP), protocol=1)),
    build.ethernet(build.ipv6(build.ipv6_extension(build.ipv6_extension(build.udp(SIP), 17), 60), next_header=0)),
    build.ethernet(build.ipv6(build.ipv6_fragment(build.udp(SIP), 17, 0, True, 1), next_header=44)),
    build.ethernet(build.ipv4(build.tcp(SIP), protocol=6)),
    build.ethernet(build.ipv4(build.sctp(build.sctp_data(SIP)), protocol=132)),
    build.sll(IP),
    build.sll2(IP),
    build.null(IP),
    build.nflog(IP),
    build.ppp(IP),
    build.hep3(SIP),
]
FILES = [
    build.pcap(SEEDS),
    build.pcap(SEEDS, big_endian=True, nanosecond=True),
    build.pcap(SEEDS, modified=True),
    build.pcapng(SEEDS),
    build.pcapng(SEEDS, big_endian=True)
    + build.pcapng_section()
    + build.pcapng_interface(113, options=build.pcapng_option(9, b"\x8a") + build.pcapng_option(14, bytes(8)))
    + build.pcapng_secrets(b"CLIENT_RANDOM")
    + build.pcapng_simple(build.sll(IP))
    + build.pcapng_enhanced(build.sll(IP), 99, options=build.pcapng_option(1, b"note"))
    + build.pcapng_old_packet(build.sll(IP), 7),
    build.hep_file([build.hep3(SIP, correlation=b"c")] * 9),
]


def damaged(octets: bytes, dice: random.Random) -> bytes:
    """A few flipped, removed, repeated or cut bytes."""
    result = bytearray(octets)
    for _ in range(dice.choice((1, 1, 2, 5))):
        at = dice.randrange(len(result)) if result else 0
        turn = dice.randrange(6)
        if turn == 0:
            del result[at : at + dice.randrange(1, 9)]
        elif turn == 1:
            result[at:at] = result[at : at + dice.randrange(1, 30)]
        elif turn == 2 and dice.random() < 0.3:
            del result[at:]
        elif result[at : at + 1]:
            result[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
    return bytes(result)


def check_packet(status: int, packet: object, octets: bytes) -> None:
    assert isinstance(packet, dict)
    assert status in (0, MALFORMED, UNSUPPORTED)
    if status == 0:
        assert packet["payload"] in octets
        assert packet["wire_length"] >= len(packet["payload"])
        assert packet["hep_correlation"] is None or packet["hep_correlation"] in octets


@pytest.mark.parametrize("seed", range(6))
def test_damaged_frames_decode_to_bytes_they_hold(seed: int) -> None:
    """C07, H01-H03 on every encapsulation."""
    dice = random.Random(seed)
    for _ in range(1500):
        octets = damaged(dice.choice(SEEDS), dice)
        status, packet, _ = decode(octets, dice.choice(LINK_TYPES) if dice.random() < 0.3 else 1)
        check_packet(status, packet, octets)


@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_give_records_in_order_and_end(seed: int) -> None:
    """C01-C06 on every format."""
    dice = random.Random(100 + seed)
    for _ in range(150):
        file = damaged(damaged(dice.choice(FILES), dice), dice)
        try:
            capture = Capture(file)
        except ValueError:
            continue
        offsets = []
        for _, offset, octets, original, _, _, _ in capture:
            assert octets in file
            assert len(octets) <= original or original == 0
            offsets.append(offset)
        assert offsets == sorted(set(offsets))
        assert all(0 <= capture.boundary(at) <= len(file) for at in range(0, len(file) + 20, 97))
        for status, packet in Capture(file).packets():
            check_packet(status, packet, file)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_fragments_never_give_more_than_was_pushed(seed: int) -> None:
    """C08 with random damage."""
    dice = random.Random(200 + seed)
    for _ in range(80):
        reassembly = Fragments(3)
        pieces = [build.ethernet(o) for o in build.ipv4_fragments(build.udp(dice.randbytes(900)), 200)]
        pieces += [damaged(dice.choice(pieces), dice) for _ in range(4)]
        dice.shuffle(pieces)
        for piece in pieces:
            packet = reassembly.push(piece, time_ns=dice.randrange(10**11))
            assert packet is None or len(packet["payload"]) <= 65_535
        reassembly.drain(dice.randrange(10**11))
        reassembly.finish()


STREAMS = [
    SIP * 5,
    b"\r\n\r\n" + SIP + b"garbage\r\n" + SIP,
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    + build.websocket(SIP, mask=b"abcd")
    + build.websocket(SIP[:9], final=False)
    + build.websocket(b"", 9)
    + build.websocket(SIP[9:], 0),
    build.hep3(SIP) * 4,
    b"\x16\x03\x01\0\x05hello" + SIP,
    SIP.replace(b"Length: 4", b"Length: 70000") + b"x" * 3000 + SIP,
]


@pytest.mark.parametrize("seed", range(8))
def test_damaged_streams_give_messages_and_keep_their_memory(seed: int) -> None:
    """C09, T01, T06 with random damage, order, loss and repetition; two connections share three buffers."""
    dice = random.Random(300 + seed)
    for _ in range(40):
        streams = Tcp(3, dice.choice((0, 1, 3)))
        frames = []
        for connection in range(2):
            stream, at = damaged(dice.choice(STREAMS), dice), 0
            first = dice.choice((1, 2**32 - 40))
            while at < len(stream):
                size = dice.choice((1, 7, 60, 500))
                flags = dice.choice((build.ACK,) * 20 + (build.FIN | build.ACK, build.RST, build.SYN))
                inner = build.tcp(stream[at : at + size], 1000 + connection, 5060, first + at, dice.getrandbits(32), flags)
                frames.append(build.ethernet(build.ipv4(inner, protocol=6)))
                at += size
        order = sorted(range(len(frames)), key=lambda at: at + dice.random() * 9)
        for at in order + order[:20]:
            octets = frames[at] if dice.random() < 0.95 else damaged(frames[at], dice)
            for name, packet, _ in streams.push(octets):
                assert name != "message" or 0 < len(packet["payload"]) <= packet["wire_length"]
        streams.finish()


@given(st.binary(max_size=300), st.sampled_from(LINK_TYPES))
@settings(max_examples=300, deadline=None)
def test_any_bytes_of_any_link_type_are_decoded_or_refused(octets: bytes, link_type: int) -> None:
    status, packet, _ = decode(octets, link_type)
    check_packet(status, packet, octets)
    check_packet(*decode_ip(octets)[:2], octets)
    assert hep(octets)[0] <= len(octets)
    assert websocket_frame_header(octets)[0] <= 14


@given(st.binary(max_size=400), st.sampled_from([file[:24] for file in FILES[:3]] + [FILES[3][:56], b"HEP3"]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_behind_a_file_header_end(octets: bytes, header: bytes) -> None:
    capture = Capture(header + octets)
    assert sum(1 for _ in capture) <= len(octets)
