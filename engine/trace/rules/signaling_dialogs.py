"""Signaling: ACK, dropped calls, session timers, CSeq and tags, 481, transfers and subscriptions.

The conditions are sighted by `engine/_native/c/conditions_signaling_dialog.c`, `_failures.c` and
`_events.c`; the
texts are here.
"""

from __future__ import annotations

import numpy as np

from engine.trace.rules.base import NO_HITS, NONE, Explanation, Hit, Hits, Rule, hits_of
from engine.trace.rules.code_tables import INTERVALS, interval_suspects
from engine.trace.rules.signaling_evidence import cite, duration, is_message, says, sender
from engine.trace.tables import Tables

REACH = (
    "Make the Contact and Route of the 2xx reachable from the caller. Asterisk `external_signaling_address`,"
    " `rewrite_contact=yes`; FreeSWITCH `ext-sip-ip`; Kamailio `record_route()`, `loose_route()`,"
    " `handle_ruri_alias()`."
)
FIXED_SECONDS = tuple(seconds for _, seconds, _ in INTERVALS if seconds >= 30)


def _missing_ack(tables: Tables, hit: Hit) -> Explanation:
    contact = tables.header(hit.row, "Contact") or "(no Contact)"
    route = tables.header(hit.row, "Record-Route")
    by = f" by way of {route}" if route else ""
    return Explanation(
        f'{sender(tables, hit.row)} sent "{tables.start_line(hit.row)}" {hit.code} times over'
        f" {duration(hit.value)} and no ACK with CSeq {int(tables.messages.cseq[hit.row])} reached it. The"
        f" ACK is to go to"
        f" {contact}{by}.",
        [cite(tables, hit.row, "Contact"), cite(tables, hit.other)],
    )


def _ack_misrouted(tables: Tables, hit: Hit) -> Explanation:
    m = tables.messages
    if hit.code == 2:
        cseq, wanted = int(m.cseq[hit.row]), int(m.cseq[hit.other])
        return Explanation(
            f"The ACK has CSeq {cseq}, but the INVITE that was answered had {wanted}: the 2xx stays"
            f" unacknowledged.",
            [cite(tables, hit.other, "CSeq"), cite(tables, hit.row, "CSeq")],
        )
    if hit.code == 3:
        return Explanation(
            f'The ACK\'s To is "{tables.header(hit.row, "To")}", that of the 2xx'
            f' "{tables.header(hit.other, "To")}":'
            " another tag is another dialog.",
            [cite(tables, hit.other, "To"), cite(tables, hit.row, "To")],
        )
    return Explanation(
        f"The ACK went to {tables.endpoint(int(m.target[hit.row]))}, but the 2xx came from"
        f" {tables.endpoint(int(m.source[hit.other]))} (Contact"
        f" {tables.header(hit.other, 'Contact') or '(absent)'}), which"
        f" repeated it: {hit.value} sends.",
        [cite(tables, hit.other, "Contact"), cite(tables, hit.row)],
    )


def _rtp_timeout(tables: Tables, hit: Hit) -> Explanation:
    if hit.code == 4:
        reason = tables.header(hit.row, "Reason")
        return Explanation(
            f'{sender(tables, hit.row)} released the call with Reason "{reason}".',
            [cite(tables, hit.row, "Reason", reason)],
            confidence=0.95,
        )
    way = {1: "caller to callee", 2: "callee to caller"}.get(hit.code, "one direction")
    cause = int(tables.messages.q850_cause[hit.row])
    said = f" with Q.850 cause {cause}" if cause >= 0 else ""
    return Explanation(
        f"The last RTP packet {way} came {duration(hit.value)} before the BYE of"
        f" {sender(tables, hit.row)}{said}.",
        [cite(tables, hit.row, "Reason" if cause >= 0 else "")],
        confidence=0.9 if cause in (31, 102) else None,
    )


def _refresh_missing(tables: Tables, hit: Hit) -> Explanation:
    value = tables.header(hit.row, "Session-Expires")
    who = "caller (uac)" if hit.code == 1 else "called side (uas)"
    return Explanation(
        f'"{tables.start_line(hit.row)}" agreed on Session-Expires {value}: the {who} was to refresh after'
        f" half of that, but"
        f" no UPDATE or re-INVITE came in {duration(hit.value)}.",
        [cite(tables, hit.row, "Session-Expires", value)]
        + ([cite(tables, hit.other)] if is_message(tables, hit.other) else []),
    )


def _too_small(tables: Tables, hit: Hit) -> Explanation:
    header = "Session-Expires" if hit.code == 1 else "Min-SE"
    return Explanation(
        f"{header} is {hit.value} s in {tables.summary(hit.row)}; the smallest value allowed is 90 s.",
        [cite(tables, hit.row, header)],
    )


def _refresher(tables: Tables, hit: Hit) -> Explanation:
    if hit.code == 1:
        return Explanation(
            f"The 2xx of {sender(tables, hit.row)} sets Session-Expires {hit.value} s without"
            " saying who refreshes.",
            [cite(tables, hit.row, "Session-Expires")],
        )
    return Explanation(
        f"Both {sender(tables, hit.other)} and"
        f" {sender(tables, hit.row)} refresh the session (UPDATE with Session-Expires).",
        [cite(tables, hit.other, "Session-Expires"), cite(tables, hit.row, "Session-Expires")],
    )


def _tag_changed(tables: Tables, hit: Hit) -> Explanation:
    if hit.code == 1:
        return Explanation(
            f'The early dialog had To "{tables.header(hit.other, "To")}", the 2xx has'
            f' "{tables.header(hit.row, "To")}", and'
            " nothing shows that the call forked.",
            [cite(tables, hit.other, "To"), cite(tables, hit.row, "To")],
            severity="medium",
            confidence=0.5,
        )
    if hit.code == 3:
        return Explanation(
            f"The request's To was \"{tables.header(hit.other, 'To')}\", its answer's is"
            f' "{tables.header(hit.row, "To")}".',
            [cite(tables, hit.other, "To"), cite(tables, hit.row, "To")],
        )
    evidence = [cite(tables, hit.row, "From"), cite(tables, hit.row, "To")]
    if is_message(tables, hit.other):
        evidence.insert(0, cite(tables, hit.other, "To"))
    return Explanation(
        f'{tables.summary(hit.row)} has From "{tables.header(hit.row, "From")}" and To'
        f' "{tables.header(hit.row, "To")}",'
        " which are not the tags that the dialog was made with.",
        evidence,
    )


def _refer_failed(tables: Tables, hit: Hit) -> Explanation:
    call = int(tables.messages.call[hit.row])
    refer = next(
        (
            row
            for row in tables.messages_of(call).tolist()
            if row <= hit.row and not tables.messages.status[row] and tables.method(row) == "REFER"
        ),
        NONE,
    )
    target = tables.header(refer, "Refer-To") if refer != NONE else "(REFER not seen)"
    evidence = [cite(tables, refer, "Refer-To", target)] if refer != NONE else []
    if hit.value:
        fragment = (
            tables.text(hit.row).rpartition(b"SIP/2.0 ")[2].split(b"\r", 1)[0].decode("utf-8", "replace")
        )
        return Explanation(
            f"The transfer to {target} failed with {fragment or hit.code}.",
            [*evidence, cite(tables, hit.row, "sipfrag", f"SIP/2.0 {fragment}")],
        )
    return Explanation(
        f'The REFER to {target} was refused with "{tables.start_line(hit.row)}".',
        [*evidence, cite(tables, hit.row)],
    )


def _subscription_lost(tables: Tables, hit: Hit) -> Explanation:
    event = tables.header(hit.other if is_message(tables, hit.other) else hit.row, "Event") or "(no Event)"
    if hit.code:
        return Explanation(
            f"NOTIFY for {event} was answered {hit.code} by {sender(tables, hit.row)}: that"
            " end no longer knows the subscription.",
            [cite(tables, row) for row in (hit.other, hit.row) if is_message(tables, row)],
        )
    return Explanation(
        f"The subscription to {event} was granted for {hit.value} s and not refreshed in that time.",
        [cite(tables, row, "Expires") for row in (hit.other, hit.row) if is_message(tables, row)],
    )


def _ext_required(tables: Tables, hit: Hit) -> Explanation:
    wanted = tables.header(hit.row, "Require") or "(nothing named)"
    has = tables.header(hit.other, "Supported") if is_message(tables, hit.other) else ""
    return Explanation(
        f"{sender(tables, hit.row)} insists on {wanted}; the request supports {has or 'nothing'}.",
        [
            cite(tables, row, name)
            for row, name in ((hit.other, "Supported"), (hit.row, "Require"))
            if is_message(tables, row)
        ],
    )


def _fixed_intervals(tables: Tables) -> Hits:
    """Answered calls that end within a second of one usual limit, when that is where many end."""
    calls = tables.calls
    if tables.no_time or len(tables.invite_calls) < 20:
        return NO_HITS
    rows = np.flatnonzero(
        (calls.kind == 1) & (calls.answer_row != NONE) & (calls.talk_ms >= 0) & (calls.bye_row != NONE)
    )
    if len(rows) < 20:
        return NO_HITS
    talk = calls.talk_ms[rows]
    chosen: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    values: list[int] = []
    for seconds in FIXED_SECONDS:
        near = rows[np.abs(talk - seconds * 1000) <= 1000]
        if len(near) >= 0.3 * len(rows):
            chosen.append(near)
            values += [seconds] * len(near)
    if not chosen:
        return NO_HITS
    found = np.concatenate(chosen)
    return hits_of(found, calls.bye_row[found], calls.answer_row[found], None, values)


def _fixed_interval(tables: Tables, hit: Hit) -> Explanation:
    calls = tables.calls
    released = (calls.kind == 1) & (calls.answer_row != NONE) & (calls.talk_ms >= 0) & (calls.bye_row != NONE)
    total = int(np.count_nonzero(released))
    near = int(np.count_nonzero(released & (np.abs(calls.talk_ms - hit.value * 1000) <= 1000)))
    return Explanation(
        f"{near:,} of {total:,} released calls end within 1 s of {hit.value:,} s. First suspects:"
        f" {interval_suspects(hit.value)}.",
        [cite(tables, hit.other), cite(tables, hit.row)],
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="missing-ack",
        severity="critical",
        category="signaling",
        title="2xx never acknowledged",
        rfc="RFC 3261 13.3.1.4",
        recommendation=REACH,
        explain=_missing_ack,
        confidence=0.95,
        symptoms=("calls-dropping", "one-way-audio", "no-audio"),
    ),
    Rule(
        id="ack-misrouted",
        severity="high",
        category="signaling",
        title="ACK goes astray",
        rfc="RFC 3261 12.2.1.1, 13.2.2.4",
        recommendation="The ACK must follow the route set and Contact of the 2xx, with the INVITE's CSeq"
        " number and the"
        " 2xx's To tag. Correct the caller's route-set handling, or the strict router or SIP ALG in between.",
        explain=_ack_misrouted,
        symptoms=("calls-dropping",),
    ),
    Rule(
        id="drop-at-32s",
        severity="critical",
        category="signaling",
        title="Call drops about 32 s after the answer",
        rfc="RFC 3261 13.3.1.4",
        recommendation=REACH + " Switch off SIP ALG in routers.",
        explain=says(
            'The call ended {lasting} after "{other_line}", which nobody acknowledged at {other_from}:'
            " 64*T1 is 32 s."
        ),
        confidence=0.95,
        symptoms=("calls-dropping",),
    ),
    Rule(
        id="drop-fixed-interval",
        severity="high",
        category="signaling",
        title="Many calls end after the same time",
        rfc="RFC 4028",
        recommendation="A timer ends these calls, not people. Look up the interval: session timers (Asterisk"
        " `timers_sess_expires`, FreeSWITCH `session-timeout`), RTP timeouts (`rtp_timeout`,"
        " `rtp-timeout-sec`), NAT and"
        " firewall UDP timeouts, maximum call lengths.",
        explain=_fixed_interval,
        select=_fixed_intervals,
        escalates=False,
        symptoms=("calls-dropping",),
    ),
    Rule(
        id="drop-30s-rtp-timeout",
        severity="high",
        category="signaling",
        title="Released because media stopped",
        rfc="RFC 3326",
        recommendation="Find out why RTP stopped: NAT, hold without media, silence suppression, or a path"
        " that broke."
        " Asterisk `rtp_timeout`, `rtp_timeout_hold`, `rtp_keepalive`; FreeSWITCH `media_timeout`,"
        " `rtp-timeout-sec`.",
        explain=_rtp_timeout,
        confidence=0.7,
        symptoms=("calls-dropping", "one-way-audio", "no-audio"),
    ),
    Rule(
        id="drop-at-session-timer",
        severity="high",
        category="signaling",
        title="Released by the session timer",
        rfc="RFC 4028 10",
        recommendation="Nobody refreshed the session. Asterisk `timers`, `timers_sess_expires`; FreeSWITCH"
        " `enable-timer`,"
        " `session-timeout`; Kamailio `sst`. Check that UPDATE and re-INVITE get through both ways.",
        explain=says(
            "The BYE of {from} came {lasting} after the session was last set to Session-Expires {code} s,"
            " with no"
            " refresh between.",
            "Reason",
            "Session-Expires",
        ),
        symptoms=("calls-dropping",),
    ),
    Rule(
        id="session-timer-422",
        severity="medium",
        category="signaling",
        title="Session interval too small, and not raised",
        rfc="RFC 4028 6, 7.3",
        recommendation="Retry with Session-Expires of at least the 422's Min-SE, or set it so from the"
        " start (Asterisk"
        " `timers_sess_expires`, FreeSWITCH `session-timeout`, Kamailio `sst` `min_se`).",
        explain=says(
            "{from} answered 422 with Min-SE {value}; the request asked for Session-Expires {other_value}"
            " and no retry"
            " with a larger one followed.",
            "Min-SE",
            "Session-Expires",
            severity=lambda hit: None if hit.code else "high",
        ),
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="session-timer-refresh-missing",
        severity="medium",
        category="signaling",
        title="Session never refreshed",
        rfc="RFC 4028 7.2, 10",
        recommendation="The refresher does not do its part, or the roles were confused by a B2BUA. Allow"
        " UPDATE, and set the"
        " refresher explicitly (Asterisk `timers=always`, FreeSWITCH `enable-timer`).",
        explain=_refresh_missing,
        symptoms=("calls-dropping",),
    ),
    Rule(
        id="session-expires-too-small",
        severity="low",
        category="signaling",
        title="Session timer below 90 s",
        rfc="RFC 4028 4, 5",
        recommendation="Use at least 90 s, usually 1,800 (Asterisk `timers_min_se`, `timers_sess_expires`;"
        " FreeSWITCH"
        " `minimum-session-expires`).",
        explain=_too_small,
        symptoms=("calls-dropping",),
    ),
    Rule(
        id="session-refresher-conflict",
        severity="low",
        category="signaling",
        title="Unclear who refreshes the session",
        rfc="RFC 4028 9",
        recommendation="The 2xx must name the refresher; set it explicitly at the answering side.",
        explain=_refresher,
        symptoms=("calls-dropping",),
    ),
    Rule(
        id="bye-481",
        severity="medium",
        category="signaling",
        title="BYE for a call that the peer no longer has",
        rfc="RFC 3261 15.1.2",
        recommendation="The peer lost the dialog: look for a restart, a failover without state, or changed"
        " tags.",
        explain=says('{from} answered the BYE with "{line}".'),
        symptoms=("calls-dropping",),
    ),
    Rule(
        id="in-dialog-481",
        severity="high",
        category="signaling",
        title="The peer lost the dialog during the call",
        rfc="RFC 3261 12.2.2",
        recommendation="State was lost or the request reached another node behind a balancer: keep a dialog"
        " on its node"
        " (Kamailio `dispatcher` by Call-ID and `record_route()`), and share or persist dialogs over"
        " failover.",
        explain=says('{from} answered {other_what} inside the running call with "{line}".', "", "To"),
        symptoms=("calls-dropping", "hold", "transfer"),
    ),
    Rule(
        id="glare-491",
        severity="low",
        category="signaling",
        title="Both ends changed the session at once",
        rfc="RFC 3261 14.1, 14.2",
        recommendation="The owner of the Call-ID tries again after 2.1 to 4 s, the other end after 0 to 2"
        " s. If it repeats,"
        " both sides use the same delay: one is not RFC 3261.",
        explain=says(
            lambda hit: (
                '{count} times "{line}" in this dialog'
                + ("; no new attempt followed within 4 s." if hit.code else ".")
            ),
            severity=lambda hit: "medium" if hit.value >= 3 or hit.code else None,
        ),
        symptoms=("hold", "transfer"),
    ),
    Rule(
        id="reinvite-500-pending",
        severity="low",
        category="signaling",
        title="re-INVITE came while another was pending",
        rfc="RFC 3261 14.2",
        recommendation="Wait for the running offer and answer before the next re-INVITE.",
        explain=says('{from} answered a re-INVITE with "{line}" and Retry-After {value}.', "Retry-After"),
    ),
    Rule(
        id="cseq-regression",
        severity="high",
        category="signaling",
        title="CSeq does not grow",
        rfc="RFC 3261 12.2.2",
        recommendation="The sender lost its dialog state (restart, failover) or a B2BUA mixes legs; the"
        " peer will answer 500.",
        explain=says(
            "{from} sent CSeq {value} after {other_value} in the same direction of the dialog.",
            "CSeq",
            "CSeq",
        ),
        symptoms=("calls-dropping", "hold"),
    ),
    Rule(
        id="cseq-gap",
        severity="info",
        category="signaling",
        title="CSeq jumps",
        rfc="RFC 3261 12.2.1.1",
        recommendation="Allowed, but requests may be missing from the trace.",
        explain=says(
            'CSeq jumps by {count}, from "{other_value}" to "{value}".',
            "CSeq",
            "CSeq",
            severity=lambda hit: "medium" if hit.value > 1000 else None,
        ),
        escalates=False,
    ),
    Rule(
        id="cseq-method-mismatch",
        severity="high",
        category="signaling",
        title="CSeq names another method than the request",
        rfc="RFC 3261 8.1.1.5",
        recommendation="A broken user agent or middlebox writes such requests; peers answer 400 or drop"
        " them.",
        explain=says('"{line}" has CSeq "{value}".', "CSeq"),
        confidence=1.0,
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="to-tag-missing",
        severity="high",
        category="signaling",
        title="Response without To tag",
        rfc="RFC 3261 8.2.6.2",
        recommendation="Every response but 100 carries a To tag, or no dialog can be made. Correct the"
        " answering product.",
        explain=says('"{line}" of {from} has To "{value}".', "To"),
        confidence=1.0,
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="tag-changed",
        severity="high",
        category="signaling",
        title="Dialog tag changes",
        rfc="RFC 3261 12",
        recommendation="An element between the ends mixes its two legs (B2BUA leak), or an end lost its"
        " state. Requests with"
        " foreign tags are answered 481.",
        explain=_tag_changed,
        confidence=0.85,
        symptoms=("calls-dropping", "call-setup-failing"),
    ),
    Rule(
        id="cancel-no-match-481",
        severity="low",
        category="signaling",
        title="CANCEL matched no INVITE",
        rfc="RFC 3261 9.2",
        recommendation="Branch, Via or Request-URI of the CANCEL differ from its INVITE's: look for an ALG"
        " or proxy that"
        " rewrites one of them. The phone keeps ringing.",
        explain=says('{from} answered the CANCEL with "{line}".', "", "Via"),
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="ext-required-421",
        severity="medium",
        category="signaling",
        title="A required extension is not supported",
        rfc="RFC 3261 21.4.16",
        recommendation="Put the named option tag into Supported (Asterisk `100rel`, `timers`; FreeSWITCH"
        " `enable-100rel`,"
        " `enable-timer`), or stop requiring it at the peer.",
        explain=_ext_required,
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="refer-failed",
        severity="medium",
        category="signaling",
        title="Transfer failed",
        rfc="RFC 3515 2.4.4",
        recommendation="Read the target and its final code; check that the transferee may call the target's"
        " number form.",
        explain=_refer_failed,
        symptoms=("transfer",),
    ),
    Rule(
        id="refer-no-notify",
        severity="medium",
        category="signaling",
        title="Transfer accepted, outcome never told",
        rfc="RFC 3515 2.4.4, RFC 4488",
        recommendation="The transferee must report with NOTIFY (Event: refer), or both agree on Refer-Sub:"
        " false. The"
        " transferor's leg hangs until a timer ends it.",
        explain=says(
            "{to} accepted the REFER ({other_line}) and sent no NOTIFY in the {lasting} after it.", "Refer-To"
        ),
        symptoms=("transfer",),
    ),
    Rule(
        id="refer-no-bye",
        severity="low",
        category="signaling",
        title="Transfer succeeded, old leg stays",
        rfc="RFC 5589 6.1",
        recommendation="The transferor should send BYE when the NOTIFY reports success; otherwise the old"
        " leg stays up.",
        explain=says("{from} reported the transfer's success, and no BYE followed in {lasting}."),
        symptoms=("transfer",),
    ),
    Rule(
        id="replaces-481",
        severity="medium",
        category="signaling",
        title="Replaces names a dialog that is not there",
        rfc="RFC 3891 3",
        recommendation="The tags in Replaces are swapped, the dialog is over, or another node holds it.",
        explain=says(
            '{from} answered the INVITE with Replaces "{other_value}" with "{line}".', "", "Replaces"
        ),
        symptoms=("transfer",),
    ),
    Rule(
        id="subscribe-489",
        severity="low",
        category="signaling",
        title="Event package not supported",
        rfc="RFC 6665 4.2.1.2",
        recommendation="Subscribe only to packages that Allow-Events lists; switch the feature off in the"
        " phone.",
        explain=says('{from} does not support Event "{other_value}" ("{line}").', "Allow-Events", "Event"),
    ),
    Rule(
        id="subscription-lost",
        severity="medium",
        category="signaling",
        title="Subscription lost",
        rfc="RFC 6665 4",
        recommendation="One end forgot the subscription (restart, NAT) or does not refresh it. Shorten the"
        " expiry behind NAT"
        " and make the subscriber subscribe again after 481.",
        explain=_subscription_lost,
    ),
    Rule(
        id="zombie-dialog",
        severity="medium",
        category="signaling",
        title="Call that never ended",
        rfc="RFC 4028 1",
        recommendation="The BYE was lost or never sent, and nothing cleans up: use session timers (Asterisk"
        " `timers`,"
        " FreeSWITCH `enable-timer`, Kamailio `sst`) and RTP timeouts.",
        explain=says('Answered with "{line}"; no message and no RTP for {lasting} since, and no BYE.'),
        symptoms=("calls-dropping",),
    ),
)
