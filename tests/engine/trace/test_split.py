"""A capture read in parts gives what one thread gives: every column of every table, every counter, the whole report."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pytest

from bench import corpus
from engine._native import trace as native
from engine.trace import analyze, read
from engine.trace.analysis import report
from engine.trace.finding import Problem
from engine.trace.reading import SPLIT_BYTES, read_in_parts
from engine.trace.tables import Tables
from tests.data import capture_builder as build
from tests.data import scene_packets as wire
from tests.data.scene import Call, Scene, sdp

SEED = 7  # of the hashes, which are columns too
T38 = ("a=T38FaxVersion:0", "a=T38FaxRateManagement:transferredTCF", "a=T38FaxUdpEC:t38UDPRedundancy")
# Places in the arena hang on the order in which bytes were kept; the bytes themselves are compared.
PLACES = {("strings", "offset"), ("events", "bytes_offset"), ("messages", "text_offset"), ("calls", "call_id_offset")}
COUNTERS = (
    "packets", "bytes_read", "rtp_packets", "rtcp_packets", "mirrored_packets", "other_packets", "first_time_ns",
    "last_time_ns", "no_time",
)  # fmt: skip


class Told(native.Trace):
    """A trace that counts the parts it took."""

    taken = 0
    refused = 0

    def absorb(self, part: native.Part) -> bool:
        fits = super().absorb(part)
        self.taken += fits
        self.refused += not fits
        return fits


def whole(content: bytes) -> Told:
    """The trace as one thread reads it."""
    trace = Told(len(content), seed=SEED)
    trace.open_input(content)
    assert trace.read_capture()
    trace.finish()
    return trace


def in_parts(content: bytes, part_bytes: int, workers: int = 2) -> Told:
    """The trace as several threads read it."""
    trace = Told(len(content), seed=SEED)
    trace.open_input(content)
    assert read_in_parts(trace, len(content), workers, part_bytes=part_bytes)
    trace.finish()
    return trace


def told(trace: native.Trace) -> bytes:
    """The report without its elapsed time."""
    tables = Tables(trace)
    tables.problems = [Problem(kind, text, count, offset, "x") for kind, text, count, offset in trace.problems()]
    tables.formats = ["pcap"]
    made = report(tables)
    made.summary.elapsed_ms = 0
    return msgspec.json.encode(made)


def assert_same(one: native.Trace, other: native.Trace) -> None:
    """Every column, text and counter of two traces, and what is said of them."""
    for name in native.TABLE_NAMES:
        (rows, columns), (other_rows, other_columns) = one.table(name), other.table(name)
        assert rows == other_rows, name
        for column, values in columns.items():
            if (name, column) not in PLACES:
                np.testing.assert_array_equal(values, other_columns[column], f"{name}.{column}")
    for row in range(one.rows("messages")):
        assert one.text(row) == other.text(row)
    for row in range(one.rows("calls")):
        assert one.call_id(row) == other.call_id(row)
    for row in range(one.rows("strings")):
        assert one.string(row) == other.string(row)
    assert kept_bytes(one) == kept_bytes(other)
    np.testing.assert_array_equal(one.call_messages(), other.call_messages())
    np.testing.assert_array_equal(one.call_streams(), other.call_streams())
    np.testing.assert_array_equal(one.call_conditions(), other.call_conditions())
    assert one.condition_counts() == other.condition_counts()
    assert one.problems() == other.problems()
    assert one.tunnel_packets() == other.tunnel_packets()
    assert {name: getattr(one, name) for name in COUNTERS} == {name: getattr(other, name) for name in COUNTERS}
    assert told(one) == told(other)


def kept_bytes(trace: native.Trace) -> list[bytes]:
    """Handshakes by event."""
    events = trace.table("events")[1]
    return [
        trace.arena_bytes(int(offset), int(length))
        for offset, length in zip(events["bytes_offset"], events["bytes_length"], strict=True)
    ]


def assert_parts_do_not_matter(content: bytes, part_sizes: list[int], fitting: bool = True) -> None:
    expected = whole(content)
    for part_bytes in part_sizes:
        trace = in_parts(content, part_bytes)
        assert not fitting or trace.taken, part_bytes
        assert_same(expected, trace)


def cuts(content: bytes, seed: int = 1, count: int = 4) -> list[int]:
    """Sizes of parts: halves, thirds, sevenths, and some by chance."""
    chance = Random(seed)
    size = len(content)
    return [-(-size // n) for n in (2, 3, 7)] + [chance.randrange(size // 40 + 100, size // 2) for _ in range(count)]


# ---- scenes ----


def image(call: Call, of_caller: bool) -> str:
    """A T.38 description of one end."""
    return call.sdp(of_caller, codecs=["t38"], media="image", proto="udptl", ptime=None, direction=None, extra=T38)


def udptl(number: int) -> bytes:
    """A UDPTL datagram; `number` may look like anything else."""
    return struct.pack("!HB", number, 3) + b"\x01\x02\x03\x00\x00"


def calls_with_media() -> Scene:
    """RTP, DTMF and RTCP of calls that overlap: no cut misses them."""
    scene = Scene()
    for n in range(6):
        call = scene.call(at=n * 0.7)
        call.answered()
        begin = call.now
        call.media(6, loss=0.02, jitter_ms=15, duplicates={40, 90}, swapped={60})
        call.dtmf(begin + 6.1, "12#")
        call.rtp(begin + 7.2, 1.0).bye(begin + 9).ok()
    return scene


def fax() -> Scene:
    """Calls that go over to T.38 at different times; packets of one look like RTP, RTCP, STUN and keep-alives."""
    scene = Scene()
    for n in range(4):
        call = scene.call(at=n * 1.5)
        call.answered()
        begin = call.now
        call.rtp(begin + 0.01, 2).rtp(begin + 0.02, 2, from_caller=False)
        call.reinvite(begin + 2.2, from_caller=False, sdp=image(call, False))
        call.ok(sdp=image(call, True)).ack()
        for k in range(120):
            number = (0x0000, 0x1000 + k, 0x8000 + k, 0x80C8, 0x0D0A, 0x5349)[k % 6]
            scene.udp(begin + 2.6 + k * 0.03, call.caller_media, call.callee_media, udptl(number))
        scene.udp(begin + 6.5, call.caller_media, call.callee_media, b"\r\n\r\n")
        call.rtp(begin + 6.6, 0.5)  # behind the image line, so no RTP
        call.reinvite(begin + 7.4).ok().ack()
        call.rtp(begin + 7.8, 1).bye(begin + 9).ok()
    return scene


def transports() -> Scene:
    """TCP, WebSocket, TLS, DTLS, fragments, ICMP, STUN and keep-alives between UDP calls."""
    scene = Scene(mtu=1400)
    for n in range(4):
        at = n * 4.0
        scene.call(at=at).basic(3)
        scene.call(at=at + 0.3, transport="TCP", caller=f"198.51.100.{30 + n}:4{n}000").basic(2)
        scene.call(at=at + 0.5, transport="WS", caller=f"198.51.100.{40 + n}:5{n}000").basic(2, rtp=False)
        filler = {"X-Filler": "x" * 2600}
        scene.call(at=at + 1).invite(at + 1, headers=filler).trying().response(486, to="INVITE").ack()
        scene.tls_handshake(at + 1.2, f"198.51.100.{50 + n}:40000", "203.0.113.20:5061")
        scene.dtls(at + 1.3, "198.51.100.60:5000", "203.0.113.60:5000", wire.dtls_record(22, wire.dtls_handshake(1, wire.dtls_client_hello())))
        scene.stun(at + 1.4, "198.51.100.10:20000", "203.0.113.20:30000")
        scene.icmp(at + 1.5, "203.0.113.1", "198.51.100.10:5060", "203.0.113.20:5060", b"OPTIONS")
        scene.udp(at + 1.6, "198.51.100.10:5060", "203.0.113.20:5060", b"\r\n\r\n")
        scene.udp(at + 1.7, "198.51.100.10:5060", "203.0.113.20:5060", b"\x01rubbish")
        scene.udp(at + 1.8, "198.51.100.10:5060", "203.0.113.20:5060", b"INVITE sip:x SIP/2.0 \r\nbroken")
        scene.tcp_refused(at + 2, f"198.51.100.70:4{n}100", "203.0.113.20:5060")
    return scene.wait(20)


def mirrored() -> Scene:
    """Every packet twice, as two mirror ports show it, and retransmissions."""
    scene = Scene()
    for n in range(5):
        call = scene.call(at=n * 2.0)
        call.invite().retransmit(n * 2.0, 3)
        call.trying().ringing().ok().ack()
        call.rtp(seconds=2).bye().ok()
    for at, _, frame in list(scene.frames):
        scene.packet(at + 0.0001, frame)
    return scene


def late_descriptions() -> Scene:
    """Media before its description, one port announced again and again, strangers, and flows on probation."""
    scene = Scene()
    for n in range(8):
        call = scene.call(at=n * 1.1 + 0.6, caller_media="198.51.100.10:20000", callee_media="203.0.113.20:30000")
        scene.rtp(n * 1.1, "203.0.113.20:30000", "198.51.100.10:20000", 0.5, ssrc=77 + n // 3, payload_type=96 + n % 2)
        call.invite(sdp=call.sdp(True, codecs=["PCMA" if n % 2 else "96 opus/48000/2", "97 G722/8000"]))
        call.trying().ok().ack().rtp(seconds=0.4).bye().ok()
        for k in range(6):  # one packet of many flows: they compete for the places of candidates
            packet = wire.rtp_packet(0, 10 * k, 160 * k, 1000 + k, bytes(160))
            scene.udp(n * 1.1 + 0.05 * k, f"198.51.100.{80 + k}:7000", "203.0.113.99:9000", packet)
        scene.rtp(n * 1.1 + 0.3, "198.51.100.90:6000", "203.0.113.91:6000", 0.2, ssrc=5, start_seq=1000 + 10 * n)
    return scene


def defects() -> Scene:
    """Sightings of every kind in the same calls again and again, from several agents."""
    scene = Scene()
    for n in range(6):
        call = scene.call(at=n * 3.0, call_id=f"long-lived-{n % 2}@example.org", from_user=f"user{n}")
        agent = {"User-Agent": ("friendly-scanner", "Phone/1.0", "PBX/2.3", "Phone/1.1")[n % 4]}
        private = call.sdp(True).replace("198.51.100.10", "192.168.1.5")
        call.invite(sdp=private, headers={**agent, "P-Charging-Vector": f"icid-value=charge{n}", "Session-Expires": "60"})
        call.trying().ringing(headers={"Server": f"Proxy/{n % 3}"}).ok(sdp=call.sdp(False, codecs=["PCMA", "G729"])).ack()
        call.bye().response(481, to="BYE")
    return scene


SCENES: dict[str, Callable[[], Scene]] = {
    scene.__name__: scene
    for scene in (calls_with_media, fax, transports, mirrored, late_descriptions, defects)
}


@pytest.mark.parametrize("name", SCENES)
def test_parts_do_not_matter(name: str) -> None:
    content = SCENES[name]().pcap()
    assert_parts_do_not_matter(content, cuts(content))


def test_every_cut_of_a_short_capture_gives_the_same() -> None:
    """Also cuts between the packets that begin a stream and inside every exchange."""
    scene = Scene()
    scene.call().basic(0.4)
    scene.call(at=0.5, transport="TCP").answered().bye()
    content = scene.pcap()
    expected = whole(content)
    for part_bytes in range(400, len(content), 97):
        assert_same(expected, in_parts(content, part_bytes))


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_any_number_of_threads_gives_the_same(workers: int) -> None:
    content = calls_with_media().pcap()
    assert_same(whole(content), in_parts(content, len(content) // 23, workers))


@pytest.mark.parametrize("kind,calls", [("signalling", 250), ("rtp", 3), ("mixed", 60)])
def test_a_corpus_in_parts_gives_the_same(kind: str, calls: int, tmp_path: Path) -> None:
    path = tmp_path / "corpus.pcap"
    corpus.write(path, kind, calls, 5, 4)
    content = path.read_bytes()
    assert_parts_do_not_matter(content, cuts(content, calls))


# ---- formats and damage ----


def frames() -> list[tuple[int, bytes]]:
    """(time in ns, frame) of a scene with something of everything."""
    scene = transports()
    return [(int((scene.start + at) * 1e9), frame) for at, _, frame in sorted(scene.frames)]


@pytest.mark.parametrize(
    "options", [{"big_endian": True}, {"nanosecond": True}, {"modified": True}, {"snap_length": 300}], ids=str
)
def test_every_kind_of_pcap_gives_the_same(options: dict[str, object]) -> None:
    content = build.pcap([(time, frame[:300], len(frame)) for time, frame in frames()], **options)  # type: ignore[arg-type]
    assert_parts_do_not_matter(content, cuts(content))


@pytest.mark.parametrize("big_endian", [False, True])
def test_pcapng_gives_the_same(big_endian: bool) -> None:
    content = build.pcapng(frames(), big_endian=big_endian)
    assert_parts_do_not_matter(content, cuts(content))


def test_interfaces_described_in_the_middle_give_the_same() -> None:
    """Behind the second description no part knows what it reads: all of it is read in the whole."""
    parts = [build.pcapng_section(), build.pcapng_interface(options=build.pcapng_option(9, b"\x09"))]
    packets = frames()
    for n, (time, frame) in enumerate(packets):
        if n == len(packets) // 2:
            parts.append(build.pcapng_interface(link_type=101, options=build.pcapng_option(9, b"\x06")))
        late = n > len(packets) // 2 and n % 3 == 0
        parts.append(
            build.pcapng_enhanced(frame[14:], time // 1000, 1) if late else build.pcapng_enhanced(frame, time)
        )
        if n % 50 == 7:
            parts.append(build.pcapng_simple(frame))
            parts.append(build.pcapng_block(5, struct.pack("<III", 0, 0, 0)))
    content = b"".join(parts)
    assert_parts_do_not_matter(content, cuts(content))


def hep_packet(n: int) -> bytes:
    """SIP over UDP and TCP, RTCP as JSON, a log line, and SIP whose ends only its Via and URI name."""
    text = b"OPTIONS sip:x@host%d.example SIP/2.0\r\nVia: SIP/2.0/UDP there%d.example\r\nCall-ID: hep-%d\r\n\r\n" % (n % 5, n % 3, n % 4)
    match n % 5:
        case 0:
            return build.hep3(text)
        case 1:
            return build.hep3(text, protocol=build.IP_TCP)
        case 2:
            return build.hep3(b"{}", kind=5)
        case 3:
            return build.hep3(b"log", kind=100)
    chunks = build.hep_chunk(2, bytes([build.IP_UDP])) + build.hep_chunk(11, b"\x01") + build.hep_chunk(15, text)
    return b"HEP3" + struct.pack("!H", 6 + len(chunks)) + chunks


def test_tunnels_and_hep_give_the_same() -> None:
    made = []
    for n, (time, frame) in enumerate(frames()):
        inner = frame[14:]
        tunnels = (
            lambda inner, frame: build.ethernet(build.vlan(inner, 5)),
            lambda inner, frame: build.ethernet(build.ipv4(build.gre(inner), protocol=build.IP_GRE)),
            lambda inner, frame: build.ethernet(build.ipv4(build.udp(build.vxlan(frame), 40000, 4789))),
            lambda inner, frame: build.ethernet(build.mpls(inner)),
            lambda inner, frame: frame,
        )
        made.append((time, tunnels[n % 5](inner, frame)))
        if n % 7 == 0:
            packet = hep_packet(n // 7)
            made.append((time, build.ethernet(build.ipv4(build.udp(packet, 40000, 9060)))))
    content = build.pcap(made)
    assert_parts_do_not_matter(content, cuts(content))


def test_hep_streams_and_texts_are_not_split() -> None:
    content = b"".join(build.hep3(b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: x\r\n\r\n") for _ in range(50))
    trace = native.Trace(seed=SEED)
    trace.open_input(content)
    assert not read_in_parts(trace, len(content), 2, part_bytes=1000)
    assert trace.read_capture()


def damaged(kind: str) -> bytes:
    content = transports().pcap()
    chance = Random(3)
    middle = len(content) // 2
    match kind:
        case "truncated":
            return content[: len(content) - 333]
        case "hole":
            return content[:middle] + content[middle + 5000 :]
        case "rubbish":
            return content[:middle] + chance.randbytes(30_000) + content[middle:]
        case "zeros":
            return content[:middle] + bytes(20_000) + content[middle:] + bytes(500)
        case "joined":
            return content + build.pcap(frames(), big_endian=True)
        case "nested":  # a capture that is the payload of packets
            inside = calls_with_media().pcap()[: 40 * 1000]
            carried = [build.ethernet(build.ipv4(build.udp(inside[n : n + 1300], 69, 69))) for n in range(0, len(inside), 1300)]
            return content + build.pcap(carried)[24:]
        case "years":
            return content + build.pcap([(time - 3 * 10**16, frame) for time, frame in frames()])[24:]
        case "flips":
            octets = bytearray(content)
            for _ in range(200):
                octets[chance.randrange(24, len(octets))] ^= 1 << chance.randrange(8)
            return bytes(octets)
    raise ValueError(kind)


@pytest.mark.parametrize("kind", ["truncated", "hole", "rubbish", "zeros", "joined", "nested", "years", "flips"])
def test_a_damaged_capture_gives_the_same(kind: str) -> None:
    content = damaged(kind)
    assert_parts_do_not_matter(content, cuts(content, 2, 8), fitting=False)


def test_a_clock_that_jumps_back_between_parts_is_told() -> None:
    packets = [(time - n // 40 * 3 * 10**9, frame) for n, (time, frame) in enumerate(frames())]
    content = build.pcap(packets)
    assert any(kind == "time-backwards" for kind, *_ in whole(content).problems())
    assert_parts_do_not_matter(content, cuts(content, 4, 12))


# ---- chance ----


def storm(seed: int) -> bytes:
    """Packets by chance between few hosts, so that everything meets everything: announcements, ports used again, T.38,
    flows on probation, one call over several transports."""
    chance = Random(seed)
    scene = Scene(mtu=chance.choice([600, 1400]), seed=seed)
    hosts = [f"198.51.100.{n}" for n in range(1, 4)] + ["203.0.113.7", "[2001:db8::5]"]
    at = 0.0

    def end(ports: tuple[int, ...]) -> str:
        return f"{chance.choice(hosts[:4])}:{chance.choice(ports)}"

    media, signalling = (6000, 6002, 6004), (5060, 5062)
    sequences: dict[int, int] = {}
    for _ in range(700):
        at += chance.choice([0.0, 0.001, 0.02, 0.4])
        kind = chance.random()
        source, target = end(media), end(media)
        if kind < 0.45:
            ssrc = chance.choice([1, 2, 3, 4, chance.getrandbits(32)])
            sequences[ssrc] = sequences.get(ssrc, 0) + chance.choice([1, 1, 1, 1, 2, 400])
            size = chance.choice([160, 160, 160, 900])  # the last in fragments, where packets are small
            payload = bytes([chance.randrange(256)]) * size if chance.random() < 0.5 else chance.randbytes(size)
            packet = wire.rtp_packet(chance.choice([0, 8, 96, 101]), sequences[ssrc], sequences[ssrc] * 160, ssrc, payload)
            scene.udp(at, source, target, packet)
        elif kind < 0.5:
            blocks = [wire.report_block(chance.choice([1, 2, 3]), jitter=5)]
            scene.udp(at, source, target, wire.rtcp_report(chance.choice([1, 2, 3]), blocks, sender=(at, 5, 6, 7)))
        elif kind < 0.55:
            scene.udp(at, source, target, udptl(chance.getrandbits(16)))
        elif kind < 0.6:
            other = (b"\r\n\r\n", b"\x00", wire.stun_message(0x101), chance.randbytes(40), b"\x17\xfe\xfd" + bytes(20))
            scene.udp(at, chance.choice([source, end(signalling)]), target, chance.choice(other))
        elif kind < 0.63:
            scene.tls(at, f"{hosts[0]}:{chance.randrange(40000, 40004)}", f"{hosts[3]}:5061", wire.tls_record(22, b"\x01" + bytes(40)))
        else:
            number = chance.randrange(12)
            host, _, port = chance.choice([end(media), f"{hosts[4]}:6000"]).rpartition(":")
            body = sdp(host.strip("[]"), int(port), media=chance.choice(["audio", "audio", "image"]), codecs=[chance.choice(["PCMU", "PCMA", "96 opus/48000/2"])])
            lines = [
                f"INVITE sip:x@{hosts[0]} SIP/2.0" if chance.random() < 0.6 else "SIP/2.0 200 OK",
                f"Via: SIP/2.0/UDP {hosts[1]};branch=z9hG4bK{number}{chance.randrange(3)}",
                f"From: <sip:a@{hosts[1]}>;tag={number}", f"To: <sip:b@192.168.0.{number}>", f"Call-ID: storm-{number}",
                f"CSeq: {chance.randrange(1, 4)} INVITE", f"User-Agent: agent {chance.randrange(6)}",
                f"P-Charging-Vector: icid-value={chance.randrange(30)}" if chance.random() < 0.3 else "Max-Forwards: 200",
                *(["X-Filler: " + "y" * 1500] if chance.random() < 0.15 else []),
                *([f"Content-Type: application/sdp\r\n\r\n{body}"] if chance.random() < 0.7 else []),
            ]  # fmt: skip
            transport = chance.choice(["UDP"] * 5 + ["TCP", "WS"])
            ends = (end(signalling), end(signalling)) if transport == "UDP" else (f"{hosts[1]}:{chance.randrange(7000, 7003)}", f"{hosts[2]}:{5060 if transport == 'TCP' else 80}")
            if ends[0] != ends[1]:
                scene.sip(at, *ends, lines, transport)
    return scene.pcap()


@pytest.mark.parametrize("seed", range(12))
def test_chance_gives_the_same(seed: int) -> None:
    content = storm(seed)
    assert_parts_do_not_matter(content, cuts(content, seed, 2))


# ---- what cannot be joined ----


def over_again() -> bytes:
    """SIP over UDP to an address where an earlier part saw TLS: message hooks look at that."""
    scene = Scene()
    scene.tls_handshake(0, "198.51.100.50:40000", "203.0.113.20:5061")
    for n in range(60):
        scene.call(at=1 + n, callee="198.51.100.50:40000").basic(0.5)
    return scene.pcap()


def image_port() -> bytes:
    """SIP to the port that an earlier part announced for T.38."""
    scene = Scene()
    call = scene.call(caller_media="198.51.100.10:5070")
    call.invite(sdp=image(call, True)).trying().ok().ack()
    for n in range(60):
        scene.call(at=1 + n, callee="198.51.100.10:5070", caller="203.0.113.30:5060").basic(0.5)
    return scene.pcap()


@pytest.mark.parametrize("made", [over_again, image_port])
def test_what_cannot_be_joined_is_refused(made: Callable[[], bytes]) -> None:
    content = made()
    with pytest.raises(native.PartConflict):
        in_parts(content, len(content) // 3)


def large(content: bytes) -> bytes:
    """The capture over and over, each time a little later, until it is worth splitting."""
    records, at = [], 24
    while at < len(content):
        seconds, micros, length, original = struct.unpack_from("<4I", content, at)
        records.append((seconds, micros, content[at + 16 : at + 16 + length], original))
        at += 16 + length
    out = [content[:24]]
    for n in range(SPLIT_BYTES // len(content) + 2):
        out += [struct.pack("<4I", s + 1000 * n, m, len(octets), o) + octets for s, m, octets, o in records]
    return b"".join(out)


def plain(content: bytes, workers: int) -> bytes:
    """What is said of a capture, by `analyze` itself."""
    made = analyze(content, workers=workers)
    made.summary.elapsed_ms = 0
    return msgspec.json.encode(made)


@pytest.mark.parametrize("made", [lambda: calls_with_media().pcap(), over_again], ids=["joined", "refused"])
def test_workers_change_no_report(made: Callable[[], bytes]) -> None:
    content = large(made())
    assert plain(content, 1) == plain(content, 2)


def test_progress_reaches_the_end_of_a_capture_in_parts() -> None:
    content = large(calls_with_media().pcap()) * 1
    seen: list[int] = []
    tables = read(content, workers=2, progress=lambda done, total, name: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == len(content)
    assert len(tables.messages) > 0
