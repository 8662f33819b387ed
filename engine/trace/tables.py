"""The tables of a trace as numpy columns over native memory, and lazy access to the texts behind their rows.

`Tables` is what rules, ladders, the command and the API read. Columns are attributes of a table, one array a
column, named and typed in `engine/_native/c/tables.h` (and `stream_columns.h`): `tables.messages.status[row]`.
Nothing is decoded until it is asked for.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from engine._native import sdp as native_sdp
from engine._native import sip as native_sip
from engine._native import trace as native
from engine.trace.finding import Problem
from engine.trace.rules.base import NONE, Hits, Rows

CONDITIONS: dict[str, int] = {name: number for number, name in enumerate(native.condition_names())}
METHODS: tuple[str, ...] = native.method_names()
METHOD: dict[str, int] = {name: number for number, name in enumerate(METHODS)}
CODECS: tuple[str, ...] = native.codec_names()
CODEC: dict[str, int] = {name.upper(): number for number, name in enumerate(CODECS)}
TRANSPORTS = ("", "UDP", "TCP", "TLS", "SCTP", "WS", "WSS", "OTHER")
CALL_KINDS = ("other", "call", "registration", "options", "subscription", "message", "publish", "stray")
OUTCOMES = (
    "unknown", "answered", "busy", "cancelled", "rejected", "failed", "redirected", "challenged",
    "no-response", "pending", "no-answer", "done",
)  # fmt: skip


Texts = TypeVar("Texts")
KEPT_MAX = 256


def _kept(method: Callable[[Tables, int], Texts]) -> Callable[[Tables, int], Texts]:
    """Keeps what was told of a row: explanations of several rules name the same messages again and again."""
    name = method.__name__

    @functools.wraps(method)
    def told(tables: Tables, row: int) -> Texts:
        kept = tables.told[name]
        if row not in kept:
            if len(kept) >= KEPT_MAX:
                kept.clear()
            kept[row] = method(tables, row)
        known: Texts = kept[row]
        return known

    return told


class Table:
    """One table: columns are attributes, made when first asked for; `len()` is its rows.

    Arrays are views over native memory, read-only and valid as long as they live.
    """

    def __init__(self, trace: native.Trace, name: str) -> None:
        self.trace = trace
        self.name = name
        self.count: int = trace.rows(name)

    def __len__(self) -> int:
        return self.count

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in their order."""
        return tuple(native.COLUMN_PLACES[self.name])

    def __getattr__(self, name: str) -> npt.NDArray[Any]:
        try:
            column: npt.NDArray[Any] = self.trace.column(self.name, name)
        except KeyError:
            raise AttributeError(f"{self.name} has no column {name!r}") from None
        self.__dict__[name] = column
        return column


class Tables:
    """All tables of one finished trace."""

    def __init__(self, trace: native.Trace) -> None:
        self.trace = trace
        self.messages = Table(trace, "messages")
        self.transactions = Table(trace, "transactions")
        self.calls = Table(trace, "calls")
        self.media_lines = Table(trace, "media_lines")
        self.endpoints = Table(trace, "endpoints")
        self.strings = Table(trace, "strings")
        self.sightings = Table(trace, "sightings")
        self.events = Table(trace, "events")
        self.streams = Table(trace, "streams")
        self.call_messages: Rows = trace.call_messages()
        self.call_streams: Rows = trace.call_streams()
        self.endpoint_names: dict[int, str] = {}
        self.told: defaultdict[str, dict[int, Any]] = defaultdict(dict)
        self.problems: list[Problem] = []
        self.formats: list[str] = []
        self.no_time: bool = trace.no_time
        self.first_time_ns: int = trace.first_time_ns
        self.last_time_ns: int = trace.last_time_ns

    @functools.cached_property
    def invite_calls(self) -> npt.NDArray[np.intp]:
        """calls rows that an INVITE began."""
        return np.flatnonzero(self.calls.kind == 1)

    # ---- sightings ----

    def sighted(self, condition: str) -> bool:
        """Whether the native pass saw the condition at all."""
        return bool(self.trace.condition_count(CONDITIONS[condition]))

    def sightings_of(self, *conditions: str) -> Hits:
        """Sightings of the conditions, in order of call and arrival."""
        parts = [self.trace.sightings_of(CONDITIONS[name]) for name in conditions]
        return Hits(*(parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))))

    def call_conditions_of(self, call: int) -> frozenset[str]:
        """Conditions that the native pass sighted in a call."""
        words = self.trace.call_conditions()[call]
        return frozenset(name for name, number in CONDITIONS.items() if int(words[number >> 6]) >> (number & 63) & 1)

    # ---- texts ----

    def text(self, row: int) -> bytes:
        """The whole message of a messages row, as it was on the wire (or restored from a log)."""
        return self.trace.text(row)

    @_kept
    def start_line(self, row: int) -> str:
        """Its first line."""
        return self.text(row).lstrip(b"\r\n").split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8", "replace")

    @_kept
    def message(self, row: int) -> native_sip.Message:
        """The tokenized message: `.header(name) -> list[bytes]`, `.headers`, `.body` and so on."""
        return native_sip.scan(self.text(row))

    def headers(self, row: int, name: str) -> list[str]:
        """Every value of a header, unfolded."""
        return [value.decode("utf-8", "replace") for value in self.message(row).header(name)]

    def header(self, row: int, name: str) -> str:
        """First value of a header, or an empty string."""
        values = self.headers(row, name)
        return values[0] if values else ""

    @_kept
    def sdp(self, row: int) -> native_sdp.Description | None:
        """The session description of a messages row, or None."""
        return native_sdp.of_message(self.text(row))

    def media_section(self, line: int) -> str:
        """Text of a media_lines row, from its m= line on."""
        m = self.media_lines
        start = int(m.section_offset[line])
        text = self.text(int(m.message[line]))[start : start + int(m.section_length[line])]
        return text.decode("utf-8", "replace")

    def string(self, row: int) -> str:
        """Text of a strings row; empty for NONE."""
        return "" if row == NONE else self.trace.string(int(row)).decode("utf-8", "replace")

    @_kept
    def call_id(self, call: int) -> str:
        """Call-ID of a calls row; empty for NONE."""
        return "" if call == NONE else self.trace.call_id(int(call)).decode("utf-8", "replace")

    def user(self, row: int, header: str = "To") -> str:
        """User part of a message's From or To (or any address header); the number dialled or calling."""
        value = self.header(row, header)
        return native_sip.user_of(value.encode()).decode("utf-8", "replace") if value else ""

    # ---- rows around a row ----

    def messages_of(self, call: int) -> Rows:
        """Message rows of a call in time order (mirror copies included)."""
        start = int(self.calls.first_message[call])
        return self.call_messages[start : start + int(self.calls.message_count[call])]

    def streams_of(self, call: int) -> Rows:
        """Stream rows of a call."""
        start = int(self.calls.first_stream[call])
        return self.call_streams[start : start + int(self.calls.stream_count[call])]

    def transactions_of(self, call: int) -> range:
        """Transaction rows of a call, in order of their first message."""
        start = int(self.calls.first_transaction[call])
        return range(start, start + int(self.calls.transaction_count[call]))

    def media_lines_of(self, row: int) -> range:
        """media_lines rows of a messages row."""
        start = int(self.messages.media_line[row])
        return range(0) if start == NONE else range(start, start + int(self.messages.media_count[row]))

    # ---- names for people ----

    def host(self, endpoint: int) -> str:
        """Label or address (without port) of an endpoints row."""
        if endpoint == NONE:
            return "unknown"
        host = self.trace.host_row(endpoint)
        return self.endpoint_names.get(host) or self.trace.endpoint_host(host)

    def endpoint(self, endpoint: int) -> str:
        """"label", "ip:port" or "[v6]:port" of an endpoints row."""
        if endpoint == NONE:
            return "unknown"
        if self.endpoint_names and (label := self.endpoint_names.get(self.trace.host_row(endpoint))):
            return label
        return self.address(endpoint)

    @_kept
    def address(self, endpoint: int) -> str:
        """"ip:port" of an endpoints row, whatever its label."""
        return "unknown" if endpoint == NONE else self.trace.endpoint_address(endpoint)

    def peers(self, row: int) -> tuple[int, int]:
        """Host rows (source, target) of a messages row; NONE where unknown."""
        hosts = self.endpoints.host
        ends = int(self.messages.source[row]), int(self.messages.target[row])
        source, target = (NONE if end == NONE else int(hosts[end]) for end in ends)
        return source, target

    def method(self, row: int) -> str:
        """Method name of a messages row (that of the CSeq for responses); "" when not registered."""
        return METHODS[int(self.messages.method[row])]

    @_kept
    def summary(self, row: int) -> str:
        """A message in a few words: "INVITE 10.0.0.1:5060 -> 10.0.0.2:5060", "200 (INVITE) ..."."""
        status, method, source, target = self.trace.said(row)
        name = METHODS[method]
        what = f"{status} ({name})" if status else name or self.start_line(row)[:24]
        return f"{what} {self.endpoint(source)} -> {self.endpoint(target)}"

    def time_s(self, row: int) -> float | None:
        """Seconds since 1970 of a messages row, None when the input has no clock."""
        return None if self.no_time else int(self.messages.time_ns[row]) / 1e9
