"""An engine worker on a bus: what it answers, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from engine.bus import Bus, Busy, Disconnected, Hub, Message, open_bus
from engine.bus.presence import HUB_VARIABLE, Beat
from engine.worker import Worker, WorkerStatus, main
from tests.engine.bus.stations import QUICK, WAIT_S, until
from tests.engine.supervised import ROOT
from tests.rabbitmq import broker, directory_of_run


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name."""
    made = Path(tempfile.mkdtemp(prefix="tl-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The url of the RabbitMQ of this test run."""
    with broker(directory_of_run(tmp_path_factory.getbasetemp())) as url:
        yield url


def play(directory: Path, scenario: Callable[[Hub], Awaitable[None]]) -> None:
    async def at_hub() -> None:
        hub = Hub(directory / "bus.sock", QUICK)
        await hub.start()
        try:
            async with asyncio.timeout(4 * WAIT_S):
                await scenario(hub)
        finally:
            await hub.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(at_hub())


@contextlib.asynccontextmanager
async def worker_process(
    url: str, *arguments: str, environment: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine.worker", "--bus", url, "--name", "worker.0", "--beat-s", "0.05", *arguments,
        cwd=ROOT, env={**os.environ, **(environment or {})}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def status_of(bus: Bus) -> WorkerStatus:
    """What worker.0 says of itself, once it is there."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(Exception):
                return await bus.request("worker.0", "worker.status", shape=WorkerStatus)
            await asyncio.sleep(0.02)


def test_a_worker_beats_answers_reloads_and_drains(directory: Path) -> None:
    async def scenario(hub: Hub) -> None:
        beats: list[Beat] = []

        async def hear(message: Message) -> None:
            beats.append(message.read(Beat))

        async with await open_bus(hub.url, "test", QUICK) as bus, worker_process(hub.url) as process:
            await bus.subscribe("process.beat", hear)
            status = await status_of(bus)
            assert (status.name, status.pid, status.state) == ("worker.0", process.pid, "ready")
            assert (status.calls, status.reloads) == (0, 0)
            assert status.rss_bytes is not None
            assert status.rss_bytes > 1 << 20
            await until(lambda: len(beats) >= 3)
            assert set(beats) == {Beat("worker.0", process.pid, True)}
            later = await status_of(bus)
            assert later.uptime_s > status.uptime_s >= 0
            await bus.publish("config.reload")
            async with asyncio.timeout(WAIT_S):
                while (await status_of(bus)).reloads == 0:
                    await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), WAIT_S) == 0

    play(directory, scenario)


def test_a_worker_waits_for_a_hub_that_is_replaced(directory: Path) -> None:
    async def scenario(hub: Hub) -> None:
        async with worker_process(hub.url) as process:
            async with await open_bus(hub.url, "test", QUICK) as bus:
                await status_of(bus)
            await hub.close()
            await hub.start()
            async with await open_bus(hub.url, "test", QUICK) as bus:
                assert (await status_of(bus)).pid == process.pid

    play(directory, scenario)


def test_a_worker_without_a_hub_gives_up(directory: Path) -> None:
    async def scenario(hub: Hub) -> None:
        async with worker_process(hub.url, "--hub-gone-s", "0.2") as process:
            async with await open_bus(hub.url, "test", QUICK) as bus:
                await status_of(bus)
            await hub.close()
            assert await asyncio.wait_for(process.wait(), WAIT_S) == 1
            assert process.stderr is not None
            assert b"has been without a bus for" in await process.stderr.read()

    play(directory, scenario)


def test_a_worker_drains_its_requests_and_runs_its_reload_hooks(directory: Path) -> None:
    async def scenario(hub: Hub) -> None:
        async with await open_bus(hub.url, "test", QUICK) as bus, await open_bus(hub.url, "worker.0", QUICK) as own:
            ticks = iter(range(100))
            worker = Worker(own, clock=lambda: float(next(ticks)))
            gate, entered, hooks = asyncio.Event(), asyncio.Event(), []

            async def wait(message: Message) -> str:
                entered.set()
                await gate.wait()
                return "finished"

            async def first() -> None:
                hooks.append("first")

            async def second() -> None:
                hooks.append("second")

            own.serve("wait", wait)
            worker.reload_hooks += [first, second]
            run = asyncio.create_task(worker.run(beat_s=0.02, grace_s=WAIT_S))
            assert (await status_of(bus)).uptime_s == 1.0
            await bus.publish("config.reload")
            await until(lambda: hooks == ["first", "second"])
            waiting = asyncio.create_task(bus.request("worker.0", "wait", None, WAIT_S))
            await entered.wait()
            worker.stop()
            async with asyncio.timeout(WAIT_S):
                while True:
                    try:
                        await bus.request("worker.0", "worker.status")
                    except Busy as error:
                        assert "shutting down" in str(error)
                        break
            assert not run.done()
            gate.set()
            await run
            assert await waiting == "finished"

    play(directory, scenario)


def test_a_worker_raises_when_the_bus_stays_away(directory: Path) -> None:
    async def scenario(hub: Hub) -> None:
        async with await open_bus(hub.url, "worker.0", QUICK) as own:
            run = asyncio.create_task(Worker(own).run(beat_s=0.01, hub_gone_s=0.05))
            await until(lambda: own.connected)
            await hub.close()
            with pytest.raises(Disconnected, match="without a bus"):
                await run

    play(directory, scenario)


def test_a_worker_of_a_broker_beats_at_the_hub(directory: Path, broker_url: str) -> None:
    async def scenario(hub: Hub) -> None:
        beats: list[Beat] = []

        async def hear(message: Message) -> None:
            beats.append(message.read(Beat))

        between_machines = f"{broker_url}?prefix=w{secrets.token_hex(6)}"
        async with (
            await open_bus(hub.url, "test", QUICK) as bus,
            await open_bus(between_machines, "test", QUICK) as far,
            worker_process(between_machines, environment={HUB_VARIABLE: hub.url}) as process,
        ):
            await bus.subscribe("process.beat", hear)
            assert (await status_of(bus)).pid == (await status_of(far)).pid == process.pid
            await until(lambda: beats)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), WAIT_S) == 0

    play(directory, scenario)


@pytest.mark.parametrize("url", ["unix:///nowhere/at/all.sock", "carrier-pigeon://"])
def test_a_worker_without_a_bus_says_so(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["--bus", url, "--name", "worker.0", "--connect-s", "0.05"]) == 1
    assert "worker.0 ends:" in caplog.text
