"""The bus between processes: requests, answers and events, over a Unix socket or over RabbitMQ.

    async with await open_bus("unix:///var/lib/trunkline/run/bus.sock", "api.0") as bus:
        status = await bus.request("worker.0", "worker.status")
        await bus.subscribe("call.#", on_call_event)
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.bus.bus import Bus
from engine.bus.errors import (
    BadFrame,
    BadPayload,
    BusError,
    Busy,
    Disconnected,
    NameTaken,
    RemoteError,
    RequestTimeout,
    SocketRefused,
    TargetGone,
    TooLarge,
    UnknownSubject,
    UnknownTarget,
)
from engine.bus.hub import Hub
from engine.bus.limits import Limits
from engine.bus.messages import Message
from engine.bus.subscription import Subscription


async def open_bus(url: str, name: str, limits: Limits | None = None) -> Bus:
    """A bus that is connected, under `name`.

    `url` is "unix:///path/of/the/socket", or "amqp://user:password@host/vhost" ("amqps://" with TLS) for RabbitMQ,
    where "?prefix=word" keeps several installations on one virtual host apart. Raises ValueError for another url and a
    BusError when there is no connection within `limits.connect_s`.
    """
    limits = limits or Limits()
    parts = urlsplit(url)
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        from engine.bus.unix import dial

        bus = Bus(name, partial(dial, Path(unquote(parts.path)), name, limits), limits)
    elif parts.scheme in ("amqp", "amqps"):
        from engine.bus.amqp import dial as dial_broker

        bus = Bus(name, partial(dial_broker, url, name, limits), limits)
    else:
        raise ValueError(f"a bus url starts with unix:///, amqp:// or amqps://, not {parts.scheme or url[:20]!r}")
    await bus.open()
    return bus


__all__ = [
    "BadFrame", "BadPayload", "Bus", "BusError", "Busy", "Disconnected", "Hub", "Limits", "Message", "NameTaken",
    "RemoteError", "RequestTimeout", "SocketRefused", "Subscription", "TargetGone", "TooLarge", "UnknownSubject",
    "UnknownTarget", "open_bus",
]  # fmt: skip
