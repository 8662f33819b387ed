"""The documented API of recording sessions against a running server, with a recording session that really goes on: SIP, RTP, files."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.media.manifest import Manifest
from engine.media.manifest import read as read_manifest
from tests.engine.siprec.source import Leg, Session, Source, metadata, source, voice
from tests.ports import free_ports
from tests.running import ROOT, Running, server

pytestmark = pytest.mark.slow

KEY = "the-key-of-the-pause-routes"
WAIT_S = 30.0
CALL_ID = "B2B.160.1762863004.937031301"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PACKETS = 3000
WORDS = [voice(seed, PACKETS) for seed in (1, 2)]
PAUSE_STATUS: dict[str, Any] = {
    "session_id": str, "is_paused": bool, "recording_paused": bool, "transcription_paused": bool, "paused_at": (str, type(None)), "pause_duration": float,
    "auto_resume_at": (str, type(None)),
}  # fmt: skip


class Site:
    """A server, and where calls come in."""

    def __init__(self, running: Running, port: int) -> None:
        self.running = running
        self.port = port

    @property
    def recordings(self) -> Path:
        return self.running.data / "recordings"

    def worker(self) -> int | None:
        """The process that takes calls; None until it does."""
        with self.running.client() as client:
            children = client.get("/status").json()["processes"]["children"]
        return next((int(child["pid"]) for child in children if child["name"] == "worker.0" and child["state"] == "ready"), None)


@contextmanager
def begun(**names: str) -> Iterator[Site]:
    """A server where sessions are paused; `names` are of its environment."""
    media = free_ports(201)
    port = media + 200
    calls = {"TRUNKLINE_SIP_LISTEN": f"udp://127.0.0.1:{port}", "RTP_PORT_MIN": str(media), "RTP_PORT_MAX": str(media + 199), "PAUSE_RESUME_ENABLED": "true"}
    with server(**calls, **names) as running:  # type: ignore[arg-type]
        yield Site(running, port)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with begun(PAUSE_RESUME_API_KEY=KEY) as made:
        yield made


class Talk:
    """A recording session of two parties, who talk all the time."""

    def __init__(self, client: Source, session: Session) -> None:
        self.client = client
        self.session = session
        self.said = 0  # packets a leg
        self._talking = asyncio.ensure_future(self._talk())

    async def _talk(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for turn in range(PACKETS):
            for index, leg in enumerate(self.session.legs):
                leg.send(WORDS[index][turn * 160 : turn * 160 + 160])
            self.said += 1
            await asyncio.sleep(began + self.said * 0.02 - loop.time())

    async def more(self, packets: int = 15) -> None:
        """Until so many more packets were said."""
        until = self.said + packets
        async with asyncio.timeout(WAIT_S):
            while self.said < until:
                await asyncio.sleep(0.01)

    def place(self, pcm: np.ndarray, leg: int) -> int:
        """Where what a leg said begins in a recording, by one packet that was heard."""
        wanted = WORDS[leg][800:960]
        (found,) = [at for at in np.flatnonzero(pcm[:, leg] == wanted[0]) if np.array_equal(pcm[at : at + 160, leg], wanted)]
        return int(found) - 800

    async def silent(self) -> None:
        """Nobody says anything any more."""
        self._talking.cancel()
        await asyncio.gather(self._talking, return_exceptions=True)


def named(cs: str) -> bytes:
    """The metadata of a communication session, which is a group by itself."""
    session, group = (base64.b64encode(f"{kind} of {cs}".encode()) for kind in ("session", "group"))
    return metadata().replace(b"c2Vzc2lvbi0x", session).replace(b"Z3JvdXAtMQ==", group)


@asynccontextmanager
async def talk(site: Site, call_id: str, cs: str = "") -> AsyncIterator[Talk]:
    """Begins one, of a communication session of its own or of a certain one, and ends it unless it is over."""
    legs = [Leg("1"), Leg("2")]
    async with source(SimpleNamespace(port=site.port)) as client:  # type: ignore[arg-type]
        session = Session(client, legs, call_id=call_id)
        answer = await session.invite(named(cs or call_id))
        assert answer.status == 200, answer.start
        made = Talk(client, session)
        try:
            yield made
        finally:
            await made.silent()
            await session.bye()
            for leg in legs:
                leg.close()


Work = Callable[[httpx.AsyncClient], Awaitable[None]]


def run(site: Site, work: Work) -> None:
    """Runs what asks the server."""

    async def with_client() -> None:
        async with httpx.AsyncClient(base_url=site.running.url, headers={"X-API-Key": KEY}, timeout=WAIT_S) as api:
            await work(api)

    asyncio.run(with_client())


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """What a condition comes to, once it is so."""
    async with asyncio.timeout(WAIT_S):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
    return found


async def sealed(site: Site, path: str) -> tuple[Manifest, np.ndarray]:
    """The manifest of a recording that is over, and its samples by channel."""
    manifest = Path(path).with_suffix(".json")

    async def there() -> bool:
        return manifest.exists()

    assert Path(path).parent == site.recordings
    await until(there)
    with wave.open(path) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())
    return read_manifest(manifest), pcm


def documented(told: dict[str, Any]) -> None:
    """A PauseStatus as it is documented: its fields, in their order, of their types."""
    assert list(told) == list(PAUSE_STATUS)
    for name, kind in PAUSE_STATUS.items():
        assert isinstance(told[name], kind), (name, told[name])
    for name in ("paused_at", "auto_resume_at"):
        assert told[name] is None or TIME.fullmatch(told[name])


def test_a_session_is_listed_as_documented(site: Site) -> None:
    async def work(api: httpx.AsyncClient) -> None:
        async with talk(site, CALL_ID) as one:
            await one.more()
            listed = (await api.get("/api/sessions")).json()
            assert listed["count"] == len(listed["sessions"]) == 1
            told = listed["sessions"][0]
            assert (told["call_id"], told["state"], told["participants"]) == (CALL_ID, "connected", ["sip:alice@example.com", "sip:bob@example.com"])
            assert TIME.fullmatch(told["created_at"])
            assert Path(told["recording_path"]).parent == site.recordings
            assert set(told["analytics"]) == {"sentiment", "mos"}
            assert told["recording"]["state"] == "active"
            assert told["recording"]["participants"] == 2
            assert told["dialog"]["remote_tag"] == one.session.tag
            assert [channel["label"] for channel in told["channels"]] == ["1", "2"]
            assert all(channel["packets"] for channel in told["channels"])
            for alone in (await api.get("/api/sessions", params={"id": CALL_ID}), await api.get(f"/api/sessions/{CALL_ID}")):
                assert {**alone.json(), "channels": [], "last_activity": "", "analytics": {}} == {**told, "channels": [], "last_activity": "", "analytics": {}}
            stats = (await api.get("/api/sessions/stats")).json()
            assert (stats["active_calls"], stats["paused_calls"], stats["streams"]) == (1, 0, 2)
            assert stats["rtp_ports"]["used"] > 0
            assert stats["rtp_ports"]["available"] + stats["rtp_ports"]["used"] == stats["rtp_ports"]["total"]

        async def gone() -> bool:
            return (await api.get(f"/api/sessions/{CALL_ID}")).status_code == 404

        await until(gone)
        missing = await api.get("/api/sessions", params={"id": CALL_ID})
        assert (missing.status_code, missing.json()["code"]) == (404, "siprec.unknown_session")
        assert missing.headers["content-type"].startswith("application/json")

    run(site, work)


def test_nothing_that_was_said_while_it_was_paused_is_in_the_recording(site: Site) -> None:
    async def work(api: httpx.AsyncClient) -> None:
        async with talk(site, "paused@x") as one:
            await one.more()
            path = (await api.get("/api/sessions/paused@x")).json()["recording_path"]
            paused = await api.post("/api/sessions/paused@x/pause", json={"pause_recording": True, "pause_transcription": False, "reason": "card number"})
            assert paused.status_code == 200
            documented(paused.json())
            assert (paused.json()["recording_paused"], paused.json()["transcription_paused"]) == (True, False)
            first = one.said
            await one.more(30)
            status = (await api.get("/api/sessions/paused@x/pause-status")).json()
            documented(status)
            assert status["pause_duration"] > 0
            assert (await api.get("/api/sessions/paused@x")).json()["state"] == "paused"
            last = one.said
            resumed = (await api.post("/api/sessions/paused@x/resume")).json()
            documented(resumed)
            assert not resumed["is_paused"]
            await one.more()
        manifest, pcm = await sealed(site, path)
        (interval,) = [interval for interval in manifest.intervals if interval.type == "pause"]
        assert (interval.actor, interval.reason) == ("pause key", "card number")
        for leg in range(2):
            place = one.place(pcm, leg)
            assert not pcm[place + first * 160 : place + last * 160, leg].any()
            assert np.array_equal(pcm[place + (last + 5) * 160 :][:160, leg], WORDS[leg][(last + 5) * 160 :][:160])  # and all of it lies where it belongs

    run(site, work)


def test_a_muted_side_is_silent_and_the_other_is_heard(site: Site) -> None:
    async def work(api: httpx.AsyncClient) -> None:
        async with talk(site, "muted@x") as one:
            muted = (await api.post("/api/sessions/muted@x/mute", json={"mute_inbound": True})).json()
            assert (muted["session_id"], muted["inbound_muted"], muted["outbound_muted"]) == ("muted@x", True, False)
            assert TIME.fullmatch(muted["muted_at"])
            await one.more(40)
            told = (await api.get("/api/sessions/muted@x")).json()
            assert [channel["muted"] for channel in told["channels"]] == [True, False]
            assert (await api.get("/api/sessions/mute-status")).json()["muted@x"]["is_muted"]
            status = (await api.post("/api/sessions/muted@x/unmute")).json()
            assert (status["is_muted"], status["muted_at"], status["mute_duration"]) == (False, None, 0.0)
        _, pcm = await sealed(site, told["recording_path"])
        quiet = np.convolve(pcm[:, 0] == 0, np.ones(4000), "valid") == 4000
        assert quiet.any()  # half a second of nothing, where there was talk
        assert all(pcm[at : at + 1600, 1].any() for at in np.flatnonzero(quiet)[::1600])

    run(site, work)


def test_all_sessions_are_paused_at_once(site: Site) -> None:
    async def work(api: httpx.AsyncClient) -> None:
        async with talk(site, "one@x"), talk(site, "two@x"):
            told = (await api.post("/api/sessions/pause-all")).json()
            assert set(told["statuses"]) == {"one@x", "two@x"}
            assert isinstance(told["message"], str)
            for status in told["statuses"].values():
                documented(status)
                assert status["recording_paused"]
            statuses = (await api.get("/api/sessions/pause-status")).json()
            assert {call_id: status["is_paused"] for call_id, status in statuses.items()} == {"one@x": True, "two@x": True}
            assert set((await api.get("/api/sessions/all-status")).json()) == {"one@x", "two@x"}
            told = (await api.post("/api/sessions/resume-all")).json()
            assert not any(status["is_paused"] for status in told["statuses"].values())

    run(site, work)


def test_a_pause_is_asked_for_before_the_call(site: Site) -> None:
    async def work(api: httpx.AsyncClient) -> None:
        missing = await api.post("/api/sessions/soon@x/pause")
        assert (missing.status_code, missing.json()["code"]) == (404, "siprec.unknown_session")
        assert (await api.post("/api/sessions/soon@x/pause", json={"arm": True})).json()["is_paused"]
        async with talk(site, "soon@x") as one:
            await one.more()
            told = (await api.get("/api/sessions/soon@x")).json()
            assert told["state"] == "paused"
        _, pcm = await sealed(site, told["recording_path"])
        assert not pcm.any()

    run(site, work)


def test_a_session_is_ended_and_asked_for_its_metadata(site: Site) -> None:
    async def work(api: httpx.AsyncClient) -> None:
        async with talk(site, "asked@x") as one:
            asked = await api.post("/api/sessions/asked@x/snapshot", headers={"X-API-Key": ""})
            assert asked.status_code == 202, asked.text
            async with asyncio.timeout(WAIT_S):
                request = await one.client.requests.get()
            assert request.method in ("UPDATE", "INVITE")
            assert b"rs-metadata-request" in request.body
            path = (await api.get("/api/sessions/asked@x")).json()["recording_path"]
            ended = await api.delete("/api/sessions/asked@x", headers={"X-API-Key": ""})
            assert (ended.status_code, ended.json()["status"]) == (200, "terminated")
            async with asyncio.timeout(WAIT_S):
                while (await one.client.requests.get()).method != "BYE":
                    pass

            async def gone() -> bool:
                return (await api.delete("/api/sessions/asked@x", headers={"X-API-Key": ""})).status_code == 404

            await until(gone)
            await sealed(site, path)

    run(site, work)


def test_without_the_key_nothing_is_paused_and_sessions_are_seen(site: Site) -> None:
    async def work(api: httpx.AsyncClient) -> None:
        async with talk(site, "kept@x"):
            for key in ("", "wrong"):
                for path in ("kept@x/pause", "kept@x/resume", "kept@x/mute", "kept@x/unmute", "pause-all", "resume-all"):
                    answer = await api.post(f"/api/sessions/{path}", headers={"X-API-Key": key})
                    assert answer.status_code in (401, 429), answer.text
                    assert set(answer.json()) == {"error", "code"}
            assert (await api.post(f"/api/sessions/kept@x/pause?api_key={KEY}", headers={"X-API-Key": ""})).status_code == 401
            told = (await api.get("/api/sessions/kept@x", headers={"X-API-Key": ""})).json()
            assert told["state"] == "connected"
            assert not (await api.get("/api/sessions/kept@x/pause-status")).json()["is_paused"]
        assert KEY not in (await api.get("/api/config")).text

    run(site, work)


def test_health_status_and_metrics_tell_of_calls(site: Site) -> None:
    async def work(api: httpx.AsyncClient) -> None:
        async with talk(site, "healthy@x") as one:
            await one.more()
            await api.post("/api/sessions/healthy@x/pause")
            await api.post("/api/sessions/healthy@x/resume")

            async def counted() -> Any:
                told = (await api.get("/health")).json()
                return told if told["system"]["active_calls"] == 1 and told["system"]["ports_in_use"] else None

            health = await until(counted)
            checks = health["checks"]
            assert {"sip", "websocket", "sessions", "rtp_ports", "amqp", "redis", "database", "encryption"} <= set(checks)
            assert [checks[name]["status"] for name in ("sip", "websocket", "sessions", "rtp_ports", "database")] == ["healthy"] * 5
            assert [checks[name]["status"] for name in ("redis", "amqp")] == ["not_configured"] * 2
            status = (await api.get("/status")).json()
            assert (status["active_calls"], status["sessions"]["active"], status["sessions"]["streams"]) == (1, 1, 2)

            async def scraped() -> Any:
                samples = {
                    sample.name: sample.value
                    for family in text_string_to_metric_families((await api.get("/metrics")).text) for sample in family.samples if not sample.labels
                }
                return samples if samples.get("siprec_sip_sessions_active") == 1 else None

            samples = await until(scraped)
            simple = (await api.get("/metrics/simple")).json()
            for told in (samples, simple):
                assert told["siprec_ports_in_use"] > 0
                assert told["siprec_sessions_created_total"] >= 1
                assert told["siprec_sessions_paused_total"] >= 1
                assert told["siprec_recordings_started_total"] >= 1

    run(site, work)


def command(site: Site, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    return subprocess.run(
        [sys.executable, "-m", "api", *arguments], cwd=ROOT, env={**inherited, "TRUNKLINE_URL": site.running.url, "TRUNKLINE_KEY": key}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_command_line_does_the_same(site: Site) -> None:
    async def work(api: httpx.AsyncClient) -> None:
        async with talk(site, "cli@x") as one:

            async def done(*arguments: str, code: int = 0, key: str = KEY) -> str:
                ended = await asyncio.to_thread(command, site, *arguments, key=key)
                assert ended.returncode == code, ended
                return ended.stdout if code == 0 else ended.stderr

            listed = await done("sessions")
            assert "cli@x" in listed and "sip:alice@example.com" in listed
            assert json.loads(await done("sessions", "cli@x", "--json"))["call_id"] == "cli@x"
            assert json.loads(await done("pause", "cli@x", "--only", "recording", "--reason", "card", "--json"))["recording_paused"]
            assert "recording_paused: yes" in await done("pause", "cli@x")
            assert not json.loads(await done("resume", "cli@x", "--json"))["is_paused"]
            assert "1 sessions paused" in await done("pause", "--all")
            assert "1 sessions resumed" in await done("resume", "--all")
            assert json.loads(await done("mute", "cli@x", "--side", "outbound", "--json"))["outbound_muted"]
            assert not json.loads(await done("unmute", "cli@x", "--json"))["is_muted"]
            assert json.loads(await done("stats", "--json"))["active_calls"] == 1
            assert "no such recording session" in await done("pause", "nobody@x", code=1)
            assert "key" in await done("pause", "cli@x", code=1, key="wrong")
            assert "terminated" in await done("hang-up", "cli@x", key="")
            async with asyncio.timeout(WAIT_S):
                while (await one.client.requests.get()).method != "BYE":
                    pass

    run(site, work)


def test_what_takes_the_place_of_a_paused_session_begins_paused(site: Site) -> None:
    """The worker is killed, and the recorded side comes again with the same communication session. Last of this file: it costs the server its worker."""

    async def work(api: httpx.AsyncClient) -> None:
        async with talk(site, "before@x", "moved") as one:
            await one.more()
            assert (await api.post("/api/sessions/before@x/pause")).json()["recording_paused"]
            killed = site.worker()
            assert killed is not None
            os.kill(killed, signal.SIGKILL)

            async def back() -> bool:
                return await asyncio.to_thread(site.worker) not in (None, killed)

            await until(back)
            one.session.bye = none  # type: ignore[method-assign]
        async with talk(site, "after@x", "moved") as two:
            await two.more()
            told = (await api.get("/api/sessions/after@x")).json()
            assert told["state"] == "paused"
            before = two.said  # packets a leg that were sent in the pause, for certain
            assert not (await api.post("/api/sessions/after@x/resume")).json()["is_paused"]
            await two.more()
        manifest, pcm = await sealed(site, told["recording_path"])
        assert [interval.type for interval in manifest.intervals] == ["pause"]
        for leg, words in enumerate(WORDS):
            begin = int(np.flatnonzero(pcm[:, leg])[0])  # wherever it lies: they may have sent late
            first = next(at for at in range(len(words) - 160) if words[at] and np.array_equal(words[at : at + 160], pcm[begin : begin + 160, leg]))
            assert first >= before * 160
        async with talk(site, "third@x", "moved"):
            assert (await api.get("/api/sessions/third@x")).json()["state"] == "connected"

    run(site, work)


async def none() -> Any:
    """Of a session whose other side is gone."""


def test_where_a_key_is_wanted_and_none_is_set_nobody_pauses_and_a_stuck_worker_is_not_ready() -> None:
    with begun(HTTP_ENABLE_METRICS="false") as site:

        async def work(api: httpx.AsyncClient) -> None:
            async with talk(site, "open@x"):
                for key in ({}, {"X-API-Key": ""}, {"X-API-Key": "guess"}):
                    for path in ("open@x/pause", "open@x/mute", "pause-all", "resume-all"):
                        answer = await api.post(f"/api/sessions/{path}", headers=key)
                        assert (answer.status_code, answer.json()["code"]) == (503, "siprec.no_pause_key")
                assert (await api.get("/api/sessions/open@x")).json()["state"] == "connected"
            assert ((await api.get("/metrics")).status_code, (await api.get("/metrics/simple")).status_code) == (404, 200)
            assert (await api.get("/health/ready")).status_code == 200
            worker = site.worker()
            assert worker is not None
            os.kill(worker, signal.SIGSTOP)
            try:

                async def stuck() -> bool:
                    return (await api.get("/health/ready")).status_code == 503

                await until(stuck)
                assert (await api.get("/health/live")).status_code == 200
                assert (await api.get("/health")).json()["checks"]["sip"]["status"] == "unhealthy"
            finally:
                os.kill(worker, signal.SIGCONT)

            async def works() -> bool:
                return (await api.get("/health/ready")).status_code == 200

            await until(works)

        run(site, work)


def test_where_api_keys_are_asked_for_only_exact_paths_are_open_and_a_pause_ends_by_itself() -> None:
    with begun(TRUNKLINE_AUTH_ENABLED="on", PAUSE_RESUME_API_KEY=KEY, PAUSE_AUTO_RESUME="true", MAX_PAUSE_DURATION="300ms") as site:

        async def work(api: httpx.AsyncClient) -> None:
            admin = {"X-API-Key": site.running.key}
            for path in ("/health", "/health/live", "/metrics", "/metrics/simple"):
                assert (await api.get(path)).status_code == 200, path
            for path in ("/healthy", "/health/live/x", "/metrics/x", "/metricsx", "/health/../api/sessions", "/health%2f..%2fapi%2fsessions", "/api/sessions", "/status"):
                assert (await api.get(path)).status_code in (401, 404), path
            async with talk(site, "limited@x") as one:
                assert (await api.get("/api/sessions/limited@x", headers=admin)).json()["state"] == "connected"
                assert (await api.get("/api/sessions/limited@x")).status_code == 401  # the key of the pause routes is for those alone
                paused = (await api.post("/api/sessions/limited@x/pause")).json()
                documented(paused)
                assert paused["auto_resume_at"] > paused["paused_at"]

                async def resumed() -> bool:
                    return not (await api.get("/api/sessions/limited@x/pause-status")).json()["is_paused"]

                await until(resumed)
                await one.more()
                path = (await api.get("/api/sessions/limited@x", headers=admin)).json()["recording_path"]
                assert (await api.post("/api/sessions/limited@x/pause", headers=admin)).json()["is_paused"]
            manifest, pcm = await sealed(site, path)
            first = manifest.intervals[0]
            assert (first.type, first.actor) == ("pause", "pause key")
            assert pcm[first.end_ms * 8 + 1600 :].any()
            logged = (await api.get("/api/audit", headers=admin)).text
            assert "limited@x" not in logged
            assert "sessions.pause" in logged

        run(site, work)
