"""The load generator and meter of media benchmarks: what is planted is found, and nothing else."""

from __future__ import annotations

import fcntl
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec
import pytest

from bench import media_limits, rtp_load
from bench.measure import BUILD
from bench.peers import rtpengine
from bench.rtp_load import LOSE, SEND, TWICE, Load, Spread, Stream

LOOPBACK = "127.0.0.1"
HEADER = struct.Struct("!BBHII")


@pytest.fixture(autouse=True, scope="session")
def compiled() -> None:
    """Once, when several test processes begin at the same time."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "media.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rtp_load.generator()
        media_limits.program()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def to_itself(stack: ExitStack, streams: int, **load: object) -> rtp_load.Run:
    """A run whose packets come straight back: from one socket of the generator to another."""
    sockets = rtp_load.open_sockets(stack, 3)
    port = rtp_load.port_of(sockets[1])
    return rtp_load.drive(msgspec.structs.replace(Load([Stream(0, LOOPBACK, port) for _ in range(streams)], 0.2), **load), sockets)


Passed = Callable[[int, bytes], list[bytes]]


@contextmanager
def relay(to: int, judge: Passed) -> Iterator[int]:
    """A relay of ours that does to the n-th packet what `judge` says."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind((LOOPBACK, 0))

        def serve() -> None:
            number = 0
            while packet := here.recv(2048):
                for one in judge(number, packet):
                    here.sendto(one, (LOOPBACK, to))
                number += 1

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield rtp_load.port_of(here)
        finally:
            here.sendto(b"", here.getsockname())
            thread.join()


def through(stack: ExitStack, judge: Passed, **load: object) -> rtp_load.Metered:
    sockets = rtp_load.open_sockets(stack, 3)
    port = stack.enter_context(relay(rtp_load.port_of(sockets[1]), judge))
    plan = Load([Stream(0, LOOPBACK, port) for _ in range(4)], 0.4, stamped=True)
    return rtp_load.drive(msgspec.structs.replace(plan, **load), sockets).metered


def test_packets_are_rtp_in_order_with_the_signal_as_payload(stack: ExitStack) -> None:
    sockets = rtp_load.open_sockets(stack, 2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((LOOPBACK, 0))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.settimeout(5)
        load = Load([Stream(0, LOOPBACK, rtp_load.port_of(receiver), payload_type=8) for _ in range(3)], 0.3)
        metered = rtp_load.drive(load, sockets).metered
        assert metered.sent == 3 * load.packets == 45
        found: dict[int, list[tuple[int, int, int, bytes]]] = {}
        for _ in range(metered.sent):
            packet, sender = receiver.recvfrom(2048)
            assert sender[1] == rtp_load.port_of(sockets[0])
            flags, kind, sequence, timestamp, ssrc = HEADER.unpack_from(packet)
            assert flags == 0x80 and kind & 127 == 8
            found.setdefault(ssrc, []).append((kind >> 7, sequence, timestamp, packet[12:]))
    assert set(found) == {rtp_load.ssrc_of(stream) for stream in range(3)}
    for stream in range(3):
        packets = found[rtp_load.ssrc_of(stream)]
        assert [marker for marker, *_ in packets] == [1] + [0] * 14
        first = rtp_load.first_sequence(stream)
        assert [sequence for _, sequence, *_ in packets] == [(first + number) % 65536 for number in range(15)]
        assert {(timestamp - packets[0][2]) % 2**32 for _, _, timestamp, _ in packets} == {number * 160 for number in range(15)}
        assert b"".join(payload for *_, payload in packets) == rtp_load.expected_payload(stream, 0, 15)
    assert rtp_load.first_sequence(0) + 15 > 65536  # one of them wrapped


def test_the_signal_begins_again_and_tells_packets_apart() -> None:
    packets = rtp_load.SIGNAL_BYTES // rtp_load.PAYLOAD_BYTES
    whole = rtp_load.expected_payload(5, 0, packets + 2)
    assert whole[: 2 * 160] == whole[-2 * 160 :]
    assert rtp_load.expected_payload(5, 3, 4) == whole[480 : 480 + 640]
    assert len({whole[at : at + 160] for at in range(0, packets * 160, 160)}) == packets
    assert rtp_load.expected_payload(6, 0, 4) != whole[:640]


def test_a_clean_path_has_no_fault(stack: ExitStack) -> None:
    metered, streams = to_itself(stack, 50, stamped=True)
    assert metered.sent == metered.received == 500
    assert (metered.missing, metered.twice, metered.reordered, metered.damaged, metered.unknown, metered.meter_drops) == (0,) * 6
    assert metered.latency.count == 500 and 0 < metered.latency.p50_us <= metered.latency.p99_us <= metered.latency.max_us
    assert (streams["received"] == 10).all() and (streams["missing"] == 0).all()
    assert list(streams["ssrc"]) == [rtp_load.ssrc_of(stream) for stream in range(50)]


def test_what_is_lost_twice_and_late_on_purpose_is_heard_as_such(stack: ExitStack) -> None:
    # forty packets a stream, of which the first and last ten are left alone: each stream has each entry once, wherever it begins
    actions = [SEND] * 20
    actions[4], actions[9], actions[15] = LOSE, TWICE, SEND | 70_000 << 8
    metered, streams = to_itself(stack, 20, seconds=0.8, actions=actions)
    assert metered.lost_on_purpose == 20 and metered.sent == 20 * 40
    assert (streams["received"] == 39).all() and metered.received == 20 * 39
    assert (streams["missing"] == 1).all() and (streams["twice"] == 1).all() and (streams["reordered"] == 1).all()


def test_loss_in_a_relay_is_found(stack: ExitStack) -> None:
    metered = through(stack, lambda number, packet: [] if number % 7 == 3 else [packet])
    assert metered.sent == 80 and metered.missing == 11 and metered.received == 69
    assert metered.twice == metered.reordered == metered.damaged == 0


def test_repeats_damage_and_order_in_a_relay_are_found(stack: ExitStack) -> None:
    kept: list[bytes] = []

    def judge(number: int, packet: bytes) -> list[bytes]:
        if number == 8:  # back behind four of its own stream
            kept.append(packet)
            return []
        if number == 24:
            return [packet, kept.pop()]
        if number in (40, 41, 42):
            return [packet, packet]
        if number == 50:
            return [packet[:-1] + bytes([packet[-1] ^ 1])]
        if number == 51:
            return [packet[:-1]]
        if number == 60:
            return [packet, packet[:8]]
        return [packet]

    metered = through(stack, judge)
    assert metered.received == 80 and metered.missing == 0
    assert (metered.reordered, metered.twice, metered.damaged, metered.unknown) == (1, 3, 2, 1)


def test_latency_is_what_a_relay_adds(stack: ExitStack) -> None:
    held: list[bytes] = []

    def judge(number: int, packet: bytes) -> list[bytes]:
        held.append(packet)
        return [held.pop(0)] if len(held) > 8 else []  # two packets of each of four streams: 40 ms

    metered = through(stack, judge)
    assert metered.missing == 8
    assert metered.latency.p50_us > 30_000


def test_packets_off_their_grid_are_counted(stack: ExitStack) -> None:
    actions = [SEND] * 19 + [SEND | 6_000 << 8]
    metered, streams = to_itself(stack, 20, seconds=0.8, grid=True, actions=actions)
    assert metered.received == 800 and metered.deviation.count == 800 >= metered.steady.count
    assert metered.steady.count == 800 or metered.pauses > 0
    assert metered.off_grid >= 20  # one of each stream; a busy machine adds to it
    assert metered.deviation.max_us >= 5_000
    assert (streams["max_us"] >= 5_000).all()


def test_junk_is_sent_beside_and_is_no_stream(stack: ExitStack) -> None:
    metered, _ = to_itself(stack, 5, stamped=True, junk_per_s=2_000)
    assert metered.junk == 400
    assert metered.sent == metered.received == 50
    assert metered.unknown == 400 and metered.missing == metered.damaged == 0


def test_a_load_is_the_same_every_time() -> None:
    first = rtp_load.impaired(7, 4_000, loss=0.1, twice=0.05, late=0.02, jitter_ms=3)
    assert first == rtp_load.impaired(7, 4_000, loss=0.1, twice=0.05, late=0.02, jitter_ms=3)
    assert first != rtp_load.impaired(8, 4_000, loss=0.1, twice=0.05, late=0.02, jitter_ms=3)
    kinds = [action & 255 for action in first]
    assert 330 < kinds.count(LOSE) < 470 and 150 < kinds.count(TWICE) < 250
    late = [action >> 8 for action in first if action >> 8 > 3_000]
    assert 50 < len(late) < 120 and min(late) >= 45_000


def test_a_plan_that_is_none_is_refused(stack: ExitStack) -> None:
    sockets = rtp_load.open_sockets(stack, 1)
    with pytest.raises(RuntimeError, match="ended with 2"):
        rtp_load.drive(Load([Stream(3, LOOPBACK, 9)], 0.1), sockets)
    with pytest.raises(ValueError, match="an SSRC twice"):
        rtp_load.drive(Load([Stream(0, LOOPBACK, 9, ssrc=5), Stream(0, LOOPBACK, 9, ssrc=5)], 0.1), sockets)


def test_a_run_is_void_when_the_rig_was_the_limit() -> None:
    spread = Spread(1, 1.0, 1.0, 1.0, 1.0)
    counts = dict.fromkeys(rtp_load.Metered.__struct_fields__, 0)
    told = {**counts, "lateness": spread, "latency": spread, "deviation": spread, "steady": spread, "away": spread, "cpu_s": 1.0, "wall_s": 2.0, "clock_step_us": 3.0}
    good = msgspec.convert(told, rtp_load.Metered)
    assert good.fault == ""
    replaced = msgspec.structs.replace
    assert not good.is_disturbed and replaced(good, away=Spread(9, 1.0, 1.0, 1.0, 3_500.0)).is_disturbed
    assert "late" in replaced(good, lateness=Spread(9, 1.0, 5_001.0, 1.0, 1.0)).fault
    assert "busy" in replaced(good, cpu_s=1.9).fault
    assert "meter lost 4" in replaced(good, meter_drops=4).fault
    assert "stepped" in replaced(good, clock_step_us=-2_000.0).fault
    assert "not sent" in replaced(good, refused=1).fault


def test_drops_of_a_socket_are_the_kernels_count() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as full, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        full.bind((LOOPBACK, 0))
        port = rtp_load.port_of(full)
        for _ in range(200):
            sender.sendto(bytes(172), (LOOPBACK, port))
        full.setblocking(False)
        received = 0
        while True:
            try:
                full.recv(2048)
            except BlockingIOError:
                break
            received += 1
        assert 0 < received < 200
        assert rtp_load.dropped({port}) == 200 - received
        sender_port = rtp_load.port_of(sender)
        assert rtp_load.dropped({sender_port}) == 0 and rtp_load.dropped({port, sender_port}) == 200 - received


@pytest.mark.parametrize(("sockets", "batch"), [(1, 1), (1, 64), (30, 64)])
def test_the_bare_receiver_counts_all(stack: ExitStack, sockets: int, batch: int) -> None:
    subject, ports = media_limits.counting(sockets, batch)
    stack.enter_context(subject)
    streams = [Stream(0, LOOPBACK, ports[at % sockets]) for at in range(30)]
    metered = rtp_load.drive(Load(streams, 0.2), rtp_load.open_sockets(stack, 2)).metered
    assert subject.cpu_s > 0
    told = msgspec.convert(subject.stop(), media_limits.Counted)
    assert told.packets == metered.sent == 300 and told.bytes == 300 * 172 and told.drops == 0
    assert subject.process.returncode == 0


def test_the_bare_relay_sends_to_the_other_leg(stack: ExitStack) -> None:
    sockets = rtp_load.open_sockets(stack, 3)
    subject, ports = media_limits.relaying([rtp_load.port_of(sockets[at % 2]) for at in range(20)])
    stack.enter_context(subject)
    metered, streams = rtp_load.drive(Load([Stream(at % 2, LOOPBACK, port) for at, port in enumerate(ports)], 0.2, stamped=True), sockets)
    assert metered.received == metered.sent == 200 and metered.damaged == 0
    assert (streams["received"] == 10).all()
    assert msgspec.convert(subject.stop(), media_limits.Counted).sent == 200


def test_the_bare_player_sends_each_stream_without_a_gap(stack: ExitStack) -> None:
    sockets = rtp_load.open_sockets(stack, 2)
    subject, _ = media_limits.playing([rtp_load.port_of(sockets[0])] * 10, 0)
    stack.enter_context(subject)
    metered, streams = rtp_load.drive(Load([], 0.4, grid=True, strangers=12, linger_ms=0), sockets)
    assert metered.heard == 10 and metered.missing == 0 and metered.twice == 0
    assert metered.deviation.count == metered.received >= 10 * 15
    assert sorted(streams["ssrc"]) == [0x10000 + at for at in range(10)]


def test_a_subject_that_does_not_start_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="said nothing"), rtp_load.Subject(["sh", "-c", "echo why not >&2"]) as subject:
        subject.wait_ready()


def test_bencode() -> None:
    assert rtpengine.bencode({"foo": 42, "bar": "spam", "list": ["a", 1, {}]}) == b"d3:bar4:spam3:fooi42e4:listl1:ai1edeee"
    assert rtpengine.bdecode(b"d3:bar4:spam3:fooi-42e4:listl1:ai1edeee") == ({b"bar": b"spam", b"foo": -42, b"list": [b"a", 1, {}]}, 39)
    for broken in (b"", b"x", b"i5", b"d1:a"):
        with pytest.raises(ValueError):
            rtpengine.bdecode(broken)
