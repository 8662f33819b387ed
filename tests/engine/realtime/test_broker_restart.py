"""A broker that is killed and started again over its own data, while events come."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine.realtime.rig import WAIT_S, event, played, publisher, reading, settings, until
from tests.ports import free_ports
from tests.rabbitmq import SERVER, _answers, _environment

pytestmark = pytest.mark.slow


class Broker:
    """A RabbitMQ of this test alone."""

    def __init__(self, folder: Path) -> None:
        self.port, epmd = free_ports(), free_ports()
        self._environment = _environment(folder, self.port, epmd)
        self._epmd = subprocess.Popen(["epmd", "-port", str(epmd)], env=self._environment)
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        self._server = subprocess.Popen([os.fspath(SERVER)], env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)

    def wait(self) -> None:
        deadline = time.monotonic() + 2 * WAIT_S
        while not _answers(self.port):
            assert time.monotonic() < deadline, "RabbitMQ did not start"
            assert self._server is not None and self._server.poll() is None
            time.sleep(0.1)

    def kill(self) -> None:
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def close(self) -> None:
        self.kill()
        self._epmd.kill()
        self._epmd.wait()


@contextmanager
def broker() -> Iterator[Broker]:
    folder = Path(tempfile.mkdtemp(prefix="tl-mq-"))
    made = Broker(folder)
    try:
        made.start()
        made.wait()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_killed_broker_that_comes_back_has_everything_once_it_has_caught_up(tmp_path: Path) -> None:
    async def scenario(server: Broker) -> None:
        chosen = settings(batch_size=10, confirm_timeout_s=2.0)
        made = publisher(tmp_path, chosen, server.url)
        made.start()
        await until(lambda: not made.away, lambda: made.away)
        sent = 0
        stop = asyncio.Event()

        async def talk() -> None:
            nonlocal sent
            while not stop.is_set():
                made.offer(event(sent, calls=17))
                sent += 1
                await asyncio.sleep(0.002)

        talking = asyncio.create_task(talk())
        for _ in range(2):
            published = made.stats.published
            await until(lambda: made.stats.published > published + 100, lambda: (made.stats, made.away))  # noqa: B023
            server.kill()
            await until(lambda: bool(made.away))
            server.start()
            await asyncio.to_thread(server.wait)
        published = made.stats.published
        await until(lambda: made.stats.published > published + 100, lambda: (made.stats, made.away))
        stop.set()
        await talking
        await until(lambda: made.waiting == 0, lambda: (made.stats, made.away))
        async with reading(server.url, chosen.queue) as reader:
            await until(lambda: len(reader.ids) == sent, lambda: (len(reader.ids), sent))
            reader.check(range(sent))
        assert made.stats.dropped == 0
        await made.close(0)

    with broker() as server:
        played(lambda: scenario(server))
