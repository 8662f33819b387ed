"""Session descriptions: reading one, and the media lines it consists of."""

from engine.sdp.description import Codec, Description, MediaLine, parse

__all__ = ["Codec", "Description", "MediaLine", "parse"]
