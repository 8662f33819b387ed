"""RFC 4475 and RFC 5118 at the user agent: every message that its transactions take gets the answer the RFC names, and leaves nothing."""

from __future__ import annotations

import pytest

from engine.sip.incoming import IncomingCall
from engine.sip.message import Message, parse
from tests.engine.sip.fake_clock import FakeClock
from tests.engine.sip.wire import Party, Wire, Wired
from tests.rfc import torture
from tests.rfc.test_torture_transactions import DROPPED, REFUSED, RESPONSES

ALL = [(name, title) for name in ("rfc4475", "rfc5118") for title in torture.sections(name)]
RINGS = 180  # it is a call, which somebody is asked about
# Only INVITEs, OPTIONS and what is inside dialogs are a user agent's own: REGISTER and MESSAGE are 405 here, and the registrar's tests have
# theirs. A method nobody knows is 501 (3.1.1.2, 3.1.1.5).
EXPECTED = {
    "wsinv": 481, "intmeth": 501, "esc01": RINGS, "escnull": 405, "esc02": 501, "lwsdisp": 200, "longreq": RINGS, "dblreq": 405,
    "semiuri": 200, "transports": 200, "mpart01": 405, "escruri": RINGS, "baddate": RINGS, "regbadct": 405, "badbranch": 200,
    "unkscm": 416, "novelsc": 416, "unksm2": 405, "bext01": 420, "invut": 415, "regaut01": 405, "zeromf": 200, "cparam01": 405,
    "cparam02": 405, "regescrt": 405, "sdp01": 406, "inv2543": RINGS,
    "ipv6-good": 405, "ipv6-bad": 400, "port-ambiguous": 405, "port-unambiguous": 405, "via-received-param-with-delim": 481,
    "via-received-param-no-delim": 200, "ipv6-in-sdp": RINGS, "mult-ip-in-header": 481, "mult-ip-in-sdp": RINGS,
    "ipv4-mapped-ipv6": RINGS, "ipv6-bug-abnf-3-colons": 200, "ipv6-correct-abnf-2-colons": 200,
}  # fmt: skip


@pytest.mark.parametrize(("name", "title"), ALL)
def test_each_message_ends_as_the_rfc_says(name: str, title: str) -> None:
    wire = Wire(FakeClock())
    bob = Party(wire, "bob", answers=IncomingCall.ring)
    answers: list[Message] = []
    peer = Wired(wire, "peer", False)
    peer.take = lambda data, sender: answers.append(parse(data))  # type: ignore[method-assign]
    bob.network.take(torture.wire(name, title), "peer")
    wire.clock.run(0.3)
    expected = REFUSED.get(title) if name == "rfc4475" else None
    if title in DROPPED or title in RESPONSES:
        assert not answers
    else:
        expected = EXPECTED[title] if expected is None else expected
        assert [answer.status for answer in answers] == [expected]
    for call in bob.calls:
        call.refuse(480)
    wire.clock.run(100)
    assert bob.agent.calls == len(bob.agent.dialogs) == bob.agent.layer.counters.transactions == 0
    assert wire.clock.waiting == 0


def test_a_call_of_rfc_2543_is_answered_and_ended_where_it_came_from() -> None:
    wire = Wire(FakeClock())
    bob = Party(wire, "bob")
    peer = Wired(wire, "ift.client.example.net", False)
    peer.take = lambda data, sender: None  # type: ignore[method-assign]
    bob.network.take(torture.wire("rfc4475", "inv2543").replace(b"Content-Length: 138", b"Content-Length: 0").partition(b"v=0")[0], "ift.client.example.net")
    wire.clock.run(0.3)
    assert bob.calls[0].dialog is not None
    assert bob.calls[0].dialog.remote_target.startswith("sip:+13035551111@ift.client.example.net")
