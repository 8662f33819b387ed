"""RTP load for the media plane, and a meter of what comes back: the plan, the run, and the process that is under load.

The generator (rtp_load.c) runs on core 0, the subject on core 1. Streams are spread over their interval; payloads are a signal that a receiver can check byte by
byte; with `stamped` the first bytes of a payload tell when and as which packet of which stream it was sent, so that a relay's latency is measured.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from bench.measure import BUILD, HERE, compiled

GENERATOR_CORE, SUBJECT_CORE = 0, 1
INTERVAL_US = 20_000
PAYLOAD_BYTES = 160
RECEIVE_BYTES = 32 << 20
SO_RCVBUFFORCE = 33
LATE_P99_US = 5_000.0  # the generator itself was the bottleneck
AWAY_US = 3_000.0
BUSY_MAX = 0.9
CLOCK_STEP_US = 1_000.0
SIGNAL_BYTES = 16_000  # 2 s at 8 kHz
STAMP_BYTES = 24
STAMPED, GRID = 1, 2
SEND, LOSE, TWICE = 0, 1, 2

Address = tuple[str, int]

_HEADER = np.dtype([
    ("magic", "S8"), ("sockets", "<u4"), ("streams", "<u4"), ("actions", "<u4"), ("signal_bytes", "<u4"), ("strangers", "<u4"), ("junk_socket", "<u4"),
    ("interval_us", "<u4"), ("payload_bytes", "<u4"), ("packets", "<u4"), ("linger_ms", "<u4"), ("junk_per_s", "<u4"), ("seed", "<u4"), ("flags", "<u4"),
    ("batch", "<u4"), ("watch_core", "<u4"),
])  # fmt: skip
_STREAM = np.dtype([
    ("socket", "<u4"), ("address", ">u4"), ("ssrc", "<u4"), ("timestamp", "<u4"), ("action_at", "<u4"), ("signal_at", "<u4"), ("port", "<u2"),
    ("sequence", "<u2"), ("payload_type", "u1"), ("marker", "u1"), ("unused", "u1", 2),
])  # fmt: skip
HEARD = np.dtype([
    ("ssrc", "<u4"), ("spare", "<u4"), ("sent", "<u8"), ("received", "<u8"), ("twice", "<u8"), ("reordered", "<u8"), ("damaged", "<u8"), ("missing", "<u8"),
    ("p50_us", "<f8"), ("p99_us", "<f8"), ("p999_us", "<f8"), ("max_us", "<f8"),
])  # fmt: skip


class Stream(NamedTuple):
    """One stream: the socket of the generator it leaves by, and where to. `ssrc` 0 gives it its number plus one, shifted."""

    socket: int
    host: str
    port: int
    ssrc: int = 0
    payload_type: int = 0


class Spread(msgspec.Struct, frozen=True):
    """A distribution in microseconds."""

    count: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float


class Metered(msgspec.Struct, frozen=True):
    """What the generator did and heard. `missing` counts from what it sent (stamped) or from gaps in what it heard; `off_grid` packets were more than 1 ms from
    the grid of their stream; `lateness` is the generator's own, `away` for how long at a time nobody could run on the subject's core, whatever its priority, and
    `pauses` how often that was over half a millisecond. `steady` is the deviation of what did not come in a pause, or within 5 ms behind one."""

    lateness: Spread
    latency: Spread
    deviation: Spread
    steady: Spread
    away: Spread
    sent: int
    lost_on_purpose: int
    junk: int
    refused: int
    received: int
    missing: int
    twice: int
    reordered: int
    damaged: int
    unknown: int
    meter_drops: int
    off_grid: int
    heard: int
    pauses: int
    cpu_s: float
    wall_s: float
    clock_step_us: float

    @property
    def is_disturbed(self) -> bool:
        """The machine took the subject's core away for so long that nothing can be said of how even anything was."""
        return self.away.max_us > AWAY_US

    @property
    def fault(self) -> str:
        """Why the run is void: the rig, not the subject, was the limit. Empty when it was not."""
        faults = {
            f"generator late by {self.lateness.p99_us / 1e3:.1f} ms at p99": self.lateness.p99_us > LATE_P99_US,
            f"generator busy {self.cpu_s / self.wall_s:.0%}": self.cpu_s > BUSY_MAX * self.wall_s,
            f"{self.refused} packets not sent": self.refused > 0,
            f"meter lost {self.meter_drops}": self.meter_drops > 0,
            f"clock stepped by {self.clock_step_us:.0f} us": abs(self.clock_step_us) > CLOCK_STEP_US,
        }
        return ", ".join(text for text, true in faults.items() if true)


class Run(NamedTuple):
    """A run, and one record a stream (dtype HEARD)."""

    metered: Metered
    streams: npt.NDArray[np.void]


def signal_bytes() -> npt.NDArray[np.uint8]:
    """The signal, mu-law: a swell of two tones, made of integers only. Every value it holds decodes to another sample, and no 160 bytes of it are alike."""
    at = np.arange(SIGNAL_BYTES, dtype=np.int64)
    triangle = np.abs(at * 7 % 160 - 80) - 40
    swell = np.abs(at % 3989 - 1994)
    return ((triangle * swell // 1994 + 64 + at // 331) % 128 + 128 * (at * at // 9973 % 2)).astype(np.uint8)


SIGNAL = signal_bytes()


def signal_at(stream: int) -> int:
    """Where the signal of a stream begins."""
    return stream * 37 % SIGNAL_BYTES


def expected_payload(stream: int, first: int, packets: int) -> bytes:
    """What a stream says in `packets` packets from number `first` on, when it is not stamped."""
    # the generator takes each packet's bytes from its first one on, the signal begins again at its end
    starts = (signal_at(stream) + (first + np.arange(packets)) * PAYLOAD_BYTES) % SIGNAL_BYTES
    whole: npt.NDArray[np.uint8] = np.concatenate([SIGNAL, SIGNAL[:PAYLOAD_BYTES]])[starts[:, None] + np.arange(PAYLOAD_BYTES)]
    return whole.tobytes()


def impaired(seed: int, count: int, *, loss: float = 0.0, twice: float = 0.0, late: float = 0.0, late_ms: float = 45.0, jitter_ms: float = 0.0) -> list[int]:
    """What happens to packets, in a circle of `count`: shares of them are lost, sent twice, or held back by `late_ms` (behind the next two); all of them jitter by
    up to `jitter_ms`. The generator takes a stream's packets through it from a place of its own, all but the first and the last ten."""
    rng, found = Random(seed), []
    for _ in range(count):
        chance = rng.random()
        delay_us = round(rng.random() * jitter_ms * 1e3)
        if chance < loss:
            found.append(LOSE)
        elif chance < loss + twice:
            found.append(TWICE | delay_us << 8)
        else:
            found.append(SEND | (delay_us + (round(late_ms * 1e3) if chance < loss + twice + late else 0)) << 8)
    return found


class Load(msgspec.Struct, frozen=True):
    """A load: `seconds` of streams at `interval_us`, `actions` on their packets, junk beside them. `strangers`: so many streams of others are to be heard."""

    streams: Sequence[Stream]
    seconds: float
    interval_us: int = INTERVAL_US
    stamped: bool = False
    grid: bool = False
    actions: Sequence[int] = ()
    strangers: int = 0
    junk_per_s: int = 0
    linger_ms: int = 300
    batch: int = 64
    seed: int = 1

    @property
    def packets(self) -> int:
        """Of one stream."""
        return max(1, round(self.seconds * 1e6 / self.interval_us))

    def plan(self, sockets: Sequence[socket.socket]) -> bytes:
        """As the generator reads it. The last socket sends the junk."""
        header = np.zeros((), _HEADER)
        header["magic"] = b"RTPLOAD1"
        for name, value in {
            "sockets": len(sockets), "streams": len(self.streams), "actions": len(self.actions), "signal_bytes": SIGNAL_BYTES, "strangers": self.strangers,
            "junk_socket": len(sockets) - 1, "interval_us": self.interval_us, "payload_bytes": PAYLOAD_BYTES, "packets": self.packets,
            "linger_ms": self.linger_ms, "junk_per_s": self.junk_per_s, "seed": self.seed, "flags": STAMPED * self.stamped | GRID * self.grid,
            "batch": self.batch, "watch_core": SUBJECT_CORE if (os.cpu_count() or 1) > SUBJECT_CORE else 2**32 - 1,
        }.items():  # fmt: skip
            header[name] = value
        rows = np.zeros(len(self.streams), _STREAM)
        for at, stream in enumerate(self.streams):
            address = int.from_bytes(socket.inet_aton(stream.host), "big")
            ssrc = stream.ssrc or ssrc_of(at)
            rows[at] = (
                stream.socket, address, ssrc, ssrc * 77 % 2**32, at * 13, signal_at(at), stream.port, first_sequence(at), stream.payload_type, 1, 0,
            )  # fmt: skip
        if len({stream.ssrc or ssrc_of(at) for at, stream in enumerate(self.streams)}) != len(self.streams):
            raise ValueError("an SSRC twice")
        fds = np.array([one.fileno() for one in sockets], "<i4")
        whole = np.concatenate([SIGNAL, SIGNAL[:PAYLOAD_BYTES]])
        return b"".join((header.tobytes(), fds.tobytes(), rows.tobytes(), np.array(self.actions, "<u4").tobytes(), whole.tobytes()))


def ssrc_of(stream: int) -> int:
    """The SSRC of a stream of the plan that has none of its own."""
    return (stream + 1) * 2654435761 % 2**32


def first_sequence(stream: int) -> int:
    """The sequence number that a stream begins with: for every eighth so near the end that it wraps at once."""
    return 65_530 if stream % 8 == 0 else stream * 101 % 60_000


def open_sockets(stack: ExitStack, count: int) -> list[socket.socket]:
    """Sockets on the loopback with much room, as many as the load's streams name and one for junk."""
    found = []
    for _ in range(count):
        one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        one.bind(("127.0.0.1", 0))
        try:
            one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        except PermissionError:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        found.append(one)
    return found


def port_of(one: socket.socket) -> int:
    """The port a socket is bound to."""
    port: int = one.getsockname()[1]
    return port


def pinned(core: int) -> list[str]:
    """The beginning of a command that stays on one core; none where there is only one."""
    return ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 else []


def generator() -> Path:
    """The program, compiled."""
    return compiled(HERE / "rtp_load.c", BUILD / "rtp_load", "-pthread")


def drive(load: Load, sockets: Sequence[socket.socket]) -> Run:
    """Runs a load to its end. Raises RuntimeError when the generator did not run."""
    with tempfile.TemporaryDirectory() as name:
        plan, heard = Path(name) / "plan", Path(name) / "heard"
        plan.write_bytes(load.plan(sockets))
        done = subprocess.run(
            [*pinned(GENERATOR_CORE), generator(), plan, heard], pass_fds=[one.fileno() for one in sockets], stdin=subprocess.DEVNULL,
            capture_output=True, timeout=load.seconds + 60, check=False, preexec_fn=_first_in_line,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the load generator ended with {done.returncode}: {done.stderr.decode()[-500:]}")
        return Run(msgspec.json.decode(done.stdout, type=Metered), np.fromfile(heard, HEARD))


@contextmanager
def alone() -> Iterator[None]:
    """While nobody else runs a load on this machine: two at once would measure each other."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "load.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _first_in_line() -> None:
    """Before other programs of its core, where that is allowed: what else the machine does is not to make the generator late."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def thread_s(pid: int) -> float:
    """Processor seconds of the first thread of a process: in Python, the one that runs Python."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def cpu_s(pid: int) -> float:
    """Processor seconds of all threads of a process, exactly."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            spent += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:  # it ended
            continue
    return spent / 1e9


def _kernel_thread(core: int) -> int:
    """The thread that does the core's packets when no program on it has time to."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text() == f"ksoftirqd/{core}\n":
                return int(path.parent.name)
        except FileNotFoundError:
            continue
    return 0


def dropped(ports: set[int]) -> int:
    """Datagrams that the kernel dropped at sockets of these ports (/proc/net/udp): nobody's own word is needed for it."""
    found = 0
    for path in ("/proc/net/udp", "/proc/net/udp6"):
        for line in Path(path).read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) in ports:
                found += int(fields[-1])
    return found


class Subject:
    """The process under load, on its own core. It prints one line when it is ready (`ready`), another on SIGUSR1 and on SIGTERM, with which it ends.

    `needs` is written to its standard input first. What it says of errors is told when it did not start.
    """

    def __init__(self, command: Sequence[str | Path], needs: bytes = b"", *, folder: Path | None = None) -> None:
        self._errors = os.memfd_create("errors")
        self.process = subprocess.Popen(
            [*pinned(SUBJECT_CORE), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, cwd=folder
        )
        assert self.process.stdin is not None
        self.process.stdin.write(needs)
        self.process.stdin.close()
        self._kernel = _kernel_thread(SUBJECT_CORE)
        self.ready = b""

    def wait_ready(self) -> None:
        """Reads the first line. Raises RuntimeError when there is none."""
        self.ready = self._line()

    def _line(self) -> bytes:
        out = self.process.stdout
        assert out is not None
        if not select.select([out], [], [], 60)[0] or not (line := out.readline()):
            raise RuntimeError(f"{self.process.args!r} said nothing: {os.pread(self._errors, 4096, 0).decode(errors='replace')}")
        return line

    @property
    def cpu_s(self) -> float:
        """Processor seconds so far, with what the kernel did for it in a thread of its own."""
        return cpu_s(self.process.pid) + (cpu_s(self._kernel) if self._kernel else 0.0)

    def tell(self) -> Any:
        """What it says now."""
        self.process.send_signal(signal.SIGUSR1)
        return msgspec.json.decode(self._line())

    def stop(self) -> Any:
        """Ends it; what it says last."""
        self.process.send_signal(signal.SIGTERM)
        told = self._line()
        self.process.wait(30)
        return msgspec.json.decode(told)

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._errors)
