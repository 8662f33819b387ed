"""How the signaling rules tell what they saw: sentences filled from a hit's messages, and the messages
cited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from engine.trace.finding import Evidence
from engine.trace.rules.base import NONE, Explanation, Hit, Rows
from engine.trace.tables import METHOD, Tables

T = TypeVar("T")
Explain = Callable[[Tables, Hit], Explanation]
VALUE_MAX = 200


def cite(tables: Tables, row: int, header: str = "", value: str | None = None, rfc: str = "") -> Evidence:
    """A message as evidence; with a header, its first value (or `value`), "(absent)" when it has none."""
    if value is None:
        value = (tables.header(row, header) or "(absent)") if header else tables.start_line(row)
    return Evidence(
        message=row + 1,
        time=tables.time_s(row),
        summary=tables.summary(row),
        header=header,
        value=value[:VALUE_MAX],
        rfc=rfc,
        call_id=tables.call_id(int(tables.messages.call[row])),
    )


def duration(milliseconds: float) -> str:
    """ "320 ms", "4.2 s", "12 min", "1,800 s" and so on: as a person would say it."""
    if abs(milliseconds) < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds:,.0f} s"


def is_message(tables: Tables, row: int) -> bool:
    """Whether a row names a message."""
    return row != NONE and row < len(tables.messages)


def sender(tables: Tables, row: int) -> str:
    """Endpoint that sent a message."""
    return tables.endpoint(int(tables.messages.source[row]))


class Words(dict[str, str]):
    """What a sentence may name, read only when it does.

    Of the hit's message and, with `other_` before, of its second one: `what` (in a few words), `line` (start
    line), `from`, `to` (endpoints), `value` (of the header asked for), `agent` (User-Agent or Server), `at`
    (time since the first message of the call), `method`, `status`. Of the hit: `code`, `count` (its value),
    `lasting` (its value as milliseconds), `apart` (time between the two messages), `number` (dialled), `call`
    (Call-ID).
    """

    def __init__(self, tables: Tables, hit: Hit, header: str, other_header: str) -> None:
        super().__init__()
        self.tables, self.hit = tables, hit
        self.headers = {"": header, "other_": other_header}

    def __missing__(self, key: str) -> str:
        tables, hit = self.tables, self.hit
        if key == "code":
            return str(hit.code)
        if key == "count":
            return f"{hit.value:,}"
        if key == "lasting":
            return duration(hit.value)
        if key == "call":
            return tables.call_id(hit.call)
        if key == "number":
            return tables.user(hit.row) or "unknown"
        if key == "apart":
            if tables.no_time or not is_message(tables, hit.other):
                return "some time"
            times = tables.messages.time_ns
            return duration(abs(int(times[hit.other]) - int(times[hit.row])) / 1e6)
        prefix = "other_" if key.startswith("other_") else ""
        row = hit.other if prefix else hit.row
        return self._of(row, key.removeprefix("other_"), self.headers[prefix])

    def _of(self, row: int, key: str, header: str) -> str:
        tables = self.tables
        if not is_message(tables, row):
            return "(not seen)"
        if key == "what":
            return tables.summary(row)
        if key == "line":
            return tables.start_line(row)[:VALUE_MAX]
        if key == "from":
            return tables.endpoint(int(tables.messages.source[row]))
        if key == "to":
            return tables.endpoint(int(tables.messages.target[row]))
        if key == "value":
            return (tables.header(row, header) or "(absent)")[:VALUE_MAX]
        if key == "agent":
            return tables.string(int(tables.messages.user_agent[row])) or "an unnamed product"
        if key == "method":
            return tables.method(row) or tables.start_line(row).split(" ", 1)[0][:24]
        if key == "status":
            return str(int(tables.messages.status[row]))
        if key == "at":
            if tables.no_time:
                return "an unknown time"
            first = int(tables.messages_of(int(tables.messages.call[row]))[0])
            times = tables.messages.time_ns
            return duration((int(times[row]) - int(times[first])) / 1e6)
        raise KeyError(key)


def says(
    sentence: str | Callable[[Hit], str],
    header: str = "",
    other_header: str = "",
    severity: Callable[[Hit], str | None] = lambda hit: None,
    confidence: Callable[[Hit], float | None] = lambda hit: None,
) -> Explain:
    """An explanation that fills a sentence (`Words`) and cites the hit's messages, the earlier one first."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        words = Words(tables, hit, header, other_header)
        text = sentence if isinstance(sentence, str) else sentence(hit)
        rows = [(hit.row, header)] if is_message(tables, hit.row) else []
        if is_message(tables, hit.other) and hit.other != hit.row:
            rows.append((hit.other, other_header))
        rows.sort()
        return Explanation(
            text.format_map(words),
            [cite(tables, row, name) for row, name in rows],
            severity=severity(hit),
            confidence=confidence(hit),
        )

    return explain


# ---- figures of a whole trace that several explanations quote: counted once a trace ----

_COUNTED: WeakKeyDictionary[Tables, dict[str, Any]] = WeakKeyDictionary()


def _once(tables: Tables, name: str, count: Callable[[Tables], T]) -> T:
    """`count(tables)`, kept for as long as the tables live."""
    known = _COUNTED.setdefault(tables, {})
    if name not in known:
        known[name] = count(tables)
    found: T = known[name]
    return found


def _pairs(tables: Tables, ends: Rows, others: Rows) -> npt.NDArray[np.uint64]:
    """Unordered host pairs of two endpoint columns that hold no NONE."""
    hosts = tables.endpoints.host.astype(np.uint64)
    a, b = hosts[ends], hosts[others]
    return np.minimum(a, b) << np.uint64(32) | np.maximum(a, b)


def _pair(one: int, other: int) -> int:
    return min(one, other) << 32 | max(one, other)


def _count_answered(tables: Tables) -> dict[int, int]:
    calls = tables.calls
    known = (calls.answer_row != NONE) & (calls.caller != NONE) & (calls.callee != NONE)
    pairs, counts = np.unique(_pairs(tables, calls.caller[known], calls.callee[known]), return_counts=True)
    return dict(zip(pairs.tolist(), counts.tolist(), strict=True))


def answered_between(tables: Tables, call: int) -> int:
    """How many calls between the same two hosts as `call` (either way round) were answered."""
    hosts = tables.endpoints.host
    caller, callee = int(tables.calls.caller[call]), int(tables.calls.callee[call])
    if NONE in (caller, callee):
        return 0
    return _once(tables, "answered", _count_answered).get(_pair(int(hosts[caller]), int(hosts[callee])), 0)


def _count_codes(tables: Tables, condition: str) -> dict[int, dict[int, int]]:
    hits, m = tables.sightings_of(condition), tables.messages
    rows, codes = hits.row, hits.code
    named = rows < len(m)
    rows, codes = rows[named], codes[named]
    named = (m.source[rows] != NONE) & (m.target[rows] != NONE)
    rows, codes = rows[named], codes[named]
    both = np.stack([_pairs(tables, m.source[rows], m.target[rows]), codes.astype(np.uint64)], axis=1)
    found: dict[int, dict[int, int]] = {}
    kinds, counts = np.unique(both, axis=0, return_counts=True)
    for at in np.argsort(-counts, kind="stable").tolist():
        found.setdefault(int(kinds[at, 0]), {})[int(kinds[at, 1])] = int(counts[at])
    return found


def codes_between(tables: Tables, condition: str, row: int) -> dict[int, int]:
    """How often each code of a condition's sightings occurs between the hosts of a message, most frequent
    first."""
    found = _once(tables, f"codes {condition}", lambda tables: _count_codes(tables, condition))
    source, target = tables.peers(row)
    return found.get(_pair(source, target), {})


def _count_invites(tables: Tables) -> npt.NDArray[np.intp]:
    x = tables.transactions
    invites = (x.method == METHOD["INVITE"]) & (x.first != NONE) & (x.target != NONE)
    return np.bincount(tables.endpoints.host[x.target[invites]], minlength=len(tables.endpoints))


def invites_to(tables: Tables, host: int) -> int:
    """How many INVITE transactions went to a host (endpoints row with port 0)."""
    return 0 if host == NONE else int(_once(tables, "invites", _count_invites)[host])
