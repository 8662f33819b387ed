"""A private PostgreSQL cluster for tests: own directory, own Unix socket, no TCP port, gone when the last test process is.

`cluster(DIRECTORY)` starts one, or joins the one that another process of the same test run has started there; `database` makes an
empty database in it. A keeper process (this file, run as a script) owns the cluster and waits for an exclusive lock that every
user holds shared, so that even killed test processes leave none behind.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETUP = Path(__file__).parents[1] / "ci" / "store_setup.sh"
SERVERS = Path("/usr/lib/postgresql")
START_S = 120.0
STEP_S = 0.05
PORT = 5432  # only names the socket: nothing listens on TCP
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    # a kill of the clients is tested, not one of the machine
    "fsync": "off",
}


def binaries() -> Path:
    """Where initdb and postgres are, installed first when they are missing. Raises RuntimeError when that fails."""
    if not any(SERVERS.glob("*/bin/initdb")):
        made = subprocess.run([os.fspath(SETUP)], capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError(f"PostgreSQL could not be installed:\n{made.stdout}{made.stderr}")
    return max(SERVERS.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3])).parent


def directory_of_run(base: Path) -> Path:
    """Where the cluster of this test run is noted, from pytest's temporary directory: one for all of xdist's workers."""
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "postgresql"


@contextmanager
def cluster(directory: Path) -> Iterator[str]:
    """The socket directory of a running cluster. Raises RuntimeError, with the end of its log, when there is none."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "users.lock").open("w") as users, (directory / "start.lock").open("w") as start:
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(start, fcntl.LOCK_EX)
        try:
            noted = directory / "socket"
            if not noted.exists():
                _start_keeper(directory, noted)
            socket = noted.read_text()
        finally:
            fcntl.flock(start, fcntl.LOCK_UN)
        yield socket


@contextmanager
def database(socket: str) -> Iterator[str]:
    """The url of a new, empty database, dropped at the end."""
    name = f"t{secrets.token_hex(8)}"
    _statement(socket, f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        yield f"postgresql://trunkline@/{name}?host={socket}&port={PORT}"
    finally:
        _statement(socket, f'DROP DATABASE "{name}" WITH (FORCE)')


def _statement(socket: str, statement: str) -> None:
    told = subprocess.run(
        [os.fspath(binaries() / "psql"), "-qXAt", "-h", socket, "-p", str(PORT), "-U", "trunkline", "-d", "postgres",
         "-c", statement],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if told.returncode:
        raise RuntimeError(f"{statement}: {told.stderr}")


def _start_keeper(directory: Path, noted: Path) -> None:
    log = directory / "keeper.log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, __file__, os.fspath(directory), os.fspath(binaries())],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_S
    while not noted.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.kill()
            end = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise RuntimeError(f"PostgreSQL did not start (ci/store_setup.sh installs it):\n{end}")
        time.sleep(STEP_S)
    # The keeper outlives this process by design; nobody is to warn that it still runs.
    keeper.returncode = 0


def _plain_user() -> str | None:
    """Who the server runs as: PostgreSQL refuses to be root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def keep(directory: Path, programs: Path) -> None:
    """Runs a cluster until nobody uses `directory` any more, then removes it."""
    # pytest's own directories are closed to other users, and their paths too long for a socket's
    home = Path(tempfile.mkdtemp(prefix="tl-pg-"))
    user = _plain_user()
    if user is not None:
        shutil.chown(home, user)
    server: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(
            [programs / "initdb", "-D", home / "data", "-U", "trunkline", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
             "--no-sync"],
            user=user, cwd=home, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        server = subprocess.Popen(
            [programs / "postgres", "-D", home / "data", "-k", home, "-p", str(PORT), *options], user=user, cwd=home
        )
        ready = [programs / "pg_isready", "-q", "-h", home, "-p", str(PORT)]
        deadline = time.monotonic() + START_S
        while subprocess.run(ready, check=False).returncode:
            if server.poll() is not None or time.monotonic() > deadline:
                print(f"the server ended with {server.poll()}", flush=True)
                return
            time.sleep(STEP_S)
        written = directory / "socket.part"
        written.write_text(os.fspath(home))
        written.rename(directory / "socket")
        with (directory / "users.lock").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (directory / "socket").unlink()
    finally:
        if server is not None and server.poll() is None:
            server.send_signal(signal.SIGQUIT)  # at once: nothing in it is wanted any more
            server.wait()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]))


__all__ = ["binaries", "cluster", "database", "directory_of_run", "keep"]
