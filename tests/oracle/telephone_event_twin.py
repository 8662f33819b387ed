"""telephone-event in plain Python: what a receiver tells, and every step of a sender (RFC 4733 §2.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine._native import rtp_session as native

PER_S = 25
Told = tuple[int, int, int, int, bool]
Step = tuple[bytes, int, bool] | bool


@dataclass
class Press:
    """An event as it has come so far: ticks from the begin to its newest segment, and what that one lasts."""

    event: int
    first: int
    segment: int
    before: int = 0
    duration: int = 0
    volume: int = 0
    end_seen: bool = False
    running: bool = True
    last_ns: int = 0


class ReaderTwin:
    """Takes payloads; answers are those of the kernel's door."""

    def __init__(self, clock: int) -> None:
        self.clock = clock
        self.press: Press | None = None
        self.second: list[int] = []
        self.counts = {"events": 0, "flooded": 0, "malformed": 0, "without_end": 0}

    def _told(self, press: Press, *, end_lost: bool = False) -> Told:
        ms = (press.before + press.duration) * 1000 // self.clock
        return press.event, press.volume, ms, press.first, end_lost

    def _end(self, press: Press) -> Told:
        press.running = False
        self.counts["without_end"] += not press.end_seen
        return self._told(press, end_lost=not press.end_seen)

    def _allowed(self, now_ns: int) -> bool:
        if not self.second or not 0 <= now_ns - self.second[0] < 10**9:
            self.second = [now_ns]
            return True
        if len(self.second) == PER_S:
            return False
        self.second.append(now_ns)
        return True

    def take(self, payload: bytes, timestamp: int, now_ns: int) -> tuple[int, Told | None, Told | None]:
        """Bits, the event begun, the event ended."""
        press, ended = self.press, None
        if len(payload) < 4 or (press and press.segment == timestamp and press.event != payload[0]):
            self.counts["malformed"] += 1
            return native.MALFORMED, None, None
        event, is_end, volume = payload[0], payload[1] >= 128, payload[1] % 64
        duration = int.from_bytes(payload[2:4], "big")
        if press and press.segment != timestamp:
            back, ahead = (press.segment - timestamp) % 2**32, (timestamp - press.segment) % 2**32
            if back <= min(5 * self.clock, 2**31):
                return 0, None, None
            joined = event == press.event and ahead < press.duration + self.clock * 40 // 1000
            if press.end_seen and joined and is_end:
                return 0, None, None
            if not press.end_seen and (joined or (event == press.event and ahead == 0xFFFF)):
                press.segment, press.before, press.duration = timestamp, press.before + ahead, 0
            else:
                ended = self._end(press) if press.running else None
                press = None
        is_new = press is None
        if press is None:
            press = self.press = Press(event, timestamp, timestamp, running=self._allowed(now_ns))
            self.counts["events" if press.running else "flooded"] += 1
        press.duration = max(press.duration, duration)
        press.end_seen |= is_end
        begun = None
        if press.running:
            press.last_ns, press.volume = now_ns, volume
            if is_new:
                begun = self._told(press)
            elif is_end:
                ended = self._end(press)
        return (native.BEGUN if begun else 0) | (native.ENDED if ended else 0), begun, ended

    def expire(self, now_ns: int) -> Told | None:
        """What has ended in silence."""
        press = self.press
        return self._end(press) if press and press.running and now_ns - press.last_ns >= 100_000_000 else None


def steps(events: list[tuple[int, int, int, int]], clock: int, ptime_ms: int, timestamp: int) -> Iterator[Step]:
    """Every step of a sender with these events (event, volume, duration_ms, pause_ms) in its queue; then audio without end."""
    ticks = ptime_ms * clock // 1000
    for event, volume, duration_ms, pause_ms in events:
        whole, start, segment, over, step = duration_ms * clock // 1000, timestamp, 0, 0, 0
        ends = 0
        while ends < 3:
            step += 1
            elapsed = min(step * ticks, whole)
            if elapsed == whole and not over:
                over = step
            lasted = min(elapsed - segment, 0xFFFF)
            is_end = lasted == elapsed - segment and elapsed == whole
            yield bytes([event, volume | 128 * is_end]) + lasted.to_bytes(2, "big"), (start + segment) % 2**32, step == 1
            ends += is_end
            segment += 0 if lasted == elapsed - segment else 0xFFFF
        while (step - over) * ptime_ms < pause_ms:
            step += 1
            yield False
        timestamp = (timestamp + step * ticks) % 2**32
    while True:
        yield True
