"""How the signaling rules tell what they saw: sentences filled from a hit's messages, and the messages cited."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from engine.trace.finding import Evidence
from engine.trace.rules.base import NONE, Explanation, Hit

if TYPE_CHECKING:
    from engine.trace.tables import Tables

Explain = Callable[["Tables", Hit], Explanation]
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


class Words(dict[str, str]):
    """What a sentence may name, read only when it does.

    Of the hit's message and, with `other_` before, of its second one: `what` (in a few words), `line` (start line),
    `from`, `to` (endpoints), `value` (of the header asked for), `agent` (User-Agent or Server), `at` (seconds since the
    first message of the call). Of the hit: `code`, `count` (its value), `lasting` (its value as milliseconds),
    `apart` (time between the two messages), `number` (dialled), `call` (Call-ID).
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


def answered_between(tables: Tables, call: int) -> int:
    """How many calls between the same two hosts as `call` (either way round) were answered."""
    calls, hosts = tables.calls, tables.endpoints.host
    ends = int(calls.caller[call]), int(calls.callee[call])
    if NONE in ends:
        return int(np.count_nonzero(calls.answer_row != NONE))
    pair = {int(hosts[end]) for end in ends}
    answered = calls.answer_row != NONE
    known = answered & (calls.caller != NONE) & (calls.callee != NONE)
    callers, callees = hosts[calls.caller[known]], hosts[calls.callee[known]]
    both = np.isin(callers, list(pair)) & np.isin(callees, list(pair))
    return int(np.count_nonzero(both))


def codes_between(tables: Tables, condition: str, row: int) -> dict[int, int]:
    """How often each code of a condition's sightings occurs between the hosts of a message, most frequent first."""
    hits = tables.sightings_of(condition)
    m, hosts = tables.messages, tables.endpoints.host
    rows = hits.row
    good = (rows != NONE) & (m.source[np.minimum(rows, len(m) - 1)] != NONE)
    good &= m.target[np.minimum(rows, len(m) - 1)] != NONE
    rows, codes = rows[good], hits.code[good]
    here = set(tables.peers(row))
    same = np.isin(hosts[m.source[rows]], list(here)) & np.isin(hosts[m.target[rows]], list(here))
    values, counts = np.unique(codes[same], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {int(values[at]): int(counts[at]) for at in order}
