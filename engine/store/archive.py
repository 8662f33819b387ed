"""An analysed trace as rows of the store, and kept messages as the engine's exports read them.

A kept call is a group of legs: all Call-IDs that the analysis found to be one call. A finding belongs to the calls whose Call-IDs
it names; each gets a copy with its own evidence only, so that a call that is deleted leaves nothing in another's findings. A
finding that names no call is the trace's.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine._native import sip as native_sip
from engine.errors import CapacityError
from engine.store.packing import Packer
from engine.store.rows import CallRow, FindingRow, KeptCall, KeptTrace, MessageRow, StreamRow, TraceRow
from engine.trace.export import KeptMessage
from engine.trace.finding import SEVERITIES, Finding, Report
from engine.trace.ladder import MESSAGE_MIRRORED, MESSAGE_SDP
from engine.trace.report_text import SRTP_LIKELY
from engine.trace.rules.base import NONE
from engine.trace.tables import CALL_KINDS, CODECS, METHODS, OUTCOMES, TRANSPORTS, Tables

CALLS_MAX: Final = 200_000
METHOD_MAX_CHARS: Final = 32
RELEASED_BY: Final = ("", "caller", "callee")
DIRECTIONS: Final = ("", "caller to callee", "callee to caller")
STATE_ENDED: Final = "ended"


def rows_of(
    tables: Tables,
    report: Report,
    *,
    name: str,
    owner: str,
    team: str | None = None,
    source: str = "file",
    at: float,
    sha256: str = "",
    new_id: Callable[[], uuid.UUID] = uuid.uuid4,
) -> KeptTrace:
    """The rows to keep. `at` is now, in seconds since 1970; `source` says where the trace came from; `sha256` of its input.

    Takes about 0.2 ms a call, in the calling thread. Raises CapacityError for more than CALLS_MAX calls.
    """
    trace = TraceRow(
        id=str(new_id()), name=name, source=source, size_bytes=report.summary.bytes, sha256=sha256, stored_at=at, owner=owner,
        team=team, summary=msgspec.to_builtins(report.summary),
    )  # fmt: skip
    groups = list(_groups(tables))
    if len(groups) > CALLS_MAX:
        raise CapacityError(f"the trace has {len(groups):,} calls, and at most {CALLS_MAX:,} of one trace can be kept")
    by_call_id: dict[str, list[Finding]] = {}
    for finding in report.findings:
        for call_id in _named(finding):
            by_call_id.setdefault(call_id, []).append(finding)
    packer = Packer()
    kept = tuple(_kept_call(tables, legs, by_call_id, packer, trace, new_id) for legs in groups)
    return KeptTrace(
        trace=trace,
        calls=kept,
        findings=tuple(_finding(finding, None) for finding in report.findings if not _named(finding)),
        streams=tuple(_stream(tables, int(row)) for row in np.flatnonzero(tables.streams.call == NONE)),
    )


def kept_messages(rows: Iterable[MessageRow]) -> list[KeptMessage]:
    """Messages of a kept call for `pcap_of` and `tables_of`."""
    return [
        KeptMessage(row.at_ns, row.source, row.target, row.transport or None, row.text, row.direction) for row in rows
    ]


# ---- calls ----


def _groups(tables: Tables) -> Iterator[list[int]]:
    """Rows of calls that are one call, in order of their start; the calls in order of their first leg's row."""
    group, start = tables.calls.group, tables.calls.start_ns
    order = np.lexsort((start, group))
    ends = np.flatnonzero(np.diff(group[order], append=NONE)) + 1
    begin = 0
    for end in ends.tolist():
        yield order[begin:end].tolist()
        begin = end


def _kept_call(
    tables: Tables,
    legs: list[int],
    by_call_id: dict[str, list[Finding]],
    packer: Packer,
    trace: TraceRow,
    new_id: Callable[[], uuid.UUID],
) -> KeptCall:
    call_ids = tuple(dict.fromkeys(tables.call_id(leg) for leg in legs))
    # two legs may be named by one finding, which is told once
    named = {id(finding): finding for call_id in call_ids for finding in by_call_id.get(call_id, ())}
    findings = tuple(_finding(finding, call_ids) for finding in named.values())
    rows = _message_rows(tables, legs)
    streams = tuple(_stream(tables, row) for leg in legs for row in tables.streams_of(leg).tolist())
    return KeptCall(
        call=_call(tables, legs, call_ids, rows, findings, streams, trace, str(new_id())),
        messages=packer.pack(_messages(tables, rows)),
        findings=findings,
        streams=streams,
    )


def _call(
    tables: Tables,
    legs: list[int],
    call_ids: tuple[str, ...],
    rows: npt.NDArray[Any],
    findings: tuple[FindingRow, ...],
    streams: tuple[StreamRow, ...],
    trace: TraceRow,
    uuid_text: str,
) -> CallRow:
    c, first = tables.calls, legs[0]
    kind = CALL_KINDS[int(c.kind[first])]
    caller, callee = _party(tables, rows, "From"), _party(tables, rows, "To")
    counts = dict.fromkeys(SEVERITIES, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return CallRow(
        number=0,
        uuid=uuid_text,
        call_ids=call_ids,
        kind=kind,
        state=STATE_ENDED,
        outcome=OUTCOMES[int(c.outcome[first])],
        from_user=caller[0],
        from_host=caller[1],
        to_user=callee[0],
        to_host=callee[1],
        started_at=_moment_s(tables, int(c.start_ns[first])),
        answered_at=_moment_s(tables, int(c.answer_ns[first])),
        ended_at=_moment_s(tables, max(int(c.end_ns[leg]) for leg in legs)),
        duration_ms=_duration_ms(tables, first, kind),
        pdd_ms=_known(int(c.pdd_ms[first])),
        status=int(c.final_status[first]) or None,
        released_by=RELEASED_BY[min(2, int(c.released_by[first]))],
        codec=CODECS[int(c.codec[first])],
        source=trace.source,
        trace_id=trace.id,
        severity_counts=counts,
        worst_severity=next((name for name in SEVERITIES if counts[name]), None),
        message_count=len(rows),
        stream_count=len(streams),
        worst_mos=min((stream.mos for stream in streams if stream.mos is not None), default=None),
        loss_percent=max((stream.loss_percent for stream in streams), default=None),
        owner=trace.owner,
        team=trace.team,
        created_at=trace.stored_at,
    )


def _duration_ms(tables: Tables, call: int, kind: str) -> int | None:
    """Time talked; 0 for a call that was not answered, None where that is not known or what it was is no call."""
    if kind != "call" or tables.no_time:
        return None
    if int(tables.calls.answer_row[call]) == NONE:
        return 0
    return _known(int(tables.calls.talk_ms[call]))


def _known(value: int) -> int | None:
    return None if value < 0 else value


def _moment_s(tables: Tables, at_ns: int) -> float | None:
    return None if tables.no_time or at_ns < 0 else at_ns / 1e9


def _party(tables: Tables, rows: npt.NDArray[Any], header: str) -> tuple[str, str]:
    """User and host of From or To in the call's first message."""
    values = tables.message(int(rows[0])).header(header) if len(rows) else []
    if not values:
        return "", ""
    address = native_sip.parse_address(values[0])
    return address.user.decode("utf-8", "replace"), address.host.decode("utf-8", "replace")


# ---- messages ----


def _message_rows(tables: Tables, legs: list[int]) -> npt.NDArray[Any]:
    """Rows of the legs' messages as a ladder shows them: in order of time, copies from mirror ports left out."""
    m = tables.messages
    rows: npt.NDArray[Any] = np.concatenate([tables.messages_of(leg) for leg in legs])
    rows = rows[(m.flags[rows] & MESSAGE_MIRRORED) == 0]
    ordered: npt.NDArray[Any] = rows[np.lexsort((rows, m.time_ns[rows]))]
    return ordered


def _messages(tables: Tables, rows: npt.NDArray[Any]) -> Iterator[MessageRow]:
    m = tables.messages
    columns = (
        rows, m.time_ns[rows], m.source[rows], m.target[rows], m.transport[rows], m.method[rows], m.status[rows], m.cseq[rows],
        ((m.flags[rows] & MESSAGE_SDP) != 0) | (m.media_count[rows] > 0), m.retransmission_of[rows], m.direction[rows],
    )  # fmt: skip
    told = zip(*(column.tolist() for column in columns), strict=True)
    for row, at_ns, source, target, transport, method, status, cseq, sdp, repeat_of, direction in told:
        yield MessageRow(
            number=row + 1,
            at_ns=None if tables.no_time else at_ns,
            source=None if source == NONE else tables.address(source),
            target=None if target == NONE else tables.address(target),
            transport=TRANSPORTS[min(transport, len(TRANSPORTS) - 1)],
            method=METHODS[method] or _method(tables, row, status),
            status=status,
            cseq=cseq,
            sdp=sdp,
            repeat_of=0 if repeat_of == NONE else repeat_of + 1,
            direction=direction,
            text=tables.text(row),
        )


def _method(tables: Tables, row: int, status: int) -> str:
    """A method that is in no register, as the message writes it."""
    return "" if status else tables.start_line(row).split(" ", 1)[0][:METHOD_MAX_CHARS]


# ---- findings and streams ----


def _named(finding: Finding) -> list[str]:
    return finding.calls or ([finding.call_id] if finding.call_id else [])


def _finding(finding: Finding, call_ids: tuple[str, ...] | None) -> FindingRow:
    evidence = [item for item in finding.evidence if call_ids is None or item.call_id in call_ids]
    return FindingRow(
        rule=finding.rule, severity=finding.severity, category=finding.category, title=finding.title, detail=finding.detail,
        recommendation=finding.recommendation, rfc=finding.rfc, confidence=finding.confidence, count=finding.count,
        evidence=msgspec.to_builtins(evidence),
    )  # fmt: skip


def _stream(tables: Tables, row: int) -> StreamRow:
    s = tables.streams
    codec, payload_type = int(s.codec[row]), int(s.payload_type[row])

    def measured(column: str, digits: int = 2) -> float:
        return round(float(getattr(s, column)[row]), digits)

    return StreamRow(
        number=row + 1,
        source=tables.address(int(s.source_endpoint[row])),
        target=tables.address(int(s.target_endpoint[row])),
        direction=DIRECTIONS[min(2, int(s.from_caller[row]))],
        ssrc=int(s.ssrc[row]),
        codec=CODECS[codec] if codec else "",
        payload_type=None if payload_type == 255 else payload_type,
        started_at=_moment_s(tables, int(s.first_time_ns[row])),
        duration_ms=round(float(s.duration_s[row]) * 1000),
        packets=int(s.packets[row]),
        lost=int(s.lost[row]),
        loss_percent=measured("loss_percent"),
        jitter_ms=measured("jitter_mean_ms"),
        jitter_max_ms=measured("jitter_max_ms"),
        delta_max_ms=measured("delta_max_ms"),
        mos=measured("mos_lq") or None,
        mos_worst_10s=measured("mos_worst_10s") or None,
        rtt_ms=measured("rtt_ms") or None,
        encrypted=bool(int(s.flags[row]) & SRTP_LIKELY),
    )


__all__ = ["CALLS_MAX", "kept_messages", "rows_of"]
