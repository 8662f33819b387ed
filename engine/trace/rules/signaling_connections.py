"""Signaling: peers that do not answer OPTIONS, connections that fail, packets that are refused.

The conditions are sighted by `engine/_native/c/conditions_signaling_trace.c`; the texts are here.
"""

from __future__ import annotations

from engine.trace.finding import Evidence
from engine.trace.rules.base import Explanation, Hit, Rule
from engine.trace.rules.signaling_evidence import cite, duration, is_message, says, sender
from engine.trace.tables import Tables

ICMP_V4 = {
    0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
    4: "fragmentation needed", 9: "network prohibited", 10: "host prohibited", 13: "filtered by a firewall",
}  # fmt: skip
ICMP_V6 = {0: "no route", 1: "prohibited by a firewall", 3: "address unreachable", 4: "port unreachable"}


def _event(tables: Tables, event: int, value: str = "") -> Evidence:
    """An event (packet beside the messages) as evidence; its number is the packet's in the capture."""
    e = tables.events
    source, target = tables.address(int(e.source[event])), tables.address(int(e.target[event]))
    time = None if tables.no_time else int(e.time_ns[event]) / 1e9
    summary = f"packet {int(e.frame_number[event])}: {source} -> {target}"
    return Evidence(time=time, summary=summary, value=value)


def _options_down(tables: Tables, hit: Hit) -> Explanation:
    how = f"the first was answered {hit.code}" if hit.code else "the first got no response"
    rows = [row for row in (hit.row, hit.other) if is_message(tables, row)]
    return Explanation(
        f"{hit.value} OPTIONS in a row from {sender(tables, hit.row)} to"
        f" {tables.endpoint(int(tables.messages.target[hit.row]))} failed; {how}.",
        [cite(tables, row) for row in rows],
    )


def _tcp_closed(tables: Tables, hit: Hit) -> Explanation:
    e = tables.events
    how = "reset" if hit.code == 3 else "closed"
    return Explanation(
        f"The connection {tables.address(int(e.source[hit.row]))} to"
        f" {tables.address(int(e.target[hit.row]))} was {how}"
        f" {duration(hit.value)} after the call was answered; neither end opened another one, and no BYE"
        f" came.",
        [cite(tables, hit.other), _event(tables, hit.row, how)],
    )


def _tcp_refused(tables: Tables, hit: Hit) -> Explanation:
    e = tables.events
    ends = [tables.address(int(column[hit.row])) for column in (e.source, e.target)]
    server, client = ends[hit.code & 1], ends[1 - (hit.code & 1)]
    return Explanation(
        f"{client} could not open a TCP connection to {server}: its SYN was refused or not answered.",
        [_event(tables, hit.row, "SYN refused or unanswered")],
    )


def _icmp(tables: Tables, hit: Hit) -> Explanation:
    kind, code = hit.value >> 8, hit.value & 255
    names = ICMP_V6 if kind == 1 else ICMP_V4
    what = names.get(code, f"code {code}")
    source, target = (
        tables.address(int(column[hit.row])) for column in (tables.events.source, tables.events.target)
    )
    carried = "RTP of a running call" if hit.code == 2 else "SIP"
    return Explanation(
        f"ICMP type {kind} code {code} ({what}) came back for {carried} from {source} to {target}.",
        [_event(tables, hit.row, f"ICMP {kind}/{code} {what}")],
    )


def _no_pong(tables: Tables, hit: Hit) -> Explanation:
    e = tables.events
    source, target = tables.address(int(e.source[hit.row])), tables.address(int(e.target[hit.row]))
    return Explanation(
        f"{source} sent a CRLF keep-alive ping to {target} and got no pong in the {duration(hit.value)}"
        f" that followed.",
        [_event(tables, hit.row, "CRLF CRLF")],
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="options-down",
        severity="high",
        category="signaling",
        title="Peer fails OPTIONS checks",
        rfc="RFC 3261 11",
        recommendation="The peer is down, unreachable or refuses service. Asterisk `qualify_frequency`,"
        " FreeSWITCH gateway"
        " `ping`, Kamailio `dispatcher` probing take it out of routing while it lasts.",
        explain=_options_down,
        symptoms=("call-setup-failing", "registration-failing"),
    ),
    Rule(
        id="options-flap",
        severity="medium",
        category="signaling",
        title="Peer comes and goes",
        rfc="RFC 3261 11",
        recommendation="Look for an unstable link, a NAT or firewall whose state runs out between two"
        " OPTIONS, or a peer that"
        " restarts. Shorten the interval (Asterisk `qualify_frequency`, Kamailio `ds_ping_interval`).",
        explain=says("{to} went between reachable and unreachable {count} times by OPTIONS within an hour."),
        symptoms=("call-setup-failing", "registration-failing", "calls-dropping"),
    ),
    Rule(
        id="tcp-closed-mid-dialog",
        severity="high",
        category="signaling",
        title="SIP connection closed during a call",
        rfc="RFC 3261 18.4, RFC 5626",
        recommendation="Raise idle timeouts of both ends and of firewalls between them, and keep the"
        " connection alive with"
        " CRLF (Asterisk `keep_alive_interval`, Kamailio `tcp_connection_lifetime`, FreeSWITCH"
        " `tcp-keepalive`).",
        explain=_tcp_closed,
        subject="event",
        symptoms=("calls-dropping",),
    ),
    Rule(
        id="tcp-refused",
        severity="high",
        category="signaling",
        title="SIP connection refused",
        rfc="RFC 3261 18.1.1",
        recommendation="No service listens there, or a firewall is in the way: check transport and port"
        " (TLS 5061), and the"
        " DNS records that led to it.",
        explain=_tcp_refused,
        subject="event",
        symptoms=("call-setup-failing", "registration-failing"),
    ),
    Rule(
        id="icmp-unreachable",
        severity="high",
        category="signaling",
        title="ICMP unreachable for SIP or RTP",
        rfc="RFC 1122 3.2.2.1",
        recommendation="Nothing listens at the quoted port, or a firewall forbids it. For SIP check the"
        " address and port of"
        " the peer; for RTP the address in its SDP and the media port range of the firewall.",
        explain=_icmp,
        subject="event",
        symptoms=("no-audio", "one-way-audio", "call-setup-failing"),
    ),
    Rule(
        id="keepalive-no-pong",
        severity="medium",
        category="signaling",
        title="Keep-alive ping without pong",
        rfc="RFC 5626 3.5.1, 4.4.1",
        recommendation="The peer does not support CRLF keep-alive, or the connection is dead: the client"
        " must open a new one"
        " after 10 s. Kamailio answers pings by itself (`crlf_ping` on); use TCP keep-alive otherwise.",
        explain=_no_pong,
        subject="event",
        confidence=0.8,
        symptoms=("registration-failing", "calls-dropping"),
    ),
)
