"""Ports for servers that tests start."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections import deque
from collections.abc import Sequence
from typing import Final

# Below Linux's ephemeral ports, so that no connection of somebody else's takes one between its choice and its use.
PORTS: Final = range(12_000, 32_000)
WORKERS: Final = 2  # processes of tests side by side, each with ports of its own
# Not the shared generator: hypothesis seeds that, and two test processes would choose the same ports.
_chance = random.SystemRandom()
# What was asked for a while ago: a program that was started with them may bind them only later.
_given: deque[range] = deque(maxlen=40)
TRIES: Final = 1_000  # then what was given is not looked at: between many small pieces there may be no room for a large one


def _share() -> range:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    size = len(PORTS) // WORKERS
    return PORTS[worker * size : (worker + 1) * size]


def free_ports(count: int = 1, hosts: Sequence[str] = ("127.0.0.1",)) -> int:
    """The first of `count` ports in a row that neither TCP nor UDP has a socket on, at any of the addresses, and that were not given to somebody else just now."""
    for tries in itertools.count():
        first = _chance.choice(_share()[:-count])
        wanted = range(first, first + count)
        if tries < TRIES and any(each.start < wanted.stop and wanted.start < each.stop for each in _given):
            continue
        if all(_is_free(host, port) for host in hosts for port in wanted):
            _given.append(wanted)
            return first
    raise AssertionError("there is always another try")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(family, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


__all__ = ["free_ports"]
