"""What the media plane is told of one stream, and of itself."""

from __future__ import annotations

from typing import Literal

import msgspec

Policy = Literal["strict", "host", "learn", "any"]
Jitter = Literal["none", "fixed", "adaptive"]


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A payload type on the wire. `codec` is a name of `engine.codecs`, of audio only; `sample_rate_hz` is that of its PCM, 0: the clock's."""

    payload_type: int
    kind: Literal["audio", "event", "noise"] = "audio"
    codec: str = ""
    clock_rate_hz: int = 8000
    sample_rate_hz: int = 0
    channels: int = 1


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One m= line, as the media plane needs it.

    `formats` may come, the first one is audio and gives the rate of the stream's PCM. `policy` says whom the stream listens to (c/latch.h): "strict" the signalled
    address, "host" any port of it, "learn" who proves to be there within `learn_ms` (behind NAT), "any" whoever comes first. `jitter` "none" only orders and waits
    `delay_max_ms` for a hole; the others hold packets back for that long and play them in time. Silence fills what did not come, `idle_slack_ms` behind the clock; 0
    fills only between packets. Times out after `timeout_first_ms` before, and `timeout_ms` after the first packet; 0: never. What comes at more than three times
    `packets_per_s` is dropped.

    `send` None sends nothing. `idle_sends`: silence is sent while there is nothing to say. `opens`: packets without payload open the way to us, and keep it open,
    for NATs and for those who send to where they hear from (RFC 4961, RFC 6263 4.6). `send_srtp` and `receive_srtp` are addresses of contexts, 0: in the clear;
    `old_receive_srtp` is that of the keys before, for packets that are on their way still. `rtcp_xr` adds VoIP metrics to reports (RFC 3611).
    `ssrc`, `first_sequence`, `first_timestamp`, `seed` and `origin_ns` count when the stream is opened; `origin_ns` is the moment of its first sample on
    CLOCK_MONOTONIC, 0: when it is opened.
    """

    formats: tuple[Format, ...]
    receives: bool = True
    sends: bool = False
    policy: Policy = "strict"
    learn_ms: int = 2000
    remote_host: str = ""
    remote_port: int = 0
    remote_control_host: str = ""
    remote_control_port: int = 0
    remote_ssrc: int = 0
    jitter: Jitter = "none"
    delay_min_ms: int = 40
    delay_max_ms: int = 200
    idle_slack_ms: int = 400
    timeout_first_ms: int = 30_000
    timeout_ms: int = 15_000
    packets_per_s: int = 50
    inband_dtmf: bool = False
    rtcp: bool = True
    rtcp_mux: bool = False
    rtcp_xr: bool = False
    idle_sends: bool = True
    opens: bool = False
    send: Format | None = None
    send_event: Format | None = None
    send_noise: Format | None = None
    ptime_ms: int = 20
    bit_rate: int = 0
    ssrc: int = 0
    first_sequence: int = 0
    first_timestamp: int = 0
    send_srtp: int = 0
    receive_srtp: int = 0
    old_receive_srtp: int = 0
    cname: str = "trunkline"
    origin_ns: int = 0
    seed: int = 0


class PlaneSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much a media plane has room for, and which ports it may take.

    `host` is bound; `ports` are taken at random, an even one for RTP and the next for RTCP, and rest for `quarantine_s` after their stream. Where `ports` is empty
    the system gives them. `priority` asks for real-time scheduling (SCHED_FIFO), 0 does not; where it is not allowed, the thread runs as others do.
    """

    host: str = "127.0.0.1"
    ports: tuple[int, int] | None = None
    streams: int = 2048
    shared_ports: int = 4
    mixes: int = 256
    packets: int = 8192
    pcm_blocks: int = 1024
    events: int = 8192
    quarantine_s: float = 30.0
    priority: int = 1
    receive_buffer_bytes: int = 262_144
    shared_buffer_bytes: int = 16_777_216


__all__ = ["Format", "Jitter", "PlaneSettings", "Policy", "StreamSettings"]
