"""Signaling: where offers and answers stand, reliable provisional responses, hold and re-INVITE.

The conditions are sighted by `engine/_native/c/conditions_signaling_offers.c`; the texts are here.
"""

from __future__ import annotations

from engine.trace.rules.base import NONE, Explanation, Hit, Rule
from engine.trace.rules.signaling_evidence import cite, duration, says, sender
from engine.trace.tables import Tables

DIRECTIONS = ("unset", "sendrecv", "sendonly", "recvonly", "inactive")


def _media_lines(tables: Tables, row: int) -> str:
    """The m-lines of a message in one line: "m=audio 4000 RTP/AVP 0 8; m=video 0 RTP/AVP 96"."""
    lines = [tables.media_section(line).split("\n", 1)[0].strip() for line in tables.media_lines_of(row)]
    return "; ".join(lines)[:200] or "(no m-line)"


def _description_change(tables: Tables, row: int) -> str:
    """What a re-INVITE's offer wants, in a word or two."""
    lines, media = tables.media_lines, tables.media_lines_of(row)
    if not len(media):
        return "without an offer"
    if any(int(lines.media[line]) == 3 for line in media):
        return "to change to T.38 fax"
    first = media[0]
    direction = DIRECTIONS[int(lines.direction[first])]
    if direction in ("sendonly", "inactive") or int(lines.address_kind[first]) == 7:
        return f"to hold (a={direction})"
    before = [
        line
        for earlier in tables.messages_of(int(tables.messages.call[row])).tolist()
        if earlier < row and int(tables.messages.source[earlier]) == int(tables.messages.source[row])
        for line in tables.media_lines_of(earlier)[:1]
    ]
    if not before:
        return "to change the session"
    last = before[-1]
    if int(lines.endpoint[last]) != int(lines.endpoint[first]):
        old, new = tables.address(int(lines.endpoint[last])), tables.address(int(lines.endpoint[first]))
        return f"to move its media from {old} to {new}"
    if int(lines.formats_hash[last]) != int(lines.formats_hash[first]):
        return "to change the codecs"
    return "that repeats the description"


def _reinvite_rejected(tables: Tables, hit: Hit) -> Explanation:
    wanted = _description_change(tables, hit.other) if hit.other != NONE else ""
    evidence = [cite(tables, hit.row)]
    if hit.other != NONE:
        evidence.insert(0, cite(tables, hit.other, "SDP", _media_lines(tables, hit.other)))
    return Explanation(
        f"{sender(tables, hit.row)} refused a re-INVITE {wanted} with"
        f' "{tables.start_line(hit.row)}"; the call goes on with the old session.',
        evidence,
    )


def _hold_rejected(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"{sender(tables, hit.row)} answered an offer {_description_change(tables, hit.other)}"
        f' with "{tables.start_line(hit.row)}".',
        [cite(tables, hit.other, "SDP", _media_lines(tables, hit.other)), cite(tables, hit.row)],
    )


def _hold_wrong_answer(tables: Tables, hit: Hit) -> Explanation:
    asked, got = DIRECTIONS[hit.code >> 4 & 7], DIRECTIONS[hit.code & 7]
    right = "recvonly or inactive" if asked == "sendonly" else "inactive"
    return Explanation(
        f"m-line {hit.value + 1} was offered {asked} and answered {got}; the answer must be {right}.",
        [cite(tables, hit.other, "SDP", f"a={asked}"), cite(tables, hit.row, "SDP", f"a={got}")],
    )


def _hold_not_resumed(tables: Tables, hit: Hit) -> Explanation:
    return Explanation(
        f"The call was held (a={DIRECTIONS[hit.code & 7]}) by {sender(tables, hit.row)} and"
        f" stayed so for {duration(hit.value)} until the BYE.",
        [cite(tables, hit.row), cite(tables, hit.other)],
        severity="low" if hit.value > 300_000 else None,
    )


def _line_count(tables: Tables, hit: Hit) -> Explanation:
    offer, answer = _media_lines(tables, hit.other), _media_lines(tables, hit.row)
    if hit.value < 0:
        what = f"m-line {-hit.value} of the answer is of another media type than that of the offer"
    else:
        what = f"the offer has {hit.value} m-lines, the answer {hit.code}"
    return Explanation(
        f'In {tables.summary(hit.row)} {what}: offered "{offer}", answered "{answer}".',
        [cite(tables, hit.other, "SDP", offer), cite(tables, hit.row, "SDP", answer)],
    )


def _sdp_differs(tables: Tables, hit: Hit) -> Explanation:
    early, final = _media_lines(tables, hit.other), _media_lines(tables, hit.row)
    same = " The m-lines are alike, other lines differ." if early == final else ""
    return Explanation(
        f'The {int(tables.messages.status[hit.other])} answered "{early}", the 2xx of the same dialog'
        f' "{final}".{same}',
        [cite(tables, hit.other, "SDP", early), cite(tables, hit.row, "SDP", final)],
    )


def _prack_mismatch(tables: Tables, hit: Hit) -> Explanation:
    value = tables.header(hit.row, "RAck") or "(absent)"
    if hit.code == 3:
        sent = tables.header(hit.other, "RAck") if hit.other != NONE else "(not seen)"
        detail = f"The PRACK with RAck {sent} was answered 481."
    elif hit.code == 2:
        detail = f"The PRACK of {sender(tables, hit.row)} has no RAck."
    elif hit.code == 4:
        detail = f'RAck says "{value}", but the INVITE that it acknowledges has CSeq {hit.value} INVITE.'
    else:
        detail = f'RAck says "{value}", but the last reliable response had RSeq {hit.value}.'
    evidence = [cite(tables, hit.row, "" if hit.code == 3 else "RAck")]
    if hit.other != NONE:
        evidence.insert(0, cite(tables, hit.other, "RAck" if hit.code == 3 else "RSeq"))
    return Explanation(detail, evidence)


def _prack_missing(hit: Hit) -> str:
    if hit.value:
        return '{from} sent "{line}" (RSeq {value}) {count} more times because no PRACK came from {to}.'
    return 'No PRACK of {to} followed the reliable "{line}" (RSeq {value}) of {from} within 32 s.'


RULES: tuple[Rule, ...] = (
    Rule(
        id="late-offer-no-answer",
        severity="critical",
        category="signaling",
        title="Late offer never answered",
        rfc="RFC 3261 13.2.2.4",
        recommendation="The INVITE had no SDP, so the 2xx made the offer and the ACK must carry the answer;"
        " without it"
        " there is no media. Correct the caller's late-offer handling, or let it offer in the INVITE.",
        explain=says(
            "The INVITE had no SDP and {other_what} made the offer, but the ACK of {from} has no SDP."
        ),
        confidence=0.95,
        symptoms=("no-audio", "one-way-audio"),
    ),
    Rule(
        id="answer-missing",
        severity="critical",
        category="signaling",
        title="Offer never answered",
        rfc="RFC 3261 13.2.1",
        recommendation="The 2xx to an INVITE with an offer must carry the answer, unless a reliable"
        " provisional response"
        " did. Correct the called product, or the element that strips the body.",
        explain=says(
            lambda hit: (
                'The INVITE offered a session, but "{line}" of {from} has no SDP'
                + (": only an unreliable provisional response had one." if hit.code else ".")
            ),
            "Content-Type",
            "Content-Type",
            severity=lambda hit: "high" if hit.code else None,
        ),
        symptoms=("no-audio", "one-way-audio"),
    ),
    Rule(
        id="answer-mline-count",
        severity="high",
        category="signaling",
        title="Answer's m-lines do not match the offer's",
        rfc="RFC 3264 6",
        recommendation="An answer has one m-line for each of the offer's, in the same order; a refused one"
        " has port 0."
        " Look for a border element's SDP rule that deletes or sorts m-lines.",
        explain=_line_count,
        confidence=0.95,
        symptoms=("no-audio", "one-way-audio", "fax", "call-setup-failing"),
    ),
    Rule(
        id="offer-in-answer-slot",
        severity="high",
        category="signaling",
        title="SDP in the ACK of an INVITE that had an offer",
        rfc="RFC 3264 4",
        recommendation="The exchange was over with the 2xx; an SDP in the ACK is neither offer nor answer"
        " and is ignored or"
        " misread. Remove it at the caller.",
        explain=says(
            "The INVITE carried an offer, yet the ACK of {from} carries SDP as well.",
            "Content-Type",
            "Content-Type",
        ),
        symptoms=("one-way-audio", "no-audio"),
    ),
    Rule(
        id="prack-missing",
        severity="high",
        category="signaling",
        title="Reliable provisional response never acknowledged",
        rfc="RFC 3262 3",
        recommendation="The caller said it supports 100rel and sends no PRACK, or it is lost. Asterisk"
        " `100rel=no` (or"
        " `peer_supported`), FreeSWITCH `enable-100rel=false`, until the path of in-dialog requests is"
        " right.",
        explain=says(_prack_missing, "RSeq"),
        symptoms=("call-setup-failing", "early-media"),
    ),
    Rule(
        id="prack-rack-mismatch",
        severity="medium",
        category="signaling",
        title="PRACK does not fit its response",
        rfc="RFC 3262 3, 7.2",
        recommendation="RAck must repeat RSeq, CSeq number and method of the response. Look for a B2BUA"
        " that rewrites CSeq"
        " without RAck.",
        explain=_prack_mismatch,
        symptoms=("call-setup-failing", "early-media"),
    ),
    Rule(
        id="rel1xx-out-of-order",
        severity="low",
        category="signaling",
        title="RSeq does not count by one",
        rfc="RFC 3262 4",
        recommendation="Each reliable provisional response of an early dialog has the RSeq of the one"
        " before plus one;"
        " others are not acknowledged.",
        explain=says(
            "RSeq went from {other_value} to {value} between {other_what} and {what}.", "RSeq", "RSeq"
        ),
        symptoms=("early-media",),
    ),
    Rule(
        id="early-media-no-sdp",
        severity="medium",
        category="signaling",
        title="183 without SDP: the caller hears nothing",
        rfc="RFC 3261 13.2.1, RFC 3960",
        recommendation="Send 180 for local ringback, or 183 with SDP for early media. Asterisk"
        " `inband_progress`,"
        " FreeSWITCH `ignore_early_media`.",
        explain=says('{from} sent "{line}" without SDP, no 180 and no reliable description before it.'),
        symptoms=("early-media", "no-audio"),
    ),
    Rule(
        id="ringback-conflict",
        severity="low",
        category="signaling",
        title="180 after early media",
        rfc="RFC 3960 3",
        recommendation="A 180 behind a 183 with SDP makes some phones play local ringback over the early"
        " media. Choose one"
        " policy per route.",
        explain=says(
            '"{other_line}" opened early media, then "{line}" without SDP followed in the same early dialog.'
        ),
        symptoms=("early-media",),
    ),
    Rule(
        id="sdp-differs-18x-2xx",
        severity="medium",
        category="signaling",
        title="Answer differs between provisional and final response",
        rfc="RFC 3261 13.2.1, RFC 6337 3.1.1",
        recommendation="An unreliable provisional answer and the 2xx must be the same; many user agents"
        " ignore the second."
        " Correct the called side, or make it use 100rel and UPDATE.",
        explain=_sdp_differs,
        symptoms=("one-way-audio", "no-audio", "early-media"),
    ),
    Rule(
        id="late-offer",
        severity="info",
        category="signaling",
        title="INVITE without an offer",
        rfc="RFC 3261 13.2.1",
        recommendation="Late offer needs peers that support it. Let the caller offer in the INVITE where a"
        " peer refuses"
        " (FreeSWITCH `inbound-late-negotiation`, CUBE early offer).",
        explain=says(
            lambda hit: (
                "The INVITE of {from} to {to} carries no SDP"
                + (f" and was answered {hit.code}." if hit.code >= 400 else ".")
            ),
            severity=lambda hit: (
                "medium" if 400 <= hit.code < 500 and hit.code not in (401, 407, 486, 487) else None
            ),
        ),
        escalates=False,
        symptoms=("call-setup-failing",),
    ),
    Rule(
        id="reinvite-rejected",
        severity="high",
        category="signaling",
        title="re-INVITE refused",
        rfc="RFC 3261 14.1",
        recommendation="The refused change does not happen: hold, transfer, fax or a moved media address"
        " fail. Compare the"
        " offer with what the peer takes; Asterisk `direct_media=no` stops re-INVITEs for media.",
        explain=_reinvite_rejected,
        symptoms=("hold", "transfer", "fax", "one-way-audio", "calls-dropping"),
    ),
    Rule(
        id="reinvite-loop",
        severity="high",
        category="signaling",
        title="re-INVITEs chase each other",
        rfc="RFC 3264 8",
        recommendation="Two B2BUAs undo each other's change (direct media, codec order). Asterisk"
        " `direct_media=no`;"
        " FreeSWITCH `inbound-bypass-media=false`; fix the codec order on one side.",
        explain=says("{code} re-INVITE or UPDATE with changed SDP within {lasting}, from {what} on."),
        symptoms=("one-way-audio", "calls-dropping", "poor-audio"),
    ),
    Rule(
        id="hold-rejected",
        severity="medium",
        category="signaling",
        title="Hold refused",
        rfc="RFC 3264 8.4",
        recommendation="Let the holding side use a=sendonly instead of c=0.0.0.0 or a=inactive (or reverse)"
        " as the peer"
        " takes it, or hold locally without a re-INVITE.",
        explain=_hold_rejected,
        symptoms=("hold",),
    ),
    Rule(
        id="hold-wrong-answer",
        severity="medium",
        category="signaling",
        title="Hold answered with a wrong direction",
        rfc="RFC 3264 6.1",
        recommendation="sendonly is answered recvonly or inactive, inactive only inactive. Music on hold"
        " and resuming may"
        " fail otherwise; correct the answering product.",
        explain=_hold_wrong_answer,
        symptoms=("hold", "one-way-audio"),
    ),
    Rule(
        id="hold-not-resumed",
        severity="info",
        category="signaling",
        title="Held until the end",
        rfc="RFC 3264 8.4",
        recommendation="The caller gave up while on hold, or the resuming re-INVITE never came.",
        explain=_hold_not_resumed,
        symptoms=("hold", "one-way-audio"),
    ),
    Rule(
        id="hold-rfc2543",
        severity="low",
        category="signaling",
        title="Hold by c=0.0.0.0",
        rfc="RFC 3264 8.4",
        recommendation="The old way of hold stops RTCP and is not understood everywhere: use a=sendonly or"
        " a=inactive.",
        explain=says("{from} puts the call on hold with c=IN IP4 0.0.0.0 ({what})."),
        symptoms=("hold",),
    ),
    Rule(
        id="update-not-supported",
        severity="low",
        category="signaling",
        title="UPDATE refused by an end that allows it",
        rfc="RFC 3311 5.1",
        recommendation="Take UPDATE out of Allow at that end, or use re-INVITE for session refresh"
        " (FreeSWITCH"
        " `enable-timer`, Asterisk `timers`).",
        explain=says(
            '{from} lists UPDATE in Allow ("{other_value}") and answered one with "{line}".', "", "Allow"
        ),
    ),
)
