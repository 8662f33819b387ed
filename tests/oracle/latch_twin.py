"""Whom a stream listens to, in plain Python, written from the rules and not from the kernel: every packet of a source is remembered."""

from __future__ import annotations

from dataclasses import dataclass, field

STRICT, HOST, LEARN, ANY = range(4)
PASS, DROP, HELD, MOVED = range(4)
MS = 1_000_000
Address = tuple[bytes, int]


@dataclass
class Run:
    """Packets of one source that followed each other."""

    ssrc: int
    rank: int
    packets: list[tuple[int, int]] = field(default_factory=list)  # (sequence, time)

    def goes_on(self, ssrc: int, sequence: int) -> bool:
        return self.ssrc == ssrc and (self.packets[-1][0] + 1) % 65536 == sequence

    def proven(self, now_ns: int) -> bool:
        return len(self.packets) >= 4 and now_ns - self.packets[0][1] >= 22 * MS


class Twin:
    """The same methods and counts as engine._native.jitter.Latch."""

    def __init__(self, policy: int, signalled: Address | None = None, *, learn_ms: int = 2000, now_ns: int = 0) -> None:
        self.policy, self.learn_ns = policy, learn_ms * MS
        self.address: Address | None = None
        self.current: Address = bytes(16), 0
        self.latched, self.rank = False, 3
        self.last = (0, 0, 0)  # SSRC, sequence, time of what passed
        self.counts = {"dropped": 0, "moved": 0, "let_through": 0}
        self.signalled(signalled, now_ns)

    def signalled(self, address: Address | None, now_ns: int) -> None:
        self.start_ns = now_ns
        self.runs: dict[Address, Run] = {}
        if address == self.address:
            return
        self.address, self.latched = address, False
        self.current = address or self.current
        self.counts["let_through"] = 0

    def rank_of(self, source: Address) -> int:
        if self.address is None:
            return 3
        if source == self.address:
            return 0
        ours, theirs = self.address[0], source[0]
        if ours == theirs:
            return 1
        size = 15 if ours[:12] == bytes(10) + b"\xff\xff" else 8
        return 2 if ours[:size] == theirs[:size] else 3

    def drop(self) -> int:
        self.counts["dropped"] += 1
        return DROP

    def judge(self, source: Address, ssrc: int, sequence: int, now_ns: int, *, authentic: bool = False) -> int:
        if self.policy in (STRICT, HOST):
            allowed = self.address is not None and self.rank_of(source) <= self.policy
            self.latched = self.latched or allowed
            return PASS if allowed else self.drop()
        if self.latched and source == self.current:
            self.last = ssrc, sequence, now_ns
            return PASS
        if not self.latched:
            return self.take(source, ssrc, sequence, now_ns) if self.policy == ANY else self.learn(source, ssrc, sequence, now_ns, authentic)
        if not self.may_move(source, ssrc, sequence, now_ns):
            return self.drop()
        run = self.run_of(source, ssrc, sequence, now_ns)
        return self.take(source, ssrc, sequence, now_ns) if run and (authentic or run.proven(now_ns)) else self.drop()

    def learns(self, now_ns: int) -> bool:
        return now_ns - self.start_ns <= self.learn_ns

    def learn(self, source: Address, ssrc: int, sequence: int, now_ns: int, authentic: bool) -> int:
        if not (authentic or self.learns(now_ns) or self.rank_of(source) <= 1):
            return self.drop()
        run = self.run_of(source, ssrc, sequence, now_ns)
        if run is None:
            return self.drop()
        yields = now_ns - run.packets[0][1] < 250 * MS and any(
            other.rank < run.rank and now_ns - other.packets[-1][1] < 500 * MS for other in self.runs.values()
        )
        if authentic or (run.proven(now_ns) and not yields):
            return self.take(source, ssrc, sequence, now_ns)
        if yields or self.counts["let_through"] == 5:
            return self.drop()
        self.counts["let_through"] += 1
        return HELD

    def may_move(self, source: Address, ssrc: int, sequence: int, now_ns: int) -> bool:
        silence_ns = now_ns - self.last[2]
        ahead = (sequence - self.last[1]) % 65536
        rebound = silence_ns >= 3000 * MS and ssrc == self.last[0] and 0 < ahead < 32768 and ahead <= 3000 + silence_ns // (10 * MS)
        better = self.policy == LEARN and self.learns(now_ns) and (self.rank_of(source) < self.rank or silence_ns >= 1000 * MS)
        return rebound or better

    def run_of(self, source: Address, ssrc: int, sequence: int, now_ns: int) -> Run | None:
        """The run that this packet belongs to; four sources are watched, one that has not got on for each host."""
        run = self.runs.get(source)
        if run is None or not run.goes_on(ssrc, sequence):
            fresh = Run(ssrc, self.rank_of(source))
            if run is None and not self.make_room(source, fresh.rank, now_ns):
                return None
            run = self.runs[source] = fresh
        run.packets.append((sequence, now_ns))
        return run

    def make_room(self, source: Address, rank: int, now_ns: int) -> bool:
        for address, run in self.runs.items():
            if address[0] == source[0] and len(run.packets) <= 1:
                return self.replace(address, source)
        if len(self.runs) < 4:
            return True
        for address, run in self.runs.items():
            if now_ns - run.packets[-1][1] > 500 * MS:
                return self.replace(address, source)
        worse = [(-run.rank, len(run.packets), place, address) for place, (address, run) in enumerate(self.runs.items()) if run.rank > rank]
        return bool(worse) and self.replace(min(worse)[3], source)

    def replace(self, old: Address, new: Address) -> bool:
        """In the old one's place, for places are looked at in their order."""
        self.runs = {new if address == old else address: run for address, run in self.runs.items()}
        return True

    def take(self, source: Address, ssrc: int, sequence: int, now_ns: int) -> int:
        moved = source != self.current
        self.latched, self.rank, self.current, self.runs = True, self.rank_of(source), source, {}
        self.last = ssrc, sequence, now_ns
        self.counts["moved"] += moved
        return MOVED if moved else PASS
