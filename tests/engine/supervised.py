"""Processes for the supervisor's tests: `python -m tests.engine.supervised WHAT ...`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from engine.bus import Bus, Hub, Limits, Message, open_bus
from engine.bus.presence import CHILD_VARIABLE, HUB_VARIABLE, keep_beating
from engine.child_state import Policy
from engine.supervisor import Child, Supervisor, inherited_sockets

ROOT = Path(__file__).resolve().parents[2]
QUICK = Limits(retry_first_s=0.01, retry_last_s=0.1)
PATIENT = Policy(silence_s=60, start_s=60, retry_first_s=0.05, grace_s=60)


def child(name: str, what: str = "serve", **more: Any) -> Child:
    """A child of a supervisor that runs this file."""
    argv = (sys.executable, "-m", "tests.engine.supervised", what)
    return Child(name, "test", argv, **{"env": {"PYTHONPATH": str(ROOT)}, **more})


def worker(name: str, hub: Hub) -> Child:
    """An engine worker as a child."""
    argv = (sys.executable, "-m", "engine.worker", "--bus", hub.url, "--name", name, "--beat-s", "0.1", "--hub-gone-s", "1")
    return Child(name, "worker", argv, {"PYTHONPATH": str(ROOT)})


async def _on_bus(work: Callable[[Bus], Awaitable[None]]) -> None:
    async with await open_bus(os.environ[HUB_VARIABLE], os.environ[CHILD_VARIABLE], QUICK) as bus:
        await work(bus)


async def _serve(bus: Bus) -> None:
    """Echoes until SIGTERM, and finishes what it has begun."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def echo(message: Message) -> Any:
        return [os.getpid(), message.read()]

    async def finish_after_stop(message: Message) -> Any:
        await stop.wait()
        await asyncio.sleep(0.05)
        return "finished"

    async def cores(message: Message) -> list[int]:
        return sorted(os.sched_getaffinity(0))

    bus.serve("echo", echo)
    bus.serve("finish", finish_after_stop)
    bus.serve("cores", cores)
    beats = asyncio.create_task(keep_beating(bus, lambda: True, interval_s=0.05, hub_gone_s=30))
    await stop.wait()
    await bus.drain(30)
    beats.cancel()


async def _stubborn(bus: Bus) -> None:
    """Does not care for SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    await keep_beating(bus, lambda: True, interval_s=0.05)


async def _unready(bus: Bus) -> None:
    """Lives and never gets ready."""
    await keep_beating(bus, lambda: False, interval_s=0.05)


async def _brood(bus: Bus) -> None:
    """Starts a process of its own, says which, and waits."""
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    async def answer(message: Message) -> int:
        return grandchild.pid

    bus.serve("grandchild", answer)
    await keep_beating(bus, lambda: True, interval_s=0.05)


async def _listen(bus: Bus) -> None:
    """Answers on the socket that it was given."""
    (listener,) = inherited_sockets()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(os.getpid()).encode())
        writer.close()

    async with await asyncio.start_server(answer, sock=listener):
        await keep_beating(bus, lambda: True, interval_s=0.05)


def _supervise(directory: str, silence_s: str) -> None:
    """A whole supervisor with two workers and one more child."""
    hub = Hub(Path(directory) / "run" / "bus.sock")
    children = [worker("worker.0", hub), worker("worker.1", hub), child("serve.0")]

    policy = msgspec.structs.replace(PATIENT, silence_s=float(silence_s))

    async def run() -> None:
        supervisor = Supervisor(children, hub, policy=policy, on_ready=lambda: print("ready", flush=True))
        await supervisor.run()

    asyncio.run(run())
    print("drained", flush=True)


def main(what: str, *arguments: str) -> None:
    """What this process is."""
    if what == "crash":
        sys.exit(3)
    if what == "supervise":
        _supervise(*arguments)
        return
    roles = {"serve": _serve, "stubborn": _stubborn, "unready": _unready, "brood": _brood, "listen": _listen}
    assert threading.active_count() == 1
    asyncio.run(_on_bus(roles[what]))


if __name__ == "__main__":
    main(*sys.argv[1:])
