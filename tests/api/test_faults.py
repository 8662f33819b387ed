"""A whole server under faults: any process killed under load, quotas raced, clients that misbehave."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.contract.test_sipsymposium import TRACE
from tests.running import Running, server

pytestmark = pytest.mark.slow

RACERS = 64
LIMIT = 100


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with server(
        TRUNKLINE_AUTH_ENABLED="on", TRUNKLINE_HTTP_WORKERS="2", TRUNKLINE_PLANS_PRO_CALLS_PER_DAY=str(LIMIT)
    ) as started:
        yield started


def children(running: Running) -> dict[str, int]:
    with running.client() as admin:
        return {child["name"]: child["pid"] for child in admin.get("/status").json()["processes"]["children"]}


def test_64_clients_racing_one_quota_get_exactly_the_limit(running: Running) -> None:
    with running.client() as admin:
        made = admin.post("/v1/keys/generate", json={"name": "racer", "owner": "racer", "plan": "pro"}).json()

    def race(_: int) -> list[int]:
        with running.client(made["key"]) as client:
            return [client.post("/v1/analyze", json={"trace": TRACE}).status_code for _ in range(3)]

    with ThreadPoolExecutor(RACERS) as pool:
        told = [status for statuses in pool.map(race, range(RACERS)) for status in statuses]
    assert set(told) == {200, 429}
    assert told.count(200) == LIMIT
    with running.client(made["key"]) as client:
        refused = client.post("/v1/analyze", json={"trace": TRACE})
        assert refused.status_code == 429
        assert refused.json()["code"] == "rate.limited"
        assert refused.headers["X-RateLimit-Remaining"] == "0"
        assert int(refused.headers["Retry-After"]) >= 1


def test_no_answered_write_is_lost_when_any_process_is_killed(running: Running) -> None:
    """kill -9 of each child in turn while keys are being made: every key that was answered is there afterwards."""
    stop = threading.Event()
    answered: list[str] = []

    def write(worker: int) -> None:
        while not stop.is_set():
            try:
                with running.client() as admin:
                    for _ in range(20):
                        made = admin.post("/v1/keys/generate", json={"name": f"load {worker}"})
                        if made.status_code == 201:
                            answered.append(made.json()["id"])
            except httpx.HTTPError:
                time.sleep(0.05)  # its process was killed: another one answers

    with ThreadPoolExecutor(3) as pool:
        writing = [pool.submit(write, worker) for worker in range(3)]
        for name in sorted(children(running)):
            before = until_replaced(running, name, 0)
            os.kill(before, signal.SIGKILL)
            until_replaced(running, name, before)
        stop.set()
        for writer in writing:
            writer.result(60)
    assert len(answered) > 10
    with running.client() as admin:
        kept = {key["id"] for key in admin.get("/v1/keys", params={"all": "true"}).json()["keys"]}
    assert set(answered) <= kept


def until_replaced(running: Running, name: str, before: int) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            pid = children(running).get(name)
        except (httpx.HTTPError, KeyError, ValueError):
            pid = None
        if pid and pid != before:
            return pid
        time.sleep(0.05)
    raise AssertionError(f"{name} was not replaced")


def test_a_gzip_bomb_is_refused(running: Running) -> None:
    bomb = gzip.compress(b"INVITE sip:a@b SIP/2.0\r\n" + b"\0" * (64 << 20), 9)
    with running.client() as admin:
        answer = admin.post(
            "/v1/analyze", content=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
        )
    assert answer.status_code in (400, 413, 415)


def test_deep_json_is_refused(running: Running) -> None:
    with running.client() as admin:
        body = b'{"trace":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        answer = admin.post("/v1/analyze", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"].startswith("request.")


@pytest.mark.parametrize("kind", ["application/xml", "image/png", "text/html"])
def test_a_media_type_that_is_none_of_ours_is_415(running: Running, kind: str) -> None:
    with running.client() as admin:
        answer = admin.post("/v1/analyze", content=b"<a/>", headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert answer.json()["code"] == "request.media_type"


def test_huge_headers_are_refused(running: Running) -> None:
    with running.client() as admin:
        answer = admin.get("/health", headers={"X-Filler": "x" * 60_000})
    assert answer.status_code == 431


def test_a_body_over_the_limit_is_refused_before_it_is_read_whole(running: Running) -> None:
    host, _, port = running.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        head = (
            "POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {running.key}\r\nContent-Length: 900000000\r\n\r\n"
        )
        raw.sendall(head.encode() + b'{"trace": "' + b"x" * 65_536)
        told = raw.recv(65_536)
    assert told.startswith(b"HTTP/1.1 413 ")


def test_slow_clients_do_not_hold_up_the_others(running: Running) -> None:
    host, _, port = running.url.removeprefix("http://").partition(":")
    slow = [socket.create_connection((host, int(port)), timeout=20) for _ in range(100)]
    try:
        for one in slow:
            one.sendall(b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Le")
        with running.client() as admin:
            assert admin.post("/v1/analyze", json={"trace": TRACE}).status_code == 200
    finally:
        for one in slow:
            one.close()


def test_every_answer_has_a_request_id_and_our_name(running: Running) -> None:
    with running.client("") as nobody:
        for path in ("/health", "/nowhere", "/v1/keys"):
            answer = nobody.get(path, headers={"X-Request-ID": "trace-me-1"})
            assert answer.headers["X-Request-ID"] == "trace-me-1"
            version = nobody.get("/health").json()["version"]
            assert answer.headers["Server"] == f"siprec/{version} trunkline/{version}"
            if answer.status_code >= 400:
                assert set(answer.json()) >= {"error", "code"}


def test_the_log_of_changes_names_who_did_what(running: Running) -> None:
    with running.client() as admin:
        made = admin.post("/v1/keys/generate", json={"name": "audited"}).json()
        rows = admin.get("/api/audit", params={"limit": 50}).json()["entries"]
    mine = [row for row in rows if row["target"] == made["id"]]
    assert [(row["action"], row["outcome"], row["actor"]) for row in mine] == [("keys.generate", "done", "admin")]
    assert made["key"] not in json.dumps(rows)
