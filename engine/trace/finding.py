"""What an analysis says: findings with evidence, counts, and the trace's own figures."""

from __future__ import annotations

from typing import Any

import msgspec

SEVERITIES = ("critical", "high", "medium", "low", "info")
CATEGORIES = ("signaling", "media", "codec", "security", "compliance", "nat", "auth", "routing", "general")


class Evidence(msgspec.Struct, omit_defaults=True, gc=False):
    """One place in the trace that shows a finding.

    `message` is the message's number in the trace, from 1 (0 when the evidence is a stream or an event);
    `time` is seconds since 1970, None without a clock; `header` names where in the message.
    """

    message: int = 0
    time: float | None = None
    summary: str = ""
    header: str = ""
    value: str = ""
    rfc: str = ""
    stream: int | None = None
    call_id: str = ""


class Finding(msgspec.Struct, omit_defaults=False, gc=False):
    """One rule at one pair of peers. `count` is sightings, `calls` the affected calls' Call-IDs (at most 20)."""

    rule: str
    severity: str
    category: str
    title: str
    detail: str
    recommendation: str
    rfc: str = ""
    confidence: float = 1.0
    call_id: str = ""
    count: int = 1
    affected_calls: int = 1
    calls: list[str] = []
    peers: list[str] = []
    evidence: list[Evidence] = []
    rank: float = 0.0


class Problem(msgspec.Struct, gc=False):
    """Something that could not be read: what, how often, and where it was first met."""

    kind: str
    text: str
    count: int
    offset: int
    file: str = ""


class Summary(msgspec.Struct):
    """Figures of the whole trace."""

    bytes: int
    packets: int
    messages: int
    calls: int
    rtp_packets: int
    streams: int
    elapsed_ms: float
    files: int = 1
    format: str = ""
    problems: list[Problem] = []
    omitted_findings: int = 0


class Report(msgspec.Struct):
    """The answer to `analyze`: summary, findings ranked by severity, what to do."""

    summary: Summary
    severity_counts: dict[str, int]
    findings: list[Finding]
    recommendations: list[str]

    def to_builtins(self) -> dict[str, Any]:
        """Plain dicts and lists, as the JSON output has them."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built
