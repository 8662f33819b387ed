"""Compliance: what messages and descriptions get wrong by the letter of the RFCs.

The conditions are sighted by `engine/_native/c/conditions_compliance.c`; the texts are here.
"""

from __future__ import annotations

from collections.abc import Callable

from engine._native import sip as native_sip
from engine.trace.finding import Evidence
from engine.trace.rules.base import NONE, Explanation, Hit, Rule
from engine.trace.tables import METHODS, Tables

MANDATORY = ("Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards")
PLACES = ("", "Request-URI", "From", "To", "Contact")
SDP_FAULTS = (
    (1 << 0, "a line that is not <type>=<value>"), (1 << 1, "no v= line"), (1 << 2, "no o= line"),
    (1 << 3, "no s= line"), (1 << 4, "no t= line"), (1 << 5, "lines out of order"),
    (1 << 6, "a malformed m= line"), (1 << 7, "a malformed c= line"),
    (1 << 8, "a media line without any c="), (1 << 9, "a port that is no number up to 65535"),
    (1 << 20, "a malformed o= line"),
)  # fmt: skip
URI_FAULTS = (
    (8, "its port is out of range"),
    (16, "a % is not followed by two hex digits"),
    (32, "an IPv6 address stands without brackets"),
    (64, "it holds an unescaped space, quote or angle bracket"),
)
MIME_FAULTS = (
    (1, "the Content-Type names no boundary"), (2, "the closing boundary is missing"),
    (4, "a part has no Content-Type"), (8, "no part was found"), (16, "too many parts"), (32, "the boundary is not legal"),
)  # fmt: skip


def cited(tables: Tables, row: int, header: str = "", value: str = "") -> Evidence:
    """Evidence that names a messages row and what stands where in it."""
    return Evidence(
        message=row + 1,
        time=tables.time_s(row),
        summary=tables.summary(row),
        header=header,
        value=value[:200],
        call_id=tables.call_id(int(tables.messages.call[row])),
    )


def _names(bits: int, table: tuple[tuple[int, str], ...]) -> str:
    return ", ".join(text for bit, text in table if bits & bit) or "malformed"


def _header_fact(header: str, sentence: str) -> Callable[[Tables, Hit], Explanation]:
    """Explains by one header's value: the sentence has {what} for the message and {value}."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        value = tables.header(hit.row, header) if header else tables.start_line(hit.row)
        detail = sentence.format(what=tables.summary(hit.row), value=value or "(absent)", number=hit.value, code=hit.code)
        return Explanation(detail, [cited(tables, hit.row, header, value)])

    return explain


def _missing_mandatory(tables: Tables, hit: Hit) -> Explanation:
    names = [name for bit, name in enumerate(MANDATORY) if hit.value >> bit & 1]
    only_hops = names == ["Max-Forwards"]
    return Explanation(
        f"{tables.summary(hit.row)} has no {' and no '.join(names)} header.",
        [cited(tables, hit.row, name, "(absent)") for name in names],
        severity="medium" if only_hops else None,
    )


def _missing_contact(tables: Tables, hit: Hit) -> Explanation:
    what = f"The {hit.code} response" if hit.code else f"The {METHODS[hit.value]} request"
    return Explanation(
        f"{what} ({tables.summary(hit.row)}) carries no Contact, so the peer has no address for in-dialog requests.",
        [cited(tables, hit.row, "Contact", "(absent)")],
    )


def _duplicate(tables: Tables, hit: Hit) -> Explanation:
    name = native_sip.header_name(hit.code)
    values = tables.headers(hit.row, name)
    return Explanation(
        f"{tables.summary(hit.row)} has {hit.value} {name} headers ({' | '.join(values)[:160]}); only one is allowed.",
        [cited(tables, hit.row, name, value) for value in values[:3]],
    )


def _length_mismatch(tables: Tables, hit: Hit) -> Explanation:
    value = tables.header(hit.row, "Content-Length")
    if hit.code == 1:
        detail = f"Content-Length says {value}, but {hit.value} bytes of the body are missing: it was truncated on the way."
    elif hit.code == 2:
        detail = f"Content-Length says {value}, but {hit.value} more bytes follow in the datagram."
    else:
        detail = f"Content-Length is {value!r}, which is no decimal number of bytes."
    return Explanation(
        f"{tables.summary(hit.row)}: {detail}",
        [cited(tables, hit.row, "Content-Length", value)],
        severity="medium" if hit.code == 2 else None,
    )


def _uri(tables: Tables, hit: Hit) -> Explanation:
    place = PLACES[hit.code]
    value = tables.start_line(hit.row) if hit.code == 1 else tables.header(hit.row, place)
    why = _names(hit.value, URI_FAULTS) if hit.value else "its brackets or quotes do not close, or parameters stand outside them"
    return Explanation(f"The {place} of {tables.summary(hit.row)} is not a valid URI: {why}.", [cited(tables, hit.row, place, value)])


def _display(tables: Tables, hit: Hit) -> Explanation:
    place = PLACES[hit.code]
    value = tables.header(hit.row, place)
    return Explanation(
        f"The display name in {place} ({value}) has characters that must stand in quotes.", [cited(tables, hit.row, place, value)]
    )


def _challenge(tables: Tables, hit: Hit) -> Explanation:
    header = "WWW-Authenticate" if hit.code == 401 else "Proxy-Authenticate"
    return Explanation(
        f"The {hit.code} response carries no {header}, so the client cannot know realm and nonce.",
        [cited(tables, hit.row, header, "(absent)")],
    )


def _sdp_syntax(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"The session description in {tables.summary(hit.row)} breaks RFC 8866: {_names(hit.value, SDP_FAULTS)}.",
        [cited(tables, hit.row, "SDP", _names(hit.value, SDP_FAULTS))],
    )


def _origin(tables: Tables, hit: Hit) -> Explanation:
    lines = [_sdp_line(tables, row, "o=") for row in (hit.other, hit.row)]
    if hit.code == 1:
        detail = f"The description changed but its o= version stayed {hit.value}: peers may ignore the change."
    else:
        detail = f"The o= line itself changed within the dialog, from {lines[0]} to {lines[1]}."
    return Explanation(detail, [cited(tables, row, "o=", line) for row, line in zip((hit.other, hit.row), lines, strict=True)])


def _sdp_line(tables: Tables, row: int, prefix: str) -> str:
    text = tables.text(row).decode("utf-8", "replace")
    return next((line.strip() for line in text.splitlines() if line.startswith(prefix)), "(absent)")


def _families(tables: Tables, hit: Hit) -> Explanation:
    names = {1: "IPv4", 2: "IPv6", 3: "both IPv4 and IPv6"}
    line = _sdp_line(tables, hit.row, "c=")
    return Explanation(
        f"The media addresses of {tables.summary(hit.row)} are {names.get(hit.code, 'unknown')}, the signalling is "
        f"{names.get(hit.value, 'unknown')}.",
        [cited(tables, hit.row, "c=", line)],
    )


def _multipart(tables: Tables, hit: Hit) -> Explanation:
    value = tables.header(hit.row, "Content-Type")
    return Explanation(
        f"The multipart body of {tables.summary(hit.row)} is broken: {_names(hit.value, MIME_FAULTS)}.",
        [cited(tables, hit.row, "Content-Type", value)],
    )


def _e164(tables: Tables, hit: Hit) -> Explanation:
    line = tables.start_line(hit.row)
    if hit.code == 2:
        return Explanation(
            f"A number of {hit.value} digits stands in {line}: E.164 ends at 15.",
            [cited(tables, hit.row, "Request-URI", line)],
            severity="medium",
        )
    return Explanation(
        f"user=phone promises a telephone number, yet it does not begin with '+': {line}.",
        [cited(tables, hit.row, "Request-URI", line)],
    )


def _pai_missing(tables: Tables, hit: Hit) -> Explanation:
    source = tables.host(int(tables.messages.source[hit.row]))
    return Explanation(
        f"This INVITE from {source} asserts no identity, while {hit.value} other INVITEs from there carry P-Asserted-Identity.",
        [cited(tables, hit.row, "P-Asserted-Identity", "(absent)")],
    )


def _privacy(tables: Tables, hit: Hit) -> Explanation:
    privacy, sender = tables.header(hit.row, "Privacy"), tables.header(hit.row, "From")
    if hit.code == 1:
        detail = f"Privacy asks for '{privacy}', yet From still shows {sender}."
    else:
        detail = f"Privacy asks for '{privacy}', yet P-Asserted-Identity goes out between two public addresses."
    return Explanation(detail, [cited(tables, hit.row, "Privacy", privacy), cited(tables, hit.row, "From", sender)])


def _emergency_failed(tables: Tables, hit: Hit) -> Explanation:
    line = tables.start_line(hit.other if hit.other != NONE else hit.row)
    return Explanation(
        f"The emergency call {line} was refused with {tables.start_line(hit.row)}.",
        [cited(tables, row, "", tables.start_line(row)) for row in (hit.other, hit.row) if row != NONE],
    )


def _conflict(tables: Tables, hit: Hit) -> Explanation:
    required = ", ".join(tables.headers(hit.row, "Require"))
    supported = ", ".join(tables.headers(hit.other, "Supported")) or "(absent)"
    return Explanation(
        f"The {tables.messages.status[hit.row]} response requires {required}; the request's Supported is {supported}.",
        [cited(tables, hit.row, "Require", required), cited(tables, hit.other, "Supported", supported)],
    )


def _rule(
    id: str, severity: str, title: str, rfc: str, recommendation: str, explain: Callable[[Tables, Hit], Explanation],
    confidence: float = 0.9, symptoms: tuple[str, ...] = (), escalates: bool = False,
) -> Rule:  # fmt: skip
    return Rule(
        id=id, severity=severity, category="compliance", title=title, rfc=rfc, recommendation=recommendation,
        explain=explain, confidence=confidence, symptoms=symptoms, escalates=escalates,
    )  # fmt: skip


FAILING = ("call-setup-failing",)

RULES: tuple[Rule, ...] = (
    _rule("missing-mandatory-header", "high", "Mandatory SIP header missing", "RFC 3261 8.1.1, 20",
          "Correct the element that sends this message: every request needs Via, From, To, Call-ID, CSeq and Max-Forwards, and "
          "every response the same but Max-Forwards. Kamailio: sanity_check() in the request route refuses such messages.",
          _missing_mandatory, symptoms=(*FAILING, "registration-failing")),
    _rule("missing-contact", "high", "Contact missing where a dialog needs it", "RFC 3261 8.1.1.8, 12.1",
          "Have the sender add its Contact; if a proxy or header manipulation rule removes it, take that rule out.",
          _missing_contact, symptoms=("calls-dropping", *FAILING)),
    _rule("from-tag-missing", "medium", "From without tag", "RFC 3261 8.1.1.3",
          "The sender follows RFC 2543. Update it, or let a B2BUA that adds tags stand in front of it.",
          _header_fact("From", "{what} has a From without tag: {value}.")),
    _rule("branch-cookie-missing", "low", "Via branch without the RFC 3261 cookie", "RFC 3261 8.1.1.7",
          "The sender follows RFC 2543: transactions are matched the old way. Update it.",
          _header_fact("Via", "The top Via of {what} has no branch that begins with z9hG4bK: {value}.")),
    _rule("branch-empty", "medium", "Via branch is the cookie alone", "RFC 3261 8.1.1.7",
          "Correct the sender: behind the cookie a branch must be unique in space and time.",
          _header_fact("Via", "The top Via of {what} has branch=z9hG4bK and nothing behind it: {value}.")),
    _rule("branch-reused", "high", "One branch for different transactions", "RFC 3261 8.1.1.7, 17.2.3",
          "Correct the sender: with one branch, servers take the second request for a retransmission of the first.",
          _header_fact("Via", "{what} uses the branch of an earlier, different transaction: {value}."), symptoms=FAILING),
    _rule("duplicate-single-header", "medium", "Header repeated that may stand once", "RFC 3261 7.3.1",
          "Find the element that adds the second copy; servers may answer 400 or read another copy than expected.", _duplicate),
    _rule("content-length-mismatch", "high", "Content-Length and body disagree", "RFC 3261 18.3, 20.14",
          "A middlebox rewrites bodies (SIP ALG) or a fragment was lost. Turn the ALG off, keep messages under the MTU or use "
          "TCP or TLS. Kamailio: udp_mtu with udp_mtu_try_proto; Asterisk: disable_tcp_switch=no.",
          _length_mismatch, symptoms=("one-way-audio", *FAILING)),
    _rule("content-length-missing-tcp", "high", "No Content-Length over a stream transport", "RFC 3261 18.3",
          "Have the sender add Content-Length: without it a stream has no message boundaries.",
          _header_fact("Content-Length", "{what} travels over a stream without Content-Length.")),
    _rule("content-type-missing", "medium", "Body without Content-Type", "RFC 3261 20.15",
          "Have the sender name the body's type, usually application/sdp.",
          _header_fact("Content-Type", "{what} has a body but no Content-Type.")),
    _rule("bare-lf", "low", "Lines end in LF alone", "RFC 3261 7",
          "Have the sender end lines with CRLF; strict parsers refuse the message.",
          _header_fact("", "{what} ends lines with LF and no CR.")),
    _rule("header-folding", "info", "Header folded over lines", "RFC 3261 7.3.1", "",
          _header_fact("", "{what} folds a header over several lines, which is legal and rarely tested.")),
    _rule("compact-mixed", "info", "Long and compact header names mixed", "RFC 3261 7.3.3", "",
          _header_fact("", "{what} mixes long and one-letter header names.")),
    _rule("uri-invalid", "medium", "Malformed URI", "RFC 3261 19.1, 25; RFC 5118",
          "Correct the sender: escape what may not stand in a URI, bracket IPv6 addresses, and bracket a URI that has "
          "parameters of its own.", _uri, symptoms=FAILING),
    _rule("display-name-unquoted", "low", "Display name needs quotes", "RFC 3261 25.1",
          "Put the display name in quotes where it has anything but token characters and spaces.", _display),
    _rule("cseq-out-of-range", "medium", "CSeq is no number below 2^31", "RFC 3261 8.1.1.5",
          "Correct the sender; receivers treat such a CSeq as malformed.",
          _header_fact("CSeq", "{what} has CSeq {value}, which is not a number below 2^31.")),
    _rule("max-forwards-range", "low", "Unusual Max-Forwards", "RFC 3261 20.22",
          "Use 70. Values above 255 are not legal and above 100 let loops live long.",
          _header_fact("Max-Forwards", "{what} has Max-Forwards {value}.")),
    _rule("version-not-2", "high", "SIP version is not 2.0", "RFC 3261 21.5.6",
          "Only SIP/2.0 exists: look for damage on the way or a broken sender.",
          _header_fact("", "The start line {value} does not speak SIP/2.0."), symptoms=FAILING),
    _rule("status-code-range", "medium", "Status code outside 100-699", "RFC 3261 7.2",
          "Correct the responder: clients treat the response as malformed.",
          _header_fact("", "The status line {value} has a code outside 100 to 699.")),
    _rule("reason-phrase-encoding", "info", "Text is not UTF-8", "RFC 3261 7.2", "",
          _header_fact("", "{what} has bytes before its body that are not UTF-8.")),
    _rule("date-invalid", "low", "Date is not an RFC 1123 date in GMT", "RFC 3261 20.17",
          "Write the Date in GMT; STIR verification reads it.",
          _header_fact("Date", "{what} has Date {value}, which is not an RFC 1123 date in GMT.")),
    _rule("allow-missing-405", "low", "405 without Allow", "RFC 3261 21.4.6",
          "Have the responder list its methods in Allow.", _header_fact("Allow", "{what} names no allowed methods.")),
    _rule("unsupported-missing-420", "low", "420 without Unsupported", "RFC 3261 21.4.15",
          "Have the responder list what it does not support.", _header_fact("Unsupported", "{what} does not say which extension it refused.")),
    _rule("challenge-missing", "medium", "401 or 407 without a challenge", "RFC 3261 22",
          "Have the responder send its challenge. Kamailio: www_challenge() or auth_challenge(), not sl_send_reply(\"401\").",
          _challenge, symptoms=("registration-failing", *FAILING)),
    _rule("supported-required-conflict", "medium", "Response requires what the caller never supported", "RFC 3261 8.2.2.3",
          "Align the option tags. Asterisk: 100rel and timers of the endpoint; FreeSWITCH: enable-100rel, enable-timer.",
          _conflict, symptoms=FAILING),
    _rule("ack-with-require", "low", "ACK requires more than its INVITE", "RFC 3261 8.2.2.3",
          "Correct the sender: an ACK may require only what the INVITE did.",
          _header_fact("Require", "{what} carries Require {value}, which its INVITE did not.")),
    _rule("event-missing", "medium", "Event or Subscription-State missing", "RFC 6665 8.2",
          "Have the sender name the event package, and in NOTIFY the state.",
          _header_fact("Event", "{what} lacks Event or Subscription-State (Event: {value}).")),
    _rule("rseq-without-require", "medium", "RSeq and Require: 100rel disagree", "RFC 3262 3",
          "A reliable provisional response needs both. Asterisk: 100rel; FreeSWITCH: enable-100rel.",
          _header_fact("RSeq", "{what} has only one of RSeq and Require: 100rel (RSeq: {value}).")),
    _rule("sdp-syntax", "high", "Session description is malformed", "RFC 8866 5, 9",
          "Correct the sender, or the SDP manipulation rule between it and here.", _sdp_syntax,
          symptoms=("one-way-audio", "no-audio", *FAILING)),
    _rule("sdp-origin-version", "medium", "SDP changed without its version", "RFC 3264 8",
          "Have the sender raise the o= version by one with every change. FreeSWITCH: ignore_sdp_sess_id on the receiving side.",
          _origin, symptoms=("one-way-audio", "hold")),
    _rule("sdp-session-name-empty", "info", "Empty s= line", "RFC 8866 5.3", "",
          _header_fact("", "The s= line in {what} is empty; it should hold '-' or a space.")),
    _rule("sdp-duplicate-attr", "low", "Contradicting duplicates in SDP", "RFC 8866 5.13",
          "Keep one direction and one ptime per media line.",
          _header_fact("", "A media line in {what} states its direction or ptime twice and differently.")),
    _rule("sdp-ipv6-ipv4-mix", "info", "Address families mixed", "RFC 6157; RFC 5118", "", _families),
    _rule("multipart-broken", "medium", "Multipart body is broken", "RFC 2046 5.1; RFC 5621",
          "Correct the sender's boundary lines, or the rule that edits the body.", _multipart),
    _rule("e164-format", "low", "Number is not in E.164 form", "RFC 3966; E.164",
          "Send numbers as + and digits, 15 at most, towards trunks.", _e164, symptoms=FAILING),
    _rule("tel-no-context", "low", "Local tel: number without phone-context", "RFC 3966 5.1.5",
          "Add phone-context, or send the number as +E.164.",
          _header_fact("", "{value} uses a local tel: number without phone-context.")),
    _rule("pai-missing", "low", "Call without P-Asserted-Identity on a trunk that has it", "RFC 3325 9.1",
          "Assert the caller on every call. Asterisk: send_pai=yes; FreeSWITCH: caller-id-type=pid; Kamailio: append_hf().",
          _pai_missing, confidence=0.7),
    _rule("pai-invalid", "medium", "Too many asserted identities", "RFC 3325 9.1",
          "Send at most one sip and one tel identity.",
          _header_fact("P-Asserted-Identity", "{what} asserts {number} identities; at most one sip and one tel are allowed.")),
    _rule("privacy-violation", "high", "Privacy was asked for and not given", "RFC 3323 4; RFC 3325 7",
          "Strip the identity at the edge of the trust domain. Kamailio: remove_hf(\"P-Asserted-Identity\"); Asterisk: "
          "trust_id_outbound=no.", _privacy, confidence=0.7),
    _rule("anonymous-no-pai", "medium", "Anonymous call without asserted identity", "RFC 5079",
          "Carriers refuse such calls (433). Send P-Asserted-Identity with Privacy: id. Asterisk: send_pai=yes.",
          _header_fact("From", "{what} is anonymous ({value}) and asserts no identity."), confidence=0.6, symptoms=FAILING),
    _rule("diversion-missing", "low", "Forwarded call says not from where", "RFC 7044; RFC 5806",
          "Send History-Info or Diversion with forwarded calls; carriers refuse foreign caller ids without.",
          _header_fact("", "{what} was forwarded and carries neither Diversion nor History-Info."), confidence=0.6),
    _rule("emergency-no-location", "high", "Emergency call without location", "RFC 6442; RFC 5031",
          "Send Geolocation with a PIDF-LO, or have the emergency route add it.",
          _header_fact("", "The emergency call {value} carries no Geolocation."), confidence=0.8),
    _rule("emergency-failed", "critical", "Emergency call failed", "RFC 6881",
          "Route emergency numbers first, without authentication or credit checks.", _emergency_failed, symptoms=FAILING),
    Rule(id="retention-pii", severity="info", category="compliance", title="The capture holds personal data",
         rfc="", recommendation="", group="trace", escalates=False, confidence=1.0,
         explain=_header_fact("From", "Numbers and names such as those in {what} are personal data; mask them before sharing.")),
    _rule("call-recording-unannounced", "low", "Recorded call without notice", "RFC 7866 6.2",
          "Signal a=record to recording-aware parties or play an announcement.",
          _header_fact("", "{what} records a call whose own descriptions carry no a=record."), confidence=0.6),
    _rule("session-id-missing", "info", "No Session-ID on a multi-hop call", "RFC 7989", "",
          _header_fact("", "The INVITE crossed {number} hops and carries no Session-ID to correlate its legs.")),
)  # fmt: skip
