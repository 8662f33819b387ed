"""Every shape by its name."""

from __future__ import annotations

from tests.flow.siprec.shapes import (
    audiocodes,
    avaya,
    broadworks,
    cisco,
    general,
    metaswitch,
    oracle,
    others,
    ribbon,
)
from tests.flow.siprec.shapes.shape import Shape


def every() -> dict[str, Shape]:
    """All of them; names are told apart."""
    found: dict[str, Shape] = {}
    for module in (cisco, oracle, audiocodes, avaya, ribbon, broadworks, metaswitch, others, general):
        assert not found.keys() & module.SHAPES.keys()
        found |= module.SHAPES
    return found


__all__ = ["every"]
