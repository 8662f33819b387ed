"""Hostile numbers for the jitter buffer, the timeline and the latch: whatever is put in, what they promise holds."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine._native.jitter import (
    ADAPTIVE,
    FULL,
    HELD,
    KEPT,
    LATE,
    MOVED,
    NONE,
    PASS,
    SLOTS,
    JitterBuffer,
    Latch,
    Timeline,
)

MS, SECOND = 1_000_000, 1_000_000_000
TIMES = st.integers(-(2**60), 2**60)
WORDS = st.integers(0, 2**32 - 1)
STEPS = st.integers(-130, 130) | st.sampled_from((-3000, 3000, 32768, 65536, 2**32, 2**40)) | st.integers(-(2**62), 2**62)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from((NONE, 1, ADAPTIVE)), st.integers(0, 65535), st.integers(0, 65535), WORDS,
    st.lists(st.tuples(st.integers(0, 9), STEPS, WORDS, TIMES, st.booleans()), max_size=120),
)  # fmt: skip
def test_every_handle_comes_back_once_and_in_order(
    mode: int, least: int, most: int, clock: int, items: list[tuple[int, int, int, int, bool]]
) -> None:
    b = JitterBuffer(mode=mode, delay_min_ms=least, delay_max_ms=most, clock_rate_hz=clock)
    number, inside, last, given_up = 2**62, set(), -1, 0
    for handle, (kind, step, timestamp, time_ns, marker) in enumerate(items):
        if kind < 6:
            number = min(max(0, number + step), 2**63)
            verdict = b.put(number, timestamp, time_ns, handle, marker=marker)
            if verdict == KEPT:
                assert number > last
                inside.add(handle)
            elif verdict == LATE:
                assert number <= last or inside  # or too far below what came first
        elif kind < 9:
            for _ in range(SLOTS * 2):
                found = b.take(time_ns)
                if found is None:
                    break
                assert found[0] > last
                last = found[0] if found[1] is not None else found[0] + found[2] - 1
                given_up += found[2] if found[1] is None else 0
                if found[1] is not None:
                    inside.remove(found[1])
        else:
            b.set(mode=kind % 3, delay_min_ms=timestamp % 65536, delay_max_ms=timestamp >> 16, clock_rate_hz=timestamp if marker else clock)
        assert b.held == len(inside) <= SLOTS
    assert b.counts["lost"] == given_up
    while (handle_out := b.drain()) is not None:
        inside.remove(handle_out)
    assert not inside
    assert b.held == 0
    assert b.due_ns in (2**63 - 1, -(2**63))
    assert b.counts["taken"] == b.counts["released"]


@pytest.mark.parametrize("jump", [1, -1, 100, -100, 3000, -3000, 32768, -32768])
@pytest.mark.parametrize("mode", [NONE, 1, ADAPTIVE])
def test_a_jump_of_numbers_costs_no_more_than_what_it_jumped_over(mode: int, jump: int) -> None:
    """P06: after it the stream is heard again."""
    b, heard = JitterBuffer(mode=mode, delay_min_ms=40, delay_max_ms=80), []
    for k in range(400):
        number = 2**20 + k + (jump if k >= 200 else 0)
        verdict = b.put(number, 160 * k, 20 * MS * k, k)
        for attempt in range(2):
            while (found := b.take(20 * MS * k)) is not None:
                heard += [found[1]] if found[1] is not None else []
            if attempt == 0 and verdict == FULL:
                assert b.put(number, 160 * k, 20 * MS * k, k) == KEPT
    expected = [k for k in range(398) if k < 200 or jump > 0 or k >= 200 - jump]
    assert heard[: len(expected)] == expected[: len(heard)]
    assert len(heard) >= len(expected) - 2


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", [1, ADAPTIVE])
def test_timestamps_that_lie_delay_nothing_beyond_the_bound(mode: int, seed: int) -> None:
    """P06: timestamps backwards, 2^31 ahead, at random, and a marker in every packet; numbers are true."""
    b, random = JitterBuffer(mode=mode, delay_min_ms=40, delay_max_ms=100), Random(seed)
    heard = 0
    for k in range(3000):
        timestamp = random.choice((160 * k, -160 * k, 160 * k + 2**31, random.getrandbits(32), 0)) % 2**32
        assert b.put(k, timestamp, 20 * MS * k, k, marker=True) == KEPT
        while (found := b.take(20 * MS * k)) is not None:
            assert found[1] == heard
            heard += 1
        assert k - heard < (2 if mode == 1 else 5)
        assert 40 * MS <= b.delay_ns <= 100 * MS
    assert b.counts["lost"] == 0


@settings(max_examples=150, deadline=None)
@given(
    TIMES, WORDS, WORDS,
    st.lists(st.tuples(st.integers(0, 9), WORDS, st.integers(0, 6000) | WORDS, WORDS, TIMES, st.integers(0, 2)), max_size=60),
)  # fmt: skip
def test_a_timeline_adds_up_and_stays_near_the_clock(
    origin_ns: int, clock: int, rate: int, items: list[tuple[int, int, int, int, int, int]]
) -> None:
    line = Timeline(origin_ns=origin_ns, clock_rate_hz=clock, sample_rate_hz=rate)
    second = 8000 if rate == 0 else min(rate, 1_000_000)
    total, latest, longest = 0, 0, 0
    for kind, timestamp, samples, lost, time_ns, ssrc in items:
        latest = max(latest, (time_ns - origin_ns) * second // SECOND)
        if kind < 7:
            longest = max(longest, samples)
            conceal, silence, skip, _, dropped = line.place(timestamp, samples, time_ns, ssrc=ssrc, lost=lost)
            assert skip <= samples
            assert (dropped and not conceal and not silence and skip == samples) or not dropped
            total += conceal + silence + samples - skip
        elif kind == 7:
            silence = line.idle(time_ns, lost % 65536)
            assert silence <= second
            total += silence
        elif kind == 8:
            line.clock(timestamp)
        else:
            line.quiet()
        assert line.position == total >= 0
        assert total <= latest + second + longest


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 3), st.integers(0, 65535),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5), st.integers(0, 3), st.integers(0, 65535), st.integers(0, 4 * SECOND), st.booleans()), max_size=200),
)  # fmt: skip
def test_a_latch_lets_in_only_whom_it_may(policy: int, learn_ms: int, items: list[tuple[int, int, int, int, int, bool]]) -> None:
    addresses = [(bytes(10) + b"\xff\xff" + bytes([10, 0, host % 3, host]), 4000 + host) for host in range(6)]
    latch, signalled, now_ns, held = Latch(policy, addresses[0], learn_ms=learn_ms), addresses[0], 0, 0
    for kind, who, ssrc, sequence, step_ns, authentic in items:
        now_ns += step_ns
        if kind == 0:
            held = 0 if addresses[who] != signalled else held
            signalled = addresses[who]
            latch.signalled(signalled, now_ns)
            continue
        verdict = latch.judge(addresses[who], ssrc, sequence, now_ns, authentic=authentic)
        held += verdict == HELD
        assert held <= 5
        if verdict in (PASS, MOVED):
            assert latch.latched
            assert addresses[who] == (latch.current if policy > 1 else signalled)
        if policy <= 1:
            assert (verdict == PASS) == (addresses[who] == signalled)
            assert latch.current == signalled
