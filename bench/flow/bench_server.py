"""POST /v1/analyze through the whole server (keys, quota, all rules), beside a handler that only reads the body."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import captures
from bench.measure import Row, agree
from bench.peers import empty_handler, wrk

KEY = "sips_" + "be" * 20
START_S = 30.0


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until_answered(url: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def _running(command: list[str], url: str, **environment: str) -> Iterator[float]:
    """Seconds from start to the first answer."""
    import os

    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    try:
        _until_answered(url)
        yield time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)


def rows(quick: bool) -> Iterator[Row]:
    """Requests a second with one worker; latency at half that load; seconds from start to ready."""
    seconds = 2 if quick else 6
    corpus = captures.paste()
    text = corpus.path.read_text()
    messages = "\r\n".join(re.split(r"\n20\d\d/[^\n]*\n", "\n" + text)[1:])
    body = json.dumps({"trace": messages, "context": {"issue": "one-way-audio"}}).encode()
    wrk.install()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        port = _port()
        url = f"http://127.0.0.1:{port}"
        with _running([sys.executable, "-m", "bench.peers.empty_handler", str(port)], url):
            theirs = wrk.run(f"{url}/v1/analyze", body, headers, place, connections=8, seconds=seconds)
        port = _port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "api", "serve", "--http-port", str(port), "--data", f"{folder}/data"]
        settings = {
            "TRUNKLINE_AUTH_ENABLED": "on", "TRUNKLINE_ADMIN_KEY": KEY, "TRUNKLINE_ENGINE_WORKERS": "1",
            "TRUNKLINE_PLANS_SELF_HOSTED_CALLS_PER_DAY": "1000000000",
        }  # fmt: skip
        with _running(command, f"{url}/health/ready", **settings) as ready_s:
            ours = wrk.run(f"{url}/v1/analyze", body, headers, place, connections=8, seconds=seconds)
            wrk.run(f"{url}/v1/analyze", body, headers, place, connections=1, seconds=2)  # from many to one: settles first
            half = wrk.run(f"{url}/v1/analyze", body, headers, place, connections=1, seconds=seconds)
    check, passed = agree(
        {"refused": (ours.refused, 0), "failed": (ours.failed, 0), "peer refused": (theirs.refused, 0)}
    )
    yield Row("server-analyze-10-messages", "req/s", ours.rate, empty_handler.NAME, theirs.rate, check=check, passed=passed)
    yield Row(
        "server-analyze-p99", "us", half.p99_us, limit="its median", limit_value=half.p50_us,
        check="one connection at a time", passed=not half.failed, higher_is_better=False,
    )  # fmt: skip
    yield Row("server-ready", "s", ready_s, check="first answer of /health/ready", higher_is_better=False)
