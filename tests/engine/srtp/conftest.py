"""The kernel's inside, built once a test run under address and undefined-behaviour checks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.running import ENVIRONMENT, ROOT

KERNEL = ROOT / "engine" / "_native" / "c"
FLAGS = ("-std=gnu11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", f"-I{KERNEL}")


@pytest.fixture(scope="session")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs `inside.c` with arguments and gives what it printed; fails with its complaint."""
    target = tmp_path_factory.mktemp("srtp") / "inside"
    sources = [Path(__file__).with_name("inside.c"), *sorted(KERNEL.glob("srtp*.c"))]
    subprocess.run(["cc", *FLAGS, "-o", target, *sources, "-lcrypto"], check=True, env=ENVIRONMENT)

    def told(*arguments: object) -> str:
        command = [str(target), *map(str, arguments)]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
        assert run.returncode == 0, run.stderr[-4000:]
        return run.stdout.strip()

    return told
