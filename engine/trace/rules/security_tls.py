"""Security of TLS and DTLS: versions, cipher suites, certificates, handshakes that fail (`engine/trace/handshakes.py`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np

from engine.trace.finding import Evidence
from engine.trace.handshakes import (
    ALERTS,
    CBC_SHA1,
    EVENT_DTLS,
    EVENT_TLS,
    NULL_OR_EXPORT,
    RC4_OR_3DES,
    RSA_EXCHANGE,
    VERSIONS,
    Handshake,
    captured_at,
    handshakes,
    name_matches,
)  # fmt: skip
from engine.trace.rules.base import NO_HITS, NONE, Explanation, Hit, Hits, Rule, hits_of
from engine.trace.tables import Tables

EXPIRES_SOON = timedelta(days=14)
DTLS_LIMIT_NS = 10_000_000_000
EXPIRED_ALERT = 45
NAME_ALERTS = (42, 46, 48, 49)


def _select(test: Callable[[Tables, Handshake], bool]) -> Callable[[Tables], Hits]:
    """Handshakes that pass a test; `row` is the event, `value` the place in the list."""

    def select(tables: Tables) -> Hits:
        if not np.isin(tables.events.kind, (EVENT_DTLS, EVENT_TLS)).any():
            return NO_HITS
        chosen = [at for at, shake in enumerate(handshakes(tables)) if test(tables, shake)]
        return hits_of([NONE] * len(chosen), row=[handshakes(tables)[at].event for at in chosen], value=chosen)

    return select


def _tell(sentence: Callable[[Tables, Handshake], str], severity: Callable[[Handshake], str | None] = lambda shake: None
          ) -> Callable[[Tables, Hit], Explanation]:  # fmt: skip
    def explain(tables: Tables, hit: Hit) -> Explanation:
        shake = handshakes(tables)[hit.value]
        ends = f"{tables.address(shake.client)} -> {tables.address(shake.server)}"
        detail = sentence(tables, shake)
        packet = f"packet {int(tables.events.frame_number[shake.event])}"
        return Explanation(detail, [Evidence(summary=ends, time=shake.time_ns / 1e9, header="handshake", value=packet)], severity=severity(shake))

    return explain


def _server(tables: Tables, shake: Handshake) -> str:
    return tables.address(shake.server)


def _fatal(shake: Handshake) -> int:
    """Description of the first fatal alert, -1 when there is none."""
    return next((description for level, description in shake.alerts if level == 2), -1)


def _expired(tables: Tables, shake: Handshake) -> bool:
    now = captured_at(shake)
    return _fatal(shake) == EXPIRED_ALERT or any(c.not_after < now or c.not_before > now for c in shake.certificates)


def _soon(tables: Tables, shake: Handshake) -> bool:
    now = captured_at(shake)
    return any(now <= c.not_after < now + EXPIRES_SOON for c in shake.certificates)


def _wrong_name(tables: Tables, shake: Handshake) -> bool:
    if shake.dtls:
        return False
    if _fatal(shake) in NAME_ALERTS:
        return True
    if not shake.server_name or not shake.certificates:
        return False
    return not any(name_matches(name, shake.server_name) for name in shake.certificates[0].names)


def _self_signed(tables: Tables, shake: Handshake) -> bool:
    return not shake.dtls and (_fatal(shake) == 48 or any(c.self_signed for c in shake.certificates))


def _old(tables: Tables, shake: Handshake) -> bool:
    version = shake.version or shake.offered_version
    return version == 0xFEFF if shake.dtls else 0 < version < 0x0303


def _weak(tables: Tables, shake: Handshake) -> bool:
    return shake.server_hello_seen and shake.cipher in NULL_OR_EXPORT | RC4_OR_3DES | RSA_EXCHANGE | CBC_SHA1


def _failed(tables: Tables, shake: Handshake) -> bool:
    if shake.dtls or shake.application_seen:
        return False
    return _fatal(shake) >= 0 or (shake.hello_seen and not shake.server_hello_seen and _closed(tables, shake))


def _closed(tables: Tables, shake: Handshake) -> bool:
    e = tables.events
    ends = {shake.client, shake.server}
    kinds = (e.kind == 2) | (e.kind == 3)
    rows = np.flatnonzero(kinds & (e.time_ns >= shake.time_ns))[:1000]
    return any({int(e.source[row]), int(e.target[row])} == ends for row in rows.tolist())


def _mutual(tables: Tables, shake: Handshake) -> bool:
    return shake.certificate_requested and not shake.client_certificate and shake.complete


def _dtls_silent(tables: Tables) -> Hits:
    """Calls whose answer agreed on DTLS-SRTP and whose media ports never finish a handshake within 10 s."""
    c, lines = tables.calls, tables.media_lines
    if tables.no_time or not (len(tables.streams) or len(tables.events)):
        return hits_of([])
    calls = np.flatnonzero((c.answer_line != NONE) & (c.answer_row != NONE) & (c.offer_line != NONE))
    if not len(calls) or tables.no_time:
        return hits_of([])
    dtls = np.isin(lines.proto[c.answer_line[calls]], (5, 6)) & (lines.port[c.answer_line[calls]] != 0)
    whole = tables.last_time_ns - c.answer_ns[calls] > DTLS_LIMIT_NS
    media = c.stream_count[calls] == 0
    calls = calls[dtls & whole & media]
    if not len(calls) or not (len(tables.streams) or (tables.events.kind == EVENT_DTLS).any() or (tables.events.kind == 9).any()):
        return hits_of([])
    done = {shake.client for shake in handshakes(tables) if shake.dtls and shake.server_hello_seen and _fatal(shake) < 0 and shake.complete}
    done |= {shake.server for shake in handshakes(tables) if shake.dtls and shake.server_hello_seen and _fatal(shake) < 0 and shake.complete}
    bad = [call for call in calls.tolist() if not done & {int(lines.endpoint[c.answer_line[call]]), int(lines.endpoint[c.offer_line[call]])}]
    return hits_of(bad, row=c.answer_row[bad] if bad else [])


def _explain_silent(tables: Tables, hit: Hit) -> Explanation:
    lines, c = tables.media_lines, tables.calls
    ends = [tables.address(int(lines.endpoint[line])) for line in (c.offer_line[hit.call], c.answer_line[hit.call])]
    seen = [s for s in handshakes(tables) if s.dtls and {tables.address(s.client), tables.address(s.server)} & set(ends)]
    if not seen:
        how = "no ClientHello was seen"
    elif _fatal(seen[0]) >= 0:
        how = f"it ended in the alert {ALERTS.get(_fatal(seen[0]), _fatal(seen[0]))}"
    else:
        how = "it began and never finished"
    row = hit.row
    return Explanation(
        f"DTLS-SRTP was agreed between {ends[0]} and {ends[1]}, but there is no DTLS handshake: {how}.",
        [Evidence(message=row + 1, time=tables.time_s(row), summary=tables.summary(row), call_id=tables.call_id(hit.call))],
    )


def _fingerprints(tables: Tables, row: int) -> list[tuple[str, str]]:
    text = tables.text(row).decode("utf-8", "replace")
    found = []
    for line in text.splitlines():
        if line.lower().startswith("a=fingerprint:"):
            name, _, value = line.split(":", 1)[1].strip().partition(" ")
            found.append((name.lower().replace("-", ""), value.replace(":", "").lower().strip()))
    return found


def _mismatched(tables: Tables) -> Hits:
    """DTLS certificates that no fingerprint of the call's descriptions names (DTLS 1.2 shows them in clear)."""
    if not len(tables.events) or not (tables.events.kind == EVENT_DTLS).any():
        return hits_of([])
    lines, announced = tables.media_lines, tables.endpoints.announced
    calls, rows, places = [], [], []
    for at, shake in enumerate(handshakes(tables)):
        line = int(announced[shake.server]) if shake.dtls and shake.certificates else NONE
        if line == NONE:
            continue
        message = int(lines.message[line])
        stated = _fingerprints(tables, message)
        if stated and not any(shake.certificates[0].fingerprints.get(name) == value for name, value in stated):
            calls.append(int(lines.call[line]))
            rows.append(message)
            places.append(at)
    return hits_of(calls, row=rows, value=places)


def _explain_mismatch(tables: Tables, hit: Hit) -> Explanation:
    name, stated = _fingerprints(tables, hit.row)[0]
    shown = handshakes(tables)[hit.value].certificates[0].fingerprints.get(name, "")
    return Explanation(
        f"The DTLS certificate has {name} {shown[:16]}..., the SDP announces {stated[:16]}...: the media ends elsewhere than the signalling says.",
        [Evidence(message=hit.row + 1, summary=tables.summary(hit.row), header="a=fingerprint", value=f"{name} {stated[:32]}...")],
    )


def _rule(id: str, severity: str, title: str, rfc: str, recommendation: str, test: Callable[[Tables, Handshake], bool],
          sentence: Callable[[Tables, Handshake], str], step: Callable[[Handshake], str | None] = lambda shake: None) -> Rule:  # fmt: skip
    return Rule(id=id, severity=severity, category="security", title=title, rfc=rfc, recommendation=recommendation, subject="event",
                explain=_tell(sentence, step), select=_select(test), over="events", confidence=0.95, escalates=False,
                symptoms=("security", "registration-failing", "call-setup-failing"))  # fmt: skip


def _certificate_text(tables: Tables, shake: Handshake) -> str:
    if not shake.certificates:
        return f"The peer of {_server(tables, shake)} ended the handshake with certificate_expired."
    c = shake.certificates[0]
    return (f"{_server(tables, shake)} shows a certificate for {', '.join(c.names[:3]) or c.subject} that is valid from "
            f"{c.not_before:%Y-%m-%d} to {c.not_after:%Y-%m-%d}; the capture is of {captured_at(shake):%Y-%m-%d}.")  # fmt: skip


def _name_text(tables: Tables, shake: Handshake) -> str:
    if not shake.certificates:
        return f"The handshake with {_server(tables, shake)} ended with {ALERTS.get(_fatal(shake), 'an alert')} about its certificate."
    return f"{_server(tables, shake)} was asked for {shake.server_name} and shows a certificate for {', '.join(shake.certificates[0].names[:4])}."


def _failed_text(tables: Tables, shake: Handshake) -> str:
    why = f"the alert {ALERTS.get(_fatal(shake), _fatal(shake))}" if _fatal(shake) >= 0 else "the connection closing before a ServerHello"
    return f"The TLS handshake of {tables.address(shake.client)} with {_server(tables, shake)} ended in {why}."


RULES: tuple[Rule, ...] = (
    Rule(id="dtls-no-handshake", severity="critical", category="security", title="DTLS handshake missing or unfinished", rfc="RFC 5764",
         recommendation="Let UDP through between the media addresses, finish ICE first, and check that both sides agree who is the client (a=setup).",
         explain=_explain_silent, select=_dtls_silent, over="events", confidence=0.85, symptoms=("no-audio", "one-way-audio", "security")),
    Rule(id="dtls-fingerprint-mismatch", severity="critical", category="security", title="DTLS certificate is not the announced one",
         rfc="RFC 5763 5", recommendation="An element between the two ends media without rewriting a=fingerprint, or somebody is in the middle.",
         explain=_explain_mismatch, select=_mismatched, over="events", confidence=0.9, symptoms=("no-audio", "security")),
    _rule("tls-cert-expired", "critical", "TLS certificate expired", "RFC 5280; RFC 5246 7.2.2",
          "Renew the certificate and reload the service; automate renewal.", _expired, _certificate_text),
    _rule("tls-cert-soon", "medium", "TLS certificate expires soon", "RFC 5280", "Renew the certificate before it lapses.", _soon, _certificate_text),
    _rule("tls-cert-name", "high", "TLS certificate does not fit the name", "RFC 5922 7.1", "Issue a certificate whose names include the SIP domain.",
          _wrong_name, _name_text),
    _rule("tls-cert-selfsigned", "medium", "Self-signed TLS certificate", "RFC 5922", "Use a certificate of an authority that the peer trusts.", _self_signed,
          lambda tables, shake: f"{_server(tables, shake)} shows a self-signed or unknown certificate"
          + (f" ({shake.certificates[0].subject})." if shake.certificates else ".")),
    _rule("tls-old-version", "medium", "Old TLS version", "RFC 8996", "Require TLS 1.2 or later. FreeSWITCH: tls-version; Kamailio: tls_method; Asterisk: method of the transport.",
          _old, lambda tables, shake: f"{tables.address(shake.client)} and {_server(tables, shake)} "
          + (f"negotiated {VERSIONS.get(shake.version, hex(shake.version))}." if shake.version else f"were offered no more than {VERSIONS.get(shake.offered_version, hex(shake.offered_version))}."),
          lambda shake: "high" if not shake.version else None),
    _rule("tls-weak-cipher", "medium", "Weak TLS cipher suite", "RFC 9325", "Allow only suites with forward secrecy and AEAD. FreeSWITCH: tls-ciphers.", _weak,
          lambda tables, shake: f"{_server(tables, shake)} chose cipher suite 0x{shake.cipher:04X}, which lacks forward secrecy or strong encryption."),
    _rule("tls-handshake-failed", "critical", "TLS handshake failed", "RFC 8446 6", "Read the alert: it names certificate, version or cipher as the cause.", _failed, _failed_text),
    _rule("tls-mutual-required", "info", "Server asks for a client certificate", "", "", _mutual,
          lambda tables, shake: f"{_server(tables, shake)} asked for a client certificate and {tables.address(shake.client)} had none."),
)  # fmt: skip
