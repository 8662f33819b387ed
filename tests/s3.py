"""An S3 store for tests: moto's server in a process of its own, behind a line that can be cut, slowed down and tampered with.

`store()` starts both and ends both. Clients that go through `url` meet what was done to the line; `client()` does not.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.config.document import S3

START_S = 60.0
STEP_S = 0.05
PIECE = 1 << 16
ACCESS_KEY, SECRET_KEY = "AKIATRUNKLINETESTS00", "do/not+show/this+anywhere/0123456789abcd"
Change = Callable[[bytes], bytes | None]  # None cuts the connection


def unchanged(piece: bytes) -> bytes:
    return piece


class Line:
    """A TCP line to a port: what goes through it can be changed (`there`, `back`), nothing new let in, all of it cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._guard = threading.Lock()
        self.there: Change = unchanged
        self.back: Change = unchanged
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        self._start(self._accept, listener)
        return listener

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                with self._guard:
                    self._open |= {near, far}
                self._start(self._pump, near, far, lambda piece: self.there(piece))
                self._start(self._pump, far, near, lambda piece: self.back(piece))

    def _pump(self, source: socket.socket, target: socket.socket, change: Change) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                changed = change(piece)
                if changed is None:
                    _reset(source)
                    _reset(target)
                    break
                target.sendall(changed)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Refuses connections and breaks those that are open, until `mend`."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.there = self.back = unchanged
        with self._guard:
            ends, self._open = self._open, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        for end in ends:
            end.close()

    def mend(self) -> None:
        """Lets connections in again, at the same port."""
        self._listener = self._listen(self.port)


def _reset(end: socket.socket) -> None:
    """Closes with RST instead of FIN."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class Store:
    """A store that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.line = Line(port)
        self.direct_url = f"http://127.0.0.1:{port}"
        self.url = f"http://127.0.0.1:{self.line.port}"

    def client(self) -> Any:
        """boto3's, past the line: what an operator sees. Close it."""
        import boto3

        return boto3.session.Session().client(
            "s3", endpoint_url=self.direct_url, region_name="us-east-1", aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY
        )

    def settings(self, bucket: str, **others: Any) -> S3:
        """What the configuration says of it."""
        told: dict[str, Any] = {"enabled": True, "endpoint": self.url, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "path_style": True}
        return S3(bucket=bucket, **(told | others))

    @contextmanager
    def away(self) -> Iterator[None]:
        """It is out of reach for a while."""
        self.line.cut()
        try:
            yield
        finally:
            self.line.mend()


@contextmanager
def store(log: Path) -> Iterator[Store]:
    """A fresh store without buckets; its output goes to the file `log`. Raises RuntimeError where it does not start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={name: text for name, text in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))},
        )  # fmt: skip
    try:
        _wait(process, port, log)
        running = Store(process, port)
        try:
            yield running
        finally:
            running.line.cut()
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=START_S):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"moto's server did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(STEP_S)


__all__ = ["ACCESS_KEY", "SECRET_KEY", "Line", "Store", "store"]
