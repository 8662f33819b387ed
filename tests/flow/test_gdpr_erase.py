"""A real call to a real server, erased over HTTP: nothing that names it or its people is left in any file, while the server runs and when it has ended."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.engine.siprec.source import Leg, Session, Source, metadata, run, voice
from tests.flow.siprec.calls import Recorder, recorder

pytestmark = pytest.mark.slow

ON: Final = {
    "COMPLIANCE_GDPR_ENABLED": "true", "TRUNKLINE_COMPLIANCE_AUDIT_TAMPER_PROOF": "true", "PAUSE_RESUME_ENABLED": "true",
    "TRUNKLINE_PAUSE_RESUME_REQUIRE_AUTH": "false", "ANALYTICS_ENABLED": "true",
}  # fmt: skip
PEOPLE: Final = ("sip:carla.unique@example.com", "Carla Unique", "+4930987654321")


def document() -> bytes:
    """Carla and somebody with a number."""
    return metadata().replace(b"sip:alice@example.com", b"sip:carla.unique@example.com").replace(b">Alice<", b">Carla Unique<").replace(b"sip:bob@", b"sip:+4930987654321@")


def left_of(folder: Path, *texts: str) -> list[str]:
    """Files that have one of these texts in them or in their name."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found += [f"{path.relative_to(folder)}: {text}" for text in texts if text.encode() in content or text in path.name]
    return found


async def call(made: Recorder, call_id: str, client: httpx.AsyncClient) -> None:
    """A short call with a pause in it."""
    transport, source = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Source(made.port), local_addr=("127.0.0.1", 0))
    legs = [Leg("1"), Leg("2")]
    session = Session(source, legs, call_id=call_id)
    assert (await session.invite(document(), headers="Subject: about Carla Unique\r\n")).status == 200
    await session.say({0: voice(1, 20), 1: voice(2, 20)})
    for what in ("pause", "resume"):
        assert (await client.post(f"/api/sessions/{call_id}/{what}", json={"reason": "card of Carla Unique"})).status_code == 200
    running = await client.post("/api/compliance/gdpr/erase", json={"call_id": call_id})
    assert (running.status_code, running.json()["code"]) == (409, "compliance.held")
    assert (await session.bye()).status == 200
    transport.close()
    for leg in legs:
        leg.close()


async def listed(client: httpx.AsyncClient, call_id: str) -> None:
    """Returns when the call's recording is finished and in the list."""
    deadline = time.monotonic() + 30
    while True:
        rows = (await client.get("/api/v1/recordings")).json()["recordings"]
        if any(row["stage"] == "done" and row["session"] == call_id for row in rows):
            return
        assert time.monotonic() < deadline, rows
        await asyncio.sleep(0.1)


def test_a_call_is_exported_and_then_gone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    gone, kept = "gone-0f3a9c@pbx", "kept-77d1e2@pbx"

    with recorder(data, **ON) as made:

        async def work() -> None:
            headers = {"Authorization": f"Bearer {made.running.key}"}
            async with httpx.AsyncClient(base_url=made.running.url, headers=headers, timeout=60) as client:
                for call_id in (gone, kept):
                    await call(made, call_id, client)
                for call_id in (gone, kept):
                    await listed(client, call_id)
                exported = await client.post("/api/compliance/gdpr/export", json={"call_id": gone})
                assert exported.status_code == 200 and Path(exported.json()["path"]).exists(), exported.text
                assert left_of(data, gone)
                answer = await client.request("DELETE", "/api/compliance/gdpr/erase", json={"call_id": gone, "reason": "article 17"})
                told: dict[str, Any] = answer.json()
                assert (answer.status_code, told.get("status")) == (200, "erased"), told
                receipt = told["receipt"]
                assert receipt["live_messages"] > 3 and receipt["audit_lines"] > 3 and receipt["exports"] == 2 and receipt["rows"]["calls"] == 1
                assert left_of(data, gone, gone.partition("@")[0]) == []
                assert left_of(data, kept)
                again = await client.request("DELETE", "/api/compliance/gdpr/erase", json={"call_id": gone})
                assert again.json()["receipt"] == receipt
                answer = await client.request("DELETE", "/api/compliance/gdpr/erase", json={"call_id": kept})
                assert answer.json()["status"] == "erased", answer.text
                assert left_of(data, gone, kept, *PEOPLE) == []
                assert (await client.get("/api/compliance/audit/verify")).json()["valid"] is True

        run(work)
    assert left_of(data, gone, kept, *PEOPLE) == []
