"""What a codec is to Python: its facts, and a decoder and an encoder over the kernels for work off the media thread."""

from __future__ import annotations

import msgspec

from engine._native.codec import Decoder, Encoder
from engine.errors import EngineError


class CodecUnavailable(EngineError):
    """A codec whose library is not on this machine."""

    code = "codec.unavailable"


class Codec(msgspec.Struct, frozen=True, kw_only=True):
    """One codec, as RFC 3551 6 or its own RFC has it in rtpmap.

    `clock_rate_hz` is that of RTP timestamps; 0 where rtpmap gives it (L16). `sample_rates_hz` are those that PCM can have, the usual one first;
    empty where PCM has the clock's. `payload_type` is the static one, None where there is none. `channels` is what rtpmap says in offers,
    `channels_max` what can be decoded. `is_lossless` says that decoding gives back what was encoded, bit by bit.
    """

    name: str
    clock_rate_hz: int
    sample_rates_hz: tuple[int, ...]
    payload_type: int | None = None
    channels: int = 1
    channels_max: int = 1
    ptime_ms: int = 20
    is_lossless: bool = False

    def decoder(self, sample_rate_hz: int = 0, channels: int = 1, clock_rate_hz: int = 0) -> Decoder:
        """A decoder with a state of its own. 0 Hz is the codec's usual rate; `clock_rate_hz` is rtpmap's, for codecs that have none.

        Raises ValueError for a rate or a number of channels that the codec does not have.
        """
        return Decoder(self.name, sample_rate_hz, channels, clock_rate_hz)

    def encoder(self, sample_rate_hz: int = 0, channels: int = 1, clock_rate_hz: int = 0, bit_rate: int = 0) -> Encoder:
        """An encoder with a state of its own; `bit_rate` in bit/s is for codecs that have more than one, 0 is the usual. Raises as `decoder`."""
        return Encoder(self.name, sample_rate_hz, channels, clock_rate_hz, bit_rate)
