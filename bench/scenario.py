"""SIP messages of made-up calls: one function a scenario, each giving (time, side, message) in order.

Times are microseconds from the start of the call; side 0 sends as the caller, 1 as the called. Messages are
templates with patched fields: twelve to fifteen headers, an offer and an answer of a usual size.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from bench.wire import Endpoint

MILLISECOND = 1000
SECOND = 1_000_000
Said = tuple[int, int, bytes]

USER_AGENTS = (
    b"Asterisk PBX 20.9.2", b"FreeSWITCH-mod_sofia/1.10.11", b"Cisco-SIPGateway/IOS-17.6.5", b"Yealink SIP-T54W 96.86.0.75",
    b"PolyEdge-E350-UA/8.1.2", b"Grandstream GXP2170 1.0.11.79", b"snomD735/10.1.184.14", b"Kamailio (5.8.3 (x86_64/linux))",
    b"Sonus_UAC", b"AudioCodes-Mediant/7.40A.500", b"MicroSIP/3.21.5", b"Linphone/5.2.4 (belle-sip/5.3.74)",
)  # fmt: skip
NAMES = (
    b"Ada Byron",
    b"Grace Murray",
    b"Front Desk",
    b"Support Line 2",
    b"Karl Braun",
    b"Room 1204",
    b"Alexander Popov",
)
CODECS = {0: b"PCMU/8000", 8: b"PCMA/8000", 9: b"G722/8000", 18: b"G729/8000", 101: b"telephone-event/8000"}
OFFERS = ((8, 0, 18, 101), (0, 8, 9, 101), (8, 0, 9, 18, 101), (0, 101))

ALLOW = b"INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE, UPDATE"

INVITE = b"""INVITE sip:%(to)b@%(dst)b:5060;user=phone SIP/2.0
Via: SIP/2.0/%(transport)b %(src)b:5060;branch=z9hG4bK%(branch)bi%(cseq)d;rport
Max-Forwards: 70
From: "%(name)b" <sip:%(from)b@%(src)b;user=phone>;tag=%(ftag)b
To: <sip:%(to)b@%(dst)b;user=phone>
Contact: <sip:%(from)b@%(src)b:5060;transport=%(lower)b>
Call-ID: %(call_id)b
CSeq: %(cseq)d INVITE
User-Agent: %(ua)b
Allow: %(allow)b
Supported: replaces, timer, path
P-Charging-Vector: icid-value=%(ftag)b;icid-generated-at=%(src)b
%(extra)bP-Asserted-Identity: "%(name)b" <sip:%(from)b@%(src)b;user=phone>
Content-Type: application/sdp
Content-Length: %(offer_bytes)d

%(offer)b"""
REQUEST = b"""%(method)b sip:%(to)b@%(dst)b:5060;transport=%(lower)b SIP/2.0
Via: SIP/2.0/%(transport)b %(src)b:5060;branch=z9hG4bK%(branch)b%(kind)b%(cseq)d;rport
Max-Forwards: 70
From: "%(name)b" <sip:%(from)b@%(src)b;user=phone>;tag=%(ftag)b
To: <sip:%(to)b@%(dst)b;user=phone>%(to_tag)b
Contact: <sip:%(from)b@%(src)b:5060;transport=%(lower)b>
Call-ID: %(call_id)b
CSeq: %(cseq)d %(method)b
User-Agent: %(ua)b
Allow: %(allow)b
Supported: replaces, timer, path
%(extra)bContent-Length: 0

"""
RESPONSE = b"""SIP/2.0 %(status)b
Via: SIP/2.0/%(transport)b %(src)b:5060;branch=z9hG4bK%(branch)b%(kind)b%(cseq)d;rport=5060;received=%(src)b
From: "%(name)b" <sip:%(from)b@%(src)b;user=phone>;tag=%(ftag)b
To: <sip:%(to)b@%(dst)b;user=phone>%(to_tag)b
Call-ID: %(call_id)b
CSeq: %(cseq)d %(method)b
Contact: <sip:%(to)b@%(dst)b:5060;transport=%(lower)b>
Server: %(server)b
Allow: %(allow)b
Allow-Events: talk, hold, presence, dialog, call-info, refer
Supported: replaces, timer
%(extra)b"""
REGISTER = b"""REGISTER sip:%(dst)b SIP/2.0
Via: SIP/2.0/UDP %(src)b:5060;branch=z9hG4bK%(branch)br%(cseq)d;rport
Max-Forwards: 70
From: <sip:%(from)b@%(dst)b>;tag=%(ftag)b
To: <sip:%(from)b@%(dst)b>
Contact: <sip:%(from)b@%(src)b:5060>;expires=600
Call-ID: %(call_id)b
CSeq: %(cseq)d REGISTER
User-Agent: %(ua)b
Allow: %(allow)b
Expires: 600
%(extra)bContent-Length: 0

"""
CREDENTIALS = (
    b'Authorization: Digest username="%b", realm="trunk.example.net", nonce="%b", uri="sip:%b", '
    b'response="%b", algorithm=MD5\r\n'
)
CHALLENGE = b'WWW-Authenticate: Digest realm="trunk.example.net", nonce="%b", algorithm=MD5\r\n'


def wire_form(text: bytes) -> bytes:
    """A template as it goes on the wire: CRLF line ends."""
    return text.replace(b"\n", b"\r\n")


INVITE, REQUEST, RESPONSE, REGISTER = map(wire_form, (INVITE, REQUEST, RESPONSE, REGISTER))


class Call(NamedTuple):
    """One call's ends, media ports and fields. `fields` feeds the templates."""

    caller: Endpoint
    called: Endpoint
    caller_port: int
    called_port: int
    fields: dict[bytes, Any]
    rng: Random


def description(
    address: bytes, port: int, payload_types: tuple[int, ...], number: int, padding: int = 0
) -> bytes:
    """An SDP body (RFC 8866) with one audio line; `padding` adds that many candidate-like attribute lines."""
    formats = b" ".join(b"%d" % payload_type for payload_type in payload_types)
    lines = [
        b"v=0", b"o=- %d %d IN IP4 %b" % (number, number + 1, address), b"s=call", b"c=IN IP4 %b" % address, b"t=0 0",
        b"m=audio %d RTP/AVP %b" % (port, formats),
        *(b"a=rtpmap:%d %b" % (payload_type, CODECS[payload_type]) for payload_type in payload_types),
        b"a=ptime:20", b"a=sendrecv",
    ]  # fmt: skip
    if 101 in payload_types:
        lines.insert(-2, b"a=fmtp:101 0-16")
    lines += [
        b"a=x-path:%d hop%04d.transit.example.net relay %d" % (n, n, number ^ n) for n in range(padding)
    ]
    return b"\r\n".join(lines) + b"\r\n"


def make_call(rng: Random, number: int, ends: tuple[Endpoint, Endpoint], transport: bytes = b"UDP") -> Call:
    """A call with fields of its own; `number` makes its identifiers unique."""
    caller, called = ends
    caller_port, called_port = 10_000 + number * 2 % 20_000, 30_000 + number * 2 % 20_000
    types = rng.choice(OFFERS)
    offer = description(caller.text, caller_port, types, 100_000_000 + number)
    answer = description(called.text, called_port, (types[0], *types[-1:]), 500_000_000 + number)
    token = b"%016x" % rng.getrandbits(64)
    fields: dict[bytes, Any] = {
        b"src": caller.text, b"dst": called.text, b"transport": transport, b"lower": transport.lower(),
        b"from": b"1%010d" % rng.randrange(10**10), b"to": b"4%010d" % rng.randrange(10**10),
        b"name": rng.choice(NAMES), b"branch": token[:12], b"ftag": token[4:], b"ttag": b"as%08x" % rng.getrandbits(32),
        b"call_id": b"%08x-%b@%b" % (number, token, caller.text), b"cseq": 1 + rng.randrange(200),
        b"ua": rng.choice(USER_AGENTS), b"server": rng.choice(USER_AGENTS), b"allow": ALLOW, b"extra": b"",
        b"offer": offer, b"offer_bytes": len(offer), b"answer": answer,
    }  # fmt: skip
    return Call(caller, called, caller_port, called_port, fields, rng)


def request(call: Call, method: bytes, kind: bytes = b"", cseq: int = 0, tagged: bool = True) -> bytes:
    """A request without a body; `kind` is the branch's letter, `cseq` 0 means that of the INVITE."""
    fields = call.fields
    to_tag = b";tag=%b" % fields[b"ttag"] if tagged else b""
    return REQUEST % {
        **fields, b"method": method, b"kind": kind or method[:1].lower(), b"to_tag": to_tag,
        b"cseq": cseq or fields[b"cseq"],
    }  # fmt: skip


def response(
    call: Call,
    status: bytes,
    method: bytes = b"INVITE",
    kind: bytes = b"i",
    cseq: int = 0,
    extra: bytes = b"",
) -> bytes:
    """A response without a body, with a To tag unless it is a 100."""
    fields = call.fields
    to_tag = b"" if status.startswith(b"100") else b";tag=%b" % fields[b"ttag"]
    return RESPONSE % {
        **fields, b"status": status, b"method": method, b"kind": kind, b"cseq": cseq or fields[b"cseq"],
        b"to_tag": to_tag, b"extra": extra + b"Content-Length: 0\r\n\r\n",
    }  # fmt: skip


def answer(call: Call) -> bytes:
    """The 200 to the INVITE, with the session description."""
    body = call.fields[b"answer"]
    tail = b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    whole = response(call, b"200 OK")
    return whole.removesuffix(b"Content-Length: 0\r\n\r\n") + tail


def opening(call: Call) -> tuple[list[Said], int]:
    """INVITE, 100 and 180, and the time of the answer to come."""
    ring = (120 + call.rng.randrange(900)) * MILLISECOND
    said = [
        (0, 0, INVITE % call.fields),
        ((4 + call.rng.randrange(20)) * MILLISECOND, 1, response(call, b"100 Trying")),
        (ring, 1, response(call, b"180 Ringing")),
    ]
    return said, ring + (800 + call.rng.randrange(6000)) * MILLISECOND


def ending(call: Call, at: int) -> list[Said]:
    """BYE by the caller and its 200."""
    cseq = call.fields[b"cseq"] + 1
    return [
        (at, 0, request(call, b"BYE", cseq=cseq)),
        (at + (3 + call.rng.randrange(30)) * MILLISECOND, 1, response(call, b"200 OK", b"BYE", b"b", cseq)),
    ]


def answered(call: Call, talk_us: int = 0) -> list[Said]:
    """The basic call of RFC 3665 section 3.1: seven messages."""
    said, at = opening(call)
    acknowledged = at + (5 + call.rng.randrange(40)) * MILLISECOND
    said += [(at, 1, answer(call)), (acknowledged, 0, request(call, b"ACK"))]
    return said + ending(call, acknowledged + (talk_us or (5 + call.rng.randrange(55)) * SECOND))


def invite_retransmitted(call: Call) -> list[Said]:
    """The first INVITE was lost behind the tap: sent again after T1 and 2 T1 (RFC 3261 section 17.1.1.2)."""
    said = answered(call)
    first = said[0]
    later = [(at + 1600 * MILLISECOND, side, message) for at, side, message in said[1:]]
    return [first, (500 * MILLISECOND, *first[1:]), (1500 * MILLISECOND, *first[1:]), *later]


def missing_ack(call: Call) -> list[Said]:
    """The 200 is repeated for 64 T1 (RFC 3261 section 13.3.1.4): no ACK comes; the called side sends BYE."""
    said, at = opening(call)
    message, waited, interval = answer(call), 0, 500
    while waited < 32_000:
        said.append((at + waited * MILLISECOND, 1, message))
        waited, interval = waited + interval, min(interval * 2, 4000)
    return said + ending(call, at + 32_500 * MILLISECOND)


def final_failure(call: Call, status: bytes, ringing: bool = True) -> list[Said]:
    """A call refused with a final response, acknowledged in the INVITE's transaction (RFC 3261 section 17.1.1.3)."""
    said, at = opening(call)
    if not ringing:
        said, at = said[:2], 60 * MILLISECOND
    return [*said, (at, 1, response(call, status)), (at + 9 * MILLISECOND, 0, request(call, b"ACK", b"i"))]


def cancelled(call: Call) -> list[Said]:
    """CANCEL while ringing, as in RFC 3665 section 3.8."""
    said, at = opening(call)
    step = 10 * MILLISECOND
    return [
        *said,
        (at, 0, request(call, b"CANCEL", b"i", tagged=False)),
        (at + step, 1, response(call, b"200 OK", b"CANCEL")),
        (at + 2 * step, 1, response(call, b"487 Request Terminated")),
        (at + 3 * step, 0, request(call, b"ACK", b"i")),
    ]


def authentication_loop(call: Call) -> list[Said]:
    """A registration refused again and again with a fresh nonce: six requests, six 401."""
    said: list[Said] = []
    nonce = b""
    for attempt in range(6):
        fields = {**call.fields, b"cseq": 1 + attempt}
        if attempt:
            digest = b"%032x" % call.rng.getrandbits(128)
            fields[b"extra"] = CREDENTIALS % (fields[b"from"], nonce, fields[b"dst"], digest)
        nonce = b"%024x" % call.rng.getrandbits(96)
        at = attempt * 400 * MILLISECOND
        refusal = response(call, b"401 Unauthorized", b"REGISTER", b"r", 1 + attempt, CHALLENGE % nonce)
        said += [(at, 0, REGISTER % fields), (at + 12 * MILLISECOND, 1, refusal)]
    return said


def no_common_codec(call: Call) -> list[Said]:
    """An offer of G.729 alone, refused with 488."""
    offer = description(call.caller.text, call.caller_port, (18,), 7)
    call.fields.update({b"offer": offer, b"offer_bytes": len(offer)})
    return final_failure(call, b"488 Not Acceptable Here", ringing=False)


def private_media_address(call: Call) -> list[Said]:
    """The offer's c= line is an address of a private network (RFC 1918), behind a public source."""
    offer = description(
        b"192.168.%d.%d" % (call.rng.randrange(8), 2 + call.rng.randrange(250)),
        call.caller_port,
        (8, 0, 101),
        9,
    )
    call.fields.update({b"offer": offer, b"offer_bytes": len(offer)})
    return answered(call)


def fragmented(call: Call) -> list[Said]:
    """An offer too long for one UDP packet: the INVITE comes in two IP fragments."""
    offer = description(call.caller.text, call.caller_port, (8, 0, 18, 101), 11, padding=16)
    call.fields.update({b"offer": offer, b"offer_bytes": len(offer)})
    return answered(call)


SCENARIOS: dict[str, Callable[[Call], list[Said]]] = {
    "answered": answered,
    "invite-retransmitted": invite_retransmitted,
    "missing-ack": missing_ack,
    "busy-486": lambda call: final_failure(call, b"486 Busy Here"),
    "no-common-codec-488": no_common_codec,
    "unavailable-503": lambda call: final_failure(call, b"503 Service Unavailable", ringing=False),
    "cancelled-487": cancelled,
    "authentication-loop": authentication_loop,
    "private-media-address": private_media_address,
    "fragmented-udp": fragmented,
    "tcp": answered,
}
