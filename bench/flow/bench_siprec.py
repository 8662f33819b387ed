"""The recording server whole: SIPREC calls by SIPp with two legs of RTP each, on one core of an engine worker.

How many sessions are recorded at once with no packet lost, what a session costs in processor time and memory, and whether 150 more a second may come and go meanwhile. Beside
it, the bare loop that only takes in the same packets, and rtpengine, which relays the calls and writes them as captures. Every leg's file is checked byte by byte.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench import media_limits, rtp_load, siprec
from bench.measure import Row, agree
from bench.peers import rtpengine, sipp
from bench.rtp_load import Load, Metered, Stream
from bench.siprec import Calls, Checked, Ended

SOCKETS = 8
CALM_RATE = 60  # set-ups a second of sessions that are to be there first
AIM_SESSIONS = 1_500
AIM_SETUPS = 150
RATES = (AIM_SETUPS, 100, 75, 50)
FURTHER_S = 0.5  # that one of the further sessions stays
AIM_KB = 60.0
PUBLISHED_KB = 433.0  # a call, of the only recorder that says
SLACK_S = 4.0
TRIES = 3
FULL = 0.97


class Ran(NamedTuple):
    """A load on recorded sessions: what the generator metered, processor seconds, datagrams that the kernel dropped, what is in the files, how the calls went, resident
    bytes before the first session, with all of them still, and while they talk; and what further calls came to."""

    metered: Metered
    cpu_s: float
    drops: int
    checked: Checked
    ended: Ended
    resident: tuple[int, int, int]
    more: Ended | None = None

    def clean(self, sessions: int) -> bool:
        """Nothing was lost."""
        return not self.metered.fault and not self.drops and self.checked == Checked(2 * sessions, 0, 0) and self.ended.good == sessions


def _streams(ports: list[int]) -> list[Stream]:
    return [Stream(at * SOCKETS // len(ports), siprec.HOST, port) for at, port in enumerate(ports)]


def _recorded(root: Path, sessions: int, seconds: float, further: int = 0) -> Ran:
    """So many sessions, set up in peace, that then all talk; meanwhile `further` sessions a second come and go. Raises TimeoutError where they were not all taken."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(dir=root))
        stack.enter_context(rtp_load.alone())
        sockets = rtp_load.open_sockets(stack, SOCKETS + 1)
        legs = [rtp_load.port_of(sockets[at * SOCKETS // (2 * sessions)]) for at in range(2 * sessions)]
        engine = stack.enter_context(siprec.start(folder))
        empty = engine.tell().rss_bytes
        setup_s = sessions / CALM_RATE
        calls = stack.enter_context(Calls(engine.port, sessions, CALM_RATE, setup_s + seconds + SLACK_S, legs, folder / "calls"))
        ports = calls.ports(setup_s + 10)
        still = engine.tell().rss_bytes
        others = None
        if further:
            others = stack.enter_context(Calls(engine.port, round(further * (seconds - 1)), further, FURTHER_S, legs, folder / "calls", "further"))
        load = Load(_streams(ports), seconds)
        before = engine.cpu_s
        metered, _ = rtp_load.drive(load, sockets)
        spent = engine.cpu_s - before
        talking = engine.tell().rss_bytes
        drops = rtp_load.dropped(set(ports))
        more = others.finish() if others is not None else None
        ended = calls.finish()
        if ended.failed or (more is not None and more.failed):
            checked = Checked(0, 0, 0)  # it is void, whatever is in the files
        else:
            checked = siprec.check(engine.folder, engine.sealed(ended.good + (more.good if more else 0)), load.packets)
        return Ran(metered, spent, drops, checked, ended, (empty, still, talking), more)


class Passed(NamedTuple):
    """What a peer did with the same packets."""

    metered: Metered
    cpu_s: float
    drops: int
    kept: int
    resident: int


def _passed(root: Path, begin: Callable[[list[int], Path], tuple[Any, list[int]]], sessions: int, seconds: float, *, keeps: bool) -> Passed:
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(dir=root))
        stack.enter_context(rtp_load.alone())
        sockets = rtp_load.open_sockets(stack, SOCKETS + 1)
        subject, ports = begin([rtp_load.port_of(sockets[at * SOCKETS // (2 * sessions)]) for at in range(2 * sessions)], folder)
        stack.enter_context(subject)
        load = Load(_streams(ports), seconds)
        before = subject.cpu_s
        metered, _ = rtp_load.drive(load, sockets)
        spent, drops, resident = subject.cpu_s - before, rtp_load.dropped(set(ports)), _resident(subject.process.pid)
        subject.stop()
        return Passed(metered, spent, drops, rtpengine.recorded(folder) if keeps else 0, resident)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def _empty_rtpengine() -> int:
    """Resident bytes of one that has no calls."""
    with tempfile.TemporaryDirectory() as folder:
        subject, _ = rtpengine.start([], Path(folder))
        with subject:
            resident = _resident(subject.process.pid)
            subject.stop()
        return resident


def _bare(legs: list[int], folder: Path) -> Any:
    return media_limits.counting(len(legs))


def _rtpengine(legs: list[int], folder: Path) -> Any:
    return rtpengine.start(legs, folder)


def rows(quick: bool) -> Iterator[Row]:
    """The highest number of sessions, what one costs, set-ups while they run, and memory."""
    rtpengine.install()
    sipp.install()
    # All that is written stays until the end: a file system makes new files slowly for half a minute behind the end of many, and the run that came next would pay for it.
    with tempfile.TemporaryDirectory() as root:
        yield from _highest(Path(root), quick)
        yield from _costs(Path(root), quick)


def _sound(once: Callable[[], Ran], sessions: int, tries: int = TRIES) -> Ran | None:
    """A run in which the rig was not the limit, or the last of some; None where they were not even set up."""
    ran = None
    for _ in range(tries):
        try:
            ran = once()
        except TimeoutError:
            continue
        if ran.clean(sessions) or not (ran.metered.fault or ran.metered.is_disturbed):
            break
    return ran


def _why(ran: Ran, sessions: int, seconds: float) -> str:
    if ran.metered.fault:
        return f"the rig ({ran.metered.fault})"
    if ran.cpu_s > FULL * seconds:
        return "its core being full"
    checked = ran.checked
    told = {"dropped": ran.drops, "lost": checked.lost, "legs not right": 2 * sessions - checked.good, "not complete": checked.incomplete, "calls failed": ran.ended.failed}
    if ran.more is not None:
        told["further calls failed"] = ran.more.failed
    return ", ".join(f"{count} {what}" for what, count in told.items() if count) or f"{ran.ended.good} calls"


def _highest(root: Path, quick: bool) -> Iterator[Row]:
    """Steps up to where something is lost; beside it the same steps for rtpengine, and how many sessions' packets the bare loop takes in by its processor time."""
    steps, seconds = ((200, 400), 3.0) if quick else ((500, 1_000, 1_250, 1_500, 1_750, 2_000), 10.0)
    best, ended_by, best_ran = 0, "the last step", None
    for sessions in steps:
        ran = _sound(partial(_recorded, root, sessions, seconds), sessions)
        if ran is None:
            ended_by = f"sessions that were not taken at {sessions}"
            break
        if not ran.clean(sessions):
            ended_by = f"{_why(ran, sessions, seconds)} at {sessions}"
            break
        best, best_ran = sessions, ran
    theirs, theirs_ended_by = 0, "the last step"
    for sessions in steps:
        passed = _passed(root, _rtpengine, sessions, seconds, keeps=True)
        if passed.kept < passed.metered.sent or passed.drops:
            theirs_ended_by = f"{passed.drops} dropped, {passed.metered.sent - passed.kept} not written at {sessions}"
            break
        theirs = sessions
    bare = _passed(root, _bare, best or steps[0], seconds, keeps=False)
    spent = f"{best_ran.cpu_s / seconds:.0%} of a core" if best_ran else "none"
    yield Row(
        "siprec-sessions", "call", float(best), f"{rtpengine.NAME}, pcap", float(theirs), "bare recvmmsg", bare.metered.sent / bare.cpu_s / 100,
        check=f"ended by {ended_by}, rtpengine's by {theirs_ended_by}; {spent}; every leg byte for byte right, none dropped; aim {AIM_SESSIONS:,}", passed=best > 0,
    )  # fmt: skip


def _costs(root: Path, quick: bool) -> Iterator[Row]:
    """Processor time and memory of a session, and set-ups while others talk."""
    sessions, seconds = (200, 4.0) if quick else (1_000, 15.0)
    quiet = _sound(partial(_recorded, root, sessions, seconds), sessions)
    if quiet is None:
        yield Row("siprec-sessions-a-core", "call", 0.0, check=f"{sessions} sessions were not taken", passed=False)
        return
    peer = _passed(root, _rtpengine, sessions, seconds, keeps=True)
    bare = _passed(root, _bare, sessions, seconds, keeps=False)
    check, passed = agree(
        {"legs right": (quiet.checked.good, 2 * sessions), "lost": (quiet.checked.lost, 0), "dropped": (quiet.drops, 0), "calls": (quiet.ended.good, sessions),
         "rig": (quiet.metered.fault or "sound", "sound")}
    )  # fmt: skip
    yield Row(
        "siprec-sessions-a-core", "call", sessions * seconds / quiet.cpu_s, f"{rtpengine.NAME}, pcap", sessions * seconds * peer.kept / peer.metered.sent / peer.cpu_s,
        "bare recvmmsg", sessions * seconds / bare.cpu_s, check=f"{check}; by processor time, {sessions} sessions take {quiet.cpu_s / seconds:.0%} of a core", passed=passed,
    )  # fmt: skip
    yield _setups(root, sessions, seconds, quiet.cpu_s)
    empty, still, talking = quiet.resident
    yield Row(
        "siprec-memory", "KB", (still - empty) / sessions / 1000, "aim", AIM_KB, "rtpengine, pcap", (peer.resident - _empty_rtpengine()) / sessions / 1000,
        check=f"resident growth a session that stands; with the blocks of samples on their way to the disk while it talks {(talking - empty) / sessions / 1000:.1f}; "
        f"the published figure of another recorder is {PUBLISHED_KB:.0f}", passed=quiet.ended.good == sessions, higher_is_better=False,
    )  # fmt: skip


def _setups(root: Path, sessions: int, seconds: float, quiet_cpu_s: float) -> Row:
    """The highest rate at which further sessions come and go, all of them, while nothing is lost of those that talk."""
    failed_at: list[str] = []
    for rate in RATES:
        ran = _sound(partial(_recorded, root, sessions, seconds, rate), sessions, 1)
        if ran is not None and ran.more is not None and ran.clean(sessions) and not ran.more.failed:
            times = ran.more.answers_ms or [0.0]
            return Row(
                "siprec-setups", "call/s", float(rate), "aim", float(AIM_SETUPS),
                check=f"while {sessions} sessions talk, of which nothing is lost; {ran.more.good} came and went; INVITE to 200 p50 {times[len(times) // 2]:.1f} ms, "
                f"p99 {times[int(len(times) * 0.99)]:.1f}; {(ran.cpu_s - quiet_cpu_s) / max(ran.more.good, 1) * 1e3:.1f} ms of processor each; not at {', '.join(failed_at) or 'more'}",
            )  # fmt: skip
        failed_at.append(f"{rate} ({_why(ran, sessions, seconds) if ran is not None else 'sessions that were not taken'})")
    return Row("siprec-setups", "call/s", 0.0, "aim", float(AIM_SETUPS), check=f"not at {', '.join(failed_at)}", passed=False)


__all__ = ["rows"]
