"""Opus (RFC 6716, RFC 7587), by libopus through opuslib."""

from __future__ import annotations

import ctypes
import warnings
from functools import cache
from typing import Any, Final

from engine._native import codec as native
from engine._native.codec import Decoder, Encoder
from engine.codecs.base import Codec, CodecUnavailable

_FUNCTIONS: Final = (  # in the order of `struct opus_functions`
    "opus_decoder_get_size",
    "opus_decoder_init",
    "opus_decode",
    "opus_encoder_get_size",
    "opus_encoder_init",
    "opus_encode",
    "opus_encoder_ctl",
    "opus_packet_get_nb_samples",
)
USUAL_BIT_RATE: Final = 24_000  # of one channel
USUAL_COMPLEXITY: Final = 5


@cache
def library() -> Any:
    """libopus, as opuslib has loaded it. Raises CodecUnavailable where either is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # opuslib compares numbers by identity
            import opuslib.api
    except ImportError as error:
        raise CodecUnavailable("Opus needs the Python package opuslib: pip install opuslib") from error
    except Exception as error:  # opuslib has no class of its own for this
        raise CodecUnavailable("Opus needs the library libopus: apt-get install libopus0") from error
    return opuslib.api.libopus


@cache
def addresses() -> tuple[int, ...]:
    """Addresses of libopus's functions, in the order of `struct opus_functions`: what every native module that knows Opus is bound by.

    Raises CodecUnavailable where the library is missing or too old.
    """
    loaded = library()
    try:
        found = [ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value for name in _FUNCTIONS]
    except AttributeError as error:
        raise CodecUnavailable(f"this libopus is too old: {error}") from error
    return tuple(address or 0 for address in found)


class OpusCodec(Codec, frozen=True, kw_only=True):
    """Opus, whose decoders and encoders need libopus: both raise CodecUnavailable where it is missing."""

    def decoder(self, sample_rate_hz: int = 0, channels: int = 1, clock_rate_hz: int = 0) -> Decoder:
        native.bind_opus(addresses())
        return Decoder(self.name, sample_rate_hz, channels, clock_rate_hz)

    def encoder(
        self,
        sample_rate_hz: int = 0,
        channels: int = 1,
        clock_rate_hz: int = 0,
        bit_rate: int = 0,
        *,
        complexity: int = USUAL_COMPLEXITY,
        has_fec: bool = False,
        loss_percent: int = 0,
        has_dtx: bool = False,
    ) -> Encoder:
        """An encoder for voice (VOIP). FEC costs bits only where `loss_percent` is not 0. With DTX a frame of silence is 1 or 2 bytes."""
        native.bind_opus(addresses())
        made = Encoder(self.name, sample_rate_hz, channels, clock_rate_hz, bit_rate)
        made.set_opus(bit_rate or USUAL_BIT_RATE * channels, complexity, has_fec, loss_percent, has_dtx)
        return made


# RFC 7587 4.1, 7: always 48000 and two channels in rtpmap, whatever is sent.
CODEC: Final = OpusCodec(name="opus", clock_rate_hz=48000, sample_rates_hz=(48000, 24000, 16000, 12000, 8000), channels=2, channels_max=2)
