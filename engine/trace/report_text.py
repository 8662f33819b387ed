"""Findings, calls and streams as people read them in a terminal, and as rows for machines.

Everything that came out of a trace passes through `printable` before it is shown: a SIP header may hold escape
sequences, and a terminal obeys those.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.trace.finding import SEVERITIES, Evidence, Finding, Report, Summary

if TYPE_CHECKING:
    from engine.trace.tables import Tables

NONE = 0xFFFFFFFF
WIDTH_MIN, WIDTH_MAX = 40, 120
EVIDENCE_SHOWN = 3
CELL_MAX = 40
SRTP_LIKELY = 1 << 6  # enum rtp_flag in rtp.h
PAINT = {"critical": "1;97;41", "high": "1;31", "medium": "33", "low": "36", "info": "2", "bold": "1", "dim": "2", "good": "32"}

# C0 and C1 controls, DEL, line separators, bidirectional overrides, zero-width marks and lone surrogates
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)

JSON_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    known = {9: "\\t", 10: "\\n", 13: "\\r"}.get(number)
    return known or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


def printable(text: str) -> str:
    """The text with every character that a terminal or a browser would act on written as an escape."""
    return UNSAFE.sub(_escaped, text)


def harmless_json(encoded: bytes) -> bytes:
    """A JSON document with the controls escaped that JSON lets pass and a terminal obeys: DEL, C1, bidirectional marks."""
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    told = JSON_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", encoded.decode("utf-8"))
    return told.encode("utf-8")


def columns_of(text: str) -> int:
    """Terminal columns that the text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def clipped(text: str, columns: int) -> str:
    """The text in at most that many columns, the last of them an ellipsis where something was left out."""
    if columns_of(text) <= columns:
        return text
    kept, used = [], 0
    for character in text:
        used += columns_of(character)
        if used > columns - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def padded(text: str, columns: int, right: bool = False) -> str:
    """The text filled with spaces to that many columns; `right` aligns it there."""
    fill = " " * max(0, columns - columns_of(text))
    return fill + text if right else text + fill


def clock(time_ns: int, *, date: bool = False) -> str:
    """UTC time of nanoseconds since 1970: "07:19:38.107", with `date` "2024-07-08T07:19:38.107Z"."""
    seconds, rest = divmod(int(time_ns), 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns"
    told = f"{moment:%H:%M:%S}.{rest // 1_000_000:03d}"
    return f"{moment.year:04d}-{moment:%m-%d}T{told}Z" if date else told


def size_of(count: int) -> str:
    """Bytes for people: "812 B", "4.2 MB"."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


class Paint:
    """Colours words with SGR codes, or leaves them as they are."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{PAINT[style]}m{text}\x1b[0m" if self.on and text else text


# ---- findings ----


def report_text(report: Report, *, width: int = 100, color: bool = False, quiet: bool = False) -> str:
    """The report as text of at most `width` columns (where words allow). `quiet` leaves out all but the findings."""
    width = max(WIDTH_MIN, min(width, WIDTH_MAX))
    paint = Paint(color)
    parts: list[str] = []
    if not quiet:
        parts += [_headline(report.summary, paint), _counts(report.severity_counts, paint), ""]
    for number, finding in enumerate(report.findings, 1):
        parts += [*_finding(number, finding, width, paint), ""]
    if not report.findings:
        parts += ["Nothing to report.", ""]
    if quiet:
        return "\n".join(parts).rstrip() + "\n"
    if report.recommendations:
        parts.append(paint("bold", "What to do"))
        for number, advice in enumerate(report.recommendations, 1):
            parts += _wrapped(advice, width, f"{number:>3}. ", "     ")
        parts.append("")
    parts += _problems(report.summary, width, paint)
    return "\n".join(parts).rstrip() + "\n"


def _plural(count: int, one: str) -> str:
    return f"{count:,} {one}" + ("" if count == 1 else "s")


def _headline(summary: Summary, paint: Paint) -> str:
    parts = [_plural(summary.messages, "SIP message"), _plural(summary.calls, "call")]
    if summary.streams:
        parts.append(f"{_plural(summary.streams, 'stream')} ({summary.rtp_packets:,} RTP packets)")
    source = _plural(summary.files, "file") if summary.files > 1 else ""
    read = f"{size_of(summary.bytes)} of {printable(summary.format) or 'text'} in {summary.elapsed_ms:,.0f} ms"
    return paint("bold", ", ".join(parts)) + paint("dim", f"  ({', '.join(filter(None, (source, read)))})")


def _counts(counts: dict[str, int], paint: Paint) -> str:
    told = [paint(name, f"{counts[name]} {name}") for name in SEVERITIES if counts.get(name)]
    return "Findings: " + (", ".join(told) or paint("good", "none"))


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        printable(text), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    ) or [first.rstrip()]


def _finding(number: int, finding: Finding, width: int, paint: Paint) -> list[str]:
    severity = finding.severity if finding.severity in SEVERITIES else "info"
    title = f"{number}. {printable(finding.title)}"
    where = f"[{finding.category}] {finding.rule}" + (f", {finding.rfc}" if finding.rfc else "")
    lines = [f"{paint(severity, f'{severity.upper():<8}')} {paint('bold', clipped(title, width - 9))}"]
    lines += [paint("dim", line) for line in _wrapped(where, width, "         ", "         ")]
    lines += _wrapped(finding.detail, width, "         ", "         ")
    scope = []
    if finding.count > 1:
        scope.append(f"{finding.count:,} times")
    if finding.affected_calls > 1:
        scope.append(f"{finding.affected_calls:,} calls")
    elif finding.call_id:
        scope.append(f"call {clipped(printable(finding.call_id), width - 30)}")
    if scope:
        lines.append(paint("dim", f"         {', '.join(scope)}"))
    for item in finding.evidence[:EVIDENCE_SHOWN]:
        told = evidence_line(item)
        if told:
            lines.append(paint("dim", clipped(f"         · {told}", width)))
    if finding.recommendation:
        lines += _wrapped(finding.recommendation, width, "    fix: ", "         ")
    return lines


def evidence_line(item: Evidence) -> str:
    """One piece of evidence as a line of printable text; empty when it names nothing."""
    told = []
    if item.message:
        told.append(f"#{item.message}")
    if item.time is not None:
        told.append(clock(round(item.time * 1e6) * 1000))
    if item.stream is not None:
        told.append(f"stream {item.stream + 1}")
    if item.summary:
        told.append(item.summary)
    if item.header or item.value:
        told.append(f"{item.header}: {item.value}" if item.header else item.value)
    return printable("  ".join(told))


def _problems(summary: Summary, width: int, paint: Paint) -> list[str]:
    lines = []
    if summary.omitted_findings:
        lines.append(f"{summary.omitted_findings:,} more findings of the same rules were left out.")
    if summary.problems:
        lines.append(paint("bold", "Not readable"))
        for problem in summary.problems:
            where = f"{problem.file}: " if problem.file else ""
            told = f"{where}{problem.text}: {problem.count:,} (first at byte {problem.offset:,})"
            lines += _wrapped(told, width, "  - ", "    ")
    return lines


# ---- calls and streams as rows ----


def _ms(value: Any) -> int | None:
    return None if int(value) < 0 else int(value)


def _moment(tables: Tables, time_ns: Any) -> str | None:
    return None if tables.no_time or int(time_ns) < 0 else clock(int(time_ns), date=True)


def call_row(tables: Tables, call: int) -> dict[str, Any]:
    """One calls row as plain values; times in ms and ISO 8601 (None where not established), `call` from 1."""
    from engine.trace.tables import CALL_KINDS, CODECS, OUTCOMES

    c = tables.calls
    rows = tables.messages_of(call)
    first = int(rows[0]) if len(rows) else NONE
    qualities = [float(tables.streams.mos_lq[row]) for row in tables.streams_of(call)]
    group = int(c.group[call])
    return {
        "call": call + 1,
        "call_id": tables.call_id(call),
        "kind": CALL_KINDS[int(c.kind[call])],
        "from": tables.user(first, "From") if first != NONE else "",
        "to": tables.user(first, "To") if first != NONE else "",
        "start": _moment(tables, c.start_ns[call]),
        "outcome": OUTCOMES[int(c.outcome[call])],
        "status": int(c.final_status[call]) or None,
        "pdd_ms": _ms(c.pdd_ms[call]),
        "setup_ms": _ms(c.setup_ms[call]),
        "talk_ms": _ms(c.talk_ms[call]),
        "caller": tables.endpoint(int(c.caller[call])),
        "callee": tables.endpoint(int(c.callee[call])),
        "released_by": ("", "caller", "callee")[min(2, int(c.released_by[call]))],
        "codec": CODECS[int(c.codec[call])] if c.codec[call] else "",
        "messages": int(c.message_count[call]),
        "streams": int(c.stream_count[call]),
        "worst_mos": round(min((q for q in qualities if q > 0), default=0.0), 2) or None,
        "leg_of": group + 1 if group != call else None,
    }


def stream_row(tables: Tables, stream: int) -> dict[str, Any]:
    """One streams row as plain values: the units are in the names; None where it is not known."""
    from engine.trace.tables import CODECS

    s = tables.streams
    call = int(s.call[stream])
    codec = int(s.codec[stream])

    def known(column: str, digits: int = 2) -> float | None:
        return round(float(getattr(s, column)[stream]), digits) or None

    return {
        "stream": stream + 1,
        "call": None if call == NONE else call + 1,
        "call_id": tables.call_id(call),
        "source": tables.endpoint(int(s.source_endpoint[stream])),
        "target": tables.endpoint(int(s.target_endpoint[stream])),
        "direction": ("", "caller to callee", "callee to caller")[min(2, int(s.from_caller[stream]))],
        "ssrc": f"0x{int(s.ssrc[stream]):08x}",
        "codec": CODECS[codec] if codec else f"pt {int(s.payload_type[stream])}",
        "start": _moment(tables, s.first_time_ns[stream]),
        "duration_s": round(float(s.duration_s[stream]), 3),
        "packets": int(s.packets[stream]),
        "lost": int(s.lost[stream]),
        "loss_percent": round(float(s.loss_percent[stream]), 2),
        "jitter_ms": round(float(s.jitter_mean_ms[stream]), 2),
        "jitter_max_ms": round(float(s.jitter_max_ms[stream]), 2),
        "delta_max_ms": round(float(s.delta_max_ms[stream]), 2),
        "mos": known("mos_lq"),
        "mos_worst_10s": known("mos_worst_10s"),
        "rtt_ms": known("rtt_ms"),
        "encrypted": bool(int(s.flags[stream]) & SRTP_LIKELY),
    }


def calls_chosen(
    tables: Tables, *, number: str = "", status: Sequence[str] = (), kind: Sequence[str] = ()
) -> Iterator[int]:
    """Rows of calls that match all filters.

    `number` is a part of the From or To user, `status` are final status codes or classes ("486", "4xx") or outcome
    words ("answered", "no-response"), `kind` are words of CALL_KINDS. Raises ValueError for a word that is none.
    """
    import numpy as np

    from engine.trace.tables import CALL_KINDS, OUTCOMES

    c = tables.calls
    chosen = np.ones(len(c), dtype=bool)
    if kind:
        chosen &= np.isin(c.kind, [_index(word, CALL_KINDS, "kind") for word in kind])
    if status:
        matched = np.zeros(len(c), dtype=bool)
        for word in status:
            if re.fullmatch(r"[1-6][0-9]{2}", word):
                matched |= c.final_status == int(word)
            elif re.fullmatch(r"[1-6][xX]{2}", word):
                matched |= c.final_status // 100 == int(word[0])
            else:
                matched |= c.outcome == _index(word, OUTCOMES, "status")
        chosen &= matched
    for call in np.flatnonzero(chosen).tolist():
        if not number or has_number(tables, call, number):
            yield call


def _index(word: str, words: Sequence[str], what: str) -> int:
    if word.lower() not in words:
        raise ValueError(f"{what} {word!r} is none of {', '.join(words)}" + (", 486, 4xx" if what == "status" else ""))
    return words.index(word.lower())


def has_number(tables: Tables, call: int, number: str) -> bool:
    """Whether the From or To user of the call's first message holds the number (separators do not count)."""
    rows = tables.messages_of(call)
    if not len(rows):
        return False
    wanted = _bare(number)
    return any(wanted in _bare(tables.user(int(rows[0]), header)) for header in ("From", "To"))


def _bare(number: str) -> str:
    return re.sub(r"[\s().-]", "", number).lower()


# ---- tables for a terminal ----

Column = tuple[str, str, bool]  # key of the row, heading, whether it is aligned right
CALL_COLUMNS: tuple[Column, ...] = (
    ("call", "#", True), ("start", "start (UTC)", False), ("kind", "kind", False), ("from", "from", False),
    ("to", "to", False), ("outcome", "outcome", False), ("status", "code", True), ("pdd_ms", "PDD ms", True),
    ("talk_ms", "talk s", True), ("codec", "codec", False), ("worst_mos", "MOS", True), ("messages", "msgs", True),
    ("leg_of", "leg of", True), ("call_id", "Call-ID", False),
)  # fmt: skip
STREAM_COLUMNS: tuple[Column, ...] = (
    ("stream", "#", True), ("call", "call", True), ("start", "start (UTC)", False), ("source", "source", False),
    ("target", "target", False), ("codec", "codec", False), ("duration_s", "s", True), ("packets", "packets", True),
    ("loss_percent", "loss %", True), ("jitter_ms", "jitter ms", True), ("jitter_max_ms", "max", True),
    ("mos", "MOS", True), ("mos_worst_10s", "worst 10 s", True), ("rtt_ms", "RTT ms", True), ("ssrc", "SSRC", False),
)  # fmt: skip


def _cell(key: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if key == "talk_ms":
        return f"{value / 1000:.1f}"
    if key == "start":
        return str(value)[:-1].replace("T", " ")
    return clipped(printable(str(value)), CELL_MAX)


def table_text(rows: Iterable[dict[str, Any]], columns: Sequence[Column], *, color: bool = False) -> Iterator[str]:
    """Lines of an aligned table: heading, then one line a row. Widths come from the first 1,000 rows."""
    paint = Paint(color)
    source = iter(rows)
    sample = [row for _, row in zip(range(1000), source, strict=False)]
    cells = [[_cell(key, row[key]) for key, _, _ in columns] for row in sample]
    widths = [
        max([columns_of(heading), *(columns_of(line[at]) for line in cells)])
        for at, (_, heading, _) in enumerate(columns)
    ]

    def laid(texts: Sequence[str]) -> str:
        return "  ".join(
            padded(text, width, right) for text, width, (_, _, right) in zip(texts, widths, columns, strict=True)
        ).rstrip()

    yield paint("bold", laid([heading for _, heading, _ in columns]))
    for line in cells:
        yield laid(line)
    for row in source:
        yield laid([_cell(key, row[key]) for key, _, _ in columns])


__all__ = [
    "CALL_COLUMNS", "STREAM_COLUMNS", "Paint", "call_row", "calls_chosen", "clipped", "clock", "columns_of",
    "evidence_line", "harmless_json", "has_number", "padded", "printable", "report_text", "size_of", "stream_row", "table_text",
]  # fmt: skip
