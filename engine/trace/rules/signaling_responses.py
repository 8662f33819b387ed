"""Signaling: failures by response code, release causes, overload and redirection.

The conditions are sighted by `engine/_native/c/conditions_signaling_failures.c` and `_trace.c`; the texts
are here, the
meanings of codes in `code_tables`.
"""

from __future__ import annotations

from engine.trace.finding import SEVERITIES, Evidence
from engine.trace.rules.base import Explanation, Hit, Rule
from engine.trace.rules.code_tables import cause, response_code
from engine.trace.rules.signaling_evidence import (
    cite,
    codes_between,
    duration,
    invites_to,
    is_message,
    says,
    sender,
)
from engine.trace.tables import METHOD, Tables


def _tally(counts: dict[int, int]) -> str:
    return ", ".join(f"{code} x {count:,}" for code, count in list(counts.items())[:6])


def _failure(condition: str, tables: Tables, hit: Hit) -> tuple[str, dict[int, int], str]:
    """Sentence, counts by code between the two hosts, and the worst severity of these codes."""
    code = response_code(hit.code)
    said = [f'{sender(tables, hit.row)} answered "{tables.start_line(hit.row)}"']
    if is_message(tables, hit.other):
        number = tables.user(hit.other) if tables.method(hit.other) == "INVITE" else ""
        said.append(f" to {tables.method(hit.other) or 'a request'}{f' for {number}' if number else ''}")
    said.append(f": {code.meaning}.")
    for header in ("Warning", "Retry-After", "Reason"):
        value = tables.header(hit.row, header)
        if value:
            said.append(f" {header}: {value}.")
    counts = codes_between(tables, condition, hit.row)
    if len(counts) > 1:
        said.append(f" Between these hosts: {_tally(counts)}.")
    severities = [response_code(status).severity for status in counts or {hit.code: 1}]
    return "".join(said), counts, min(severities, key=SEVERITIES.index)


def _cited(tables: Tables, hit: Hit) -> list[Evidence]:
    return [cite(tables, row) for row in (hit.other, hit.row) if is_message(tables, row)]


def _response_4xx(tables: Tables, hit: Hit) -> Explanation:
    detail, _, severity = _failure("response-4xx", tables, hit)
    code = response_code(hit.code)
    if hit.value != METHOD["INVITE"] and severity in ("critical", "high"):
        severity = "medium"  # the table speaks of calls
    return Explanation(
        detail,
        _cited(tables, hit),
        severity=severity,
        title=f"{hit.code} {code.phrase}".strip(),
        recommendation=code.advice or RETRY,
    )


def _response_5xx(tables: Tables, hit: Hit) -> Explanation:
    detail, counts, _ = _failure("response-5xx", tables, hit)
    code = response_code(hit.code)
    peer = tables.peers(hit.row)[0]
    failed, tried = sum(counts.values()), invites_to(tables, peer)
    many = tried >= 5 and failed >= 0.2 * tried
    share = f" {failed:,} of {tried:,} INVITEs to this host failed so." if tried > 1 else ""
    return Explanation(
        detail + share,
        _cited(tables, hit),
        severity="critical" if many else None,
        title=f"{hit.code} {code.phrase}".strip(),
        recommendation=code.advice,
    )


def _response_6xx(tables: Tables, hit: Hit) -> Explanation:
    detail, _, _ = _failure("response-6xx", tables, hit)
    code = response_code(hit.code)
    advice = f"{code.advice} " if code.advice else ""
    return Explanation(
        detail,
        _cited(tables, hit),
        title=f"{hit.code} {code.phrase}".strip(),
        recommendation=f"{advice}A 6xx is global: do not try other branches or routes.",
    )


def _overload(tables: Tables, hit: Hit) -> Explanation:
    host = sender(tables, hit.row)
    if hit.code == 1:
        return Explanation(
            f'{host} answered "{tables.start_line(hit.row)}" with Retry-After'
            f" {tables.header(hit.row, 'Retry-After')}: it asks"
            f" to be left alone for {hit.value} s.",
            [cite(tables, hit.row, "Retry-After")],
        )
    return Explanation(
        f'{host} answered 503 at least {hit.value} times within 60 s, from "{tables.start_line(hit.row)}"'
        f" on.",
        [cite(tables, hit.row), cite(tables, hit.other)],
    )


def _redirect(tables: Tables, hit: Hit) -> Explanation:
    contact = tables.header(hit.row, "Contact") or "(no Contact)"
    said = f'{sender(tables, hit.row)} answered "{tables.start_line(hit.row)}" and points to {contact}.'
    if hit.code:
        said += " A Contact of these redirections had been tried before: they lead in a circle."
    elif hit.value > 1:
        said += f" The call was redirected {hit.value} times."
    severity = "high" if hit.code else "low" if hit.value > 3 else None
    return Explanation(said, [cite(tables, hit.row, "Contact", contact)], severity=severity)


def _abnormal_cause(tables: Tables, hit: Hit) -> Explanation:
    known = cause(hit.code)
    reason = next(
        (v for v in tables.headers(hit.row, "Reason") if "q.850" in v.lower()),
        tables.header(hit.row, "Reason"),
    )
    counts = codes_between(tables, "q850-abnormal", hit.row)
    others = f" Between these hosts: {_tally(counts)}." if len(counts) > 1 else ""
    worst = min((cause(value).severity for value in counts or {hit.code: 1}), key=SEVERITIES.index)
    return Explanation(
        f"{tables.summary(hit.row)} says cause {hit.code}, {known.meaning}.{others}",
        [cite(tables, hit.row, "Reason", reason)],
        severity=worst,
        title=f"Release cause {hit.code}: {known.meaning}",
    )


def _retry_ignored(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"{sender(tables, hit.row)} sent a new INVITE {duration(hit.value)} after a 503 with"
        f" Retry-After {hit.code} s from {tables.endpoint(int(tables.messages.target[hit.row]))}.",
        [cite(tables, hit.other, "Retry-After"), cite(tables, hit.row)],
    )


RETRY = "Read the reason phrase and the headers of the answer, and the peer's log at this time."
BACK_OFF = (
    "Send this peer less: honour Retry-After, use another route first. Kamailio `dispatcher` (mark the"
    " gateway inactive"
    " on 503), `ratelimit`, `pipelimit`; FreeSWITCH `max-sessions`, `sessions-per-second`; Asterisk"
    " `maxcalls`, `maxload`."
)

RULES: tuple[Rule, ...] = (
    Rule(
        id="response-4xx",
        severity="medium",
        category="signaling",
        title="Request failed",
        rfc="RFC 3261 21.4",
        recommendation=RETRY,
        explain=_response_4xx,
        confidence=0.95,
        escalates=False,
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="response-5xx",
        severity="high",
        category="signaling",
        title="Server failure",
        rfc="RFC 3261 21.5",
        recommendation=RETRY,
        explain=_response_5xx,
        confidence=0.95,
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="response-6xx",
        severity="medium",
        category="signaling",
        title="Global failure",
        rfc="RFC 3261 21.6",
        recommendation=RETRY,
        explain=_response_6xx,
        confidence=0.95,
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="overload-503",
        severity="critical",
        category="signaling",
        title="Peer is overloaded or out of service",
        rfc="RFC 3261 21.5.4, RFC 7339",
        recommendation=BACK_OFF,
        explain=_overload,
        symptoms=("call-setup-failing", "slow-setup"),
    ),
    Rule(
        id="retry-ignored",
        severity="medium",
        category="signaling",
        title="Retry-After not honoured",
        rfc="RFC 3261 20.33",
        recommendation=BACK_OFF,
        explain=_retry_ignored,
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="redirect",
        severity="info",
        category="signaling",
        title="Call redirected",
        rfc="RFC 3261 8.1.3.4",
        recommendation="Let the caller's proxy follow the Contacts (Kamailio `uac_redirect`"
        " `get_redirects()`, Asterisk"
        " `redirect_method`), and look for forwarding that points back.",
        explain=_redirect,
        escalates=False,
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="q850-abnormal",
        severity="medium",
        category="signaling",
        title="Abnormal release cause",
        rfc="RFC 3326, ITU-T Q.850",
        recommendation="Look the cause up at the gateway that wrote it: below 32 it is about the number or"
        " the user, 34 to 47"
        " about capacity, above 79 about protocol. Asterisk `suppress_q850_reason_headers` hides it.",
        explain=_abnormal_cause,
        symptoms=("call-setup-failing", "calls-dropping"),
    ),
    Rule(
        id="warning-header",
        severity="info",
        category="signaling",
        title="Warning about the session description",
        rfc="RFC 3261 20.43",
        recommendation="The text names what the peer could not use; change that part of the offer.",
        explain=says(
            '{from} warns in "{line}": {value}.',
            "Warning",
            severity=lambda hit: "medium" if hit.value in (488, 606) else None,
        ),
        symptoms=("call-setup-failing", "no-audio"),
    ),
)
