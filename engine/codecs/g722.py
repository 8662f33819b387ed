"""G.722 at 64 kbit/s: 7 kHz of voice in the bits of G.711 (ITU-T G.722; RFC 3551 4.5.2)."""

from __future__ import annotations

from typing import Final

from engine.codecs.base import Codec

# RTP's clock is 8000 though samples come at 16000: an error of RFC 1890 that was kept.
CODEC: Final = Codec(name="G722", clock_rate_hz=8000, sample_rates_hz=(16000,), payload_type=9)
