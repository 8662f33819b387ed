"""From what was negotiated to what the media plane does: settings of a stream, and the streams of one call."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from engine.codecs import codec_of
from engine.media.plane import MediaFull, MediaPlane, MediaPort, MediaStream, StreamListener
from engine.media.settings import Format, Jitter, Policy, StreamSettings
from engine.sdp.codecs import PayloadFormat
from engine.sdp.negotiated import NegotiatedMedia
from engine.sdp.sdes import Crypto
from engine.sdp.terms import Transport
from engine.srtp import SrtpContext, SrtpKey

OLD_KEYS_S: Final = 2.0
ANYWHERE: Final = ("0.0.0.0", "::")


class PathPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How streams of a call are treated. `opus_rate_hz` is what Opus is decoded to, and encoded from; the rest stands at `StreamSettings`."""

    source: Policy = "strict"
    learn_ms: int = 2000
    jitter: Jitter = "none"
    delay_min_ms: int = 40
    delay_max_ms: int = 200
    idle_slack_ms: int = 400
    idle_sends: bool = True
    opens: bool = False
    sends: bool = True
    inband_dtmf: bool = False
    timeout_first_ms: int = 30_000
    timeout_ms: int = 15_000
    opus_rate_hz: int = 48_000
    bit_rate: int = 0


class PathError(MediaFull):
    """What was agreed cannot be carried: a codec that the media plane does not have."""

    code = "media.unsupported"
    status = 488


class Keys:
    """The SRTP contexts of a stream, which live as long as the plane uses them. New keys are new contexts: rollover counters begin at 0 (RFC 4568 6.4)."""

    def __init__(self, send: Crypto | None, receive: Crypto | None) -> None:
        self.cryptos = (send, receive)
        self.sender = None if send is None else SrtpContext(_key_of(send))
        self.receiver = None if receive is None else SrtpContext(_key_of(receive))

    @property
    def addresses(self) -> tuple[int, int]:
        """Of the sender's and the receiver's context; 0 for none."""
        return (self.sender.address if self.sender else 0), (self.receiver.address if self.receiver else 0)


def _key_of(crypto: Crypto) -> SrtpKey:
    return SrtpKey(suite=crypto.suite, key=crypto.key, mki=crypto.mki, mki_bytes=crypto.mki_bytes, lifetime=crypto.lifetime)


def format_of(one: PayloadFormat, policy: PathPolicy) -> Format | None:
    """A payload format as the media plane has it; None for a codec that it has not."""
    if one.is_event:
        return Format(payload_type=one.payload_type, kind="event", clock_rate_hz=one.clock_rate_hz)
    if one.is_comfort_noise:
        return Format(payload_type=one.payload_type, kind="noise", clock_rate_hz=one.clock_rate_hz)
    try:
        codec = codec_of(one.name)
    except LookupError:
        return None
    if codec.name.lower() == "opus":
        stereo = one.fmtp.replace(" ", "").find("stereo=1") >= 0
        return Format(
            payload_type=one.payload_type, codec=codec.name, clock_rate_hz=48_000, sample_rate_hz=policy.opus_rate_hz, channels=2 if stereo else 1
        )
    rate_hz = codec.sample_rates_hz[0] if codec.sample_rates_hz else one.clock_rate_hz
    if one.channels > codec.channels_max:
        return None
    return Format(payload_type=one.payload_type, codec=codec.name, clock_rate_hz=one.clock_rate_hz, sample_rate_hz=rate_hz, channels=one.channels)


def rate_of(lines: Sequence[NegotiatedMedia], policy: PathPolicy) -> int:
    """The highest rate that any of the lines may be heard at."""
    formats = [made for line in lines for one in line.receive if (made := format_of(one, policy)) is not None and made.kind == "audio"]
    return max((made.sample_rate_hz or made.clock_rate_hz for made in formats), default=8000)


def is_place(host: str) -> bool:
    """Whether something can be sent to a host as it stands in a description: it is an IP address, and not the one that means all. A name (RFC 8866 5.7) is none: who is
    called by it is learnt from what comes."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError):
        return False
    return host not in ANYWHERE


def settings_of(media: NegotiatedMedia, policy: PathPolicy, *, ssrc: int, first_sequence: int, first_timestamp: int, seed: int, keys: Keys | None = None,
                cname: str = "trunkline", origin_ns: int = 0) -> StreamSettings:  # fmt: skip
    """What an accepted m= line means for its stream. Raises PathError where none of its codecs can be decoded."""
    formats = [made for one in media.receive if (made := format_of(one, policy)) is not None]
    formats.sort(key=lambda one: one.kind != "audio")
    if not formats or formats[0].kind != "audio":
        raise PathError(f"no codec of {[one.name for one in media.receive]} can be decoded")
    send = format_of(media.codec, policy) if media.codec is not None else None
    if send is not None and send.channels == 2 and send.codec.lower() == "opus":
        send = msgspec.structs.replace(send, channels=1)  # there is one voice to send
    event = media.event_out()
    noise = next((one for one in media.send if one.is_comfort_noise), None)
    somewhere = is_place(media.remote_host) and media.remote_port > 0
    control_somewhere = somewhere and (not media.remote_rtcp_host or is_place(media.remote_rtcp_host))
    sends = policy.sends and media.sends and send is not None and somewhere
    send_srtp, receive_srtp = keys.addresses if keys is not None else (0, 0)
    ptime_ms = media.ptime_ms or 20
    return StreamSettings(
        formats=tuple(formats[:8]), receives=media.receives, sends=sends, policy=policy.source, learn_ms=policy.learn_ms,
        remote_host=media.remote_host if somewhere else "", remote_port=media.remote_port if somewhere else 0,
        remote_control_host=media.remote_rtcp_host if control_somewhere else "", remote_control_port=media.remote_rtcp_port if control_somewhere else 0,
        jitter=policy.jitter, delay_min_ms=policy.delay_min_ms, delay_max_ms=policy.delay_max_ms, idle_slack_ms=policy.idle_slack_ms,
        timeout_first_ms=policy.timeout_first_ms if media.receives else 0, timeout_ms=policy.timeout_ms if media.receives else 0,
        packets_per_s=max(1000 // (media.receive_ptime_ms or 20), 100), inband_dtmf=policy.inband_dtmf and not media.events_in(),
        rtcp=media.remote_rtcp_port > 0 and control_somewhere, rtcp_mux=media.rtcp_mux, idle_sends=policy.idle_sends, opens=policy.opens,
        send=send, send_event=format_of(event, policy) if event is not None else None, send_noise=format_of(noise, policy) if noise is not None else None,
        ptime_ms=ptime_ms, bit_rate=policy.bit_rate, ssrc=ssrc, first_sequence=first_sequence, first_timestamp=first_timestamp,
        send_srtp=send_srtp, receive_srtp=receive_srtp, cname=cname, origin_ns=origin_ns, seed=seed,
    )  # fmt: skip


class CallMedia:
    """The ports and streams of one call. `transport` is the opener of its `Negotiation`; `apply` is told of each agreement.

    `advertised` is the address that goes into descriptions, the port's own where it is empty. `listener_of` makes the listener of the stream of an m= line. A stream
    that had been agreed and is not any more ends; `close` ends all.
    """

    def __init__(
        self, plane: MediaPlane, policy: PathPolicy | None = None, *, host: str = "", advertised: str = "", cname: str = "trunkline",
        listener_of: Callable[[int], StreamListener] = lambda index: StreamListener(), origin_ns: int = 0,
    ) -> None:  # fmt: skip
        self.plane = plane
        self.policy = policy or PathPolicy()
        self.streams: dict[int, MediaStream] = {}
        self.ports: dict[int, MediaPort] = {}
        self.agreed: tuple[NegotiatedMedia, ...] = ()
        self._host = host
        self._advertised = advertised
        self._cname = cname
        self._listener_of = listener_of
        self._origin_ns = origin_ns
        self._keys: dict[int, Keys] = {}

    def transport(self, index: int, family: int) -> Transport | None:
        """Opens the port of an m= line, or finds it again; None where there is none to be had."""
        port = self.ports.get(index)
        if port is not None and port.is_six != (family == 6):
            port.close()
            port = None
        if port is None:
            try:
                host = self._host or ("::" if family == 6 and ":" not in self.plane.settings.host else self.plane.settings.host)
                port = self.plane.open_port(host=host)
            except (MediaFull, OSError):
                return None
            self.ports[index] = port
        return Transport(host=self._advertised or port.host, port=port.port, rtcp_port=port.control_port)

    def apply(self, media: Sequence[NegotiatedMedia]) -> list[MediaStream]:
        """Opens, changes and ends streams as was agreed; those that are new. Raises MediaFull, PathError."""
        begun = []
        for one in media:
            if not one.accepted or one.index not in self.ports:
                self._end(one.index)
            elif (made := self._carry(one)) is not None:
                begun.append(made)
        if not begun:
            self.plane.publish()  # what was agreed holds before the answer is on its way; a new stream waits for what is said of it in this turn
        self.agreed = tuple(media)
        return begun

    def _carry(self, media: NegotiatedMedia) -> MediaStream | None:
        cryptos = (media.send_crypto, media.receive_crypto)
        keys = self._keys.get(media.index)
        if keys is None or keys.cryptos != cryptos:
            keys = Keys(*cryptos)
        stream = self.streams.get(media.index)
        draw = self.plane.random_number
        settings = settings_of(
            media, self.policy, keys=keys, cname=self._cname, origin_ns=self._origin_ns, seed=draw(63),
            ssrc=stream.settings.ssrc if stream else draw(32), first_sequence=stream.settings.first_sequence if stream else draw(15),
            first_timestamp=stream.settings.first_timestamp if stream else draw(32),
        )  # fmt: skip
        before = self._keys.get(media.index)
        self._keys[media.index] = keys
        if stream is not None:
            self._change(stream, settings, keys, before)
            return None
        made = self.plane.open_stream(self.ports[media.index], settings, self._listener_of(media.index), kept=keys)
        self.streams[media.index] = made
        return made

    def _change(self, stream: MediaStream, settings: StreamSettings, keys: Keys, before: Keys | None) -> None:
        """What is on its way under the keys before is read for a while still."""
        if before is None or before is keys or before.receiver is None or keys.receiver is None:
            stream.apply(settings, kept=keys)
            return
        stream.apply(msgspec.structs.replace(settings, old_receive_srtp=before.receiver.address), kept=(keys, before))

        def forget() -> None:
            if stream.is_open and stream.settings.receive_srtp == settings.receive_srtp:
                stream.apply(msgspec.structs.replace(stream.settings, old_receive_srtp=0), kept=keys)

        self.plane.loop.call_later(OLD_KEYS_S, forget)

    def _end(self, index: int) -> None:
        stream = self.streams.pop(index, None)
        port = self.ports.pop(index, None)
        self._keys.pop(index, None)
        if stream is not None:
            stream.close()
        if port is not None:
            port.close()

    def close(self) -> None:
        """Ends all streams and gives their ports back."""
        for index in list(self.ports):
            self._end(index)


__all__ = ["ANYWHERE", "CallMedia", "Keys", "PathError", "PathPolicy", "format_of", "rate_of", "settings_of"]
