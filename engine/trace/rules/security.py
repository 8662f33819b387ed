"""Security: media and signalling in clear, attacks and fraud.

The conditions are sighted by `engine/_native/c/conditions_security.c`; the texts are here. TLS and DTLS handshakes are in
`security_tls.py`, signed caller identity in `security_stir.py`. Keys and passwords are never quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from engine._native import sip as native_sip
from engine.trace.finding import Evidence
from engine.trace.rules.auth import credentials_of
from engine.trace.rules.base import NONE, Explanation, Hit, Hits, Rule, hits_of
from engine.trace.rules.compliance import cited
from engine.trace.tables import TRANSPORTS, Tables

Explain = Callable[[Tables, Hit], Explanation]
# product and the first version that is not in a published advisory: name, pattern, version
ADVISED: tuple[tuple[str, re.Pattern[str], tuple[int, ...]], ...] = (
    ("Asterisk before 18", re.compile(r"asterisk[ /-]*(?:pbx )?(\d+)\.(\d+)", re.IGNORECASE), (18, 0)),
    ("FreeSWITCH before 1.10.11", re.compile(r"freeswitch[^\d]*(\d+)\.(\d+)\.(\d+)", re.IGNORECASE), (1, 10, 11)),
    ("Kamailio before 5.5", re.compile(r"kamailio[ (/]*(\d+)\.(\d+)", re.IGNORECASE), (5, 5)),
    ("OpenSIPS before 3.2", re.compile(r"opensips[ (/]*(\d+)\.(\d+)", re.IGNORECASE), (3, 2)),
)  # fmt: skip


def _with(sentence: str, header: str = "", severity: Callable[[Hit], str | None] = lambda hit: None) -> Explain:
    """{what}, {line}, {value}, {source}, {target}, {code}, {number}, {transport}, {host} (of `other` as a host row)."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        value = tables.header(hit.row, header) if header else tables.start_line(hit.row)
        m = tables.messages
        detail = sentence.format(
            what=tables.summary(hit.row), line=tables.start_line(hit.row), value=value or "(absent)",
            source=tables.address(int(m.source[hit.row])), target=tables.address(int(m.target[hit.row])), code=hit.code,
            number=hit.value, transport=TRANSPORTS[int(m.transport[hit.row])] or "an unknown transport",
            host=tables.host(hit.other) if hit.other != NONE and hit.other < len(tables.endpoints) else "the source",
        )  # fmt: skip
        return Explanation(detail, [cited(tables, hit.row, header, value)], severity=severity(hit))

    return explain


def _media_line(tables: Tables, row: int) -> str:
    text = tables.text(row).decode("utf-8", "replace")
    return next((line.strip() for line in text.splitlines() if line.startswith("m=")), "")


def _agreed(sentence: str, severity: Callable[[Hit], str | None] = lambda hit: None) -> Explain:
    """{offer} and {answer} are the m= lines of the two messages."""

    def explain(tables: Tables, hit: Hit) -> Explanation:
        rows = [row for row in (hit.other, hit.row) if row != NONE and row < len(tables.messages)]
        lines = [_media_line(tables, row) for row in rows]
        detail = sentence.format(offer=lines[0], answer=lines[-1], what=tables.summary(hit.row))
        return Explanation(detail, [cited(tables, row, "m=", line) for row, line in zip(rows, lines, strict=True)], severity=severity(hit))

    return explain


def _crypto(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"{tables.summary(hit.row)} carries {hit.value} a=crypto line(s) over {TRANSPORTS[hit.code]}: whoever reads the signalling "
        "has the media keys.",
        [cited(tables, hit.row, "a=crypto", "(key masked)")],
    )


def _suite(tables: Tables, hit: Hit) -> Explanation:
    what = "turns encryption off for part of the media" if hit.code else "offers only suites with a short tag or none at all"
    return Explanation(
        f"{tables.summary(hit.row)} {what}.", [cited(tables, hit.row, "a=crypto", "(key masked)")], severity="medium" if hit.code else None
    )


def _key_reuse(tables: Tables, hit: Hit) -> Explanation:
    where = "in both directions of the call" if hit.code == 1 else "in two different calls"
    return Explanation(
        f"The same SRTP master key is used {where}.",
        [cited(tables, row, "a=crypto", "(key masked)") for row in (hit.other, hit.row) if row != NONE],
    )


def _basic(tables: Tables, hit: Hit) -> Explanation:
    how = {
        1: f"{native_sip.header_name(int(hit.value))} uses the Basic scheme",
        2: "a header carries a password in clear",
        3: "a URI carries a password (user:password@host)",
    }[hit.code]
    return Explanation(f"{tables.summary(hit.row)}: {how}.", [cited(tables, hit.row, "", "(masked)")])


def _scanner(tables: Tables, hit: Hit) -> Explanation:
    agent = tables.header(hit.row, "User-Agent") or tables.header(hit.row, "From")
    severity = "medium" if hit.code else None
    return Explanation(
        f"{tables.address(int(tables.messages.source[hit.row]))} calls itself {agent}, "
        + ("a tool used for monitoring and for scanning alike." if hit.code else "a tool that scans for SIP accounts."),
        [cited(tables, hit.row, "User-Agent", agent)],
        severity=severity,
    )


def _compromised(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"After {hit.value} failed attempts from {tables.address(int(tables.messages.target[hit.row]))} the server accepted credentials "
        f"({credentials_of(tables, hit.other)}): {tables.start_line(hit.row)}.",
        [cited(tables, hit.other, "Authorization", credentials_of(tables, hit.other)), cited(tables, hit.row)],
    )


def _toll(tables: Tables, hit: Hit) -> Explanation:
    number = tables.user(hit.row, "To")
    who = tables.host(hit.other)
    if hit.code == 2:
        detail = f"{who} tries one number behind {hit.value} or more different prefixes (last: {number})."
    else:
        detail = f"{who} has {hit.value} answered call(s) to high-risk destinations, such as {number}."
    return Explanation(detail, [cited(tables, hit.row, "To", tables.header(hit.row, "To"))])


def _leak(tables: Tables, hit: Hit) -> Explanation:
    header = "Via" if hit.code == 1 else "Contact"
    value = tables.header(hit.row, header)
    return Explanation(f"{tables.summary(hit.row)} shows an inner address to the public peer: {header} {value}.", [cited(tables, hit.row, header, value)])


def _vulnerable(tables: Tables) -> Hits:
    agents = [(row, tables.string(row)) for row in range(min(len(tables.strings), 2000))]
    bad = [row for row, text in agents if _advisory(text)]
    users = tables.endpoints.user_agent.tolist()
    rows = [at for at, agent in enumerate(users) if agent in set(bad)] if bad else []
    return hits_of([NONE] * len(rows), row=rows)


def _advisory(text: str) -> str | None:
    for name, pattern, first_good in ADVISED:
        found = pattern.search(text)
        if found and tuple(int(part) for part in found.groups()) < first_good:
            return name
    return None


def _explain_vulnerable(tables: Tables, hit: Hit) -> Explanation:
    product = tables.string(int(tables.endpoints.user_agent[hit.row]))
    return Explanation(
        f"{tables.address(hit.row)} runs {product}; {_advisory(product)} has published security advisories.",
        [Evidence(summary=tables.address(hit.row), header="User-Agent/Server", value=product)],
    )


def _fuzz(tables: Tables) -> Hits:
    """Sources with at least five broken messages."""
    hits = tables.sightings_of("malformed-fuzz")
    hosts = tables.endpoints.host
    source = tables.messages.source[hits.row]
    known = source != NONE
    keys = np.where(known, hosts[np.where(known, source, 0)] if len(hosts) else 0, NONE)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return hits.take(counts[inverse] >= 5)


def _stream(sentence: str) -> Explain:
    def explain(tables: Tables, hit: Hit) -> Explanation:
        s = tables.streams

        def ends(row: int) -> str:
            return f"{tables.address(int(s.source_endpoint[row]))} -> {tables.address(int(s.target_endpoint[row]))}"

        other = ends(hit.other) if hit.other != NONE else ""
        return Explanation(
            sentence.format(ends=ends(hit.row), other=other, number=hit.value, ssrc=f"0x{int(s.ssrc[hit.row]):08x}"),
            [Evidence(stream=row, summary=ends(row), call_id=tables.call_id(hit.call)) for row in (hit.row, hit.other) if row != NONE],
        )

    return explain


def _transfer(tables: Tables, hit: Hit) -> Explanation:
    header = "Contact" if hit.code else "Refer-To"
    value = tables.header(hit.row, header)
    return Explanation(
        f"{tables.address(int(tables.messages.source[hit.row]))} had the call sent to an international number: {header} {value}.",
        [cited(tables, hit.row, header, value)],
    )


def _rule(id: str, severity: str, title: str, rfc: str, recommendation: str, explain: Explain, *, confidence: float = 0.85,
          symptoms: tuple[str, ...] = ("security",), subject: str = "message", group: str = "peers", escalates: bool = False,
          select: Callable[[Tables], Hits] | None = None, needs: tuple[str, ...] = ()) -> Rule:  # fmt: skip
    return Rule(id=id, severity=severity, category="security", title=title, rfc=rfc, recommendation=recommendation, explain=explain,
                confidence=confidence, symptoms=symptoms, subject=subject, group=group, escalates=escalates, select=select, needs=needs)  # fmt: skip


BLOCK = "Block the source. Kamailio: pike, secfilter, htable; Asterisk: security log with fail2ban; FreeSWITCH: apply-inbound-acl."
SRTP = "Asterisk: media_encryption=sdes or dtls; FreeSWITCH: rtp_secure_media; offer SRTP only over TLS."

RULES: tuple[Rule, ...] = (
    _rule("srtp-not-used", "medium", "Media is not encrypted", "RFC 3711", SRTP,
          _agreed("Both sides agreed on plain RTP: {offer} / {answer}.", lambda hit: "high" if hit.code else None), confidence=0.8),
    _rule("srtp-downgrade", "high", "SRTP offered, plain RTP agreed", "RFC 4568 5; RFC 3264", SRTP,
          _agreed("The offer has SRTP ({offer}), the answer has none ({answer})."), symptoms=("security", "no-audio")),
    _rule("srtp-crypto-in-clear", "high", "SRTP keys sent in clear", "RFC 4568 8.3", "Use TLS on every hop, or DTLS-SRTP.", _crypto),
    _rule("srtp-suite-weak", "low", "Weak SRTP suite", "RFC 4568 6.2", "Prefer AES_CM_128_HMAC_SHA1_80 or AEAD_AES_256_GCM.", _suite),
    _rule("srtp-key-reuse", "medium", "SRTP key used twice", "RFC 4568 6.1", "Each direction of each call needs its own random key.", _key_reuse),
    _rule("dtls-fingerprint-missing", "high", "DTLS-SRTP without fingerprint or setup", "RFC 8842 5; RFC 5763",
          "Have the SDP carry a=fingerprint and a=setup. Asterisk: webrtc=yes sets both.",
          _with("{what} asks for DTLS-SRTP and lacks a=fingerprint or a=setup."), symptoms=("security", "no-audio")),
    _rule("dtls-setup-conflict", "high", "Both sides take the same DTLS role", "RFC 8842 5.3", "Answer actpass with active or passive.",
          _agreed("The a=setup values of offer and answer ({answer}) do not make one client and one server."), symptoms=("security", "no-audio")),
    _rule("tls-plain-on-tls-port", "high", "Clear SIP on a TLS port", "RFC 3261 26", "Set the transport to TLS at the sender, or use the clear port.",
          _with("{what} is clear SIP to {target}, which speaks TLS."), symptoms=("security", "call-setup-failing")),
    _rule("sips-broken", "medium", "sips: over a hop without TLS", "RFC 5630 3.1", "Use TLS on this hop, or sip: URIs.",
          _with("{what} uses a sips: URI over {transport}.")),
    _rule("signaling-cleartext", "low", "Signalling in clear over public addresses", "", "Use TLS between public hosts.",
          _with("SIP travels in clear over {transport} from {source} to {target}.")),
    _rule("auth-digest-md5", "low", "Only MD5 digest is offered", "RFC 8760", "Offer SHA-256 beside MD5.",
          _with("The {code} challenge of {source} offers MD5 only.")),
    _rule("auth-cleartext-basic", "critical", "Password in clear", "RFC 3261 22.1, 19.1.1", "Use digest authentication, take passwords out of URIs and headers, and change this one.", _basic),
    _rule("auth-nonce-reuse", "medium", "Credentials accepted twice", "RFC 7616 5.4",
          "Check the nonce count at the server: a replayed request gets through. FreeSWITCH: nonce-ttl; Kamailio: auth nonce_count.",
          _with("{what} was accepted with nonce, count and client nonce of an earlier request.")),
    _rule("auth-no-challenge", "high", "Registered without a challenge", "RFC 3261 22",
          "Challenge registrations from public addresses. Asterisk: auth of the endpoint; FreeSWITCH: auth-calls, accept-blind-auth=false; Kamailio: auth_check().",
          _with("{what} accepts a registration from a public address without authentication."), confidence=0.7),
    _rule("scanner-ua", "high", "Scanning tool", "", BLOCK, _scanner, group="source", confidence=0.95),
    _rule("scanner-pattern", "high", "One source tries many accounts", "", BLOCK,
          _with("{host} tried {code} or more different users and was refused {number} times."), group="source"),
    _rule("brute-force", "high", "Password guessing", "", BLOCK,
          _with("{host} failed authentication {number} times within five minutes."), group="source"),
    _rule("account-compromised", "critical", "Account taken over", "", "Block the source, change the account's password and look at its calls since.", _compromised,
          confidence=0.7),
    _rule("invite-flood", "high", "Flood of requests", "", "Limit the rate by source. Kamailio: pike, htable, ratelimit; FreeSWITCH: max-recv-requests-per-second.",
          _with("{host} sent {number} requests in one second.", severity=lambda hit: "critical" if hit.code else None), group="source"),
    _rule("toll-fraud-pattern", "critical", "Toll fraud pattern", "", "Block the source and the prefix, cap calls and cost by account, and check who owns the account.", _toll,
          group="source", confidence=0.75),
    _rule("wangiri-pattern", "medium", "Many very short rings", "", "Limit short calls by source.",
          _with("{host} cancelled {number} calls within three seconds of ringing."), group="source", confidence=0.7),
    _rule("refer-fraud", "high", "Stranger transfers a call abroad", "", "Allow REFER and redirection only from known peers, and not to international numbers.", _transfer,
          confidence=0.6),
    _rule("spoofed-invite", "medium", "Our own domain in From", "", "Challenge whoever uses the own domain. Kamailio: from_uri domain check before relaying.",
          _with("{what} claims {value} and was refused.", "From"), confidence=0.6),
    _rule("rtp-injection", "high", "Two sources of RTP to one port", "", "Latch strictly on the negotiated source, or use SRTP.",
          _stream("{ends} (SSRC {ssrc}, {number} packets) sends to a port that already receives {other}."), subject="stream", symptoms=("security", "poor-audio"),
          confidence=0.7),
    _rule("rtp-bleed", "high", "Media sent to an unknown source", "", "Update the relay and latch strictly (RTP bleed).",
          _stream("{ends} answers a source that no description announced ({other})."), subject="stream", confidence=0.7),
    _rule("internal-address-leak", "low", "Inner addresses shown outside", "", "Hide topology at the edge. Kamailio: topoh or topos.", _leak),
    _rule("sensitive-header-leak", "medium", "Asserted identity leaves the trust domain", "RFC 3325 7", "Strip P-Asserted-Identity at the edge when Privacy: id is set.",
          _with("{what} carries P-Asserted-Identity although Privacy asks for id.", "Privacy")),
    _rule("ua-vulnerable", "medium", "Product with known advisories", "", "Update the product.", _explain_vulnerable, subject="endpoint", group="source", select=_vulnerable,
          confidence=0.6),
    _rule("malformed-fuzz", "medium", "One source sends many broken messages", "RFC 4475", BLOCK,
          _with("{source} sends messages that break the grammar, such as {line}."), group="source", select=_fuzz, needs=("malformed-fuzz",)),
)  # fmt: skip
