"""/api/sessions over HTTP: the documented shapes, who may do what, what is said of faults; over a real bus, to workers whose sessions note what they are told."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.datastructures import State

from api.auth import Authenticator, Identify, Principal
from api.engines import Engines
from api.errors import HANDLERS
from api.keys import new_key
from api.pause_key import PauseKey
from api.routes.sessions import ROUTES
from api.scopes import undeclared
from engine.bus import Bus, Message
from engine.config import Config
from engine.config.document import Http, PauseResume
from engine.siprec.control import PauseSettings
from engine.siprec.service import SessionService
from engine.store import KeyRow
from tests.engine.bus.stations import WAIT_S, HubStation
from tests.engine.siprec.live_sessions import CALL_ID, NOW, LiveSession, LiveSessions, Time

# The oldest Litestar that is supported knows no other way to state parameters.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

KEY = "the-key-of-the-pause-routes"
OPEN = PauseResume(enabled=True, require_auth=False)
CLOSED = PauseResume(enabled=True, api_key=KEY)
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
AT = "2025-11-11T12:15:55.000Z"
PAUSE_FIELDS = ["session_id", "is_paused", "recording_paused", "transcription_paused", "paused_at", "pause_duration", "auto_resume_at"]
MUTE_FIELDS = ["session_id", "is_muted", "inbound_muted", "outbound_muted", "muted_at", "mute_duration"]
POSTS = ("/x/pause", "/x/resume", "/x/mute", "/x/unmute", "/pause-all", "/resume-all")
GETS = ("/x/pause-status", "/x/mute-status", "/pause-status", "/mute-status", "/all-status")


class Keys:
    """The keys of a store."""

    def __init__(self) -> None:
        self.rows: dict[bytes, KeyRow] = {}

    def make(self, *scopes: str) -> str:
        key, row = new_key(name="test", owner="tess", team=None, plan="", scopes=list(scopes), now=NOW, expires_at=None)
        self.rows[row.digest] = row
        return key

    async def by_digest(self, digest: bytes) -> KeyRow | None:
        return self.rows.get(digest)

    async def touch(self, used: dict[str, float]) -> None: ...


class Server:
    """The routes before two workers on one bus, and a third place in the list of processes that is no worker."""

    def __init__(self, station: HubStation, time: Time, workers: list[LiveSessions], config: Config, *, with_auth: bool) -> None:
        self.station = station
        self.time = time
        self.workers = workers
        self.keys = Keys()
        self.asked = 0
        self.bus: Bus | None = None
        authenticator = Authenticator(self.keys, clock=time, query_keys=config.http.keys_in_query) if with_auth else None
        self.services = SimpleNamespace(
            config=config, clock=time, authenticator=authenticator, plans=SimpleNamespace(admit=lambda principal: None), metrics=SimpleNamespace(refused=len),
            engines=Engines(lambda: self.bus, self.processes), pause_key=PauseKey(lambda: self.services.config, time),
        )  # fmt: skip
        identify = Identify(authenticator, hosts={"x"})
        self.app = Litestar(
            route_handlers=ROUTES, middleware=[identify], state=State({"services": self.services, "identify": identify}),
            exception_handlers=HANDLERS,
            openapi_config=None, logging_config=None,
        )  # fmt: skip

    async def processes(self) -> Any:
        self.asked += 1
        kinds = (("worker.0", "engine"), ("worker.1", "engine"), ("api.0", "api"))
        return SimpleNamespace(children=[SimpleNamespace(name=name, kind=kind) for name, kind in kinds])

    def begin(self, worker: int = 0, call_id: str = CALL_ID, **options: Any) -> LiveSession:
        return self.workers[worker].begin(call_id, **options)

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, f"/api/sessions{path}", **options)

    async def get(self, path: str = "", **options: Any) -> httpx.Response:
        return await self.send("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return await self.send("POST", path, **({"json": body} if body is not None else {}), **options)


Scenario = Callable[[Server], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Runs a scenario before such a server."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))

    async def before(scenario: Scenario, section: PauseResume, *, with_auth: bool = False, http: Http | None = None) -> None:
        station = HubStation(folder)
        await station.start()
        try:
            time = Time()
            workers = [LiveSessions(time, tmp_path / "pauses", PauseSettings.of(section)) for _ in range(2)]
            for number, sessions in enumerate(workers):
                bus = await station.open(f"worker.{number}")
                SessionService(sessions, time).serve(bus)
                bus.serve("worker.status", _status)
            server = Server(station, time, workers, Config(pause_resume=section, http=http or Http()), with_auth=with_auth)
            server.bus = await station.open("api.0")
            async with asyncio.timeout(WAIT_S):
                await scenario(server)
        finally:
            await station.close()

    yield lambda scenario, section=OPEN, **options: asyncio.run(before(scenario, section, **options))
    shutil.rmtree(folder)


async def _status(message: Message) -> dict[str, Any]:
    return {"name": "worker", "calls": 3, "sip": {"streams": 5}, "state": "ready"}


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert set(answer.json()) == {"error", "code"}
    assert answer.headers["content-type"].startswith("application/json")


def test_every_route_says_who_may_call_it(play: Play) -> None:
    async def scenario(server: Server) -> None:
        assert undeclared(server.app) == []

    play(scenario)


# ---- sessions ----


def test_sessions_are_listed_as_documented(play: Play) -> None:
    async def scenario(server: Server) -> None:
        assert (await server.get()).json() == {"count": 0, "sessions": [], "silent_workers": 0}
        server.begin(1, created_at=1_762_863_004.493)
        server.begin(0, "later@x")
        told = (await server.get()).json()
        assert (told["count"], [one["call_id"] for one in told["sessions"]]) == (2, [CALL_ID, "later@x"])
        first = told["sessions"][0]
        documented = {
            "call_id": CALL_ID, "state": "connected", "created_at": "2025-11-11T12:10:04.493Z",
            "participants": ["sip:agent@pbx", "sip:customer@example.com"], "analytics": {"sentiment": None, "mos": 3.1},
        }  # fmt: skip
        assert {name: first[name] for name in documented} == documented
        assert first["recording_path"].startswith("/var/lib/siprec/")
        assert first["recording"] == {
            "session_id": "s-1", "state": "active", "start_time": "2025-11-11T12:10:04.493Z", "participants": 2, "media_types": ["audio"],
            "vendor_type": "oracle", "oracle_ucid": "00FA08", "oracle_conversation_id": "", "cisco_session_id": "", "avaya_conversation_id": "",
            "ucid": "00FA08", "uui": "",
        }  # fmt: skip
        assert first["dialog"] == {
            "call_id": CALL_ID, "local_tag": "us", "remote_tag": "them", "local_uri": "sip:srs@10.0.0.1", "remote_uri": "sip:src@10.0.0.2",
        }
        assert (first["id"], first["remote_addr"], first["last_activity"]) == (CALL_ID, "10.0.0.2:5060", "2025-11-11T12:10:34.493Z")
        assert [(channel["label"], channel["lost"]) for channel in first["channels"]] == [("1", 0), ("2", 10)]
        assert server.asked == 1

    play(scenario)


def test_one_session_is_the_bare_object(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin(1)
        (listed,) = (await server.get()).json()["sessions"]
        for one in (await server.get("", params={"id": CALL_ID}), await server.get(f"/{CALL_ID}"), await server.get("", params={"id": session.recording_id})):
            assert one.json() == listed
        session.control.pause(True, False)
        told = (await server.get(f"/{CALL_ID}")).json()
        assert (told["state"], told["recording"]["state"]) == ("paused", "paused")
        for path in ("?id=nobody@x", "/nobody@x", "?id=", f"/{'x' * 600}"):
            refused(await server.get(path), 404, "siprec.unknown_session")

    play(scenario)


def test_call_ids_are_taken_as_they_stand_in_an_address(play: Play) -> None:
    async def scenario(server: Server) -> None:
        for call_id in ("a b@x", "ä@x", "a%2Fb", "a+b@x", "<a>;b=c@x", "..", "a?b#c@x"):
            server.begin(0, call_id)
            quoted = httpx.URL("http://x/", params={"id": call_id}).query.decode().removeprefix("id=")
            assert (await server.get(f"?id={quoted}")).json()["call_id"] == call_id
        slash = server.begin(1, "a/b@x")
        assert (await server.post(f"/{slash.recording_id}/pause")).json()["session_id"] == "a/b@x"
        assert slash.control.recording_paused

    play(scenario)


def test_analytics_are_the_keepers_where_it_answers(play: Play) -> None:
    async def scenario(server: Server) -> None:
        server.begin(0)
        server.begin(1, "quiet@x")
        asked: list[Any] = []

        async def summary(message: Message) -> dict[str, dict[str, Any]]:
            asked.append(message.read())
            return {CALL_ID: {"sentiment": "neutral", "mos": 4.2}}

        keeper = await server.station.open("keeper")
        keeper.serve("analytics.summary", summary)
        told = {one["call_id"]: one["analytics"] for one in (await server.get()).json()["sessions"]}
        assert told == {CALL_ID: {"sentiment": "neutral", "mos": 4.2}, "quiet@x": {"sentiment": None, "mos": 3.1}}
        assert sorted(asked[0]["call_ids"]) == sorted([CALL_ID, "quiet@x"])

    play(scenario)


def test_a_keeper_that_does_not_answer_holds_nobody_up(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(server: Server) -> None:
        server.begin(0)
        never = asyncio.Event()

        async def stuck(message: Message) -> None:
            await never.wait()

        (await server.station.open("keeper")).serve("analytics.summary", stuck)
        assert (await server.get(f"/{CALL_ID}")).json()["analytics"] == {"sentiment": None, "mos": 3.1}

    play(scenario)


def test_figures_of_all_workers_are_added_up(play: Play) -> None:
    async def scenario(server: Server) -> None:
        server.begin(0).control.pause()
        server.begin(1, "b@x")
        told = (await server.get("/stats")).json()
        assert ISO.fullmatch(told.pop("timestamp"))
        assert told == {
            "active_calls": 2, "paused_calls": 1, "muted_calls": 0, "recording_sessions": 2, "connected_sessions": 2, "stored_sessions": 0,
            "refused_sessions": 2, "streams": 10, "rtp_ports": {"available": 192, "total": 200, "used": 8}, "providers": {}, "vendors": {"oracle": 2},
            "metrics_available": True, "silent_workers": 0,
        }  # fmt: skip

    play(scenario)


def test_a_session_is_ended_or_asked_for_its_metadata(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin(1)
        asked = await server.post(f"/{CALL_ID}/snapshot")
        assert (asked.status_code, asked.json()["status"], session.asked) == (202, "requested", 1)
        session.may_be_asked = False
        refused(await server.post(f"/{CALL_ID}/snapshot"), 409, "siprec.not_asked")
        ended = await server.send("DELETE", f"/{CALL_ID}")
        assert (ended.status_code, ended.json()["status"], session.ended) == (200, "terminated", ["ended by local"])
        refused(await server.send("DELETE", "/nobody@x"), 404, "siprec.unknown_session")
        refused(await server.send("PUT", f"/{CALL_ID}"), 405, "route.method_not_allowed")

    play(scenario)


# ---- pauses ----


def test_a_pause_is_told_as_documented(play: Play) -> None:
    async def scenario(server: Server) -> None:
        server.begin(1)
        answer = await server.post(f"/{CALL_ID}/pause", {"pause_recording": True, "pause_transcription": False})
        assert answer.status_code == 200
        assert list(answer.json()) == PAUSE_FIELDS
        assert answer.json() == {
            "session_id": CALL_ID, "is_paused": True, "recording_paused": True, "transcription_paused": False, "paused_at": AT, "pause_duration": 0.0,
            "auto_resume_at": None,
        }
        assert b'"pause_duration":0.0' in answer.content  # seconds, as a float
        server.time.pass_s(12.3404)
        told = (await server.get(f"/{CALL_ID}/pause-status")).json()
        assert (told["pause_duration"], told["paused_at"]) == (12.34, AT)
        resumed = await server.post(f"/{CALL_ID}/resume")
        assert resumed.json() == {
            "session_id": CALL_ID, "is_paused": False, "recording_paused": False, "transcription_paused": False, "paused_at": None, "pause_duration": 0.0,
            "auto_resume_at": None,
        }

    play(scenario)


def test_a_pause_that_ends_by_itself_says_when(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin()
        assert (await server.post(f"/{CALL_ID}/pause")).json()["auto_resume_at"] == "2025-11-11T12:16:25.000Z"
        server.time.pass_s(30)
        assert not session.control.recording_paused

    play(scenario, PauseResume(enabled=True, require_auth=False, auto_resume=True, max_pause_s=30))


def test_what_is_not_said_is_as_configured(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin()
        for body, both in (
            (None, (False, True)), ({}, (False, True)), ({"pause_recording": True}, (True, True)), ({"pause_transcription": False}, (False, False)),
            ({"pause_recording": True, "pause_transcription": None}, (True, True)),
        ):  # fmt: skip
            told = (await server.post(f"/{CALL_ID}/pause", body)).json()
            assert (told["recording_paused"], told["transcription_paused"]) == both
            session.control.resume()
        session.control.pause(True, True)
        told = (await server.post(f"/{CALL_ID}/resume", {"resume_transcription": True})).json()
        assert (told["recording_paused"], told["transcription_paused"]) == (True, False)

    play(scenario, PauseResume(enabled=True, require_auth=False, pause_recording=False))


def test_all_sessions_are_paused_and_resumed(play: Play) -> None:
    async def scenario(server: Server) -> None:
        sessions = [server.begin(0), server.begin(1, "b@x"), server.begin(1, "c@x")]
        told = (await server.post("/pause-all", {"pause_transcription": False, "reason": "card"})).json()
        assert set(told) == {"message", "statuses"}
        assert {call_id: list(status) for call_id, status in told["statuses"].items()} == dict.fromkeys((CALL_ID, "b@x", "c@x"), PAUSE_FIELDS)
        assert all(session.control.recording_paused and not session.control.transcription_paused for session in sessions)
        by_id = (await server.get("/pause-status")).json()
        assert by_id == told["statuses"] == (await server.get("/all-status")).json()
        told = (await server.post("/resume-all")).json()
        assert not any(status["is_paused"] for status in told["statuses"].values())
        assert not any(session.control.recording_paused for session in sessions)

    play(scenario)


def test_a_pause_that_reached_only_some_is_no_success(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin(0)
        await server.services.engines.sessions()
        server.services.engines._names.append("worker.9")
        for path in ("/pause-all", "/resume-all"):
            answer = await server.post(path)
            refused(answer, 503, "siprec.partly_done")
            assert "worker.9" in answer.json()["error"]
            assert answer.headers["Retry-After"] == "1"
        refused(await server.get("/pause-status"), 503, "siprec.partly_done")
        assert (await server.get()).json()["silent_workers"] == 1
        refused(await server.get("/nobody@x"), 503, "bus.unknown_target")
        assert (await server.post(f"/{CALL_ID}/pause")).status_code == 200
        assert session.control.recording_paused

    play(scenario)


def test_a_pause_is_asked_for_before_its_call(play: Play) -> None:
    async def scenario(server: Server) -> None:
        refused(await server.post("/soon@x/pause"), 404, "siprec.unknown_session")
        told = (await server.post("/soon@x/pause", {"arm": True, "pause_transcription": False, "reason": "card"})).json()
        assert (told["session_id"], told["recording_paused"], told["transcription_paused"]) == ("soon@x", True, False)
        assert (await server.get("/soon@x/pause-status")).json() == told
        session = server.begin(1, "soon@x")
        assert session.gate.told == [("recording", True, "card", "local")]
        assert (await server.post("/gone@x/pause", {"arm": True})).status_code == 200
        assert not (await server.post("/gone@x/resume")).json()["is_paused"]
        refused(await server.post("/gone@x/resume"), 404, "siprec.unknown_session")

    play(scenario)


def test_unknown_sessions_are_not_there(play: Play) -> None:
    async def scenario(server: Server) -> None:
        for path in POSTS[:4]:
            refused(await server.post(path), 404, "siprec.unknown_session")
        for path in GETS[:2]:
            refused(await server.get(path), 404, "siprec.unknown_session")

    play(scenario)


def test_bodies_that_cannot_be_meant_are_refused_and_change_nothing(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin()
        session.control.pause(True, True)
        for body in (b"{", b"[]", b'"x"', b'{"pause_recording": "yes"}', b'{"resume_recording": 1}', b'{"resume_everything": true}', b"\xff", b"[" * 60_000, b"nul"):
            for path in ("pause", "resume", "mute", "unmute"):
                refused(await server.send("POST", f"/{CALL_ID}/{path}", content=body), 400, "request.invalid_parameter")
        refused(await server.send("POST", f"/{CALL_ID}/resume", content=b'{"reason": "' + b"x" * 300 + b'"}'), 400, "request.invalid_parameter")
        refused(await server.send("POST", "/resume-all", content=b" " * 70_000), 413, "request.too_large")
        assert session.control.recording_paused
        assert not session.control.mute_status().is_muted

    play(scenario)


def test_what_is_resumed_is_named_as_it_was_paused(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin()
        for body, left in (
            ({"pause_recording": True}, (False, True)), ({"pause_recording": True, "pause_transcription": False}, (False, True)),
            ({"pause_transcription": True}, (True, False)), ({"pause_recording": False}, (True, True)), ({"pause_recording": None}, (False, False)),
            ({"pause_recording": True, "resume_transcription": True}, (False, False)), ({"pause_recording": True, "resume_recording": True}, (False, True)),
        ):  # fmt: skip
            session.control.pause(True, True)
            told = (await server.post(f"/{CALL_ID}/resume", body)).json()
            assert (told["recording_paused"], told["transcription_paused"]) == left, body
        session.control.pause(True, True)
        refused(await server.post(f"/{CALL_ID}/resume", {"pause_recording": True, "resume_recording": False}), 400, "request.invalid_parameter")
        assert session.control.recording_paused
        told = (await server.post("/resume-all", {"pause_recording": True})).json()["statuses"][CALL_ID]
        assert (told["recording_paused"], told["transcription_paused"]) == (False, True)

    play(scenario, PauseResume(enabled=True, require_auth=False))


# ---- mutes ----


def test_sides_are_muted_and_unmuted(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin(1)
        answer = await server.post(f"/{CALL_ID}/mute", {"mute_inbound": True})
        assert list(answer.json()) == MUTE_FIELDS
        assert answer.json() == {
            "session_id": CALL_ID, "is_muted": True, "inbound_muted": True, "outbound_muted": False, "muted_at": AT, "mute_duration": 0.0,
        }
        assert (await server.post(f"/{CALL_ID}/mute")).json()["outbound_muted"]
        server.time.pass_s(1.5)
        told = (await server.get(f"/{CALL_ID}/mute-status")).json()
        assert told["mute_duration"] == 1.5
        assert (await server.get("/mute-status")).json() == {CALL_ID: told}
        assert (await server.post(f"/{CALL_ID}/unmute", {"unmute_outbound": True})).json()["inbound_muted"]
        assert not (await server.post(f"/{CALL_ID}/unmute")).json()["is_muted"]
        assert [told[0] for told in session.gate.told] == ["leg"] * 4

    play(scenario)


# ---- who may ----


def test_where_pausing_is_not_enabled_its_routes_are_not_there(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin(0, "x")
        for path in POSTS:
            refused(await server.post(path, headers={"X-API-Key": KEY}), 404, "siprec.pausing_off")
        for path in GETS:
            refused(await server.get(path, headers={"X-API-Key": KEY}), 404, "siprec.pausing_off")
        assert session.gate.told == []
        assert (await server.get("/x")).status_code == 200

    play(scenario, PauseResume(enabled=False, api_key=KEY))


def test_without_control_of_single_sessions_only_all_are_paused(play: Play) -> None:
    async def scenario(server: Server) -> None:
        server.begin(0, "x")
        for path in POSTS[:4]:
            refused(await server.post(path), 404, "siprec.per_session_off")
        refused(await server.post("/soon@x/pause", {"arm": True}), 404, "siprec.per_session_off")
        assert (await server.post("/pause-all")).json()["statuses"]["x"]["is_paused"]
        assert (await server.get("/x/pause-status")).json()["is_paused"]

    play(scenario, PauseResume(enabled=True, require_auth=False, per_session=False))


def test_where_a_key_is_wanted_and_none_is_set_nobody_gets_in(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin(0, "x")
        for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "anything"}, {"Authorization": "Bearer anything"}):
            for path in POSTS:
                refused(await server.post(path, headers=headers), 503, "siprec.no_pause_key")
            for path in GETS:
                refused(await server.get(path, headers=headers), 503, "siprec.no_pause_key")
        assert session.gate.told == []

    play(scenario, PauseResume(enabled=True, require_auth=True, api_key=""))


def test_the_key_lets_in_and_no_other_does(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin(0, "x")
        for path in (*POSTS, *GETS):
            method = "POST" if path in POSTS else "GET"
            refused(await server.send(method, path), 401, "auth.required")
            assert (await server.send(method, path, headers={"X-API-Key": KEY})).status_code == 200
        count = len(session.gate.told)
        for wrong in (KEY[:-1], KEY + "x", KEY.upper(), "ÄÖ"):
            refused(await server.post("/x/pause", headers={"X-API-Key": wrong.encode()}), 401, "auth.invalid")
        refused(await server.post(f"/x/pause?api_key={KEY}"), 401, "auth.required")
        assert len(session.gate.told) == count
        assert session.changes[0][1] == "pause key"

    play(scenario, CLOSED)


def test_guesses_are_bounded_and_the_key_still_lets_in(play: Play) -> None:
    async def scenario(server: Server) -> None:
        server.begin(0, "x")
        statuses = [(await server.post("/x/pause", headers={"X-API-Key": f"guess-{turn}"})).status_code for turn in range(25)]
        assert statuses == [401] * 20 + [429] * 5
        refused(await server.post("/x/pause", headers={"X-API-Key": "guess"}), 429, "auth.throttled")
        assert (await server.post("/x/pause", headers={"X-API-Key": KEY})).status_code == 200

    play(scenario, CLOSED)


def test_the_key_comes_in_the_address_only_where_that_is_allowed(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: Server) -> None:
        server.begin(0, "x")
        assert (await server.post("/x/pause", params={"api_key": "a b&c=d+é"})).status_code == 200
        refused(await server.post("/x/pause", params={"api_key": "a b&c=d+"}), 401, "auth.invalid")
        assert (await server.get("/pause-status", params={"api_key": "a b&c=d+é"})).status_code == 200

    with caplog.at_level(logging.DEBUG):
        play(scenario, PauseResume(enabled=True, api_key="a b&c=d+é"), http=Http(keys_in_query=True))
    assert "c=d+é" not in "".join(record.getMessage() for record in caplog.records if record.name.startswith("trunkline"))


def test_a_web_page_cannot_pause_on_a_server_that_asks_for_no_key(play: Play) -> None:
    async def scenario(server: Server) -> None:
        server.begin(0, "x")
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            refused(await server.post("/x/pause", headers=headers), 403, "auth.forbidden")
        assert (await server.post("/x/pause", headers={"Origin": "http://x"})).status_code == 200

    play(scenario)


def test_api_keys_need_the_scope_and_the_pause_key_needs_none(play: Play) -> None:
    async def scenario(server: Server) -> None:
        session = server.begin(0, "x")
        reader, writer = server.keys.make("sessions.read"), server.keys.make("sessions.write")

        def by(key: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {key}"}

        refused(await server.get(), 401, "auth.required")
        assert (await server.get(headers=by(reader))).json()["count"] == 1
        refused(await server.send("DELETE", "/x", headers=by(reader)), 403, "auth.forbidden")
        refused(await server.send("DELETE", "/x", headers={"X-API-Key": KEY}), 401, "auth.invalid")
        for path in POSTS:
            refused(await server.post(path), 401, "auth.required")
            refused(await server.post(path, headers=by(reader)), 403, "auth.forbidden")
            refused(await server.post(path, headers={"X-API-Key": "sips_" + "0" * 40}), 401, "auth.invalid")
        assert session.gate.told == []
        for path in POSTS:
            assert (await server.post(path, headers=by(writer))).status_code == 200
            assert (await server.post(path, headers={"X-API-Key": KEY})).status_code == 200
        for path in GETS:
            assert (await server.get(path, headers=by(reader))).status_code == 200
            refused(await server.get(path, headers=by(writer)), 403, "auth.forbidden")
        await server.post("/x/pause", headers=by(writer))
        await server.post("/x/resume", headers={"X-API-Key": KEY})
        assert [change[:2] for change in session.changes[-2:]] == [("paused", "tess"), ("resumed", "pause key")]

    play(scenario, CLOSED, with_auth=True)


def test_without_a_pause_key_api_keys_are_asked_for_and_nobody_else_gets_in(play: Play) -> None:
    async def scenario(server: Server) -> None:
        server.begin(0, "x")
        refused(await server.post("/x/pause"), 401, "auth.required")
        refused(await server.post("/x/pause", headers={"X-API-Key": ""}), 401, "auth.required")
        assert (await server.post("/x/pause", headers={"X-API-Key": server.keys.make("admin")})).status_code == 200

    for section in (PauseResume(enabled=True, require_auth=True), OPEN):
        play(scenario, section, with_auth=True)


def test_who_paused_is_known_to_the_audit_log(play: Play) -> None:
    async def scenario(server: Server) -> None:
        server.begin(0, "x")
        request = SimpleNamespace(scope={"headers": [(b"x-api-key", KEY.encode())], "query_string": b""}, app=None)
        principal: Principal = await server.services.pause_key.admit(request, "sessions.write")
        assert request.scope["principal"] is principal  # type: ignore[comparison-overlap]
        assert principal.owner == "pause key"

    play(scenario, CLOSED)


def test_without_a_bus_nobody_can_be_asked(play: Play) -> None:
    async def scenario(server: Server) -> None:
        server.bus = None
        for answer in (await server.get(), await server.get("/x"), await server.post("/x/pause"), await server.post("/pause-all"), await server.get("/stats")):
            refused(answer, 503, "service.unavailable")
            assert answer.headers["Retry-After"] == "1"

    play(scenario)
