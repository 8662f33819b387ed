"""The canonical good flows: files are what the builder builds, and each is a sound trace by itself."""

from __future__ import annotations

import re

import pytest

from engine._native import sip
from engine.trace import analyze
from tests.rfc import build_flows

FLOWS = build_flows.flows()
# What the RFCs' examples do by choice, and what is rightly told of them: clear signalling and media, MD5.
CHOICES = {"signaling-cleartext", "srtp-not-used", "auth-digest-md5"}


def messages(name: str) -> list[sip.Message]:
    scans = [sip.scan(message.wire()) for *_, message in FLOWS[name].said]
    return [message for message in scans if message is not None]


def test_files_are_what_the_builder_builds() -> None:
    kept = {path.stem: path.read_bytes() for path in build_flows.FLOWS.glob("*.txt")}
    assert kept == {name: flow.text() for name, flow in FLOWS.items()}


@pytest.mark.parametrize("name", FLOWS)
def test_every_message_is_scanned_without_a_fault(name: str) -> None:
    neutral = sip.Flag.LONG
    assert [message.flags & ~neutral for message in messages(name)] == [sip.Flag(0)] * len(FLOWS[name].said)


@pytest.mark.parametrize("name", FLOWS)
def test_every_response_answers_a_request_before_it(name: str) -> None:
    seen = set()
    for message in messages(name):
        via = message.header("Via")[0]
        key = (sip.parse_via(via).branch, (sip.parse_cseq(message.header("CSeq")[0]) or (0, b""))[1])
        if message.is_response:
            assert key in seen
        seen.add(key)


@pytest.mark.parametrize("name", FLOWS)
def test_every_request_but_ack_gets_a_final_response(name: str) -> None:
    waiting: dict[tuple[bytes, tuple[int, bytes] | None], bytes] = {}
    for message in messages(name):
        key = (sip.parse_via(message.header("Via")[0]).branch, sip.parse_cseq(message.header("CSeq")[0]))
        if message.is_response and message.status >= 200:
            waiting.pop(key)
        elif not message.is_response and message.method != b"ACK":
            waiting[key] = message.method
    assert not waiting


@pytest.mark.parametrize("name", FLOWS)
def test_digest_credentials_are_right(name: str) -> None:
    for message in messages(name):
        for value in message.header("Authorization") + message.header("Proxy-Authorization"):
            told = dict(re.findall(r'(\w+)="?([^",]+)"?', value.decode()))
            again = build_flows.digest(
                message.method.decode(), told["uri"], told["username"], told["realm"], told["nonce"]
            )
            assert again == value.decode()


@pytest.mark.parametrize("name", FLOWS)
def test_a_good_flow_gives_nothing_worse_than_information(name: str) -> None:
    report = analyze((build_flows.FLOWS / f"{name}.txt").read_bytes())
    assert report.summary.messages == len(FLOWS[name].said)
    assert report.summary.problems == []
    assert {finding.rule for finding in report.findings if finding.severity != "info"} <= CHOICES
