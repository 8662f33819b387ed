"""Tables of the store, the same in SQLite and PostgreSQL.

Two column types carry what either database would refuse. `Words` is text: PostgreSQL knows no NUL and no encoding knows lone
surrogates, so NUL is kept as its symbol U+2400 and a surrogate as U+FFFD, on writing and in what is asked for alike. `Document`
is JSON written in ASCII, which keeps both as escapes and so gives back exactly what was put in.
Unbounded texts are in no index: PostgreSQL's end at 2,704 bytes. Call-IDs are found by the digest beside them.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

NAME_MAX_CHARS: Final = 255
INTEGER_MAX: Final = 2**63 - 1
_REFUSED = re.compile("[\0\ud800-\udfff]")


def clean(text: str) -> str:
    """The text as both databases take it."""
    if text.isascii() and "\0" not in text:
        return text
    return _REFUSED.sub(lambda match: "\u2400" if match[0] == "\0" else "\ufffd", text)


def digest_of(call_id: str) -> bytes:
    """What a Call-ID is found by."""
    return hashlib.blake2b(clean(call_id).encode(), digest_size=16).digest()


def short(text: str) -> str:
    """The text as a `Name` keeps it."""
    text = clean(text)
    if len(text) <= NAME_MAX_CHARS:
        return text
    return f"{text[: NAME_MAX_CHARS - 33]}\u2026{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


class Words(TypeDecorator[str]):
    """Text from anywhere."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean(value)


class Name(TypeDecorator[str]):
    """Text that may be indexed and compared; of a longer one the beginning and a digest are kept, so that it stays itself."""

    impl = sa.String(NAME_MAX_CHARS)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else short(value)


class Id(TypeDecorator[str]):
    """A UUID as text; others are asked for as they come, and not found."""

    impl = sa.String(36)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean(value)


class Document(TypeDecorator[Any]):
    """A JSON value."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Names(TypeDecorator[tuple[str, ...]]):
    """A tuple of texts."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else tuple(json.loads(value))


metadata = sa.MetaData(
    naming_convention={
        "ix": "%(table_name)s_by_%(column_0_N_name)s",
        "uq": "%(table_name)s_one_%(column_0_name)s",
        "fk": "%(table_name)s_to_%(referred_table_name)s",
        "pk": "%(table_name)s_key",
    }
)

# SQLite gives out row numbers of its own only in a column that is exactly INTEGER.
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Time: sa.Double[float] = sa.Double()


def _owned() -> list[sa.Column[Any]]:
    return [sa.Column("owner", Name, nullable=False), sa.Column("team", Name)]


def _trace(*, nullable: bool) -> sa.Column[Any]:
    return sa.Column("trace_id", Id, sa.ForeignKey("traces.id", ondelete="CASCADE"), nullable=nullable)


def _call(*, nullable: bool = False, primary_key: bool = False) -> sa.Column[Any]:
    key = sa.ForeignKey("calls.number", ondelete="CASCADE")
    return sa.Column("call", sa.BigInteger, key, nullable=nullable, primary_key=primary_key, autoincrement=False)


keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Words, nullable=False),
    sa.Column("prefix", Words, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    *_owned(),
    sa.Column("plan", Words, nullable=False),
    sa.Column("scopes", Names, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("expires_at", Time),
    sa.Column("revoked_at", Time),
    sa.Column("last_used_at", Time),
    sa.Index(None, "owner"),
)

# Only in PostgreSQL: with SQLite the counts have a file of their own (engine/store/quotas.py).
quotas = sa.Table(
    "quotas",
    metadata,
    sa.Column("day", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(5), primary_key=True),
    sa.Column("name", Name, primary_key=True),
    sa.Column("used", sa.BigInteger, nullable=False),
    info={"only": "postgresql"},
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("actor", Name, nullable=False),
    sa.Column("action", Name, nullable=False),
    sa.Column("target", Name, nullable=False),
    sa.Column("outcome", Words, nullable=False),
    sa.Column("request_id", Words, nullable=False),
    sa.Column("address", Words, nullable=False),
    sa.Column("detail", Document, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Index(None, "actor", "number"),
    sa.Index(None, "action", "number"),
    sa.Index(None, "target", "number"),
    sa.Index(None, "at"),
)

traces = sa.Table(
    "traces",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Words, nullable=False),
    sa.Column("source", Name, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("stored_at", Time, nullable=False),
    *_owned(),
    sa.Column("summary", Document, nullable=False),
    sa.Index(None, "stored_at", "id"),
)

calls = sa.Table(
    "calls",
    metadata,
    sa.Column("number", Number, primary_key=True, autoincrement=True),
    sa.Column("uuid", Id, nullable=False, unique=True),
    sa.Column("kind", Name, nullable=False),
    sa.Column("state", Name, nullable=False),
    sa.Column("outcome", Name, nullable=False),
    sa.Column("from_user", Name, nullable=False),
    sa.Column("from_host", Name, nullable=False),
    sa.Column("to_user", Name, nullable=False),
    sa.Column("to_host", Name, nullable=False),
    sa.Column("started_at", Time),
    sa.Column("answered_at", Time),
    sa.Column("ended_at", Time),
    sa.Column("duration_ms", sa.BigInteger),
    sa.Column("pdd_ms", sa.BigInteger),
    sa.Column("status", sa.Integer),
    sa.Column("released_by", Name, nullable=False),
    sa.Column("codec", Name, nullable=False),
    sa.Column("source", Name, nullable=False),
    _trace(nullable=True),
    sa.Column("severity_counts", Document, nullable=False),
    sa.Column("severity_rank", sa.SmallInteger),  # 0 critical .. 4 info
    sa.Column("message_count", sa.BigInteger, nullable=False),
    sa.Column("stream_count", sa.BigInteger, nullable=False),
    sa.Column("worst_mos", Time),
    sa.Column("loss_percent", Time),
    *_owned(),
    sa.Column("created_at", Time, nullable=False),
    sa.Index(None, "owner", "number"),
    sa.Index(None, "team", "number"),
    sa.Index(None, "outcome", "number"),
    sa.Index(None, "source", "number"),
    sa.Index(None, "trace_id", "number"),
    sa.Index(None, "started_at"),
    sa.Index(None, "duration_ms"),
    sa.Index(None, "severity_rank", "number"),
    sqlite_autoincrement=True,  # the number of a deleted call is never given again
)

call_ids = sa.Table(
    "call_ids",
    metadata,
    _call(primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.LargeBinary(16), nullable=False),
    sa.Column("call_id", Words, nullable=False),
    sa.Index(None, "digest", "call"),
)

messages = sa.Table(
    "messages",
    metadata,
    _call(primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("packed", sa.LargeBinary, nullable=False),
)

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("id", Number, primary_key=True, autoincrement=True),
    _trace(nullable=True),
    _call(nullable=True),
    sa.Column("rule", Name, nullable=False),
    sa.Column("severity", Name, nullable=False),
    sa.Column("category", Name, nullable=False),
    sa.Column("title", Words, nullable=False),
    sa.Column("detail", Words, nullable=False),
    sa.Column("recommendation", Words, nullable=False),
    sa.Column("rfc", Words, nullable=False),
    sa.Column("confidence", Time, nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("evidence", Document, nullable=False),
    sa.Index(None, "call"),
    sa.Index(None, "trace_id"),
)

streams = sa.Table(
    "streams",
    metadata,
    sa.Column("id", Number, primary_key=True, autoincrement=True),
    _trace(nullable=True),
    _call(nullable=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("source", Words, nullable=False),
    sa.Column("target", Words, nullable=False),
    sa.Column("direction", Words, nullable=False),
    sa.Column("ssrc", sa.BigInteger, nullable=False),
    sa.Column("codec", Words, nullable=False),
    sa.Column("payload_type", sa.Integer),
    sa.Column("started_at", Time),
    sa.Column("duration_ms", sa.BigInteger, nullable=False),
    sa.Column("packets", sa.BigInteger, nullable=False),
    sa.Column("lost", sa.BigInteger, nullable=False),
    sa.Column("loss_percent", Time, nullable=False),
    sa.Column("jitter_ms", Time, nullable=False),
    sa.Column("jitter_max_ms", Time, nullable=False),
    sa.Column("delta_max_ms", Time, nullable=False),
    sa.Column("mos", Time),
    sa.Column("mos_worst_10s", Time),
    sa.Column("rtt_ms", Time),
    sa.Column("encrypted", sa.Boolean, nullable=False),
    sa.Column("recording", Name),
    sa.Index(None, "call"),
    sa.Index(None, "trace_id"),
    sa.Index(None, "recording"),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("url", Words, nullable=False),
    sa.Column("events", Names, nullable=False),
    sa.Column("secret", Words, nullable=False),
    *_owned(),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("updated_at", Time, nullable=False),
    sa.Column("last_success_at", Time),
    sa.Column("last_failure_at", Time),
    sa.Column("failures", sa.BigInteger, nullable=False),
    sa.Column("last_error", Words, nullable=False),
    sa.Index(None, "owner"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", Name, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("payload", Document, nullable=False),
    *_owned(),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("updated_at", Time, nullable=False),
    sa.Column("run_at", Time, nullable=False),
    _call(nullable=True),
    sa.Column("result", Document),
    sa.Column("error", Words, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("worker", Name),
    sa.Column("lease_until", Time),
    sa.Column("started_at", Time),
    sa.Column("finished_at", Time),
    sa.Index(None, "state", "run_at"),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "call"),
)

recordings = sa.Table(
    "recordings",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _call(),
    sa.Column("kind", Name, nullable=False),
    sa.Column("format", Name, nullable=False),
    sa.Column("path", Words, nullable=False),
    sa.Column("state", Name, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("duration_ms", sa.BigInteger),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("recording", Name),
    sa.Index(None, "call"),
    sa.Index(None, "recording"),
)

# Recordings of sessions, one row each; their files are rows of `recordings`.
recorded = sa.Table(
    "recorded",
    metadata,
    sa.Column("id", Name, primary_key=True),
    _call(),
    sa.Column("machine", Name, nullable=False),
    sa.Column("session", Words, nullable=False),
    sa.Column("state", Name, nullable=False),
    sa.Column("stage", Name, nullable=False),
    sa.Column("vendor", Name, nullable=False),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("duration_ms", sa.BigInteger, nullable=False),
    sa.Column("policy", Words, nullable=False),
    sa.Column("expires_at", Time),
    sa.Column("holds", sa.Integer, nullable=False),
    sa.Column("duplicate_of", Name, nullable=False),
    sa.Column("channels", Document, nullable=False),
    sa.Column("warnings", Names, nullable=False),
    sa.Index(None, "call"),
    sa.Index(None, "started_at", "id"),
)

correlations = sa.Table(
    "correlations",
    metadata,
    sa.Column("recording", Name, primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    _call(),
    sa.Column("kind", Name, nullable=False),
    sa.Column("value", Name, nullable=False),
    sa.Index(None, "call"),
    sa.Index(None, "value", "kind"),
)

parties = sa.Table(
    "parties",
    metadata,
    sa.Column("recording", Name, primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    _call(),
    sa.Column("participant_id", Words, nullable=False),
    sa.Column("aor", Name, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("role", Name, nullable=False),
    sa.Column("joined", Words, nullable=False),
    sa.Column("left", Words, nullable=False),
    sa.Index(None, "call"),
    sa.Index(None, "aor"),
)


def _text_of_call(name: str, column: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("id", Id, primary_key=True),
        _call(),
        sa.Column("kind", Name, nullable=False),
        sa.Column("format", Name, nullable=False),
        sa.Column("state", Name, nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("text", Words, nullable=False),
        sa.Column(column, Document, nullable=False),
        *([sa.Column("language", Name, nullable=False)] if name == "transcripts" else []),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("sha256", sa.String(64), nullable=False),
        *([sa.Column("recording", Name), sa.Index(None, "recording")] if name == "transcripts" else []),
        sa.Index(None, "call"),
    )


transcripts = _text_of_call("transcripts", "segments")
summaries = _text_of_call("summaries", "document")


__all__ = [
    "INTEGER_MAX", "NAME_MAX_CHARS", "Document", "Id", "Name", "Names", "Words", "audit", "call_ids", "calls", "clean", "correlations", "digest_of",
    "findings", "jobs", "keys", "messages", "metadata", "parties", "quotas", "recorded", "recordings", "short", "streams", "summaries", "traces", "transcripts",
    "webhooks",
]  # fmt: skip
