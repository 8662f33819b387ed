"""Rows of the store as frozen structs. Times are seconds since 1970 UTC, durations whole milliseconds, ids UUIDs as text.

None is "not known" or "does not apply" everywhere.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Owner(msgspec.Struct, frozen=True):
    """Who asks: they see what is theirs and, with a team, what is their team's."""

    owner: str
    team: str | None = None


class KeyRow(msgspec.Struct, frozen=True):
    """An API key. `digest` is the SHA-256 of the key, 32 bytes; the key itself is kept nowhere."""

    id: str
    name: str
    prefix: str
    digest: bytes
    owner: str
    team: str | None
    plan: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


class Taken(msgspec.Struct, frozen=True):
    """What came of a wish to use a quota, and the counts behind it. `team_used` is 0 without a team."""

    granted: bool
    owner_used: int
    team_used: int


class AuditRow(msgspec.Struct, frozen=True):
    """One thing that somebody did or tried. `number` is its place in the log, given by the store."""

    at: float
    actor: str
    action: str
    target: str
    outcome: str
    request_id: str
    address: str
    detail: dict[str, Any]
    number: int = 0


class TraceRow(msgspec.Struct, frozen=True):
    """An analysed trace that was kept. `sha256` is hexadecimal, "" when nobody told it; `summary` is that of the report."""

    id: str
    name: str
    source: str
    size_bytes: int
    sha256: str
    stored_at: float
    owner: str
    team: str | None
    summary: dict[str, Any]


class CallRow(msgspec.Struct, frozen=True):
    """A call: all legs that were found to belong together, named by `number`, `uuid` or any of `call_ids`.

    From, to, outcome, status and times are those of the first leg. `duration_ms` is the time talked: 0 for a call that was
    not answered. `worst_severity` is None without findings.
    """

    number: int
    uuid: str
    call_ids: tuple[str, ...]
    kind: str
    state: str
    outcome: str
    from_user: str
    from_host: str
    to_user: str
    to_host: str
    started_at: float | None
    answered_at: float | None
    ended_at: float | None
    duration_ms: int | None
    pdd_ms: int | None
    status: int | None
    released_by: str
    codec: str
    source: str
    trace_id: str | None
    severity_counts: dict[str, int]
    worst_severity: str | None
    message_count: int
    stream_count: int
    worst_mos: float | None
    loss_percent: float | None
    owner: str
    team: str | None
    created_at: float


class CallFilter(msgspec.Struct, frozen=True):
    """Which calls to list: those that meet everything that is stated.

    `since` and `until` bound the start (until excluded), `caller` and `callee` are part of user or host of From and To,
    `min_severity` is the least severity that one of the findings must have.
    """

    since: float | None = None
    until: float | None = None
    call_id: str | None = None
    caller: str | None = None
    callee: str | None = None
    outcome: str | None = None
    min_severity: str | None = None
    min_duration_ms: int | None = None
    max_duration_ms: int | None = None
    source: str | None = None
    kind: str | None = None
    trace_id: str | None = None


class MessageRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A SIP message of a kept call, with all that a ladder needs.

    `number` counts the trace's messages from 1, as evidence of findings does; `at_ns` is since 1970; ends are "ip:port",
    "[v6]:port" or a name; `method` is that of the CSeq in responses, whose `status` is not 0; `repeat_of` is the number of
    the message that this one sends again, or 0; `direction` is 1 incoming, 2 outgoing, 0 unknown, seen from the logging node.
    """

    number: int
    at_ns: int | None
    source: str | None
    target: str | None
    transport: str
    method: str
    status: int
    cseq: int
    sdp: bool
    repeat_of: int
    direction: int
    text: bytes


class FindingRow(msgspec.Struct, frozen=True):
    """What a rule said about a call, or about the whole trace (`call` None). `evidence` is as in the report."""

    rule: str
    severity: str
    category: str
    title: str
    detail: str
    recommendation: str
    rfc: str
    confidence: float
    count: int
    evidence: list[dict[str, Any]]
    call: int | None = None
    trace_id: str | None = None


class StreamRow(msgspec.Struct, frozen=True):
    """An RTP stream. `number` counts the trace's streams from 1; ends are "ip:port"; figures are None where not known."""

    number: int
    source: str
    target: str
    direction: str
    ssrc: int
    codec: str
    payload_type: int | None
    started_at: float | None
    duration_ms: int
    packets: int
    lost: int
    loss_percent: float
    jitter_ms: float
    jitter_max_ms: float
    delta_max_ms: float
    mos: float | None
    mos_worst_10s: float | None
    rtt_ms: float | None
    encrypted: bool
    call: int | None = None
    trace_id: str | None = None


class KeptCall(msgspec.Struct, frozen=True):
    """A call on its way into the store. `messages` are packed (engine/store/packing.py)."""

    call: CallRow
    messages: tuple[bytes, ...]
    findings: tuple[FindingRow, ...]
    streams: tuple[StreamRow, ...]


class KeptTrace(msgspec.Struct, frozen=True):
    """An analysed trace on its way into the store; findings and streams here are those of no call."""

    trace: TraceRow
    calls: tuple[KeptCall, ...]
    findings: tuple[FindingRow, ...]
    streams: tuple[StreamRow, ...]


class CallNames(msgspec.Struct, frozen=True):
    """All names of a call."""

    number: int
    uuid: str
    call_ids: tuple[str, ...]


class Kept(msgspec.Struct, frozen=True):
    """What a kept trace and its calls are called."""

    trace_id: str
    calls: tuple[CallNames, ...]


class WebhookRow(msgspec.Struct, frozen=True):
    """Where events are sent. `secret` signs them; `failures` in a row since the last success."""

    id: str
    url: str
    events: tuple[str, ...]
    secret: str
    owner: str
    team: str | None
    active: bool
    created_at: float
    updated_at: float
    last_success_at: float | None = None
    last_failure_at: float | None = None
    failures: int = 0
    last_error: str = ""


class JobRow(msgspec.Struct, frozen=True):
    """Work for later. `attempts` counts claims and is the fence: who holds an older number has lost the job.

    `state` is queued, running, done or failed; `run_at` is when it may be claimed first.
    """

    id: str
    kind: str
    state: str
    payload: dict[str, Any]
    owner: str
    team: str | None
    created_at: float
    updated_at: float
    run_at: float
    call: int | None = None
    result: dict[str, Any] | None = None
    error: str = ""
    attempts: int = 0
    worker: str | None = None
    lease_until: float | None = None
    started_at: float | None = None
    finished_at: float | None = None


class RecordingRow(msgspec.Struct, frozen=True):
    """A recorded file of a call. `sha256` is hexadecimal, "" until the file is closed; `duration_ms` of its audio. `recording` is the id of the recording that it
    belongs to (RecordedRow)."""

    id: str
    call: int
    kind: str
    format: str
    path: str
    state: str
    created_at: float
    duration_ms: int | None = None
    size_bytes: int | None = None
    sha256: str = ""
    recording: str | None = None


class RecordedRow(msgspec.Struct, frozen=True):
    """A recording of a session: what became of it, and whose voice is in which channel. `machine` is where its files are, `session` the Call-ID of the recording
    session; `holds` counts the legal ones."""

    id: str
    call: int
    machine: str
    session: str
    state: str
    stage: str
    vendor: str
    started_at: float
    duration_ms: int
    policy: str
    expires_at: float | None
    holds: int
    duplicate_of: str
    channels: list[dict[str, Any]]
    warnings: tuple[str, ...] = ()


class PartyRow(msgspec.Struct, frozen=True):
    """Somebody who took part. Times are as the metadata has them."""

    place: int
    participant_id: str
    aor: str
    name: str
    role: str
    joined: str = ""
    left: str = ""


class RecordedFilter(msgspec.Struct, frozen=True):
    """Which recordings to list: those that meet everything that is stated. `since` and `until` bound the start (until excluded); `correlation` is a value, or
    `kind:value`; `participant` is part of an AOR or a name; `call_id` is any Call-ID of its call."""

    since: float | None = None
    until: float | None = None
    call_id: str | None = None
    call: int | None = None
    correlation: str | None = None
    participant: str | None = None
    stage: str | None = None
    held: bool | None = None


class TranscriptRow(msgspec.Struct, frozen=True):
    """What was said in a call: `text` as a whole, `segments` with their times and speakers."""

    id: str
    call: int
    kind: str
    format: str
    state: str
    created_at: float
    text: str = ""
    segments: list[dict[str, Any]] = []
    language: str = ""
    duration_ms: int | None = None
    sha256: str = ""
    recording: str | None = None


class KeptRecording(msgspec.Struct, frozen=True):
    """A recording on its way into the store, with what is known of its call. `correlation` are pairs of kind and value; `call.number` and those of the other rows are
    given there."""

    call: CallRow
    recording: RecordedRow
    files: tuple[RecordingRow, ...] = ()
    parties: tuple[PartyRow, ...] = ()
    correlation: tuple[tuple[str, str], ...] = ()
    streams: tuple[StreamRow, ...] = ()
    transcripts: tuple[TranscriptRow, ...] = ()


class SummaryRow(msgspec.Struct, frozen=True):
    """What a call was about: `text` for people, `document` for programs."""

    id: str
    call: int
    kind: str
    format: str
    state: str
    created_at: float
    text: str = ""
    document: dict[str, Any] = {}
    duration_ms: int | None = None
    sha256: str = ""


__all__ = [
    "AuditRow", "CallFilter", "CallNames", "CallRow", "FindingRow", "JobRow", "Kept", "KeptCall", "KeptRecording", "KeptTrace", "KeyRow",
    "MessageRow", "Owner", "PartyRow", "RecordedFilter", "RecordedRow", "RecordingRow", "StreamRow", "SummaryRow", "Taken", "TraceRow", "TranscriptRow", "WebhookRow",
]  # fmt: skip
