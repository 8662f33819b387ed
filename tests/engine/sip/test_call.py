"""Whole calls between user agents on a wire in memory: set-up, offers and answers, repeats, glare, timers, transfers, ends."""

from __future__ import annotations

import pytest

from engine.sip import compose
from engine.sip.call import CallError, State
from engine.sip.incoming import IncomingCall
from engine.sip.message import Message
from engine.sip.outgoing import Identity
from engine.sip.session_timer import TimerSettings
from engine.sip.user_agent import Settings

from .fake_clock import FakeClock
from .wire import Marks, Party, Watcher, Wire

NO_TIMER = Settings(timer=TimerSettings(expires_s=0))


@pytest.fixture
def wire() -> Wire:
    return Wire(FakeClock())


def pair(wire: Wire, **more: object) -> tuple[Party, Party]:
    return Party(wire, "alice"), Party(wire, "bob", **more)  # type: ignore[arg-type]


def nothing_is_left(wire: Wire, *parties: Party) -> None:
    """Everything ends by itself: no transaction, dialog, call or timer is left."""
    wire.clock.run(200)
    for party in parties:
        assert party.agent.layer.counters.transactions == 0
        assert len(party.agent.dialogs) == 0
        assert party.agent.calls == 0
        assert not party.agent._invites
        assert not party.agent.layer._begun
    assert wire.clock.waiting == 0


@pytest.mark.parametrize("reliable", [False, True])
def test_a_call_is_made_and_ended_by_either_side(wire: Wire, reliable: bool) -> None:
    for ends in ("caller", "callee"):
        alice, bob = Party(wire, "alice", reliable=reliable), Party(wire, "bob", reliable=reliable)
        watcher = Watcher()
        call = alice.dial(bob, watcher)
        wire.clock.run(1)
        assert call.state is State.CONNECTED
        assert watcher.told == ["progress 180", "connected", "media"]
        assert bob.user.told == ["media", "connected"]
        assert call.session.agreed == bob.session.agreed == [("offer alice 1", "answer bob 1 (offer alice 1)")]
        (call if ends == "caller" else bob.calls[0]).hang_up()
        wire.clock.run(1)
        assert watcher.told[-1] == bob.user.told[-1] == "ended"
        assert watcher.endings[0].by == ("us" if ends == "caller" else "them")
        assert bob.user.endings[0].by == ("them" if ends == "caller" else "us")
        nothing_is_left(wire, alice, bob)


def test_a_call_without_an_offer_is_offered_in_the_2xx_and_answered_in_the_ack(wire: Wire) -> None:
    alice, bob = pair(wire)
    raw = Marks("alice")
    call = alice.dial(bob, session=None)
    call.session = raw  # asked for only when the 2xx has an offer
    wire.clock.run(1)
    assert bob.session.agreed == raw.agreed == [("offer bob 1", "answer alice 1 (offer bob 1)")]
    assert wire.said("ACK")[0].body == b"answer alice 1 (offer bob 1)"
    assert bob.user.told == ["media", "connected"]
    call.hang_up()
    nothing_is_left(wire, alice, bob)


def test_an_ack_without_the_answer_that_was_due_ends_the_call(wire: Wire) -> None:
    alice, bob = pair(wire)
    call = alice.dial(bob, session=None)
    wire.clock.run(1)
    assert call.state is State.ENDED
    assert bob.user.endings[0].by == "us"
    nothing_is_left(wire, alice, bob)


@pytest.mark.parametrize("seed", range(12))
def test_every_message_may_be_lost_and_the_call_stands_all_the_same(wire: Wire, seed: int) -> None:
    import random

    chance = random.Random(seed)
    alice, bob = pair(wire)
    wire.lost = lambda sender, message: chance.random() < 0.3
    watcher = Watcher()
    call = alice.dial(bob, watcher)
    wire.clock.run(20)
    assert call.state is State.CONNECTED
    wire.clock.run(20)
    assert "connected" in bob.user.told
    call.hang_up()
    wire.lost = lambda sender, message: False
    nothing_is_left(wire, alice, bob)
    assert watcher.told.count("connected") == watcher.told.count("ended") == 1
    assert bob.user.told.count("connected") == bob.user.told.count("ended") == 1


def test_a_2xx_that_is_never_acknowledged_ends_in_a_bye(wire: Wire) -> None:
    alice, bob = pair(wire)
    wire.lost = lambda sender, message: message.is_request and message.method == "ACK"
    call = alice.dial(bob)
    wire.clock.run(31.9)
    assert bob.calls[0].state is State.CONNECTED
    assert len(wire.said(200)) == 11  # T1 doubled up to T2 over 64 T1 (13.3.1.4)
    wire.clock.run(2)
    assert call.state is State.ENDED
    assert bob.user.endings[0].by == "nobody"
    nothing_is_left(wire, alice, bob)


def test_a_bye_of_the_callee_waits_for_the_ack(wire: Wire) -> None:
    alice, bob = pair(wire)
    dropped = []

    def lose(sender: str, message: Message) -> bool:
        if message.is_request and message.method == "ACK" and not dropped:
            dropped.append(message)
            return True
        return False

    wire.lost = lose
    alice.dial(bob)
    wire.clock.run(0.3)
    bob.calls[0].hang_up()
    wire.clock.run(0.1)
    assert not wire.said("BYE")
    wire.clock.run(1)
    assert len(wire.said("BYE")) == 1
    nothing_is_left(wire, alice, bob)


# ---- before the answer ----


def test_a_refusal_says_who_and_why(wire: Wire) -> None:
    alice, bob = pair(wire, answers=lambda call: call.refuse(486, headers=[("Reason", "Q.850;cause=17")]))
    watcher = Watcher()
    alice.dial(bob, watcher)
    wire.clock.run(1)
    ending = watcher.endings[0]
    assert (ending.by, ending.status, ending.cause) == ("them", 486, 17)
    nothing_is_left(wire, alice, bob)


def test_a_call_is_cancelled_while_it_rings(wire: Wire) -> None:
    alice, bob = pair(wire, answers=IncomingCall.ring)
    watcher = Watcher()
    call = alice.dial(bob, watcher)
    wire.clock.run(1)
    call.hang_up()
    wire.clock.run(1)
    assert (watcher.endings[0].by, watcher.endings[0].status) == ("us", 487)
    assert (bob.user.endings[0].by, bob.user.endings[0].status) == ("them", 487)
    with pytest.raises(CallError):
        bob.calls[0].answer()
    nothing_is_left(wire, alice, bob)


def test_no_cancel_goes_out_before_any_answer_came(wire: Wire) -> None:
    alice, bob = pair(wire, answers=lambda call: None)
    call = alice.dial(bob)
    call.hang_up()
    wire.clock.run(0.1)
    assert not wire.said("CANCEL")
    wire.clock.run(0.2)  # the 100 is there
    assert len(wire.said("CANCEL")) == 1
    nothing_is_left(wire, alice, bob)


def test_a_2xx_that_crosses_the_cancel_is_acknowledged_and_ended(wire: Wire) -> None:
    alice, bob = pair(wire, answers=IncomingCall.ring)
    watcher = Watcher()
    call = alice.dial(bob, watcher)
    wire.clock.run(1)
    call.hang_up()
    bob.calls[0].answer()
    wire.clock.run(1)
    assert [message.method for message in wire.said("BYE")] == ["BYE"]
    assert watcher.told[-1] == "ended" and "connected" not in watcher.told
    nothing_is_left(wire, alice, bob)


def test_nobody_answers_and_the_call_is_given_up(wire: Wire) -> None:
    alice, bob = pair(wire, answers=IncomingCall.ring)
    watcher = Watcher()
    alice.dial(bob, watcher, ring_s=30.0)
    wire.clock.run(31)
    assert (watcher.endings[0].by, watcher.endings[0].status) == ("us", 487)
    nothing_is_left(wire, alice, bob)


def test_a_peer_that_is_silent_is_a_timeout(wire: Wire) -> None:
    alice, bob = pair(wire)
    wire.lost = lambda sender, message: True
    watcher = Watcher()
    alice.dial(bob, watcher)
    wire.clock.run(33)
    assert (watcher.endings[0].by, watcher.endings[0].status) == ("nobody", 408)
    assert alice.network.avoided == ["bob"]
    nothing_is_left(wire, alice)


def test_a_peer_that_cannot_be_reached_is_a_503_at_once(wire: Wire) -> None:
    alice = Party(wire, "alice")
    watcher = Watcher()
    alice.dial("sip:carol@carol", watcher)
    assert (watcher.endings[0].by, watcher.endings[0].status) == ("nobody", 503)
    nothing_is_left(wire, alice)


def test_early_media_is_agreed_in_a_183_and_again_in_the_200(wire: Wire) -> None:
    alice, bob = pair(wire, answers=lambda call: call.ring(183, describe=True))
    seen = []

    class Early(Watcher):
        def on_progress(self, call: object, response: Message) -> None:
            early = call.early_session(response)  # type: ignore[attr-defined]
            seen.append(early.agreed if early else None)

    call = alice.dial(bob, Early())
    wire.clock.run(1)
    assert seen == [[("offer alice 1", "answer bob 1 (offer alice 1)")]]
    bob.calls[0].answer()
    wire.clock.run(1)
    assert call.session.agreed == [("offer alice 1", "answer bob 1 (offer alice 1)")]
    call.hang_up()
    nothing_is_left(wire, alice, bob)


# ---- reliable provisional answers ----


def test_reliable_answers_are_acknowledged_in_order_and_the_200_waits(wire: Wire) -> None:
    def answer(call: IncomingCall) -> None:
        call.ring(183, describe=True)
        call.ring(180)
        call.answer()

    alice, bob = pair(wire, answers=answer, settings=Settings(reliable=True, timer=TimerSettings(expires_s=0)))
    call = alice.dial(bob)
    wire.clock.run(2)
    assert [message.value("RAck").split()[0] for message in wire.said("PRACK")] == [wire.said(183)[0].value("RSeq")]
    order = [message.start.split(" ")[1] if not message.is_request else message.method for _, _, message in wire.log]
    assert order.index("200") > order.index("PRACK")
    assert not next(message for message in wire.said(200) if message.method == "INVITE").body
    assert call.session.agreed == bob.session.agreed
    call.hang_up()
    nothing_is_left(wire, alice, bob)


@pytest.mark.parametrize("lost", ["PRACK", "183", "200"])
def test_a_reliable_answer_survives_loss(wire: Wire, lost: str) -> None:
    dropped: list[Message] = []

    def lose(sender: str, message: Message) -> bool:
        hit = message.method == "PRACK" if lost == "PRACK" else not message.is_request and str(message.status) == lost
        if hit and len(dropped) < 2:
            dropped.append(message)
            return True
        return False

    def answer(call: IncomingCall) -> None:
        call.ring(183, describe=True)
        call.answer()

    alice, bob = pair(wire, answers=answer, settings=Settings(reliable=True))
    wire.lost = lose
    call = alice.dial(bob)
    wire.clock.run(10)
    assert len(dropped) == 2
    assert call.state is State.CONNECTED and bob.calls[0].state is State.CONNECTED
    call.hang_up()
    nothing_is_left(wire, alice, bob)


def test_a_reliable_answer_that_is_never_acknowledged_ends_the_invite(wire: Wire) -> None:
    alice, bob = pair(wire, answers=lambda call: call.ring(183, describe=True, reliable=True))
    wire.lost = lambda sender, message: message.method == "PRACK"
    watcher = Watcher()
    alice.dial(bob, watcher)
    wire.clock.run(40)
    assert watcher.endings[0].status == 504
    nothing_is_left(wire, alice, bob)


def test_a_late_offer_may_come_in_a_reliable_183_and_be_answered_in_its_prack(wire: Wire) -> None:
    def answer(call: IncomingCall) -> None:
        call.ring(183, describe=True, reliable=True)
        call.answer()

    alice, bob = pair(wire, answers=answer)

    call = alice.dial(bob, session=None)
    call.session = Marks("alice")
    wire.clock.run(2)
    assert wire.said("PRACK")[0].body == b"answer alice 1 (offer bob 1)"
    assert bob.session.agreed == call.session.agreed
    call.hang_up()
    nothing_is_left(wire, alice, bob)


# ---- inside the call ----


def connected(wire: Wire, **more: object) -> tuple[Party, Party, object, Watcher]:
    alice, bob = pair(wire, **more)
    watcher = Watcher()
    call = alice.dial(bob, watcher)
    wire.clock.run(1)
    assert call.state is State.CONNECTED
    return alice, bob, call, watcher


def test_an_offer_inside_the_call_goes_either_way_by_reinvite_or_update(wire: Wire) -> None:
    alice, bob, call, watcher = connected(wire)
    call.offer()  # type: ignore[attr-defined]
    wire.clock.run(1)
    bob.calls[0].offer()
    wire.clock.run(1)
    call.update()  # type: ignore[attr-defined]
    wire.clock.run(1)
    bob.calls[0].update()
    wire.clock.run(1)
    assert len(wire.said("INVITE")) == 3 and len(wire.said("UPDATE")) == 2
    assert call.session.agreed == bob.session.agreed and len(bob.session.agreed) == 5  # type: ignore[attr-defined]
    assert watcher.told.count("media") == bob.user.told.count("media") == 5
    call.hang_up()  # type: ignore[attr-defined]
    nothing_is_left(wire, alice, bob)


def test_both_offer_at_once_and_both_are_agreed_in_the_end(wire: Wire) -> None:
    alice, bob, call, _ = connected(wire)
    call.offer()  # type: ignore[attr-defined]
    bob.calls[0].offer()
    wire.clock.run(0.1)
    assert len(wire.said(491)) == 2
    wire.clock.run(6)
    assert call.session.agreed == bob.session.agreed and len(bob.session.agreed) == 3  # type: ignore[attr-defined]
    call.hang_up()  # type: ignore[attr-defined]
    nothing_is_left(wire, alice, bob)


def test_an_offer_that_is_refused_leaves_the_call_as_it_was(wire: Wire) -> None:
    alice, bob, call, watcher = connected(wire)
    bob.session.refuses = True
    call.offer()  # type: ignore[attr-defined]
    wire.clock.run(1)
    assert watcher.told[-1] == "refused 488"
    assert call.session.rolled_back == 1 and call.state is State.CONNECTED  # type: ignore[attr-defined]
    bob.session.refuses = False
    call.offer()  # type: ignore[attr-defined]
    wire.clock.run(1)
    assert call.session.agreed == bob.session.agreed  # type: ignore[attr-defined]
    call.hang_up()  # type: ignore[attr-defined]
    nothing_is_left(wire, alice, bob)


def test_an_offer_made_before_the_ack_waits_for_it(wire: Wire) -> None:
    alice, bob = pair(wire)
    call = alice.dial(bob)
    wire.clock.run(0.003)
    assert bob.calls[0].state is State.CONNECTED
    bob.calls[0].offer()
    wire.clock.run(2)
    assert len(bob.session.agreed) == 2
    call.hang_up()
    nothing_is_left(wire, alice, bob)


def test_a_reinvite_that_was_lost_on_the_other_side_ends_the_call(wire: Wire) -> None:
    alice, bob, call, watcher = connected(wire)
    bob.agent.close()
    call.offer()  # type: ignore[attr-defined]
    wire.clock.run(1)
    assert (watcher.endings[0].by, watcher.endings[0].status) == ("nobody", 481)
    nothing_is_left(wire, alice, bob)


def test_info_reaches_the_user_and_its_status_comes_back(wire: Wire) -> None:
    alice, bob, call, _ = connected(wire)
    answers: list[int] = []
    call.info("application/dtmf-relay", b"Signal=5", answers.append)  # type: ignore[attr-defined]
    wire.clock.run(1)
    bob.user.info_status = 415
    call.info("application/x", b"?", answers.append)  # type: ignore[attr-defined]
    wire.clock.run(1)
    assert answers == [200, 415] and "info Signal=5" in bob.user.told
    call.hang_up()  # type: ignore[attr-defined]
    nothing_is_left(wire, alice, bob)


def test_byes_that_cross_are_both_answered(wire: Wire) -> None:
    alice, bob, call, watcher = connected(wire)
    call.hang_up()  # type: ignore[attr-defined]
    bob.calls[0].hang_up()
    wire.clock.run(1)
    assert [message.status for message in wire.said(481)] == []
    assert watcher.told.count("ended") == bob.user.told.count("ended") == 1
    nothing_is_left(wire, alice, bob)


def test_requests_with_old_numbers_are_refused_and_change_nothing(wire: Wire) -> None:
    alice, bob, call, _ = connected(wire)
    call.offer()  # type: ignore[attr-defined]
    wire.clock.run(1)
    dialog = call.dialog  # type: ignore[attr-defined]
    old = dialog.request("BYE", via="SIP/2.0/UDP alice:5060;branch=z9hG4bKold", cseq=1)
    wire.carry("alice", "bob", old)
    wire.clock.run(1)
    assert wire.said(500) and bob.calls[0].state is State.CONNECTED
    call.hang_up()  # type: ignore[attr-defined]
    nothing_is_left(wire, alice, bob)


@pytest.mark.parametrize("part", ["from-tag", "to-tag", "call-id"])
def test_a_bye_of_a_stranger_ends_nothing(wire: Wire, part: str) -> None:
    alice, bob, call, _ = connected(wire)
    dialog = call.dialog  # type: ignore[attr-defined]
    good = dialog.request("BYE", via="SIP/2.0/UDP mallory:5060;branch=z9hG4bKm", cseq=99).decode()
    swap = {"from-tag": dialog.local_tag, "to-tag": dialog.remote_tag, "call-id": dialog.call_id}[part]
    Party(wire, "mallory")
    wire.carry("mallory", "bob", good.replace(swap, "guessed").encode())
    wire.clock.run(1)
    assert wire.said(481) and bob.calls[0].state is State.CONNECTED
    call.hang_up()  # type: ignore[attr-defined]
    nothing_is_left(wire, alice, bob)


# ---- session timers ----


@pytest.mark.parametrize("refresher", ["uac", "uas"])
@pytest.mark.parametrize("takes_update", [True, False])
def test_whoever_refreshes_does_so_at_half_of_the_time(wire: Wire, refresher: str, takes_update: bool) -> None:
    alice, bob = pair(wire)
    alice.agent.settings = Settings(timer=TimerSettings(expires_s=200))
    if not takes_update:
        for party in (alice, bob):
            party.agent.features = [("Allow", "INVITE, ACK, BYE, CANCEL"), ("Supported", "timer")]
    if refresher == "uas":  # who knows no timer cannot refresh
        alice.agent.features = [("Allow", alice.agent.allow if takes_update else "INVITE, ACK, BYE, CANCEL"), ("Supported", "replaces")]
    call = alice.dial(bob)
    wire.clock.run(99)
    before = len(wire.log)
    wire.clock.run(3)
    method = "UPDATE" if takes_update else "INVITE"
    first = wire.log[before]
    assert (first[0], first[2].method) == ("alice" if refresher == "uac" else "bob", method)
    wire.clock.run(1000)
    assert call.state is State.CONNECTED
    call.hang_up()
    nothing_is_left(wire, alice, bob)


def test_a_call_whose_refresher_is_gone_ends_before_its_time_is_over(wire: Wire) -> None:
    alice, bob = pair(wire)
    alice.agent.settings = Settings(timer=TimerSettings(expires_s=120))
    alice.dial(bob)
    wire.clock.run(1)
    wire.lost = lambda sender, message: sender == "alice"
    wire.clock.run(78)
    assert bob.calls[0].state is State.CONNECTED
    wire.clock.run(12)
    assert bob.calls[0].state is not State.CONNECTED
    assert "expired" in wire.said("BYE")[0].value("Reason")
    wire.clock.run(100)
    assert bob.user.endings[0].by == "nobody"
    nothing_is_left(wire, alice, bob)


@pytest.mark.parametrize("refresher", ["uac", "uas"])
def test_a_call_that_is_heard_outlasts_who_refreshes_nothing_and_answers_no_refresh(wire: Wire, refresher: str) -> None:
    """Media tell that the other side is there. Once they do not, the call ends as any other."""
    alice, bob = pair(wire)
    alice.agent.settings = Settings(timer=TimerSettings(expires_s=120))
    if refresher == "uas":
        alice.agent.features = [("Allow", alice.agent.allow), ("Supported", "replaces")]
    alice.dial(bob)
    wire.clock.run(1)
    heard = True
    bob.calls[0].is_heard = lambda: heard
    wire.lost = lambda sender, message: True
    wire.clock.run(3600)
    assert bob.calls[0].state is State.CONNECTED
    heard = False
    wire.clock.run(250)
    assert bob.user.endings[0].by == "nobody" and bob.calls[0].is_heard is None
    nothing_is_left(wire, alice, bob)


def test_a_call_that_is_heard_ends_when_the_other_side_knows_none(wire: Wire) -> None:
    """481 says so, whatever comes."""
    alice, bob, call, _ = connected(wire)
    bob.calls[0].is_heard = lambda: True
    alice.agent.forget(call, call.dialog)  # type: ignore[attr-defined,arg-type]
    bob.calls[0].offer()
    wire.clock.run(40)
    assert bob.user.endings[0].status == 481


def test_an_interval_that_is_too_small_is_raised_to_what_the_422_says(wire: Wire) -> None:
    alice, bob = pair(wire, settings=Settings(timer=TimerSettings(min_se_s=600)))
    alice.agent.settings = Settings(timer=TimerSettings(expires_s=100))
    call = alice.dial(bob)
    wire.clock.run(1)
    assert wire.said(422)[0].value("Min-SE") == "600"
    assert call.state is State.CONNECTED
    assert [message.value("Session-Expires") for message in wire.said("INVITE")] == ["100", "600"]
    call.hang_up()
    nothing_is_left(wire, alice, bob)


# ---- transfers ----


def test_a_blind_transfer_tells_how_far_it_is_until_the_end(wire: Wire) -> None:
    alice, bob, call, watcher = connected(wire)
    carol = Party(wire, "carol")
    call.refer(carol.uri)  # type: ignore[attr-defined]
    wire.clock.run(1)
    transfer = bob.user.transfers[0]
    assert transfer.target is not None and transfer.target.uri == carol.uri
    assert transfer.accept()
    bob.agent.follow(bob.calls[0], transfer.target, Identity(uri=bob.uri), tell=transfer.tell, session=Marks("bob"), referred_by=transfer.referred_by)
    wire.clock.run(1)
    assert [told for told in watcher.told if told.startswith("transfer")] == ["transfer 100", "transfer 180", "transfer 200"]
    assert carol.calls[0].state is State.CONNECTED
    assert wire.said(202) and [message.value("Referred-By") for message in wire.said("INVITE")][-1] == "<sip:alice@alice>"
    call.hang_up()  # type: ignore[attr-defined]
    for party in (bob, carol):
        for left in party.agent:
            left.hang_up()
    nothing_is_left(wire, alice, bob, carol)


def test_an_attended_transfer_puts_one_call_in_the_place_of_another(wire: Wire) -> None:
    alice, bob, call, watcher = connected(wire)
    carol = Party(wire, "carol")
    consult = alice.dial(carol)
    wire.clock.run(1)
    call.refer(carol.uri, replaces=consult)  # type: ignore[attr-defined]
    wire.clock.run(1)
    transfer = bob.user.transfers[0]
    transfer.accept()
    assert transfer.target is not None
    bob.agent.follow(bob.calls[0], transfer.target, Identity(uri=bob.uri), tell=transfer.tell, session=Marks("bob"))
    wire.clock.run(1)
    assert consult.state is State.ENDED
    assert "replaced" in carol.users[0].told and carol.calls[1].state is State.CONNECTED
    assert watcher.told[-1] == "transfer 200"
    call.hang_up()  # type: ignore[attr-defined]
    for left in carol.agent:
        left.hang_up()
    nothing_is_left(wire, alice, bob, carol)


def test_a_transfer_is_refused_and_the_call_goes_on(wire: Wire) -> None:
    alice, bob, call, watcher = connected(wire)
    call.refer("mailto:carol@example.com")  # type: ignore[attr-defined]
    wire.clock.run(1)
    assert not bob.user.transfers[0].accept()
    wire.clock.run(1)
    assert watcher.told[-1] == "transfer 400"
    call.refer("sip:carol@carol")  # type: ignore[attr-defined]
    wire.clock.run(1)
    bob.user.transfers[1].refuse(603)
    wire.clock.run(1)
    assert watcher.told[-1] == "transfer 603" and call.state is State.CONNECTED  # type: ignore[attr-defined]
    call.hang_up()  # type: ignore[attr-defined]
    nothing_is_left(wire, alice, bob)


@pytest.mark.parametrize(
    ("header", "status"),
    [("guessed;to-tag=a;from-tag=b", 481), ("no tags", 400)],
)
def test_what_cannot_be_replaced_is_not(wire: Wire, header: str, status: int) -> None:
    alice, bob = pair(wire)
    watcher = Watcher()
    alice.dial(bob, watcher, headers=[("Replaces", header)])
    wire.clock.run(1)
    assert watcher.endings[0].status == status
    nothing_is_left(wire, alice, bob)


# ---- forks ----


class Forker:
    """Stands for a proxy that asks several people at once: each INVITE to it is answered by all of them, as if through it."""

    def __init__(self, wire: Wire, *parties: Party) -> None:
        self.agent = self
        self.layer = self
        self.wire = wire
        self.parties = parties
        wire.agents["forker"] = self  # type: ignore[assignment]

    def take(self, data: bytes, sender: str) -> None:
        if sender == "alice":
            for party in self.parties:
                self.wire.carry("alice", party.host, data)


def test_the_first_of_several_forks_that_answers_has_the_call(wire: Wire) -> None:
    alice = Party(wire, "alice")
    others = [Party(wire, name, answers=lambda call: call.ring(183, describe=True)) for name in ("bob", "carol", "dave")]
    Forker(wire, *others)
    watcher = Watcher()
    call = alice.dial("sip:all@forker", watcher)
    wire.clock.run(0.2)
    assert len(call.forks) == 3 and len(alice.agent.dialogs) == 3
    others[1].calls[0].answer()
    wire.clock.run(0.2)
    assert call.state is State.CONNECTED and call.remote_uri == "sip:all@forker"
    others[2].calls[0].answer()  # too late: a proxy would have cancelled it
    wire.clock.run(1)
    assert others[1].calls[0].state is State.CONNECTED
    assert others[2].calls[0].state is State.ENDED and others[2].user.endings[0].by == "them"
    assert call.session.agreed == others[1].session.agreed
    others[0].calls[0].refuse(480)
    call.hang_up()
    nothing_is_left(wire, alice, *others)


# ---- what is refused before anybody is asked ----


def outside(method: str, *, uri: str = "sip:bob@bob", branch: str = "z9hG4bKx1", extra: list[compose.Header] | None = None, body: bytes = b"", to: str = "") -> bytes:
    headers = [
        ("Via", f"SIP/2.0/UDP alice:5060;branch={branch}"), ("Max-Forwards", "70"), ("From", "<sip:alice@alice>;tag=f1"),
        ("To", f"<sip:bob@bob>{to}"), ("Call-ID", "outside-1"), ("CSeq", f"1 {method}"), ("Contact", "<sip:alice@alice>"), *(extra or []),
    ]  # fmt: skip
    return compose.request(method, uri, headers, body)


@pytest.mark.parametrize(
    ("data", "status", "header"),
    [
        (outside("BREW"), 501, "Allow"),
        (outside("SUBSCRIBE"), 405, "Allow"),
        (outside("INVITE", uri="http://bob"), 416, ""),
        (outside("INVITE", extra=[("Require", "teleport")]), 420, "Unsupported"),
        (outside("INVITE", extra=[("Content-Encoding", "gzip"), ("Content-Type", "application/sdp")], body=b"x"), 415, "Accept-Encoding"),
        (outside("INVITE", extra=[("Content-Type", "text/html")], body=b"<p>"), 415, "Accept"),
        (outside("INVITE", extra=[("Replaces", "a;to-tag=1;from-tag=2")] * 2), 400, "Warning"),
        (outside("INVITE", to=";tag=gone"), 481, ""),
        (outside("BYE", to=";tag=gone"), 481, ""),
        (outside("BYE"), 481, ""),
        (outside("PRACK", to=";tag=gone"), 481, ""),
        (outside("OPTIONS"), 200, "Allow"),
    ],
)
def test_a_request_that_cannot_be_worked_with_is_refused(wire: Wire, data: bytes, status: int, header: str) -> None:
    alice, bob = pair(wire)
    wire.carry("alice", "bob", data)
    wire.clock.run(0.1)
    found = [message for _, receiver, message in wire.log if receiver == "alice"]
    assert [message.status for message in found] == [status]
    assert not header or found[0].value(header)
    assert not bob.calls
    nothing_is_left(wire, alice, bob)


def test_an_invite_without_a_contact_makes_no_call(wire: Wire) -> None:
    alice, bob = pair(wire)
    wire.carry("alice", "bob", outside("INVITE").replace(b"Contact: <sip:alice@alice>\r\n", b""))
    wire.clock.run(0.1)
    assert wire.said(400) and not bob.calls
    nothing_is_left(wire, alice, bob)


def test_a_request_that_comes_on_two_ways_is_a_loop_on_the_second(wire: Wire) -> None:
    alice, bob = pair(wire, answers=IncomingCall.ring)
    wire.carry("alice", "bob", outside("INVITE"))
    wire.clock.run(0.1)
    wire.carry("alice", "bob", outside("INVITE", branch="z9hG4bKx2"))
    wire.clock.run(0.1)
    assert wire.said(482) and len(bob.calls) == 1
    bob.calls[0].refuse(480)
    nothing_is_left(wire, alice, bob)


def test_one_call_too_many_is_told_to_come_later(wire: Wire) -> None:
    alice, bob = pair(wire, settings=Settings(calls_max=1))
    first = alice.dial(bob)
    wire.clock.run(1)
    watcher = Watcher()
    alice.dial(bob, watcher)
    wire.clock.run(1)
    assert watcher.endings[0].status == 503 and wire.said(503)[0].value("Retry-After")
    first.hang_up()
    nothing_is_left(wire, alice, bob)


def test_an_application_that_fails_refuses_the_call(wire: Wire) -> None:
    def answer(call: IncomingCall) -> None:
        raise LookupError("no plan for this")

    alice, bob = pair(wire, answers=answer)
    watcher = Watcher()
    alice.dial(bob, watcher)
    wire.clock.run(1)
    assert watcher.endings[0].status == 500
    nothing_is_left(wire, alice, bob)


# ---- challenges ----


def test_a_challenged_invite_is_asked_again_with_an_answer(wire: Wire) -> None:
    from engine.sip import auth

    alice = Party(wire, "alice")
    server = auth.Server("trunk", lambda user, algorithm: auth.secret_of(user, "trunk", "secret", algorithm), wire.clock.time)

    def answer(call: IncomingCall) -> None:
        assert call.request is not None
        verdict, _ = server.check(call.request, "Proxy-Authorization")
        if verdict == "good":
            call.answer()
        else:
            call.refuse(407, headers=[("Proxy-Authenticate", value) for value in server.challenges()])

    bob = Party(wire, "bob", answers=answer)
    watcher = Watcher()
    call = alice.dial(bob, watcher, identity=Identity(uri=alice.uri, username="alice", password="secret"))
    wire.clock.run(1)
    assert call.state is State.CONNECTED and watcher.told[0] == "connected"
    assert wire.said("ACK")[-1].value("Proxy-Authorization")
    call.hang_up()
    wrong = Watcher()
    alice.dial(bob, wrong, identity=Identity(uri=alice.uri, username="alice", password="guess"))
    wire.clock.run(1)
    assert wrong.endings[0].status == 407
    nothing_is_left(wire, alice, bob)
