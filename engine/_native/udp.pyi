"""Datagrams in batches: one system call for many of them, either way."""

from typing import Final, final

DATAGRAM_MAX_BYTES: Final[int]
PEERS_KEPT: Final[int]

@final
class Datagrams:
    def __new__(cls, fd: int, six: bool) -> Datagrams: ...
    def receive(self) -> list[tuple[bytes, tuple[str, int]]]: ...
    def send(self, waiting: list[tuple[bytes, tuple[str, int]]]) -> tuple[int, int]: ...
