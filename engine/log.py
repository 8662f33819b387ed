"""The log of a process: lines of JSON, or text for people; never a secret, never a second line.

Standard logging does the work; structlog formats. Lines go to standard error straight from the caller: the pipe of a
service manager takes them faster than a queue and a thread would, and nothing is lost when the process is killed.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

FIELD_MAX = 2000
HIDDEN = "***"
SECRET_NAMES = re.compile(r"(?i)(?:authorization|api[_-]?key|password|passphrase|secret|token|credential|cookie)")
# Keys of ours, bearer and basic credentials, passwords in URLs, SDES keys: wherever they stand in a text.
_SECRETS = re.compile(
    r"(sips_)[0-9A-Za-z]{8,}|((?i:bearer|basic)\s+)[\w.~+/=-]{8,}|(://[^\s:/@]*:)[^\s/@]+(?=@)|(inline:)[\w+/=]{16,}"
    r"|((?i:password|secret|token|api_key|admin_key)[\"']?\s*[:=]\s*[\"']?)[^\s\"',&;]{4,}"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x80-\x9f\u2028\u2029]")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def cleaned(text: str) -> str:
    """A text without secrets and control characters, at most FIELD_MAX characters of it."""
    text = _SECRETS.sub(lambda found: (found[found.lastindex or 0] or "") + HIDDEN, text[: 4 * FIELD_MAX])
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)[:FIELD_MAX]


def _clean(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if SECRET_NAMES.search(name) and value:
            event[name] = HIDDEN
        elif isinstance(value, str) and name != "exception":
            event[name] = cleaned(value)
    if "exception" in event:
        lines = str(event["exception"]).splitlines()[-40:]
        event["exception"] = [cleaned(line) for line in lines]
    return event


def _flat_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    lines = event.pop("exception", None)
    if lines:
        event["event"] = f"{event.get('event', '')} | {' | '.join(line.strip() for line in lines)}"
    return event


def _number(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event


def configure(level: str = "info", shape: str = "text", stream: TextIO | None = None) -> None:
    """Sets up the log of this process. Raises ValueError for an unknown level or shape ("text" or "json")."""
    if level not in LEVELS or shape not in ("text", "json"):
        raise ValueError(f"no such log: level {level}, format {shape}")
    stream = sys.stderr if stream is None else stream
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: list[Any] = [_number, _clean]
    if shape == "json":
        last.append(structlog.processors.JSONRenderer(ensure_ascii=True))
    else:
        colors = bool(getattr(stream, "isatty", lambda: False)())
        last += [_flat_exception, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=last))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    set_level(level)
    for noisy in ("aiormq", "aio_pika", "aiosqlite", "sqlalchemy", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)  # an error for each try to connect again, which whoever tries tells once


def set_level(level: str) -> None:
    """Changes the level at run time. Raises ValueError for an unknown one."""
    if level not in LEVELS:
        raise ValueError(f"no such log level: {level}")
    logging.getLogger().setLevel(LEVELS[level])


def bind(**fields: str) -> None:
    """Adds fields, such as request_id and call_id, to every line of the current task."""
    structlog.contextvars.bind_contextvars(**fields)


__all__ = ["bind", "cleaned", "configure", "set_level"]
