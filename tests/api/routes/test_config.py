"""/api/config over HTTP: shown without secrets, candidates judged, reloads that change what can change in every process."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.running import Running, server

DOCUMENT = """
[http]
workers = 2
[auth]
enabled = "on"
[plans.pro]
calls_per_day = 100
[sip]
username = "1001"
password = "very-secret"
"""
ARRIVED_S = 20.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "trunkline.toml"
    path.write_text(DOCUMENT)
    return path


@pytest.fixture
def running(path: Path) -> Iterator[Running]:
    with server("--config", str(path)) as started:
        yield started


def until(client: httpx.Client, found: object, told: str) -> None:
    """Waits until every process answers so: twenty answers in a row, each on a connection of its own."""
    deadline, row = time.monotonic() + ARRIVED_S, 0
    while row < 20:
        with httpx.Client(base_url=client.base_url, headers=client.headers) as one:
            got = one.get("/api/config").json()["config"]["plans"]["pro"]["calls_per_day"]
        row = row + 1 if got == found else 0
        assert time.monotonic() < deadline, f"{told}: still {got}"


@pytest.mark.slow
def test_a_reload_reaches_every_process_by_request_and_by_signal(running: Running, path: Path) -> None:
    with running.client() as admin:
        before = admin.get("/api/config/reload/status").json()
        assert before["enabled"] and before["last_reload"] is None
        assert before["current_config_path"] == str(path)

        path.write_text(DOCUMENT.replace("calls_per_day = 100", "calls_per_day = 7").replace("workers = 2", "workers = 1"))
        told = admin.post("/api/config/reload").json()
        assert told["success"]
        changes = {change["field"]: (change["old_value"], change["new_value"]) for change in told["event"]["changes"]}
        assert changes["plans.pro.calls_per_day"] == (100, 7)
        assert any(text.startswith("http.workers: takes a restart") for text in told["event"]["warnings"])
        assert told["event"]["trigger_type"] == "api"
        until(admin, 7, "after the request")
        made = admin.post("/v1/keys/generate", json={"name": "seven", "plan": "pro", "owner": "seven"}).json()
        with running.client(made["key"]) as client:
            assert client.get("/v1/keys").headers["X-RateLimit-Limit"] == "7"

        path.write_text(DOCUMENT.replace("calls_per_day = 100", "calls_per_day = 9"))
        running.signal(signal.SIGHUP)
        until(admin, 9, "after the signal")


@pytest.mark.slow
def test_a_faulty_document_changes_nothing_and_is_told(running: Running, path: Path) -> None:
    path.write_text(DOCUMENT.replace("calls_per_day", "calls_per_dya"))
    with running.client() as admin:
        told = admin.post("/api/config/reload")
        assert told.status_code == 400
        assert not told.json()["success"]
        assert "plans.pro.calls_per_dya" in told.text
        until(admin, 100, "after a faulty reload")
        assert admin.post("/v1/analyze", json={"trace": "OPTIONS sip:a@b SIP/2.0\r\n\r\n"}).status_code == 200
        path.write_text(DOCUMENT)
        assert admin.post("/api/config/reload").json()["success"]
        assert admin.get("/api/config/reload/status").json()["last_reload"]["success"]


@pytest.mark.slow
def test_secrets_are_never_shown_and_candidates_are_judged(running: Running, path: Path) -> None:
    with running.client() as admin:
        shown = admin.get("/api/config")
        assert "very-secret" not in shown.text
        assert shown.json()["config"]["sip"]["password"] == "***"
        assert shown.json()["sources"]["sip.username"] == "file"

        good = admin.post("/api/config/validate", content=json.dumps({"http": {"port": 8081}}))
        assert (good.status_code, good.json()["valid"], good.json()["errors"]) == (200, True, [])
        bad = admin.post("/api/config/validate", content="[http]\nport = 99999\nprot = 1\n", headers={"Content-Type": "application/toml"})
        assert (bad.status_code, bad.json()["valid"]) == (400, False)
        assert {fault["field"] for fault in bad.json()["errors"]} == {"http.port", "http.prot"}
        theirs = {"PauseResumeConfig": {"Enabled": True, "APIKey": "hidden-7"}, "Cluster": {"Redis": {"Password": "hidden-8"}}}
        told = admin.post("/api/config/validate", content=json.dumps(theirs))
        assert (told.status_code, [advice["field"] for advice in told.json()["warnings"]]) == (200, ["cluster.redis.password"])
        assert "hidden" not in told.text
        yaml = admin.post("/api/config/validate", content="pause_resume:\n  enabled: perhaps\n", headers={"Content-Type": "application/yaml"})
        assert (yaml.status_code, [fault["field"] for fault in yaml.json()["errors"]]) == (400, ["pause_resume.enabled"])
        secret = admin.post("/api/config/validate", content=json.dumps({"sip": {"password": 12345678}}))
        assert "12345678" not in secret.text
        for body in (b"", b"   ", b"{", b"\xff\xfe", b"[[[["):
            assert admin.post("/api/config/validate", content=body).status_code == 400
        assert admin.post("/api/config/validate", content=b"#" * (1 << 20) + b"##").status_code == 413
    with running.client("") as nobody:
        for method, route in (("GET", ""), ("POST", "/validate"), ("POST", "/reload"), ("GET", "/reload/status")):
            assert nobody.request(method, f"/api/config{route}").status_code == 401
