"""Ports for servers that tests start."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence
from typing import Final

# Below Linux's ephemeral ports, so that no connection of somebody else's takes one between its choice and its use.
PORTS: Final = range(12_000, 32_000)
# Not the shared generator: hypothesis seeds that, and two test processes would choose the same ports.
_chance = random.SystemRandom()


def free_ports(count: int = 1, hosts: Sequence[str] = ("127.0.0.1",)) -> int:
    """The first of `count` ports in a row that neither TCP nor UDP has a socket on, at any of the addresses."""
    while True:
        first = _chance.choice(PORTS[:-count])
        if all(_is_free(host, first + at) for host in hosts for at in range(count)):
            return first


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
