"""wrk, the load: one thread, a fixed number of connections, the same request over and over."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.peers.program import need

PROGRAM = "wrk"
NAME = "wrk"
SCRIPT = """
wrk.method = "POST"
wrk.body = %s
%s
done = function(summary, latency, requests)
  io.write(string.format('{"requests": %%d, "seconds": %%f, "refused": %%d, "failed": %%d, "p50": %%f, "p99": %%f}',
    summary.requests, summary.duration / 1e6, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


class Load(NamedTuple):
    """What came of it: answers a second, how many were no 2xx, how many failed, latency in microseconds."""

    rate: float
    refused: int
    failed: int
    p50_us: float
    p99_us: float


def install() -> None:
    """Installs wrk when it is missing."""
    need(PROGRAM)


def run(url: str, body: bytes, headers: dict[str, str], folder: Path, *, connections: int, seconds: int) -> Load:
    """Loads `url` with POSTs of `body`."""
    script = folder / "load.lua"
    lines = "\n".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
    script.write_text(SCRIPT % (json.dumps(body.decode()), lines))
    command = [PROGRAM, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, check=True, timeout=seconds + 60)
    found = re.search(rb"\{.*\}", done.stdout)
    if found is None:
        raise RuntimeError(f"wrk said nothing: {done.stdout.decode()[-500:]}")
    told = json.loads(found[0])
    return Load(told["requests"] / told["seconds"], told["refused"], told["failed"], told["p50"], told["p99"])
