"""Patterns select what AMQP's topic exchanges would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bus.topics import check_name, check_pattern, matches

WORDS = st.lists(st.sampled_from("ab"), min_size=1, max_size=6)
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=6)


def selects(pattern: list[str], words: list[str]) -> bool:
    """The definition, word by word."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(selects(pattern[1:], words[taken:]) for taken in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and selects(pattern[1:], words[1:])


@given(PATTERNS, WORDS)
def test_matching_follows_the_definition(pattern: list[str], words: list[str]) -> None:
    assert matches(".".join(pattern), ".".join(words)) == selects(pattern, words)


@pytest.mark.parametrize(
    ("pattern", "topic", "selected"),
    [
        ("call.started", "call.started", True),
        ("call.*", "call.started", True),
        ("call.*", "call", False),
        ("call.*", "call.media.dtmf", False),
        ("call.#", "call", True),
        ("call.#", "call.media.dtmf", True),
        ("#.dtmf", "call.media.dtmf", True),
        ("#", "anything.at.all", True),
        ("call", "calls", False),
    ],
)
def test_patterns(pattern: str, topic: str, selected: bool) -> None:
    assert matches(pattern, topic) is selected


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not matches(".".join(["#", "a"] * 49), ".".join(["a"] * 99) + ".b")


@pytest.mark.parametrize("name", ["worker.0", "a", "A-b_c.9", "x" * 200])
def test_names(name: str) -> None:
    assert check_name(name) == name
    assert check_pattern(f"*.{name[:100]}.#")


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a b", "a\n", "a*", "é", "x" * 201, "a/b", "a\x00"])
def test_no_names(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        check_name(name)
    with pytest.raises(ValueError, match="is no topic pattern"):
        check_pattern(f"{name}*b")
