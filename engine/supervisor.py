"""The supervisor: starts the other processes, watches and replaces them, and holds no call itself.

It owns the hub of the bus. What to do about a child is decided in `child_state`; this file does it: processes, signals,
exits (by pidfd, so that no process number is ever mistaken for another) and signs of life from the bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from engine import metrics, tether
from engine.bus import Bus, BusError, Hub, Message, open_bus
from engine.bus.presence import BEAT_TOPIC, CHILD_VARIABLE, HUB_VARIABLE, Beat
from engine.child_state import (
    Action,
    Beaten,
    ChildState,
    Drain,
    Due,
    Event,
    Exited,
    Halt,
    Paused,
    Policy,
    Spawned,
    decide,
)
from engine.errors import EngineError

NAME = "supervisor"
STATUS_SUBJECT = "supervisor.status"
RELOAD_TOPIC = "config.reload"
SOCKETS_VARIABLE = "TRUNKLINE_SOCKETS"
LOCK_FILE = "supervisor.pid"
TICK_S = 0.5
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

log = logging.getLogger("trunkline.supervisor")


class AlreadyRunning(EngineError):
    """Another supervisor works in the same data directory."""

    code = "supervisor.already_running"


class Child(msgspec.Struct, frozen=True):
    """A process to keep running.

    `argv[0]` is the program. `env` is added to the supervisor's environment; TRUNKLINE_CHILD is set to `name` and
    TRUNKLINE_HUB to the url of the hub, where it has to beat (`engine.bus.presence`).
    `cores` are the CPU numbers that it may use, none for all. `sockets` are open and listening in the child under the
    numbers in TRUNKLINE_SOCKETS, and stay open while it is replaced: who connects then waits, and is not refused.
    """

    name: str
    kind: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = {}
    cores: tuple[int, ...] = ()
    sockets: tuple[socket.socket, ...] = ()


class ChildStatus(msgspec.Struct, frozen=True):
    """One child, for those who ask. `started_at` is Unix time; `state` may also be "failing"."""

    name: str
    kind: str
    pid: int | None
    state: str
    started_at: float | None
    restarts: int
    last_exit: str | None
    rss_bytes: int | None
    heartbeat_age_s: float | None


class Status(msgspec.Struct, frozen=True):
    """The supervisor and its children. `ready` once every child was ready."""

    pid: int
    started_at: float
    ready: bool
    draining: bool
    children: list[ChildStatus]


def inherited_sockets(environment: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets that the supervisor opened for this process."""
    numbers = environment.get(SOCKETS_VARIABLE, "")
    return [socket.socket(fileno=int(number)) for number in numbers.split(",") if number]


def rss_bytes(pid: int) -> int | None:
    """Resident memory of a process, its children not counted; None when it is gone (proc(5), statm)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return None


@contextlib.contextmanager
def sole_supervisor(directory: Path) -> Iterator[None]:
    """Holds the lock of `directory`, which ends with this process however it ends. Raises AlreadyRunning."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock.read().strip() or "unknown"
            raise AlreadyRunning(f"process {holder} already runs trunkline with the data in {directory.parent}") from None
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


class _Process:
    """A running child: its pidfd, and the handle that reaps it."""

    def __init__(self, popen: subprocess.Popen[bytes], on_exit: Callable[[str], None]) -> None:
        self._popen = popen
        self._on_exit = on_exit
        self._pidfd = os.pidfd_open(popen.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    @property
    def pid(self) -> int:
        """Its process number, valid until it is reaped."""
        return self._popen.pid

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        # Not reaped yet, so its group is still its own: whatever it started ends with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        status = self._popen.wait()
        os.close(self._pidfd)
        self._on_exit(f"exit status {status}" if status >= 0 else signal.strsignal(-status) or f"signal {-status}")


class Supervisor:
    """Keeps `children` running from `run` until SIGTERM or SIGINT, and drains them then.

    `hub` is the hub to own; its directory also holds the lock that keeps a second supervisor away. `on_ready` is called
    once, when every child has been ready; `ready` is set then. A second SIGTERM or SIGINT ends the children at once;
    SIGHUP publishes `config.reload`. With `signals=False` the process's signals are left alone. Must run in the main
    thread: children end with the thread that started them.
    """

    def __init__(
        self,
        children: Sequence[Child],
        hub: Hub,
        *,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        on_ready: Callable[[], None] | None = None,
        signals: bool = True,
    ) -> None:
        self.ready = asyncio.Event()
        self.draining = False
        self._children = {child.name: child for child in children}
        if len(self._children) != len(children):
            raise ValueError("two children have one name")
        self._hub = hub
        self._policy = policy or Policy()
        self._clock = clock
        self._wall_clock = wall_clock
        self._on_ready = on_ready
        self._signals = signals
        self._started_at = wall_clock()
        self._states = {child.name: ChildState() for child in children}
        self._processes: dict[str, _Process] = {}
        self._wake = asyncio.Event()
        self._bus: Bus | None = None
        self._publishing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Returns when every child has ended after a drain. Raises AlreadyRunning, SocketRefused."""
        with sole_supervisor(self._hub.path.parent):
            await self._hub.start()
            try:
                async with await open_bus(self._hub.url, NAME) as self._bus:
                    self._bus.serve(STATUS_SUBJECT, self._answer_status)
                    await self._bus.subscribe(BEAT_TOPIC, self._on_beat)
                    with self._signals_taken():
                        await self._watch()
            finally:
                await self._end_all()
                await self._hub.close()

    def drain(self) -> None:
        """Ends the children: SIGTERM, and SIGKILL after the grace time. At once when it is called again."""
        event: Event = Halt() if self.draining else Drain()
        log.info("ending the children%s", " at once" if self.draining else "")
        self.draining = True
        for name in self._states:
            self._apply(name, event)

    def reload(self) -> None:
        """Tells every process to read its configuration again."""
        task = asyncio.get_running_loop().create_task(self._publish_reload())
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    def status(self) -> Status:
        """The present state of everything."""
        now, wall = self._clock(), self._wall_clock()
        children = []
        for name, state in self._states.items():
            failing = state.phase in ("waiting", "starting") and state.failing(self._policy)
            children.append(
                ChildStatus(
                    name=name,
                    kind=self._children[name].kind,
                    pid=state.pid,
                    state="failing" if failing else state.phase,
                    started_at=None if state.started_at is None else wall - (now - state.started_at),
                    restarts=state.restarts,
                    last_exit=state.last_exit,
                    rss_bytes=None if state.pid is None else rss_bytes(state.pid),
                    heartbeat_age_s=None if state.beat_at is None else now - state.beat_at,
                )
            )
        return Status(os.getpid(), self._started_at, self.ready.is_set(), self.draining, children)

    # ---- the loop ----

    async def _watch(self) -> None:
        while any(state.phase != "stopped" for state in self._states.values()):
            for name in self._states:
                self._apply(name, Due())
            self._wake.clear()
            before = self._clock()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            slept_s = self._clock() - before
            if slept_s > 2 * TICK_S:
                log.warning("the supervisor stood still for %.1f s", slept_s)
                for name in self._states:
                    self._apply(name, Paused(slept_s))

    def _apply(self, name: str, event: Event) -> None:
        before = self._states[name]
        state, action = decide(before, event, self._clock(), self._policy)
        self._states[name] = state
        if state.phase != before.phase:
            self._tell(name, before, state)
            self._wake.set()
        process = self._processes.get(name)
        if action is Action.SPAWN:
            self._spawn(name)
        elif process is not None and action is Action.TERMINATE:
            process.send(signal.SIGTERM)
        elif process is not None and action is Action.KILL:
            process.send(signal.SIGKILL)

    def _tell(self, name: str, before: ChildState, state: ChildState) -> None:
        if state.phase == "killing":
            log.error("%s (process %s) is silent and is killed", name, state.pid)
        elif state.phase == "waiting":
            log.error("%s ended (%s); start %d follows", name, state.last_exit, state.restarts + 1)
        elif state.phase != "starting":
            log.info("%s (process %s) is %s", name, state.pid or before.pid, state.phase)
        if not self.ready.is_set() and all(other.phase == "ready" for other in self._states.values()):
            self.ready.set()
            if self._on_ready is not None:
                self._on_ready()

    def _spawn(self, name: str) -> None:
        child = self._children[name]
        numbers = [listening.fileno() for listening in child.sockets]
        environment = {**os.environ, **child.env, CHILD_VARIABLE: name, HUB_VARIABLE: self._hub.url}
        environment[SOCKETS_VARIABLE] = ",".join(map(str, numbers))
        cores = ",".join(map(str, child.cores)) or "-"
        command = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), cores, *child.argv]
        try:
            # A session of its own: a terminal's Ctrl-C reaches the supervisor only, which then drains.
            popen = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, pass_fds=numbers, start_new_session=True
            )
        except OSError as error:
            self._apply(name, Exited(f"could not be started: {error}"))
            return
        self._processes[name] = _Process(popen, lambda how: self._on_exit(name, how))
        self._apply(name, Spawned(popen.pid))

    def _on_exit(self, name: str, how: str) -> None:
        del self._processes[name]
        metrics.forget_dead()
        self._apply(name, Exited(how))
        self._wake.set()

    async def _end_all(self) -> None:
        """Leaves no child behind, whatever ended the loop."""
        for name in self._states:
            self._apply(name, Halt())
        while self._processes:
            self._wake.clear()
            await self._wake.wait()

    # ---- the bus ----

    async def _on_beat(self, message: Message) -> None:
        beat = message.read(Beat)
        state = self._states.get(beat.child)
        if state is not None and state.pid is not None and _session_of(beat.pid) == state.pid:
            self._apply(beat.child, Beaten(beat.ready))

    async def _answer_status(self, message: Message) -> Status:
        return self.status()

    async def _publish_reload(self) -> None:
        if self._bus is None:
            return
        try:
            await self._bus.publish(RELOAD_TOPIC)
        except BusError as error:
            log.error("the reload was not announced: %s", error)

    @contextlib.contextmanager
    def _signals_taken(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        taken = {signal.SIGTERM: self.drain, signal.SIGINT: self.drain, signal.SIGHUP: self.reload}
        if not self._signals:
            taken = {}
        for number, act in taken.items():
            loop.add_signal_handler(number, act)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)


def _session_of(pid: int) -> int | None:
    """The session of a process, which is the number of the child that it belongs to; None when it is gone."""
    try:
        return os.getsid(pid)
    except (OSError, OverflowError):
        return None


__all__ = [
    "AlreadyRunning", "Child", "ChildStatus", "Status", "Supervisor", "inherited_sockets", "rss_bytes", "sole_supervisor",
]  # fmt: skip
