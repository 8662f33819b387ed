"""What is known of a recording session, as it goes over the bus, into the API and beside the recording."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["connected", "paused", "held", "ended"]


class Party(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A participant as the metadata has it (RFC 7865 6.5). `place` is its own for as long as the session lasts. Times are ISO 8601; `left` is empty while it is there.

    `role` is caller, callee, agent, customer or empty, as far as the metadata or the vendor's extensions tell.
    """

    place: int
    participant_id: str
    aor: str = ""
    name: str = ""
    role: str = ""
    joined: str = ""
    left: str = ""
    aors: tuple[str, ...] = ()
    session_ids: tuple[str, ...] = ()


class ChannelFacts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A channel of the recording: the stream of one m= line, and whose voices are in it, by `Party.place`."""

    index: int
    label: str = ""
    stream_id: str = ""
    parties: tuple[int, ...] = ()
    direction: str = ""
    codec: str = ""
    muted: bool = False
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    packets: int = 0
    jitter_ms: float | None = None
    mos: float | None = None


class Vendor(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who sent it: `type` is oracle, cisco, avaya, audiocodes, ribbon, broadworks, metaswitch, genesys, opensips, freeswitch, ..., or generic; `identifiers` have the
    names of the contract (oracle_ucid, cisco_session_id, avaya_conversation_id, ucid, uui, ...)."""

    type: str = "generic"
    user_agent: str = ""
    identifiers: dict[str, str] = {}


class SessionFacts(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A recording session. Times are seconds since 1970. `correlation` are keys that other sessions of the same call have too: `kind:value`."""

    call_id: str
    recording_id: str
    worker: str = ""
    state: State = "connected"
    created_at: float = 0.0
    last_activity: float = 0.0
    ended_at: float | None = None
    local_tag: str = ""
    remote_tag: str = ""
    local_uri: str = ""
    remote_uri: str = ""
    remote_addr: str = ""
    transport: str = ""
    session_ids: tuple[str, ...] = ()
    group_ids: tuple[str, ...] = ()
    participants: tuple[Party, ...] = ()
    channels: tuple[ChannelFacts, ...] = ()
    media_types: tuple[str, ...] = ("audio",)
    vendor: Vendor = Vendor()
    correlation: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    recording_path: str = ""
    leg_paths: tuple[str, ...] = ()
    recording_paused: bool = False
    transcription_paused: bool = False


class PauseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a session is paused, as the contract has it. Times are seconds since 1970, `pause_duration` in seconds: of the pause that holds, or 0."""

    session_id: str
    is_paused: bool = False
    recording_paused: bool = False
    transcription_paused: bool = False
    paused_at: float | None = None
    pause_duration: float = 0.0
    auto_resume_at: float | None = None


class MuteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Which legs of a session are muted: `inbound` is channel 0, `outbound` all others."""

    session_id: str
    is_muted: bool = False
    inbound_muted: bool = False
    outbound_muted: bool = False
    muted_at: float | None = None
    mute_duration: float = 0.0


__all__ = ["ChannelFacts", "MuteStatus", "Party", "PauseStatus", "SessionFacts", "State", "Vendor"]
