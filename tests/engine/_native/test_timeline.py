"""Places on the timeline, rule by rule: loss, pauses, hold, restarts, clocks that differ, and timestamps that lie; and the twin on random patterns."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from engine._native.jitter import FIXED, NONE, JitterBuffer, Timeline
from tests.oracle.timeline_twin import Twin

MS, SECOND = 1_000_000, 1_000_000_000
GOES_ON = (0, 0, 0, False, False)
FIRST = 4_000_000_000


class Stream:
    """A sender of 20 ms packets at 8 kHz, and where its samples were written: (position, own number of the first sample)."""

    def __init__(self, line: Timeline | None = None, *, first: int = FIRST, delay_ms: float = 0, ssrc: int = 7) -> None:
        self.line, self.first, self.delay_ms, self.ssrc = line or Timeline(), first, delay_ms, ssrc
        self.written: list[tuple[int, int]] = []

    def send(self, k: int, *, at_ms: float | None = None, samples: int = 160, lost: int = 0, shift: int = 0) -> tuple[int, int, int, bool, bool]:
        """Packet k at its place; `shift` moves its timestamp only."""
        timestamp = (self.first + 160 * k + shift) % 2**32
        arrival_ns = int((20 * k + self.delay_ms if at_ms is None else at_ms) * MS)
        before = self.line.position
        conceal, silence, skip, anchored, drop = self.line.place(timestamp, samples, arrival_ns, ssrc=self.ssrc, lost=lost)
        if not drop:
            self.written.append((before + conceal + silence, 160 * k + skip))
        assert self.line.position - before == conceal + silence + samples - skip
        assert drop == (skip == samples)
        return conceal, silence, skip, anchored, drop

    def idle(self, at_ms: float, slack_ms: int = 200) -> int:
        before = self.line.position
        silence = self.line.idle(int(at_ms * MS), slack_ms)
        assert self.line.position == before + silence
        return silence

    def check(self, begin: int = 0) -> None:
        """Every sample that was written lies at its own number behind `begin`."""
        assert self.written
        assert all(at == begin + number for at, number in self.written)


def test_a_steady_stream_is_what_it_says() -> None:
    s = Stream()
    assert s.send(0) == (0, 0, 0, True, False)
    for k in range(1, 500):
        assert s.send(k) == GOES_ON
    s.check()
    assert s.line.position == 80_000
    assert s.line.counts["anchors"] == 1


def test_a_stream_that_begins_later_is_padded_in_front() -> None:
    """Half a second later is half a second of silence, to the sample."""
    line = Timeline(origin_ns=3 * SECOND)
    assert line.place(5, 160, 3 * SECOND + 500 * MS) == (0, 4000, 0, True, False)
    assert line.position == 4160


def test_jitter_of_arrival_moves_nothing() -> None:
    s, random = Stream(), Random(1)
    s.send(0)
    for k in range(1, 1000):
        assert s.send(k, at_ms=20 * k + random.uniform(-30, 90)) == GOES_ON
    s.check()


# ---- loss ----


@pytest.mark.parametrize(("lost", "conceal", "silence"), [(1, 160, 0), (10, 1600, 0), (11, 1600, 160), (50, 1600, 6400)])
def test_loss_is_concealed_for_200_ms_and_silent_behind(lost: int, conceal: int, silence: int) -> None:
    s = Stream()
    for k in range(5):
        s.send(k)
    assert s.send(5 + lost, lost=lost) == (conceal, silence, 0, False, False)
    assert s.send(6 + lost) == GOES_ON
    s.check()
    assert s.line.counts["lost_samples"] == 160 * lost
    assert s.line.counts["silent_samples"] == 0


def test_loss_before_a_pause_conceals_what_was_lost_and_no_more() -> None:
    s = Stream()
    s.send(0)
    assert s.send(100, lost=2) == (320, 160 * 97, 0, False, False)
    s.check()
    assert s.line.counts["lost_samples"] == 320
    assert s.line.counts["silent_samples"] == 160 * 97


def test_a_loss_that_left_no_gap_fills_nothing() -> None:
    """Lost packets that carried no samples, of telephone-event or comfort noise: time goes on by timestamps alone."""
    s = Stream()
    s.send(0)
    assert s.send(1, lost=3) == GOES_ON
    s.check()


def test_packets_of_unequal_length_lie_where_they_say() -> None:
    s = Stream()
    s.send(0, samples=160)
    assert s.send(1, samples=480) == GOES_ON
    assert s.send(4, samples=80) == GOES_ON
    assert s.send(5, samples=160) == (0, 80, 0, False, False)
    s.check()


@pytest.mark.parametrize(("mode", "delay_ms"), [(NONE, 60), (NONE, 1200), (FIXED, 60), (FIXED, 1100)])
@pytest.mark.parametrize("depth", [1, 2, 10, 50])
def test_reordering_and_duplicates_behind_a_jitter_buffer_leave_the_length_as_it_is(depth: int, mode: int, delay_ms: int) -> None:
    """Packets that come up to 50 places late, over wraps of both counts: heard in their place or not at all, and the end is where it was."""
    buffer, s, random = JitterBuffer(mode=mode, delay_min_ms=delay_ms, delay_max_ms=delay_ms), Stream(first=2**32 - 160 * 500), Random(depth)
    arrivals = [(20 * k, k) for k in range(1000)]
    arrivals += [(20 * k + random.randrange(100), k) for k in random.sample(range(1000), 50)]
    late = {k: 20 * k + random.randrange(20 * depth + 1) for k in random.sample(range(10, 990), 100)}
    arrivals = sorted((late.get(k, at_ms), k) for at_ms, k in arrivals)
    lost = heard = 0
    for at_ms, k in arrivals:
        buffer.put(65536 * 2 - 300 + k, (s.first + 160 * k) % 2**32, at_ms * MS, k)
        while (found := buffer.take(at_ms * MS)) is not None:
            if found[1] is None:
                lost += found[2]
                continue
            assert not s.send(found[1], at_ms=at_ms, lost=lost)[4]
            heard, lost = heard + 1, 0
    while (k_out := buffer.drain()) is not None:
        s.send(k_out, at_ms=20 * k_out + delay_ms)
        heard += 1
    begin = s.written[0][0]
    assert begin == 0 or mode == FIXED  # what is held back lies as much later
    s.check(begin)
    assert s.line.position == begin + 160 * 1000
    assert heard == 1000 - buffer.counts["lost"]
    assert buffer.counts["lost"] == 0 or 20 * depth > delay_ms


@pytest.mark.parametrize("seed", range(20))
def test_every_sample_that_is_heard_lies_at_its_own_place(seed: int) -> None:
    """Loss, pauses and arrival that varies by less than the silence stays behind: nothing is late, and nothing is moved."""
    random = Random(seed)
    s, k, heard = Stream(first=random.getrandbits(32)), 0, 0
    for _ in range(3000):
        kind, lost = random.random(), 0
        if kind < 0.05:
            lost = random.randrange(1, 40)
            k += lost
        elif kind < 0.08:
            k += random.choice((1, 5, 100, 3000))
        at_ms = 20 * k + (random.uniform(0, 150) if heard else 0)
        if random.random() < 0.5:
            s.idle(at_ms, 200)
        assert not s.send(k, at_ms=at_ms, lost=lost)[4]
        heard, k = heard + 1, k + 1
    s.check()
    assert s.line.position == 160 * k
    assert s.line.counts["anchors"] == 1


# ---- pauses and hold ----


def test_a_pause_without_loss_is_silent_for_exactly_its_length() -> None:
    """Discontinuous transmission is no loss, and no longer than its timestamps say."""
    s = Stream()
    for k in (0, 1, 2, 102, 103, 1000):
        conceal, *_ = s.send(k)
        assert conceal == 0
    s.check()
    assert s.line.position == 160 * 1001


def test_silence_comes_in_pieces_while_nothing_does() -> None:
    s = Stream()
    s.send(0)
    assert s.idle(219) == 0  # something came less than 200 ms ago
    assert s.idle(220.001) == 0
    assert s.idle(240) == 8 * 40 - 160
    assert s.idle(240) == 0
    assert s.idle(10_000) == 8000  # a second at most
    for _ in range(9):
        s.idle(10_000)
    assert s.line.position == 8 * 9800
    assert s.send(500) == (0, 8 * 200, 0, False, False)
    s.check()


def test_a_party_that_never_sends_is_silent_from_the_beginning() -> None:
    line = Timeline(origin_ns=SECOND, sample_rate_hz=16000)
    assert line.idle(SECOND + 300 * MS, 200) == 1600
    assert line.idle(SECOND + 100 * MS, 200) == 0
    assert line.idle(SECOND + 300 * MS, 0) == 3200
    assert line.position == 4800
    assert line.counts["anchors"] == 0


def test_what_comes_for_a_time_that_is_over_is_dropped_or_cut() -> None:
    s = Stream()
    s.send(0)
    assert s.idle(250, 0) == 2000 - 160
    assert s.send(1, at_ms=260) == (0, 0, 160, False, True)
    assert s.send(12, at_ms=261) == (0, 0, 80, False, False)
    assert s.send(13, at_ms=262) == GOES_ON
    s.check()
    assert s.line.counts["late_packets"] == 1
    assert s.line.counts["skipped_samples"] == 240


def test_the_same_packet_twice_does_not_move_time() -> None:
    s = Stream()
    s.send(0)
    s.send(1)
    assert s.send(1) == (0, 0, 160, False, True)
    assert s.send(0) == (0, 0, 160, False, True)
    assert s.send(2) == GOES_ON


def test_an_empty_packet_changes_nothing() -> None:
    s = Stream()
    assert s.line.place(0, 0, 5 * SECOND) == (0, 0, 0, False, True)
    s.send(0)
    before = s.line.counts
    assert s.line.place(2**31, 0, 9 * SECOND, ssrc=99) == (0, 0, 0, False, True)
    assert s.line.counts == before
    assert s.send(1) == GOES_ON


def test_a_burst_after_a_standstill_of_the_network_fills_its_own_place() -> None:
    """Three seconds of packets arrive within 3 ms; what was filled with silence before stays, the rest lies where it belongs."""
    s = Stream()
    s.send(0)
    for at_ms in range(0, 3000, 20):
        s.idle(at_ms)
    filled = s.line.position
    assert filled == 8 * (2980 - 200)
    for k in range(1, 150):
        s.send(k, at_ms=3000 + k * 0.02)
    assert s.send(150, at_ms=3004) == GOES_ON
    s.check()
    assert s.line.counts["anchors"] == 1
    assert s.line.position == 160 * 151


def test_hold_with_timestamps_that_stood_still_is_silence_by_the_clock() -> None:
    """Two packets show the pace, and are dropped; from the third on the stream is where the clock is."""
    s = Stream()
    for k in range(10):
        s.send(k)
    for at_ms in range(200, 60_000, 20):
        s.idle(at_ms)
    assert s.send(10, at_ms=60_000)[4]
    assert s.send(11, at_ms=60_020)[4]
    assert s.send(12, at_ms=60_040) == (0, 8 * 60_040 - 8 * (59_980 - 200), 0, True, False)
    for k in range(13, 60):
        assert s.send(k, at_ms=60_040 + 20 * (k - 12)) == GOES_ON
    assert s.line.position == 8 * (60_040 + 20 * 48)


def test_hold_without_anybody_who_calls_for_silence_is_found_too() -> None:
    s = Stream()
    for k in range(10):
        s.send(k)
    steps = [s.send(k, at_ms=60_000 + 20 * k) for k in range(10, 20)]
    assert steps[:2] == [GOES_ON] * 2
    assert steps[2] == (0, 8 * 60_240 - 160 * 12, 0, True, False)
    assert steps[3:] == [GOES_ON] * 7


def test_hold_with_timestamps_that_went_on_needs_no_new_beginning() -> None:
    s = Stream()
    for k in range(10):
        s.send(k)
    for at_ms in range(200, 60_000, 20):
        s.idle(at_ms)
    for k in range(3000, 3010):
        s.send(k)
    s.check()
    assert s.line.counts["anchors"] == 1


@pytest.mark.parametrize("shift", [0, -8 * 2000, 8 * 700, 12345678])
def test_behind_a_hold_the_next_packet_may_be_placed_by_its_moment(shift: int) -> None:
    """Whatever became of the timestamps: nothing is dropped, and nothing is early or late."""
    s = Stream()
    for k in range(10):
        s.send(k)
    s.line.renew()
    assert s.send(100, shift=shift) == (0, 160 * 90, 0, shift != 0, False)  # timestamps that went on rightly are believed
    assert s.send(101, shift=shift) == GOES_ON
    s.line.renew()
    s.line.clock(16000)
    assert s.line.place(7, 160, 20 * 105 * MS, ssrc=7) == (0, 160 * 3, 0, True, False)


# ---- restarts ----


def test_another_source_begins_where_the_clock_is() -> None:
    """The first one's last packet ends at 200 ms; the new one comes at 350 ms with timestamps of its own."""
    s = Stream()
    for k in range(10):
        s.send(k)
    assert s.line.place(123, 160, 350 * MS, ssrc=8) == (0, 1200, 0, True, False)
    assert s.line.place(283, 160, 370 * MS, ssrc=8) == GOES_ON
    assert s.line.counts["anchors"] == 2


def test_another_source_that_comes_at_once_follows_without_a_gap() -> None:
    s = Stream()
    for k in range(10):
        s.send(k)
    assert s.line.place(99, 160, 195 * MS, ssrc=8) == (0, 0, 0, True, False)
    assert s.line.position == 1760


@pytest.mark.parametrize("jump", [2**31 - 1, 8000 * 60, 8000 + 1281])
def test_timestamps_that_run_far_ahead_of_the_clock_begin_anew(jump: int) -> None:
    s = Stream()
    for k in range(10):
        s.send(k)
    assert s.send(10, shift=jump) == (0, 0, 0, True, False)
    assert s.send(11, shift=jump) == GOES_ON
    assert s.line.position == 160 * 12


def test_timestamps_within_a_second_of_the_clock_are_believed() -> None:
    s = Stream()
    for k in range(10):
        s.send(k)
    assert s.send(10, shift=8000) == (0, 8000, 0, False, False)


@pytest.mark.parametrize("jump", [2**31, 2**31 + 1, 2**32 - 8000 * 60, 2**32 - 1600])
def test_timestamps_that_fell_back_begin_anew_once_they_keep_the_pace(jump: int) -> None:
    s = Stream()
    for k in range(100):
        s.send(k)
    steps = [s.send(k, shift=jump) for k in range(100, 110)]
    assert [step[4] for step in steps[:3]] == [True, True, False]
    assert steps[2] == (0, 320, 0, True, False)
    assert steps[3:] == [GOES_ON] * 7
    assert s.line.position == 160 * 110


def test_one_packet_with_a_lie_costs_two_more_and_no_time() -> None:
    s = Stream()
    for k in range(100):
        s.send(k)
    s.send(100, shift=2**31 - 5)
    assert [s.send(k)[4] for k in range(101, 110)] == [True, True] + [False] * 7
    assert s.line.position == 160 * 110


@pytest.mark.parametrize("clock", [16000, 48000])
def test_another_clock_rate_goes_on_at_the_position(clock: int) -> None:
    line = Timeline()
    for k in range(10):
        line.place(160 * k, 160, 20 * MS * k)
    line.clock(clock)
    step = clock // 50
    for k in range(10, 20):
        found = line.place(777 + step * k, 160, 20 * MS * k + 30 * MS)
        assert found == (0, 0, 0, k == 10, False)
    assert line.position == 3200
    line.clock(clock)
    assert line.place(777 + step * 20, 160, 20 * MS * 20) == GOES_ON


def test_another_clock_rate_after_a_pause_is_silence_by_the_clock() -> None:
    line = Timeline()
    line.place(0, 160, 0)
    line.clock(16000)
    assert line.place(9, 160, 500 * MS) == (0, 4000 - 160, 0, True, False)


@pytest.mark.parametrize(("clock", "rate"), [(8000, 16000), (48000, 16000), (48000, 8000), (90000, 44100), (44100, 8000), (8000, 48000)])
@pytest.mark.parametrize("first", [0, 2**32 - 70_000])
def test_positions_are_exact_at_any_rates_over_wraps(clock: int, rate: int, first: int) -> None:
    """Packets of 20 ms, some left out, over wraps of the timestamp: the place of each is (timestamp - first) / clock, rounded down."""
    line, random = Timeline(clock_rate_hz=clock, sample_rate_hz=rate), Random(2)
    units = 0
    for _ in range(4000):
        at = units * rate // clock
        before = line.position
        _, _, _, anchored, drop = line.place((first + units) % 2**32, rate // 50, units * SECOND // clock)
        assert not drop
        assert anchored == (units == 0)
        assert line.position == max(at, before) + rate // 50 - max(0, before - at)
        units += clock // 50 * random.choice((1, 1, 1, 2, 30))
    assert units > 2 * clock * 100


# ---- drift ----


def drifting(ppm: float, seconds: int, act: Callable[[Stream, int], None], *, pause_every: int = 0) -> Stream:
    """A sender whose clock is off, for a while; every `pause_every` packets it is silent for 200 ms (of its own clock)."""
    s, random = Stream(), Random(3)
    for k in range(seconds * 50):
        if pause_every and k % pause_every >= pause_every - 10:
            continue
        act(s, k)
        s.send(k, at_ms=20 * k * (1 - ppm / 1e6) + (random.uniform(0, 15) if k else 0))
    return s


@pytest.mark.parametrize("ppm", [-200, -40, 0, 40, 200])
def test_drift_is_measured(ppm: float) -> None:
    s = drifting(ppm, 400, lambda s, k: None)
    assert s.line.drift_ppm == pytest.approx(ppm, abs=8)
    s.check()


def test_drift_is_not_claimed_before_there_are_two_windows() -> None:
    assert drifting(200, 50, lambda s, k: None).line.drift_ppm == 0


@pytest.mark.parametrize("ppm", [-200, 200])
def test_drift_is_corrected_in_pauses(ppm: float) -> None:
    """Twenty minutes: without correction the end would be 240 ms off."""
    s = drifting(ppm, 1200, lambda s, k: None, pause_every=500)
    ends_s = 1200 * (1 - ppm / 1e6) - 0.2
    assert s.line.position / 8000 == pytest.approx(ends_s, abs=0.06)
    counts = s.line.counts
    assert counts["inserted_samples" if ppm < 0 else "dropped_samples"] == pytest.approx(1920, abs=400)
    assert counts["dropped_samples" if ppm < 0 else "inserted_samples"] == 0
    assert counts["anchors"] == 1
    assert s.line.drift_ppm == pytest.approx(ppm, abs=4)


@pytest.mark.parametrize("ppm", [-200, 200])
def test_drift_is_corrected_in_packets_that_are_quiet(ppm: float) -> None:
    def act(s: Stream, k: int) -> None:
        if k % 100 == 99:
            s.line.quiet()

    s = drifting(ppm, 1200, act)
    assert s.line.position / 8000 == pytest.approx(1200 * (1 - ppm / 1e6), abs=0.06)
    assert s.line.counts["anchors"] == 1


def test_drift_is_not_corrected_in_speech_or_losses() -> None:
    s, random = Stream(), Random(1)
    for k in range(20_000):
        if k % 100 != 50:
            s.send(k, at_ms=20 * k * (1 + 200 / 1e6) + (random.uniform(0, 15) if k else 0), lost=k % 100 == 51)
    s.check()
    counts = s.line.counts
    assert (counts["inserted_samples"], counts["dropped_samples"]) == (0, 0)


def test_a_slow_sender_that_pauses_for_long_is_not_dropped_after_it() -> None:
    """Half an hour at -200 ppm puts the sender 360 ms behind; silence by the clock takes that up, and what comes then is heard."""
    s = drifting(-200, 1800, lambda s, k: None)
    at_ms = 1800_000 * (1 + 200 / 1e6)
    for tick in range(0, 10_000, 20):
        s.idle(at_ms + tick)
    assert s.line.counts["inserted_samples"] > 1000
    for k in range(90_500, 90_600):
        assert not s.send(k, at_ms=20 * k * (1 + 200 / 1e6))[4]
    assert s.line.counts["anchors"] == 1


def test_the_tail_is_as_long_as_the_clock_says() -> None:
    s = drifting(-200, 1200, lambda s, k: None)
    end_ms = 1200_000 * (1 + 200 / 1e6) + 500
    while s.idle(end_ms, 0):
        pass
    assert s.line.position == pytest.approx(8 * end_ms, abs=1)


def test_quiet_is_said_of_one_packet_only() -> None:
    """The way became 300 ms longer; the packet that was quiet came too late and was dropped: the one after it is speech."""
    s = Stream()
    for k in range(6000):
        s.send(k, at_ms=20 * k + 300 * (k > 500))
    s.line.quiet()
    assert s.send(5999, at_ms=20 * 6000)[4]
    assert s.send(6000, at_ms=20 * 6000 + 300) == GOES_ON
    s.line.quiet()
    assert s.send(6001, at_ms=20 * 6001 + 300) == (0, 2400, 0, False, False)


def test_a_correction_takes_nothing_further_than_a_second_beyond_the_clock() -> None:
    """The way became 300 ms longer, which is to be put in; then the timestamps run ahead until 10 ms are left of the second."""
    s = Stream()
    for k in range(6000):
        s.send(k, at_ms=20 * k + 300 * (k > 500))
    ahead = 8000 - 80 + 2400
    assert s.send(6000, at_ms=20 * 6000 + 300, shift=ahead) == (0, ahead + 80, 0, False, False)
    assert s.line.counts["inserted_samples"] == 80


# ---- timestamps that lie ----


def lies(random: Random) -> Callable[[int], int]:
    """A rule for timestamps: random, ahead, behind, to and fro, or standing still."""
    kind = random.randrange(6)
    if kind == 0:
        return lambda k: random.getrandbits(32)
    if kind == 1:
        return lambda k: k * random.choice((160, 2**31, 2**31 - 1))
    if kind == 2:
        return lambda k: 160 * k + 7999 * k
    if kind == 3:
        return lambda k: -160 * k
    if kind == 4:
        return lambda k: 160 * k + 8000 * 3600 * (k % 2)
    return lambda k: 5


@pytest.mark.parametrize("seed", range(30))
def test_nobody_makes_a_file_longer_than_the_clock_and_a_second(seed: int) -> None:
    random = Random(seed)
    line = Timeline(origin_ns=SECOND)
    now_ns, rule, changes = SECOND, lies(random), random.random() < 0.5
    rate_ms = random.choice((20, 20, 1, 0.1))
    for k in range(3000):
        now_ns += int(rate_ms * MS)
        if random.random() < 0.005:
            now_ns += random.randrange(20 * SECOND)
            rule = lies(random)
        if random.random() < 0.3:
            line.idle(now_ns, random.choice((0, 200)))
        line.place(rule(k) % 2**32, 160, now_ns, ssrc=k if changes else 1, lost=random.choice((0, 0, 1, 5000, 2**32 - 1)))
        assert line.position <= (now_ns - SECOND) * 8 // MS + 8000 + 160


# ---- against the twin ----


def pattern(random: Random, line: Timeline, twin: Twin, rate: int, clock: int) -> int:
    """One call on both: loss, reordering of arrival, pauses, hold, restarts, jumps and idling. Returns the sum of all steps."""
    now_ns, timestamp, ssrc, total = random.randrange(SECOND), random.getrandbits(32), 1, 0
    ppm, samples, hostile = random.choice((0, 0, 300, -300)), rate // 50, random.random() < 0.4
    for _ in range(random.randrange(50, 700)):
        lost, event = 0, random.random()
        now_ns += int(20 * MS * (1 - ppm / 1e6))
        timestamp += clock // 50
        if event < 0.05:
            lost = random.choice((1, 2, 5, 30))
        elif event < 0.06:
            lost, count = 0, random.choice((5, 50, 1500))
            now_ns += 20 * MS * count
            timestamp += clock // 50 * count
        if lost:
            now_ns += 20 * MS * lost
            timestamp += clock // 50 * lost
        elif event < 0.07:
            now_ns += random.choice((100, 1500, 60_000)) * MS  # timestamps stand still
        elif event < 0.075:
            ssrc, timestamp = ssrc + 1, random.getrandbits(32)
        elif event < 0.08 and hostile:
            timestamp += random.choice((2**31, -clock, clock * 2, random.getrandbits(32)))
        elif event < 0.083:
            clock = random.choice((8000, 16000, 48000))
            line.clock(clock)
            twin.clock(clock)
        elif event < 0.086:
            line.renew()
            twin.renew()
        if random.random() < 0.2:
            at_ns, slack_ms = now_ns - random.randrange(30) * MS, random.choice((0, 60, 200))
            silence = line.idle(at_ns, slack_ms)
            assert silence == twin.idle(at_ns, slack_ms)
            total += silence
        if random.random() < 0.05:
            line.quiet()
            twin.quiet()
        own = samples if random.random() < 0.95 else random.choice((0, samples // 2, samples * 3))
        arrival_ns = now_ns + random.choice((0, 0, random.randrange(60 * MS), random.randrange(400 * MS)))
        step = line.place(timestamp % 2**32, own, arrival_ns, ssrc=ssrc, lost=lost)
        assert step == twin.place(timestamp % 2**32, own, arrival_ns, ssrc=ssrc, lost=lost)
        total += step[0] + step[1] + own - step[2]
        assert line.position == twin.position == total
    return total


@pytest.mark.parametrize("seed", range(40))
def test_a_random_pattern_lies_where_the_twin_has_it(seed: int) -> None:
    random = Random(seed)
    for _ in range(5):
        rate, clock = random.choice(((8000, 8000), (16000, 8000), (16000, 48000), (44100, 90000), (48000, 48000)))
        options = {"origin_ns": random.randrange(SECOND), "clock_rate_hz": clock, "sample_rate_hz": rate}
        line, twin = Timeline(**options), Twin(**options)
        pattern(random, line, twin, rate, clock)
        assert line.counts == twin.counts
        assert line.drift_ppm == pytest.approx(twin.drift_ppm, abs=1e-6)


@pytest.mark.parametrize("ppm", [-400, -150, 150, 400])
@pytest.mark.parametrize("seed", range(3))
def test_a_clock_that_is_off_lies_where_the_twin_has_it(seed: int, ppm: int) -> None:
    """Ten minutes and more, with pauses, quiet packets, losses and a step of the way through by 150 ms."""
    random = Random(seed)
    line, twin = Timeline(), Twin()
    k = 0
    while k < 35_000:
        kind = random.random()
        lost, pause = (random.randrange(1, 4), 0) if kind < 0.02 else (0, random.choice((1, 10, 300)) if kind < 0.025 else 0)
        if pause > 200 and random.random() < 0.8:
            silence = line.idle((20 * k + 2000) * MS, 100)
            assert silence == twin.idle((20 * k + 2000) * MS, 100)
        k += 1 + lost + pause
        if random.random() < 0.01:
            line.quiet()
            twin.quiet()
        at_ns = int(20 * MS * k * (1 - ppm / 1e6)) + random.randrange(20 * MS) + 150 * MS * (k > 20_000)
        timestamp = 160 * k % 2**32
        assert line.place(timestamp, 160, at_ns, lost=lost) == twin.place(timestamp, 160, at_ns, lost=lost)
    assert line.counts == twin.counts
    assert line.position == twin.position
    assert line.drift_ppm == pytest.approx(twin.drift_ppm, abs=1e-6)
    assert line.drift_ppm == pytest.approx(ppm, abs=60)
    assert line.counts["inserted_samples" if ppm < 0 else "dropped_samples"] > 0
