"""Settings of the recording contract, by its names, and what a live server makes of them: with and without merged files, card data, health of each part."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.api.sockets.rig import until
from tests.engine.siprec.source import Leg, Session, metadata, source, voice
from tests.ports import free_ports
from tests.running import Running, server

pytestmark = pytest.mark.slow

WAIT_S = 60.0


@contextmanager
def site(**names: str) -> Iterator[tuple[Running, int]]:
    """A server, and the port where calls come in."""
    media = free_ports(21)
    port = media + 20
    with server(TRUNKLINE_SIP_LISTEN=f"udp://127.0.0.1:{port}", RTP_PORT_MIN=str(media), RTP_PORT_MAX=str(media + 19), **names) as running:  # type: ignore[arg-type]
        yield running, port


async def recorded(running: Running, port: int, call_id: str) -> dict[str, Any]:
    """What is told of a session, which is over then."""
    legs = [Leg("1"), Leg("2")]
    async with httpx.AsyncClient(base_url=running.url, timeout=WAIT_S) as api, source(SimpleNamespace(port=port)) as client:  # type: ignore[arg-type]
        session = Session(client, legs, call_id=call_id)
        assert (await session.invite(metadata())).status == 200
        await session.say({0: voice(1, 20), 1: voice(2, 20)})
        told: dict[str, Any] = (await api.get("/api/sessions", params={"id": call_id})).json()
        assert (await session.bye()).status == 200
        for leg in legs:
            leg.close()
    return told


def names_of(folder: Path, id: str) -> set[str]:
    return {path.name for path in folder.glob(f"{id}*") if path.suffix in (".wav", ".json")}


def begins_with(path: Path, what: bytes) -> bool:
    """False for a file that went meanwhile: the keeper puts an encrypted one in its place."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes().startswith(what)
    return False


@pytest.mark.parametrize("merged", [True, False])
def test_legs_are_beside_the_merged_file_or_without_one(merged: bool) -> None:
    with site(RECORDING_COMBINE_LEGS=str(merged).lower()) as (running, port):

        async def scenario() -> None:
            told = await recorded(running, port, "legs@x")
            id, folder = told["recording_id"], running.data / "recordings"
            paths = [Path(path) for path in told["leg_paths"]]
            assert Path(told["recording_path"]) == (folder / f"{id}.wav" if merged else paths[0])
            assert len(paths) == 2 and all(path.parent == folder for path in paths)
            await until(lambda: (folder / f"{id}.json").exists())
            wanted = {f"{id}.json", *(path.name for path in paths), *([f"{id}.wav"] if merged else [])}
            assert wanted <= names_of(folder, id)
            assert merged or f"{id}.wav" not in names_of(folder, id)

        asyncio.run(asyncio.wait_for(scenario(), WAIT_S))


DOCUMENTS = {
    "config.json": '''{"PauseResumeConfig": {"Enabled": true, "RequireAuth": true, "APIKey": "the-key", "PerSession": false},
                        "HTTP": {"EnableMetrics": false}, "Compliance": {"GDPR": {"Enabled": true}}}''',
    "config.yaml": """
pause_resume:
  enabled: true
  require_auth: true
  api_key: the-key
  per_session: false
http:
  enable_metrics: false
compliance:
  gdpr:
    enabled: true
""",
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_with_the_names_of_the_contract_is_in_force(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(DOCUMENTS[name])
    key = {"X-API-Key": "the-key"}
    with site(CONFIG_FILE=str(tmp_path / name)) as (running, _), running.client("") as client:

        def told(method: str, path: str, **options: Any) -> tuple[int, str]:
            answer = client.request(method, path, **options)
            return answer.status_code, answer.json().get("code", "") if answer.status_code >= 400 else ""

        assert told("POST", "/api/sessions/pause-all") == (401, "auth.required")
        assert told("POST", "/api/sessions/pause-all", headers={"X-API-Key": "guess"}) == (401, "auth.invalid")
        assert told("POST", "/api/sessions/pause-all", headers=key) == (200, "")
        assert told("POST", "/api/sessions/one@x/pause", headers=key) == (404, "siprec.per_session_off")
        assert told("GET", "/metrics") == (404, "request.not_found")
        assert told("GET", "/metrics/simple") == (200, "")
        assert told("POST", "/api/compliance/gdpr/export", json={"call_id": "nobody@x"}) == (404, "compliance.unknown_call")
        shown = client.get("/api/config")
        assert "the-key" not in shown.text
        assert shown.json()["sources"]["pause_resume.per_session"] == "file"
        assert client.get("/api/config/reload/status").json()["current_config_path"] == str(tmp_path / name)


def test_card_data_are_protected_by_one_name() -> None:
    with site(COMPLIANCE_PCI_ENABLED="true", PII_ENABLED_TYPES="email") as (running, port), running.client() as client:
        told = client.get("/api/compliance/status").json()["pci"]
        assert [told[name] for name in ("enabled", "pii_detection_enabled", "pii_apply_to_transcriptions", "pii_apply_to_recordings", "recording_encryption")] == [True] * 5
        assert not (told["tls_only"] or told["srtp_required"])
        shown = client.get("/api/config").json()
        assert shown["config"]["pii"]["enabled_types"] == ["email", "credit_card"]
        assert shown["sources"]["encryption.enable_recording_encryption"] == "compliance.pci_enabled"
        judged = client.post("/api/config/validate", json={"Compliance": {"PCI": {"Enabled": True}}})
        assert (judged.status_code, {advice["field"] for advice in judged.json()["warnings"]}) == (200, {"compliance.pci_enabled"})

        async def scenario() -> None:
            session = await recorded(running, port, "card@x")
            folder, id = running.data / "recordings", session["recording_id"]
            await until(lambda: not names_of(folder, id) & {f"{id}.wav", *(Path(path).name for path in session["leg_paths"])} and any(folder.glob(f"{id}*")))
            assert not [path for path in folder.glob(f"{id}*") if begins_with(path, b"RIFF")]

        asyncio.run(asyncio.wait_for(scenario(), WAIT_S))


def test_health_has_every_part_and_names_what_is_wrong(tmp_path: Path) -> None:
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True, mode=0o700)
    with server(data=tmp_path / "data", ENABLE_RECORDING_ENCRYPTION="true", SUPPORTED_VENDORS="google,deepgram") as running, running.client("") as client:

        def health() -> dict[str, Any]:
            told: dict[str, Any] = client.get("/health").json()
            return told

        async def settled() -> None:
            await until(lambda: health()["checks"]["encryption"]["status"] != "not_configured")

        asyncio.run(settled())
        told = health()
        assert set(told) == {"status", "timestamp", "uptime", "version", "checks", "system"}
        assert all(set(check) == {"status", "message"} for check in told["checks"].values())
        assert {name: told["checks"][name]["status"] for name in ("encryption", "stt_queue", "stt_google", "stt_deepgram", "redis", "database", "websocket")} == {
            "encryption": "healthy", "stt_queue": "healthy", "stt_google": "not_configured", "stt_deepgram": "not_configured", "redis": "not_configured",
            "database": "healthy", "websocket": "healthy",
        }  # fmt: skip
        for name in ("goroutines", "memory_mb", "cpu_count", "active_calls", "ports_in_use"):
            assert isinstance(told["system"][name], int), name
        status = client.get("/status").json()
        assert {"uptime", "version", "build", "system", "processes"} <= set(status)
        assert status["build"]["version"] == status["version"] == told["version"]
        children = {child["name"]: child["pid"] for child in status["processes"]["children"]}
        os.kill(children["api.0"], signal.SIGKILL)
        started = status["started_at"]

        async def another() -> bool:
            with contextlib.suppress(httpx.TransportError), running.client("") as fresh:
                now = fresh.get("/status").json()
                return now["system"]["pid"] != children["api.0"] and now["started_at"] == started
            return False

        asyncio.run(until(another))  # the server is as old as it was
    os.chmod(keys, 0o755)
    with server(data=tmp_path / "data", ENABLE_RECORDING_ENCRYPTION="true") as running, running.client("") as client:

        async def degraded() -> None:
            await until(lambda: health()["checks"]["encryption"]["status"] == "degraded")

        asyncio.run(degraded())
        assert health()["status"] == "degraded"
