"""Hostile RTCP, RTP headers and telephone-events: nothing is read past its end, what is refused changes nothing, and the twins agree on the rest."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isclose, isfinite
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine._native import rtp_session as native
from engine.rtp import rtcp
from tests.oracle.rtcp_session_twin import NS, SessionTwin, SourceTwin
from tests.oracle.telephone_event_twin import ReaderTwin

MS = 1_000_000
OURS, THEIRS, STRANGER = 1, 2, 3
SSRCS = (OURS, THEIRS, STRANGER)
WALL_NS = 1_700_000_000 * NS
WORDS = st.integers(0, 2**32 - 1)
TIMES = st.integers(-(2**62), 2**62)


INSIDE_BYTES = 4 * mmap.PAGESIZE


@contextmanager
def between_guards() -> Iterator[memoryview]:
    """Some memory; what is before and behind it must not be touched."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, INSIDE_BYTES + 2 * page)
    base = ctypes.c_char.from_buffer(memory)
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    guards = (ctypes.addressof(base), ctypes.addressof(base) + page + INSIDE_BYTES)
    try:
        for guard in guards:
            assert protect(guard, page, 0) == 0
        yield memoryview(memory)[page : page + INSIDE_BYTES]
    finally:
        for guard in guards:
            protect(guard, page, mmap.PROT_READ | mmap.PROT_WRITE)


def at_edge(inside: memoryview, data: bytes, edge: int) -> memoryview:
    """The bytes at the very begin of the memory (0) or at its very end (1)."""
    start = edge * (len(inside) - len(data))
    inside[start : start + len(data)] = data
    return inside[start : start + len(data)]


def some_block(random: Random, middles: Sequence[int]) -> rtcp.ReportBlock:
    return rtcp.ReportBlock(
        ssrc=random.choice(SSRCS), fraction_lost=random.randrange(256), lost=random.randrange(-(2**23), 2**23), jitter=random.randrange(2**32),
        last_sr=random.choice((0, 1, *middles)), delay_since_last_sr=random.choice((0, 65536, 2**32 - 1)),
    )  # fmt: skip


def some_packet(random: Random, middles: Sequence[int] = ()) -> rtcp.Packet:
    """Of any kind, from anybody about anybody; it may answer what we sent at `middles`."""
    ssrc = random.choice(SSRCS)
    blocks = tuple(some_block(random, middles) for _ in range(random.choice((0, 1, 2, 31))))
    extended: list[rtcp.ExtendedBlock] = [
        rtcp.VoipMetrics(ssrc=random.choice(SSRCS), loss=random.randrange(256), r_factor=random.randrange(256), mos_lq=random.randrange(256)),
        rtcp.ReferenceTime(ntp=random.randrange(2**64)),
        rtcp.LastReference(answers=tuple((random.choice(SSRCS), random.choice((0, 1, *middles)), random.choice((0, 65536))) for _ in range(random.randrange(4)))),
        rtcp.OtherBlock(kind=random.choice((1, 2, 3, 6, 8, 255)), specific=random.randrange(256), body=bytes(4 * random.randrange(5))),
    ]
    chunks = random.choice((0, 1, 2, 31))
    items = () if chunks == 31 else tuple((random.randrange(1, 9), bytes(random.randrange(256) for _ in range(random.choice((0, 1, 5, 255))))) for _ in range(random.randrange(4)))
    choices: list[rtcp.Packet] = [
        rtcp.SenderReport(ssrc=ssrc, ntp=random.randrange(2**64), timestamp=random.randrange(2**32), packets=5, octets=6, blocks=blocks, extension=bytes(random.choice((0, 8)))),
        rtcp.ReceiverReport(ssrc=ssrc, blocks=blocks),
        rtcp.SourceDescription(chunks=tuple(rtcp.Chunk(ssrc=random.choice(SSRCS), items=items) for _ in range(chunks))),
        rtcp.Bye(ssrcs=tuple(random.choice(SSRCS) for _ in range(random.randrange(4))), reason=random.choice((None, b"", b"over", bytes(255)))),
        rtcp.ExtendedReport(ssrc=ssrc, blocks=tuple(random.sample(extended, random.randrange(5)))),
        rtcp.Application(ssrc=ssrc, name=b"test", data=bytes(4 * random.randrange(3))),
        rtcp.Feedback(kind=random.choice((205, 206)), format=random.choice((1, 3, 15)), ssrc=ssrc, media_ssrc=OURS, control=bytes([random.randrange(40), 0, 0, 0])),
        rtcp.Other(kind=random.choice((192, 199, 208, 223)), count=random.randrange(32), body=bytes(4 * random.randrange(3))),
    ]  # fmt: skip
    return random.choice(choices)


def broken(random: Random, data: bytes) -> bytes:
    """The same with flipped bytes, a wrong length, a cut or a tail."""
    changed = bytearray(data)
    for _ in range(random.choice((0, 1, 1, 2, 6))):
        if changed:
            changed[random.randrange(len(changed))] = random.choice((0, 1, 255, 0x80, 0x81, 0x9F, 0xA0, random.randrange(256)))
    if random.random() < 0.3 and len(changed) >= 4:
        struct.pack_into(">H", changed, 2, random.choice((0, 1, 2, 7, 65535, len(changed) // 4, len(changed) // 4 - 1)) & 0xFFFF)
    cut = random.random()
    return bytes(changed[: random.randrange(len(changed) + 1)] if cut < 0.2 else changed + bytes(random.randrange(9)) if cut < 0.3 else changed)


def same(ours: dict[str, float], theirs: dict[str, float]) -> None:
    for name, value in theirs.items():
        assert isclose(ours[name], value, rel_tol=1e-9, abs_tol=1e-9), name


@pytest.mark.parametrize("seed", range(6))
def test_whole_conversations_leave_kernel_and_twin_in_one_state(seed: int) -> None:
    random = Random(seed)
    options: dict[str, Any] = {"reduced": random.random() < 0.5, "voip_metrics": random.random() < 0.5}
    made, twin = native.RtcpSession(b"trunk", 0, seed, **options), SessionTwin(b"trunk", 0, seed, **options)
    remote, remote_twin = native.Source(THEIRS, 8000), SourceTwin(THEIRS, 8000)
    now_ns = packets = malformed = 0
    with between_guards() as inside:
        for k in range(1500):
            now_ns += random.randrange(400 * MS)
            if random.random() < 0.4:
                sequence = k if random.random() < 0.98 else random.randrange(65536)
                arguments = sequence, 160 * k, 160, now_ns
                assert remote.take(*arguments) == remote_twin.take(*arguments)
            known = random.random() < 0.8
            taken: tuple[Any, Any] = (remote, remote_twin) if known else (None, None)
            if random.random() < 0.15:
                packets += random.choice((0, 0, 5))
                sent = (OURS, packets, 160 * packets, random.randrange(2**32), now_ns - random.randrange(NS), 8000)
                quality = None if random.random() < 0.3 else (1, 2, 90, 41, 40, 80, 40, 60)
                written = made.report(sent, taken[0], quality, now_ns, WALL_NS + now_ns)
                assert written == twin.report(sent, taken[1], quality, now_ns, WALL_NS + now_ns)
            middles = [middle for middle, _ in twin.marks]
            data = rtcp.write([some_packet(random, middles) for _ in range(random.choice((1, 2, 3)))])
            if random.random() < 0.6:
                first: rtcp.Packet = rtcp.ReceiverReport(ssrc=random.choice(SSRCS))
                data = rtcp.write([first]) + data
            data = broken(random, data) if random.random() < 0.5 else data
            expected = twin.take(data, OURS, taken[1], now_ns)
            malformed += expected == native.MALFORMED
            before = made.facts()
            assert made.take(at_edge(inside, data, k % 2), OURS, taken[0], now_ns) == expected
            if expected == native.MALFORMED:
                assert {name for name, value in made.facts().items() if value != before[name]} == {"malformed"}
            same(made.facts(), twin.facts)
        sent = (OURS, packets, 0, 0, 0, 8000)
        assert made.bye(sent, remote, now_ns, WALL_NS, b"end") == twin.bye(sent, remote_twin, now_ns, WALL_NS, b"end")
    facts = made.facts()
    assert 300 < malformed < 1200
    assert min(facts["heard"], facts["foreign"], facts["collisions"], facts["rtt_max_ms"], facts["xr_seen"]) > 0
    assert made.wall_ns(5, 8000) == twin.wall_ns(5, 8000)


def test_every_cut_of_every_kind_is_read_inside_its_bytes() -> None:
    random = Random(1)
    with between_guards() as inside:
        for _ in range(60):
            data = rtcp.write([rtcp.ReceiverReport(ssrc=THEIRS), some_packet(random)])
            for length in range(min(len(data), 300) + 1):
                for edge in (0, 1):
                    view = at_edge(inside, data[:length], edge)
                    made, twin = native.RtcpSession(b"", 0, 1), SessionTwin(b"", 0, 1)
                    assert made.take(view, OURS, None, 0) == twin.take(data[:length], OURS, None, 0)


def test_bytes_may_begin_anywhere() -> None:
    random = Random(2)
    for _ in range(50):
        data = rtcp.write([rtcp.ReceiverReport(ssrc=THEIRS), some_packet(random)])
        told = [native.RtcpSession(b"", 0, 1).take(memoryview(bytes(shift) + data)[shift:], OURS, None, 0) for shift in range(9)]
        assert len(set(told)) == 1


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_taken_as_the_twin_takes_them(data: bytes, reduced: bool) -> None:
    made, twin = native.RtcpSession(b"x", 0, 1, reduced=reduced), SessionTwin(b"x", 0, 1, reduced=reduced)
    assert made.take(data, OURS, None, 5) == twin.take(data, OURS, None, 5)
    same(made.facts(), twin.facts)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=12), TIMES), max_size=12), TIMES, WORDS, WORDS, WORDS)
def test_any_times_and_counts_make_packets_that_can_be_read(
    taken: list[tuple[bytes, int]], start_ns: int, packets: int, timestamp: int, clock: int
) -> None:
    remote, session = native.Source(THEIRS, clock), native.RtcpSession(b"x" * 80, start_ns, packets, voip_metrics=True)
    rrtr = rtcp.write([rtcp.ReceiverReport(ssrc=THEIRS), rtcp.ExtendedReport(ssrc=THEIRS, blocks=(rtcp.ReferenceTime(ntp=packets << 20),))])
    for k, (body, at_ns) in enumerate(taken):
        remote.take((k * 7 + len(body)) % 65536, timestamp * k % 2**32, len(body), at_ns)
        session.take(rrtr, OURS, remote, at_ns)
        written = session.report((OURS, packets, packets, timestamp, start_ns, clock), remote, (255, 255, 1, 2, 3, 65535, 4, 5), at_ns, at_ns)
        assert rtcp.write(rtcp.read(written)) == written
        assert session.wall_ns(timestamp, clock) is None
    written = session.bye((OURS, packets, 0, 0, 0, 0), remote, start_ns, start_ns)
    assert written == b"" or rtcp.read(written)[-1] == rtcp.Bye(ssrcs=(OURS,))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 65535), WORDS, WORDS, st.integers(-(2**63), 2**63 - 1)), max_size=40), st.sampled_from((0, 1, 8000, 48_000, 2**32 - 1)))
def test_any_headers_keep_a_source_true(headers: list[tuple[int, int, int, int]], clock: int) -> None:
    made, valid, highest = native.Source(1, clock), 0, 0
    for header in headers:
        verdict, extended = made.take(*header)
        assert (extended == 0) == (verdict == native.STRAY)
        assert extended == 0 or extended % 65536 == header[0]
        if verdict == native.RESTART:
            assert extended > highest + 100
            valid += 1
        highest = max(highest, extended)
        valid += verdict != native.STRAY
    facts = made.facts()
    assert facts["received"] == valid
    assert facts["lost"] == facts["expected"] - valid
    assert isfinite(facts["jitter"])
    assert 0 <= facts["jitter"] <= facts["jitter_max"]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.binary(max_size=6), st.one_of(WORDS, st.integers(0, 3000)), st.one_of(st.integers(0, 10**9), TIMES)), max_size=60
    ),
    st.sampled_from((8000, 16_000, 48_000, 1, 90_000)),
)
def test_any_events_are_told_as_the_twin_tells_them(packets: list[tuple[bytes, int, int]], clock: int) -> None:
    made, twin = native.TelephoneEventReader(clock), ReaderTwin(clock)
    begun = ended = 0
    with between_guards() as inside:
        for body, timestamp, now_ns in packets:
            expected = twin.take(body, timestamp, now_ns)
            assert made.take(at_edge(inside, body, timestamp % 2), timestamp, now_ns) == expected
            begun += expected[1] is not None
            ended += expected[2] is not None
    assert 0 <= begun - ended <= 1
    assert {name: made.facts()[name] for name in twin.counts} == twin.counts


@pytest.mark.parametrize("seed", range(40))
def test_any_queue_is_sent_to_its_end(seed: int) -> None:
    """Also with a clock so slow that a step has no tick, and one so fast that a step fills segments."""
    random = Random(seed)
    clock, ptime_ms = random.choice((25, 999, 8000, 48_000, 192_000, random.randrange(25, 2**32))), random.choice((1, 20, 60, 400))
    writer = native.TelephoneEventWriter(clock)
    events = [(random.randrange(256), random.randrange(80), random.randrange(6500), random.randrange(200)) for _ in range(random.randrange(80))]
    accepted = [event for event in events if writer.queue(*event) == 0]
    markers = ends = steps = 0
    while writer.busy and steps < 60_000:
        step = writer.next(steps, ptime_ms)
        steps += 1
        if isinstance(step, tuple):
            markers += step[2]
            ends += step[0][1] >> 7
    ticks = max(1, ptime_ms * clock // 1000)
    most = sum(ms * clock // 1000 // ticks + ms * clock // 1000 // 65535 + pause_ms // ptime_ms + 8 for _, _, ms, pause_ms in accepted)
    assert most >= 60_000 or (steps <= most and (markers, ends) == (len(accepted), 3 * len(accepted)))
