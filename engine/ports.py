"""Whether a port can be had, asked before any process is started for it."""

from __future__ import annotations

import socket


def must_be_free(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    """Raises OSError when nothing may be bound to an IP address and port, or may not listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        if kind == socket.SOCK_STREAM:
            probe.listen(1)


__all__ = ["must_be_free"]
