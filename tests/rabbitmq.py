"""A private RabbitMQ broker for tests: own node, own directories, free ports, gone when the last test process is.

`broker(DIRECTORY)` starts one, or joins the one that another process of the same test run has started there. A keeper
process (this file, run as a script) owns it and waits for an exclusive lock that every user holds shared, so that even
killed test processes leave no broker behind.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_ports

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_S = 120
STEP_S = 0.1


@contextmanager
def broker(directory: Path) -> Iterator[str]:
    """The url of a broker that lives in `directory`. Raises RuntimeError, with the end of its log, when there is none."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "users.lock").open("w") as users, (directory / "start.lock").open("w") as start:
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(start, fcntl.LOCK_EX)
        try:
            url_file = directory / "url"
            if not url_file.exists():
                _start_keeper(directory, url_file)
            url = url_file.read_text()
        finally:
            fcntl.flock(start, fcntl.LOCK_UN)
        yield url


def directory_of_run(base: Path) -> Path:
    """Where the broker of this test run lives, from pytest's temporary directory: one for all of xdist's workers."""
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "rabbitmq"


def _start_keeper(directory: Path, url_file: Path) -> None:
    log = directory / "keeper.log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, __file__, os.fspath(directory)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_S
    while not url_file.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.kill()
            end = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise RuntimeError(f"RabbitMQ did not start (ci/bus_setup.sh installs it):\n{end}")
        time.sleep(STEP_S)
    # The keeper outlives this process by design; nobody is to warn that it still runs.
    keeper.returncode = 0


def _environment(directory: Path, port: int, epmd_port: int) -> dict[str, str]:
    (directory / "enabled_plugins").write_text("[].\n")
    (directory / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.file.level = warning\nloopback_users = none\n"
    )
    return {
        **{name: text for name, text in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
        "HOME": os.fspath(directory),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "RABBITMQ_CONFIG_FILE": os.fspath(directory / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": os.fspath(directory / "no-rabbitmq-env.conf"),
        "RABBITMQ_DIST_PORT": str(free_ports()),
        "RABBITMQ_ENABLED_PLUGINS_FILE": os.fspath(directory / "enabled_plugins"),
        "RABBITMQ_GENERATED_CONFIG_DIR": os.fspath(directory / "config"),
        "RABBITMQ_LOG_BASE": os.fspath(directory / "log"),
        "RABBITMQ_MNESIA_BASE": os.fspath(directory / "mnesia"),
        "RABBITMQ_NODENAME": f"trunkline-{secrets.token_hex(4)}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_PID_FILE": os.fspath(directory / "pid"),
        "RABBITMQ_SCHEMA_DIR": os.fspath(directory / "schema"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
    }


def _answers(port: int) -> bool:
    """Whether AMQP is spoken there: a wrong protocol header is answered with the right one (AMQP 0-9-1, 4.2.2)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            probe.sendall(b"AMQP\x00\x00\x00\x00")
            return probe.recv(8).startswith(b"AMQP")
    except OSError:
        return False


def keep(directory: Path) -> None:
    """Runs a broker until nobody uses `directory` any more, then ends its own process group."""
    port, epmd_port = free_ports(), free_ports()
    environment = _environment(directory, port, epmd_port)
    subprocess.Popen(["epmd", "-port", str(epmd_port)], env=environment)
    server = subprocess.Popen([os.fspath(SERVER)], env=environment, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                print(f"the server ended with {server.poll()}", flush=True)
                return
            time.sleep(STEP_S)
        written = directory / "url.part"
        written.write_text(f"amqp://guest:guest@127.0.0.1:{port}/")
        written.rename(directory / "url")
        with (directory / "users.lock").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (directory / "url").unlink()
    finally:
        # The server's scripts start further processes: the whole group ends, this process with it.
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))


__all__ = ["broker", "directory_of_run", "keep"]
