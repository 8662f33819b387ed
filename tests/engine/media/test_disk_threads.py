"""Work for the disk: each has its own result or error, in whatever thread, and none is lost at the end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from engine.media.disk_threads import DiskThreads


def fails() -> int:
    raise OSError("no")


def test_each_has_its_own_result() -> None:
    async def case() -> None:
        threads = DiskThreads(2, "disk")
        names = set()

        def double(number: int) -> int:
            names.add(threading.current_thread().name)
            return 2 * number

        assert await asyncio.gather(*(threads.run(lambda number=number: double(number)) for number in range(500))) == [2 * number for number in range(500)]
        assert names <= {"disk_0", "disk_1"}
        with pytest.raises(OSError, match="no"):
            await threads.run(fails)
        assert await threads.run(lambda: 7) == 7
        threads.close()

    asyncio.run(case())


def test_what_was_asked_is_done_before_the_end() -> None:
    async def case() -> None:
        threads = DiskThreads(2, "disk")
        gate, done = threading.Event(), []
        first = threads.run(gate.wait)
        rest = [threads.run(lambda number=number: done.append(number)) for number in range(50)]
        gate.set()
        threads.close()
        assert sorted(done) == list(range(50)) and first.done() and all(one.done() for one in rest)

    asyncio.run(case())


def test_who_waits_no_more_is_no_error() -> None:
    async def case() -> None:
        threads = DiskThreads(1, "disk")
        gate = threading.Event()
        first = threads.run(gate.wait)
        first.cancel()
        gate.set()
        assert await threads.run(lambda: 3) == 3
        threads.close()

    asyncio.run(case())
