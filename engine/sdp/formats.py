"""Which formats a line ends up with: in an answer of ours, in an offer of ours, and of the answer to that (RFC 3264 5.1, 6.1, 8.3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from engine.sdp import codecs
from engine.sdp.codecs import COMFORT_NOISE, DTMF_EVENTS, TELEPHONE_EVENT, CodecCapability, Key, PayloadFormat
from engine.sdp.compose import MediaSection
from engine.sdp.description import Codec, text
from engine.sdp.errors import MEDIA_FORMAT, NegotiationError
from engine.sdp.negotiated import NegotiatedMedia
from engine.sdp.remote import RemoteMedia
from engine.sdp.terms import Terms

EVENT_PAYLOAD_TYPE: Final = 101  # nobody assigned it, everybody uses it
_NAMES_SHOWN: Final = 6
_OUR_EVENTS: Final = codecs.events_of(DTMF_EVENTS)


class Formats(msgspec.Struct, frozen=True, kw_only=True):
    """Formats both ways, and the codec that comes first with its agreed frame in ms."""

    send: tuple[PayloadFormat, ...]
    receive: tuple[PayloadFormat, ...]
    first: CodecCapability
    frame_ms: int


def _names(remote: RemoteMedia) -> str:
    """What was offered, for an error text: it is somebody else's words, so little of it and nothing but letters."""
    shown = [ascii(codec.name[:24])[1:-1] or str(codec.payload_type) for codec in remote.codecs[:_NAMES_SHOWN]]
    return ", ".join(shown) + (" and more" if len(remote.codecs) > _NAMES_SHOWN else "")


def _fmtp_of(codec: Codec) -> str:
    return text(codec.entry.fmtp)


def _chosen(remote: RemoteMedia, terms: Terms, *, mux: bool) -> list[tuple[Codec, CodecCapability, str]]:
    """The codecs of an answer: (theirs, ours, agreed parameters), in the order that the terms want."""
    usable = [(codec, codecs.key_of(codec)) for codec in remote.codecs if codecs.is_usable(codec, mux=mux)]
    known = [(ours, ours.key) for ours in terms.codecs]
    pairs = ((codec, ours) for codec, offered in usable for ours, key in known if key == offered)
    if terms.order == "ours":
        pairs = ((codec, ours) for ours, key in known for codec, offered in usable if key == offered)
    found: list[tuple[Codec, CodecCapability, str]] = []
    for codec, ours in pairs:
        if len(found) == terms.answered_codecs:
            break
        if any(codec is one or ours is other for one, other, _ in found):
            continue
        agreed = codecs.agreed_fmtp(ours, _fmtp_of(codec))
        if agreed is not None:
            found.append((codec, ours, agreed))
    return found


def _events(remote: RemoteMedia, clocks: Sequence[int], *, mux: bool) -> list[tuple[Codec, str]]:
    """telephone-event at the clocks of the codecs, with the events that both know. Where there is none of these, one of another clock is
    better than no digits: that is how opus is offered by who knows only telephone-event/8000."""
    offered = [one for one in remote.codecs if codecs.name_of(one) == TELEPHONE_EVENT and one.clock_rate_hz and codecs.is_usable(one, mux=mux)]
    matching = [one for clock in clocks for one in offered if one.clock_rate_hz == clock]
    found: dict[int, tuple[Codec, str]] = {}
    for one in matching or offered[:1]:
        known = codecs.events_of(_fmtp_of(one)) & _OUR_EVENTS
        if known:
            found.setdefault(one.clock_rate_hz, (one, codecs.events_text(known)))
    return list(found.values())


def of_answer(remote: RemoteMedia, terms: Terms, *, mux: bool) -> Formats:
    """What an answer keeps of an offered line. Raises NegotiationError (305) where that is no codec."""
    chosen = _chosen(remote, terms, mux=mux)
    if not chosen:
        raise NegotiationError(f"none of the offered codecs is known: {_names(remote)}", warning=MEDIA_FORMAT)
    send, receive = [], []
    for codec, ours, agreed in chosen:
        one = PayloadFormat(
            payload_type=codec.payload_type, name=ours.name, clock_rate_hz=ours.clock_rate_hz, channels=ours.channels, fmtp=agreed,
        )  # fmt: skip
        receive.append(one)
        send.append(msgspec.structs.replace(one, fmtp=codecs.sending_fmtp(ours, _fmtp_of(codec), agreed)))
    clocks = list(dict.fromkeys(ours.clock_rate_hz for _, ours, _ in chosen))
    if terms.comfort_noise:
        noisy = {ours.clock_rate_hz for _, ours, _ in chosen if not codecs.has_own_silence(ours.name)}
        for codec in remote.codecs:
            if codecs.name_of(codec) == "cn" and codec.clock_rate_hz in noisy and codec.channels == 1 and codecs.is_usable(codec, mux=mux):
                noisy.discard(codec.clock_rate_hz)
                noise = PayloadFormat(payload_type=codec.payload_type, name=COMFORT_NOISE, clock_rate_hz=codec.clock_rate_hz)
                receive.append(noise)
                send.append(noise)
    if terms.telephone_event:
        for codec, events in _events(remote, clocks, mux=mux):
            event = PayloadFormat(payload_type=codec.payload_type, name=TELEPHONE_EVENT, clock_rate_hz=codec.clock_rate_hz, fmtp=events)
            receive.append(event)
            send.append(event)
    first = chosen[0][1]
    return Formats(send=tuple(send), receive=tuple(receive), first=first, frame_ms=codecs.frame_of(first, chosen[0][2]))


def of_offer(terms: Terms, standing: NegotiatedMedia | None, history: dict[int, Key]) -> tuple[PayloadFormat, ...]:
    """Everything we can do, what is in use first so that nothing changes without need, with numbers as they were."""
    current = standing.codec if standing is not None else None
    ordered = sorted(terms.codecs, key=lambda one: current is None or one.key != current.key)
    wanted: list[tuple[Key, str, int, str]] = [(one.key, one.name, one.payload_type, one.fmtp) for one in ordered]
    if terms.comfort_noise:
        for clock in dict.fromkeys(one.clock_rate_hz for one in ordered if not codecs.has_own_silence(one.name)):
            wanted.append((("cn", clock, 1), COMFORT_NOISE, 13 if clock == 8000 else -1, ""))
    if terms.telephone_event:
        for clock in dict.fromkeys(one.clock_rate_hz for one in ordered):
            wanted.append(((TELEPHONE_EVENT, clock, 1), TELEPHONE_EVENT, EVENT_PAYLOAD_TYPE if clock == 8000 else -1, DTMF_EVENTS))
    wanted = wanted[: codecs.FORMATS_MAX]
    numbers = codecs.numbers_for([(key, number) for key, _, number, _ in wanted], history)
    return tuple(
        PayloadFormat(payload_type=given, name=name, clock_rate_hz=key[1], channels=key[2], fmtp=fmtp)
        for given, (key, name, _, fmtp) in zip(numbers, wanted, strict=True)
        if given >= 0
    )


def answered(remote: RemoteMedia, section: MediaSection, terms: Terms, *, mux: bool) -> Formats:
    """What their answer keeps of our offer: sent with their numbers, received with ours (6.1). Raises NegotiationError (305)."""
    send: list[PayloadFormat] = []
    receive: dict[int, PayloadFormat] = {}
    offered = {one.payload_type: one for one in section.payloads}
    first: tuple[CodecCapability, str] | None = None
    for codec in remote.codecs:
        same_number = offered.get(codec.payload_type)
        key = codecs.key_of(codec)
        if not key[0] and same_number is not None:  # no rtpmap, which RFC 3264 wants; there is only one thing it can mean
            key = same_number.key
        candidates = [same_number] if same_number is not None and same_number.key == key else [one for one in section.payloads if one.key == key]
        if not candidates or (same_number is None and not codecs.is_usable(codec, mux=mux)):
            continue
        ours = candidates[0]
        if ours.payload_type in receive:
            continue
        if ours.is_speech:
            capability = next((one for one in terms.codecs if one.key == key), None) or CodecCapability(
                name=ours.name, clock_rate_hz=ours.clock_rate_hz, channels=ours.channels, fmtp=ours.fmtp
            )
            agreed = codecs.agreed_fmtp(capability, _fmtp_of(codec))
            if agreed is None:
                continue
            first = first or (capability, agreed)
            fmtp_out, fmtp_in = codecs.sending_fmtp(capability, _fmtp_of(codec), agreed), agreed
        elif ours.is_event:
            fmtp_out = fmtp_in = codecs.events_text(codecs.events_of(_fmtp_of(codec)) & codecs.events_of(ours.fmtp))
            if not fmtp_out:
                continue
        else:
            fmtp_out = fmtp_in = ""
        receive[ours.payload_type] = msgspec.structs.replace(ours, fmtp=fmtp_in)
        send.append(msgspec.structs.replace(ours, payload_type=codec.payload_type, fmtp=fmtp_out))
    if first is None:
        raise NegotiationError(f"the answer has none of the offered codecs: {_names(remote)}", warning=MEDIA_FORMAT)
    # Who only sends says with which numbers (5.1), which should be ours but need not.
    strays = [one for one in send if remote.stated == "sendonly" and one.payload_type not in offered]
    return Formats(send=tuple(send), receive=(*receive.values(), *strays), first=first[0], frame_ms=codecs.frame_of(*first))


__all__ = ["EVENT_PAYLOAD_TYPE", "Formats", "answered", "of_answer", "of_offer"]
