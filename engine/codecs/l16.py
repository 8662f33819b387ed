"""L16: linear PCM of 16 bits in network byte order, at the rate that rtpmap gives (RFC 3551 4.5.11)."""

from __future__ import annotations

from typing import Final

from engine.codecs.base import Codec

CODEC: Final = Codec(name="L16", clock_rate_hz=0, sample_rates_hz=(), channels_max=2, is_lossless=True)
