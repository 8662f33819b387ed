"""Compliance over HTTP: its state, exports and erasures by a real keeper, audit logs, vCons."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ASGIApp, Receive, Scope, Send

from api.audit import Audit
from api.auth import Principal
from api.errors import HANDLERS
from api.routes.compliance import ROUTES
from api.scopes import ALL, guard, undeclared
from engine.compliance.audit_log import reference_of
from engine.config import load_environment
from engine.recordings import holds
from engine.recordings.record import Hold
from tests.engine.compliance.keeper_rig import ON, Running, running
from tests.engine.recordings.rig import record

pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

CALL = "f00dcafe-1@pbx.example.com"
ID = "rec-f00dcafe-1"
ADMIN = Principal(owner="root", kind="key", scopes=ALL)
VIEWER = Principal(owner="somebody", kind="key", scopes=frozenset({"calls.read", "compliance.read"}))


class Site:
    """The routes before a keeper, or before none."""

    def __init__(self, data_dir: Path, made: Running | None, **environment: str) -> None:
        loaded = load_environment({"TRUNKLINE_DATA_DIR": str(data_dir), **ON, **environment})
        self.principal = ADMIN
        bus, store = (made.bus, made.store) if made is not None else (None, None)
        services = SimpleNamespace(
            bus=bus, store=store, config=loaded.config, loaded=loaded, clock=lambda: 1_700_000_000.0, metrics=SimpleNamespace(refused=len)
        )
        state = State({"services": services})
        if made is not None:
            state["recordings"] = made.keeper.keeping.catalogue
        middleware: list[Any] = [self.identified]
        if made is not None:
            middleware.append(Audit(made.store.audit.add, services.clock))
        self.app = Litestar(
            route_handlers=ROUTES, guards=[guard], middleware=middleware, state=state, openapi_config=None, logging_config=None,
            exception_handlers=HANDLERS,
        )  # fmt: skip
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://rec.example.com")

    def identified(self, app: ASGIApp) -> ASGIApp:
        async def known(scope: Scope, receive: Receive, send: Send) -> None:
            told: Any = scope
            told["principal"] = self.principal
            await app(scope, receive, send)

        return known


@asynccontextmanager
async def site(data_dir: Path, **environment: str) -> AsyncIterator[tuple[Site, Running]]:
    async with running(data_dir, **environment) as made:
        found = Site(data_dir, made, **environment)
        async with found.client:
            yield found, made


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 120))  # type: ignore[arg-type]


PCI = {
    "enabled": False, "pii_detection_enabled": False, "pii_apply_to_transcriptions": False, "pii_apply_to_recordings": False, "recording_encryption": False,
    "tls_enabled": False, "tls_only": False, "srtp_enabled": False, "srtp_required": False,
}  # fmt: skip


def test_status_has_the_documented_fields(tmp_path: Path) -> None:
    async def work() -> None:
        async with site(tmp_path) as (made, _):
            told = (await made.client.get("/api/compliance/status")).json()
            assert told["pci"] == PCI
            assert told["gdpr"] == {"enabled": True, "export_dir": "exports", "service_available": True, "unfinished": 0}
            assert {name: told["audit"][name] for name in ("tamper_proof", "log_path")} == {"tamper_proof": True, "log_path": "audit/calls.log"}
            assert told["audit"]["head"]["number"] == 0

    run(work)


def test_status_without_a_keeper_is_that_of_the_configuration(tmp_path: Path) -> None:
    async def work() -> None:
        environment = {
            "PII_DETECTION_ENABLED": "true", "PII_APPLY_TO_RECORDINGS": "true", "ENABLE_RECORDING_ENCRYPTION": "true", "TRUNKLINE_NETWORK_ENABLE_SRTP": "true",
            "TRUNKLINE_COMPLIANCE_PCI_ENABLED": "true", "TRUNKLINE_ENCRYPTION_ENABLE_RECORDING_ENCRYPTION": "true", "TRUNKLINE_PII_ENABLED": "true",
            "TRUNKLINE_PII_APPLY_TO_RECORDINGS": "true",
        }  # fmt: skip
        made = Site(tmp_path, None, **{name: value for name, value in environment.items() if name.startswith("TRUNKLINE_")})
        async with made.client:
            told = (await made.client.get("/api/compliance/status")).json()
            on = {"enabled", "pii_detection_enabled", "pii_apply_to_transcriptions", "pii_apply_to_recordings", "recording_encryption", "srtp_enabled"}
            assert told["pci"] == PCI | dict.fromkeys(on, True)
            assert told["gdpr"]["service_available"] is False
            answer = await made.client.post("/api/compliance/gdpr/export", json={"call_id": CALL})
            assert (answer.status_code, answer.json()["code"]) == (503, "compliance.unavailable")

    run(work)


def test_export_and_erase(tmp_path: Path) -> None:
    record(tmp_path / "recordings", ID, CALL)

    async def work() -> None:
        async with site(tmp_path) as (made, keeper):
            await keeper.done(ID)
            answer = await made.client.post("/api/compliance/gdpr/export", json={"call_id": CALL})
            told = answer.json()
            assert answer.status_code == 200
            assert (told["call_id"], told["status"], told["recordings"]) == (CALL, "exported", 1)
            assert json.loads(Path(told["path"]).read_bytes())["exported_by"] == "root"
            holds.set_hold(keeper.keeper.keeping.catalogue, ID, Hold(id="h", by="legal", at=1.0, reason="case 7"))
            refused = await made.client.post("/api/compliance/gdpr/erase", json={"call_id": CALL})
            assert (refused.status_code, refused.json()["code"]) == (409, "compliance.held") and "case 7" in refused.json()["error"]
            holds.release(keeper.keeper.keeping.catalogue, ID, "h")
            answer = await made.client.request("DELETE", "/api/compliance/gdpr/erase", json={"call_id": CALL, "reason": "asked for"})
            erased = answer.json()
            assert (answer.status_code, erased["call_id"], erased["status"]) == (200, CALL, "erased")
            assert erased["receipt"]["residue" if "residue" in erased["receipt"] else "erased_by"] == "root" and erased["receipt"]["reason"] == "asked for"
            again = await made.client.request("DELETE", "/api/compliance/gdpr/erase", params={"call_id": CALL})
            assert again.json()["receipt"] == erased["receipt"]
            rows, _ = await keeper.store.audit.list()
            assert [(row.action, row.target, row.outcome) for row in reversed(rows)] == [
                ("gdpr.export", reference_of(CALL), "done"), ("gdpr.erase", reference_of(CALL), "refused 409"), ("gdpr.erase", reference_of(CALL), "done"),
                ("gdpr.erase", reference_of(CALL), "done"),
            ]  # fmt: skip
            verified = (await made.client.get("/api/compliance/audit/verify")).json()
            assert verified["valid"] is True and verified["calls"]["lines"] >= 3 and verified["requests"] == {"valid": True, "first_problem": None}
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or CALL.encode() not in path.read_bytes(), path

    run(work)


def test_what_a_request_must_be(tmp_path: Path) -> None:
    async def work() -> None:
        async with site(tmp_path) as (made, _):
            for path in ("export", "erase"):
                url = f"/api/compliance/gdpr/{path}"
                for body in (b"", b"{}", b'{"call_id":""}', b'{"call_id":"  "}', b"{", b"[]", b'{"call_id":5}', b"\xff", b"[" * 50_000, json.dumps({"call_id": "x" * 600}).encode()):
                    answer = await made.client.post(url, content=body)
                    assert answer.status_code == 400, body[:20]
                    assert answer.json()["code"].startswith("request.")
                assert (await made.client.post(url, content=b" " * 70_000)).status_code == 413
                unknown = await made.client.post(url, json={"call_id": "nobody"})
                assert (unknown.status_code, unknown.json()["code"]) == (404, "compliance.unknown_call")
            assert (await made.client.get("/api/compliance/gdpr/erase")).status_code == 405
            made.principal = VIEWER
            assert (await made.client.get("/api/compliance/status")).status_code == 200
            for method, url in (("POST", "/api/compliance/gdpr/export"), ("DELETE", "/api/compliance/gdpr/erase"), ("GET", "/api/compliance/audit/verify")):
                assert (await made.client.request(method, url, json={"call_id": CALL})).status_code == 403
            assert undeclared(made.app) == []

    run(work)


def test_switched_off_there_is_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with site(tmp_path, TRUNKLINE_COMPLIANCE_GDPR_ENABLED="false") as (made, _):
            for path in ("export", "erase"):
                assert (await made.client.post(f"/api/compliance/gdpr/{path}", json={"call_id": CALL})).status_code == 404
            told = (await made.client.get("/api/compliance/status")).json()
            assert (told["gdpr"]["enabled"], told["gdpr"]["service_available"]) == (False, False)

    run(work)


def test_a_changed_audit_log_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        async with site(tmp_path) as (made, _):
            await made.client.post("/api/compliance/gdpr/export", json={"call_id": "nobody"})
            path = tmp_path / "audit" / "calls.log"
            path.write_text(path.read_text().replace('"failure"', '"success"'))
            told = (await made.client.get("/api/compliance/audit/verify")).json()
            assert told["valid"] is False and "was changed" in told["calls"]["problems"][0]

    run(work)


def test_vcon(tmp_path: Path) -> None:
    record(tmp_path / "recordings", ID, CALL)

    async def work() -> None:
        async with site(tmp_path) as (made, keeper):
            await keeper.done(ID)
            answer = await made.client.get(f"/api/v1/recordings/{ID}/vcon")
            assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/vcon+json")
            (dialog,) = answer.json()["dialog"]
            sound = (keeper.folder / f"{ID}.wav").read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha512(sound).digest()).rstrip(b"=").decode()
            assert dialog["url"] == f"http://rec.example.com/api/v1/recordings/{ID}/audio" and dialog["content_hash"] == f"sha512-{digest}"
            inline = (await made.client.get(f"/api/v1/recordings/{ID}/vcon", params={"inline": "true"})).json()["dialog"][0]
            assert base64.urlsafe_b64decode(inline["body"] + "==") == sound and "url" not in inline
            assert (await made.client.get("/api/v1/recordings/nothing/vcon")).status_code in (404, 500)
            made.principal = VIEWER
            assert (await made.client.get(f"/api/v1/recordings/{ID}/vcon")).status_code == 403

    run(work)
