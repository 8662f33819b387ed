"""What goes wrong on the bus. Every error has a stable code; the text is a sentence with the fact in it."""

from __future__ import annotations

from engine.errors import EngineError


class BusError(EngineError):
    """Base of everything the bus raises on purpose."""

    code = "bus.error"


class Disconnected(BusError):
    """There is no connection to the hub or broker, or it broke while an answer was awaited."""

    code = "bus.disconnected"


class UnknownTarget(BusError):
    """Nobody of that name is on the bus."""

    code = "bus.unknown_target"


class TargetGone(BusError):
    """The target took the request and left the bus before it answered: the work may or may not be done."""

    code = "bus.target_gone"


class UnknownSubject(BusError):
    """The target is there and serves no such subject."""

    code = "bus.unknown_subject"


class RequestTimeout(BusError):
    """No answer in time: the work may or may not be done."""

    code = "bus.timeout"


class Busy(BusError):
    """A queue on the way is full; the request was not taken and may be sent again later."""

    code = "bus.busy"


class TooLarge(BusError):
    """A payload passes the limit of a frame."""

    code = "bus.too_large"


class NameTaken(BusError):
    """Another process is on the bus under this name."""

    code = "bus.name_taken"


class BadFrame(BusError):
    """Bytes that are no frame of this protocol."""

    code = "bus.bad_frame"


class BadPayload(BusError):
    """A payload is not of the shape that its reader expects, or cannot be sent."""

    code = "bus.bad_payload"


class SocketRefused(BusError):
    """The hub cannot listen where it was told to."""

    code = "bus.socket"


class RemoteError(BusError):
    """The handler at the target failed. `code` is the code of its error, `bus.handler_failed` for a surprise."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


HANDLER_FAILED = "bus.handler_failed"
_UNDELIVERED: dict[str, type[BusError]] = {
    kind.code: kind
    for kind in (Disconnected, UnknownTarget, TargetGone, UnknownSubject, Busy, TooLarge, NameTaken, BadFrame)
}


def undelivered(code: str, text: str) -> BusError:
    """The error for a request that no handler answered, from the code that came over the wire."""
    return _UNDELIVERED.get(code, BusError)(text)


__all__ = [
    "HANDLER_FAILED", "BadFrame", "BadPayload", "BusError", "Busy", "Disconnected", "NameTaken", "RemoteError",
    "RequestTimeout", "SocketRefused", "TargetGone", "TooLarge", "UnknownSubject", "UnknownTarget", "undelivered",
]  # fmt: skip
