"""Hostile traffic that is well formed a packet at a time: loops, replies of nobody, floods. Rows of the hostile-input catalogue."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from engine.trace import analyze, read, report
from engine.trace.report_text import report_text
from tests.data.copies import numbered
from tests.data.scene import CALLEE, CALLER, Scene

INVITE = (
    "INVITE sip:bob@203.0.113.9 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}\nMax-Forwards: {hops}\n"
    "From: <sip:a@x>;tag=1\nTo: <sip:bob@x>\nCall-ID: {call}\nCSeq: {cseq} INVITE\nContact: <sip:a@192.0.2.1>\nContent-Length: 0\n\n"
)
REPLY = (
    "SIP/2.0 {status} X\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}\nFrom: <sip:a@x>;tag=1\nTo: <sip:bob@x>;tag=2\n"
    "Call-ID: {call}\nCSeq: {cseq} {method}\n{more}Content-Length: 0\n\n"
)
A, B = "192.0.2.1:5060", "203.0.113.9:5060"


def invite(branch: str = "a", call: str = "c@x", cseq: int = 1, hops: str = "70") -> str:
    return INVITE.format(branch=branch, call=call, cseq=cseq, hops=hops)


def reply(status: int, branch: str = "a", call: str = "c@x", cseq: int = 1, method: str = "INVITE", more: str = "") -> str:
    return REPLY.format(status=status, branch=branch, call=call, cseq=cseq, method=method, more=more)


# ---- S19: hops and loops ----


@pytest.mark.parametrize("hops", ["-1", "256", "99999999999", "seventy", ""])
def test_a_max_forwards_that_is_none_is_a_finding_and_no_number(hops: str) -> None:
    """S19"""
    scene = Scene()
    scene.sip(0.0, A, B, invite(hops=hops))
    tables = read(scene.pcap())
    assert len(tables.messages) == 1
    assert "max-forwards-range" in {finding.rule for finding in report(tables).findings}


@pytest.mark.parametrize("hops", ["0", "1"])
def test_a_request_at_the_end_of_its_hops_is_told_as_that(hops: str) -> None:
    """S19: zero is a number as good as any, and a finding of its own."""
    scene = Scene()
    scene.sip(0.0, A, B, invite(hops=hops))
    assert "max-forwards-low" in scene.rules_found()
    assert "max-forwards-range" not in scene.rules_found()


def test_a_request_that_comes_back_with_its_own_via_is_a_loop() -> None:
    """S19: the branch of the proxy is in the message that it gets again."""
    scene = Scene()
    text = invite().replace("\n", "\r\n").encode()
    sent = scene.forward(text, 0.0, "198.51.100.1:5060", "198.51.100.2:5060")
    for hop in range(6):
        ends = ("198.51.100.2:5060", "198.51.100.1:5060") if hop % 2 == 0 else ("198.51.100.1:5060", "198.51.100.2:5060")
        sent = scene.forward(sent, 0.1 + hop * 0.01, *ends)
    assert {"loop-detected"} & scene.rules_found()


def test_a_spiral_of_seventy_hops_is_read_whole() -> None:
    """S19: 70 Vias; every hop is a row, and the message is one call."""
    scene = Scene()
    sent = invite().replace("\n", "\r\n").encode()
    for hop in range(69):
        sent = scene.forward(sent, hop * 0.01, f"198.51.100.{hop + 1}:5060", f"198.51.100.{hop + 2}:5060")
    tables = read(scene.pcap())
    assert len(tables.messages) == 69
    assert len(tables.calls) == 1
    assert "max-forwards-low" in {finding.rule for finding in report(tables).findings}


# ---- S27, S28: state ----


def test_replies_of_no_request_make_no_call_and_no_transaction_up() -> None:
    """S27: strangers are kept as rows, and a call that is there is not changed by them."""
    scene = Scene()
    for at in range(50):
        scene.sip(at * 0.1, B, A, reply(200, branch=f"nobody{at}", call=f"stray{at}@x"))
    tables = read(scene.pcap())
    assert len(tables.messages) == 50
    assert len(tables.invite_calls) == 0


def test_a_reply_with_our_branch_and_another_cseq_is_none_of_ours() -> None:
    """S27: the method of the CSeq and its number tell transactions apart (RFC 3261 17.1.3)."""
    scene = Scene()
    scene.sip(0.0, A, B, invite())
    scene.sip(0.1, B, A, reply(200, cseq=77, method="OPTIONS"))
    scene.sip(0.2, B, A, reply(486))
    tables = read(scene.pcap())
    [call] = tables.invite_calls.tolist()
    assert int(tables.calls.final_status[call]) == 486


def test_two_thousand_provisional_replies_and_one_behind_the_final() -> None:
    """S27: a flood of 1xx, one of them late, changes neither outcome nor times."""
    scene = Scene()
    scene.sip(0.0, A, B, invite())
    for at in range(2000):
        scene.sip(0.1 + at * 0.001, B, A, reply(180))
    scene.sip(3.0, B, A, reply(486))
    scene.sip(3.1, B, A, reply(180))
    tables = read(scene.pcap())
    [call] = tables.invite_calls.tolist()
    assert int(tables.calls.final_status[call]) == 486
    assert int(tables.calls.pdd_ms[call]) == 100
    assert len(report(tables).findings) < 100


def test_a_new_nonce_on_every_retry_is_one_finding() -> None:
    """S28: 500 challenges of one caller are told once, with their count."""
    scene = Scene()
    for at in range(500):
        challenge = f'WWW-Authenticate: Digest realm="x", nonce="n{at}"\n'
        scene.sip(at * 0.1, A, B, invite(branch=f"a{at}", cseq=at + 1).replace("Content-Length", 'Authorization: Digest username="a", '
                  f'realm="x", nonce="n{at - 1}", uri="sip:x", response="0"\nContent-Length'))  # fmt: skip
        scene.sip(at * 0.1 + 0.01, B, A, reply(401, branch=f"a{at}", cseq=at + 1, more=challenge))
    found = [finding for finding in scene.report().findings if finding.rule in ("auth-loop", "auth-stale-loop")]
    assert 1 <= len(found) <= 2
    assert all(len(finding.evidence) <= 5 for finding in found)


# ---- C12: sizes ----


def one(text: bytes | str, source: str = A, target: str = B) -> Scene:
    scene = Scene()
    if isinstance(text, str):
        return scene.sip(0.0, source, target, text)
    return scene.udp(0.0, source, target, text)


@pytest.mark.slow
def test_a_million_call_ids_are_as_many_calls() -> None:
    """C12"""
    count = 1_000_000
    numbers = np.arange(count)
    text = invite(branch="b0000000", call="c0000000@x")
    tables = read(numbered(one(text), count, {b"b0000000": numbers, b"c0000000": numbers}))
    assert len(tables.calls) == len(tables.messages) == count
    assert tables.call_id(0) == "c0000000@x"
    assert {tables.call_id(call) for call in range(count - 10, count)} == {f"c{n:07}@x" for n in range(count - 10, count)}
    made = report(tables)
    assert len(made.findings) < 500
    assert all(len(finding.evidence) <= 5 for finding in made.findings)


@pytest.mark.slow
def test_one_call_of_a_million_messages_is_one_call() -> None:
    """C12"""
    count = 1_000_000
    text = invite(branch="b0000000").replace("INVITE", "INFO")
    tables = read(numbered(one(text), count, {b"b0000000": np.arange(count)}))
    assert len(tables.calls) == 1
    assert int(tables.calls.message_count[0]) == count
    assert len(report(tables).findings) < 100


@pytest.mark.slow
@pytest.mark.parametrize(("packets", "streams"), [(1, 0), (6, 100_000)])
def test_one_flow_of_a_hundred_thousand_ssrcs_is_bounded(packets: int, streams: int) -> None:
    """C12: every packet is counted, a stream is what has more than one, and the report stays one that can be read."""
    scene = Scene()
    for at in range(packets):
        head = bytes([128, 0]) + (at + 1).to_bytes(2, "big") + (160 * at).to_bytes(4, "big")
        scene.udp(at * 0.02, CALLER, CALLEE, head + b"\xa5\xa6\xa7\xa8" + bytes(160))
    tables = read(numbered(scene, 100_000, octets={b"\xa5\xa6\xa7\xa8": np.arange(1, 100_001)}, step_us=120_000))
    assert tables.trace.rtp_packets + tables.trace.other_packets == 100_000 * packets
    assert len(tables.streams) == streams
    assert len(report(tables).findings) < 500


@pytest.mark.slow
def test_ten_million_tiny_packets_are_counted() -> None:
    """C12: nothing is kept of what is nothing."""
    tables = read(numbered(one(b"x", "192.0.2.7:9", "192.0.2.8:9"), 10_000_000))
    assert tables.trace.other_packets == 10_000_000
    assert len(tables.messages) == len(tables.streams) == len(tables.calls) == 0


# ---- L02: text that holds more than a trace ----

SECRETS = (
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "4111111111111111", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "hunter2hunter2",
    "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz", "6629fae49393a05397450978507c4ef1",
)  # fmt: skip


def test_secrets_around_and_in_messages_are_told_nowhere() -> None:
    """L02: a key, a card, a token, a password, a media key and a digest, where logs and messages have them."""
    key, card, token, password, crypto, digest = SECRETS
    body = f"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{crypto}\n"
    headers = (
        f'Authorization: Digest username="a", realm="x", nonce="n", uri="sip:x", response="{digest}"\nX-Password: {password}\n'
        f"X-Token: Bearer {token}\nContent-Type: application/sdp\nContent-Length: {len(body)}\n\n{body}"
    )
    asked = invite().replace("Content-Length: 0\n\n", headers)
    typed = invite(call="im@x").replace("INVITE", "MESSAGE").replace("Content-Length: 0\n\n", f"Content-Type: text/plain\nContent-Length: 16\n\n{card}")
    text = f"-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\npassword={password}\n{asked}\nToken {token}\n{typed}\ncard {card}\n{reply(403)}"
    made = analyze(text.encode())
    assert made.summary.messages == 3
    told = msgspec.json.encode(made).decode() + report_text(made)
    assert [secret for secret in SECRETS if secret in told] == []


def test_a_message_in_the_body_of_a_message_is_no_second_one() -> None:
    """L02: what a NOTIFY quotes of an INVITE, whole, belongs to its body."""
    inner = invite(call="inner@x")
    outer = invite(call="outer@x").replace("INVITE", "NOTIFY")
    text = outer.replace("Content-Length: 0\n\n", f"Content-Type: message/sip\nContent-Length: {len(inner)}\n\n{inner}") + reply(200, call="outer@x", method="NOTIFY")
    for data in (text.encode(), Scene().sip(0.0, A, B, text.partition("SIP/2.0 200")[0]).pcap()):
        tables = read(data)
        assert {tables.call_id(call) for call in range(len(tables.calls))} == {"outer@x"}


# ---- H05, H07: what a HEP stream claims ----


def hep(*chunks: tuple[int, bytes]) -> bytes:
    body = b"".join(b"\0\0" + kind.to_bytes(2, "big") + (6 + len(value)).to_bytes(2, "big") + value for kind, value in chunks)
    return b"HEP3" + (6 + len(body)).to_bytes(2, "big") + body


def of_node(node: int, call: str, key: bytes = b"") -> bytes:
    text = invite(call=call).replace("\n", "\r\n").encode()
    ends = [(3, bytes([192, 0, 2, 1])), (4, bytes([203, 0, 113, 9])), (7, (5060).to_bytes(2, "big")), (8, (5060).to_bytes(2, "big"))]
    chunks = [(1, b"\2"), (2, b"\x11"), *ends, (9, (1_700_000_000).to_bytes(4, "big")), (10, bytes(4)), (11, b"\1"), (12, node.to_bytes(4, "big"))]
    return hep(*chunks, *([(14, key)] if key else []), (15, text))


@pytest.mark.parametrize("key", [b"swordfish", b"sword", b"", b"k" * 60_000])
def test_the_auth_key_of_a_hep_stream_is_told_nowhere(key: bytes) -> None:
    """H05: a file needs no key; whatever one says stays out of reports."""
    made = analyze(of_node(1, "one@x", key))
    assert made.summary.messages == 1
    assert b"INVITE" in msgspec.json.encode(made)
    if key:
        assert key not in msgspec.json.encode(made)


def test_a_node_id_says_nothing_about_whose_a_call_is() -> None:
    """H07: packets of two nodes with one Call-ID are one call of the one who sent the file."""
    tables = read(of_node(1, "same@x") + of_node(2, "same@x") + of_node(3, "other@x"))
    assert len(tables.messages) == 3
    assert len(tables.calls) == 2
