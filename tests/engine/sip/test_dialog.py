"""Dialogs as RFC 3261 12 has them: what is remembered at both ends, the examples of 16.12, targets, sequence numbers and forks."""

from __future__ import annotations

import pytest

from engine.sip import compose
from engine.sip.dialog import Dialog, DialogError, Dialogs, State, Verdict
from engine.sip.message import Message, parse

VIA = "SIP/2.0/UDP u2.domain.com;branch=z9hG4bKx"
LOOSE = ["<sip:p2.domain.com;lr>", "<sip:p1.example.com;lr>"]


def invite(routes: list[str] = LOOSE, *, contact: str = "<sip:caller@u1.example.com>", sender: str = "<sip:caller@u1.example.com>;tag=1") -> Message:
    headers = [
        ("Via", "SIP/2.0/UDP p2.domain.com;branch=z9hG4bK2"), *(("Record-Route", route) for route in routes), ("From", sender),
        ("To", '"U2; tag=no" <sip:callee@domain.com>;x=y'), ("Call-ID", "c1"), ("CSeq", "314 INVITE"), ("Contact", contact),
    ]  # fmt: skip
    return parse(compose.request("INVITE", "sip:callee@u2.domain.com", headers))


def answer(status: int, tag: str = "2", *, contact: str = "<sip:callee@u2.domain.com>", to: Message | None = None) -> Message:
    return parse(compose.response(to or invite(), status, to_tag=tag, headers=[("Contact", contact)] if contact else []))


def inside(method: str, cseq: int, *, contact: str = "", local: str = "2", remote: str = "1") -> Message:
    headers = [
        ("Via", "SIP/2.0/UDP u1.example.com;branch=z9hG4bK3"), ("From", f"<sip:caller@u1.example.com>;tag={remote}"),
        ("To", f"<sip:callee@domain.com>;tag={local}"), ("Call-ID", "c1"), ("CSeq", f"{cseq} {method}"),
    ]  # fmt: skip
    return parse(compose.request(method, "sip:callee@u2.domain.com", headers + ([("Contact", contact)] if contact else [])))


def test_both_ends_remember_the_same_call() -> None:
    """12.1.1, 12.1.2"""
    callee, caller = Dialog.as_callee(invite(), "2"), Dialog.as_caller(invite(), answer(200))
    assert callee.id == ("c1", "2", "1")
    assert caller.id == ("c1", "1", "2")
    assert (callee.remote_target, caller.remote_target) == ("sip:caller@u1.example.com", "sip:callee@u2.domain.com")
    assert (callee.local_cseq, callee.remote_cseq, caller.local_cseq, caller.remote_cseq) == (None, 314, 314, None)
    assert callee.route_set == tuple(LOOSE)
    assert caller.route_set == tuple(LOOSE[::-1])
    assert caller.remote == callee.local == '"U2; tag=no" <sip:callee@domain.com>;x=y'
    assert (caller.state, callee.state) == (State.CONFIRMED, State.CONFIRMED)


def test_requests_follow_loose_routes() -> None:
    """16.12.1.1: the BYE of the callee."""
    callee = Dialog.as_callee(invite(), "2")
    bye = parse(callee.request("BYE", via=VIA))
    assert bye.tokens.request_uri == b"sip:caller@u1.example.com"
    assert bye.values("Route") == LOOSE
    assert callee.next_hop == "sip:p2.domain.com;lr"
    assert bye.value("From") == '"U2; tag=no" <sip:callee@domain.com>;x=y;tag=2'
    assert bye.value("To") == "<sip:caller@u1.example.com>;tag=1"
    assert bye.cseq == (1, "BYE")
    assert bye.number("Max-Forwards") == 70
    caller = Dialog.as_caller(invite(), answer(200))
    assert parse(caller.request("BYE", via=VIA)).cseq == (315, "BYE")


def test_requests_follow_strict_routes() -> None:
    """12.2.1.1 and the example there: the strict router is in the Request-URI and the target goes last."""
    routes = ["<sip:proxy1>", "<sip:proxy2>", "<sip:proxy3;lr>", "<sip:proxy4>"]
    bye = parse(Dialog.as_callee(invite(routes, contact="<sip:user@remoteua>"), "2").request("BYE", via=VIA))
    assert bye.tokens.request_uri == b"sip:proxy1"
    assert bye.values("Route") == ["<sip:proxy2>", "<sip:proxy3;lr>", "<sip:proxy4>", "<sip:user@remoteua>"]


def test_without_routes_the_target_is_the_next_hop() -> None:
    callee = Dialog.as_callee(invite([]), "2")
    told = parse(callee.request("INFO", via=VIA, contact="<sip:us>", headers=[("Content-Type", "text/plain")], body=b"x"))
    assert (told.values("Route"), told.tokens.request_uri) == ([], b"sip:caller@u1.example.com")
    assert (told.value("Contact"), told.body, callee.next_hop) == ("<sip:us>", b"x", "sip:caller@u1.example.com")


def test_the_ack_of_a_2xx_has_the_number_of_its_invite() -> None:
    """13.2.2.4"""
    caller = Dialog.as_caller(invite(), answer(200))
    assert parse(caller.request("ACK", via=VIA, cseq=314)).cseq == (314, "ACK")
    assert parse(caller.request("BYE", via=VIA)).cseq == (315, "BYE")


def test_numbers_only_rise() -> None:
    """12.2.2: lower ones are out of order, gaps are not, an ACK changes nothing."""
    callee = Dialog.as_callee(invite(), "2")
    assert callee.receive(inside("ACK", 314)) is Verdict.ACK
    assert [callee.receive(inside("INFO", number)) for number in (314, 313, 315, 400, 399)] == [
        Verdict.OUT_OF_ORDER, Verdict.OUT_OF_ORDER, Verdict.NEW, Verdict.NEW, Verdict.OUT_OF_ORDER,
    ]  # fmt: skip
    caller = Dialog.as_caller(invite(), answer(200))
    assert caller.receive(inside("INFO", 5)) is Verdict.NEW
    assert caller.remote_cseq == 5


def test_targets_are_refreshed_by_those_requests_that_may() -> None:
    callee = Dialog.as_callee(invite(), "2")
    callee.receive(inside("INFO", 315, contact="<sip:info@x>"))
    assert callee.remote_target == "sip:caller@u1.example.com"
    callee.receive(inside("INVITE", 316, contact="<sip:moved@x>"))
    assert callee.remote_target == "sip:moved@x"
    callee.receive(inside("UPDATE", 317))
    callee.receive(inside("UPDATE", 310, contact="<sip:late@x>"))
    assert callee.remote_target == "sip:moved@x"
    callee.answered("INVITE", answer(200, contact="<sip:again@x>"))
    callee.answered("INFO", answer(200, contact="<sip:never@x>"))
    assert callee.remote_target == "sip:again@x"


def test_an_early_dialog_is_confirmed_with_the_routes_of_the_2xx() -> None:
    """13.2.2.4"""
    caller = Dialog.as_caller(invite(), answer(183))
    assert caller.state is State.EARLY
    final = answer(200, to=invite(["<sip:p9.example.com;lr>"]), contact="<sip:other@u2>")
    caller.confirm(final)
    assert (caller.state, caller.route_set, caller.remote_target) == (State.CONFIRMED, ("<sip:p9.example.com;lr>",), "sip:other@u2")
    caller.confirm(answer(200))  # the same again changes no routes
    assert caller.route_set == ("<sip:p9.example.com;lr>",)


@pytest.mark.parametrize("status", [408, 481])
def test_answers_that_say_that_the_other_end_is_gone_end_it(status: int) -> None:
    """12.2.1.2"""
    caller = Dialog.as_caller(invite(), answer(200))
    caller.answered("INFO", answer(500))
    assert caller.state is State.CONFIRMED
    caller.answered("INFO", answer(status))
    assert caller.state is State.TERMINATED
    assert caller.receive(inside("INFO", 99)) is Verdict.NOT_OURS
    with pytest.raises(DialogError, match="over"):
        caller.request("BYE", via=VIA)


def test_forks_are_dialogs_of_their_own() -> None:
    dialogs = Dialogs()
    request = invite()
    for tag in ("2", "3"):
        dialogs.add(Dialog.as_caller(request, answer(183, tag)))
    assert len(dialogs) == 2
    found = dialogs.of_response(request, answer(200, "3"))
    assert found is not None
    assert found.remote_tag == "3"
    assert dialogs.of_response(request, answer(200, "4")) is None
    with pytest.raises(DialogError, match="already"):
        dialogs.add(Dialog.as_caller(request, answer(183, "2")))
    dialogs.remove(found)
    dialogs.remove(found)
    assert len(dialogs) == 1


def test_a_request_finds_its_dialog_by_both_tags_and_the_call_id() -> None:
    dialogs = Dialogs()
    dialogs.add(Dialog.as_callee(invite(), "2"))
    assert dialogs.of_request(inside("BYE", 315)) is not None
    assert dialogs.of_request(inside("BYE", 315, local="9")) is None
    assert dialogs.of_request(inside("BYE", 315, remote="9")) is None
    assert dialogs.of_request(invite()) is None


@pytest.mark.parametrize("contact", ["", "*"])
def test_what_makes_no_dialog_is_one_kind_of_error(contact: str) -> None:
    with pytest.raises(DialogError, match="Contact"):
        Dialog.as_callee(invite(contact=contact or "*"), "2")
    with pytest.raises(DialogError, match="Contact"):
        Dialog.as_caller(invite(), answer(200, contact=contact))
    with pytest.raises(DialogError, match="tag"):
        Dialog.as_caller(invite(), answer(183, tag=""))
    with pytest.raises(DialogError, match="routes"):
        Dialog.as_callee(invite(["<sip:p;lr>"] * 65), "2")


@pytest.mark.parametrize(
    "sender", ["sip:caller@u1.example.com;tag=1", "<sip:caller@u1.example.com> ; tag=1", '"a>;tag=9" <sip:caller@u1.example.com>;tag=1;x=">"', "<sip:c@x;tag=uri>;TAG=1"]
)
def test_the_tag_is_taken_off_and_put_on_again(sender: str) -> None:
    callee = Dialog.as_callee(invite(sender=sender), "2")
    assert callee.remote_tag == "1"
    told = parse(callee.request("BYE", via=VIA))
    assert told.recipient is not None
    assert told.recipient.tag == b"1"
    assert told.value("To").lower().count("tag=1") == 1


def test_numbers_end_before_they_wrap() -> None:
    """8.1.1.5"""
    caller = Dialog.as_caller(invite(), answer(200))
    caller.local_cseq = 2**31 - 2
    assert parse(caller.request("INFO", via=VIA)).cseq == (2**31 - 1, "INFO")
    with pytest.raises(DialogError, match="numbers"):
        caller.request("INFO", via=VIA)
