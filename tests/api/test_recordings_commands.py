"""The recordings command against a server as it is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.recordings.rig import record
from tests.running import ROOT, Running, server

pytestmark = pytest.mark.slow

WAIT_S = 90.0


def command(running: Running, *arguments: str, code: int = 0) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    done = subprocess.run(
        [sys.executable, "-m", "api", "recordings", *arguments], cwd=ROOT, env={**environment, "TRUNKLINE_URL": running.url, "TRUNKLINE_KEY": running.key},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done
    return done.stdout if code == 0 else done.stdout + done.stderr


def listed(running: Running) -> list[str]:
    return [row["id"] for row in json.loads(command(running, "list", "--json"))["recordings"]]


def test_recordings_that_no_event_told_of_are_found_held_and_erased(tmp_path: Path) -> None:
    record(tmp_path / "recordings", "r1", "call-1@host", correlation=("ucid:00fa",))
    with server(data=tmp_path, TRUNKLINE_AUTH_ENABLED="on", TRUNKLINE_RECORDING_CLEANUP_DAYS="0") as running:
        deadline = time.monotonic() + WAIT_S
        while listed(running) != ["r1"]:
            assert time.monotonic() < deadline
        table = command(running, "list", "--correlation", "00fa")
        assert "r1" in table and "call-1@host" in table
        assert "r1" not in command(running, "list", "--correlation", "00fb")
        assert json.loads(command(running, "show", "r1"))["record"]["call_id"] == "call-1@host"
        assert json.loads(command(running, "verify", "r1"))["whole"] is True
        command(running, "hold", "r1", "--hold", "case-7", "--reason", "court")
        assert json.loads(command(running, "holds"))["holds"][0]["hold"]["reason"] == "court"
        assert "legal hold" in command(running, "erase", "r1", code=1)
        command(running, "release", "r1", "--hold", "case-7")
        assert json.loads(command(running, "sweep", "--dry-run"))["expired"] == []
        path = tmp_path / "recordings" / "r1-leg0.wav"
        path.write_bytes(path.read_bytes()[:-2] + b"\x01\x02")
        assert "its content was changed" in command(running, "verify", "r1", code=1)
        assert json.loads(command(running, "erase", "r1"))["erased"] is True
        assert listed(running) == []
        assert "was erased" in command(running, "show", "r1", code=1)
        assert "which recording" in command(running, "show", code=2)
        assert "--hold" in command(running, "hold", "r1", code=2)
        with running.client() as client:
            checks = client.get("/health").json()["checks"]
        assert checks["recordings"]["status"] == "healthy" and checks["keeper_store"]["status"] == "healthy"
