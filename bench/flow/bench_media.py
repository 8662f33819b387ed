"""The media plane beside bare loops in C and rtpengine: receiving, relaying, recording, and how even what it sends is. The subject has core 1 for itself, the load
generator core 0.

Compared is processor time, so that the generator is not the limit: packets a second of one core are packets over processor seconds, the kernel's share included.
Where the rig was the limit all the same the run is void and repeated; when it stays so the row fails. Loss is counted by the generator, by sequence numbers and by
the kernel's count of each socket. Loopback is not a network card: no interrupts, no queues.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench import media, media_limits, rtp_load
from bench.measure import Row, agree
from bench.media import Told, Wanted
from bench.peers import bare_relay, rtpengine
from bench.rtp_load import Load, Metered, Stream, Subject

SOCKETS = 8
TRIES = 6
LEGS = 2_000  # 1,000 calls
PLAYED = 500
STALL_MS = 100
JUNK_PER_S = 10_000
BEGIN_S = 2.0
FULL = 0.85
AIM_ADDED_MS = 2.0
QUEUED_MS = 20.0  # a relay that is this far behind at p99 only has not lost anything yet

Started = tuple[Subject, list[int]]
Begin = Callable[[list[int]], Started]


class Ran(NamedTuple):
    """One run: what the generator metered, processor seconds of the subject, datagrams dropped at its sockets, its last words, and what a check of it found."""

    metered: Metered
    cpu_s: float
    drops: int
    told: Any
    found: Any = None

    @property
    def clean(self) -> bool:
        """Nothing was lost."""
        return not self.metered.fault and not self.drops and not self.metered.missing and not self.metered.damaged


def _sound(once: Callable[[], Ran], steady: bool = False) -> Ran:
    """A run in which the rig was not the limit, or the last of some; where times are measured (`steady`) the machine did not pause in it either, nor where a pause
    cost datagrams."""
    for _ in range(TRIES):
        ran = once()
        if not ran.metered.fault and not (ran.metered.is_disturbed and (steady or ran.drops)):
            break
    return ran


def _once(begin: Begin, count: int, load: Load, look: Callable[[], object] | None = None) -> Ran:
    """A fresh subject under that load; `count` streams over the generator's sockets, of which it is told the ports."""
    with ExitStack() as stack:
        stack.enter_context(rtp_load.alone())
        sockets = rtp_load.open_sockets(stack, SOCKETS + 1)
        of = [at * SOCKETS // count for at in range(count)]
        subject, ports = begin([rtp_load.port_of(sockets[one]) for one in of])
        stack.enter_context(subject)
        streams = [] if load.strangers else [Stream(one, "127.0.0.1", ports[at % len(ports)]) for at, one in enumerate(of)]
        before = subject.cpu_s
        metered, _ = rtp_load.drive(msgspec.structs.replace(load, streams=streams), sockets)
        spent = subject.cpu_s - before
        drops = rtp_load.dropped(set(ports))
        told = subject.stop()
        return Ran(metered, spent, drops, told, look() if look else None)


def _repeated(subjects: Sequence[Callable[[], Ran]], repeats: int, steady: bool = False) -> list[list[Ran]]:
    """Each of them so often, in turns, so that what else the machine does meets all alike."""
    turns = [[_sound(once, steady) for once in subjects] for _ in range(repeats)]
    return [list(runs) for runs in zip(*turns, strict=True)]


def _faults(runs: Sequence[Ran]) -> str:
    return "; ".join(sorted({ran.metered.fault for ran in runs if ran.metered.fault})) or "none"


def _paused(runs: Sequence[Ran]) -> str:
    """What the machine itself did to the times of these runs."""
    longest_ms = max(ran.metered.away.max_us for ran in runs) / 1e3
    return f"machine paused for {longest_ms:.0f} ms" if any(ran.metered.is_disturbed for ran in runs) else "none"


def _rate(runs: Sequence[Ran], packets: Callable[[Ran], int]) -> float:
    return statistics.median(packets(ran) / ran.cpu_s for ran in runs)


def _counting(sockets: int, batch: int, rest_us: int, _: list[int]) -> Started:
    return media_limits.counting(sockets, batch, rest_us)


def _ours(wanted: Wanted, legs: list[int]) -> Started:
    return media.start(msgspec.structs.replace(wanted, peers=tuple(legs)))


def _bare_player(legs: list[int]) -> Started:
    return media_limits.playing(legs, STALL_MS, media_limits.REAL_TIME)


def rows(quick: bool) -> Iterator[Row]:
    """Receiving on one socket and on many, relaying, recording with and without junk, sending in time, and allocations."""
    rtpengine.install()
    yield from _limits(quick)
    yield from _receiving(quick)
    yield from _impaired(quick)
    yield from _relaying(quick)
    yield from _playing(quick)
    yield from _recording(quick)


def _limits(quick: bool) -> Iterator[Row]:
    """L_udp1, L_udpN and L_timer: what the machine allows."""
    seconds = 2.0 if quick else 5.0
    load = Load((), seconds, interval_us=10_000)
    for name, sockets, batch, rest_us in (("media-limit-udp1", 1, 1, 0), ("media-limit-udpN", 64, 64, media_limits.REST_US)):
        ran = _sound(partial(_once, partial(_counting, sockets, batch, rest_us), LEGS, msgspec.structs.replace(load, batch=batch)))
        check, passed = agree({"packets": (ran.told["packets"], ran.metered.sent), "dropped": (ran.drops, 0), "rig": (ran.metered.fault or "sound", "sound")})
        yield Row(name, "pkt/s", ran.told["packets"] / ran.cpu_s, check=f"{check}; at {ran.metered.sent / seconds:,.0f} pkt/s", passed=passed)
    spread = media_limits.timer_lateness(3 if quick else 10)
    yield Row("media-limit-timer-p999", "ms", spread.p999_us / 1e3, check=f"p50 {spread.p50_us:.0f} us, p99 {spread.p99_us:.0f}, max {spread.max_us:.0f}",
              higher_is_better=False)  # fmt: skip


def _receiving(quick: bool) -> Iterator[Row]:
    """Take in, order, decode and write down, beside a loop that only takes in."""
    seconds, streams, repeats = (3.0, 2_000, 1) if quick else (10.0, 4_000, 3)
    load = Load((), seconds)
    for name, wanted, sockets in (("media-receive-one-socket", "receive-shared", 1), ("media-receive-sockets", "receive", streams)):
        with tempfile.TemporaryDirectory() as folder:
            ours, bare = _repeated(
                [
                    partial(_once, partial(_ours, Wanted(wanted, streams, folder=folder)), streams, load),
                    partial(_once, partial(_counting, sockets, 64, media_limits.REST_US), streams, load),
                ],
                repeats,
            )
            good = media.recorded(Path(folder), streams, load.packets)
        check, passed = agree(
            {
                "streams whose file is byte for byte right": (good, streams), "packets": ({ran.told["packets"] for ran in ours}, {ours[0].metered.sent}), "dropped": (sum(ran.drops for ran in (*ours, *bare)), 0),
                "rig": (_faults((*ours, *bare)), "none"),
            }
        )  # fmt: skip
        yield Row(
            name, "pkt/s", _rate(ours, lambda ran: ran.told["packets"]), limit="bare recvmmsg", limit_value=_rate(bare, lambda ran: ran.told["packets"]),
            check=f"{check}; {streams} streams at {streams * 50:,} pkt/s", passed=passed,
        )  # fmt: skip


def _impaired(quick: bool) -> Iterator[Row]:
    """The same with what networks do to packets: what is lost on purpose, and nothing else, is what the plane misses."""
    seconds = 5.0 if quick else 20.0
    load = Load((), seconds, actions=rtp_load.impaired(25, 4_999, loss=0.02, twice=0.005, late=0.01, jitter_ms=10.0))
    with tempfile.TemporaryDirectory() as folder:
        ours = _sound(partial(_once, partial(_ours, Wanted("receive", LEGS, folder=folder)), LEGS, load))
    bare = _sound(partial(_once, partial(_counting, LEGS, 64, media_limits.REST_US), LEGS, load))
    told, metered = msgspec.convert(ours.told, Told), ours.metered
    check, passed = agree(
        {
            "lost": (told.lost, metered.lost_on_purpose), "delivered": (told.packets, LEGS * load.packets - metered.lost_on_purpose), "late": (told.late, 0),
            "twice": (told.duplicate, metered.sent - told.packets), "dropped": (ours.drops, 0), "rig": (_faults((ours, bare)), "none"),
        }
    )  # fmt: skip
    yield Row(
        "media-receive-impaired", "pkt/s", _rate([ours], lambda ran: ran.metered.sent), limit="bare recvmmsg", limit_value=_rate([bare], lambda ran: ran.metered.sent),
        check=f"{check}; 2 % lost, 0.5 % twice, 1 % 45 ms late, 10 ms of jitter", passed=passed,
    )  # fmt: skip


def _relaying(quick: bool) -> Iterator[Row]:
    """1,000 calls relayed: packets a core, the highest rate without loss, and what a packet is late by."""
    seconds, repeats = (3.0, 1) if quick else (10.0, 3)
    load = Load((), seconds, stamped=True)
    relays: list[Begin] = [partial(_ours, Wanted("relay", LEGS)), rtpengine.start, bare_relay.start]
    ours, theirs, bare, soonest = _repeated([partial(_once, begin, LEGS, load) for begin in (*relays, bare_relay.at_once)], repeats, steady=True)
    every = (*ours, *theirs, *bare, *soonest)
    check, passed = agree(
        {
            "relayed": ({ran.metered.received for ran in every}, {ours[0].metered.sent}), "damaged": (sum(ran.metered.damaged for ran in every), 0),
            "dropped": (sum(ran.drops for ran in every), 0), "rig": (_faults(every), "none"),
        }
    )  # fmt: skip
    figures = [_rate(runs, lambda ran: ran.metered.received) for runs in (ours, theirs, bare)]
    yield Row(
        "media-relay-a-core", "pkt/s", figures[0], rtpengine.NAME, figures[1], bare_relay.NAME, figures[2],
        check=f"{check}; {LEGS} streams at {LEGS * 50:,} pkt/s; rtpengine {rtpengine.version()}", passed=passed,
    )  # fmt: skip
    late_ms = [statistics.median(ran.metered.latency.p99_us for ran in runs) / 1e3 for runs in (ours, theirs, soonest)]
    spread = min((ran.metered.latency for ran in ours), key=lambda one: one.p99_us)
    yield Row(
        "media-relay-added-p99", "ms", late_ms[0], rtpengine.NAME, late_ms[1], "bare, at once", late_ms[2],
        check=f"rig={_paused(every)}; from send to arrival, aim {AIM_ADDED_MS} ms; p50 {spread.p50_us:.0f} us, p99.9 {spread.p999_us:.0f}, max {spread.max_us:.0f}",
        higher_is_better=False, passed=passed and _paused(every) == "none",
    )  # fmt: skip
    highest = [_highest(begin, quick) for begin in relays]
    yield Row(
        "media-relay-highest-rate", "pkt/s", highest[0][0], rtpengine.NAME, highest[1][0], bare_relay.NAME, highest[2][0],
        check="; ".join(f"{name} ended by {why}" for name, (_, why) in zip(("ours", "rtpengine", "bare"), highest, strict=True)), passed=highest[0][0] > 0,
    )  # fmt: skip


def _highest(begin: Begin, quick: bool) -> tuple[float, str]:
    """The highest rate in steps at which nothing is lost and the queue does not grow, and what ended it."""
    best = 0.0
    for rate in range(100_000, 460_001, 40_000 if quick else 20_000):
        load = Load((), 2.0 if quick else 4.0, interval_us=round(LEGS * 1e6 / rate), stamped=True)
        for _ in range(TRIES):
            ran = _once(begin, LEGS, load)
            late_ms = ran.metered.latency.p99_us / 1e3
            if ran.clean and late_ms < QUEUED_MS:
                break
            if ran.cpu_s > FULL * load.seconds:  # and then the kernel stops a real-time thread for 50 ms each second, for the sake of others
                return best, f"its core being full at {rate:,} pkt/s"
        else:
            if ran.metered.fault or ran.metered.is_disturbed:
                return best, f"the rig ({ran.metered.fault or _paused([ran])}) at {rate:,} pkt/s"
            return best, f"{ran.metered.missing} lost, {late_ms:.0f} ms at p99 at {rate:,} pkt/s"
        best = ran.metered.received / load.seconds
    return best, "the last step"


def _playing(quick: bool) -> Iterator[Row]:
    """500 calls that play audio while the process computes for 100 ms again and again; beside the same by a bare loop with real-time priority. The median of three."""
    seconds = 6.0 if quick else 20.0
    load = Load((), seconds, grid=True, strangers=PLAYED + 8, linger_ms=0)
    every = _repeated(
        [partial(_once, partial(_ours, Wanted("play", PLAYED, stall_ms=STALL_MS)), PLAYED, load), partial(_once, _bare_player, PLAYED, load)], 3
    )  # fmt: skip
    ours, bare = (sorted(runs, key=lambda ran: ran.metered.steady.p999_us)[1] for runs in every)
    metered = ours.metered
    check, passed = agree(
        {
            "streams": (metered.heard, PLAYED), "missing": (metered.missing, 0), "twice": (metered.twice, 0),
            "packets of that time": (abs(metered.received - PLAYED * load.packets) < PLAYED * 3, True), "rig": (_faults((ours, bare)), "none"),
            "most judged": (metered.steady.count > metered.deviation.count * 0.9, True),
        }
    )  # fmt: skip
    yield Row(
        "media-slot-p999", "ms", metered.steady.p999_us / 1e3, "aim", 1.0, "bare timerfd loop", bare.metered.steady.p999_us / 1e3,
        check=f"{check}; p50 {metered.steady.p50_us:.0f} us, p99 {metered.steady.p99_us:.0f}, max {metered.steady.max_us:.0f}; with the {metered.pauses} pauses of the machine, "
        f"up to {metered.away.max_us / 1e3:.1f} ms, p99.9 {metered.deviation.p999_us:.0f} us, {metered.off_grid} of {metered.received} over 1 ms; "
        f"stalled {STALL_MS} ms out of {STALL_MS * 3 // 2}",
        higher_is_better=False, passed=passed,
    )  # fmt: skip


def _recording(quick: bool) -> Iterator[Row]:
    """1,000 two-leg recordings: calls a core, nothing lost, the same files with junk on the ports."""
    seconds = 5.0 if quick else 30.0
    load = Load((), seconds)
    noisy = msgspec.structs.replace(load, junk_per_s=JUNK_PER_S)

    def ours(what: Load) -> Ran:
        with tempfile.TemporaryDirectory() as name:
            return _once(partial(_ours, Wanted("record", LEGS, folder=name)), LEGS, what, lambda: media.recorded(Path(name), LEGS, what.packets))

    def theirs() -> Ran:
        with tempfile.TemporaryDirectory() as name:
            return _once(partial(rtpengine.start, recording=Path(name)), LEGS, load, lambda: rtpengine.recorded(Path(name)))

    def bare() -> Ran:
        return _once(partial(_counting, LEGS, 64, media_limits.REST_US), LEGS, load)

    quiet, peer, limit, junk = (_sound(once) for once in (lambda: ours(load), theirs, bare, lambda: ours(noisy)))
    calls = LEGS // 2

    def a_core(ran: Ran, share: float = 1.0) -> float:
        return calls * seconds * share / ran.cpu_s

    check, passed = agree(
        {
            "packets": (quiet.told["packets"], quiet.metered.sent), "lost": (msgspec.convert(quiet.told, Told).lost, 0), "dropped": (quiet.drops, 0),
            "streams whose file is byte for byte right": (quiet.found, LEGS), "rig": (quiet.metered.fault or "sound", "sound"),
        }
    )  # fmt: skip
    yield Row(
        "media-record-calls-a-core", "call", a_core(quiet), "rtpengine, pcap", a_core(peer, peer.found / peer.metered.sent), "bare recvmmsg", a_core(limit),
        check=f"{check}; {calls} calls, {quiet.cpu_s / seconds:.0%} of a core; rtpengine relays them too, wrote {peer.found} of "
        f"{peer.metered.sent} packets, dropped {peer.drops}",
        passed=passed,
    )  # fmt: skip
    check, passed = agree(
        {
            "junk": (junk.metered.junk > 0, True), "lost": (msgspec.convert(junk.told, Told).lost, 0), "dropped": (junk.drops, 0),
            "streams whose file is byte for byte right": (junk.found, LEGS), "rig": (junk.metered.fault or "sound", "sound"),
        }
    )  # fmt: skip
    yield Row(
        "media-record-with-junk", "call", a_core(junk), "the same without", a_core(quiet), check=f"{check}; {JUNK_PER_S:,} junk datagrams a second", passed=passed
    )
    yield from _allocations(quick)


def _allocations(quick: bool) -> Iterator[Row]:
    """Blocks that Python has allocated when a million packets have passed, beside those it had when they began to come; and how long its thread ran meanwhile, which
    would show what is freed again."""
    seconds = (300_000 if quick else 1_000_000) / (LEGS * 50) + BEGIN_S
    with tempfile.TemporaryDirectory() as name, rtp_load.alone(), ExitStack() as stack:
        sockets = rtp_load.open_sockets(stack, SOCKETS + 1)
        of = [at * SOCKETS // LEGS for at in range(LEGS)]
        subject, ports = _ours(Wanted("record", LEGS, folder=name), [rtp_load.port_of(sockets[one]) for one in of])
        stack.enter_context(subject)
        load = Load([Stream(one, "127.0.0.1", port) for one, port in zip(of, ports, strict=True)], seconds)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(rtp_load.drive, load, sockets)
            time.sleep(BEGIN_S + 0.5)
            before = msgspec.convert(subject.tell(), Told)
            began_s = rtp_load.thread_s(subject.process.pid)
            metered = running.result().metered
        python_s = rtp_load.thread_s(subject.process.pid) - began_s
        after = msgspec.convert(subject.tell(), Told)
        subject.stop()
    blocks, packets = after.allocated_blocks - before.allocated_blocks, after.packets - before.packets
    check, passed = agree(
        {"all packets": (after.packets, metered.sent), "blocks under 1 in 100 packets": (blocks * 100 < packets, True), "Python's thread under 50 ns a packet": (python_s * 2e7 < packets, True)}
    )
    yield Row(
        "media-allocations", "block", float(blocks), check=f"{check}; {blocks} blocks more after {packets:,} packets, in which Python's thread had {python_s * 1e3:.1f} ms",
        passed=passed, higher_is_better=False,
    )  # fmt: skip
