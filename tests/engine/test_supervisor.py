"""The supervisor over real processes: they are killed, stopped and starved, and the rest goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import uvloop

from engine.bus import Bus, BusError, Hub, open_bus
from engine.child_state import Policy
from engine.supervisor import (
    AlreadyRunning,
    Child,
    ChildStatus,
    Status,
    Supervisor,
    rss_bytes,
    sole_supervisor,
)
from tests.engine.bus.stations import QUICK, WAIT_S, until
from tests.engine.supervised import PATIENT, ROOT, child, worker

pytestmark = pytest.mark.slow


@pytest.fixture
def directory() -> Iterator[Path]:
    """A data directory whose path leaves room for a socket's name."""
    made = Path(tempfile.mkdtemp(prefix="tl-"))
    yield made
    shutil.rmtree(made)


class Running:
    """A supervisor at work, and a bus to talk to its children."""

    def __init__(self, supervisor: Supervisor, bus: Bus) -> None:
        self.supervisor, self.bus = supervisor, bus

    def child(self, name: str) -> ChildStatus:
        return next(status for status in self.supervisor.status().children if status.name == name)

    def pid(self, name: str) -> int:
        pid = self.child(name).pid
        assert pid is not None
        return pid

    async def replaced(self, name: str, old_pid: int) -> int:
        """The number of the process that took the place of `old_pid`."""
        await until(lambda: self.child(name).state == "ready" and self.child(name).pid != old_pid)
        return self.pid(name)


@contextlib.asynccontextmanager
async def supervised(
    directory: Path, children: list[Child], policy: Policy = PATIENT, *, wait: bool = True
) -> AsyncIterator[Running]:
    supervisor = Supervisor(children, Hub(directory / "run" / "bus.sock"), policy=policy, signals=False)
    run = asyncio.create_task(supervisor.run())
    try:
        if wait:
            async with asyncio.timeout(WAIT_S):
                await supervisor.ready.wait()
        async with await open_bus(supervisor._hub.url, "test", QUICK) as bus:
            yield Running(supervisor, bus)
    finally:
        supervisor.drain()
        supervisor.drain()
        async with asyncio.timeout(WAIT_S):
            await run


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(4 * WAIT_S):
            await scenario()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(limited())


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def test_children_get_ready_and_are_described(directory: Path) -> None:
    async def scenario() -> None:
        called: list[bool] = []
        core = min(os.sched_getaffinity(0))
        hub = Hub(directory / "run" / "bus.sock")
        children = [child("serve.0", cores=(core,)), child("serve.1")]
        supervisor = Supervisor(children, hub, policy=PATIENT, signals=False, on_ready=lambda: called.append(True))
        run = asyncio.create_task(supervisor.run())
        await supervisor.ready.wait()
        async with await open_bus(hub.url, "test", QUICK) as bus:
            status = await bus.request("supervisor", "supervisor.status", shape=Status)
            assert status.pid == os.getpid()
            assert (status.ready, status.draining, called) == (True, False, [True])
            assert [(one.name, one.kind, one.state, one.restarts) for one in status.children] == [
                ("serve.0", "test", "ready", 0), ("serve.1", "test", "ready", 0),
            ]  # fmt: skip
            for one in status.children:
                assert one.pid is not None
                assert one.rss_bytes is not None
                assert one.rss_bytes > 1 << 20
                assert one.last_exit is None
                assert one.heartbeat_age_s is not None
                assert one.started_at is not None
                assert one.started_at >= status.started_at
                assert (await bus.request(one.name, "echo", "x"))[0] == one.pid
            assert await bus.request("serve.0", "cores") == [core]
        supervisor.drain()
        await run
        assert called == [True]
        assert {one.state for one in supervisor.status().children} == {"stopped"}
        assert {one.last_exit for one in supervisor.status().children} == {"exit status 0"}
        assert not hub.path.exists()

    play(scenario)


def test_each_child_is_killed_under_load_and_the_others_go_on(directory: Path) -> None:
    async def scenario() -> None:
        names = ["serve.0", "serve.1", "serve.2"]
        async with supervised(directory, [child(name) for name in names]) as running:
            answers = dict.fromkeys(names, 0)
            errors: dict[str, list[BusError]] = {name: [] for name in names}

            async def load(name: str) -> None:
                while True:
                    try:
                        await running.bus.request(name, "echo", bytes(1000), WAIT_S)
                        answers[name] += 1
                    except BusError as error:
                        errors[name].append(error)
                        await asyncio.sleep(0.01)

            loads = [asyncio.create_task(load(name)) for name in names for _ in range(4)]
            for victim in names:
                await until(lambda: min(answers.values()) > 50)
                before = {name: len(errors[name]) for name in names}
                old_pid = running.pid(victim)
                os.kill(old_pid, signal.SIGKILL)
                new_pid = await running.replaced(victim, old_pid)
                answered = answers[victim]
                await until(lambda victim=victim, answered=answered: answers[victim] > answered + 50)
                assert not alive(old_pid)
                assert alive(new_pid)
                assert len(errors[victim]) > before[victim]
                assert {type(error).__name__ for error in errors[victim]} <= {"TargetGone", "UnknownTarget", "UnknownSubject"}
                for other in set(names) - {victim}:
                    assert len(errors[other]) == before[other], errors[other]
                assert running.child(victim).restarts == 1
                assert running.child(victim).last_exit == "Killed"
                answers.update(dict.fromkeys(names, 0))
            for task in loads:
                task.cancel()
            await asyncio.gather(*loads, return_exceptions=True)

    play(scenario)


def test_a_stopped_child_is_silent_and_replaced(directory: Path) -> None:
    async def scenario() -> None:
        policy = msgspec.structs.replace(PATIENT, silence_s=1.0)
        async with supervised(directory, [child("serve.0"), child("serve.1")], policy) as running:
            old_pid, other_pid = running.pid("serve.0"), running.pid("serve.1")
            os.kill(old_pid, signal.SIGSTOP)
            new_pid = await running.replaced("serve.0", old_pid)
            assert not alive(old_pid)
            assert (await running.bus.request("serve.0", "echo", 1, WAIT_S))[0] == new_pid
            assert running.child("serve.0").last_exit == "Killed, killed because it was silent"
            assert running.pid("serve.1") == other_pid

    play(scenario)


def test_a_child_that_never_gets_ready_is_replaced(directory: Path) -> None:
    async def scenario() -> None:
        policy = msgspec.structs.replace(PATIENT, start_s=1.0)
        async with supervised(directory, [child("unready.0", "unready")], policy, wait=False) as running:
            await until(lambda: running.child("unready.0").restarts >= 1)
            assert not running.supervisor.ready.is_set()

    play(scenario)


def test_a_crash_loop_is_failing_and_the_rest_goes_on(directory: Path) -> None:
    async def scenario() -> None:
        children = [
            child("crash.0", "crash"), Child("lost.0", "test", ("/nonexistent/program",)),
            child("pinned.0", cores=(100_000,)), child("serve.0"),
        ]  # fmt: skip
        policy = msgspec.structs.replace(PATIENT, retry_first_s=0.05, retry_last_s=120)
        async with supervised(directory, children, policy, wait=False) as running:
            broken = ("crash.0", "lost.0", "pinned.0")
            await until(lambda: all(running.child(name).state == "failing" for name in broken))
            await until(lambda: running.child("serve.0").state == "ready")
            assert running.child("crash.0").last_exit == "exit status 3"
            assert running.child("lost.0").last_exit == "exit status 126"
            assert running.child("pinned.0").last_exit == "exit status 126"
            assert running.child("serve.0").restarts == 0
            assert not running.supervisor.ready.is_set()

    play(scenario)


def test_a_drain_lets_children_finish(directory: Path) -> None:
    async def scenario() -> None:
        async with supervised(directory, [child("serve.0"), child("serve.1")]) as running:
            pids = [running.pid("serve.0"), running.pid("serve.1")]
            waiting = [asyncio.create_task(running.bus.request(f"serve.{n}", "finish", None, WAIT_S)) for n in (0, 1)]
            assert await running.bus.request("serve.0", "echo", 1, WAIT_S)
            assert await running.bus.request("serve.1", "echo", 1, WAIT_S)
            running.supervisor.drain()
            assert await asyncio.gather(*waiting) == ["finished", "finished"]
            await until(lambda: not any(map(alive, pids)))

    play(scenario)


def test_a_child_that_does_not_end_is_killed_after_the_grace_time(directory: Path) -> None:
    async def scenario() -> None:
        policy = msgspec.structs.replace(PATIENT, grace_s=0.3)
        async with supervised(directory, [child("stubborn.0", "stubborn")], policy) as running:
            pid = running.pid("stubborn.0")
            running.supervisor.drain()
            await until(lambda: running.child("stubborn.0").state == "stopped")
            assert running.child("stubborn.0").last_exit == "Killed"
            assert not alive(pid)

    play(scenario)


def test_a_supervisor_that_is_cancelled_leaves_no_child(directory: Path) -> None:
    async def scenario() -> None:
        supervisor = Supervisor([child("serve.0")], Hub(directory / "run" / "bus.sock"), policy=PATIENT, signals=False)
        run = asyncio.create_task(supervisor.run())
        await supervisor.ready.wait()
        pid = supervisor.status().children[0].pid
        assert pid is not None
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert not alive(pid)

    play(scenario)


def test_what_a_child_started_ends_with_it(directory: Path) -> None:
    async def scenario() -> None:
        async with supervised(directory, [child("brood.0", "brood")]) as running:
            grandchild = await running.bus.request("brood.0", "grandchild", None, WAIT_S)
            assert alive(grandchild)
            old_pid = running.pid("brood.0")
            os.kill(old_pid, signal.SIGKILL)
            await running.replaced("brood.0", old_pid)
            await until(lambda: not alive(grandchild))

    play(scenario)


def test_a_listening_socket_outlives_the_child_that_uses_it(directory: Path) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            async with supervised(directory, [child("listen.0", "listen", sockets=(listener,))]) as running:
                assert await _ask_port(port) == running.pid("listen.0")
                old_pid = running.pid("listen.0")
                os.kill(old_pid, signal.SIGKILL)
                # Connects while nobody accepts: answered by the successor.
                answered_by = await _ask_port(port)
                assert answered_by == await running.replaced("listen.0", old_pid)

    async def _ask_port(port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        pid = int(await reader.read())
        writer.close()
        await writer.wait_closed()
        return pid

    play(scenario)


def test_a_stranger_cannot_beat_for_a_child(directory: Path) -> None:
    async def scenario() -> None:
        policy = msgspec.structs.replace(PATIENT, silence_s=1.0)
        async with supervised(directory, [child("serve.0")], policy) as running:
            old_pid = running.pid("serve.0")
            os.kill(old_pid, signal.SIGSTOP)
            while running.child("serve.0").pid == old_pid:
                for pid in (os.getpid(), 1 << 22, -1, 1 << 80):
                    with contextlib.suppress(BusError):
                        await running.bus.publish("process.beat", {"child": "serve.0", "pid": pid, "ready": True})
                await asyncio.sleep(0.05)
            assert running.child("serve.0").restarts == 1

    play(scenario)


def test_two_children_of_one_name_are_refused(directory: Path) -> None:
    with pytest.raises(ValueError, match="one name"):
        Supervisor([child("a"), child("a")], Hub(directory / "bus.sock"))


def test_resident_memory_of_a_process() -> None:
    mine = rss_bytes(os.getpid())
    assert mine is not None
    assert 1 << 20 < mine < 1 << 36
    assert rss_bytes(1 << 22) is None


# ---- a supervisor as a process of its own ----


@contextlib.contextmanager
def supervisor_process(directory: Path, silence_s: str = "60") -> Iterator[subprocess.Popen[str]]:
    """A supervisor of two workers and one more child, ready."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.engine.supervised", "supervise", os.fspath(directory), silence_s],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


async def ask_status(directory: Path) -> Status:
    async with await open_bus(Hub(directory / "run" / "bus.sock").url, "test", QUICK) as bus:
        return await bus.request("supervisor", "supervisor.status", None, WAIT_S, shape=Status)


def children_of(directory: Path) -> list[int]:
    """The process numbers of the children of the supervisor in `directory`."""
    pids = [one.pid for one in asyncio.run(ask_status(directory)).children if one.pid is not None]
    assert len(pids) == 3
    assert all(map(alive, pids))
    return pids


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_everything(directory: Path, number: signal.Signals) -> None:
    with supervisor_process(directory) as process:
        pids = children_of(directory)
        process.send_signal(number)
        output, _ = process.communicate(timeout=WAIT_S)
        assert output == "drained\n"
        assert process.returncode == 0
        assert not any(map(alive, pids))
        assert not (directory / "run" / "bus.sock").exists()


def test_a_second_supervisor_is_refused_with_a_sentence(directory: Path) -> None:
    with supervisor_process(directory) as process:
        with pytest.raises(AlreadyRunning) as error, sole_supervisor(directory / "run"):
            pass
        assert str(error.value) == f"process {process.pid} already runs trunkline with the data in {directory}"
        second = Supervisor([], Hub(directory / "run" / "bus.sock"), signals=False)
        with pytest.raises(AlreadyRunning):
            asyncio.run(second.run())
        assert len(children_of(directory)) == 3


def test_children_die_with_a_killed_supervisor_and_the_next_one_starts(directory: Path) -> None:
    with supervisor_process(directory) as process:
        pids = children_of(directory)
        process.kill()
        process.wait(WAIT_S)

        async def gone() -> None:
            await until(lambda: not any(map(alive, pids)))

        asyncio.run(gone())
    assert (directory / "run" / "bus.sock").exists()
    with supervisor_process(directory):
        assert not set(children_of(directory)) & set(pids)


def test_a_supervisor_that_stood_still_does_not_blame_its_children(directory: Path) -> None:
    with supervisor_process(directory, "1.0") as process:
        pids = children_of(directory)
        process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        process.send_signal(signal.SIGCONT)
        assert children_of(directory) == pids
        assert {one.restarts for one in asyncio.run(ask_status(directory)).children} == {0}


def test_sighup_reloads_the_workers(directory: Path) -> None:
    async def reloaded(process: subprocess.Popen[str]) -> None:
        async with await open_bus(Hub(directory / "run" / "bus.sock").url, "test", QUICK) as bus:
            pids = {(await bus.request(name, "worker.status"))["pid"] for name in ("worker.0", "worker.1")}
            process.send_signal(signal.SIGHUP)
            for name in ("worker.0", "worker.1"):
                async with asyncio.timeout(WAIT_S):
                    while (status := await bus.request(name, "worker.status"))["reloads"] == 0:
                        await asyncio.sleep(0.01)
                assert status["reloads"] == 1
                assert status["pid"] in pids

    with supervisor_process(directory) as process:
        asyncio.run(reloaded(process))


def test_workers_come_back_after_kill_9(directory: Path) -> None:
    async def scenario() -> None:
        hub = Hub(directory / "run" / "bus.sock")
        async with supervised(directory, [worker("worker.0", hub), worker("worker.1", hub)]) as running:
            for name in ("worker.0", "worker.1"):
                old_pid = running.pid(name)
                os.kill(old_pid, signal.SIGKILL)
                new_pid = await running.replaced(name, old_pid)
                status = await running.bus.request(name, "worker.status", None, WAIT_S)
                assert (status["pid"], status["state"]) == (new_pid, "ready")

    play(scenario)
