"""Codecs, one file each: a member states `CODEC`, a value of `base.Codec`, and has its kernel in `_native/c/codec_<name>.c`."""

from __future__ import annotations

from typing import Final

from engine import registry
from engine.codecs.base import Codec, CodecUnavailable

__all__ = ["CODECS", "Codec", "CodecUnavailable", "codec_of"]

CODECS: Final[tuple[Codec, ...]] = tuple(registry.load(__name__, "CODEC", Codec).values())
_BY_NAME: Final = {codec.name.lower(): codec for codec in CODECS}


def codec_of(name: str) -> Codec:
    """The codec of an rtpmap name, in any case. Raises LookupError for one that we do not have."""
    found = _BY_NAME.get(name.lower())
    if found is None:
        raise LookupError(f"no codec is named {name[:64]!r}")
    return found
