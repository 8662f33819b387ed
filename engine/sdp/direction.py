"""The four directions of a stream, and what an answer makes of an offered one (RFC 3264 5.1, 6.1; RFC 8866 6.7)."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("sendrecv", "sendonly", "recvonly", "inactive")
_REVERSED: Final[dict[Direction, Direction]] = {"sendonly": "recvonly", "recvonly": "sendonly"}


def sends(direction: Direction) -> bool:
    """Whether who states it sends."""
    return direction in ("sendrecv", "sendonly")


def receives(direction: Direction) -> bool:
    """Whether who states it receives."""
    return direction in ("sendrecv", "recvonly")


def direction_of(*, send: bool, receive: bool) -> Direction:
    """The direction of who sends, receives, does both or neither."""
    if send:
        return "sendrecv" if receive else "sendonly"
    return "recvonly" if receive else "inactive"


def seen_from_the_other_end(direction: Direction) -> Direction:
    """What they send is what we receive."""
    return _REVERSED.get(direction, direction)


def both(one: Direction, other: Direction) -> Direction:
    """What is left where each of two must allow it, both seen from one end."""
    return direction_of(send=sends(one) and sends(other), receive=receives(one) and receives(other))


def answer_to(offered: Direction, wish: Direction) -> Direction:
    """The answer's direction for an offered one and what we would do (6.1)."""
    return both(seen_from_the_other_end(offered), wish)


def named(text: str) -> Direction:
    """A direction by its name. Raises ValueError for any other."""
    if text not in DIRECTIONS:
        raise ValueError(f"{text!r} is no direction")
    return text


__all__ = ["DIRECTIONS", "Direction", "answer_to", "both", "direction_of", "named", "receives", "seen_from_the_other_end", "sends"]
