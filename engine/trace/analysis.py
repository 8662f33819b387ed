"""Tables to findings: which rules run, one finding a rule and peer pair, ranked, with the context's symptom first."""

from __future__ import annotations

import functools
import importlib
import math
import pkgutil
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

import engine.trace.rules as rules_package
from engine.trace.finding import SEVERITIES, Evidence, Finding, Report, Summary
from engine.trace.reading import Options, Progress, Source, read
from engine.trace.rules.base import NONE, Explanation, Hit, Hits, Rows, Rule
from engine.trace.symptoms import confidence_for, symptom_of
from engine.trace.tables import CONDITIONS, Tables

WEIGHT = {"critical": 16.0, "high": 8.0, "medium": 4.0, "low": 2.0, "info": 1.0}
EVIDENCE_MAX = 5
EVIDENCE_IN_FULL = 2
CALLS_NAMED_MAX = 20
FINDINGS_A_RULE_MAX = 25
ESCALATE_SHARE = 0.05
ESCALATE_CALLS = 20
ESCALATE_SHARE_CALLS_MIN = 20


@functools.cache
def rules() -> tuple[Rule, ...]:
    """Every rule of the folder, in category and id order. Two of one id are refused."""
    found: dict[str, Rule] = {}
    for module in sorted(pkgutil.iter_modules(rules_package.__path__), key=lambda info: info.name):
        stated = getattr(importlib.import_module(f"engine.trace.rules.{module.name}"), "RULES", ())
        for rule in stated:
            if rule.id in found:
                raise ValueError(f"two rules are called {rule.id}")
            if rule.severity not in SEVERITIES:
                raise ValueError(f"rule {rule.id} has no severity {rule.severity!r}")
            found[rule.id] = rule
    return tuple(found.values())


def analyze(
    source: Source | Sequence[Source],
    *,
    issue: str = "",
    endpoints: Sequence[str] = (),
    min_severity: str = "info",
    progress: Progress | None = None,
    options: Options | None = None,
    workers: int = 1,
) -> Report:
    """Reads a trace (path, paths, or the bytes themselves) and explains it.

    `issue` is a symptom ("one-way-audio") that findings are ranked toward; `endpoints` label the hosts in order of
    their first appearance. `workers` threads expand compressed inputs ahead. Raises TraceError when nothing can be read.
    """
    _plan()  # loads the rules once: start-up, not analysis
    began = time.perf_counter()
    if isinstance(source, str) and "\n" in source:
        source = source.encode("utf-8", "surrogateescape")
    tables = read(source, progress=progress, options=options, workers=workers)
    return report(tables, issue=issue, endpoints=endpoints, min_severity=min_severity, began=began)


def report(
    tables: Tables,
    *,
    issue: str = "",
    endpoints: Sequence[str] = (),
    min_severity: str = "info",
    began: float | None = None,
) -> Report:
    """Findings over tables that were read before."""
    began = time.perf_counter() if began is None else began
    label_endpoints(tables, endpoints)
    findings: list[Finding] = []
    omitted = 0
    for rule in _active(tables):
        hits = tables.sightings_of(rule.id) if rule.select is None else rule.select(tables)
        if len(hits):
            made, left = _findings_of(rule, tables, hits)
            findings += made
            omitted += left
    symptom = symptom_of(issue)
    for finding in findings:
        finding.rank = _rank(finding, symptom)
    findings.sort(key=lambda finding: (-finding.rank, SEVERITIES.index(finding.severity), finding.rule))
    if symptom:
        findings = confidence_for(symptom, tables, findings)
    lowest = SEVERITIES.index(min_severity)
    findings = [finding for finding in findings if SEVERITIES.index(finding.severity) <= lowest]
    advice = dict.fromkeys(f.recommendation for f in findings if f.recommendation and f.severity != "info")
    return Report(
        summary=_summary(tables, (time.perf_counter() - began) * 1000, omitted),
        severity_counts={name: sum(f.severity == name for f in findings) for name in SEVERITIES},
        findings=findings,
        recommendations=list(advice),
    )


def label_endpoints(tables: Tables, labels: Sequence[str]) -> None:
    """Gives the hosts of the SIP messages the labels, in order of first appearance (sender before receiver)."""
    if not labels:
        return
    tables.told.clear()
    names = iter(labels)
    seen: dict[int, str] = {}
    m, hosts = tables.messages, tables.endpoints.host
    for row in range(min(len(m), 10_000)):
        for end in (int(m.source[row]), int(m.target[row])):
            if end == NONE or int(hosts[end]) in seen:
                continue
            name = next(names, None)
            if name is None:
                tables.endpoint_names.update(seen)
                return
            seen[int(hosts[end])] = name
    tables.endpoint_names.update(seen)


@functools.cache
def _plan() -> tuple[dict[int, list[int]], tuple[tuple[Rule, str], ...]]:
    """(places of the rules that a condition wakes, by its number), (rules that always run, and over which table)."""
    woken: dict[int, list[int]] = {}
    always = []
    for place, rule in enumerate(rules()):
        needs = (rule.id,) if rule.select is None else rule.needs
        if not needs:
            always.append((rule, rule.over))
        for need in needs:
            woken.setdefault(CONDITIONS[need], []).append(place)
    return woken, tuple(always)


def _active(tables: Tables) -> list[Rule]:
    """Rules that can fire: one of their conditions was sighted, or they look at whole columns."""
    woken, always = _woken(tuple(tables.trace.condition_counts()))
    return [*woken, *(rule for rule, over in always if not over or len(getattr(tables, over)))]


@functools.lru_cache(maxsize=256)
def _woken(numbers: tuple[int, ...]) -> tuple[list[Rule], tuple[tuple[Rule, str], ...]]:
    """(rules that one of these conditions wakes, in their order; rules that always run, and over which table)."""
    woken, always = _plan()
    stated = rules()
    return [stated[place] for place in sorted({place for number in numbers for place in woken.get(number, ())})], always


# ---- which peers a hit is between ----


def _rows_or_none(rows: Rows, column: npt.NDArray[np.uint32]) -> Rows:
    """column[rows], NONE where the row is NONE or out of range."""
    good = rows < len(column)
    taken = np.full(len(rows), NONE, dtype=np.uint32)
    taken[good] = column[rows[good]]
    return taken


def _ends(rule: Rule, tables: Tables, hits: Hits) -> tuple[Rows, Rows]:
    """Endpoint rows (source, target) of every hit, after what its row is of; the call's ends where it has none."""
    table = {
        "message": tables.messages,
        "transaction": tables.transactions,
        "event": tables.events,
    }.get(rule.subject)
    calls = tables.calls
    if table is not None:
        source, target = _rows_or_none(hits.row, table.source), _rows_or_none(hits.row, table.target)
    elif rule.subject == "stream":
        streams = tables.streams
        source = _rows_or_none(hits.row, streams.source_endpoint)
        target = _rows_or_none(hits.row, streams.target_endpoint)
    elif rule.subject == "media_line":
        message = _rows_or_none(hits.row, tables.media_lines.message)
        source = _rows_or_none(message, tables.messages.source)
        target = _rows_or_none(message, tables.messages.target)
    elif rule.subject == "endpoint":
        return hits.row, np.full(len(hits), NONE, dtype=np.uint32)
    else:
        source = target = np.full(len(hits), NONE, dtype=np.uint32)
    caller, callee = _rows_or_none(hits.call, calls.caller), _rows_or_none(hits.call, calls.callee)
    return np.where(source == NONE, caller, source), np.where(target == NONE, callee, target)


def _ends_of(rule: Rule, tables: Tables, hit: Hit) -> tuple[int, int]:
    """The same for one hit."""
    if rule.subject == "endpoint":
        return hit.row, NONE
    source = target = NONE
    row = hit.row
    if rule.subject == "media_line":
        row = int(tables.media_lines.message[row]) if row < len(tables.media_lines) else NONE
    if rule.subject == "stream":
        if row < len(tables.streams):
            source, target = int(tables.streams.source_endpoint[row]), int(tables.streams.target_endpoint[row])
    elif rule.subject in ("message", "media_line", "transaction", "event"):
        table = getattr(tables, "messages" if rule.subject == "media_line" else f"{rule.subject}s")
        if row < len(table):
            source, target = int(table.source[row]), int(table.target[row])
    if hit.call < len(tables.calls):
        source = int(tables.calls.caller[hit.call]) if source == NONE else source
        target = int(tables.calls.callee[hit.call]) if target == NONE else target
    return source, target


def _groups(rule: Rule, tables: Tables, hits: Hits) -> tuple[list[npt.NDArray[np.intp]], int]:
    """Index arrays into `hits`, one a finding, the largest first and at most FINDINGS_A_RULE_MAX; and how many there are."""
    if rule.group == "trace" or len(hits) == 1:
        return [np.arange(len(hits))], 1
    if rule.group == "call":
        keys = hits.call.astype(np.uint64)
    else:
        hosts = tables.endpoints.host
        source, target = (_rows_or_none(end, hosts).astype(np.uint64) for end in _ends(rule, tables, hits))
        keys = source if rule.group == "source" else source << np.uint64(32) | target
        if rule.group == "peers":  # A to B and B to A are one pair
            keys = np.minimum(keys, target << np.uint64(32) | source)
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order[0]] + np.uint64(1)))
    sizes = np.diff(starts, append=len(order))
    largest = np.argsort(-sizes, kind="stable")
    # only the groups that are shown are cut out; of the rest their number counts
    shown = [order[starts[at] : starts[at] + sizes[at]] for at in largest[:FINDINGS_A_RULE_MAX].tolist()]
    return shown, len(starts)


def _hit(hits: Hits, at: int) -> Hit:
    return Hit(int(hits.call[at]), int(hits.row[at]), int(hits.other[at]), int(hits.code[at]), int(hits.value[at]))


# ---- one finding ----


def _findings_of(rule: Rule, tables: Tables, hits: Hits) -> tuple[list[Finding], int]:
    groups, count = _groups(rule, tables, hits)
    return [_finding(rule, tables, hits, group) for group in groups], count - len(groups)


def _finding(rule: Rule, tables: Tables, hits: Hits, group: npt.NDArray[np.intp]) -> Finding:
    first = _hit(hits, int(group[0]))
    told = rule.explain(tables, first)
    named, affected = _calls_of(hits, group)
    ids = [tables.call_id(call) for call in named[:CALLS_NAMED_MAX]]
    source, target = _ends_of(rule, tables, first)
    return Finding(
        rule=rule.id,
        severity=_severity(rule, told, affected, tables),
        category=rule.category,
        title=told.title or rule.title,
        detail=_with_count(told.detail, affected),
        recommendation=rule.recommendation if told.recommendation is None else told.recommendation,
        rfc=rule.rfc,
        confidence=rule.confidence if told.confidence is None else told.confidence,
        call_id=ids[0] if ids else "",
        count=len(group),
        affected_calls=affected,
        calls=ids,
        peers=[tables.host(end) for end in dict.fromkeys((source, target)) if end != NONE],
        evidence=_evidence(rule, tables, hits, group, told),
    )


def _calls_of(hits: Hits, group: npt.NDArray[np.intp]) -> tuple[list[int], int]:
    """The first calls of a group, each once, and how many there are in all."""
    if len(group) <= CALLS_NAMED_MAX * 8:
        named = [call for call in dict.fromkeys(hits.call[group].tolist()) if call != NONE]
        return named, len(named)
    calls = hits.call[group]
    calls = calls[calls != NONE]
    return list(dict.fromkeys(calls[: CALLS_NAMED_MAX * 8].tolist())), len(np.unique(calls))


def _with_count(detail: str, affected: int) -> str:
    return detail if affected < 2 else f"{detail} Seen in {affected:,} calls between these peers."


def _evidence(
    rule: Rule, tables: Tables, hits: Hits, group: npt.NDArray[np.intp], told: Explanation
) -> list[Evidence]:
    items = list(told.evidence) or _cite(rule, tables, _hit(hits, int(group[0])))
    for at in group[1:EVIDENCE_MAX].tolist():
        if len(items) >= EVIDENCE_MAX:
            break
        hit = _hit(hits, at)
        # the first says it in full; a second one shows the variety; the rest are places to look
        told_more = len(items) < EVIDENCE_IN_FULL
        items += ((rule.explain(tables, hit).evidence if told_more else []) or _cite(rule, tables, hit))[:1]
    return items[:EVIDENCE_MAX]


def _cite(rule: Rule, tables: Tables, hit: Hit) -> list[Evidence]:
    row = hit.row
    if rule.subject == "media_line" and row != NONE:
        row = int(tables.media_lines.message[row])
    elif rule.subject == "transaction" and row != NONE:
        row = int(tables.transactions.first[row])
    elif rule.subject == "stream" and row != NONE:
        return [Evidence(stream=row, call_id=tables.call_id(hit.call), rfc=rule.rfc)]
    elif rule.subject == "call" and hit.call != NONE:
        row = int(tables.messages_of(hit.call)[0])
    elif rule.subject not in ("message", "media_line", "transaction"):
        row = NONE
    if row == NONE or row >= len(tables.messages):
        return []
    return [
        Evidence(
            message=row + 1, time=tables.time_s(row), summary=tables.summary(row),
            call_id=tables.call_id(int(tables.messages.call[row])), rfc=rule.rfc,
        )
    ]  # fmt: skip


def _severity(rule: Rule, told: Explanation, affected: int, tables: Tables) -> str:
    """The rule's severity, one step up when it hits many calls, one step down for one call of more than a thousand."""
    severity = told.severity or rule.severity
    at, total = SEVERITIES.index(severity), len(tables.calls)
    if not rule.escalates or severity == "info":
        return severity
    many = affected > ESCALATE_CALLS or (total >= ESCALATE_SHARE_CALLS_MIN and affected > ESCALATE_SHARE * total)
    if many and affected > 1:
        return SEVERITIES[max(0, at - 1)]
    if affected == 1 and total > 1000:
        return SEVERITIES[min(len(SEVERITIES) - 2, at + 1)]
    return severity


def _rank(finding: Finding, symptom: str) -> float:
    rank = WEIGHT[finding.severity] * finding.confidence * math.sqrt(max(1, finding.affected_calls))
    rule = _by_id()[finding.rule]
    if symptom and symptom in rule.symptoms:
        rank *= 4.0
    return round(rank, 4)


@functools.cache
def _by_id() -> dict[str, Rule]:
    return {rule.id: rule for rule in rules()}


def _summary(tables: Tables, elapsed_ms: float, omitted: int) -> Summary:
    trace = tables.trace
    return Summary(
        bytes=trace.bytes_read,
        packets=trace.packets,
        messages=len(tables.messages),
        calls=len(tables.invite_calls),
        rtp_packets=trace.rtp_packets,
        streams=len(tables.streams),
        elapsed_ms=round(elapsed_ms, 3),
        files=len(tables.formats),
        format=", ".join(dict.fromkeys(tables.formats)),
        problems=tables.problems,
        omitted_findings=omitted,
    )


__all__ = ["Report", "analyze", "label_endpoints", "report", "rules"]
