"""The documented /api/stt against a live server. Recognisers are built later: here a program of the test takes the jobs, as they will."""

from __future__ import annotations

import asyncio
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.speech.jobs import KIND
from engine.store import JobRow, Store
from tests.running import Running, server

pytestmark = pytest.mark.slow
TOKEN = "purge-token"
PREFIX = "stt_"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with server(STT_QUEUE_PURGE_TOKEN=TOKEN, TRUNKLINE_STT_COST_PER_MINUTE='{"google": 0.024}') as made:
        folder = made.data / "recordings"
        folder.mkdir(exist_ok=True)
        with wave.open(str(folder / "B2B.160_leg0.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(2 * 8000 * 30))
        yield made


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with running.client() as made:
        yield made


def submission(running: Running, **fields: Any) -> dict[str, Any]:
    return {
        "audio_path": str(running.data / "recordings" / "B2B.160_leg0.wav"), "call_uuid": "B2B.160.1762863004.937031301", "session_id": "B2B.160_leg0",
        "provider": "google", "language": "en-US", "priority": 2, **fields,
    }  # fmt: skip


def taken(running: Running, result: dict[str, Any] | None, *, ends: bool = True) -> JobRow | None:
    """Takes the next job, as a recogniser does; with a result it is done, else it has failed, unless it goes on."""

    async def run() -> JobRow | None:
        store = await Store.open(f"sqlite:///{running.data / 'trunkline.db'}")
        try:
            row = await store.jobs.claim("recogniser", time.time(), 60, kinds=(KIND,))
            if row is not None and result is not None:
                assert await store.jobs.done(row.id, row.attempts, time.time(), result)
            elif row is not None and ends:
                assert await store.jobs.failed(row.id, row.attempts, time.time(), "no such language")
            return row
        finally:
            await store.close()

    return asyncio.run(run())


def test_a_job_from_its_submission_to_its_result(running: Running, client: httpx.Client) -> None:
    answer = client.post("/api/stt/submit", json=submission(running))
    assert answer.status_code == 201
    submitted = answer.json()
    assert set(submitted) == {"job_id", "status", "estimated_cost", "message"}
    assert (submitted["status"], submitted["estimated_cost"], submitted["message"]) == ("queued", 0.012, "Job submitted successfully")
    job = client.get(f"/api/stt/jobs/{submitted['job_id']}").json()["job"]
    assert (job["status"], job["provider"], job["call_uuid"], job["max_retries"]) == ("queued", "google", submission(running)["call_uuid"], 3)
    row = taken(running, {"text": "hello", "confidence": 0.9, "actual_cost": 0.011})
    assert row is not None and row.id == submitted["job_id"]
    told = client.get(f"/api/stt/jobs/{row.id}").json()["job"]
    assert (told["status"], told["result"]["text"], told["actual_cost"], told["retry_count"]) == ("completed", "hello", 0.011, 0)
    assert told["completed_at"] and told["failed_at"] is None and told["processing_time"] >= 0


def test_the_urgent_are_taken_first(running: Running, client: httpx.Client) -> None:
    ids = [client.post("/api/stt/submit", json=submission(running, priority=priority)).json()["job_id"] for priority in (3, 2, 1)]
    assert [taken(running, {}).id for _ in ids] == ids[::-1]  # type: ignore[union-attr]


def test_jobs_are_listed_by_state_and_call(running: Running, client: httpx.Client) -> None:
    waiting = client.post("/api/stt/submit", json=submission(running, call_uuid='odd"call@x')).json()["job_id"]
    told = client.get("/api/stt/jobs", params={"call_uuid": 'odd"call@x'}).json()
    assert [one["id"] for one in told["jobs"]] == [waiting] and told["count"] == 1
    page = client.get("/api/stt/jobs", params={"limit": 1}).json()
    assert len(page["jobs"]) == 1 and page["next_cursor"]
    assert waiting in [one["id"] for one in client.get("/api/stt/jobs", params={"status": "queued"}).json()["jobs"]]
    assert waiting not in [one["id"] for one in client.get("/api/stt/jobs", params={"status": "completed"}).json()["jobs"]]
    row = taken(running, None)
    assert row is not None and row.id == waiting
    told = client.get(f"/api/stt/jobs/{waiting}").json()["job"]
    assert (told["status"], told["error"]) == ("failed", "no such language") and told["failed_at"]

    def listed(status: str) -> list[str]:
        return [one["id"] for one in client.get("/api/stt/jobs", params={"status": status, "limit": 500}).json()["jobs"]]

    assert waiting in listed("failed") and waiting not in listed("cancelled")
    fresh = client.post("/api/stt/submit", json=submission(running)).json()["job_id"]
    assert fresh in listed("queued") and fresh in listed("pending") and fresh not in listed("retrying")


def test_stats_and_metrics(running: Running, client: httpx.Client) -> None:
    client.post("/api/stt/submit", json=submission(running))
    told = client.get("/api/stt/stats").json()
    assert set(told) == {"queue_stats", "metrics", "timestamp"}
    stats = told["queue_stats"]
    assert stats["pending_jobs"] >= 1 and stats["total_jobs"] == sum(stats[name] for name in ("pending_jobs", "processing_jobs", "completed_jobs", "failed_jobs"))
    answer = client.get("/api/stt/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    values = {line.split()[0]: float(line.split()[1]) for line in answer.text.splitlines() if line.startswith(PREFIX)}
    assert values["stt_queue_size"] == stats["pending_jobs"] and values.items() >= told["metrics"].items()


def test_what_each_provider_takes_and_costs(running: Running, client: httpx.Client) -> None:
    def values() -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families(client.get("/api/stt/metrics").text)
        return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}

    before = values()
    for provider in ("openai", "google"):
        assert client.post("/api/stt/submit", json=submission(running, provider=provider, priority=1)).status_code == 201
    assert taken(running, {"text": "hello", "actual_cost": 0.25}) is not None
    after = values()
    assert after["stt_provider_jobs", "openai", "completed"] == before.get(("stt_provider_jobs", "openai", "completed"), 0) + 1
    assert after["stt_provider_cost_total", "openai"] == 0.25
    assert after["stt_provider_estimated_cost_total", "google"] == pytest.approx(before["stt_provider_estimated_cost_total", "google"] + 0.012)
    assert after["stt_provider_estimated_cost_total", "openai"] == 0  # nobody said what it costs
    for name in ("stt_provider_average_process_time_seconds", "stt_provider_average_wait_time_seconds"):
        assert after[name, "openai"] >= 0
    assert [one["status"] for one in client.get("/api/stt/jobs", params={"status": "completed", "limit": 1}).json()["jobs"]] == ["completed"]
    assert taken(running, None, ends=False) is not None
    assert {one["status"] for one in client.get("/api/stt/jobs", params={"status": "running"}).json()["jobs"]} == {"processing"}


@pytest.mark.parametrize(
    "fields",
    [
        {"audio_path": ""}, {"audio_path": "/etc/passwd"}, {"audio_path": "../trunkline.db"}, {"provider": "nobody"}, {"priority": 7}, {"language": "x y"},
        {"priority": "high"}, {"call_uuid": "x" * 513},
    ],
)  # fmt: skip
def test_what_cannot_be_transcribed_is_refused(running: Running, client: httpx.Client, fields: dict[str, Any]) -> None:
    answer = client.post("/api/stt/submit", json=submission(running, **fields))
    assert answer.status_code == 400 and set(answer.json()) == {"error", "code"}


@pytest.mark.parametrize("path", ["submit", "queue/purge"])
def test_a_body_that_is_missing_is_named(client: httpx.Client, path: str) -> None:
    answer = client.post(f"/api/stt/{path}")
    assert (answer.status_code, answer.json()["error"], answer.json()["code"]) == (400, "The request body is missing", "request.invalid_parameter")


def test_a_job_that_is_none(client: httpx.Client) -> None:
    answer = client.get("/api/stt/jobs/job_none")
    assert answer.status_code == 404 and set(answer.json()) == {"error", "code"}
    assert client.get("/api/stt/jobs", params={"status": "odd"}).status_code == 400


def test_the_queue_is_purged_with_its_token_alone(running: Running, client: httpx.Client) -> None:
    client.post("/api/stt/submit", json=submission(running))
    meant = {"confirm": True, "reason": "a test", "requested_by": "me"}
    with running.client("") as stranger:
        assert stranger.post("/api/stt/queue/purge", json=meant).status_code == 403
        assert stranger.post("/api/stt/queue/purge", json=meant, headers={"X-STT-Queue-Token": "wrong"}).status_code == 403
        assert stranger.post("/api/stt/queue/purge", json={"reason": "x"}, headers={"X-STT-Queue-Token": TOKEN}).status_code == 400
        dry = stranger.post("/api/stt/queue/purge", json={**meant, "dry_run": True}, headers={"X-STT-Queue-Token": TOKEN}).json()
        assert (dry["status"], dry["jobs_removed"]) == ("dry_run", 0) and dry["stats_before"]["pending_jobs"] >= 1
        done = stranger.post("/api/stt/queue/purge", json=meant, headers={"Authorization": f"Bearer {TOKEN}"})
        assert done.status_code in (200, 401)  # a token that is no key of ours is refused where keys are asked for
        done = stranger.post("/api/stt/queue/purge", json=meant, headers={"X-STT-Queue-Token": TOKEN})
        assert done.status_code == 200 and done.json()["stats_after"]["pending_jobs"] == 0
    assert client.get("/api/stt/stats").json()["queue_stats"]["pending_jobs"] == 0
    assert taken(running, {}) is None


def test_jobs_outlive_the_server(tmp_path: Path) -> None:
    with server(data=tmp_path / "data") as first:
        folder = first.data / "recordings"
        folder.mkdir(exist_ok=True)
        (folder / "a.wav").write_bytes(b"RIFF")
        with first.client() as client:
            job = client.post("/api/stt/submit", json={"audio_path": "a.wav"}).json()
            assert job["estimated_cost"] == 0
            assert client.post("/api/stt/queue/purge", json={"confirm": True, "reason": "x"}).status_code == 503
        first.process.kill()
        first.process.wait()
    with server(data=tmp_path / "data") as again, again.client() as client:
        assert client.get(f"/api/stt/jobs/{job['job_id']}").json()["job"]["status"] == "queued"


def test_where_jobs_are_off(tmp_path: Path) -> None:
    with server(STT_ASYNC_ENABLED="false") as made, made.client() as client:
        answer = client.get("/api/stt/jobs")
        assert answer.status_code == 503 and answer.json()["code"] == "stt.unavailable"
