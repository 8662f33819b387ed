"""Routing: loops, record-routing, numbers that do not route, peers that fail.

The conditions are sighted by `engine/_native/c/conditions_routing.c`; the texts are here.
"""

from __future__ import annotations

from collections.abc import Callable

from engine._native import sip as native_sip
from engine.trace.rules.base import NONE, Explanation, Hit, Rule
from engine.trace.rules.compliance import cited
from engine.trace.tables import METHODS, TRANSPORTS, Tables

Explain = Callable[[Tables, Hit], Explanation]


def _with(sentence: str, header: str = "", other_header: str = "", severity: Callable[[Hit], str | None] = lambda hit: None) -> Explain:
    """One sentence with {what}, {line}, {value}, {other} (the second message's start line), {code} and {number}."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        value = tables.header(hit.row, header) if header else tables.start_line(hit.row)
        other = ""
        evidence = [cited(tables, hit.row, header, value)]
        if hit.other != NONE and hit.other < len(tables.messages):
            other = tables.header(hit.other, other_header) if other_header else tables.start_line(hit.other)
            evidence.insert(0, cited(tables, hit.other, other_header, other))
        detail = sentence.format(
            what=tables.summary(hit.row), line=tables.start_line(hit.row), value=value or "(absent)",
            other=other or "(absent)", code=hit.code, number=hit.value,
        )  # fmt: skip
        return Explanation(detail, evidence, severity=severity(hit))

    return explain


def _max_forwards_exceeded(tables: Tables, hit: Hit) -> Explanation:
    if hit.code == 1:
        return Explanation(
            f"The request passed one hop {hit.value} times before Max-Forwards ran out: it is routed in a circle.",
            [cited(tables, hit.row)],
            severity="critical",
        )
    return Explanation(
        f"{tables.summary(hit.row)}: Max-Forwards ran out before the request arrived.", [cited(tables, hit.row, "", tables.start_line(hit.row))]
    )


def _max_forwards_low(tables: Tables, hit: Hit) -> Explanation:
    value = tables.header(hit.row, "Max-Forwards")
    if hit.code == 1:
        before = tables.header(hit.other, "Max-Forwards")
        return Explanation(
            f"{tables.summary(hit.row)} went on with Max-Forwards {value} after arriving with {before}: a hop does not count down.",
            [cited(tables, hit.other, "Max-Forwards", before), cited(tables, hit.row, "Max-Forwards", value)],
            severity="medium",
        )
    return Explanation(f"{tables.summary(hit.row)} arrives with Max-Forwards {value}.", [cited(tables, hit.row, "Max-Forwards", value)])


def _not_loose(tables: Tables, hit: Hit) -> Explanation:
    name = native_sip.header_name(hit.code)
    value = next((v for v in tables.headers(hit.row, name) if ";lr" not in v.lower()), tables.header(hit.row, name))
    return Explanation(
        f"{name} in {tables.summary(hit.row)} names a strict router (no lr parameter): {value}.", [cited(tables, hit.row, name, value)]
    )


def _unrecorded(tables: Tables, hit: Hit) -> Explanation:
    proxy = tables.host(hit.value)
    harm = "and it failed there" if hit.code else "and reached the peer all the same"
    return Explanation(
        f"{proxy} forwarded the INVITE without Record-Route; {tables.summary(hit.row)} went past it {harm}.",
        [cited(tables, hit.other, "Record-Route", "(absent)"), cited(tables, hit.row)],
        severity=None if hit.code else "info",
    )


def _wrong_node(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"{tables.summary(hit.row)} answers an in-dialog request with 481, but the dialog was made by {tables.host(hit.value)}.",
        [cited(tables, hit.other), cited(tables, hit.row)],
    )


def _failover(tables: Tables, hit: Hit) -> Explanation:
    why = f"after {hit.code}" if hit.code else "after no answer"
    return Explanation(
        f"The INVITE was tried again at {tables.host(hit.value)} {why} from the target before.",
        [cited(tables, hit.other), cited(tables, hit.row)],
    )


def _storm(tables: Tables, hit: Hit) -> Explanation:
    wait = f"; the caller waited {hit.value / 1000:.1f} s for ringing" if hit.value >= 0 else ""
    return Explanation(f"One INVITE was tried at {hit.code} hosts one after the other{wait}.", [cited(tables, hit.row)])


def _refusal(sentence: str) -> Explain:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        cause = f", Q.850 cause {hit.value}" if hit.value > 0 else ""
        invite = int(tables.calls.invite_row[hit.call]) if hit.call != NONE else NONE
        number = tables.user(invite, "To") if invite != NONE else ""
        line = tables.start_line(hit.row)
        detail = sentence.format(line=line, cause=cause, number=number or "the number dialled", what=tables.summary(hit.row))
        evidence = [cited(tables, hit.row, "Reason" if cause else "", tables.header(hit.row, "Reason") if cause else line)]
        if invite != NONE:
            evidence.insert(0, cited(tables, invite, "Request-URI", tables.start_line(invite)))
        return Explanation(detail, evidence)

    return explain


def _ratio(name: str, high_below: int) -> Explain:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        share = hit.value / 100
        return Explanation(
            f"{name} towards {tables.host(hit.other)} is {share:.1f} % over {hit.code:,} attempts.",
            [cited(tables, hit.row)],
            severity="high" if hit.value < high_below else "medium",
        )

    return explain


def _asymmetry(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"The request went to {tables.host(hit.value)}; the response {tables.summary(hit.row)} came from another host.",
        [cited(tables, hit.other), cited(tables, hit.row)],
    )


def _format(tables: Tables, hit: Hit) -> Explanation:
    good, bad = ("national numbers", "+E.164 numbers") if hit.code else ("+E.164 numbers", "national numbers")
    return Explanation(
        f"{tables.host(hit.value)} accepts {good} and refuses {bad}: {tables.start_line(hit.other)} got {tables.start_line(hit.row)}.",
        [cited(tables, hit.other, "Request-URI", tables.start_line(hit.other)), cited(tables, hit.row)],
    )


def _by_hop(tables: Tables, hit: Hit) -> Explanation:
    server = tables.header(hit.row, "Server") or tables.header(hit.row, "User-Agent")
    vias = int(tables.messages.via_count[hit.row])
    who = f" (Server: {server})" if server else ""
    return Explanation(
        f"The final {hit.code} came from {tables.endpoint(int(tables.messages.source[hit.row]))}{who} with {vias} Via entries, over "
        f"{hit.value} hops.",
        [cited(tables, hit.row, "Server", server)],
    )


def _wrong_port(tables: Tables, hit: Hit) -> Explanation:
    target = tables.address(int(tables.events.target[hit.row]))
    return Explanation(f"{target} refuses packets, while the same host speaks SIP on port {hit.code}.")


def _switch(tables: Tables, hit: Hit) -> Explanation:
    line, contact = tables.start_line(hit.row), tables.header(hit.other, "Contact")
    used = TRANSPORTS[hit.code] if hit.code < len(TRANSPORTS) else "another transport"
    return Explanation(
        f"{line} asks for {used}, the Contact it follows is {contact}.",
        [cited(tables, hit.other, "Contact", contact), cited(tables, hit.row, "Request-URI", line)],
    )


def _not_contact(tables: Tables, hit: Hit) -> Explanation:
    line, contact = tables.start_line(hit.row), tables.header(hit.other, "Contact")
    return Explanation(
        f"The in-dialog {METHODS[hit.code]} goes to {line.split(' ')[1] if ' ' in line else line}, but the answer's Contact is {contact}.",
        [cited(tables, hit.other, "Contact", contact), cited(tables, hit.row, "Request-URI", line)],
    )


def _rule(id: str, severity: str, title: str, rfc: str, recommendation: str, explain: Explain, *, confidence: float = 0.85,
          symptoms: tuple[str, ...] = (), subject: str = "message", group: str = "peers", escalates: bool = True) -> Rule:  # fmt: skip
    return Rule(id=id, severity=severity, category="routing", title=title, rfc=rfc, recommendation=recommendation,
                explain=explain, confidence=confidence, symptoms=symptoms, subject=subject, group=group,
                escalates=escalates and severity != "info")  # fmt: skip


FAILING = ("call-setup-failing",)
DROPPING = ("calls-dropping",)

RULES: tuple[Rule, ...] = (
    _rule("max-forwards-exceeded", "high", "Too many hops", "RFC 3261 16.3",
          "Two routes send the call to each other: follow the request hop by hop. Kamailio: mf_process_maxfwd_header(10) shows where.",
          _max_forwards_exceeded, symptoms=FAILING),
    _rule("max-forwards-low", "low", "Max-Forwards nearly used up", "RFC 3261 16.6",
          "Start at 70 and let every proxy take one off.", _max_forwards_low),
    _rule("loop-detected", "critical", "Routing loop", "RFC 3261 16.3; RFC 5393",
          "The request came back to a hop unchanged: correct the route that sends it there. Kamailio: check $rU and $du before relaying.",
          _with("{what} is the same request as {other}, back at a hop it passed before with {number} Vias.", "Via", "Via"), symptoms=FAILING),
    _rule("spiral", "info", "Request came back changed", "RFC 3261 6", "",
          _with("{what} came back to a hop with another Request-URI (before: {other}); that is legal.")),
    _rule("merged-request-482", "medium", "Merged request refused", "RFC 3261 8.2.2.2",
          "One request reached the server over two paths: stop forking to the same server in parallel.",
          _with("{line}: the server saw the same request twice."), symptoms=FAILING),
    _rule("record-route-missing", "high", "Proxy did not stay in the path", "RFC 3261 16.6",
          "Record-route dialogs whose later requests the proxy must see. Kamailio: record_route() before t_relay().",
          _unrecorded, symptoms=DROPPING),
    _rule("record-route-order", "high", "Route set in the wrong order", "RFC 3261 12.1.1, 12.1.2",
          "The caller must reverse the Record-Route list of the response: update that user agent.",
          _with("{what} uses the Record-Route list without reversing it: Route {value}.", "Route", "Record-Route"), symptoms=DROPPING),
    _rule("record-route-private", "high", "Record-Route names a private address", "RFC 3261 16.6",
          "Advertise the public address. Kamailio: listen=... advertise public:port, enable_double_rr=1.",
          _with("{what} goes to a public host with Record-Route {value}, which that host cannot reach.", "Record-Route"), symptoms=DROPPING),
    _rule("route-not-loose", "medium", "Strict router in the path", "RFC 3261 16.12, 19.1.1",
          "Add ;lr to the route's URI, or replace the strict router.", _not_loose, symptoms=DROPPING),
    _rule("route-set-changed", "medium", "Route set differs from the dialog's", "RFC 3261 12.2",
          "The route set is fixed when the dialog is made: correct the sender that changes it.",
          _with("{what} uses {code} routes ({value}); the dialog recorded {number} ({other}).", "Route", "Record-Route"), symptoms=DROPPING),
    _rule("preloaded-route-rejected", "medium", "Preloaded Route refused", "RFC 3261 16.4",
          "Take the outbound proxy's Route off, or let that proxy serve it. Kamailio refuses preloaded routes where loose_route() is used that way.",
          _with("{line} answers a request with a preloaded Route ({other}).", "", "Route"), symptoms=FAILING),
    _rule("in-dialog-wrong-node", "high", "In-dialog request at the wrong node", "RFC 3261 12.2.2",
          "Keep a dialog on one node: balance by Call-ID. Kamailio: dispatcher algorithm 0, and Record-Route with the node's own address.",
          _wrong_node, symptoms=DROPPING),
    _rule("request-uri-not-contact", "high", "In-dialog request ignores the remote Contact", "RFC 3261 12.2.1.1",
          "The Request-URI must be the peer's last Contact: look for topology hiding or an ALG that rewrites only one side.",
          _not_contact, symptoms=DROPPING, confidence=0.7),
    _rule("transport-switch", "medium", "Transport changes within the dialog", "RFC 3261 18.1",
          "State ;transport= in Contact the way the dialog uses it.", _switch, symptoms=DROPPING, confidence=0.6),
    _rule("dns-failover", "info", "Failed over to another target", "RFC 3263 4.3", "", _failover, symptoms=("slow-setup",)),
    _rule("route-retry-storm", "high", "Call tried at many gateways", "",
          "Stop hunting on codes that no other gateway will answer better, and shorten timers per gateway. Kamailio: t_set_fr(), "
          "failure_route on selected codes.", _storm, symptoms=("slow-setup", *FAILING)),
    _rule("cause-not-mapped", "low", "Status and Q.850 cause contradict", "RFC 3398 8.2.6; RFC 6432",
          "Correct the gateway's cause mapping.", _with("{line} carries Q.850 cause {number}, which means something else.", "Reason"),
          escalates=False),
    _rule("unallocated-number", "info", "Number does not exist", "RFC 3398", "", _refusal("{number} is not in service: {line}{cause}."), symptoms=FAILING),
    _rule("no-route", "high", "No route to the number", "RFC 3398",
          "Add or correct the route for this prefix in the dial plan.", _refusal("{what} says that nothing routes {number}: {line}{cause}."),
          symptoms=FAILING),
    _rule("congestion", "high", "Trunk congested", "RFC 3398",
          "Add channels or spread calls over more trunks; limit calls before the peer does.", _refusal("{what} has no circuit: {line}{cause}."),
          symptoms=FAILING),
    _rule("call-rejected", "medium", "Call rejected by policy", "RFC 8197; RFC 8688",
          "Compare accepted and refused calls by number, caller id and time: caller id policy and robocall blocking refuse this way.",
          _refusal("{number} was refused: {line}{cause}."), symptoms=FAILING),
    _rule("busy-burst", "medium", "Unusually many calls are busy", "",
          "A channel limit may be answered as busy: compare with the contracted channels.", _ratio("The share of 486 Busy", -1), symptoms=FAILING),
    _rule("asr-low", "high", "Few calls are answered", "RFC 6076 4.6; E.411",
          "Split the failures by code and prefix; a route that fails all calls of a prefix shows at once.",
          _ratio("The answer-seizure ratio", 3000), symptoms=FAILING),
    _rule("ner-low", "high", "The network fails calls", "E.425",
          "Failures here are the network's, not the users': look at 5xx, 408 and congestion by peer.",
          _ratio("The network effectiveness ratio", 10001), symptoms=FAILING),
    _rule("peer-asymmetry", "info", "Answered from another address", "RFC 3261 18.2.2", "", _asymmetry),
    _rule("dialled-format-rejected", "medium", "Peer takes only one number format", "E.164",
          "Send numbers in the form that this peer takes.", _format, symptoms=FAILING),
    _rule("early-reject-by-hop", "info", "Which hop refused the call", "", "", _by_hop, symptoms=FAILING),
    _rule("redirect-loop", "high", "Redirected to where it came from", "RFC 3261 8.1.3.4",
          "The redirect server names a target that was tried already: correct its table.",
          _with("{what} redirects to {value}, where the request was sent before.", "Contact"), symptoms=FAILING),
    _rule("privacy-route-433", "medium", "Anonymous caller refused", "RFC 5079",
          "Send an identity: Asterisk send_pai=yes; FreeSWITCH caller-id-type=pid.", _with("{line} refuses an anonymous caller."), symptoms=FAILING),
    _rule("domain-mismatch", "medium", "Domain is not served", "RFC 3261 16.4",
          "Add the domain to the server's list (Kamailio: alias, domain module) or dial the right one.", _refusal("{what} does not serve the domain of the request: {line}."),
          symptoms=FAILING),
    _rule("srv-wrong-port", "high", "Sent to a port where nobody listens", "RFC 3263",
          "Use the port that SRV or Contact names.", _wrong_port, symptoms=FAILING, subject="event"),
)  # fmt: skip
