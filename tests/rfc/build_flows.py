"""Builds the canonical good flows: the scenarios of RFC 3665, 3262, 3264, 3311, 4028, 5589 and 6665, with hosts
of our own.

Each flow is a text file under `flows/`: a line with time and ends before each message, as terminal tools save
a trace. Nothing in them is wrong, so an analysis must find nothing worse than information. Run
`python -m tests.rfc.build_flows` after an edit; a test compares the files with what it builds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tests.rfc.flow_messages import (
    ALICE,
    ALLOW,
    BOB,
    CAROL,
    PROXY_1,
    PROXY_2,
    SDP_TYPE,
    Dialog,
    Flow,
    Message,
    Party,
    answer,
    dialog,
    digest,
    returned,
    session,
    through,
)  # fmt: skip

FLOWS = Path(__file__).parent / "flows"


def basic_call(flow: Flow) -> None:
    """RFC 3665 section 3.1."""
    call = dialog(flow)
    invite = call.invite()
    flow.say(BOB, ALICE, answer(invite, "180 Ringing", call.called_tag, ("Contact", BOB.contact)), 150)
    call.accept(invite)
    call.finish(BOB)


def proxied_call(flow: Flow) -> None:
    """RFC 3665 section 3.2: two proxies that record their route."""
    path, target = (ALICE, PROXY_1, PROXY_2, BOB), f"sip:bob@{BOB.address}:5060"
    call = dialog(flow)
    invite = through(
        flow,
        call.request(
            "INVITE",
            None,
            ("Route", f"<sip:{PROXY_1.address};lr>"),
            ALLOW,
            SDP_TYPE,
            body=session(ALICE, 49172),
            first=True,
        ),
        path,
        target,
    )
    contact = ("Contact", BOB.contact)
    returned(flow, answer(invite, "180 Ringing", call.called_tag, contact), path, 120)
    returned(
        flow,
        answer(
            invite,
            "200 OK",
            call.called_tag,
            contact,
            ALLOW,
            SDP_TYPE,
            body=session(BOB, 3456, formats="0 101"),
        ),
        path,
        2600,
    )
    call.route = f"<sip:{PROXY_1.address};lr>, <sip:{PROXY_2.address};lr>"
    through(flow, call.request("ACK"), path)
    call.route = f"<sip:{PROXY_2.address};lr>, <sip:{PROXY_1.address};lr>"
    flow.clock += timedelta(seconds=9)
    bye = through(flow, call.request("BYE", BOB), path[::-1])
    returned(flow, answer(bye, "200 OK"), path[::-1])


def early_media(flow: Flow) -> None:
    """RFC 3960 section 3: a 183 with the answer that the 200 repeats."""
    call = dialog(flow)
    invite = call.invite()
    flow.say(BOB, ALICE, answer(invite, "100 Trying"), 5)
    body = session(BOB, 3456, formats="0 101")
    flow.say(
        BOB,
        ALICE,
        answer(
            invite, "183 Session Progress", call.called_tag, ("Contact", BOB.contact), SDP_TYPE, body=body
        ),
        300,
    )
    call.accept(invite, body=body)
    call.finish()


def cancel(flow: Flow) -> None:
    """RFC 3665 section 3.8, between the user agents: the caller gives up."""
    call = dialog(flow)
    invite = call.invite()
    branch = invite.get("Via").rpartition("branch=")[2]
    flow.say(BOB, ALICE, answer(invite, "100 Trying"), 5)
    flow.say(BOB, ALICE, answer(invite, "180 Ringing", call.called_tag, ("Contact", BOB.contact)), 120)
    stop = call.request("CANCEL", again=branch)
    stop.start = f"CANCEL {BOB.uri} SIP/2.0"
    stop.headers = [(name, invite.get("To") if name == "To" else value) for name, value in stop.headers]
    flow.say(ALICE, BOB, stop, 9000)
    flow.say(BOB, ALICE, answer(stop, "200 OK", call.called_tag), 10)
    flow.say(BOB, ALICE, answer(invite, "487 Request Terminated", call.called_tag), 10)
    ack = call.request("ACK", again=branch)
    ack.start = f"ACK {BOB.uri} SIP/2.0"
    flow.say(ALICE, BOB, ack, 10)


def registration(flow: Flow) -> None:
    """RFC 3665 section 2.1, and the refresh of section 2.2."""
    realm, nonce = "atlanta.example.com", "ea9c8e88df84f1cec4341ae6cbe5a359"
    registrar = Party("", realm, PROXY_1.address)

    def register(number: int, *headers: tuple[str, str]) -> Message:
        fixed = [
            flow.via(ALICE), ("Max-Forwards", "70"), ("From", f"Alice <{ALICE.uri}>;tag=a73kszlfl"), ("To", f"Alice <{ALICE.uri}>"),
            ("Call-ID", f"1j9FpLxk3uxtm8tn@{ALICE.address}"), ("CSeq", f"{number} REGISTER"), ("Contact", ALICE.contact), ("Expires", "3600"),
        ]  # fmt: skip
        return Message(f"REGISTER sip:{realm} SIP/2.0", [*fixed, *headers])

    challenge = f'Digest realm="{realm}", nonce="{nonce}", opaque="", stale=FALSE, algorithm=MD5, qop="auth"'
    first = flow.say(ALICE, registrar, register(1))
    flow.say(
        registrar, ALICE, answer(first, "401 Unauthorized", "1410948204", ("WWW-Authenticate", challenge))
    )
    proof = digest("REGISTER", f"sip:{realm}", "alice", realm, nonce)
    second = flow.say(ALICE, registrar, register(2, ("Authorization", proof)), 30)
    bound = ("Contact", f"{ALICE.contact};expires=3600")
    flow.say(
        registrar,
        ALICE,
        answer(second, "200 OK", "37GkEhwl6", bound, ("Date", "Fri, 14 Mar 2025 09:00:01 GMT")),
    )


def proxy_authentication(flow: Flow) -> None:
    """The first leg of RFC 3665 section 3.3: the proxy asks for credentials; the call ends at it."""
    gate = Party("bob", "atlanta.example.com", PROXY_1.address)
    call = dialog(flow, ALICE, gate)
    realm, nonce = "atlanta.example.com", "wf84f1cczx41ae6cbeaea9ce88d359"
    first = call.invite()
    challenge = f'Digest realm="{realm}", nonce="{nonce}", opaque="", stale=FALSE, algorithm=MD5, qop="auth"'
    flow.say(
        gate,
        ALICE,
        answer(
            first,
            "407 Proxy Authentication Required",
            call.called_tag + "0",
            ("Proxy-Authenticate", challenge),
        ),
    )
    ack = call.request("ACK", again=first.get("Via").rpartition("branch=")[2])
    ack.start = f"ACK {gate.uri} SIP/2.0"
    ack.headers = [(name, f"{value}0" if name == "To" else value) for name, value in ack.headers]
    flow.say(ALICE, gate, ack)
    second = call.invite(("Proxy-Authorization", digest("INVITE", gate.uri, "alice", realm, nonce)))
    flow.say(gate, ALICE, answer(second, "100 Trying"), 5)
    flow.say(gate, ALICE, answer(second, "180 Ringing", call.called_tag, ("Contact", gate.contact)), 150)
    call.accept(second)
    call.finish()


def reliable(flow: Flow, call: Dialog, invite: Message, number: int, body: str) -> None:
    """A 183 with an answer, sent reliably, its PRACK and the 200 (RFC 3262 sections 3 and 4)."""
    headers = [("Contact", BOB.contact), ("Require", "100rel"), ("RSeq", str(number)), ALLOW, SDP_TYPE]
    flow.say(BOB, ALICE, answer(invite, "183 Session Progress", call.called_tag, *headers, body=body), 200)
    prack = flow.say(ALICE, BOB, call.request("PRACK", None, ("RAck", f"{number} {invite.get('CSeq')}")), 30)
    flow.say(BOB, ALICE, answer(prack, "200 OK"))


def prack(flow: Flow) -> None:
    """RFC 3262: a reliable provisional response with the answer; the 200 carries no body."""
    call = dialog(flow)
    invite = call.invite(("Supported", "100rel"))
    flow.say(BOB, ALICE, answer(invite, "100 Trying"), 5)
    reliable(flow, call, invite, 988789, session(BOB, 3456, formats="0 101"))
    call.accept(invite, body="")
    call.finish()


def update(flow: Flow) -> None:
    """RFC 3311 section 4: the session is changed before the call is answered."""
    call = dialog(flow)
    invite = call.invite(("Supported", "100rel"))
    flow.say(BOB, ALICE, answer(invite, "100 Trying"), 5)
    reliable(flow, call, invite, 776656, session(BOB, 3456, formats="0 101"))
    change = call.request(
        "UPDATE", None, ALLOW, SDP_TYPE, body=session(ALICE, 49180, version=2, formats="0 101")
    )
    flow.say(ALICE, BOB, change, 400)
    flow.say(
        BOB,
        ALICE,
        answer(
            change,
            "200 OK",
            "",
            ("Contact", BOB.contact),
            ALLOW,
            SDP_TYPE,
            body=session(BOB, 3456, version=2, formats="0 101"),
        ),
    )
    call.accept(invite, body="")
    call.finish()


def session_timer(flow: Flow) -> None:
    """RFC 4028: the caller refreshes with UPDATE at half the interval."""
    call = dialog(flow)
    asked = (("Supported", "timer"), ("Session-Expires", "1800"), ("Min-SE", "90"))
    agreed = (("Require", "timer"), ("Supported", "timer"), ("Session-Expires", "1800;refresher=uac"))
    invite = call.invite(*asked)
    flow.say(BOB, ALICE, answer(invite, "180 Ringing", call.called_tag, ("Contact", BOB.contact)), 150)
    call.accept(invite, *agreed)
    for _ in range(2):
        refresh = call.request(
            "UPDATE", None, ("Supported", "timer"), ("Session-Expires", "1800;refresher=uac")
        )
        flow.say(ALICE, BOB, refresh, 900_000)
        flow.say(BOB, ALICE, answer(refresh, "200 OK", "", ("Contact", BOB.contact), *agreed))
    call.finish()


def blind_transfer(flow: Flow) -> None:
    """RFC 5589 section 6.1: Bob sends Alice on to Carol."""
    call = dialog(flow)
    invite = call.invite()
    flow.say(BOB, ALICE, answer(invite, "180 Ringing", call.called_tag, ("Contact", BOB.contact)), 150)
    call.accept(invite)
    refer = call.request("REFER", BOB, ("Refer-To", f"<{CAROL.uri}>"), ("Referred-By", f"<{BOB.uri}>"))
    flow.say(BOB, ALICE, refer, 6000)
    flow.say(ALICE, BOB, answer(refer, "202 Accepted", "", ("Contact", ALICE.contact)))
    event, fragment = ("Event", "refer"), ("Content-Type", "message/sipfrag;version=2.0")

    def notify(state: str, line: str) -> None:
        told = call.request(
            "NOTIFY", ALICE, event, ("Subscription-State", state), fragment, body=f"{line}\r\n"
        )
        flow.say(ALICE, BOB, told, 30)
        flow.say(BOB, ALICE, answer(told, "200 OK"))

    notify("active;expires=60", "SIP/2.0 100 Trying")
    onward = dialog(flow, ALICE, CAROL, 2)
    second = onward.invite(("Referred-By", f"<{BOB.uri}>"), port=49190)
    flow.say(CAROL, ALICE, answer(second, "180 Ringing", onward.called_tag, ("Contact", CAROL.contact)), 150)
    onward.accept(second)
    notify("terminated;reason=noresource", "SIP/2.0 200 OK")
    call.finish(BOB, 40)
    onward.finish(CAROL)


def hold(flow: Flow) -> None:
    """RFC 3264 section 8.4: hold and resume by re-INVITE."""
    call = dialog(flow)
    invite = call.invite()
    flow.say(BOB, ALICE, answer(invite, "180 Ringing", call.called_tag, ("Contact", BOB.contact)), 150)
    call.accept(invite)
    for version, (mine, theirs) in enumerate((("sendonly", "recvonly"), ("sendrecv", "sendrecv")), 2):
        offer = session(ALICE, 49172, version, "0 101", mine)
        again = flow.say(ALICE, BOB, call.request("INVITE", None, ALLOW, SDP_TYPE, body=offer), 5000)
        call.accept(again, body=session(BOB, 3456, version, "0 101", theirs), after_ms=30)
    call.finish()


def subscription(flow: Flow) -> None:
    """RFC 6665 section 4: presence, refreshed and then ended by the subscriber."""
    call = dialog(flow)
    event, kind = ("Event", "presence"), ("Content-Type", "application/pidf+xml")

    def document(state: str) -> str:
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\r\n<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="pres:bob@biloxi.example.org">\r\n'
            f' <tuple id="desk"><status><basic>{state}</basic></status></tuple>\r\n</presence>\r\n'
        )

    def subscribe(seconds: int, first: bool = False, after_ms: float = 20) -> None:
        asked = call.request(
            "SUBSCRIBE", None, event, ("Accept", kind[1]), ("Expires", str(seconds)), first=first
        )
        flow.say(ALICE, BOB, asked, after_ms)
        flow.say(
            BOB,
            ALICE,
            answer(asked, "200 OK", call.called_tag, ("Contact", BOB.contact), ("Expires", str(seconds))),
        )

    def notify(state: str, basic: str, after_ms: float = 20) -> None:
        told = call.request("NOTIFY", BOB, event, ("Subscription-State", state), kind, body=document(basic))
        flow.say(BOB, ALICE, told, after_ms)
        flow.say(ALICE, BOB, answer(told, "200 OK"))

    subscribe(600, first=True)
    notify("active;expires=600", "open")
    notify("active;expires=420", "closed", 180_000)
    subscribe(600, after_ms=120_000)
    notify("active;expires=600", "closed")
    subscribe(0, after_ms=60_000)
    notify("terminated;reason=timeout", "closed")


BUILDERS: dict[str, Callable[[Flow], None]] = {
    "rfc3665-2.1-registration": registration,
    "rfc3665-3.1-basic-call": basic_call,
    "rfc3665-3.2-two-proxies": proxied_call,
    "rfc3665-3.3-proxy-authentication": proxy_authentication,
    "rfc3665-3.8-cancel": cancel,
    "rfc3960-early-media": early_media,
    "rfc3262-prack": prack,
    "rfc3264-hold": hold,
    "rfc3311-update": update,
    "rfc4028-session-timer": session_timer,
    "rfc5589-blind-transfer": blind_transfer,
    "rfc6665-subscription": subscription,
}


def flows() -> dict[str, Flow]:
    """Name -> flow."""
    built = {}
    for name, build in BUILDERS.items():
        flow = Flow()
        build(flow)
        built[name] = flow
    return built


def main() -> None:
    """Writes every flow."""
    FLOWS.mkdir(exist_ok=True)
    for name, flow in flows().items():
        (FLOWS / f"{name}.txt").write_bytes(flow.text())


if __name__ == "__main__":
    main()
