"""Threads that wait for the disk in the event loop's place. What many calls ask of them costs a wake-up for several, not some objects for each."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Work = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class DiskThreads:
    """Some threads of one event loop. Made in it, and closed in it."""

    def __init__(self, count: int, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._told = False  # the loop knows that something is done
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, name=f"{name}_{number}", daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def run(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Runs a function in one of the threads: what it returns, or raises. It is run even where nobody waits for it any more."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((function, future))
        return future

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            function, future = work
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:
                error = raised
            self._done.append((future, result, error))
            del function, future, result, error, work  # nothing is kept while it waits for more
            with self._lock:
                tell, self._told = not self._told, True
            if tell:
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            self._told = False
        while self._done:
            future, result, error = self._done.popleft()
            if future.done():
                continue  # nobody waits any more
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def close(self) -> None:
        """Ends the threads behind all that was asked of them, which is waited for."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._deliver()


__all__ = ["DiskThreads"]
