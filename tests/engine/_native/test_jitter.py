"""The jitter buffer: order, holes, delay and what is refused, case by case; long streams on clocks that differ; and the twin on random schedules."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from engine._native import jitter as native
from engine._native.jitter import ADAPTIVE, DUPLICATE, FIXED, FULL, KEPT, LATE, NONE, SLOTS, JitterBuffer
from tests.oracle.jitter_twin import Twin

MS, SECOND = 1_000_000, 1_000_000_000
BASE = 65536 + 100
NEVER, NOW = 2**63 - 1, -(2**63)


def buffer(mode: int = NONE, least: int = 0, most: int = 60, clock: int = 8000) -> JitterBuffer:
    return JitterBuffer(mode=mode, delay_min_ms=least, delay_max_ms=most, clock_rate_hz=clock)


def put(b: JitterBuffer, number: int, at_ms: float, timestamp: int | None = None, *, marker: bool = False) -> int:
    """Packet `number` of a stream of 20 ms at 8 kHz; its handle is its number."""
    stamp = 160 * number if timestamp is None else timestamp
    return b.put(BASE + number, stamp % 2**32, int(at_ms * MS), number, marker=marker)


def out(b: JitterBuffer, at_ms: float) -> list[Any]:
    """Numbers of what comes out by then; ("lost", n) for what is given up."""
    found: list[Any] = []
    while (one := b.take(int(at_ms * MS))) is not None:
        found.append(("lost", one[2]) if one[1] is None else one[1])
    return found


# ---- order only ----


def test_what_is_in_order_comes_out_at_once() -> None:
    b = buffer()
    for k in range(300):
        assert put(b, k, 20 * k) == KEPT
        assert b.due_ns == NOW
        assert out(b, 20 * k) == [k]
    assert (b.held, b.due_ns) == (0, NEVER)
    assert b.counts == {"taken": 300, "released": 300, "lost": 0, "late": 0, "duplicate": 0, "overflowed": 0, "restarts": 0}


def test_a_swapped_pair_is_put_right_without_a_wait_after_it() -> None:
    b = buffer()
    put(b, 0, 0)
    assert out(b, 0) == [0]
    put(b, 2, 20)
    assert out(b, 20) == []
    put(b, 1, 21)
    assert out(b, 21) == [1, 2]


def test_a_hole_is_waited_for_until_the_longest_delay_after_it_was_noticed() -> None:
    b = buffer(most=60)
    put(b, 0, 0)
    out(b, 0)
    put(b, 3, 50)
    put(b, 2, 55)
    assert b.due_ns == 110 * MS
    assert out(b, 109.999) == []
    assert out(b, 110) == [("lost", 1), 2, 3]
    assert put(b, 1, 111) == LATE
    assert put(b, 3, 111) == DUPLICATE
    assert b.counts["lost"] == 1


def test_each_hole_has_a_wait_of_its_own() -> None:
    b = buffer(most=60)
    put(b, 0, 0)
    out(b, 0)
    put(b, 2, 10)
    put(b, 4, 40)
    assert out(b, 70) == [("lost", 1), 2]
    assert b.due_ns == 100 * MS
    assert out(b, 100) == [("lost", 1), 4]


def test_a_hole_with_no_delay_is_given_up_at_once() -> None:
    b = buffer(most=0)
    put(b, 0, 0)
    out(b, 0)
    put(b, 5, 7)
    assert out(b, 7) == [("lost", 4), 5]


def test_passing_by_is_the_same_as_put_and_take() -> None:
    b = buffer()
    assert not b.is_next(BASE)  # nothing has begun: the first is put
    put(b, 0, 0)
    assert not b.is_next(BASE + 1)  # something is held
    out(b, 0)
    assert b.is_next(BASE + 1)
    assert not b.is_next(BASE + 2)
    b.pass_by(BASE + 1)
    assert put(b, 1, 30) == DUPLICATE
    assert put(b, 2, 40) == KEPT
    assert out(b, 40) == [2]
    assert b.counts["taken"] == b.counts["released"] == 3
    assert not buffer(FIXED, 20).is_next(BASE)


def test_a_duplicate_is_told_from_a_late_one() -> None:
    b = buffer(most=0)
    for k in (*range(0, 10), *range(11, 90)):
        put(b, k, k)
        out(b, k)
    assert put(b, 10, 100) == LATE  # too far back to be remembered as given up, and it did not come
    assert put(b, 89, 100) == DUPLICATE
    assert put(b, 27, 100) == DUPLICATE
    assert put(b, 25, 100) == LATE  # it came, but further back than is remembered
    assert put(b, 88, 100) == DUPLICATE
    assert b.counts["duplicate"] == 3
    assert b.counts["late"] == 2


def test_a_duplicate_of_what_is_held_is_refused() -> None:
    b = buffer(FIXED, 40)
    put(b, 0, 0)
    assert put(b, 0, 1) == DUPLICATE
    put(b, 2, 40)
    assert put(b, 2, 41) == DUPLICATE
    assert b.held == 2


# ---- jumps ----


@pytest.mark.parametrize("mode", [NONE, FIXED, ADAPTIVE])
@pytest.mark.parametrize("jump", [SLOTS - 1, SLOTS, SLOTS + 1, 100, 3000, 32768, 2**40])
def test_a_jump_is_taken_with_what_was_held_first(mode: int, jump: int) -> None:
    b = buffer(mode, 40, 60)
    put(b, 0, 0)
    put(b, 1, 20)
    put(b, 3, 21)
    before = out(b, 21)
    assert before == ([0, 1] if mode == NONE else [])
    first = 2 if mode == NONE else 0
    ahead = first + jump
    stamp = 160 * 4
    verdict = b.put(BASE + ahead, stamp, 22 * MS, 99)
    assert verdict == (KEPT if jump < SLOTS else FULL)
    if verdict == FULL:
        assert b.due_ns == NOW
        before += out(b, 22)
        assert b.put(BASE + ahead, stamp, 22 * MS, 99) == KEPT
        assert out(b, 22) == []
    rest = before + out(b, 500)
    packets = [one for one in rest if not isinstance(one, tuple)]
    lost = sum(one[1] for one in rest if isinstance(one, tuple))
    assert packets == [0, 1, 3, 99]
    assert lost == ahead - 3
    assert b.counts["overflowed"] == (jump >= SLOTS)


def test_a_jump_that_is_not_put_again_only_costs_what_was_waited_for() -> None:
    b = buffer(FIXED, 40)
    for k in range(3):
        put(b, k, 20 * k)
    assert put(b, 3000, 41) == FULL
    found = out(b, 41)
    assert found[:3] == [0, 1, 2]
    assert found[3] == ("lost", 3000 - (SLOTS - 1) - 3)
    assert (b.held, b.due_ns) == (0, NEVER)


def test_what_comes_before_the_first_is_taken_while_nothing_has_come_out() -> None:
    b = buffer(FIXED, 60)
    put(b, 5, 0)
    assert put(b, 3, 2) == KEPT
    assert put(b, 4, 4) == KEPT
    assert out(b, 100) == [3, 4, 5]
    assert put(b, 2, 101) == LATE
    far = buffer(FIXED, 60)
    put(far, 100, 0)
    assert put(far, 100 - SLOTS, 1) == LATE
    assert put(far, 101 - SLOTS, 1) == KEPT


# ---- a fixed delay ----


def test_each_packet_is_as_far_behind_its_place_as_is_asked_for() -> None:
    b, random = buffer(FIXED, 60), Random(1)
    events = sorted([(20 * k + random.uniform(0, 40) * (k > 0), k) for k in range(200)])
    when: dict[int, float] = {}
    pending = list(events)
    for tick in range(0, 4200):
        while pending and pending[0][0] <= tick:
            at, k = pending.pop(0)
            assert put(b, k, at) == KEPT
        for k in out(b, tick):
            when[k] = tick
    assert sorted(when) == list(range(200))
    assert all(when[k] == 20 * k + 60 for k in range(99))  # the first window: the anchor is packet 0
    assert all(0 <= when[k] - 20 * k - 60 <= 5 for k in range(200))  # later ones may only be as early as their earliest
    assert b.counts["lost"] == 0


def test_a_hole_is_given_up_when_what_is_behind_it_is_due() -> None:
    b = buffer(FIXED, 60)
    put(b, 0, 0)
    assert out(b, 60) == [0]
    put(b, 3, 61)
    assert b.due_ns == 120 * MS
    assert put(b, 1, 119) == KEPT
    assert out(b, 119.9) == [1]
    assert out(b, 120) == [("lost", 1), 3]


@pytest.mark.parametrize("clock", [8000, 16000, 44100, 48000, 90000])
@pytest.mark.parametrize("first", [0, 2**32 - 50_000, 2**31 - 7])
def test_timestamps_wrap_without_a_mark(clock: int, first: int) -> None:
    b = buffer(FIXED, 40, 40, clock)
    step = clock // 50
    for k in range(3000):
        b.put(BASE + k, (first + step * k) % 2**32, 20 * MS * k, k)
        assert out(b, 20 * k + 19) == ([k - 2] if k > 1 else [])
    assert b.counts["restarts"] == 0


@pytest.mark.parametrize("mode", [FIXED, ADAPTIVE])
@pytest.mark.parametrize("ppm", [-200, 200])
def test_an_hour_of_a_clock_that_is_off_loses_nothing(mode: int, ppm: int) -> None:
    """What comes is up to 25 ms late, in any order; once a window has shown the earliest packets, the delay on the way
    through stays the same from the first minute to the last."""
    b, random = buffer(mode, 40, 120), Random(ppm + mode)
    period_ns = 20 * MS * (1 - ppm / 1e6)
    sent = [int(k * period_ns) for k in range(180_000)]
    arrivals = sorted((at + random.randrange(25 * MS), k) for k, at in enumerate(sent))
    latencies: list[int] = []
    for now_ns, k in arrivals:
        while b.due_ns <= now_ns:
            due_ns = b.due_ns
            while (one := b.take(due_ns)) is not None:
                assert one[1] is not None
                latencies.append(due_ns - sent[one[1]])
        assert b.put(BASE + k, 160 * k % 2**32, now_ns, k) == KEPT
    counts = b.counts
    assert (counts["lost"], counts["late"], counts["duplicate"], counts["overflowed"], counts["restarts"]) == (0, 0, 0, 0, 0)
    assert min(latencies) >= 38 * MS
    assert max(latencies[500:]) <= 46 * MS


# ---- an adaptive delay ----


def test_the_delay_grows_at_once_and_within_its_bound() -> None:
    b = buffer(ADAPTIVE, 20, 100)
    assert b.delay_ns == 20 * MS
    put(b, 0, 0)
    put(b, 1, 35)
    assert b.delay_ns == 20 * MS
    put(b, 2, 90)
    assert b.delay_ns == 50 * MS
    put(b, 3, 400)
    assert b.delay_ns == 100 * MS


def test_what_comes_too_late_makes_the_delay_grow() -> None:
    b = buffer(ADAPTIVE, 20, 100)
    put(b, 0, 0)
    put(b, 2, 40)
    assert out(b, 60) == [0, ("lost", 1), 2]
    assert put(b, 1, 75) == LATE
    assert b.delay_ns == 55 * MS


def test_a_duplicate_does_not_make_the_delay_grow() -> None:
    b = buffer(ADAPTIVE, 20, 100)
    put(b, 0, 0)
    out(b, 50)
    assert put(b, 0, 90) == DUPLICATE
    assert b.delay_ns == 20 * MS


def steady(b: JitterBuffer, numbers: Iterable[int], *, shift: int = 0, marker_at: int = -1) -> None:
    for k in numbers:
        put(b, k, 20 * k + shift, marker=k == marker_at)
        out(b, 20 * k + shift)


def test_the_delay_shrinks_only_where_a_talk_spurt_begins() -> None:
    b = buffer(ADAPTIVE, 20, 100)
    steady(b, range(50))
    put(b, 50, 20 * 50 + 90)
    assert b.delay_ns == 90 * MS
    steady(b, range(55, 2000))
    assert b.delay_ns == 90 * MS
    put(b, 2000, 20 * 2000, marker=True)
    assert b.delay_ns == 20 * MS


def test_the_delay_shrinks_slowly() -> None:
    """A second after a late packet a new spurt keeps the delay; after 10 s about half of it; in between it never grows."""
    b = buffer(ADAPTIVE, 20, 100)
    steady(b, range(50))
    put(b, 50, 20 * 50 + 90)
    found = []
    for k in range(51, 1200):
        put(b, k, 20 * k, marker=k % 50 == 0)
        out(b, 20 * k)
        if k % 50 == 0:
            found.append(b.delay_ns / MS)
    assert found[0] == 90
    assert found == sorted(found, reverse=True)
    assert 35 < found[10] < 60
    assert found[-1] < 25


@pytest.mark.parametrize(("jump", "spurt"), [(2, False), (3, True), (50, True)])
def test_a_jump_of_the_timestamp_begins_a_spurt(jump: int, spurt: bool) -> None:
    """Two lost places are not told from packets of 40 ms; more is a pause."""
    b = buffer(ADAPTIVE, 20, 100)
    steady(b, range(10))
    put(b, 10, 20 * 10 + 90)
    steady(b, range(11, 3000))
    assert b.delay_ns == 90 * MS
    put(b, 3000, 20 * (2999 + jump), 160 * (2999 + jump))
    assert b.delay_ns == (20 if spurt else 90) * MS


# ---- settings ----


def test_other_settings_hold_from_the_next_packet_on() -> None:
    b = buffer(NONE, 0, 60)
    for k in range(3):
        put(b, k, 20 * k)
        assert out(b, 20 * k) == [k]
    b.set(mode=FIXED, delay_min_ms=40, delay_max_ms=40, clock_rate_hz=16000)
    for k in range(3, 100):
        b.put(BASE + k, 320 * k, 20 * MS * k, k)
        assert out(b, 20 * k) == ([k - 2] if k > 4 else [])
    b.set(mode=NONE, delay_min_ms=0, delay_max_ms=60, clock_rate_hz=16000)
    assert out(b, 20 * 99 + 1) == [98, 99]


def test_bounds_the_wrong_way_round_mean_the_lower_one() -> None:
    b = buffer(ADAPTIVE, 50, 20)
    put(b, 0, 0)
    put(b, 1, 500)
    assert b.delay_ns == 50 * MS


def test_draining_gives_back_all_in_order_and_once() -> None:
    b = buffer(FIXED, 500)
    for k in (0, 1, 5, 3, 9):
        put(b, k, k)
    assert [b.drain() for _ in range(6)] == [0, 1, 3, 5, 9, None]
    assert b.counts["released"] == 5
    assert b.counts["lost"] == 5
    assert buffer().drain() is None


# ---- against the twin ----


def schedule(random: Random, hostile: bool) -> list[tuple[int, int, int, bool]]:
    """(arrival_ns, extended, timestamp, marker) of a stream with loss, reordering, duplicates, pauses, and if hostile with jumps and lies."""
    made = []
    extended, timestamp, at = BASE + random.randrange(70), random.getrandbits(32), random.randrange(SECOND)
    spread = random.choice((0, 10, 60, 300)) * MS
    for _ in range(random.randrange(20, 250)):
        extended += 1
        timestamp += 160
        at += random.choice((20, 20, 20, 10, 1)) * MS
        marker = random.random() < 0.05
        if random.random() < 0.05:
            pause = random.choice((3, 50, 400))
            timestamp, at, marker = timestamp + 160 * pause, at + 20 * MS * pause, random.random() < 0.7
        if hostile and random.random() < 0.05:
            extended += random.choice((30, 63, 64, 65, 100, 3000, 32768))
        if random.random() < 0.05:
            continue
        stamp = timestamp
        if hostile and random.random() < 0.1:
            stamp = random.choice((timestamp + 2**31, timestamp - 8000, random.getrandbits(32), timestamp + 16001))
        number = extended - random.choice((1, 20, 63, 64, 100)) if hostile and random.random() < 0.05 else extended
        for _ in range(random.choice((1, 1, 1, 1, 2))):
            made.append((at + random.randrange(spread + 1), number, stamp % 2**32, marker))
    return sorted(made)


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize("mode", [NONE, FIXED, ADAPTIVE])
@pytest.mark.parametrize("seed", range(12))
def test_a_random_schedule_comes_out_as_from_the_twin(seed: int, mode: int, hostile: bool) -> None:
    random = Random(seed * 6 + mode * 2 + hostile)
    for _ in range(6):
        least, most = random.choice(((0, 0), (20, 60), (60, 200), (0, 100), (200, 2000)))
        options = {"mode": mode, "delay_min_ms": least, "delay_max_ms": most, "clock_rate_hz": 8000}
        ours, theirs = JitterBuffer(**options), Twin(**options)
        compare(random, ours, theirs, schedule(random, hostile), most if mode != FIXED else least)


def compare(random: Random, ours: JitterBuffer, theirs: Twin, packets: list[tuple[int, int, int, bool]], bound_ms: int) -> None:
    """Puts and takes on both; each handle comes back once, numbers rise, nothing is held beyond the bound."""
    owned: dict[int, int] = {}
    last = -1
    bound_ns = max(bound_ms, theirs.least_ns // MS) * MS

    def run_out(now_ns: int) -> None:
        nonlocal last
        while True:
            found = ours.take(now_ns)
            assert found == theirs.take(now_ns)
            if found is None:
                break
            assert found[0] > last
            last = found[0] if found[1] is not None else found[0] + found[2] - 1
            if found[1] is not None:
                del owned[found[1]]
        assert all(now_ns < arrival_ns + bound_ns for arrival_ns in owned.values())

    for handle, (arrival_ns, extended, timestamp, marker) in enumerate(packets):
        verdict = ours.put(extended, timestamp, arrival_ns, handle, marker=marker)
        assert verdict == theirs.put(extended, timestamp, arrival_ns, handle, marker=marker)
        if verdict == FULL and random.random() < 0.8:
            run_out(arrival_ns)
            verdict = ours.put(extended, timestamp, arrival_ns, handle, marker=marker)
            assert verdict == theirs.put(extended, timestamp, arrival_ns, handle, marker=marker) == KEPT
        if verdict == KEPT:
            owned[handle] = arrival_ns
        assert ours.due_ns == theirs.due_ns
        assert ours.delay_ns == theirs.delay_ns
        assert theirs.least_ns <= ours.delay_ns <= theirs.most_ns or theirs.mode == NONE
        assert ours.held == theirs.held == len(owned) <= SLOTS
        if random.random() < 0.7:
            run_out(arrival_ns + random.choice((0, 0, 5, 40)) * MS)
    while (left := ours.drain()) is not None:
        assert theirs.drain() == left
        del owned[left]
    assert not owned
    assert ours.counts == theirs.counts
    assert native.JitterBuffer is JitterBuffer
