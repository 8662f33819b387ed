"""Speech quality from loss, delay and codec: the E-model (ITU-T G.107, G.107.1, G.107.2, G.113 App. I)."""

from __future__ import annotations

from dataclasses import dataclass

from engine._native import rtp as _native

_STAND_IN = 2
_CODECS = {name.lower(): number for number, name in enumerate(_native.CODECS) if name}


@dataclass(frozen=True, slots=True)
class Quality:
    """A rated direction of a call.

    `rating` and `rating_conversation` are R on the 0..100 scale (wide- and full-band codecs brought to it), MOS
    is 1..4.5. What needs a delay is None when no delay is known: conversational quality is not claimed without
    one. `stand_in` tells that the codec has no published impairment and one like it was taken.
    """

    rating: float
    mos_listening: float
    rating_conversation: float | None
    mos_conversation: float | None
    equipment_impairment: float
    delay_impairment: float
    stand_in: bool


def rate(
    codec: str,
    *,
    loss_percent: float = 0.0,
    burst_ratio: float = 1.0,
    one_way_delay_ms: float | None = None,
) -> Quality:
    """Rates a codec by its rtpmap name (any case; unknown names as G.711 with concealment).

    `loss_percent` counts what the jitter buffer discards too; `burst_ratio` is G.107's BurstR, 1 for random
    loss; `one_way_delay_ms` goes from mouth to ear. Raises ValueError for values out of range and for codecs
    that carry no speech.
    """
    if not 0 <= loss_percent <= 100:
        raise ValueError(f"loss_percent is {loss_percent}, not 0..100")
    if not burst_ratio >= 1:
        raise ValueError(f"burst_ratio is {burst_ratio}, less than 1")
    if one_way_delay_ms is not None and not one_way_delay_ms >= 0:
        raise ValueError(f"one_way_delay_ms is {one_way_delay_ms}, less than 0")
    number = _CODECS.get(codec.lower(), 0)
    source = _native.codec_impairment(number)[4]
    if not source:
        raise ValueError(f"{codec} carries no speech")
    rating = _native.rating(number, loss_percent, burst_ratio)
    conversation = None
    if one_way_delay_ms is not None:
        conversation = _native.rating(number, loss_percent, burst_ratio, one_way_delay_ms)
    return Quality(
        rating=rating,
        mos_listening=_native.mos(rating),
        rating_conversation=conversation,
        mos_conversation=None if conversation is None else _native.mos(conversation),
        equipment_impairment=_native.ie_effective(number, loss_percent, burst_ratio),
        delay_impairment=_native.delay_impairment(one_way_delay_ms or 0.0),
        stand_in=source == _STAND_IN,
    )
