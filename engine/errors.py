"""The engine's errors: each has a stable code; the message is a sentence with the fact in it."""

from __future__ import annotations


class EngineError(Exception):
    """Base of everything the engine raises on purpose."""

    code = "engine.error"


class TraceError(EngineError):
    """An input that is no readable trace: missing, empty of anything known, or of a format only named."""

    code = "trace.unreadable"


class CapacityError(EngineError):
    """A limit was reached: memory, inputs in one trace."""

    code = "engine.capacity"
