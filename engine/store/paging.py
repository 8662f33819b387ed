"""Pages of a list, newest first: a cursor names the last row that was seen, so new rows shift nothing.

Cursors are opaque to callers and hold the list's name, so that one list's is not taken for another's.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Final, TypeVar

import msgspec

from engine.store.errors import BadCursor
from engine.store.models import INTEGER_MAX, clean

CURSOR_MAX_CHARS: Final = 200
LIMIT_MAX: Final = 1000

Cursor = TypeVar("Cursor")


class _Numbered(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    list_name: str
    number: int


class _Timed(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    list_name: str
    at: float
    id: str


def checked_limit(limit: int) -> int:
    """Raises ValueError for a page that holds nothing or too much."""
    if not 1 <= limit <= LIMIT_MAX:
        raise ValueError(f"a page has 1 to {LIMIT_MAX} rows")
    return limit


def cursor_of(list_name: str, number: int) -> str:
    """The cursor behind the row of that number."""
    return _written(_Numbered(list_name, number))


def number_of(list_name: str, cursor: str) -> int:
    """The number that a cursor stands behind. Raises BadCursor."""
    found = _read(cursor, _Numbered)
    if found.list_name != list_name or not 0 <= found.number <= INTEGER_MAX:
        raise BadCursor("the cursor is none of this list")
    return found.number


def timed_cursor_of(list_name: str, at: float, id: str) -> str:
    """The cursor behind the row of that time and id."""
    return _written(_Timed(list_name, at, id))


def time_of(list_name: str, cursor: str) -> tuple[float, str]:
    """The time and id that a cursor stands behind. Raises BadCursor."""
    found = _read(cursor, _Timed)
    if found.list_name != list_name or not math.isfinite(found.at) or clean(found.id) != found.id:
        raise BadCursor("the cursor is none of this list")
    return found.at, found.id


def _written(cursor: msgspec.Struct) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).rstrip(b"=").decode()


def _read(cursor: str, kind: type[Cursor]) -> Cursor:
    if len(cursor) <= CURSOR_MAX_CHARS and cursor.isascii():
        try:
            packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            return msgspec.msgpack.decode(packed, type=kind)
        except (binascii.Error, msgspec.MsgspecError, ValueError):
            pass
    raise BadCursor("the cursor is none of this list")


__all__ = ["LIMIT_MAX", "checked_limit", "cursor_of", "number_of", "time_of", "timed_cursor_of"]
