"""A real `trunkline serve` for tests: supervisor, engine worker and API workers, in a data directory of its own."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec

from tests.ports import free_ports

ROOT = Path(__file__).parents[1]
START_S = 60.0
STOP_S = 30.0
# For programs of others: what a checked build preloads into ours is not for them.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS")}
READY_MARK = b"All routes:"


class Running(msgspec.Struct):
    """A server that is ready."""

    url: str
    told: str
    key: str
    data: Path
    process: subprocess.Popen[bytes]

    def client(self, key: str | None = None) -> httpx.Client:
        """A client that sends the administrator's key, or another ("" for none)."""
        chosen = self.key if key is None else key
        return httpx.Client(
            base_url=self.url, timeout=30, headers={"Authorization": f"Bearer {chosen}"} if chosen else {}
        )

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the supervisor."""
        self.process.send_signal(number)


@contextmanager
def server(*arguments: str, data: Path | None = None, **environment: str) -> Iterator[Running]:
    """Starts a server and ends it. Keyword arguments are environment variables."""
    with tempfile.TemporaryDirectory(prefix="trunkline-") as folder:
        directory = data or Path(folder) / "data"
        port = free_ports()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "api", "serve", "--http-port", str(port), "--data", str(directory), *arguments],
            stdout=subprocess.PIPE, cwd=ROOT, env={"TRUNKLINE_ENGINE_WORKERS": "1", "TRUNKLINE_SIP_PORT": "0", **inherited, **environment},
        )  # fmt: skip
        assert process.stdout is not None
        try:
            told, deadline = b"", time.monotonic() + START_S
            while READY_MARK not in told:
                readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
                piece = os.read(process.stdout.fileno(), 65536) if readable else b""
                assert piece, f"the server did not start: {told.decode()}"
                told += piece
            key = re.search(r"sips_[0-9a-f]{36,}", told.decode())
            found = key[0] if key else environment.get("TRUNKLINE_ADMIN_KEY", "")
            yield Running(f"http://127.0.0.1:{port}", told.decode(), found, directory, process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            finally:
                process.kill()
                process.stdout.close()


__all__ = ["ENVIRONMENT", "ROOT", "Running", "server"]
