"""Names on the bus: words of letters, digits, "_" and "-", joined by dots.

A pattern may hold "*" for exactly one word and "#" for any number of them, none included, as in AMQP's topic
exchanges, so that a subscription means the same on every transport.
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_NAME_CHARACTERS = 200
_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_PATTERN = re.compile(r"(?:[A-Za-z0-9_-]+|\*|#)(?:\.(?:[A-Za-z0-9_-]+|\*|#))*")


def check_name(name: str) -> str:
    """`name`, when it may name a process, a subject or a topic. Raises ValueError otherwise."""
    if len(name) > MAX_NAME_CHARACTERS or not _NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name on the bus: words of letters, digits, _ and -, joined by dots")
    return name


def check_pattern(pattern: str) -> str:
    """`pattern`, when it may select topics. Raises ValueError otherwise."""
    if len(pattern) > MAX_NAME_CHARACTERS or not _PATTERN.fullmatch(pattern):
        raise ValueError(f"{pattern[:80]!r} is no topic pattern: words, * and #, joined by dots")
    return pattern


@lru_cache(maxsize=4096)
def matches(pattern: str, topic: str) -> bool:
    """Whether `pattern` selects `topic`. Takes at most the product of their word counts in steps."""
    wanted, words = pattern.split("."), topic.split(".")
    at = word = 0
    hash_at, hash_word = -1, 0
    while word < len(words):
        if at < len(wanted) and wanted[at] == "#":
            hash_at, hash_word = at, word
            at += 1
        elif at < len(wanted) and wanted[at] in ("*", words[word]):
            at += 1
            word += 1
        elif hash_at >= 0:
            # Let the last # take one word more, and try what follows it again.
            hash_word += 1
            at, word = hash_at + 1, hash_word
        else:
            return False
    return all(rest == "#" for rest in wanted[at:])


__all__ = ["MAX_NAME_CHARACTERS", "check_name", "check_pattern", "matches"]
