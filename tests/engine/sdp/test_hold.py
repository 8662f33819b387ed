"""Directions: every offered one against every wish, hold by either side and by both, and the hold of RFC 2543."""

from __future__ import annotations

from itertools import product

import pytest

from engine.sdp.direction import (
    DIRECTIONS,
    Direction,
    answer_to,
    both,
    named,
    receives,
    seen_from_the_other_end,
    sends,
)

from .descriptions import lines, negotiation, offer

AUDIO = "m=audio 49170 RTP/AVP 0"
# RFC 3264 6.1: what may be answered, by (offered, our wish).
ANSWERS = {
    ("sendrecv", "sendrecv"): "sendrecv", ("sendrecv", "sendonly"): "sendonly",
    ("sendrecv", "recvonly"): "recvonly", ("sendrecv", "inactive"): "inactive",
    ("sendonly", "sendrecv"): "recvonly", ("sendonly", "sendonly"): "inactive",
    ("sendonly", "recvonly"): "recvonly", ("sendonly", "inactive"): "inactive",
    ("recvonly", "sendrecv"): "sendonly", ("recvonly", "sendonly"): "sendonly",
    ("recvonly", "recvonly"): "inactive", ("recvonly", "inactive"): "inactive",
    ("inactive", "sendrecv"): "inactive", ("inactive", "sendonly"): "inactive",
    ("inactive", "recvonly"): "inactive", ("inactive", "inactive"): "inactive",
}  # fmt: skip


def stated(body: bytes) -> str:
    return next(line[2:] for line in lines(body, "a=") if line[2:] in DIRECTIONS)


@pytest.mark.parametrize(("offered", "wish"), list(product(DIRECTIONS, DIRECTIONS)))
@pytest.mark.parametrize("at_session", [False, True])
def test_every_direction_against_every_wish(offered: Direction, wish: Direction, at_session: bool) -> None:
    ours = negotiation(direction=wish)
    attribute = (f"a={offered}",)
    answer = ours.remote_offer(offer(AUDIO, session=attribute) if at_session else offer(AUDIO, *attribute))
    assert stated(answer) == ANSWERS[offered, wish] == answer_to(offered, wish)
    media = ours.media[0]
    assert (media.direction, media.by_them, media.by_us) == (stated(answer), offered, wish)
    assert media.sends == (sends(wish) and receives(offered))
    assert media.receives == (receives(wish) and sends(offered))


@pytest.mark.parametrize(("wish", "answered"), list(product(DIRECTIONS, DIRECTIONS)))
def test_an_answer_is_never_taken_for_more_than_was_offered(wish: Direction, answered: Direction) -> None:
    """Some answer sendrecv to everything."""
    ours = negotiation(direction=wish)
    ours.local_offer()
    ours.remote_answer(offer(AUDIO, f"a={answered}"))
    assert ours.media[0].sends == (sends(wish) and receives(answered))
    assert ours.media[0].receives == (receives(wish) and sends(answered))


def test_a_media_level_direction_goes_before_that_of_the_session() -> None:
    assert stated(negotiation().remote_offer(offer(AUDIO, "a=sendrecv", session=("a=inactive",)))) == "sendrecv"


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
@pytest.mark.parametrize(
    ("attribute", "answer"), [("", "recvonly"), ("a=sendonly", "recvonly"), ("a=recvonly", "inactive"), ("a=inactive", "inactive")]
)
def test_the_hold_of_rfc_2543(address: str, attribute: str, answer: str) -> None:
    """RFC 3264 8.4: nothing is sent to 0.0.0.0, whatever the attribute says."""
    ours = negotiation()
    ours.remote_offer(offer(AUDIO))
    connection = f"c=IN IP{6 if ':' in address else 4} {address}"
    held = ours.remote_offer(offer(AUDIO, connection, *([attribute] if attribute else []), version=2))
    assert stated(held) == answer
    assert (ours.media[0].sends, ours.media[0].held_by_them) == (False, True)
    ours.remote_offer(offer(AUDIO, version=3))
    assert (ours.media[0].sends, ours.media[0].remote_host) == (True, "198.51.100.7")


def test_an_answer_from_nowhere_is_a_hold_too() -> None:
    ours = negotiation()
    ours.local_offer()
    ours.remote_answer(offer(AUDIO, "c=IN IP4 0.0.0.0"))
    assert (ours.media[0].direction, ours.media[0].held_by_them) == ("recvonly", True)


@pytest.mark.parametrize(
    ("send", "wish", "offered"),
    [(True, "sendrecv", "sendonly"), (False, "sendrecv", "inactive"), (True, "recvonly", "inactive"), (True, "sendonly", "sendonly")],
)
def test_our_hold_and_its_end(send: bool, wish: Direction, offered: str) -> None:
    """RFC 3264 8.4."""
    ours, theirs = negotiation(direction=wish), negotiation(seed=2)
    ours.remote_answer(theirs.remote_offer(ours.local_offer()))
    before = ours.media[0].direction
    held = ours.hold(send=send)
    assert stated(held) == offered
    ours.remote_answer(theirs.remote_offer(held))
    assert (ours.is_held_by_us, ours.media[0].receives, theirs.media[0].sends) == (True, False, False)
    ours.remote_answer(theirs.remote_offer(ours.resume()))
    assert (ours.is_held_by_us, ours.media[0].direction) == (False, before)


def test_both_hold_and_let_go_one_after_the_other() -> None:
    ours, theirs = negotiation(), negotiation(seed=2)
    ours.remote_answer(theirs.remote_offer(ours.local_offer()))
    told = []
    for one, other, what in ((ours, theirs, "hold"), (theirs, ours, "hold"), (ours, theirs, "resume"), (theirs, ours, "resume")):
        one.remote_answer(other.remote_offer(getattr(one, what)()))
        told.append((ours.media[0].direction, theirs.media[0].direction))
    assert told == [("sendonly", "recvonly"), ("inactive", "inactive"), ("recvonly", "sendonly"), ("sendrecv", "sendrecv")]


def test_our_hold_outlasts_an_offer_of_theirs() -> None:
    ours = negotiation()
    ours.remote_offer(offer(AUDIO))
    ours.hold()
    ours.remote_answer(offer(AUDIO, "a=recvonly", version=2))
    assert stated(ours.remote_offer(offer(AUDIO, version=3))) == "sendonly"
    assert (ours.media[0].held_by_us, ours.media[0].sends) == (True, True)


def test_directions() -> None:
    assert [seen_from_the_other_end(one) for one in DIRECTIONS] == ["sendrecv", "recvonly", "sendonly", "inactive"]
    assert both("sendonly", "recvonly") == "inactive"
    with pytest.raises(ValueError, match="both"):
        named("both")
