"""Signaling: requests without answers, answers that come late or again, CANCEL, and a call's own times.

The conditions are sighted by `engine/_native/c/conditions_signaling_transactions.c`; the texts are here.
"""

from __future__ import annotations

from engine.trace.rules.base import Explanation, Hit, Rule
from engine.trace.rules.signaling_evidence import answered_between, cite, codes_between, duration, says
from engine.trace.tables import Tables

UNREACHED = (
    "Check that the next hop is up and listens on that address, port and transport, that no firewall drops"
    " the"
    " packets, and that DNS SRV and NAPTR records name it. Kamailio: shorten `fr_timer` with `t_set_fr()`"
    " and fail"
    " over with `dispatcher`; Asterisk: `qualify_frequency` on the AOR; FreeSWITCH: gateway `ping`."
)


def _zero_duration(tables: Tables, hit: Hit) -> Explanation:
    side = {1: "the caller", 2: "the callee"}.get(hit.code, "one end")
    return Explanation(
        f"The call was answered and {side} sent BYE {duration(hit.value)} later"
        f" ({tables.summary(hit.row)}, {tables.summary(hit.other)}).",
        [cite(tables, hit.row), cite(tables, hit.other)],
    )


def _short_call(tables: Tables, hit: Hit) -> Explanation:
    side = {1: "the caller", 2: "the callee"}.get(hit.code, "one end")
    answered = answered_between(tables, hit.call)
    short = sum(codes_between(tables, "short-call", hit.row).values())
    many = answered >= 5 and short > 0.15 * answered
    share = f" {short:,} of {answered:,} answered calls between these hosts are this short." if many else ""
    return Explanation(
        f"Answered, then released by {side} after {duration(hit.value)} of talk.{share}",
        [cite(tables, hit.row), cite(tables, hit.other)],
        severity="medium" if many else None,
    )


def _invite_timeout(hit: Hit) -> str:
    span = " within {lasting}" if hit.value else ""
    return "{from} sent the INVITE for {number} {code} times" + span + " to {to} and got no response at all."


RULES: tuple[Rule, ...] = (
    Rule(
        id="invite-timeout",
        severity="critical",
        category="signaling",
        title="INVITE never answered",
        rfc="RFC 3261 17.1.1.2",
        recommendation=UNREACHED,
        explain=says(_invite_timeout),
        confidence=0.95,
        symptoms=("call-setup-failing", "slow-setup"),
    ),
    Rule(
        id="non-invite-timeout",
        severity="high",
        category="signaling",
        title="Request never answered",
        rfc="RFC 3261 17.1.2.2",
        recommendation=UNREACHED,
        explain=says("{from} sent {method} {code} times to {to} over {lasting} and got no final response."),
        confidence=0.95,
        symptoms=("registration-failing", "call-setup-failing"),
    ),
    Rule(
        id="bye-unanswered",
        severity="medium",
        category="signaling",
        title="BYE never answered",
        rfc="RFC 3261 15.1.1",
        recommendation="The Contact of the dialog is not reachable from the end that hangs up, so the peer"
        " may keep a"
        " zombie call and its billing. Correct the Contact behind NAT (Asterisk `rewrite_contact=yes`,"
        " FreeSWITCH"
        " `ext-sip-ip`, Kamailio `fix_nated_contact()` or `add_contact_alias()`), and use session timers.",
        explain=says("{from} sent BYE {code} times to {to} over {lasting} and no response came back."),
        symptoms=("calls-dropping",),
    ),
    Rule(
        id="invite-retransmitted",
        severity="medium",
        category="signaling",
        title="INVITE sent again before anyone answered",
        rfc="RFC 3261 17.1.1.2",
        recommendation="Look for packet loss on the way, fragmented UDP, or a peer that is slow to send 100."
        ' Kamailio: answer 100 early (`t_newtran()`, `sl_send_reply("100", "Trying")`) before DNS or'
        " database look-ups.",
        explain=says(
            "{to} gave its first response ({other_line}) {apart} after the INVITE, which {from} had sent"
            " {count} times"
            " by then.",
            severity=lambda hit: "high" if hit.value >= 4 else None,
        ),
        symptoms=("slow-setup", "call-setup-failing"),
    ),
    Rule(
        id="response-retransmitted",
        severity="medium",
        category="signaling",
        title="Final response sent again and again",
        rfc="RFC 3261 17.2.1",
        recommendation="The answer does not get back to the client, or its ACK does not get through. Check"
        " the path of"
        " responses: `rport` and `received` (Asterisk `force_rport=yes`, FreeSWITCH"
        " `aggressive-nat-detection`,"
        " Kamailio `force_rport()`), and fragments dropped by a firewall.",
        explain=says('{from} sent "{line}" {count} times to {to} within {apart}.'),
        symptoms=("call-setup-failing", "calls-dropping"),
    ),
    Rule(
        id="no-100-trying",
        severity="low",
        category="signaling",
        title="No 100 Trying within 200 ms",
        rfc="RFC 3261 17.2.1",
        recommendation="A stateful element should send 100 within 200 ms, or the client starts to repeat"
        " the INVITE"
        " after 500 ms. Kamailio: `t_newtran()` before slow look-ups.",
        explain=says(
            '{to} sent no 100; its first response, "{other_line}", came {lasting} after the INVITE.'
        ),
        symptoms=("slow-setup",),
    ),
    Rule(
        id="slow-trying",
        severity="low",
        category="signaling",
        title="First response is slow",
        rfc="RFC 3261 17.2.1",
        recommendation="The next hop is overloaded, or blocks on DNS or a database before it answers. Look"
        " at its load"
        " at that time (Kamailio: more children, asynchronous look-ups; FreeSWITCH: `max-proceeding`).",
        explain=says(
            '{to} took {lasting} to give the first response ("{other_line}") to the INVITE of {from}.'
        ),
        symptoms=("slow-setup",),
    ),
    Rule(
        id="no-final-response",
        severity="high",
        category="signaling",
        title="Provisional response, but never a final one",
        rfc="RFC 3261 16.8, 13.3.1.1",
        recommendation="The called side hangs after its provisional response. A proxy should run timer C"
        " (Kamailio `tm`"
        " `fr_inv_timer`), a B2BUA a ring timeout (Asterisk `Dial()` timeout, FreeSWITCH `call_timeout`).",
        explain=says(
            '{to} answered the INVITE with "{other_line}" and nothing final followed in the {lasting} that'
            " the trace"
            " goes on; the caller did not cancel."
        ),
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="expires-elapsed",
        severity="low",
        category="signaling",
        title="INVITE's Expires ran out without a final response",
        rfc="RFC 3261 13.2.1",
        recommendation="The called side should send 487 when the INVITE's Expires has passed. Raise or drop"
        " Expires at"
        " the caller, or shorten the ringing time.",
        explain=says(
            "The INVITE of {from} says Expires {count} s; no final response came from {to} in that time.",
            "Expires",
        ),
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="cancel-no-487",
        severity="medium",
        category="signaling",
        title="CANCEL accepted, but the INVITE is never finished",
        rfc="RFC 3261 9.1, 9.2",
        recommendation="A server that takes a CANCEL must answer the INVITE with 487. Update or work around"
        " the called"
        " product; the caller must give the INVITE up by itself 32 s after its CANCEL.",
        explain=says(
            "{to} answered the CANCEL with {code}, but sent no final response to the INVITE in the"
            " {lasting} after it."
        ),
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="cancel-race-2xx",
        severity="info",
        category="signaling",
        title="Answered while it was being cancelled",
        rfc="RFC 3261 9.1",
        recommendation="A race that the protocol allows: the caller must send ACK and then BYE for the late"
        " answer.",
        explain=says('{from} answered ("{line}") {apart} after the CANCEL.'),
    ),
    Rule(
        id="cancel-before-1xx",
        severity="low",
        category="signaling",
        title="CANCEL sent before any provisional response",
        rfc="RFC 3261 9.1",
        recommendation="The client must wait for a provisional response before it cancels; a CANCEL that"
        " overtakes its"
        " INVITE is answered 481 and the phone keeps ringing. Correct the client, or let the proxy hold the"
        " CANCEL.",
        explain=says(
            "{from} sent CANCEL {lasting} after the INVITE, before any provisional response of {to}."
        ),
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="early-dialogs-many",
        severity="info",
        category="signaling",
        title="Many early dialogs",
        rfc="RFC 3261 12.1",
        recommendation="The call forks to many targets. If callers hear mixed or cut ringing, limit"
        " parallel forking"
        " (Asterisk `follow_early_media_fork`, Kamailio serial forking with `t_load_contacts()`).",
        explain=says("The INVITE met {count} different To tags in provisional responses."),
    ),
    Rule(
        id="forking-multi-2xx",
        severity="medium",
        category="signaling",
        title="Several endpoints answered one INVITE",
        rfc="RFC 3261 13.2.2.4",
        recommendation="The caller must ACK and BYE every answer but one. Check parallel forking at the"
        " proxy: it should"
        " cancel the other branches as soon as one answers.",
        explain=says(
            'The INVITE was answered with 2xx by {count} endpoints (different To tags): "{value}" and'
            ' "{other_value}".',
            "To",
            "To",
        ),
        symptoms=("one-way-audio", "no-audio"),
    ),
    Rule(
        id="slow-pdd",
        severity="medium",
        category="signaling",
        title="Long post-dial delay",
        rfc="RFC 6076 4.3",
        recommendation="Find the hop where the time goes: compare the first response times hop by hop."
        " Usual causes are"
        " serial route retries, DNS look-ups, STIR/SHAKEN or number portability queries (Kamailio:"
        " `dispatcher` probing"
        " so that dead gateways are not tried; shorter `fr_timer`).",
        explain=says(
            "The caller waited {lasting} from the INVITE for {number} to the first sign of progress"
            ' ("{other_line}").',
            severity=lambda hit: "high" if hit.value > 8000 else None,
        ),
        symptoms=("slow-setup",),
    ),
    Rule(
        id="slow-answer-processing",
        severity="low",
        category="signaling",
        title="ACK is slow",
        rfc="RFC 3261 13.2.2.4",
        recommendation="Look for load or a blocking look-up at the caller or a proxy on the way of the ACK;"
        " the start of"
        " speech is cut off until it arrives.",
        explain=says("The ACK followed the 2xx after {lasting} ({what} to {other_what})."),
        symptoms=("slow-setup",),
    ),
    Rule(
        id="long-ring",
        severity="info",
        category="signaling",
        title="Rang for more than a minute",
        rfc="RFC 3261 13.3.1.1",
        recommendation="Nobody answered for long. A ring timeout frees the line (Asterisk `Dial()` timeout,"
        " FreeSWITCH"
        " `call_timeout`, Kamailio `fr_inv_timer`).",
        explain=says('{lasting} passed between "{line}" and the final response "{other_line}".'),
    ),
    Rule(
        id="short-call",
        severity="low",
        category="signaling",
        title="Very short call",
        rfc="RFC 6076 4.5",
        recommendation="Listen for one-way audio, wrong numbers, robocalls or false answer supervision:"
        " compare media"
        " and the side that hangs up.",
        explain=_short_call,
        confidence=0.7,
        escalates=False,
        symptoms=("calls-dropping", "one-way-audio", "no-audio"),
    ),
    Rule(
        id="zero-duration-answer",
        severity="medium",
        category="signaling",
        title="Answered and released at once",
        rfc="RFC 6076 4.5",
        recommendation="Usual causes: false answer supervision, a voicemail detector that hangs up, or an"
        " end that does"
        " not like the answer's codec or SRTP. Compare the offer with the answer and read Reason in the BYE.",
        explain=_zero_duration,
        symptoms=("calls-dropping", "call-setup-failing"),
    ),
    Rule(
        id="unknown-method",
        severity="info",
        category="signaling",
        title="Method that is not registered",
        rfc="RFC 3261 8.2.1",
        recommendation="Methods are case sensitive and registered at IANA. Send an unknown one only to"
        " peers that list it"
        " in Allow.",
        explain=says(
            lambda hit: (
                '{from} sent "{line}" to {to}' + (f", which answered {hit.code}." if hit.code else ".")
            ),
            severity=lambda hit: "medium" if hit.code in (405, 501) else None,
        ),
    ),
)
