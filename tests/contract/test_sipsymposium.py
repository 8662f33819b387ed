"""The documented examples of the analysis API run unchanged, base URL and key aside, and get what is documented."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests

from tests.running import ENVIRONMENT, Running, server

SEVERITIES = ["critical", "high", "medium", "low", "info"]
CATEGORIES = {"signaling", "media", "codec", "security", "compliance", "nat", "auth", "routing", "general"}
CURL_BODY = r"""{
"trace": "INVITE sip:bob@biloxi.com SIP/2.0\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776\n...",
"context": {
"issue": "one-way-audio",
"endpoints": ["Softphone", "Carrier"]
}
}"""
JAVASCRIPT = r"""
const sipTraceText = process.argv[2];
const response = await fetch(process.argv[3] + '/v1/analyze', {
method: 'POST',
headers: {
'Authorization': 'Bearer ' + process.argv[4],
'Content-Type': 'application/json',
},
body: JSON.stringify({
trace: sipTraceText,
context: {
issue: 'registration-failing',
},
}),
});
const { findings, severity_counts, recommendations, meta } = await response.json();
console.log(`Found ${findings.length} issues`);
console.log(`Critical: ${severity_counts.critical}, High: ${severity_counts.high}`);
recommendations.forEach(r => console.log(' -', r));
console.log(JSON.stringify(meta));
"""
TRACE = (
    "2024/07/08 07:19:38.107000 203.0.113.5:5060 -> 198.51.100.7:5060\n"
    "INVITE sip:bob@biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bK776\r\n"
    "From: <sip:alice@atlanta.com>;tag=1\r\nTo: <sip:bob@biloxi.com>\r\nCall-ID: private-1\r\nCSeq: 1 INVITE\r\n"
    "Contact: <sip:alice@203.0.113.5>\r\nMax-Forwards: 70\r\nContent-Type: application/sdp\r\n\r\n"
    "v=0\r\no=- 1 1 IN IP4 192.168.1.100\r\ns=-\r\nc=IN IP4 192.168.1.100\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with server(TRUNKLINE_AUTH_ENABLED="on", TRUNKLINE_PLANS_PRO_CALLS_PER_DAY="100") as started:
        yield started


@pytest.fixture(scope="module")
def pro_key(running: Running) -> str:
    with running.client() as admin:
        made = admin.post("/v1/keys/generate", json={"name": "documented", "plan": "pro", "owner": "dana"})
        assert made.status_code == 201, made.text
        key: str = made.json()["key"]
        return key


def documented(body: dict[str, Any]) -> None:
    assert {"findings", "severity_counts", "recommendations", "meta"} <= set(body)
    for finding in body["findings"]:
        assert finding["severity"] in SEVERITIES
        assert finding["category"] in CATEGORIES
        assert all(isinstance(finding[name], str) for name in ("title", "detail", "recommendation"))
    assert list(body["severity_counts"]) == SEVERITIES
    assert all(isinstance(text, str) for text in body["recommendations"])
    meta = body["meta"]
    assert meta["plan"] == "pro"
    assert meta["calls_limit"] == 100
    assert meta["calls_today"] + meta["calls_remaining"] == 100


def test_the_curl_example_is_answered(running: Running, pro_key: str) -> None:
    assert shutil.which("curl")
    done = subprocess.run(
        ["curl", "-s", "-D", "/dev/stderr", "-X", "POST", f"{running.url}/v1/analyze",
         "-H", f"Authorization: Bearer {pro_key}", "-H", "Content-Type: application/json", "-d", CURL_BODY],
        capture_output=True, timeout=60, check=True, env=ENVIRONMENT,
    )  # fmt: skip
    documented(json.loads(done.stdout))
    told = done.stderr.decode().lower()
    assert "x-ratelimit-limit: 100" in told
    assert "x-ratelimit-remaining:" in told
    assert "x-ratelimit-reset:" in told


def test_the_javascript_example_is_answered(running: Running, pro_key: str) -> None:
    node = shutil.which("node")
    assert node, "the documented JavaScript example needs Node.js"
    done = subprocess.run(
        [node, "--input-type=module", "-", TRACE, running.url, pro_key],
        input=JAVASCRIPT.encode(), capture_output=True, timeout=60, check=True, env=ENVIRONMENT,
    )  # fmt: skip
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("Found ") and lines[0].endswith(" issues")
    assert lines[1].startswith("Critical: ")
    assert json.loads(lines[-1])["plan"] == "pro"


def test_the_python_example_is_answered(running: Running, pro_key: str, capsys: pytest.CaptureFixture[str]) -> None:
    response = requests.post(
        f"{running.url}/v1/analyze",
        headers={"Authorization": f"Bearer {pro_key}", "Content-Type": "application/json"},
        json={"trace": TRACE, "context": {"issue": "calls-dropping", "endpoints": ["Asterisk", "Telnyx"]}},
        timeout=60,
    )
    data = response.json()
    documented(data)
    for finding in data["findings"]:
        print(f"[{finding['severity'].upper()}] {finding['title']}")
        print(f" {finding['recommendation']}")
    assert "[CRITICAL] Private address in SDP" in capsys.readouterr().out


def test_keys_are_listed_without_the_key_itself(running: Running, pro_key: str) -> None:
    with running.client(pro_key) as dana:
        listed = dana.get("/v1/keys")
        assert listed.status_code == 200
        assert pro_key not in listed.text
        keys = listed.json()["keys"]
        assert [key["name"] for key in keys] == ["documented"]
        assert pro_key.startswith(keys[0]["prefix"])


def test_a_revoked_key_is_refused_at_once(running: Running) -> None:
    with running.client() as admin:
        made = admin.post("/v1/keys/generate", json={"name": "short-lived"}).json()
        with running.client(made["key"]) as holder:
            assert holder.get("/v1/keys").status_code == 200
            gone = admin.request("DELETE", "/v1/keys/revoke", json={"key_id": made["id"]})
            assert gone.status_code == 200
            assert gone.json()["revoked"] is True
            # every worker knows within a second; half of it is the time a key may be answered from memory
            deadline = httpx.Timeout(5)
            assert _refused_within_a_second(holder, deadline)


def _refused_within_a_second(holder: httpx.Client, timeout: httpx.Timeout) -> bool:
    import time

    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        if holder.get("/v1/keys", timeout=timeout).status_code == 401:
            return True
        time.sleep(0.05)
    return holder.get("/v1/keys", timeout=timeout).status_code == 401


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [("", 401, "auth.required"), ("sips_your_api_key_here", 401, "auth.invalid"), ("sips_" + "0" * 36, 401, "auth.invalid")],
)
def test_without_a_valid_key_the_answer_is_401(running: Running, key: str, status: int, code: str) -> None:
    with running.client(key) as nobody:
        answer = nobody.post("/v1/analyze", json={"trace": TRACE})
        assert answer.status_code == status
        body = answer.json()
        assert body["code"] == code
        assert isinstance(body["error"], str)
        assert "X-RateLimit-Limit" not in answer.headers


def test_a_plan_without_the_api_is_403(running: Running) -> None:
    with running.client() as admin:
        made = admin.post("/v1/keys/generate", json={"name": "free", "owner": "frida", "plan": "free"}).json()
    with running.client(made["key"]) as free:
        answer = free.post("/v1/analyze", json={"trace": TRACE})
        assert answer.status_code == 403
        assert answer.json()["code"] == "plan.no_api_access"


def test_a_trace_over_500_kb_is_413(running: Running, pro_key: str) -> None:
    with running.client(pro_key) as dana:
        answer = dana.post("/v1/analyze", json={"trace": "INVITE sip:a@b SIP/2.0\r\n" + "x" * 513_000})
        assert answer.status_code == 413
        assert answer.json()["code"] == "request.too_large"


def test_a_missing_trace_is_400(running: Running, pro_key: str) -> None:
    with running.client(pro_key) as dana:
        answer = dana.post("/v1/analyze", json={"context": {}})
        assert answer.status_code == 400
        assert answer.json()["code"] == "request.missing_parameter"
        assert int(answer.headers["X-RateLimit-Limit"]) == 100
