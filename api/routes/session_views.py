"""Recording sessions as the API shows them: the documented fields, and those that its server was seen to send."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from engine.clock import iso, iso_or_none
from engine.siprec.facts import MuteStatus, PauseStatus, SessionFacts

IDENTIFIERS: Final = ("oracle_ucid", "oracle_conversation_id", "cisco_session_id", "avaya_conversation_id", "ucid", "uui")


class PauseView(msgspec.Struct):
    """What of a session is paused. Times are ISO 8601 UTC, `pause_duration` seconds; null where there is none."""

    session_id: str
    is_paused: bool
    recording_paused: bool
    transcription_paused: bool
    paused_at: str | None
    pause_duration: float
    auto_resume_at: str | None


class MuteView(msgspec.Struct):
    """Which sides of a session are muted: inbound is its first channel, outbound all others."""

    session_id: str
    is_muted: bool
    inbound_muted: bool
    outbound_muted: bool
    muted_at: str | None
    mute_duration: float


class Paused(msgspec.Struct):
    """What became of all sessions, by Call-ID."""

    message: str
    statuses: dict[str, PauseView]


class Analytics(msgspec.Struct):
    """What is heard of a session so far; null where nothing is known. `mos` is that of the leg that is heard worst."""

    sentiment: str | None = None
    mos: float | None = None


class PartyView(msgspec.Struct):
    """A participant. `left` is null while it is there."""

    participant_id: str
    aor: str
    name: str
    role: str
    joined: str | None
    left: str | None


class ChannelView(msgspec.Struct):
    """A channel of the recording; `parties` are places in `parties`."""

    index: int
    label: str
    stream_id: str
    parties: list[int]
    direction: str
    codec: str
    muted: bool
    packets: int
    lost: int
    late: int
    duplicate: int
    jitter_ms: float | None
    mos: float | None


class SessionView(msgspec.Struct):
    """A recording session. `recording` and `dialog` have what other servers of this API tell."""

    call_id: str
    id: str
    state: str
    created_at: str
    last_activity: str
    participants: list[str]
    recording_path: str
    analytics: Analytics
    remote_addr: str
    transport: str
    recording: dict[str, Any]
    dialog: dict[str, str]
    recording_id: str
    worker: str
    session_ids: list[str]
    group_ids: list[str]
    leg_paths: list[str]
    parties: list[PartyView]
    channels: list[ChannelView]
    identifiers: dict[str, str]
    warnings: list[str]


class SessionList(msgspec.Struct):
    """All sessions, the oldest first. `silent_workers` did not answer, and may have more."""

    count: int
    sessions: list[SessionView]
    silent_workers: int


class PortsView(msgspec.Struct):
    """Ports for RTP."""

    available: int
    total: int
    used: int


class StatsView(msgspec.Struct):
    """Figures of all workers. `providers` are transcribed sessions by who transcribes, `vendors` sessions by who sent them."""

    active_calls: int
    paused_calls: int
    muted_calls: int
    recording_sessions: int
    connected_sessions: int
    stored_sessions: int
    refused_sessions: int
    streams: int
    rtp_ports: PortsView
    providers: dict[str, int]
    vendors: dict[str, int]
    metrics_available: bool
    silent_workers: int
    timestamp: str


class Done(msgspec.Struct):
    """What was asked for was begun."""

    call_id: str
    status: str
    message: str


def pause_view(status: PauseStatus) -> PauseView:
    """As it is documented."""
    return PauseView(
        status.session_id, status.is_paused, status.recording_paused, status.transcription_paused, iso_or_none(status.paused_at), round(status.pause_duration, 3),
        iso_or_none(status.auto_resume_at),
    )  # fmt: skip


def mute_view(status: MuteStatus) -> MuteView:
    """As it is documented."""
    return MuteView(
        status.session_id, status.is_muted, status.inbound_muted, status.outbound_muted, iso_or_none(status.muted_at), round(status.mute_duration, 3)
    )


def session_view(facts: SessionFacts, analytics: Analytics) -> SessionView:
    """A session as it is shown."""
    vendor, there = facts.vendor, [party for party in facts.participants if not party.left]
    recording = {
        "session_id": facts.session_ids[0] if facts.session_ids else facts.call_id,
        "state": "paused" if facts.recording_paused else {"ended": "completed", "held": "inactive"}.get(facts.state, "active"),
        "start_time": iso(facts.created_at), "participants": len(there), "media_types": list(facts.media_types), "vendor_type": vendor.type,
        **{name: vendor.identifiers.get(name, "") for name in IDENTIFIERS},
    }  # fmt: skip
    return SessionView(
        call_id=facts.call_id, id=facts.call_id, state=facts.state, created_at=iso(facts.created_at),
        last_activity=iso(facts.last_activity or facts.created_at), participants=[party.aor or party.name or party.participant_id for party in there],
        recording_path=facts.recording_path, analytics=analytics, remote_addr=facts.remote_addr, transport=facts.transport, recording=recording,
        dialog={
            "call_id": facts.call_id, "local_tag": facts.local_tag, "remote_tag": facts.remote_tag, "local_uri": facts.local_uri, "remote_uri": facts.remote_uri,
        },
        recording_id=facts.recording_id, worker=facts.worker, session_ids=list(facts.session_ids), group_ids=list(facts.group_ids),
        leg_paths=list(facts.leg_paths),
        parties=[
            PartyView(party.participant_id, party.aor, party.name, party.role, party.joined or None, party.left or None) for party in facts.participants
        ],
        channels=[
            ChannelView(
                index=channel.index, label=channel.label, stream_id=channel.stream_id, parties=list(channel.parties), direction=channel.direction,
                codec=channel.codec, muted=channel.muted, packets=channel.packets, lost=channel.lost, late=channel.late, duplicate=channel.duplicate,
                jitter_ms=channel.jitter_ms, mos=channel.mos,
            )
            for channel in facts.channels
        ],
        identifiers=dict(vendor.identifiers), warnings=list(facts.warnings),
    )  # fmt: skip


__all__ = [
    "Analytics", "Done", "MuteView", "PauseView", "Paused", "PortsView", "SessionList", "SessionView", "StatsView", "mute_view", "pause_view", "session_view",
]  # fmt: skip
