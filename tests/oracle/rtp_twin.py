"""Stream statistics in plain Python, written from the RFCs' definitions and not from the kernel: whole lists
instead of windows, exact sets instead of bitmaps. Tests hold the kernel's columns against it."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.data.rtp_builder import Datagram

CLOCKS = {0: 8000, 3: 8000, 4: 8000, 8: 8000, 9: 8000, 13: 8000, 18: 8000, 19: 8000}
COMFORT_NOISE = {13, 19}


@dataclass
class Twin:
    """What one stream's datagrams say. `clocks`: Hz by payload type, `events`: telephone-event types."""

    datagrams: Sequence[Datagram]
    clocks: dict[int, int] = field(default_factory=dict)
    events: frozenset[int] = frozenset()
    results: dict[str, Any] = field(default_factory=dict)

    def clock(self, payload_type: int) -> int:
        return self.clocks.get(payload_type, CLOCKS.get(payload_type, 0))

    def media(self, payload_type: int) -> bool:
        return payload_type not in COMFORT_NOISE and payload_type not in self.events

    def run(self) -> dict[str, Any]:
        """All statistics, by column name."""
        packets = [_Packet(d) for d in self.datagrams]
        accepted, epochs, counts = _order(packets)
        self.results = counts
        self._losses(epochs)
        self._jitter(accepted)
        self._steps(accepted)
        self._gaps(accepted)
        self._skew(accepted)
        self._payloads(packets, accepted)
        return self.results

    def _losses(self, epochs: list[list[int]]) -> None:
        runs: list[int] = []
        expected = lost = 0
        fates: list[bool] = []
        for epoch in epochs:
            seen = set(epoch)
            for place in range(min(seen), max(seen) + 1):
                fates.append(place in seen)
            expected += max(seen) - min(seen) + 1
            lost += max(seen) - min(seen) + 1 - len(seen)
        run = 0
        for came in [*fates, True]:
            if not came:
                run += 1
            elif run:
                runs.append(run)
                run = 0
        bursts = _bursts(fates)
        r = self.results
        r.update(expected=expected, lost=lost, loss_runs=len(runs), loss_run_max=max(runs, default=0))
        r.update(loss_runs_long=sum(1 for length in runs if length >= 5), bursts=len(bursts))
        r["loss_percent"] = 100 * lost / expected
        burst_length = sum(last - first + 1 for first, last in bursts)
        burst_lost = sum(fates[first : last + 1].count(False) for first, last in bursts)
        r["burst_density_percent"] = 100 * burst_lost / burst_length if bursts else 0
        r["burst_length_packets"] = burst_length / len(bursts) if bursts else 0
        in_gaps = expected - burst_length
        r["gap_density_percent"] = 100 * (lost - burst_lost) / in_gaps if in_gaps else 0
        r["gap_length_packets"] = in_gaps / (len(bursts) + 1)
        mean_run = lost / len(runs) if runs else 1
        r["burst_ratio"] = max(1.0, mean_run * (1 - lost / expected))

    def _jitter(self, accepted: list[_Packet]) -> None:
        jitter, values = 0.0, []
        for before, now in itertools.pairwise(accepted):
            clock = self.clock(now.payload_type)
            if now.restart or not clock or clock != self.clock(before.payload_type):
                continue
            difference = abs((now.time_ns - before.time_ns) / 1e6 - _ticks(before, now) * 1000 / clock)
            jitter += (difference - jitter) / 16
            values.append(jitter)
        self.results.update(
            jitter_ms=jitter,
            jitter_max_ms=max(values, default=0),
            jitter_mean_ms=sum(values) / len(values) if values else 0,
        )
        jitter, values, mark = 0.0, [], None
        for place, now in enumerate(accepted):
            if not self.media(now.payload_type):
                continue
            clock = self.clock(now.payload_type)
            skipped = now.marker or now.restart or now.jump or place == 0
            if mark is not None and not skipped:
                difference = abs((now.time_ns - mark.time_ns) / 1e6 - _ticks(mark, now) * 1000 / clock)
                jitter += (difference - jitter) / 16
                values.append(jitter)
            mark = now
        self.results.update(
            steady_jitter_ms=jitter,
            steady_jitter_max_ms=max(values, default=0),
            steady_jitter_mean_ms=sum(values) / len(values) if values else 0,
        )

    def _steps(self, accepted: list[_Packet]) -> None:
        steps: Counter[int] = Counter()
        for before, now in itertools.pairwise(accepted):
            plain = now.next_of is before and not now.marker and not now.restart
            if plain and self.media(now.payload_type) and now.payload_type == before.payload_type:
                ticks = _ticks(before, now)
                if ticks > 0 and not now.jump:
                    steps[ticks] += 1
        if steps:
            mode, count = steps.most_common(1)[0]
            self.results["timestamp_step"] = mode
            self.results["ptime_off_percent"] = 100 * (1 - count / sum(steps.values()))

    def _gaps(self, accepted: list[_Packet]) -> None:
        deltas = [now.time_ns - before.time_ns for before, now in itertools.pairwise(accepted)]
        self.results["delta_max_ms"] = max(deltas, default=0) / 1e6

    def _skew(self, accepted: list[_Packet]) -> None:
        """Only for streams of one clock without restarts, jumps and events."""
        first = accepted[0]
        clock = self.clock(first.payload_type)
        if not clock or any(p.restart for p in accepted):
            return
        envelope: dict[int, float] = {}
        skews, media = [], 0
        for before, now in zip([first, *accepted], accepted, strict=False):
            media += _ticks(before, now)
            skew = (now.time_ns - first.time_ns) / 1e6 - media * 1000 / clock
            skews.append(skew)
            second = (now.time_ns - first.time_ns) // 1_000_000_000
            envelope[second] = min(skew, envelope.get(second, skew))
        self.results.update(skew_min_ms=min(skews), skew_max_ms=max(skews))
        if len(envelope) >= 3:
            mean_x = sum(envelope) / len(envelope)
            mean_y = sum(envelope.values()) / len(envelope)
            over = sum((x - mean_x) * (y - mean_y) for x, y in envelope.items())
            self.results["drift_ppm"] = 1000 * over / sum((x - mean_x) ** 2 for x in envelope)

    def _payloads(self, packets: list[_Packet], accepted: list[_Packet]) -> None:
        sizes = Counter(len(p.payload) for p in accepted if self.media(p.payload_type))
        self.results.update(
            packets=len(packets),
            payload_bytes=sum(len(p.payload) for p in packets),
            markers=sum(p.marker for p in packets),
            comfort_noise_packets=sum(p.payload_type in COMFORT_NOISE for p in accepted),
            payload_size_min=min(sizes),
            payload_size_max=max(sizes),
            payload_sizes=len(sizes),
        )


class _Packet:
    def __init__(self, datagram: Datagram) -> None:
        second, self.sequence, self.timestamp = struct.unpack_from(">xBHI", datagram.payload)
        self.payload_type, self.marker = second & 127, second >> 7 == 1
        self.payload = datagram.payload[12:]
        self.time_ns = datagram.time_ns
        self.restart = self.jump = False
        self.next_of: _Packet | None = (
            None  # the packet before it in arrival is the one before it in sequence
        )


def _ticks(before: _Packet, now: _Packet) -> int:
    step: int = now.timestamp - before.timestamp
    return (step + 0x80000000) % 0x100000000 - 0x80000000


def _order(packets: list[_Packet]) -> tuple[list[_Packet], list[list[int]], dict[str, int]]:
    """RFC 3550 A.1: packets that count for timing, sequence numbers by epoch, and what the others are."""
    counts = Counter(duplicates=0, reordered=0, strays=0, restarts=0, jumps_forward=0, jumps_back=0)
    highest = 65536 + packets[0].sequence
    epochs, accepted, stray = [[highest]], [packets[0]], None
    newest = packets[0]
    for packet in packets[1:]:
        step = (packet.sequence - highest + 32768) % 65536 - 32768
        place = highest + step
        if not (0 <= step < 3000 or -100 < step < 0):
            if stray is not None and packet.sequence == (stray + 1) % 65536:
                counts["jumps_forward" if step > 0 else "jumps_back"] += 1
                counts["restarts"] += 1
                counts["strays"] -= 1
                highest = 65536 + packet.sequence
                epochs.append([highest - 1, highest])
                packet.restart, stray = True, None
                accepted.append(packet)
                newest = packet
            else:
                stray = packet.sequence
                counts["strays"] += 1
            continue
        stray = None
        if place in epochs[-1][-400:]:
            counts["duplicates"] += 1
            continue
        if step < 0:
            counts["reordered"] += 1
        elif step > 100:
            counts["jumps_forward"] += 1
        if step == 1 and accepted[-1] is newest:
            packet.next_of = newest
        if step > 0:
            highest, newest = place, packet
        epochs[-1].append(place)
        accepted.append(packet)
    return accepted, epochs, dict(counts)


def _bursts(fates: list[bool]) -> list[tuple[int, int]]:
    """First and last place of every burst (RFC 3611 §4.7.2, Gmin 16): two or more losses, each near the next."""
    lost = [k for k, came in enumerate(fates) if not came]
    groups: list[list[int]] = []
    for place in lost:
        if groups and place - groups[-1][-1] - 1 < 16:
            groups[-1].append(place)
        else:
            groups.append([place])
    return [(group[0], group[-1]) for group in groups if len(group) > 1]
