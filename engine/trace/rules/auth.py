"""Authentication and registration: challenges, credentials, bindings.

The conditions are sighted by `engine/_native/c/conditions_auth.c`; the texts are here. Credentials are never quoted:
of an Authorization header only scheme, username, realm, uri and algorithm are shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from engine.trace.finding import Evidence
from engine.trace.rules.base import NONE, Explanation, Hit, Rule
from engine.trace.rules.compliance import cited
from engine.trace.tables import METHODS, Tables

Explain = Callable[[Tables, Hit], Explanation]
SHOWN = re.compile(r'\b(username|realm|uri|algorithm|qop|stale)\s*=\s*("[^"]*"|[^\s,]+)', re.IGNORECASE)


def masked(value: str) -> str:
    """A credentials or challenge header with everything secret left out: scheme and the parameters in SHOWN."""
    scheme = value.split(None, 1)[0] if value.split() else ""
    return f"{scheme} {', '.join(f'{name}={text}' for name, text in SHOWN.findall(value))}".strip()


def challenge_of(tables: Tables, row: int) -> str:
    """The challenge of a 401 or 407, without its nonce."""
    return masked(tables.header(row, "WWW-Authenticate") or tables.header(row, "Proxy-Authenticate"))


def credentials_of(tables: Tables, row: int) -> str:
    """The credentials of a request, without nonce and response."""
    return masked(tables.header(row, "Authorization") or tables.header(row, "Proxy-Authorization"))


def account_of(tables: Tables, row: int) -> str:
    """The account a message is about: the address-of-record in To for REGISTER, else the caller."""
    header = "To" if tables.method(row) == "REGISTER" else "From"
    value = tables.header(row, header)
    found = re.search(r"<([^>]*)>", value)
    return found.group(1) if found else value.split(";")[0] or "an unnamed account"


def _both(tables: Tables, hit: Hit) -> list[Evidence]:
    rows = [row for row in (hit.other, hit.row) if row != NONE and row < len(tables.messages)]
    items = []
    for row in rows:
        challenge, credentials = challenge_of(tables, row), credentials_of(tables, row)
        header = "WWW-/Proxy-Authenticate" if challenge else "Authorization" if credentials else ""
        items.append(cited(tables, row, header, challenge or credentials or tables.start_line(row)))
    return items


def _with(sentence: str, severity: Callable[[Hit], str | None] = lambda hit: None) -> Explain:
    """{what}, {line}, {account}, {code}, {number}, {challenge}, {credentials} of the hit's row; {other} the second's line."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        other = hit.other if hit.other != NONE and hit.other < len(tables.messages) else hit.row
        detail = sentence.format(
            what=tables.summary(hit.row), line=tables.start_line(hit.row), account=account_of(tables, hit.row),
            code=hit.code, number=hit.value, challenge=challenge_of(tables, other) or challenge_of(tables, hit.row),
            credentials=credentials_of(tables, hit.row) or credentials_of(tables, other), other=tables.start_line(other),
            contact=tables.header(hit.row, "Contact") or "(absent)", asked=tables.header(other, "Contact") or "(absent)",
        )  # fmt: skip
        return Explanation(detail, _both(tables, hit), severity=severity(hit))

    return explain


def _loop(tables: Tables, hit: Hit) -> Explanation:
    success = hit.code or _account_succeeds(tables, hit.row)
    return Explanation(
        f"{account_of(tables, hit.row)} was challenged {hit.value} times in one dialog although it sent credentials each time"
        + ("; it succeeded in the end." if success else " and never succeeds in this trace."),
        _both(tables, hit),
        severity="high" if success else "critical",
    )


def _account_succeeds(tables: Tables, row: int) -> bool:
    x, m = tables.transactions, tables.messages
    user = m.from_user_hash[row]
    with_credentials = (x.flags & 2 != 0) & (x.status // 100 == 2) & (x.first != NONE)
    firsts = x.first[with_credentials]
    return bool((m.from_user_hash[firsts] == user).any())


def _failed(tables: Tables, hit: Hit) -> Explanation:
    meaning = {
        403: "the registrar forbids it: wrong password, blocked account or a source that is not allowed",
        404: "the registrar does not know the user",
        480: "the user is known and not available",
        423: "the interval is too brief",
    }.get(hit.code, "the registrar itself failed" if hit.code >= 500 else "the registrar refuses it")
    return Explanation(
        f"Registration of {account_of(tables, hit.row)} ended with {tables.start_line(hit.row)}: {meaning}.", _both(tables, hit)
    )


def _qop(tables: Tables, hit: Hit) -> Explanation:
    if hit.code == 2:
        return Explanation(
            f"{tables.summary(hit.row)} uses a nonce again with nonce count {hit.value}, which does not rise: servers take it for a replay.",
            _both(tables, hit),
            severity="medium",
        )
    return Explanation(f"The challenge ({challenge_of(tables, hit.row)}) offers no qop, so replies have no nonce count.", _both(tables, hit))


def _algorithm(tables: Tables, hit: Hit) -> Explanation:
    challenge = challenge_of(tables, hit.row if hit.code == 1 else hit.other)
    how = "and the client stays silent" if hit.code == 1 else "and the client answers with MD5"
    return Explanation(f"The challenge asks for SHA-2 only ({challenge}) {how}.", _both(tables, hit))


def _mismatch(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"The challenge is for {challenge_of(tables, hit.other)}; the credentials are for {credentials_of(tables, hit.row)}.", _both(tables, hit)
    )


def _uri(tables: Tables, hit: Hit) -> Explanation:
    line = tables.start_line(hit.row)
    target = line.split(" ")[1] if line.count(" ") else line
    return Explanation(
        f"The digest uri ({credentials_of(tables, hit.row)}) is not the Request-URI {target}, and the request was refused with {hit.code}.",
        _both(tables, hit),
    )


def _in_dialog(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"The in-dialog {METHODS[hit.value]} was challenged with {hit.code} and never repeated with credentials: "
        + ("the call may hang at one side." if METHODS[hit.value] == "BYE" else "the change did not happen."),
        _both(tables, hit),
    )


def _storm(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"{hit.value:,} REGISTERs came in one second; the usual second of this trace has {hit.code}.", [cited(tables, hit.row)]
    )


def _rule(id: str, severity: str, title: str, rfc: str, recommendation: str, explain: Explain, *, confidence: float = 0.9,
          symptoms: tuple[str, ...] = ("registration-failing",), group: str = "peers", escalates: bool = True) -> Rule:  # fmt: skip
    return Rule(id=id, severity=severity, category="auth", title=title, rfc=rfc, recommendation=recommendation,
                explain=explain, confidence=confidence, symptoms=symptoms, group=group,
                escalates=escalates and severity != "info")  # fmt: skip


BOTH = ("registration-failing", "call-setup-failing")
CREDENTIALS = "Compare username, password and realm at both ends. Asterisk: the auth section's username, password, realm; FreeSWITCH: "

RULES: tuple[Rule, ...] = (
    _rule("auth-loop", "high", "Authentication loop", "RFC 3261 22.2, 22.3",
          CREDENTIALS + "the gateway's username, password, realm; Kamailio: auth_db calculate_ha1 and the stored HA1.", _loop, symptoms=BOTH),
    _rule("auth-no-credentials", "high", "Challenge left unanswered", "RFC 3261 22.2",
          "Give the client credentials for this realm. Asterisk: outbound_auth; FreeSWITCH: gateway username and password; Kamailio: uac_auth().",
          _with("{line}: no request with credentials followed the challenge ({challenge})."), symptoms=BOTH),
    _rule("auth-wrong-credentials", "high", "Credentials refused", "RFC 3261 22.4",
          CREDENTIALS + "the user's password and auth-calls.", _with("Credentials of {account} ({credentials}) were refused with {line}."), symptoms=BOTH),
    _rule("auth-stale-loop", "medium", "Nonce is stale again and again", "RFC 7616 3.3",
          "Raise the nonce lifetime, or give all servers of the cluster one nonce secret. FreeSWITCH: nonce-ttl; Kamailio: auth secret, nonce_expire.",
          _with("{number} challenges in a row said stale=true ({challenge}).")),
    _rule("auth-realm-mismatch", "high", "Credentials for another realm", "RFC 3261 22.1",
          "Set the realm that the server states. Asterisk: leave realm of the outbound auth empty to take any.", _mismatch, symptoms=BOTH),
    _rule("auth-uri-mismatch", "medium", "Digest uri is not the Request-URI", "RFC 3261 22.4",
          "Something between client and server rewrites the Request-URI; have the server accept that, or stop the rewrite.", _uri, symptoms=BOTH),
    _rule("auth-qop-missing", "low", "Digest without qop or with a standing nonce count", "RFC 7616 3.4",
          "Offer qop=auth and count up nc for each use of a nonce. Kamailio: qop=auth in the challenge functions.", _qop, escalates=False),
    _rule("auth-algorithm-unsupported", "medium", "Client does not speak the digest algorithm", "RFC 8760 2.4",
          "Offer MD5 beside SHA-256 until all clients know the latter.", _algorithm, symptoms=BOTH),
    _rule("auth-header-wrong-type", "medium", "Answer in the wrong header", "RFC 3261 22.2, 22.3",
          "401 is answered in Authorization, 407 in Proxy-Authorization: correct the client.",
          _with("The {code} challenge was answered in the other header: {what}."), symptoms=BOTH),
    _rule("auth-cseq-not-incremented", "medium", "Retry with credentials keeps its CSeq", "RFC 3261 22.2, 8.1.3.5",
          "The retry is a new transaction and needs a higher CSeq and a new branch.",
          _with("{what} repeats the request with credentials under the same CSeq {number}."), symptoms=BOTH),
    _rule("auth-ack-bye-challenged", "medium", "In-dialog request challenged", "RFC 3261 22",
          "Exempt in-dialog requests from authentication. Kamailio: check has_totag() before auth_check(); FreeSWITCH: accept them by ACL.",
          _in_dialog, symptoms=("calls-dropping", "hold")),
    _rule("auth-username-unknown", "medium", "Account unknown or forbidden", "RFC 3261 10.3",
          "Create the account, or correct the user name.", _with("{line} answers credentials of {account}."), symptoms=BOTH),
    _rule("endpoint-not-identified", "high", "Source matched to no account", "",
          "Let the server know this identity. Asterisk: identify/match, identify_by, line; FreeSWITCH: apply-inbound-acl; Kamailio: permissions.",
          _with("{account} was refused with {line}, while the same source is accepted under another identity ({number} times before)."),
          symptoms=BOTH, confidence=0.6),
    _rule("ip-auth-failed", "high", "Trusted source suddenly refused", "",
          "Check the list of allowed addresses: the source may have changed. Asterisk: identify match; Kamailio: permissions address table.",
          _with("{line}: the peer accepted {number} calls from this source without a challenge before."), symptoms=("call-setup-failing",),
          confidence=0.7),
    _rule("register-failed", "high", "Registration failed", "RFC 3261 10.3",
          "Check that account and password exist at this registrar, and that the domain is right.", _failed),
    _rule("register-timeout", "critical", "Registrar does not answer", "RFC 3261 17.1.2",
          "Check address, port and transport of the registrar and the firewall between.",
          _with("{what} was sent {number} time(s) and never answered.")),
    _rule("register-423", "medium", "Registration interval too brief", "RFC 3261 10.2.8, 20.23",
          "Ask for at least Min-Expires.", _with("{line} answers Expires {number}, and no REGISTER with a larger value followed.")),
    _rule("register-expires-short", "low", "Very short registration", "RFC 3261 10",
          "Grant a minute or more and keep NAT open by other means (CRLF, STUN).",
          _with("The registrar granted {account} {number} s.", lambda hit: "medium" if hit.value < 30 else None), escalates=False),
    _rule("register-expires-long-nat", "medium", "Long registration behind NAT", "RFC 5626",
          "Keep the binding open: shorter Expires, CRLF keep-alive, FreeSWITCH nat-options-ping, Asterisk qualify_frequency, Kamailio nathelper.",
          _with("{account} registered a private address from a public one for {number} s over UDP."), symptoms=("registration-failing", "calls-dropping")),
    _rule("register-not-refreshed", "high", "Registration lapsed", "RFC 3261 10.2.4",
          "Have the client refresh at half the interval; look for sleep, Wi-Fi or NAT changes.",
          _with("{account} came back {number} s after its binding had expired.")),
    _rule("register-flap", "medium", "Account registers and unregisters", "",
          "Look at the client's network and power; two devices with one account also do this.",
          _with("{account} unregistered {number} times within an hour.")),
    _rule("register-storm", "high", "Burst of registrations", "",
          "Spread the refresh times (jitter) so that clients do not come back at once after an outage.", _storm, group="trace"),
    _rule("register-multi-contact", "info", "Several bindings for one account", "RFC 3261 10.3", "",
          _with("{account} has {number} bindings: {contact}.")),
    _rule("register-contact-mismatch", "medium", "Registered Contact is not listed", "RFC 3261 10.3",
          "The registrar bound another address, or an ALG rewrote one direction: compare both Contacts.",
          _with("{account} registered {asked}; the 200 lists {contact}."), confidence=0.8),
    _rule("register-third-party", "medium", "Registration for somebody else", "RFC 3261 10.2",
          "Expected from some proxies; otherwise check who registers this account.",
          _with("{what} registers an account (To) under another identity (From)."), confidence=0.6),
    _rule("register-wildcard-error", "low", "Contact: * without Expires: 0", "RFC 3261 10.2.2",
          "The wildcard only removes all bindings: send Expires: 0 with it.", _with("{what} has Contact: * and Expires {number}."), escalates=False),
    _rule("path-lost", "medium", "Registrar dropped the Path", "RFC 3327",
          "Enable path support at the registrar. Kamailio: path module, use_path; Asterisk: support_path=yes.",
          _with("{account} registered through an edge with Path; the 200 does not return it.")),
    _rule("service-route-ignored", "low", "Service-Route not used", "RFC 3608",
          "Have the client send its requests along the Service-Route.", _with("{what} carries no Route although its registrar stated a Service-Route."),
          escalates=False, confidence=0.6),
    _rule("outbound-421/439", "low", "Outbound negotiation failed", "RFC 5626",
          "Support outbound at client and registrar, or at neither.", _with("{line} ends the negotiation of RFC 5626 outbound."), escalates=False),
)  # fmt: skip
