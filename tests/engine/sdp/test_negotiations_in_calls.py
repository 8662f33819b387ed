"""Negotiations as the sessions of whole calls: set-up, early media, late offers, hold, glare, refusal, forks."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from engine.sdp.codecs import G729, PCMA
from engine.sdp.offer_answer import Negotiation
from engine.sdp.terms import Terms, Transport
from engine.sip.call import Session, State
from engine.sip.incoming import IncomingCall
from tests.engine.sip.fake_clock import FakeClock
from tests.engine.sip.wire import Party, Watcher, Wire


def session(number: int, **more: Any) -> Negotiation:
    host = f"192.0.2.{number}"
    transport = Transport(host=host, port=1000 * number, rtcp_port=1000 * number + 1)
    return Negotiation(Terms(host=host, **more), lambda index, version: transport, random=Random(number).randbytes)


def taking(theirs: Negotiation, then: Callable[[IncomingCall], None]) -> Callable[[IncomingCall], None]:
    def take(call: IncomingCall) -> None:
        call.session = theirs
        then(call)

    return take


@pytest.fixture
def wire() -> Wire:
    return Wire(FakeClock())


def stands(ours: Session | None, theirs: Session | None, direction: str = "sendrecv") -> None:
    assert isinstance(ours, Negotiation)
    assert isinstance(theirs, Negotiation)
    assert (ours.media[0].remote_port, theirs.media[0].remote_port) == (2000, 1000)
    assert ours.media[0].send == theirs.media[0].receive
    assert ours.media[0].direction == direction


@pytest.mark.parametrize("reliable", [None, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_call_with_early_media(wire: Wire, reliable: bool | None, late: bool) -> None:
    ours, theirs = session(1), session(2)

    def ring(call: IncomingCall) -> None:
        if not late or reliable:  # an offer of ours goes out reliably, or in the 2xx
            call.ring(183, describe=True, reliable=reliable)
        wire.clock.call_later(1, call.answer)

    bob = Party(wire, "bob", answers=taking(theirs, ring))
    alice = Party(wire, "alice")
    call = alice.dial(bob, session=None if late else ours)
    if late:
        call.session = ours
    wire.clock.run(3)
    assert call.state is State.CONNECTED
    stands(call.session, theirs)


def test_hold_and_resume_from_both_sides(wire: Wire) -> None:
    theirs = session(2)
    alice, bob = Party(wire, "alice"), Party(wire, "bob", answers=taking(theirs, lambda call: call.answer()))
    call = alice.dial(bob, session=session(1))
    wire.clock.run(1)
    there = bob.calls[0]
    for what, who, direction in (("hold", call, "sendonly"), ("hold", there, "inactive"), ("resume", call, "recvonly"), ("resume", there, "sendrecv")):
        who.offer(getattr(who.session, what))
        wire.clock.run(1)
        stands(call.session, theirs, direction)
    assert [message.body.count(b"a=sendonly") for message in wire.said("INVITE")] == [0, 1, 1, 0, 0]


def test_both_hold_at_once(wire: Wire) -> None:
    """RFC 3261 14.1: 491 to both, and each again in its own time, with its hold."""
    theirs = session(2)
    alice, bob = Party(wire, "alice"), Party(wire, "bob", answers=taking(theirs, lambda call: call.answer()))
    call = alice.dial(bob, session=session(1))
    wire.clock.run(1)
    call.offer(call.session.hold)
    bob.calls[0].offer(theirs.hold)
    wire.clock.run(30)
    assert len(wire.said(491)) == 2
    stands(call.session, theirs, "inactive")
    assert call.session.is_held_by_us
    assert theirs.is_held_by_us


def test_an_offer_that_is_not_acceptable_leaves_the_call_as_it_was(wire: Wire) -> None:
    theirs = session(2)
    alice, bob = Party(wire, "alice"), Party(wire, "bob", answers=taking(theirs, lambda call: call.answer()))
    user = Watcher()
    call = alice.dial(bob, user, session=session(1))
    wire.clock.run(1)
    before = call.session.media
    call.session.terms = Terms(host="192.0.2.1", codecs=(G729,))
    call.offer()
    wire.clock.run(1)
    assert user.told[-1] == "refused 488"
    assert wire.said(488)[0].value("Warning").startswith("305 ")
    assert (call.state, call.session.media) == (State.CONNECTED, before)


def test_a_call_without_a_common_codec_is_refused(wire: Wire) -> None:
    alice, bob = Party(wire, "alice"), Party(wire, "bob", answers=taking(session(2, codecs=(G729,)), lambda call: call.answer()))
    user = Watcher()
    alice.dial(bob, user, session=session(1, codecs=(PCMA,)))
    wire.clock.run(1)
    assert user.endings[0].status == 488
    assert wire.said(488)[0].value("Warning") == '305 trunkline "none of the offered codecs is known: PCMA, telephone-event"'


def test_a_refresh_has_the_version_it_had(wire: Wire) -> None:
    theirs = session(2)
    alice, bob = Party(wire, "alice"), Party(wire, "bob", answers=taking(theirs, lambda call: call.answer()))
    call = alice.dial(bob, session=session(1))
    wire.clock.run(1)
    bob.calls[0].offer(theirs.refresh)
    wire.clock.run(1)
    answer, refresh = wire.said(200)[0].body, wire.said("INVITE")[1].body
    assert refresh == answer
    stands(call.session, theirs)
