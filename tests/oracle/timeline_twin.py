"""Places of packets on a timeline in plain Python, written from the rules and not from the kernel: exact fractions for every moment, lists of all that was
seen instead of running figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

SECOND = 1_000_000_000
Step = tuple[int, int, int, bool, bool]


@dataclass
class Base:
    """What positions are counted from: this timestamp lies at this sample."""

    ssrc: int
    timestamp: int
    position: int


@dataclass
class Drift:
    """How far the sender is ahead of our clock, in samples: each window of 30 s (and 20 packets) is as good as its earliest packet."""

    leads: list[tuple[int, int]] = field(default_factory=list)  # (arrival_ns, lead) of the window that runs
    closed: list[tuple[int, int]] = field(default_factory=list)  # (begin_ns, lead) of those before
    slope: tuple[int, int] = (0, 0)
    corrected: int = 0
    due: int = 0

    def shift(self, samples: int) -> None:
        self.leads = [(at, lead + samples) for at, lead in self.leads]
        if self.closed:
            begin_ns, lead = self.closed[-1]
            self.closed[-1] = begin_ns, lead + samples
        self.corrected += samples

    def lead(self) -> int | None:
        if self.closed:
            return self.closed[-1][1]
        return max((lead for _, lead in self.leads), default=None)


class Twin:
    """The same methods and figures as engine._native.jitter.Timeline."""

    def __init__(self, *, origin_ns: int = 0, clock_rate_hz: int = 8000, sample_rate_hz: int = 8000) -> None:
        self.origin_ns, self.rate, self.clock_rate_hz = origin_ns, sample_rate_hz, clock_rate_hz
        self.position = 0
        self.base: Base | None = None
        self.other_clock = self.by_moment = self.is_quiet = False
        self.end = self.last_ns = self.last_samples = 0
        self.lagging: tuple[int, int] | None = None
        self.drift = Drift()
        self.drift_ppm = 0.0
        names = ("lost_samples", "silent_samples", "skipped_samples", "late_packets", "anchors", "inserted_samples", "dropped_samples")
        self.counts = dict.fromkeys(names, 0)

    def wall(self, moment_ns: int) -> int:
        return floor(Fraction(moment_ns - self.origin_ns, SECOND) * self.rate)

    def samples(self, ms: int) -> int:
        return self.rate * ms // 1000

    def clock(self, clock_rate_hz: int) -> None:
        self.other_clock = self.other_clock or clock_rate_hz != self.clock_rate_hz
        self.clock_rate_hz = clock_rate_hz

    def renew(self) -> None:
        self.by_moment = self.base is not None

    def quiet(self) -> None:
        self.is_quiet = True

    # ---- a packet ----

    def place(self, timestamp: int, samples: int, arrival_ns: int, *, ssrc: int = 0, lost: int = 0) -> Step:
        if not samples:
            return 0, 0, 0, False, True
        quiet, self.is_quiet = self.is_quiet, False
        wall = self.wall(arrival_ns)
        base = self.base
        if base is None or self.other_clock or base.ssrc != ssrc:
            return self.begin(ssrc, timestamp, samples, wall, arrival_ns)
        whole = self.end + (timestamp - self.end + 2**31) % 2**32 - 2**31
        target = base.position + floor(Fraction((whole - base.timestamp) * self.rate, self.clock_rate_hz))
        if self.by_moment and abs(target - wall) > self.samples(100):
            return self.begin(ssrc, timestamp, samples, wall, arrival_ns)
        self.by_moment = False
        over = target + samples <= self.position
        lags = over or wall - target > self.rate
        if target - wall > self.rate or (lags and self.stood_still(target, wall)):
            return self.begin(ssrc, timestamp, samples, wall, arrival_ns)
        if over:
            self.counts["late_packets"] += 1
            self.counts["skipped_samples"] += samples
            return 0, 0, samples, False, True
        self.watch(target - wall, arrival_ns)
        target += self.correct(target - self.position, target - wall, samples, lost, quiet)
        conceal, silence = self.gap(max(0, target - self.position), samples, lost)
        skip = max(0, self.position - target)
        self.counts["skipped_samples"] += skip
        self.position += conceal + silence + samples - skip
        lagging = self.lagging if lags else None
        self.remember(whole, samples, arrival_ns)
        self.lagging = lagging
        return conceal, silence, skip, False, False

    def gap(self, gap: int, samples: int, lost: int) -> tuple[int, int]:
        of_loss = min(gap, min(lost, 65536) * (self.last_samples or samples))
        conceal = min(of_loss, self.samples(200))
        self.counts["lost_samples"] += of_loss
        self.counts["silent_samples"] += gap - of_loss
        return conceal, gap - conceal

    def remember(self, whole: int, samples: int, arrival_ns: int) -> None:
        self.end = whole + samples * self.clock_rate_hz // self.rate
        self.last_ns, self.last_samples, self.lagging = arrival_ns, samples, None

    def begin(self, ssrc: int, timestamp: int, samples: int, wall: int, arrival_ns: int) -> Step:
        same = self.base is not None and self.base.ssrc == ssrc and self.other_clock and not self.by_moment
        goes_on = same and wall - self.position <= self.samples(100)
        at = self.position if goes_on else max(self.position, wall)
        early = at - wall > self.rate
        self.base = Base(ssrc, timestamp, at - samples if early else at)
        self.other_clock = self.by_moment = False
        self.counts["anchors"] += 1
        self.drift = Drift()
        self.remember(timestamp, samples, arrival_ns)
        if early:
            self.counts["skipped_samples"] += samples
            return 0, 0, samples, True, True
        silence = at - self.position
        self.counts["silent_samples"] += silence
        self.position = at + samples
        self.watch(at - wall, arrival_ns)
        return 0, silence, 0, True, False

    def stood_still(self, target: int, wall: int) -> bool:
        """Whether lagging packets keep the clock's pace for 40 ms; a burst does not, and begins the count anew."""
        if self.lagging is None:
            self.lagging = target, wall
            return False
        media, elapsed = target - self.lagging[0], wall - self.lagging[1]
        if 0 < media < self.samples(40):
            return False
        sound = 0 < media <= self.rate
        if sound and 2 * elapsed >= media:
            return True
        self.lagging = target, wall
        return False

    # ---- drift ----

    def watch(self, lead: int, arrival_ns: int) -> None:
        d = self.drift
        if len(d.leads) >= 20 and arrival_ns - d.leads[0][0] >= 30 * SECOND:
            self.close_window()
        d.leads.append((arrival_ns, lead))

    def close_window(self) -> None:
        d = self.drift
        begin_ns, lead = d.leads[0][0], max(lead for _, lead in d.leads)
        steady = False
        if d.closed:
            step = Fraction((lead - d.closed[-1][1]) * SECOND * 1_000_000, (begin_ns - d.closed[-1][0]) * self.rate)
            steady = abs(step) <= 1000
        if steady:
            seconds = Fraction(begin_ns - d.slope[0], SECOND)
            self.drift_ppm = float(Fraction(lead - d.corrected - d.slope[1], self.rate) / seconds * 1_000_000)
        else:
            d.slope, d.corrected = (begin_ns, lead), 0
        d.due = -lead if abs(lead) > self.samples(40) else 0
        d.closed.append((begin_ns, lead))
        d.leads = []

    def correct(self, gap: int, lead: int, samples: int, lost: int, quiet: bool) -> int:
        pause = gap if gap > 0 and not lost else 0
        if gap < 0 or not (pause or quiet):
            return 0
        least = -(pause + (samples // 2 if quiet else 0))
        now = max(least, min(self.drift.due, max(0, self.rate - lead)))
        self.drift.due -= now
        self.shift(now)
        return now

    def shift(self, samples: int) -> None:
        assert self.base is not None
        self.base.position += samples
        self.drift.shift(samples)
        self.counts["inserted_samples" if samples > 0 else "dropped_samples"] += abs(samples)

    # ---- nothing ----

    def idle(self, now_ns: int, slack_ms: int) -> int:
        if self.base is not None and now_ns - self.last_ns < slack_ms * 1_000_000:
            return 0
        silence = max(0, min(self.rate, self.wall(now_ns - slack_ms * 1_000_000) - self.position))
        self.position += silence
        self.counts["silent_samples"] += silence
        lead = self.drift.lead()
        if silence and self.base is not None and lead is not None:
            beyond = self.position - self.wall(now_ns) - lead
            if beyond > 0:
                self.shift(beyond)
        return silence
