"""Words of what was said, as everything here compares them.

Words are folded in case and without punctuation; contractions become the words they stand for ("don't" is do, not; "customer's" is customer), so that a
phrase is found however it was written down. Scripts without spaces (Chinese, Japanese) give a word a sign.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_APOSTROPHES: Final = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u2032\uff07\u0060\u00b4", "'"))
# Python's \w has no combining marks, without which words of Indic scripts would fall apart.
_MARKS: Final = "".join(chr(code) for code in range(0x300, 0x3100) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
_SIGNS: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER: Final = rf"(?:[^\W_{_SIGNS}]|[{re.escape(_MARKS)}])"
_ASCII_WORD: Final = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
_WORD: Final = re.compile(rf"[{_SIGNS}]|{_LETTER}+(?:'{_LETTER}+)*")
_WHOLE: Final = {"can't": ("can", "not"), "won't": ("will", "not"), "shan't": ("shall", "not"), "ain't": ("is", "not")}
_ENDINGS: Final = {"s": (), "d": (), "m": ("am",), "re": ("are",), "ve": ("have",), "ll": ("will",)}


def _expanded(word: str) -> tuple[str, ...]:
    """The words of a contraction; the word itself where it is none (o'clock)."""
    if word in _WHOLE:
        return _WHOLE[word]
    if word.endswith("n't"):
        return word[:-3], "not"
    stem, _, ending = word.rpartition("'")
    return (stem, *_ENDINGS[ending]) if ending in _ENDINGS else (word,)


def tokens(text: str) -> list[str]:
    """The words of a text, in order; takes time in proportion to its length."""
    if text.isascii():
        words = _ASCII_WORD.findall(text.lower())
        has_contractions = "'" in text
    else:
        folded = unicodedata.normalize("NFC", text.translate(_APOSTROPHES).casefold())
        words = _WORD.findall(folded)
        has_contractions = "'" in folded
    if not has_contractions:
        return words
    return [part for word in words for part in (_expanded(word) if "'" in word else (word,))]


__all__ = ["tokens"]
