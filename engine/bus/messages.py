"""What handlers see of the bus, and what a transport has to do for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, overload

import msgspec

from engine.bus.errors import BadPayload

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True):
    """A request or an event that arrived: who sent it, its subject or topic, and the payload as msgpack."""

    source: str
    subject: str
    body: bytes

    @overload
    def read(self) -> Any: ...
    @overload
    def read(self, shape: type[T]) -> T: ...
    def read(self, shape: Any = Any) -> Any:
        """The payload as `shape`, builtin types without one. Raises BadPayload when it is of another shape."""
        return read_payload(self.body, shape, self.subject)


class Outcome(msgspec.Struct, frozen=True):
    """How a request ended: an answer, a failure of its handler, or without one having finished it."""

    kind: Literal["answer", "fail", "decline"]
    body: bytes = b""
    code: str = ""
    text: str = ""


Handler: TypeAlias = Callable[[Message], Awaitable[Any]]
Listener: TypeAlias = Callable[[Message], Awaitable[None]]
Reply: TypeAlias = Callable[[Outcome], Awaitable[None]]


class Receiver(Protocol):
    """What a transport calls; none of it waits."""

    def arrived(self, message: Message, reply: Reply) -> None:
        """A request; `reply` is to be called once."""

    def resolved(self, number: int, outcome: Outcome) -> None:
        """The end of a request of our own."""

    def heard(self, message: Message) -> None:
        """An event."""

    def missed(self, count: int) -> None:
        """So many events were dropped on the way."""


class Link(Protocol):
    """One connection to a hub or broker. Everything raises Disconnected once it broke.

    `ended` gets the reason as text when it breaks.
    """

    ended: asyncio.Future[str]

    async def ask(self, number: int, target: str, subject: str, body: bytes) -> None:
        """Sends a request; its end is told by `Receiver.resolved`."""

    def forget(self, number: int) -> None:
        """The request is not awaited any more."""

    async def publish(self, topic: str, body: bytes) -> None:
        """Sends an event."""

    async def subscribe(self, pattern: str) -> None:
        """Returns when the events of `pattern` arrive."""

    async def unsubscribe(self, pattern: str) -> None:
        """Ends a subscription."""

    async def close(self) -> None:
        """Ends the connection."""


Dial: TypeAlias = Callable[[Receiver], Awaitable[Link]]


def read_payload(body: bytes, shape: Any, what: str) -> Any:
    """msgpack as `shape`. Raises BadPayload, naming `what`."""
    try:
        return msgspec.msgpack.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadPayload(f"the payload of {what} has the wrong shape: {error}") from None


__all__ = [
    "Dial", "Handler", "Link", "Listener", "Message", "Outcome", "Receiver", "Reply", "read_payload",
]  # fmt: skip
