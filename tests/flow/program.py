"""A SIP program of others that a test runs: started on free ports, waited for until it listens, stopped for certain, its log told on failure.

Each runs in a process group of its own, which is ended as a whole, and dies with the process that started it, however that ends.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from tests.running import ENVIRONMENT

START_S: Final = 30.0
STOP_S: Final = 10.0
STEP_S: Final = 0.01
LOG_LINES: Final = 120
_LISTENS: Final = {"tcp": "0A", "udp": "07"}
Kind = Literal["tcp", "udp"]


class Program:
    """A program that runs, and what it told."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    def told(self) -> str:
        """All that it wrote to its output so far."""
        return self.log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """Its exit status, minus the signal where that ended it; None while it runs. It is not reaped: its group's id stays its own."""
        if self.process.returncode is not None:
            return self.process.returncode
        found = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def wait_for_ports(self, *wanted: tuple[Kind, int], within_s: float = START_S) -> None:
        """Until it listens. Raises AssertionError when it ended, or does not in time."""
        deadline = time.monotonic() + within_s
        while not all(is_bound(kind, port) for kind, port in wanted):
            assert self.status is None, f"{self.name} ended with {self.status} before it listened"
            assert time.monotonic() < deadline, f"{self.name} does not listen on {wanted}"
            time.sleep(STEP_S)

    def wait_for_told(self, text: str, within_s: float = START_S) -> None:
        """Until its output has a text. Raises AssertionError when it ended without, or does not in time."""
        deadline = time.monotonic() + within_s
        while text not in self.told():
            assert self.status is None or text in self.told(), f"{self.name} ended without having told {text!r}"
            assert time.monotonic() < deadline, f"{self.name} did not tell {text!r}"
            time.sleep(STEP_S)

    def wait_for_end(self, within_s: float) -> int:
        """Its exit status. Raises AssertionError when it does not end by itself in time."""
        self._wait(within_s)
        status = self.status
        assert status is not None, f"{self.name} did not end within {within_s} s"
        return status

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal, where it still runs."""
        if self.status is None:
            self.process.send_signal(number)

    def stop(self) -> None:
        """Asks it to end, and sees to it that it and all that it started do."""
        if self.process.returncode is not None:
            return
        try:
            self.signal(signal.SIGTERM)
            self._wait(STOP_S)
        finally:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _wait(self, within_s: float) -> None:
        if self.status is None:
            process = os.pidfd_open(self.process.pid)
            try:
                select.select([process], [], [], within_s)
            finally:
                os.close(process)


@contextmanager
def program(name: str, command: Sequence[str], folder: Path, more_logs: Sequence[Path] = ()) -> Iterator[Program]:
    """Starts a program in a folder and stops it in the end. What fails meanwhile is shown with the end of its logs."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            # setpriv becomes the program, which the kernel asks to end when its parent does: only then does Kamailio end its own processes
            ["setpriv", "--pdeathsig", "TERM", *command], cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    made = Program(name, process, log)
    try:
        yield made
    except BaseException as error:
        made.stop()
        for path in (log, *more_logs):
            error.add_note(f"---- {path.name} of {name} (exit status {process.returncode}) ----\n{end_of(path)}")
        raise
    finally:
        made.stop()


def end_of(log: Path) -> str:
    """Its last lines."""
    if not log.exists():
        return "(never written)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def path_of(name: str) -> str:
    """Where a program is. Raises RuntimeError when it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{name} is missing: ci/sip_setup.sh installs it")
    return found


def is_bound(kind: Kind, port: int) -> bool:
    """Whether somebody listens there, asked of the kernel: a probe would be a message or a connection that the program counts."""
    ending, state = f":{port:04X}", _LISTENS[kind]
    for name in (kind, f"{kind}6"):
        path = Path("/proc/net") / name
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[1].endswith(ending) and fields[3] == state:
                return True
    return False


def bracketed(host: str) -> str:
    """A host as it stands in a URI."""
    return f"[{host}]" if ":" in host else host


__all__ = ["Kind", "Program", "bracketed", "end_of", "is_bound", "path_of", "program"]
