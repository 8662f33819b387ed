"""NAT and reachability: addresses that cannot be reached, rewriting middleboxes, ICE.

The conditions are sighted by `engine/_native/c/conditions_nat.c`; the texts are here.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.trace.finding import Evidence
from engine.trace.rules.base import NONE, Explanation, Hit, Rule
from engine.trace.rules.compliance import cited
from engine.trace.tables import Tables

Explain = Callable[[Tables, Hit], Explanation]
MEDIA_FIX = (
    "Advertise the public address in SDP or relay media. Asterisk: external_media_address with local_net, rtp_symmetric=yes; "
    "FreeSWITCH: ext-rtp-ip, apply-nat-acl; Kamailio: rtpengine_manage() or fix_nated_sdp() after nat_uac_test()."
)
CONTACT_FIX = (
    "Rewrite the Contact at the edge. Asterisk: rewrite_contact=yes, force_rport=yes; FreeSWITCH: aggressive-nat-detection, "
    "NDLB-received-in-nat-reg-contact; Kamailio: fix_nated_contact() or add_contact_alias() with handle_ruri_alias()."
)
ALG_FIX = "Turn SIP ALG off in the router, or use TLS or a port other than 5060, which ALGs leave alone."


def connection_line(tables: Tables, row: int) -> str:
    """The c= line of a message's description."""
    text = tables.text(row).decode("utf-8", "replace")
    return next((line.strip() for line in text.splitlines() if line.startswith("c=")), "(no c= line)")


def _source(tables: Tables, row: int) -> str:
    return tables.address(int(tables.messages.source[row]))


def _sdp_private(tables: Tables, hit: Hit) -> Explanation:
    message = hit.other
    line = connection_line(tables, message)
    heard = False
    if hit.call != NONE:
        streams = tables.streams_of(hit.call)
        directions = {int(tables.streams.from_caller[row]) for row in streams.tolist()}
        heard = directions >= {1, 2}
    detail = (
        f"The SDP of {tables.summary(message)} contains {line} (port {hit.value}), which is not routable over the Internet, while "
        f"the message travels between {_source(tables, message)} and {tables.address(int(tables.messages.target[message]))}."
    )
    detail += " RTP flowed both ways all the same, so an element latches on the real source." if heard else " The peer cannot send RTP there."
    return Explanation(detail, [cited(tables, message, "c=", line)], severity="high" if heard else None)


def _contact_private(tables: Tables, hit: Hit) -> Explanation:
    contact = tables.header(hit.row, "Contact")
    call = hit.call
    conditions = tables.call_conditions_of(call) if call != NONE else frozenset()
    worse = bool(conditions & {"missing-ack", "bye-unanswered", "drop-at-32s"})
    return Explanation(
        f"{tables.summary(hit.row)} comes from {_source(tables, hit.row)} and gives Contact {contact}, which nobody outside can reach"
        + (": later requests of the dialog were lost." if worse else "."),
        [cited(tables, hit.row, "Contact", contact)],
        severity="critical" if worse else None,
    )


def _via(tables: Tables, hit: Hit) -> Explanation:
    via = tables.header(hit.row, "Via")
    asked = "rport is present, so responses find the way" if hit.code else "rport is absent, so responses go to the Via address"
    return Explanation(
        f"The top Via is {via}, the packet came from {_source(tables, hit.row)}; {asked}.",
        [cited(tables, hit.row, "Via", via)],
        severity="info" if hit.code else None,
    )


def _pair(sentence: str, header: str, other_header: str = "") -> Explain:
    """{what}, {value} of the hit's row; {other}, {asked} of the second row; {number}, {source}, {target}."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        value = tables.header(hit.row, header) if header else tables.start_line(hit.row)
        evidence = [cited(tables, hit.row, header, value)]
        asked, other = "", ""
        if hit.other != NONE and hit.other < len(tables.messages):
            asked = tables.header(hit.other, other_header) if other_header else tables.start_line(hit.other)
            other = tables.summary(hit.other)
            evidence.insert(0, cited(tables, hit.other, other_header, asked))
        m = tables.messages
        detail = sentence.format(
            what=tables.summary(hit.row), value=value or "(absent)", other=other, asked=asked or "(absent)", number=hit.value,
            code=hit.code, source=_source(tables, hit.row), target=tables.address(int(m.target[hit.row])),
            connection=connection_line(tables, hit.row), agent=tables.header(hit.row, "User-Agent") or "the sender",
        )  # fmt: skip
        return Explanation(detail, evidence)

    return explain


def _double(tables: Tables, hit: Hit) -> Explanation:
    named = [("Via", tables.header(hit.row, "Via")), ("Contact", tables.header(hit.row, "Contact")), ("c=", connection_line(tables, hit.row))]
    told = ", ".join(f"{name} {value}" for name, value in named if value and not value.startswith("(no"))
    return Explanation(
        f"The sender names {hit.code} different addresses for itself: {told}; the packet came from {_source(tables, hit.row)}.",
        [cited(tables, hit.row, name, value) for name, value in named],
    )


def _alg(tables: Tables, hit: Hit) -> Explanation:
    contact, via = tables.header(hit.row, "Contact"), tables.header(hit.row, "Via")
    how = {
        1: f"the SDP address equals the packet's public source while o= and the headers stay private (Contact {contact})",
        2: f"the Via was rewritten to the public source ({via}) while the Contact stayed private ({contact})",
        3: f"the body is shorter than Content-Length in a message that names private addresses (Contact {contact})",
    }.get(hit.code, "headers were rewritten on the way")
    return Explanation(
        f"{tables.summary(hit.row)} was rewritten by a middlebox: {how}.",
        [cited(tables, hit.row, "Contact", contact), cited(tables, hit.row, "Via", via)],
    )


def _split(tables: Tables, hit: Hit) -> Explanation:
    contact, via = tables.header(hit.row, "Contact"), tables.header(hit.row, "Via")
    return Explanation(
        f"One message mixes private and public addresses of the same host: Via {via}, Contact {contact}, {connection_line(tables, hit.row)}.",
        [cited(tables, hit.row, "Via", via), cited(tables, hit.row, "Contact", contact)],
    )


def _loopback(tables: Tables, hit: Hit) -> Explanation:
    where = "Contact" if hit.code == 1 else "c="
    value = tables.header(hit.row, "Contact") if hit.code == 1 else connection_line(tables, hit.row)
    what = "an unspecified address, though nothing was on hold" if hit.code == 3 else "an address of the host itself"
    return Explanation(f"{tables.summary(hit.row)} states {what}: {value}.", [cited(tables, hit.row, where, value)])


def _where(sentence: str) -> Explain:
    """`code` 1: source or Contact, 2: SDP."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        value = connection_line(tables, hit.row) if hit.code == 2 else tables.header(hit.row, "Contact") or _source(tables, hit.row)
        return Explanation(
            sentence.format(what=tables.summary(hit.row), value=value), [cited(tables, hit.row, "c=" if hit.code == 2 else "Contact", value)]
        )

    return explain


def _stream(sentence: str) -> Explain:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        s = tables.streams
        ends = f"{tables.address(int(s.source_endpoint[hit.row]))} -> {tables.address(int(s.target_endpoint[hit.row]))}"
        detail = sentence.format(ends=ends, number=hit.value, seconds=hit.value / 1000)
        return Explanation(detail, [Evidence(stream=hit.row, summary=ends, call_id=tables.call_id(hit.call))])

    return explain


def _pinhole(tables: Tables, hit: Hit) -> Explanation:
    if hit.code == 2:
        return _stream("Only the outbound stream {ends} exists ({seconds:.1f} s of it); nothing came back through the NAT in front of it.")(tables, hit)
    return _stream("The inbound stream {ends} began {seconds:.1f} s after the answer, just when the outbound one had opened the way.")(tables, hit)


def _event(sentence: str, severity: Callable[[Hit], str | None] = lambda hit: None) -> Explain:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        e = tables.events
        ends = f"{tables.address(int(e.source[hit.row]))} -> {tables.address(int(e.target[hit.row]))}"
        return Explanation(
            sentence.format(ends=ends, number=hit.value, code=hit.code),
            [Evidence(summary=ends, value=f"packet {int(e.frame_number[hit.row])}")],
            severity=severity(hit),
        )

    return explain


def _ice_failed(tables: Tables, hit: Hit) -> Explanation:
    if hit.code == 1:
        return Explanation(f"{tables.summary(hit.row)} says a=ice-mismatch: an element changed the SDP address and ICE was given up.",
                           [cited(tables, hit.row, "a=ice-mismatch", "present")])  # fmt: skip
    return Explanation(f"{hit.value} ICE connectivity checks were sent and none was answered; no RTP followed.", [cited(tables, hit.row)])


def _mux(tables: Tables, hit: Hit) -> Explanation:
    only = " and cannot do without" if hit.code else ""
    return Explanation(
        f"The offer asks for rtcp-mux{only}; the answer {tables.summary(hit.row)} does not agree, so RTCP goes to the next port.",
        [cited(tables, hit.other, "a=rtcp-mux", "present"), cited(tables, hit.row, "a=rtcp-mux", "(absent)")],
        severity=None if hit.code else "medium",
    )


def _websocket(tables: Tables, hit: Hit) -> Explanation:
    contact = tables.header(hit.row, "Contact")
    if hit.code == 255:
        return Explanation(f"{tables.summary(hit.row)} went to a .invalid address and failed.", [cited(tables, hit.row)], severity="high")
    return Explanation(
        f"{tables.summary(hit.row)} has Contact {contact}: a WebSocket client, reachable only over its own connection.",
        [cited(tables, hit.row, "Contact", contact)],
    )


def _port_change(tables: Tables, hit: Hit) -> Explanation:
    where = "between two registrations" if hit.code else "within the dialog"
    return Explanation(
        f"The source port changed from {hit.value} to {_source(tables, hit.row)} {where}: the NAT made a new binding.",
        [cited(tables, row) for row in (hit.other, hit.row) if row != NONE],
    )


def _rule(id: str, severity: str, title: str, rfc: str, recommendation: str, explain: Explain, *, confidence: float = 0.85,
          symptoms: tuple[str, ...] = ("one-way-audio", "no-audio"), subject: str = "message", group: str = "peers",
          escalates: bool = True) -> Rule:  # fmt: skip
    return Rule(id=id, severity=severity, category="nat", title=title, rfc=rfc, recommendation=recommendation, explain=explain,
                confidence=confidence, symptoms=symptoms, subject=subject, group=group, escalates=escalates and severity != "info")  # fmt: skip


DIALOG = ("calls-dropping", "call-setup-failing")
REGISTERING = ("registration-failing", "calls-dropping")

RULES: tuple[Rule, ...] = (
    _rule("nat-sdp-private", "critical", "Private address in SDP towards the Internet", "RFC 1918; RFC 3264", MEDIA_FIX, _sdp_private,
          subject="media_line", confidence=0.95, symptoms=("one-way-audio", "no-audio", "ai-voice-agent-call")),
    _rule("nat-contact-private", "high", "Private Contact from a public source", "RFC 3261 8.1.1.8", CONTACT_FIX, _contact_private,
          symptoms=(*DIALOG, "registration-failing")),
    _rule("nat-via-mismatch", "medium", "Via is not where the packet came from", "RFC 3581 4; RFC 3261 18.2.1",
          "Ask for symmetric responses. Asterisk: force_rport=yes; Kamailio: force_rport().", _via, symptoms=(*DIALOG, "registration-failing"),
          escalates=False),
    _rule("nat-received-missing", "medium", "Server did not note the real source", "RFC 3261 18.2.1",
          "Correct the server: it must add received when the Via address is not the packet's source.",
          _pair("{what} returns the Via as it came ({value}), although the request came from {target}.", "Via", "Via"), symptoms=DIALOG),
    _rule("nat-response-misrouted", "high", "Response sent to the wrong port", "RFC 3581 4",
          "Correct the server: with rport a response goes back to the source port. Asterisk: force_rport=yes.",
          _pair("{what} goes to {target}, but the request asked for rport and came from another port ({other}).", "Via", "Via"), symptoms=DIALOG),
    _rule("nat-double", "medium", "Several addresses for one sender", "", MEDIA_FIX, _double),
    _rule("nat-binding-expired", "high", "NAT binding ran out", "RFC 5626",
          "Send keep-alives more often than every 30 s over UDP. FreeSWITCH: nat-options-ping; Asterisk: qualify_frequency=25; Kamailio: nathelper.",
          _pair("{what} was not answered {number} s after the registration it relies on; the next REGISTER ({other}) got through.", ""),
          symptoms=REGISTERING),
    _rule("nat-keepalive-absent", "medium", "NATed client sends no keep-alive", "RFC 5626 4.4",
          "Turn on CRLF or STUN keep-alive at the client, or OPTIONS pings at the server (qualify_frequency, nat-options-ping, nathelper).",
          _pair("The client at {source} was silent for {number} s behind NAT.", ""), symptoms=REGISTERING),
    _rule("nat-port-change", "medium", "Source port changed", "", "Shorten the keep-alive interval below the NAT's UDP timeout.", _port_change,
          symptoms=REGISTERING),
    _rule("nat-hairpin", "medium", "Two clients behind one public address", "",
          "Relay media for clients behind one NAT, or let ICE find the inner path.",
          _pair("Both descriptions name the same public host ({connection}): the media must turn around inside the NAT.", "")),
    _rule("nat-media-pinhole", "high", "Media waits for the NAT to open", "",
          "Send RTP at once after the answer, or a keep-alive. Asterisk: rtp_keepalive; FreeSWITCH: leave RTP auto-adjust on.",
          _pinhole, subject="stream"),
    _rule("nat-rtcp-blocked", "low", "RTCP passes one way only", "", "Use rtcp-mux, or open the RTCP port.",
          _stream("RTP flows both ways, but no RTCP comes with {ends} while the other direction has {number} packets."), subject="stream",
          symptoms=("poor-audio",), escalates=False),
    _rule("sip-alg-detected", "high", "SIP ALG rewrites messages", "", ALG_FIX, _alg, symptoms=("one-way-audio", "no-audio", *DIALOG)),
    _rule("sip-alg-split-rewrite", "high", "Message rewritten only in part", "", ALG_FIX, _split, confidence=0.75,
          symptoms=("one-way-audio", "no-audio", *DIALOG)),
    _rule("cgnat-address", "info", "Carrier-grade NAT address", "RFC 6598", "", _where("{what} shows a 100.64.0.0/10 address ({value}): no inbound connection reaches it.")),
    _rule("link-local-address", "high", "Link-local address", "RFC 3927", "Mend DHCP or the interface: such an address works on one link only.",
          _where("{what} names a link-local address: {value}.")),
    _rule("loopback-in-sdp", "critical", "Loopback or unspecified address", "", "Bind to the outer interface or set the advertised address. Asterisk: media_address, "
          "external_media_address; FreeSWITCH: rtp-ip, ext-rtp-ip.", _loopback),
    _rule("hostname-in-sdp", "low", "Host name in SDP", "RFC 8866 5.7", "State an address: many SBCs refuse names in c=.",
          _pair("{what} names its media address as a host name: {connection}.", ""), escalates=False),
    _rule("ipv6-in-ipv4-peer", "high", "IPv6 media for an IPv4 peer", "RFC 6157", "Offer both families (ICE, ALTC), or the one that the peer has.",
          _pair("{what} travels over IPv4 and offers media over IPv6 only: {connection}.", "")),
    _rule("ice-missing-peer", "medium", "Only one side speaks ICE", "RFC 8445; RFC 8839", "Turn ICE on at both ends or at none. Asterisk: ice_support; webrtc=yes.",
          _pair("The offer has {number} candidates; the answer {what} has none.", "")),
    _rule("ice-failed", "critical", "ICE found no path", "RFC 8445 6, 8.1.2", "Provide a TURN server that both sides reach, and check the firewall for UDP.", _ice_failed),
    _rule("ice-relay-only", "info", "Media goes through a relay", "", "", _pair("{what} offers {number} candidates and all of them are relayed.", ""), symptoms=("poor-audio",)),
    _rule("ice-no-srflx", "medium", "ICE with private host candidates only", "RFC 8445 5.1.1", "Configure a STUN server.",
          _pair("{what} offers {number} candidates, none of which a host outside can reach.", "")),
    _rule("ice-role-conflict", "low", "ICE role conflict", "RFC 8445 7.3.1.1", "Normal when both sides offer at once; otherwise correct the B2BUA that passes roles through.",
          _event("A STUN 487 (role conflict) went {ends}."), subject="event", escalates=False),
    _rule("ice-lite-both", "medium", "Both sides are ICE-lite", "RFC 8445 6.1.1", "One side must be full ICE: nobody sends checks.",
          _pair("Offer and answer ({what}) both say ice-lite, so nobody checks connectivity.", "")),
    _rule("turn-auth-fail", "high", "TURN refuses the credentials", "RFC 8656", "Check user, secret and clock of time-limited TURN credentials.",
          _event("TURN answered {number} requests with errors ({ends}) and few or none succeeded."), subject="event"),
    _rule("stun-blocked", "high", "STUN is not answered", "RFC 8489", "Open UDP to the peer or the STUN server.",
          _event("{number} STUN requests went {ends} without one response."), subject="event"),
    _rule("rtcp-mux-mismatch", "high", "rtcp-mux offered and not taken", "RFC 5761 5.1; RFC 8858", "Asterisk: rtcp_mux=yes or webrtc=yes; take rtcp-mux at both ends.", _mux,
          symptoms=("poor-audio", "no-audio")),
    _rule("bundle-mismatch", "medium", "BUNDLE groups disagree", "RFC 9143", "Answer BUNDLE with the same mids, or refuse it.",
          _pair("The offer bundles its media; the answer {what} does not follow.", "")),
    _rule("ws-origin-address", "info", "WebSocket client without a routable Contact", "RFC 7118 5; RFC 5626", "", _websocket, symptoms=DIALOG),
)  # fmt: skip
