"""What goes wrong on the way to RabbitMQ."""

from __future__ import annotations

from engine.errors import EngineError


class RealtimeError(EngineError):
    """Base of what publishing raises on purpose."""

    code = "realtime.error"


class SpoolTaken(RealtimeError):
    """Another process has the spool open."""

    code = "realtime.spool_taken"


class BrokerAway(RealtimeError):
    """The broker is not there, or does not do what publishing needs."""

    code = "realtime.broker_away"


class Refused(RealtimeError):
    """The broker did not take a message, as a queue that is full does; it may later."""

    code = "realtime.refused"


__all__ = ["BrokerAway", "RealtimeError", "Refused", "SpoolTaken"]
