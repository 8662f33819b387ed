"""PCMA: G.711 A-law, 64 kbit/s (ITU-T G.711; RFC 3551 4.5.14)."""

from __future__ import annotations

from typing import Final

from engine.codecs.base import Codec

CODEC: Final = Codec(name="PCMA", clock_rate_hz=8000, sample_rates_hz=(8000,), payload_type=8)
