"""The store: calls and what was found in them, keys, quotas, jobs, webhooks and the audit log, in SQLite or PostgreSQL.

`Store.open(url)` gives the door to all of it; rows are frozen structs. One file a subject holds its queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.store.errors import (
    BadCursor,
    Busy,
    Conflict,
    Damaged,
    Full,
    StoreError,
    Unavailable,
    WrongRevision,
)  # fmt: skip
from engine.store.rows import (
    AuditRow,
    CallFilter,
    CallNames,
    CallRow,
    FindingRow,
    JobRow,
    Kept,
    KeptCall,
    KeptRecording,
    KeptTrace,
    KeyRow,
    MessageRow,
    Owner,
    PartyRow,
    RecordedFilter,
    RecordedRow,
    RecordingRow,
    StreamRow,
    SummaryRow,
    Taken,
    TraceRow,
    TranscriptRow,
    WebhookRow,
)  # fmt: skip

if TYPE_CHECKING:
    from engine.store.store import Store


def __getattr__(name: str) -> Any:
    # Rows and errors are told without SQLAlchemy, which takes a quarter of a second to load.
    if name == "Store":
        from engine.store.store import Store

        return Store
    raise AttributeError(name)


__all__ = [
    "AuditRow", "BadCursor", "Busy", "CallFilter", "CallNames", "CallRow", "Conflict", "Damaged", "FindingRow", "Full",
    "JobRow", "Kept", "KeptCall", "KeptRecording", "KeptTrace", "KeyRow", "MessageRow", "Owner", "PartyRow", "RecordedFilter", "RecordedRow",
    "RecordingRow", "Store", "StoreError", "StreamRow", "SummaryRow", "Taken", "TraceRow", "TranscriptRow", "Unavailable", "WebhookRow", "WrongRevision",
]  # fmt: skip
