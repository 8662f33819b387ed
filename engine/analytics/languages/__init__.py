"""Languages whose words of feeling are known, one file each: a member states `LANGUAGE`, a value of `base.Language`. Its module has the language's code."""

from __future__ import annotations

from typing import Final

from engine import registry
from engine.analytics.languages.base import Language, Sign

LANGUAGES: Final = registry.load(__name__, "LANGUAGE", Language)


def language_of(tag: str, default: str = "en") -> Language | None:
    """The language of a BCP 47 tag ("de-AT"), `default` for an empty one; None where we do not have it."""
    return LANGUAGES.get((tag or default).replace("_", "-").partition("-")[0].lower())


__all__ = ["LANGUAGES", "Language", "Sign", "language_of"]
