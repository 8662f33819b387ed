"""A jitter buffer in plain Python, written from what the buffer promises and not from the kernel: a dictionary of what is held, sets of what came out,
and the least of all due times asked anew each time."""

from __future__ import annotations

from dataclasses import dataclass, field

NONE, FIXED, ADAPTIVE = 0, 1, 2
KEPT, LATE, DUPLICATE, FULL = 0, 1, 2, 3
SLOTS = 64
MS, SECOND = 1_000_000, 1_000_000_000
NOW, NEVER = -(2**63), 2**63 - 1

Found = tuple[int, int | None, int]


def signed(value: int) -> int:
    """A difference of 32-bit timestamps."""
    return (value + 2**31) % 2**32 - 2**31


@dataclass
class Held:
    """A packet inside."""

    handle: int
    timestamp: int
    due_ns: int


@dataclass
class Anchor:
    """The sender's clock as its earliest packets show it. Windows of 2 s; what is 2 s off is another count of timestamps."""

    clock_rate_hz: int
    known: bool = False
    arrival_ns: int = 0
    timestamp: int = 0
    seen: list[int] = field(default_factory=list)
    seen_too_late: list[int] = field(default_factory=lambda: [0])
    end_ns: int = 0
    peak_ns: int = 0
    restarts: int = 0

    def begin(self, timestamp: int, arrival_ns: int) -> None:
        self.known, self.timestamp, self.arrival_ns = True, timestamp, arrival_ns
        self.begin_window(arrival_ns)

    def begin_window(self, arrival_ns: int) -> None:
        self.seen, self.seen_too_late, self.end_ns = [], [0], arrival_ns + 2 * SECOND

    def late_ns(self, timestamp: int, arrival_ns: int) -> int:
        return arrival_ns - self.arrival_ns - int(signed(timestamp - self.timestamp) * (SECOND / self.clock_rate_hz))

    def take(self, timestamp: int, arrival_ns: int) -> int:
        """How late a packet is; 0 for one that sets the anchor."""
        if not self.known:
            self.begin(timestamp, arrival_ns)
        late_ns = self.late_ns(timestamp, arrival_ns)
        if abs(late_ns) > 2 * SECOND:
            self.restarts += 1
            self.begin(timestamp, arrival_ns)
            late_ns = 0
        elif late_ns < 0:
            self.arrival_ns += late_ns
            late_ns = 0
        self.seen.append(late_ns)
        if arrival_ns >= self.end_ns:
            self.arrival_ns += min(self.seen)
            seconds = max(0, signed(timestamp - self.timestamp)) // self.clock_rate_hz
            self.timestamp = (self.timestamp + seconds * self.clock_rate_hz) % 2**32
            self.arrival_ns += seconds * SECOND
            self.peak_ns = max(self.peak_ns - self.peak_ns // 8, *self.seen, *self.seen_too_late)
            self.begin_window(arrival_ns)
        return late_ns

    @property
    def worst_ns(self) -> int:
        return max(self.peak_ns, *self.seen, *self.seen_too_late)


class Twin:
    """The same methods and counts as engine._native.jitter.JitterBuffer."""

    def __init__(self, *, mode: int, delay_min_ms: int = 0, delay_max_ms: int = 0, clock_rate_hz: int = 8000) -> None:
        self.mode, self.least_ns = mode, delay_min_ms * MS
        self.most_ns = max(delay_min_ms, delay_max_ms) * MS
        self.delay_ns = 0 if mode == NONE else self.least_ns
        self.anchor = Anchor(clock_rate_hz or 8000)
        self.inside: dict[int, Held] = {}
        self.came_out: set[int] = set()
        self.next: int | None = None
        self.highest = self.last_timestamp = self.last_step = self.run_out_to = 0
        self.fresh = True
        self.counts = dict.fromkeys(("taken", "released", "lost", "late", "duplicate", "overflowed", "restarts"), 0)

    @property
    def held(self) -> int:
        return len(self.inside)

    def refuse(self, verdict: int, name: str) -> int:
        self.counts[name] += 1
        return verdict

    def put(self, extended: int, timestamp: int, arrival_ns: int, handle: int, *, marker: bool = False) -> int:
        if self.next is None:
            self.next = self.highest = extended
            self.last_timestamp = timestamp
        if extended < self.next:
            if not (self.fresh and self.highest - extended < SLOTS):
                return self.below(extended, timestamp, arrival_ns)
            self.next = extended
        if extended >= self.next + SLOTS:
            self.run_out_to = extended - SLOTS + 1
            return self.refuse(FULL, "overflowed")
        if extended in self.inside:
            return self.refuse(DUPLICATE, "duplicate")
        due_ns = arrival_ns + self.most_ns
        if self.mode != NONE:
            late_ns = self.anchor.take(timestamp, arrival_ns)
            self.counts["restarts"] = self.anchor.restarts
            if self.mode == ADAPTIVE:
                if self.begins_spurt(extended, timestamp, marker):
                    self.delay_ns = min(self.delay_ns, max(self.least_ns, self.anchor.worst_ns))
                self.grow(late_ns)
            due_ns = arrival_ns - late_ns + self.delay_ns
        self.inside[extended] = Held(handle, timestamp, due_ns)
        self.counts["taken"] += 1
        if extended > self.highest:
            if extended == self.highest + 1:
                self.last_step = (timestamp - self.last_timestamp) % 2**32
            self.highest, self.last_timestamp = extended, timestamp
        return KEPT

    def below(self, extended: int, timestamp: int, arrival_ns: int) -> int:
        assert self.next is not None
        if extended in self.came_out and extended >= self.next - 64:
            return self.refuse(DUPLICATE, "duplicate")
        if self.mode == ADAPTIVE and self.anchor.known:
            late_ns = self.anchor.late_ns(timestamp, arrival_ns)
            if late_ns <= 2 * SECOND:
                self.grow(late_ns)
                self.anchor.seen_too_late.append(late_ns)
        return self.refuse(LATE, "late")

    def grow(self, late_ns: int) -> None:
        self.delay_ns = max(self.delay_ns, min(late_ns, self.most_ns))

    def begins_spurt(self, extended: int, timestamp: int, marker: bool) -> bool:
        if extended <= self.highest or marker:
            return marker and extended > self.highest
        step = (timestamp - self.last_timestamp) % 2**32
        jump = self.last_step and step < 2**31 - 1 and step // 2 > self.last_step
        return bool(extended == self.highest + 1 and jump and step * (SECOND / self.anchor.clock_rate_hz) > 40 * MS)

    def give_up(self, to: int) -> Found:
        assert self.next is not None
        count, first = to - self.next, self.next
        self.counts["lost"] += count
        self.next, self.fresh = to, False
        return first, None, count

    def release(self) -> Found:
        assert self.next is not None
        packet = self.inside.pop(self.next)
        self.came_out.add(self.next)
        self.counts["released"] += 1
        self.next, self.fresh = self.next + 1, False
        return self.next - 1, packet.handle, packet.timestamp

    def take(self, now_ns: int) -> Found | None:
        if self.next is None:
            return None
        if not self.inside:
            return self.give_up(self.run_out_to) if self.run_out_to > self.next else None
        first, due = min(self.inside), min(packet.due_ns for packet in self.inside.values()) <= now_ns
        if first == self.next:
            return self.release() if due or self.mode == NONE or self.next < self.run_out_to else None
        if due:
            return self.give_up(first)
        return self.give_up(min(first, self.run_out_to)) if self.run_out_to > self.next else None

    @property
    def due_ns(self) -> int:
        if self.next is not None and self.run_out_to > self.next:
            return NOW
        if not self.inside:
            return NEVER
        if self.mode == NONE and self.next in self.inside:
            return NOW
        return min(packet.due_ns for packet in self.inside.values())

    def drain(self) -> int | None:
        if not self.inside:
            return None
        first = min(self.inside)
        if first != self.next:
            self.give_up(first)
        return self.release()[1]
