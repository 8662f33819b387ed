"""POST /v1/analyze over a real socket to a real server process: the documented contract, uploads, and refusals."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from api.plans import DAY_S
from tests.contract.test_sipsymposium import TRACE
from tests.data import b2bua_ladder
from tests.data.scene import Scene
from tests.running import ENVIRONMENT, ROOT, Running, server

CATEGORIES = {"signaling", "media", "codec", "security", "compliance", "nat", "auth", "routing", "general"}
SEVERITIES = ["critical", "high", "medium", "low", "info"]
# the documented example's body, letter by letter
DOCUMENTED_BODY = (
    r"""{
"trace": "INVITE sip:bob@biloxi.com SIP/2.0\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776\n...",
"context": {
"issue": "one-way-audio",
"endpoints": ["Softphone", "Carrier"]
}
}"""
)
@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with server() as started:
        yield started


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=30) as made:
        yield made


def capture() -> bytes:
    scene = Scene()
    scene.call(call_id="uploaded@x").basic(talk_s=1.0)
    return scene.pcap()


def refused(response: httpx.Response, status: int, code: str, told: str) -> None:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "code"}
    assert body["code"] == code
    assert told in body["error"]
    assert response.headers["content-type"].startswith("application/json")
    limited(response)


def limited(response: httpx.Response) -> None:
    limit, remaining = (int(response.headers[f"X-RateLimit-{name}"]) for name in ("Limit", "Remaining"))
    assert 0 <= remaining <= limit
    assert int(response.headers["X-RateLimit-Reset"]) % DAY_S == 0


def documented(body: dict[str, Any]) -> None:
    """The response has every documented field, of its documented type."""
    assert {"findings", "severity_counts", "recommendations", "meta"} <= set(body)
    for finding in body["findings"]:
        assert finding["severity"] in SEVERITIES
        assert finding["category"] in CATEGORIES
        assert all(isinstance(finding[name], str) for name in ("title", "detail", "recommendation"))
        assert {"rule", "call_id", "evidence", "count"} <= set(finding)
    assert list(body["severity_counts"]) == SEVERITIES
    for severity, count in body["severity_counts"].items():
        assert count == sum(finding["severity"] == severity for finding in body["findings"])
    advice = {finding["recommendation"] for finding in body["findings"]}
    assert set(body["recommendations"]) <= advice
    meta = body["meta"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", meta["analyzed_at"])
    assert datetime.fromisoformat(meta["analyzed_at"]).utcoffset() is not None
    assert meta["elapsed_ms"] >= 0
    assert meta["plan"] == "self-hosted"
    assert meta["calls_today"] + meta["calls_remaining"] == meta["calls_limit"]
    assert meta["calls_today"] >= 1


# ---- the documented request ----


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_documented_curl_command_works_as_it_stands(running: Running) -> None:
    done = subprocess.run(
        ["curl", "-sS", "-i", "-X", "POST", f"{running.url}/v1/analyze", "-H",
         "Authorization: Bearer sips_your_api_key_here", "-H", "Content-Type: application/json", "-d", DOCUMENTED_BODY],
        capture_output=True, timeout=30, check=True, env=ENVIRONMENT,
    )  # fmt: skip
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0]
    assert b"x-ratelimit-limit" in head.lower()
    documented(msgspec.json.decode(body))


def test_a_private_address_in_sdp_is_found_with_the_documented_fields(client: httpx.Client) -> None:
    response = client.post("/v1/analyze", json={"trace": TRACE, "context": {"issue": "one-way-audio"}})
    assert response.status_code == 200, response.text
    body = response.json()
    documented(body)
    limited(response)
    assert any("192.168.1.100" in finding["detail"] for finding in body["findings"])


def test_a_trace_needs_no_context_and_labels_name_endpoints(client: httpx.Client) -> None:
    text = b2bua_ladder.sngrep_export().decode()
    plain = client.post("/v1/analyze", json={"trace": text})
    labelled = client.post("/v1/analyze", json={"trace": text, "context": {"endpoints": ["Carrier", "SBC", "Bot"]}})
    assert plain.status_code == labelled.status_code == 200
    assert "Carrier" not in plain.text
    assert "Carrier" in labelled.text


def test_no_answer_holds_a_control_character(client: httpx.Client) -> None:
    evil = TRACE.replace("private-1", "private-\x1b]0;x\x07\x9b2J\u202e")
    answers = [client.post("/v1/analyze", json={"trace": evil}), client.get("/nothing%C2%9B%1B/here")]
    assert [answer.status_code for answer in answers] == [200, 404]
    for answer in answers:
        assert not set(answer.content.decode()) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert any("\x9b2J" in finding["call_id"] for finding in answers[0].json()["findings"])


def test_calls_of_today_are_counted(client: httpx.Client) -> None:
    first = client.post("/v1/analyze", json={"trace": TRACE}).json()["meta"]["calls_today"]
    second = client.post("/v1/analyze", json={"trace": TRACE})
    assert second.json()["meta"]["calls_today"] == first + 1
    assert int(second.headers["X-RateLimit-Remaining"]) == second.json()["meta"]["calls_remaining"]


# ---- refusals ----


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        (b"", "request.missing_parameter", "empty"),
        (b"{}", "request.missing_parameter", "trace is required"),
        (b'{"trace": null}', "request.missing_parameter", "trace is required"),
        (b'{"trace": "  "}', "request.missing_parameter", "trace is empty"),
        (b'{"trace": 5}', "request.invalid_parameter", "trace must be a string"),
        (b'["trace"]', "request.invalid_parameter", "must be a JSON object"),
        (b'{"trace": ', "request.invalid_parameter", "no valid JSON"),
        (b'{"trace": "\xff"}', "request.invalid_parameter", "no valid JSON"),
        (b'{"trace": "a", "context": []}', "request.invalid_parameter", "context must be an object"),
        (b'{"trace": "a", "context": {"issue": 1}}', "request.invalid_parameter", "context.issue must be a string"),
        (b'{"trace": "a", "context": {"endpoints": "A"}}', "request.invalid_parameter", "context.endpoints must be"),
        (b'{"trace": "a", "context": {"endpoints": [1]}}', "request.invalid_parameter", "context.endpoints must be"),
    ],
)
def test_a_bad_request_says_which_field_is_wrong(client: httpx.Client, body: bytes, code: str, told: str) -> None:
    refused(client.post("/v1/analyze", content=body, headers={"Content-Type": "application/json"}), 400, code, told)


def test_a_trace_of_more_than_500_kb_is_too_large_and_one_of_500_kb_is_not(client: httpx.Client) -> None:
    room = 500 * 1024 - len(TRACE)
    fits = client.post("/v1/analyze", json={"trace": TRACE + "\n" * room})
    assert fits.status_code == 200, fits.text
    refused(client.post("/v1/analyze", json={"trace": TRACE + "\n" * (room + 1)}), 413, "request.too_large", "500 KB")


def test_the_limit_is_of_utf8_bytes_and_not_of_characters(client: httpx.Client) -> None:
    refused(client.post("/v1/analyze", json={"trace": "é" * (250 * 1024 + 1)}), 413, "request.too_large", "500 KB")


def test_errors_of_the_framework_are_json_too(client: httpx.Client) -> None:
    refused(client.get("/nothing/here"), 404, "route.not_found", "/nothing/here")
    wrong = client.get("/v1/analyze")
    refused(wrong, 405, "route.method_not_allowed", "GET is not possible")
    refused(client.delete("/health"), 405, "route.method_not_allowed", "DELETE")


# ---- uploads ----


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/vnd.tcpdump.pcap"])
def test_a_capture_can_be_the_body(client: httpx.Client, kind: str) -> None:
    response = client.post(
        "/v1/analyze?issue=one-way-audio&endpoints=Phone,Gateway", content=capture(), headers={"Content-Type": kind}
    )
    assert response.status_code == 200, response.text
    body = response.json()
    documented(body)
    assert body["summary"]["streams"] == 2
    assert "Phone" in response.text


def test_a_compressed_capture_can_be_the_body(client: httpx.Client) -> None:
    packed = gzip.compress(capture())
    response = client.post("/v1/analyze", content=packed, headers={"Content-Type": "application/gzip"})
    assert response.json()["summary"]["calls"] == 1


def test_a_capture_can_come_as_a_form(client: httpx.Client) -> None:
    response = client.post(
        "/v1/analyze", files={"file": ("line7.pcap", capture())}, data={"issue": "no-audio", "endpoints": "Phone,Gateway"}
    )
    assert response.status_code == 200, response.text
    documented(response.json())
    assert response.json()["summary"]["streams"] == 2
    assert "Phone" in response.text


def test_a_trace_can_be_plain_text(client: httpx.Client) -> None:
    response = client.post("/v1/analyze", content=TRACE, headers={"Content-Type": "text/plain"})
    assert response.json()["summary"]["messages"] == 1


def test_an_upload_that_is_no_trace_is_told_under_the_senders_name(client: httpx.Client) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(64)
    answer = client.post("/v1/analyze", files={"file": ("../../etc/line7.png", picture)})
    refused(answer, 400, "trace.unreadable", "line7.png: a picture")
    assert "tmp" not in answer.text
    assert "etc" not in answer.text
    body = client.post("/v1/analyze", content=picture, headers={"Content-Type": "application/octet-stream"})
    refused(body, 400, "trace.unreadable", "upload: a picture")


def test_empty_uploads_are_missing_parameters(client: httpx.Client) -> None:
    empty = client.post("/v1/analyze", content=b"", headers={"Content-Type": "application/octet-stream"})
    refused(empty, 400, "request.missing_parameter", "empty")
    form = client.post("/v1/analyze", files={"other": (None, "no file")})
    refused(form, 400, "request.missing_parameter", "no file")


def test_a_broken_form_is_refused(client: httpx.Client) -> None:
    broken = client.post(
        "/v1/analyze", content=b"--x\r\nbroken", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    refused(broken, 400, "request.invalid", "")


# ---- the server ----


def test_health_is_healthy(client: httpx.Client) -> None:
    response = client.get("/health")
    body = response.json()
    assert (response.status_code, body["status"]) == (200, "healthy")
    assert set(body) == {"status", "timestamp", "uptime", "version", "checks", "system"}
    assert {check["status"] for check in body["checks"].values()} == {"healthy", "not_configured"}
    assert {"database", "disk", "config_system", "bus", "processes", "websocket"} <= {name for name, check in body["checks"].items() if check["status"] == "healthy"}
    assert {"sip", "sessions", "rtp_ports", "amqp", "redis", "encryption"} <= set(body["checks"])


def test_many_requests_at_once_are_all_answered(client: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/analyze", json={"trace": TRACE}), range(24)))
    assert [answer.status_code for answer in answers] == [200] * 24
    assert len({answer.json()["meta"]["calls_today"] for answer in answers}) > 1


def test_the_server_says_what_to_try_next(running: Running) -> None:
    url, told = running.url, running.told
    assert url in told
    assert f"curl -X POST {url}/v1/analyze" in told
    assert "trunkline analyze" in told


def test_a_spent_quota_and_a_large_upload_are_refused() -> None:
    with server(TRUNKLINE_CALLS_PER_DAY="2", TRUNKLINE_UPLOAD_MAX_BYTES="4096") as started, started.client("") as client:
        large = client.post("/v1/analyze", content=bytes(5000), headers={"Content-Type": "application/octet-stream"})
        refused(large, 413, "request.too_large", "limit")
        bad = client.post("/v1/analyze", json={})
        assert bad.headers["X-RateLimit-Remaining"] == "2"
        for left in ("1", "0"):
            answer = client.post("/v1/analyze", json={"trace": TRACE})
            assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (200, left)
        spent = client.post("/v1/analyze", json={"trace": TRACE})
        refused(spent, 429, "rate.limited", "2 requests a day")
        assert spent.headers["X-RateLimit-Remaining"] == "0"
        assert 0 < int(spent.headers["Retry-After"]) <= DAY_S
        assert client.get("/health").status_code == 200


def test_a_port_that_is_taken_is_told(running: Running, tmp_path: Path) -> None:
    port = running.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "api", "serve", "--data", str(tmp_path), "--http-port", port], capture_output=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 2
    assert b"another program listens there" in done.stderr
