"""What SIP response codes, Q.850 causes and fixed call lengths mean: facts that several rules quote.

Sources: RFC 3261 §21 and the later RFCs that define a code; ITU-T Q.850; the SIP and ISUP mapping of
RFC 3398 §8.2.6.1.
"""

from __future__ import annotations

import msgspec


class ResponseCode(msgspec.Struct, frozen=True, gc=False):
    """One response code of an INVITE. `q850` is the cause it maps to, 0 when none is defined."""

    status: int
    phrase: str
    severity: str
    meaning: str
    advice: str
    q850: int = 0
    rfc: str = "RFC 3261 21"


class Cause(msgspec.Struct, frozen=True, gc=False):
    """One ITU-T Q.850 cause value."""

    value: int
    severity: str
    meaning: str


_UPSTREAM = "Follow the call to the next hop in the direction of the callee and read that hop's own answer."

_CODES: tuple[ResponseCode, ...] = (
    ResponseCode(100, "Trying", "info", "the next hop has the request", ""),
    ResponseCode(180, "Ringing", "info", "the callee is being alerted", ""),
    ResponseCode(181, "Call Is Being Forwarded", "info", "the call is forwarded to another target", ""),
    ResponseCode(182, "Queued", "info", "the callee will take the call later", ""),
    ResponseCode(183, "Session Progress", "info", "the call progresses, often with early media", ""),
    ResponseCode(199, "Early Dialog Terminated", "info", "one forked branch has ended", "", rfc="RFC 6228"),
    ResponseCode(200, "OK", "info", "the request succeeded", ""),
    ResponseCode(
        202, "Accepted", "info", "the request was taken, its result follows", "", rfc="RFC 6665 8.3.1"
    ),
    ResponseCode(
        204, "No Notification", "info", "the subscription goes on without a NOTIFY", "", rfc="RFC 5839"
    ),
    ResponseCode(
        300, "Multiple Choices", "info", "several targets are offered", "Let the caller's proxy try them."
    ),
    ResponseCode(
        301, "Moved Permanently", "info", "the user has a new address", "Update the number or route."
    ),
    ResponseCode(
        302, "Moved Temporarily", "info", "the call is to go to another address", "Follow the Contact."
    ),
    ResponseCode(
        305, "Use Proxy", "info", "the request must go through a proxy", "Send it by the named proxy."
    ),
    ResponseCode(
        380,
        "Alternative Service",
        "info",
        "another service serves the call (IMS emergency)",
        "Read the body for the service that was named.",
    ),
    ResponseCode(
        400,
        "Bad Request",
        "high",
        "the request could not be understood",
        "Read the reason phrase, and compare the request's header syntax with one that was accepted.",
        41,
    ),
    ResponseCode(
        401,
        "Unauthorized",
        "info",
        "a challenge: credentials are wanted",
        "Nothing is wrong unless no retry with credentials follows.",
        21,
    ),
    ResponseCode(
        402, "Payment Required", "medium", "the account has no credit", "Check the account's balance.", 21
    ),
    ResponseCode(
        403,
        "Forbidden",
        "high",
        "the request was understood and is refused: source address, caller number,"
        " credit or dial plan is not allowed",
        "Check that the peer allows this source address, this caller number and this destination.",
        21,
    ),
    ResponseCode(
        404,
        "Not Found",
        "medium",
        "the user does not exist, or the number is not allocated",
        "Check the number format that the peer wants (+E.164, national, prefixes) and its dial plan.",
        1,
    ),
    ResponseCode(
        405,
        "Method Not Allowed",
        "medium",
        "the method is not allowed for this target",
        "Use a method that the answer's Allow header lists.",
        63,
    ),
    ResponseCode(
        406,
        "Not Acceptable",
        "medium",
        "no body that Accept lists can be made",
        "Widen the Accept header.",
        79,
    ),
    ResponseCode(
        407,
        "Proxy Authentication Required",
        "info",
        "a proxy's challenge: credentials are wanted",
        "Nothing is wrong unless no retry with credentials follows.",
        21,
    ),
    ResponseCode(
        408,
        "Request Timeout",
        "high",
        "the user could not be found in time: a hop further on stayed silent",
        _UPSTREAM,
        102,
    ),
    ResponseCode(
        410, "Gone", "medium", "the user is gone for good, the number has changed", "Update the number.", 22
    ),
    ResponseCode(
        412,
        "Conditional Request Failed",
        "medium",
        "the entity tag of a PUBLISH is no longer known",
        "Publish again without SIP-If-Match.",
        rfc="RFC 3903 11.2.1",
    ),
    ResponseCode(
        413,
        "Request Entity Too Large",
        "medium",
        "the body is larger than the peer takes",
        "Send fewer codecs, candidates or bodies.",
        127,
    ),
    ResponseCode(
        414,
        "Request-URI Too Long",
        "medium",
        "the Request-URI is longer than the peer takes",
        "Strip URI parameters and embedded headers.",
        127,
    ),
    ResponseCode(
        415,
        "Unsupported Media Type",
        "medium",
        "the body's type is not supported",
        "Send a type that the answer's Accept header lists (often: no multipart, no ISUP).",
        79,
    ),
    ResponseCode(
        416,
        "Unsupported URI Scheme",
        "medium",
        "the Request-URI's scheme is not supported",
        "Send a sip: URI instead of tel: or sips:.",
        127,
    ),
    ResponseCode(
        417,
        "Unknown Resource-Priority",
        "medium",
        "no value of Resource-Priority is known",
        "Remove the header or its option tag from Require.",
        127,
        "RFC 4412 4.6.2",
    ),
    ResponseCode(
        420,
        "Bad Extension",
        "medium",
        "an option tag in Require is not supported",
        "Move the tags that the answer's Unsupported header lists from Require to Supported.",
        127,
    ),
    ResponseCode(
        421,
        "Extension Required",
        "medium",
        "the peer insists on an extension the request does not support",
        "Put the tag that the answer's Require header names into Supported.",
        127,
    ),
    ResponseCode(
        422,
        "Session Interval Too Small",
        "medium",
        "Session-Expires is below the peer's minimum",
        "Retry with Session-Expires of at least the answer's Min-SE.",
        rfc="RFC 4028 6",
    ),
    ResponseCode(
        423,
        "Interval Too Brief",
        "medium",
        "the expiration is below the registrar's minimum",
        "Retry with at least the answer's Min-Expires.",
    ),
    ResponseCode(
        424,
        "Bad Location Information",
        "medium",
        "the location that was sent cannot be used",
        "Correct the Geolocation header and its body.",
        rfc="RFC 6442 4.2",
    ),
    ResponseCode(
        428,
        "Use Identity Header",
        "medium",
        "the verifier wants an Identity header",
        "Sign the call (STIR/SHAKEN).",
        rfc="RFC 8224 6.2.2",
    ),
    ResponseCode(
        429,
        "Provide Referrer Identity",
        "medium",
        "the REFER has no usable Referred-By",
        "Send Referred-By with its token.",
        rfc="RFC 3892 5",
    ),
    ResponseCode(
        430,
        "Flow Failed",
        "medium",
        "the flow to the user agent is gone",
        "Register again over a new flow.",
        rfc="RFC 5626 11.5",
    ),
    ResponseCode(
        433,
        "Anonymity Disallowed",
        "medium",
        "the callee takes no anonymous calls",
        "Send a caller identity.",
        rfc="RFC 5079",
    ),
    ResponseCode(
        436,
        "Bad Identity Info",
        "medium",
        "the certificate that Identity names cannot be fetched",
        "Make the info URL reachable.",
        rfc="RFC 8224 6.2.2",
    ),
    ResponseCode(
        437,
        "Unsupported Credential",
        "medium",
        "the signing certificate is not trusted",
        "Sign with a certificate of a trusted authority.",
        rfc="RFC 8224 6.2.2",
    ),
    ResponseCode(
        438,
        "Invalid Identity Header",
        "medium",
        "the signature does not match the request",
        "Sign the numbers as they leave, behind every rewriting.",
        rfc="RFC 8224 6.2.2",
    ),
    ResponseCode(
        439,
        "First Hop Lacks Outbound Support",
        "medium",
        "the first proxy does not support outbound",
        "Register without outbound, or through another edge proxy.",
        rfc="RFC 5626 11.6",
    ),
    ResponseCode(
        440,
        "Max-Breadth Exceeded",
        "medium",
        "the request would fork too widely",
        "Look for a forking loop.",
        rfc="RFC 5393 5",
    ),
    ResponseCode(
        469,
        "Bad Info Package",
        "medium",
        "the info package is not supported",
        "Use a package of Recv-Info.",
        rfc="RFC 6086 4.2.2",
    ),
    ResponseCode(
        470,
        "Consent Needed",
        "medium",
        "the recipient has not consented",
        "Obtain consent first.",
        rfc="RFC 5360 5.9.2",
    ),
    ResponseCode(
        480,
        "Temporarily Unavailable",
        "medium",
        "the callee is not registered, does not answer, or does not want to be disturbed",
        "Check the callee's registration and its forwarding on no answer.",
        18,
    ),
    ResponseCode(
        481,
        "Call/Transaction Does Not Exist",
        "high",
        "the peer has no such dialog or transaction",
        "Look for a restart or failover, changed tags, or a balancer that sent it to another node.",
        41,
    ),
    ResponseCode(
        482,
        "Loop Detected",
        "critical",
        "the request came back to where it had been",
        "Two routes point at each other: read the Via headers of the request.",
        25,
    ),
    ResponseCode(
        483,
        "Too Many Hops",
        "critical",
        "Max-Forwards reached zero",
        "Look for a routing loop; else raise Max-Forwards to 70.",
        25,
    ),
    ResponseCode(
        484,
        "Address Incomplete",
        "medium",
        "digits are missing",
        "Send the whole number, or set up overlap dialling.",
        28,
    ),
    ResponseCode(
        485, "Ambiguous", "medium", "the address names more than one user", "Dial one of the Contacts.", 1
    ),
    ResponseCode(486, "Busy Here", "info", "the callee is busy", "", 17),
    ResponseCode(487, "Request Terminated", "info", "the caller cancelled", "", 16),
    ResponseCode(
        488,
        "Not Acceptable Here",
        "high",
        "nothing in the offer is acceptable",
        "Compare the offered codecs, transport profile (RTP/SAVP), T.38 and addresses with what it takes,"
        " and read Warning.",
    ),
    ResponseCode(
        489,
        "Bad Event",
        "medium",
        "the event package is not supported",
        "Subscribe only to packages of Allow-Events.",
        rfc="RFC 6665 8.3.2",
    ),
    ResponseCode(
        491,
        "Request Pending",
        "low",
        "both sides changed the session at once",
        "The retry after a random wait settles it.",
    ),
    ResponseCode(493, "Undecipherable", "low", "the body cannot be decrypted", "Send it without S/MIME."),
    ResponseCode(
        494,
        "Security Agreement Required",
        "medium",
        "a security agreement is wanted",
        "Send Security-Client with a mechanism of Security-Server.",
        rfc="RFC 3329 2",
    ),
    ResponseCode(
        500,
        "Server Internal Error",
        "high",
        "the server met an error of its own (also: CSeq out of order, or"
        " a re-INVITE pending when Retry-After is there)",
        "Read the peer's log at this time.",
        41,
    ),
    ResponseCode(
        501,
        "Not Implemented",
        "high",
        "the server does not know the method",
        "Do not send this method to this peer.",
        79,
    ),
    ResponseCode(502, "Bad Gateway", "high", "the next server's answer was invalid", _UPSTREAM, 38),
    ResponseCode(
        503,
        "Service Unavailable",
        "high",
        "overload, no free circuit, or the gateway is down",
        "Use another route, honour Retry-After, and ask the peer about capacity.",
        41,
    ),
    ResponseCode(
        504, "Server Time-out", "high", "a server further on did not answer in time", _UPSTREAM, 102
    ),
    ResponseCode(
        505,
        "Version Not Supported",
        "high",
        "the SIP version is not supported",
        "Send SIP/2.0; look for a damaged start line.",
        127,
    ),
    ResponseCode(
        513,
        "Message Too Large",
        "high",
        "the message is longer than the server takes",
        "Shorten it, or send it over TCP.",
        127,
    ),
    ResponseCode(
        555,
        "Push Notification Service Not Supported",
        "high",
        "the push service is not supported",
        "Register with a pn-provider that the proxy supports.",
        rfc="RFC 8599 14.2",
    ),
    ResponseCode(
        580,
        "Precondition Failure",
        "high",
        "resources for the session cannot be reserved",
        "Drop preconditions or supply the bandwidth.",
        47,
        "RFC 3312 8",
    ),
    ResponseCode(600, "Busy Everywhere", "medium", "the callee is busy at every place", "", 17),
    ResponseCode(
        603,
        "Decline",
        "medium",
        "the callee or an analytics engine refuses the call",
        "Read the reason phrase: Network Blocked means a caller reputation problem.",
        21,
    ),
    ResponseCode(604, "Does Not Exist Anywhere", "medium", "the user exists nowhere", "Check the number.", 1),
    ResponseCode(
        606,
        "Not Acceptable",
        "medium",
        "the session is not acceptable anywhere",
        "Compare offer and Warning.",
    ),
    ResponseCode(
        607,
        "Unwanted",
        "medium",
        "the callee marked the call as unwanted",
        "Check the caller number's reputation.",
        21,
        "RFC 8197",
    ),
    ResponseCode(
        608,
        "Rejected",
        "medium",
        "an intermediary's analytics rejected the call",
        "Use the Call-Info contact to have the number cleared.",
        21,
        "RFC 8688",
    ),
)

RESPONSE_CODES: dict[int, ResponseCode] = {code.status: code for code in _CODES}

_CLASSES: dict[int, tuple[str, str]] = {
    1: ("info", "provisional response"),
    2: ("info", "success"),
    3: ("info", "redirection"),
    4: ("medium", "the request failed at this server"),
    5: ("high", "the server failed"),
    6: ("medium", "the request fails everywhere"),
}


def response_code(status: int) -> ResponseCode:
    """The table's row of a status; an unlisted one is taken as x00 of its class (RFC 3261 §8.1.3.2)."""
    known = RESPONSE_CODES.get(status)
    if known is not None:
        return known
    severity, meaning = _CLASSES.get(status // 100, ("medium", "no class of RFC 3261"))
    return ResponseCode(status, "", severity, meaning, "Read the reason phrase and the peer's documentation.")


_INFO: dict[int, str] = {
    16: "normal call clearing",
    17: "user busy",
    18: "no user responding",
    19: "no answer from the user",
    21: "call rejected",
    23: "redirection to a new destination",
    26: "non-selected user clearing",
    31: "normal, unspecified",
}
_MEDIUM: dict[int, str] = {
    1: "unallocated number",
    2: "no route to the transit network",
    3: "no route to the destination",
    4: "send special information tone",
    5: "misdialled trunk prefix",
    20: "subscriber absent",
    22: "number changed",
    27: "destination out of order",
    28: "invalid number format",
    29: "facility rejected",
    30: "response to a status enquiry",
    50: "requested facility not subscribed",
    52: "outgoing calls barred",
    54: "incoming calls barred",
    55: "incoming calls barred within the closed user group",
    57: "bearer capability not authorised",
    58: "bearer capability not available now",
    63: "service or option not available",
    65: "bearer capability not implemented",
    66: "channel type not implemented",
    69: "requested facility not implemented",
    70: "only restricted digital information is available",
    79: "service or option not implemented",
    81: "invalid call reference",
    82: "identified channel does not exist",
    83: "a suspended call exists, not this one",
    84: "call identity in use",
    85: "no call suspended",
    86: "call of this identity has been cleared",
    87: "user not member of the closed user group",
    88: "incompatible destination",
    91: "invalid transit network selection",
    95: "invalid message",
    96: "mandatory information element missing",
    97: "message type non-existent",
    98: "message not compatible with the call state",
    99: "information element non-existent",
    100: "invalid information element contents",
    101: "message not compatible with the call state",
    103: "parameter non-existent, passed on",
    110: "message with unrecognised parameter discarded",
    111: "protocol error",
}
_HIGH: dict[int, str] = {
    6: "channel unacceptable",
    8: "pre-emption",
    25: "exchange routing error (a loop)",
    34: "no circuit or channel available",
    38: "network out of order",
    39: "permanent frame connection out of service",
    40: "permanent frame connection operational",
    41: "temporary failure",
    42: "switching equipment congestion",
    43: "access information discarded",
    44: "requested circuit not available",
    46: "precedence call blocked",
    47: "resource unavailable",
    49: "quality of service not available",
    53: "outgoing calls barred within the closed user group",
    102: "recovery on timer expiry",
    127: "interworking, unspecified",
}

CAUSES: dict[int, Cause] = {
    value: Cause(value, severity, meaning)
    for severity, table in (("info", _INFO), ("medium", _MEDIUM), ("high", _HIGH))
    for value, meaning in sorted(table.items())
}
NORMAL_CAUSES = frozenset({16, 17, 18, 19, 21, 31})


def cause(value: int) -> Cause:
    """The row of a Q.850 cause; an unlisted value stands for its class (Q.850 table 1)."""
    known = CAUSES.get(value)
    if known is not None:
        return known
    group = ("normal event", "normal event", "resource unavailable", "service or option not available",
             "service or option not implemented", "invalid message", "protocol error",
             "interworking")[value >> 4 & 7]  # fmt: skip
    return Cause(value, "info" if value < 32 else "medium", f"unlisted cause of class {group}")


INTERVALS: tuple[tuple[int, int, str], ...] = (
    (
        0,
        2,
        "the answer's codec or SRTP was refused, false answer supervision, an answering machine detector,"
        " or media never came",
    ),
    (5, 5, "a watchdog for missing RTP, or a routing or identity lookup limit"),
    (10, 10, "a watchdog for missing RTP, or a routing or identity lookup limit"),
    (20, 20, "an RTP timeout, or a NAT's UDP timeout"),
    (
        30,
        30,
        "an RTP timeout (Asterisk `rtp_timeout=30` is common), a NAT's 30 s UDP timeout, or Kamailio `tm`"
        " `fr_timer` 30 s",
    ),
    (32, 32, "the ACK never arrived (64*T1), or Timer B/F ran out"),
    (60, 60, "a firewall's UDP session timeout, a trial limit, or a ring timeout"),
    (90, 90, "sessions of the smallest session timer (Min-SE 90), or an RTP timeout"),
    (120, 120, "Kamailio `fr_inv_timer` 120 s, a ring timeout, or FreeSWITCH `minimum-session-expires` 120"),
    (180, 180, "proxy timer C, or a firewall's UDP stream timeout"),
    (300, 300, "FreeSWITCH `rtp-timeout-sec` 300, or a connection tracker's UDP timeout"),
    (600, 600, "half of a 1,200 s session timer: the refresh fails"),
    (900, 900, "half of an 1,800 s session timer: the refresh fails"),
    (1800, 1800, "a Session-Expires of 1,800 s without refresh, or FreeSWITCH `rtp-hold-timeout-sec` 1800"),
    (3600, 3600, "a maximum call length, a TCP idle timeout, or a registration that expired"),
    (7200, 7200, "a maximum call length, or a TCP idle timeout"),
    (10800, 10800, "a maximum call length"),
    (14400, 14400, "a maximum call length"),
    (43200, 43200, "Kamailio's dialog `default_timeout`"),
)


def interval_suspects(seconds: float) -> str:
    """First suspects for calls that all end after about this many seconds (within 1 s or 2 %); else ""."""
    for low, high, suspects in INTERVALS:
        slack = max(1.0, high * 0.02) if low else 0.0
        if low - slack <= seconds <= high + slack:
            return suspects
    return ""
