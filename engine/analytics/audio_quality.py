"""How calls are heard, from the reports of the media plane: MOS by the E-model (ITU-T G.107) for each leg and for the call, and alerts for what is hard to follow."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from engine.rtp.quality import rate
from engine.siprec.events import LegQuality
from engine.siprec.facts import ChannelFacts

ALERT_BELOW, GOOD_AGAIN = 2.5, 3.0
NEWS: Final = 0.1  # of MOS
LEGS_MAX: Final = 32


class Leg(msgspec.Struct):
    """One leg: how it is now, and over the call by packets. `alerted` until it is good again."""

    mos: float = 0.0
    loss_percent: float = 0.0
    jitter_ms: float = 0.0
    packets: int = 0
    mos_packets: float = 0.0
    alerted: bool = False

    @property
    def mean(self) -> float:
        """MOS over the call, each report by its packets."""
        return self.mos_packets / self.packets if self.packets else 0.0


def mos_of(leg: LegQuality, codec: str) -> float | None:
    """What the report says, or what its loss comes to with this codec; None where that cannot be said."""
    if leg.mos is not None:
        return leg.mos if 1 <= leg.mos <= 5 else None
    if not 0 <= leg.loss_percent <= 100:
        return None
    try:
        return rate(codec or "PCMU", loss_percent=leg.loss_percent).mos_listening
    except ValueError:
        return None


class AudioQuality:
    """The legs of one call."""

    def __init__(self) -> None:
        self.legs: dict[int, Leg] = {}
        self._told: float | None = None

    def hear(self, told: LegQuality, channel: ChannelFacts | None) -> bool:
        """Takes a report of one leg; whether it became bad just now."""
        mos = mos_of(told, channel.codec if channel else "")
        if mos is None or told.packets <= 0 or (told.index not in self.legs and len(self.legs) >= LEGS_MAX):
            return False
        leg = self.legs.setdefault(told.index, Leg())
        leg.mos, leg.loss_percent = mos, told.loss_percent
        if told.jitter_ms is not None and math.isfinite(told.jitter_ms):
            leg.jitter_ms = told.jitter_ms
        leg.packets += told.packets
        leg.mos_packets += mos * told.packets
        if mos >= GOOD_AGAIN:
            leg.alerted = False
        elif mos < ALERT_BELOW and not leg.alerted:
            leg.alerted = True
            return True
        return False

    @property
    def mos(self) -> float | None:
        """Of the call: that of its worst leg."""
        return min((leg.mean for leg in self.legs.values()), default=None)

    def is_news(self) -> bool:
        """Whether it is noticeably another than when this said so last."""
        mos = min((leg.mos for leg in self.legs.values()), default=None)
        if mos is None or (self._told is not None and abs(mos - self._told) < NEWS):
            return False
        self._told = mos
        return True

    def document(self) -> dict[str, Any]:
        """As it goes out: how the worst leg is now, the call's MOS, and each leg."""
        if not self.legs:
            return {}
        worst = min(self.legs.values(), key=lambda leg: leg.mos)
        legs = [
            {"channel": index, "mos": round(leg.mos, 2), "packet_loss": round(leg.loss_percent, 2), "jitter_ms": round(leg.jitter_ms, 2)}
            for index, leg in sorted(self.legs.items())
        ]
        mos = self.mos
        assert mos is not None
        return {"mos": round(mos, 2), "packet_loss": round(worst.loss_percent, 2), "jitter_ms": round(worst.jitter_ms, 2), "legs": legs}


__all__ = ["ALERT_BELOW", "GOOD_AGAIN", "AudioQuality", "Leg", "mos_of"]
