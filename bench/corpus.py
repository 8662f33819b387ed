"""Writes a large made-up capture with planted defects, and beside it what was planted.

    python -m bench.corpus --kind signalling --calls 23160 --seed 1 --out bench/data/signalling.pcap

Kinds: `signalling` (SIP alone), `rtp` (answered calls with two G.711 streams each), `mixed` (signalling, and
one call in ten with media) and `flow` (plain text: a call as a person would paste it). The same arguments
give the same octets. `FILE.json` counts packets, messages, calls, streams and each defect.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from bench import scenario, wire

EPOCH_US = 1_760_000_000 * wire.MICROSECONDS
CALLS_PER_SECOND = 40
BURST_CALLS = 20
ROUND_CALLS = 50
PACKET_US = 20_000
# Share of calls per thousand; the rest are answered.
SHARES = {
    "invite-retransmitted": 10, "missing-ack": 3, "busy-486": 50, "no-common-codec-488": 10, "cancelled-487": 25,
    "authentication-loop": 3, "private-media-address": 20, "fragmented-udp": 10, "tcp": 20,
}  # fmt: skip
# How the media of every hundred calls is damaged; the rest is clean.
MEDIA = {"one-way-audio": 4, "loss-8-percent": 6, "jitter": 6}
OPAQUE = np.dtype((np.void, wire.RTP_RECORD.itemsize))
Event = tuple[int, int, bytes]


class Capture:
    """Builds packets of calls and counts what it put into them."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.counts: Counter[str] = Counter()
        self.defects: Counter[str] = Counter()
        self.serial = 0
        self.callers = [wire.endpoint(f"203.0.113.{n}") for n in range(2, 66)]
        self.called = [wire.endpoint(f"198.51.100.{n}") for n in range(2, 18)]

    def call(self, name: str, called: wire.Endpoint | None = None) -> scenario.Call:
        """A fresh call between two of the ends."""
        ends = (self.rng.choice(self.callers), called or self.rng.choice(self.called))
        self.serial += 1
        return scenario.make_call(self.rng, self.serial, ends, b"TCP" if name == "tcp" else b"UDP")

    def events(self, name: str, start_us: int, called: wire.Endpoint | None = None) -> Iterator[Event]:
        """Records of one call's signalling in a scenario, each with its time and a number that orders ties."""
        call = self.call(name, called)
        said = scenario.SCENARIOS[name](call)
        self.counts["messages"] += len(said)
        self.counts["registrations" if name == "authentication-loop" else "calls"] += 1
        if name != "answered":
            self.defects[name] += 1
        yield from self.tcp(call, said, start_us) if name == "tcp" else self.udp(call, said, start_us)

    def udp(self, call: scenario.Call, said: list[scenario.Said], start_us: int) -> Iterator[Event]:
        """Each message a datagram, in IP fragments where it must be."""
        ends = (call.caller, call.called)
        for at, side, message in said:
            self.counts["packets"] += 1
            records = wire.udp_records(
                start_us + at, ends[side], ends[1 - side], self.counts["packets"], message
            )
            self.counts["packets"] += len(records) - 1
            self.counts["fragments"] += len(records) if len(records) > 1 else 0
            for part in records:
                yield start_us + at, self.counts["packets"], part

    def tcp(self, call: scenario.Call, said: list[scenario.Said], start_us: int) -> Iterator[Event]:
        """One connection a call: handshake, every third message cut into two segments, no close seen."""
        caller = call.caller._replace(port=20_000 + self.serial % 40_000)
        ends = (caller, call.called)
        numbers = [self.rng.getrandbits(32), self.rng.getrandbits(32)]
        opening = ((0, wire.SYN), (1, wire.SYN | wire.ACK), (0, wire.ACK))
        segments = [(step * 200 - 2000, side, flags, b"") for step, (side, flags) in enumerate(opening)]
        for count, (at, side, message) in enumerate(said):
            cut = len(message) // 2 if count % 3 == 0 else len(message)
            parts = [part for part in (message[:cut], message[cut:]) if part]
            segments += [(at + 100 * n, side, wire.PUSH | wire.ACK, part) for n, part in enumerate(parts)]
        for at, side, flags, payload in segments:
            self.counts["packets"] += 1
            self.counts["tcp_segments"] += 1
            pair = (ends[side], ends[1 - side])
            known = (numbers[side], numbers[1 - side] if flags & wire.ACK else 0)
            part = wire.tcp_record(start_us + at, pair, self.counts["packets"], known, flags, payload)
            yield start_us + at, self.counts["packets"], part
            numbers[side] += len(payload) + (flags & wire.SYN) // wire.SYN

    def schedule(self, calls: int) -> list[tuple[int, str, wire.Endpoint | None]]:
        """(start, scenario, forced called end) of every call, in order of start; defects in fixed shares."""
        names = [name for name, share in SHARES.items() for _ in range(calls * share // 1000)]
        bursts = max(1, calls // 5000) if calls >= 1000 else 0
        names += ["answered"] * (calls - len(names) - bursts * BURST_CALLS)
        self.rng.shuffle(names)
        gap = wire.MICROSECONDS // CALLS_PER_SECOND
        plan: list[tuple[int, str, wire.Endpoint | None]] = [
            (EPOCH_US + number * gap + self.rng.randrange(gap), name, None)
            for number, name in enumerate(names)
        ]
        for burst in range(bursts):
            start = EPOCH_US + (burst + 1) * calls * gap // (bursts + 1)
            target = self.called[burst % len(self.called)]
            plan += [(start + n * 45_000, "unavailable-503", target) for n in range(BURST_CALLS)]
        self.counts["bursts-503"] = bursts
        return sorted(plan, key=lambda entry: entry[0])

    def signalling(self, target: BinaryIO, calls: int) -> None:
        """Writes calls in order of time, holding only those that overlap."""
        waiting: list[Event] = []
        for start, name, called in self.schedule(calls):
            while waiting and waiting[0][0] < start - 2000:
                target.write(heapq.heappop(waiting)[2])
            for event in self.events(name, start, called):
                heapq.heappush(waiting, event)
        while waiting:
            target.write(heapq.heappop(waiting)[2])

    def damage(self, number: int) -> str:
        """How the media of the call with this number is damaged; empty for clean."""
        place = number % 100
        for name, share in MEDIA.items():
            if place < share:
                return name
            place -= share
        return ""

    def media(
        self, call: scenario.Call, number: int, answer_us: int, packets: int
    ) -> Iterator[npt.NDArray[Any]]:
        """Records of both streams of a call, damaged as its number says."""
        damage = self.damage(number)
        if damage:
            self.defects[damage] += 1
        caller = call.caller._replace(port=call.caller_port)
        called = call.called._replace(port=call.called_port)
        payload_type = int(call.fields[b"answer"].split(b"RTP/AVP ")[1].split()[0])
        generator = np.random.default_rng((self.serial, number))
        for way, (source, sink) in enumerate(((caller, called), (called, caller))):
            if way and damage == "one-way-audio":
                continue
            numbers = np.arange(packets, dtype=np.int64)
            if way and damage == "loss-8-percent":
                # One packet in every run of 100/8, at a random place in it; the first and last always stay.
                starts = np.arange(1, packets - 13, 12.5).astype(np.int64)
                numbers = np.delete(numbers, starts + generator.integers(0, 12, len(starts)))
            delay = generator.integers(0, 400, len(numbers))
            if way and damage == "jitter":
                delay = generator.integers(0, 150_000, len(numbers))
            arrival = np.maximum.accumulate(answer_us + 3000 + numbers * PACKET_US + delay)
            stream = wire.Stream(
                source,
                sink,
                int(generator.integers(1, 2**32)),
                payload_type,
                *map(int, generator.integers(0, 2**16, 2)),
            )
            self.counts["streams"] += 1
            self.counts["rtp_packets"] += len(numbers)
            yield wire.rtp_records(stream, numbers, arrival)

    def rounds(self, target: BinaryIO, calls: int, seconds: int, other_calls: int = 0) -> None:
        """Writes calls with media, ROUND_CALLS at a time; each round ends before the next begins."""
        packets = seconds * wire.MICROSECONDS // PACKET_US
        plan = self.schedule(other_calls) if other_calls else []
        rounds = -(-calls // ROUND_CALLS)
        start = EPOCH_US
        for number in range(rounds):
            members = range(number * ROUND_CALLS, min(calls, (number + 1) * ROUND_CALLS))
            signalling: list[Event] = []
            streams: list[npt.NDArray[Any]] = []
            for member in members:
                begin = start + (member - members.start) * 37_000
                call = self.call("answered")
                spoken = packets * (80 + self.rng.randrange(41)) // 100
                said = scenario.answered(call, spoken * PACKET_US + 200_000)
                self.counts["messages"] += len(said)
                self.counts["calls"] += 1
                signalling += self.udp(call, said, begin)
                streams += self.media(call, member, begin + said[4][0], spoken)
            share = plan[number * len(plan) // rounds : (number + 1) * len(plan) // rounds]
            shift = start - share[0][0] + 3000 if share else 0
            for at, name, called in share:
                signalling += self.events(name, at + shift, called)
            # As plain octets: joining structured rows would turn their fields into native byte order.
            rows = np.concatenate([stream.view(OPAQUE) for stream in streams]).view(wire.RTP_RECORD)
            start = write_merged(target, signalling, rows) + wire.MICROSECONDS


def write_merged(target: BinaryIO, events: list[Event], rows: npt.NDArray[Any]) -> int:
    """Writes signalling records and RTP rows in order of time; returns the last time in microseconds."""
    times = rows["seconds"].astype(np.int64) * wire.MICROSECONDS + rows["microseconds"]
    order = np.argsort(times, kind="stable")
    rows, times = rows[order], times[order]
    events.sort(key=lambda event: event[:2])
    places = np.searchsorted(times, [event[0] for event in events])
    done = 0
    for place, event in zip(places.tolist(), events, strict=True):
        target.write(rows[done:place].tobytes())
        target.write(event[2])
        done = place
    target.write(rows[done:].tobytes())
    return max(int(times[-1]) if len(times) else 0, events[-1][0])


def pasted(seed: int, calls: int) -> bytes:
    """Calls as text: a line with time and ends before each message, as a terminal tool saves them."""
    capture = Capture(seed)
    text = []
    for number in range(calls):
        call = capture.call("answered")
        # The basic call with the 200 sent three times before its ACK: ten messages.
        said = scenario.answered(call)
        repeated = [(said[3][0] + wait * 1000, *said[3][1:]) for wait in (500, 1500)]
        late = [(at + 1_600_000, side, message) for at, side, message in said[4:]]
        again = [(said[0][0] + 3000, *said[0][1:])]
        ends = (call.caller, call.called)
        for at, side, message in [said[0], *again, *said[1:4], *repeated, *late]:
            clock = number * 3600 * wire.MICROSECONDS + at
            source, sink = ends[side], ends[1 - side]
            stamp = f"2025/10/09 {10 + clock // 3_600_000_000 % 14:02}:{clock // 60_000_000 % 60:02}:{clock % 60_000_000 / 1e6:09.6f}"
            text.append(
                f"{stamp} {source.text.decode()}:{source.port} -> {sink.text.decode()}:{sink.port}\n".encode()
            )
            text.append(message + b"\n")
    return b"".join(text)


def write(path: Path, kind: str, calls: int, seed: int, seconds: int) -> dict[str, Any]:
    """Writes a corpus and its JSON; returns what the JSON says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    capture = Capture(seed)
    if kind == "flow":
        path.write_bytes(pasted(seed, calls))
        capture.counts.update(messages=10 * calls, calls=calls)
    else:
        with path.open("wb", buffering=1 << 20) as target:
            target.write(wire.PCAP_HEADER)
            if kind == "signalling":
                capture.signalling(target, calls)
            elif kind == "rtp":
                capture.rounds(target, calls, seconds)
            else:
                capture.rounds(target, max(1, calls // 10), seconds, calls)
        capture.counts["packets"] += capture.counts["rtp_packets"]
    facts = {
        "kind": kind, "seed": seed, "bytes": path.stat().st_size,
        **{name: capture.counts[name] for name in sorted(capture.counts)},
        "defects": dict(sorted(capture.defects.items())),
    }  # fmt: skip
    path.with_name(path.name + ".json").write_text(json.dumps(facts, indent=1) + "\n")
    return facts


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=("signalling", "rtp", "mixed", "flow"), default="signalling")
    parser.add_argument("--calls", type=int, default=23_160)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seconds", type=int, default=30, help="of media a call, give or take a fifth (kinds rtp and mixed)"
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    print(json.dumps(write(given.out, given.kind, given.calls, given.seed, given.seconds), indent=1))


if __name__ == "__main__":
    main()
