"""Where SIP messages come from and go to, for those who need not know the transport."""

from __future__ import annotations

from typing import Protocol


class Flow(Protocol):
    """A peer's address on a datagram socket, or one connection (RFC 5626 1)."""

    @property
    def reliable(self) -> bool:
        """Whether the transport itself repeats what was lost."""
        ...

    @property
    def peer(self) -> tuple[str, int]:
        """Address and port of the other side."""
        ...

    @property
    def local(self) -> tuple[str, int]:
        """Address and port of our side; an unspecified address where the socket takes all of them."""
        ...

    @property
    def transport(self) -> str:
        """Its name in a Via: UDP, TCP, TLS, WS or WSS."""
        ...

    @property
    def alive(self) -> bool:
        """Whether there is still something to send over: a connection may be closed."""
        ...

    def close(self) -> None:
        """Ends a connection, behind what was written. Nothing where it is none."""
        ...

    def send(self, data: bytes) -> None:
        """Sends one message. Raises OSError when that is known to be impossible."""
        ...


__all__ = ["Flow"]
