"""Codecs: what we can do, whether an offered format is the same, and what its parameters become (RFC 3264 6.1, RFC 4855).

Names are compared without case. A format is the same codec where name, clock and channels are equal and where those parameters agree that
change the bits on the wire; all others are each end's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from engine._native.sdp import CODECS
from engine.sdp.description import Codec

TELEPHONE_EVENT: Final = "telephone-event"
COMFORT_NOISE: Final = "CN"
DTMF_EVENTS: Final = "0-15"
FORMATS_MAX: Final = 32  # of one m= line: the kernel keeps no more
_DYNAMIC: Final = (*range(96, 128), *range(35, 64))  # RFC 3551 3, RFC 5761 4
_STATIC: Final = {  # RFC 3551 6: of audio
    0: "pcmu", 2: "g726-32", 3: "gsm", 4: "g723", 5: "dvi4", 6: "dvi4", 7: "lpc", 8: "pcma", 9: "g722", 10: "l16", 11: "l16", 12: "qcelp",
    13: "cn", 14: "mpa", 15: "g728", 16: "dvi4", 17: "dvi4", 18: "g729", 19: "cn",
}  # fmt: skip
_ASSIGNED: Final = frozenset(_STATIC) | {25, 26, 28, 31, 32, 33, 34}  # numbers that an rtpmap may not give to something else
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}\Z")
_EVENTS: Final = re.compile(r"\s*([0-9]{1,3})(?:\s*-\s*([0-9]{1,3}))?\s*\Z")
# Parameters that must be equal, and what each is where nothing is said (RFC 4867 8.1, RFC 5577 4.1).
_ALIKE: Final[dict[str, dict[str, str]]] = {
    "amr": {"octet-align": "0", "crc": "0", "robust-sorting": "0", "interleaving": ""},
    "amr-wb": {"octet-align": "0", "crc": "0", "robust-sorting": "0", "interleaving": ""},
    "g7221": {"bitrate": ""},
}
# Switched off as soon as one end does not want it: RFC 4856 2.1.9, 2.1.10.
_SWITCHES: Final = {"g729": "annexb", "g723": "annexa"}
_AMR_MODES: Final = frozenset("012345678")
_FRAMED: Final = frozenset({"g723", "g728", "g729", "gsm", "gsm-efr", "ilbc", "amr", "amr-wb", "evs", "opus", "speex", "silk"})
Key = tuple[str, int, int]  # name in lower case, clock in Hz, channels


class CodecCapability(msgspec.Struct, frozen=True, kw_only=True):
    """One codec that we can send and receive.

    `payload_type` is the number it has in our offers where none was agreed before; -1 is any dynamic one. `ptime_ms` is the packet time we
    would have, `frame_ms` the step packet times come in. Raises ValueError for what no rtpmap can say.
    """

    name: str
    clock_rate_hz: int
    channels: int = 1
    payload_type: int = -1
    fmtp: str = ""
    ptime_ms: int = 20
    frame_ms: int = 10

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or not 1 <= self.clock_rate_hz <= 2**32 - 1 or not 1 <= self.channels <= 255:
            raise ValueError(f"{self.name[:64]!r} with {self.clock_rate_hz} Hz and {self.channels} channels is no codec")
        if self.payload_type not in (-1, *_DYNAMIC) and _STATIC.get(self.payload_type) != self.name.lower():
            raise ValueError(f"payload type {self.payload_type} is not free for {self.name}")
        if any(not " " <= character <= "~" for character in self.fmtp):
            raise ValueError(f"the parameters of {self.name} are not plain text")
        if self.frame_ms < 1 or self.ptime_ms < self.frame_ms:
            raise ValueError(f"{self.name} has packets of {self.ptime_ms} ms and frames of {self.frame_ms} ms")

    @property
    def key(self) -> Key:
        return self.name.lower(), self.clock_rate_hz, self.channels


class PayloadFormat(msgspec.Struct, frozen=True, kw_only=True):
    """One payload type on the wire. `fmtp` is what the receiver of the packets said of it."""

    payload_type: int
    name: str
    clock_rate_hz: int
    channels: int = 1
    fmtp: str = ""

    @property
    def key(self) -> Key:
        return self.name.lower(), self.clock_rate_hz, self.channels

    @property
    def is_event(self) -> bool:
        """Events, as digits are (RFC 4733)."""
        return self.name == TELEPHONE_EVENT

    @property
    def is_comfort_noise(self) -> bool:
        """RFC 3389."""
        return self.name == COMFORT_NOISE

    @property
    def is_speech(self) -> bool:
        """Neither of both: what carries the voice."""
        return not self.is_event and not self.is_comfort_noise


PCMU: Final = CodecCapability(name="PCMU", clock_rate_hz=8000, payload_type=0)
PCMA: Final = CodecCapability(name="PCMA", clock_rate_hz=8000, payload_type=8)
G722: Final = CodecCapability(name="G722", clock_rate_hz=8000, payload_type=9)
G729: Final = CodecCapability(name="G729", clock_rate_hz=8000, payload_type=18, fmtp="annexb=no")
OPUS: Final = CodecCapability(name="opus", clock_rate_hz=48000, channels=2, payload_type=107, fmtp="useinbandfec=1")


def parameters_of(fmtp: str) -> dict[str, str]:
    """Parameters by name in lower case; of a name that stands twice the first counts."""
    found: dict[str, str] = {}
    for part in fmtp.split(";"):
        name, _, value = part.strip().partition("=")
        if name.strip():
            found.setdefault(name.strip().lower(), value.strip())
    return found


def name_of(codec: Codec) -> str:
    """Encoding name in lower case, one name for what has several (G729a is G729); empty where nothing says."""
    number = codec.entry.codec
    return (CODECS[number] if number else codec.name).lower()


def key_of(codec: Codec) -> Key:
    """What it is compared by, with the two mistakes corrected that are everywhere: G722 at 16000, which it is sampled at (RFC 3551
    4.5.2), and opus without its two channels (RFC 7587 7)."""
    name = name_of(codec)
    if name == "g722" and codec.clock_rate_hz == 16000:
        return name, 8000, codec.channels
    if name == "opus":
        return name, codec.clock_rate_hz, 2
    return name, codec.clock_rate_hz, codec.channels


def is_usable(codec: Codec, *, mux: bool) -> bool:
    """Whether its number may stand for it: not one that RFC 3551 gives to another codec, nor, where RTP and RTCP share a port, one that
    would make RTP look like RTCP (RFC 5761 4)."""
    number = codec.payload_type
    if number in _ASSIGNED and number != 2 and _STATIC.get(number) != name_of(codec):
        return False
    return not (mux and 64 <= number <= 95)


def _mode_set(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _with(fmtp: str, name: str, value: str) -> str:
    """Parameters with one of them set."""
    kept = [part for part in fmtp.split(";") if part.strip() and part.strip().partition("=")[0].lower() != name]
    return ";".join([*kept, f"{name}={value}"])


def agreed_fmtp(capability: CodecCapability, offered: str) -> str | None:
    """The parameters an answer has, for a codec whose key is ours; None where they do not go together."""
    name = capability.name.lower()
    ours, theirs = parameters_of(capability.fmtp), parameters_of(offered)
    if any(ours.get(each, default) != theirs.get(each, default) for each, default in _ALIKE.get(name, {}).items()):
        return None
    if name in _SWITCHES:
        switch = _SWITCHES[name]
        wanted = all(said.get(switch, "yes").lower() != "no" for said in (ours, theirs))
        return _with(capability.fmtp, switch, "yes" if wanted else "no")
    if name == "ilbc":  # 20 ms only where both want them (RFC 3952 5)
        return f"mode={20 if ours.get('mode') == '20' and theirs.get('mode') == '20' else 30}"
    if name in ("amr", "amr-wb") and "mode-set" in theirs:  # taken as it is or not at all (RFC 4867 8.3.1)
        wanted_modes, our_modes = _mode_set(theirs["mode-set"]), _mode_set(ours.get("mode-set", ""))
        if not wanted_modes or not wanted_modes <= (our_modes or _AMR_MODES):
            return None
        return _with(capability.fmtp, "mode-set", ",".join(sorted(wanted_modes)))
    return capability.fmtp


def sending_fmtp(capability: CodecCapability, theirs: str, agreed: str) -> str:
    """The parameters to send with: what was agreed where both ends share them, else what the other end says of itself."""
    name = capability.name.lower()
    return agreed if name in _ALIKE or name in _SWITCHES or name == "ilbc" else theirs


def events_of(fmtp: str) -> frozenset[int]:
    """The events of an fmtp of telephone-event; 0 to 15 where it says none (RFC 4733 2.4.1). What is malformed says nothing."""
    found: set[int] = set()
    for part in fmtp.removeprefix("events=").split(",")[:256]:
        span = _EVENTS.match(part)
        if span is not None:
            first, last = int(span[1]), int(span[2] or span[1])
            found.update(range(first, min(last, 255) + 1))
    return frozenset(found) if found else frozenset(range(16))


def events_text(events: Iterable[int]) -> str:
    """The shortest list of numbers and ranges."""
    spans: list[list[int]] = []
    for event in sorted(set(events)):
        if spans and spans[-1][1] == event - 1:
            spans[-1][1] = event
        else:
            spans.append([event, event])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def packet_time_ms(asked_ms: int, maximum_ms: int, capability: CodecCapability, limit_ms: int, *, frame_ms: int = 0) -> int:
    """The packet time for one that was asked for (0: none), with a maximum (0: none) and one of ours: whole frames, at least one."""
    step_ms = frame_ms or capability.frame_ms
    wanted_ms = min(asked_ms or capability.ptime_ms, limit_ms)
    if maximum_ms:
        wanted_ms = min(wanted_ms, maximum_ms)
    return max(wanted_ms // step_ms * step_ms, step_ms)


def frame_of(capability: CodecCapability, fmtp: str) -> int:
    """The frame in ms that the agreed parameters make: iLBC has two."""
    if capability.name.lower() == "ilbc":
        return 20 if parameters_of(fmtp).get("mode") == "20" else 30
    return capability.frame_ms


def has_own_silence(name: str) -> bool:
    """Whether a codec marks silence itself, so that comfort noise of RFC 3389 does not go with it (RFC 3389 5)."""
    return name.lower() in _FRAMED


def numbers_for(wanted: Sequence[tuple[Key, int]], history: Mapping[int, Key]) -> list[int]:
    """Payload types for the formats of an offer, each a key and the number it would have (-1: any). One that it had before comes first,
    then the wanted one, then a free dynamic one. A number that meant another codec in this stream is not given again (RFC 3264 8.3.2)
    while there are others. What is behind the last number gets -1."""
    found = [-1] * len(wanted)
    used: set[int] = set()

    def give(at: int, number: int) -> None:
        found[at] = number
        used.add(number)

    for at, (key, _) in enumerate(wanted):
        before = next((number for number, meant in history.items() if meant == key and number not in used), -1)
        if before >= 0:
            give(at, before)
    for at, (key, number) in enumerate(wanted):
        if found[at] < 0 <= number and number not in used and history.get(number, key) == key:
            give(at, number)
    for at in range(len(wanted)):
        if found[at] < 0:
            unused = [number for number in _DYNAMIC if number not in used]
            free = [number for number in unused if number not in history]
            for number in (free or unused)[:1]:
                give(at, number)
    return found


__all__ = [
    "COMFORT_NOISE", "DTMF_EVENTS", "FORMATS_MAX", "G722", "G729", "OPUS", "PCMA", "PCMU", "TELEPHONE_EVENT", "CodecCapability", "Key",
    "PayloadFormat", "agreed_fmtp", "events_of", "events_text", "frame_of", "has_own_silence", "is_usable", "key_of", "name_of", "numbers_for",
    "packet_time_ms", "parameters_of", "sending_fmtp",
]  # fmt: skip
