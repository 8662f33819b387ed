"""`trunkline serve` as it is run: the first key, tokens, metrics of all processes, RabbitMQ, OpenTelemetry, and who may listen where."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from engine.bus import Message, open_bus
from tests import postgres
from tests.contract.test_sipsymposium import TRACE
from tests.ports import free_ports
from tests.rabbitmq import broker, directory_of_run
from tests.running import ROOT, server

pytestmark = pytest.mark.slow

ARRIVED_S = 30.0


def refused_to_start(*arguments: str, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    done = subprocess.run(
        [sys.executable, "-m", "api", "serve", *arguments], cwd=ROOT, env={**inherited, **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


# ---- who may listen where ----


def test_listening_beyond_this_machine_without_keys_is_refused(tmp_path: Path) -> None:
    told = refused_to_start("--data", str(tmp_path), "--host", "0.0.0.0", TRUNKLINE_AUTH_ENABLED="off")
    assert "http.host" in told or "auth.enabled" in told
    assert "without keys is refused" in told


def test_a_port_in_use_is_told_in_a_sentence(tmp_path: Path) -> None:
    with server() as running:
        port = running.url.rpartition(":")[2]
        told = refused_to_start("--data", str(tmp_path), "--http-port", port)
    assert f"port {port}" in told


def test_a_second_server_over_the_same_data_is_refused() -> None:
    with server() as running:
        assert "already" in refused_to_start("--data", str(running.data), "--http-port", str(free_ports()))


def test_a_faulty_setting_is_named(tmp_path: Path) -> None:
    told = refused_to_start("--data", str(tmp_path), TRUNKLINE_HTTP_WORKERS="many")
    assert "http.workers" in told


# ---- the first key ----


def test_the_first_start_shows_a_key_once_and_the_next_none(tmp_path: Path) -> None:
    with server(data=tmp_path / "data", TRUNKLINE_AUTH_ENABLED="on") as running:
        key = running.key
        assert re.fullmatch(r"sips_[0-9a-f]{40}", key)
        with running.client() as admin:
            assert admin.get("/status").status_code == 200
    with server(data=tmp_path / "data", TRUNKLINE_AUTH_ENABLED="on") as running:
        assert "sips_" not in running.told
        with running.client(key) as admin:
            assert admin.get("/status").status_code == 200
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


def test_the_environment_sets_the_first_key_instead(tmp_path: Path) -> None:
    chosen = "sips_" + "ab" * 20
    with server(TRUNKLINE_AUTH_ENABLED="on", TRUNKLINE_ADMIN_KEY=chosen) as running:
        assert "sips_" not in running.told
        with running.client(chosen) as admin:
            assert admin.get("/v1/keys").json()["keys"][0]["owner"] == "admin"


# ---- tokens ----


def test_tokens_of_the_configured_key_let_in_and_others_do_not(tmp_path: Path) -> None:
    ours, theirs = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    public = ours.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(public)
    claims = {"sub": "tess", "exp": int(time.time()) + 600, "scope": "traces.analyze", "plan": "pro", "aud": "trunkline"}
    with server(
        TRUNKLINE_AUTH_ENABLED="on", TRUNKLINE_AUTH_JWT_ALGORITHM="ES256", TRUNKLINE_AUTH_JWT_AUDIENCE="trunkline",
        TRUNKLINE_AUTH_JWT_PUBLIC_KEY_FILE=str(tmp_path / "public.pem"), TRUNKLINE_PLANS_PRO_CALLS_PER_DAY="100",
    ) as running:  # fmt: skip
        with running.client(jwt.encode(claims, ours, "ES256")) as tess:
            answer = tess.post("/v1/analyze", json={"trace": TRACE})
            assert answer.status_code == 200, answer.text
            assert answer.json()["meta"]["plan"] == "pro"
            assert tess.get("/api/v1/calls").status_code == 403
        wrong = [
            jwt.encode(claims, theirs, "ES256"),
            jwt.encode({**claims, "exp": int(time.time()) - 600}, ours, "ES256"),
            jwt.encode({**claims, "aud": "others"}, ours, "ES256"),
            jwt.encode(claims, "", algorithm="none"),
            # the public key as a secret: the classic confusion of algorithms
            _signed_with_text(claims, public),
        ]
        for token in wrong:
            with running.client(token) as nobody:
                told = nobody.post("/v1/analyze", json={"trace": TRACE})
                assert told.status_code == 401, token
                assert told.headers["WWW-Authenticate"].startswith("Bearer")


def _signed_with_text(claims: dict[str, Any], secret: bytes) -> str:
    import base64
    import hashlib
    import hmac
    import json

    def packed(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    told = packed(b'{"alg":"HS256","typ":"JWT"}') + b"." + packed(json.dumps(claims).encode())
    return (told + b"." + packed(hmac.digest(secret, told, hashlib.sha256))).decode()


# ---- metrics ----


def test_metrics_of_all_processes_are_summed_and_survive_a_crash() -> None:
    with server(TRUNKLINE_HTTP_WORKERS="2") as running:
        for _ in range(24):
            with running.client() as client:
                assert client.post("/v1/analyze", json={"trace": TRACE}).status_code == 200
        with running.client() as client:
            children = {child["name"]: child["pid"] for child in client.get("/status").json()["processes"]["children"]}
        os.kill(children["api.0"], signal.SIGKILL)
        deadline = time.monotonic() + ARRIVED_S
        while True:
            try:
                with running.client() as client:
                    text = client.get("/metrics").text
                    simple = client.get("/metrics/simple").json()
                break
            except OSError:
                assert time.monotonic() < deadline
            except Exception:
                time.sleep(0.05)
        counted = {
            sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples if not sample.labels
        }
        assert counted["trunkline_analyses_total"] == simple["trunkline_analyses_total"] == 24
        assert 'trunkline_http_requests_total{method="POST",route="/v1/analyze",status="200"} 24.0' in text


def test_metrics_can_be_kept_for_those_who_may_see_them() -> None:
    with server(TRUNKLINE_AUTH_ENABLED="on", TRUNKLINE_HTTP_METRICS_PUBLIC="false") as running:
        with running.client("") as nobody:
            assert nobody.get("/metrics").status_code == 401
            assert nobody.get("/health").status_code == 200
            assert nobody.get("/docs").headers["content-type"].startswith("text/html")
        with running.client() as admin:
            assert admin.get("/metrics").headers["content-type"].startswith("text/plain")
            assert admin.get("/status").json()["processes"]["ready"]


# ---- RabbitMQ and OpenTelemetry ----


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker(directory_of_run(tmp_path_factory.getbasetemp())) as url:
        yield url


def test_a_kept_trace_is_told_to_other_machines(broker_url: str) -> None:
    import asyncio

    prefix = f"t{os.urandom(6).hex()}"
    url = f"{broker_url}?prefix={prefix}"
    told: list[Any] = []

    async def listen() -> None:
        heard = asyncio.Event()

        async def on_event(message: Message) -> None:
            told.append(message.read())
            heard.set()

        async with await open_bus(url, "other.machine") as bus:
            await bus.subscribe("trace.#", on_event)

            def keep() -> None:
                with server(TRUNKLINE_BUS_URL=url) as running, running.client() as client:
                    deadline = time.monotonic() + ARRIVED_S
                    while client.get("/health").json()["checks"]["amqp"]["status"] != "healthy":
                        assert time.monotonic() < deadline
                        time.sleep(0.05)
                    answer = client.post("/v1/analyze", json={"trace": TRACE, "store": True})
                    assert answer.status_code == 200, answer.text

            await asyncio.to_thread(keep)
            async with asyncio.timeout(ARRIVED_S):
                await heard.wait()

    asyncio.run(listen())
    assert told[0]["call_count"] == 1
    assert told[0]["calls"][0]["call_ids"] == ["private-1"]


def test_a_broker_that_is_away_holds_nothing_up() -> None:
    with server(TRUNKLINE_BUS_URL="amqp://guest:guest@127.0.0.1:1/") as running, running.client() as client:
        assert client.post("/v1/analyze", json={"trace": TRACE, "store": True}).status_code == 200
        told = client.get("/health")
        assert (told.status_code, told.json()["status"]) == (200, "degraded")
        assert told.json()["checks"]["amqp"]["status"] == "degraded"


def test_each_request_is_a_span_of_the_callers_trace() -> None:
    sent: list[ExportTraceServiceRequest] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            sent.append(ExportTraceServiceRequest.FromString(body))
            assert self.path == "/v1/traces"
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{collector.server_port}"
        with server(TRUNKLINE_TELEMETRY_OTLP_ENDPOINT=address) as running, running.client() as client:
            parent = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
            assert client.post("/v1/analyze", json={"trace": TRACE}, headers=parent).status_code == 200
            assert client.get("/nothing/here").status_code == 404
        spans = {
            span.name: span for request in sent for told in request.resource_spans for scope in told.scope_spans for span in scope.spans
        }
        resource = {attribute.key: attribute.value.string_value for attribute in sent[0].resource_spans[0].resource.attributes}
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    analyzed = spans["POST /v1/analyze"]
    attributes = {attribute.key: attribute.value for attribute in analyzed.attributes}
    assert analyzed.trace_id.hex() == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert analyzed.parent_span_id.hex() == "00f067aa0ba902b7"
    assert attributes["http.route"].string_value == "/v1/analyze"
    assert attributes["http.response.status_code"].int_value == 200
    assert spans["GET"].parent_span_id == b""
    assert resource["service.name"] == "trunkline"


# ---- the commands beside it ----


def command(data: Path, *arguments: str, code: int = 0) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    done = subprocess.run(
        [sys.executable, "-m", "api", *arguments, "--data", str(data)], cwd=ROOT, env=inherited,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done
    return done.stdout if code == 0 else done.stderr


def test_keys_are_made_listed_and_revoked_beside_a_running_server() -> None:
    import json

    with server(TRUNKLINE_AUTH_ENABLED="on") as running:
        made = json.loads(command(running.data, "keys", "create", "--name", "desk", "--owner", "desk", "--scopes", "traces.analyze", "--json"))
        with running.client(made["key"]) as desk:
            assert desk.post("/v1/analyze", json={"trace": TRACE}).status_code == 200
            listed = json.loads(command(running.data, "keys", "list", "--json"))
            assert {row["owner"] for row in listed} == {"admin", "desk"}
            assert made["key"] not in command(running.data, "keys", "list")
            command(running.data, "keys", "revoke", "--key", made["id"])
            time.sleep(1.0)  # the promise: refused everywhere within a second
            told = desk.post("/v1/analyze", json={"trace": TRACE})
            assert (told.status_code, told.json()["code"]) == (401, "auth.revoked")
        assert "no key" in command(running.data, "keys", "revoke", "--key", made["id"], code=2)
        assert "no plan" in command(running.data, "keys", "create", "--name", "x", "--owner", "x", "--plan", "gold", code=2)


def test_the_configuration_is_checked_and_shown_with_its_sources(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("[http]\nport = 9000\n[sip]\npassword = 'hidden-one'\n")
    shown = command(tmp_path / "data", "config", "show", "--config", str(tmp_path / "t.toml"))
    assert "http.port = 9000  # file" in shown
    assert "hidden-one" not in shown
    assert "good" in command(tmp_path / "data", "config", "check", "--config", str(tmp_path / "t.toml"))
    (tmp_path / "t.toml").write_text("[http]\nprot = 9000\n")
    assert "http.prot" in command(tmp_path / "data", "config", "check", "--config", str(tmp_path / "t.toml"), code=2)


def test_the_store_is_brought_up_to_date_once(tmp_path: Path) -> None:
    assert "was made" in command(tmp_path / "data", "db", "upgrade")
    assert "already" in command(tmp_path / "data", "db", "upgrade")


# ---- logs ----


def test_keys_that_come_in_addresses_are_in_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither the ones that are good, nor those of strangers, of requests and of WebSockets, however much is logged."""
    wrong = "sips_" + "7" * 40
    settings = {"TRUNKLINE_LOG_LEVEL": "debug", "TRUNKLINE_AUTH_ENABLED": "on", "TRUNKLINE_HTTP_KEYS_IN_QUERY": "true", "TRUNKLINE_PAUSE_RESUME_ENABLED": "true"}
    with server(TRUNKLINE_PAUSE_RESUME_API_KEY="pause-canary-1", **settings) as running, running.client("") as nobody:
        key = running.key
        assert nobody.get(f"/api/sessions?api_key={key}").status_code == 200
        assert nobody.get(f"/api/sessions?api_key={wrong}").status_code == 401
        assert nobody.get("/api/sessions/pause-status?api_key=pause-canary-1").status_code == 200
        assert nobody.get("/api/sessions/pause-status?api_key=pause-canary-2").status_code == 401
        assert nobody.get(f"/no/such/route?token={key}").status_code == 404
        for token in (key, wrong):
            with contextlib.suppress(ConnectionClosed), connect(f"{running.url.replace('http', 'ws')}/ws/analytics?token={token}", proxy=None) as client:
                client.recv(timeout=ARRIVED_S)
    logged = "".join(capfd.readouterr())
    assert "/no/such/route" in logged and "/api/sessions" in logged
    assert not [canary for canary in (key, wrong, "pause-canary") if canary in logged]


# ---- PostgreSQL ----


def test_a_server_over_postgresql_keeps_calls_and_counts_exactly(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = postgres.directory_of_run(tmp_path_factory.getbasetemp())
    with (
        postgres.cluster(directory) as socket,
        postgres.database(socket) as url,
        server(
            TRUNKLINE_STORE_URL=url, TRUNKLINE_AUTH_ENABLED="on", TRUNKLINE_HTTP_WORKERS="2",
            TRUNKLINE_PLANS_PRO_CALLS_PER_DAY="50",
        ) as running,
    ):  # fmt: skip
        with running.client() as admin:
            kept = admin.post("/v1/analyze", json={"trace": TRACE, "store": True}).json()["stored"]["calls"][0]
            assert admin.get(f"/api/v1/calls/{kept['uuid']}").json()["call_ids"] == ["private-1"]
            assert "INVITE" in admin.get(f"/api/v1/calls/{kept['number']}/sipLadder?format=text").text
            assert admin.get("/health").json()["checks"]["database"] == {"status": "healthy", "message": "postgresql"}
            made = admin.post("/v1/keys/generate", json={"name": "racer", "owner": "racer", "plan": "pro"}).json()

        def race(_: int) -> list[int]:
            with running.client(made["key"]) as client:
                return [client.post("/v1/analyze", json={"trace": TRACE}).status_code for _ in range(2)]

        with ThreadPoolExecutor(64) as pool:
            told = [status for statuses in pool.map(race, range(64)) for status in statuses]
        assert (told.count(200), told.count(429)) == (50, 78)
