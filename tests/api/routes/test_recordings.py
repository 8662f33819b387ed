"""Recordings over HTTP: found, shown, played, held and taken away, with the keeper behind them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ASGIApp, Receive, Scope, Send

from api.audit import Audit
from api.auth import Principal, local_principal
from api.errors import HANDLERS
from api.routes.recordings import ROUTES, range_of, reference_of
from api.scopes import ALL, guard, undeclared
from engine import keeper as keepers
from engine.config import load
from engine.store import Store
from tests.engine.bus.stations import HubStation
from tests.engine.recordings.rig import BEGAN, met, record

# The oldest Litestar that is supported knows no other way to state parameters.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

LOCAL = local_principal()
ADMIN = Principal(owner="root", kind="key", scopes=ALL)
LISTENER = Principal(owner="lea", kind="key", scopes=frozenset({"recordings.read"}))
NOBODY = Principal(owner="nobody", kind="key", scopes=frozenset({"calls.read"}))
WISHES = {"TRUNKLINE_RECORDING_CLEANUP_DAYS": "0"}
WHOLE = {"TRUNKLINE_ENCRYPTION_ENABLE_RECORDING_ENCRYPTION": "true"}


class Server:
    """The routes before a keeper."""

    def __init__(self, loaded: Any, station: HubStation, store: Store, bus: Any, keeper: keepers.Keeper) -> None:
        self.loaded, self.station, self.store, self.keeper = loaded, station, store, keeper
        self.principal = LOCAL
        self.services = SimpleNamespace(bus=bus, store=store, loaded=loaded, config=loaded.config, clock=lambda: BEGAN + 9000, metrics=SimpleNamespace(refused=len))
        self.app = Litestar(
            route_handlers=ROUTES, guards=[guard], middleware=[self.identified, Audit(store.audit.add, time.time)], state=State({"services": self.services}),
            exception_handlers=HANDLERS,
            openapi_config=None, logging_config=None,
        )  # fmt: skip

    @property
    def folder(self) -> Path:
        return Path(self.loaded.data_dir / "recordings")

    def identified(self, app: ASGIApp) -> ASGIApp:
        async def as_principal(scope: Scope, receive: Receive, send: Send) -> None:
            scope["principal"] = self.principal  # type: ignore[typeddict-unknown-key]
            await app(scope, receive, send)

        return as_principal

    async def ask(self, method: str, path: str = "", *, by: Principal | None = None, **more: Any) -> httpx.Response:
        self.principal = by or LOCAL
        transport = httpx.ASGITransport(self.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, f"/api/v1/recordings{path}", **more)

    async def get(self, path: str = "", **more: Any) -> httpx.Response:
        return await self.ask("GET", path, **more)

    async def recorded(self, id: str = "r1", call_id: str = "call-1@host", **more: Any) -> None:
        """A recording that is done and in the store."""
        name = await asyncio.to_thread(record, self.folder, id, call_id, **more)
        await self.keeper.recordings.pipeline.adopt(name)
        catalogue = self.keeper.keeping.catalogue
        await met(lambda: (told := catalogue.of_recording(id)).stage == "done" and told.indexed and not told.obsolete)


Scenario = Callable[[Server], Awaitable[None]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Runs a scenario before such a server."""
    monkeypatch.setattr(keepers, "SERVICES", ())
    folder = Path(tempfile.mkdtemp(prefix="tl-"))

    async def before_keeper(scenario: Scenario, wishes: dict[str, str]) -> None:
        loaded = load(None, {"TRUNKLINE_DATA_DIR": str(folder), **WISHES, **wishes})
        station = HubStation(folder)
        await station.start()
        store = await Store.open(loaded.store_url)
        keeper = keepers.Keeper(loaded, await station.open("keeper"))
        run = asyncio.create_task(keeper.run())
        try:
            await met(lambda: keeper.store.get() is not None)
            async with asyncio.timeout(60):
                await scenario(Server(loaded, station, store, await station.open("api.0"), keeper))
        finally:
            keeper.stop()
            await run
            await store.close()
            await station.close()

    yield lambda scenario, **wishes: asyncio.run(before_keeper(scenario, wishes))
    shutil.rmtree(folder)


def test_every_route_says_who_may_call_it(play: Callable[..., None]) -> None:
    async def scenario(server: Server) -> None:
        assert undeclared(server.app) == []
        for method, path in (
            ("GET", ""), ("GET", "/holds"), ("GET", "/r1"), ("GET", "/r1/audio"), ("GET", "/r1/verify"), ("PUT", "/r1/holds/h"), ("DELETE", "/r1/holds/h"),
            ("DELETE", "/r1"), ("POST", "/sweep"),
        ):  # fmt: skip
            assert (await server.ask(method, path, by=NOBODY, json={})).status_code == 403, (method, path)
        for method, path in (("PUT", "/r1/holds/h"), ("DELETE", "/r1/holds/h"), ("DELETE", "/r1"), ("POST", "/sweep")):
            assert (await server.ask(method, path, by=LISTENER, json={})).status_code == 403, (method, path)

    play(scenario)


def test_recordings_are_listed_and_found(play: Callable[..., None]) -> None:
    async def scenario(server: Server) -> None:
        for number in range(3):
            await server.recorded(f"r{number}", f"call-{number}@host", correlation=(f"ucid:0{number}",), began=BEGAN + number)
        told = (await server.get()).json()
        assert [each["id"] for each in told["recordings"]] == ["r2", "r1", "r0"] and told["next_cursor"] is None
        first = told["recordings"][2]
        assert (first["session"], first["stage"], first["started_at"], first["duration_ms"]) == ("call-0@host", "done", "2026-01-02T03:04:05.500Z", 250)
        assert first["expires_at"] is None and first["channels"][1]["parties"] == [{"aor": "sip:bob@example.net;user=phone", "name": "Bob", "role": "agent"}]
        page = (await server.get(params={"limit": 2})).json()
        rest = (await server.get(params={"limit": 2, "cursor": page["next_cursor"]})).json()
        assert [each["id"] for each in page["recordings"] + rest["recordings"]] == ["r2", "r1", "r0"]
        for query, ids in (
            ({"call_id": "call-1@host"}, ["r1"]), ({"correlation": "02"}, ["r2"]), ({"correlation": "ucid:02"}, ["r2"]), ({"participant": "alice@"}, ["r2", "r1", "r0"]),
            ({"since": str(BEGAN + 1), "until": str(BEGAN + 2)}, ["r1"]), ({"held": "true"}, []), ({"stage": "done", "call": str(first["call"])}, ["r0"]),
        ):  # fmt: skip
            assert [each["id"] for each in (await server.get(params=query)).json()["recordings"]] == ids, query
        for query in ({"cursor": "x"}, {"limit": "0"}, {"since": "nan"}, {"limit": "many"}):
            assert (await server.get(params=query)).status_code == 400, query

    play(scenario)


def test_a_recording_is_shown_with_its_session_and_without_its_keys(play: Callable[..., None]) -> None:
    async def scenario(server: Server) -> None:
        await server.recorded()
        told = (await server.get("/r1")).json()
        assert told["record"]["stage"] == "done" and told["manifest"]["recording_id"] == "r1"
        assert told["session"]["bodies"][0]["content"] == "<recording/>"
        sealed = [file["sealed"] for file in told["record"]["files"] if "sealed" in file]
        assert len(sealed) == 3 and all("wrapped_key" not in each and each["key_id"] for each in sealed)
        masked = (await server.get("/r1", by=LISTENER)).json()
        assert "bodies" not in masked["session"] and masked["session"]["session"]["participants"][0]["name"] == "Alice"
        for id in ("r9", "..%2f..%2fetc%2fpasswd", "r1.json", "%00", "x" * 4000):
            assert (await server.get(f"/{id}")).status_code == 404, id

    play(scenario, **WHOLE)


@pytest.mark.parametrize("wishes", [{}, WHOLE])
def test_any_range_of_the_sound_is_played(play: Callable[..., None], wishes: dict[str, str]) -> None:
    async def scenario(server: Server) -> None:
        name = await asyncio.to_thread(record, server.folder, seconds=40.0)
        sound = {leg: (server.folder / f"r1{leg}.wav").read_bytes() for leg in ("", "-leg0", "-leg1")}
        await server.keeper.recordings.pipeline.adopt(name)
        await met(lambda: server.keeper.keeping.catalogue.of_recording("r1").stage == "done")
        whole = await server.get("/r1/audio", by=LISTENER)
        assert whole.status_code == 200 and whole.content == sound[""]
        assert whole.headers["content-type"] == "audio/wav" and whole.headers["content-length"] == str(len(sound[""]))
        assert whole.headers["content-disposition"] == 'attachment; filename="r1.wav"' and whole.headers["accept-ranges"] == "bytes"
        for leg in (0, 1):
            assert (await server.get(f"/r1/audio?leg={leg}")).content == sound[f"-leg{leg}"]
        size = len(sound[""])
        for text, first, last in (
            ("bytes=0-0", 0, 0), ("bytes=0-43", 0, 43), ("bytes=262143-262145", 262_143, 262_145), (f"bytes={size - 1}-", size - 1, size - 1),
            ("bytes=-100", size - 100, size - 1), (f"bytes=1000-{size * 2}", 1000, size - 1), (f"bytes=-{size * 2}", 0, size - 1),
        ):  # fmt: skip
            part = await server.get("/r1/audio", headers={"Range": text})
            assert (part.status_code, part.content) == (206, sound[""][first : last + 1]), text
            assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        for text in ("bytes=5-4", "lines=0-1", "bytes=0-1,5-6", "bytes=-", "bytes=x"):
            assert (await server.get("/r1/audio", headers={"Range": text})).status_code == 200, text
        for text in (f"bytes={size}-", "bytes=-0"):
            refused = await server.get("/r1/audio", headers={"Range": text})
            assert (refused.status_code, refused.headers["content-range"], refused.json()["code"]) == (416, f"bytes */{size}", "request.range")
        changed = await server.get("/r1/audio", headers={"Range": "bytes=0-3", "If-Range": '"another"'})
        assert changed.status_code == 200 and changed.content == sound[""]
        assert (await server.get("/r1/audio?leg=2")).json()["code"] == "recording.no_file"
        assert (await server.get("/r1/audio?leg=-1")).status_code == 400
        assert (await server.get("/r9/audio")).status_code == 404

    play(scenario, **wishes)


def test_ranges_of_nothing() -> None:
    assert range_of("bytes=0-5", 0) is None and range_of("", 0) == (0, -1, 200)


def test_a_changed_recording_is_noticed_and_a_missing_file_told(play: Callable[..., None]) -> None:
    async def scenario(server: Server) -> None:
        await server.recorded()
        assert (await server.get("/r1/verify")).json() == {"id": "r1", "whole": True, "problems": []}
        path = server.folder / "r1.wav"
        path.write_bytes(path.read_bytes()[:-2] + b"\x01\x02")
        assert (await server.get("/r1/verify")).json()["problems"] == ["r1.wav: its content was changed"]
        path.unlink()
        told = await server.get("/r1/audio")
        assert told.status_code == 404 and "not on this machine" in told.json()["error"]
        assert (await server.get("/r9/verify")).status_code == 404

    play(scenario)


def test_a_hold_keeps_a_recording_until_it_is_released(play: Callable[..., None]) -> None:
    async def scenario(server: Server) -> None:
        await server.recorded()
        told = await server.ask("PUT", "/r1/holds/case-7", by=ADMIN, json={"reason": "court"})
        assert told.status_code == 200
        hold = {"id": "case-7", "by": "root", "at": "2026-01-02T05:34:05.500Z", "reason": "court"}
        assert told.json() == {"id": "r1", "holds": [hold]}
        assert (await server.get("/holds")).json() == {"holds": [{"recording_id": "r1", "call_id": "call-1@host", "hold": hold}]}
        await met(lambda: server.keeper.keeping.catalogue.of_recording("r1").indexed)
        assert [each["id"] for each in (await server.get(params={"held": "true"})).json()["recordings"]] == ["r1"]
        refused = await server.ask("DELETE", "/r1", by=ADMIN)
        assert (refused.status_code, refused.json()["code"]) == (409, "recording.held")
        assert (server.folder / "r1.wav").exists()
        assert (await server.ask("PUT", "/r1/holds/a%20b", json={})).status_code == 400
        assert (await server.ask("PUT", "/r1/holds/x", json={"reason": "r" * 1001})).status_code == 400
        assert (await server.ask("PUT", "/r9/holds/x", json={})).status_code == 404
        assert (await server.ask("DELETE", "/r1/holds/other")).status_code == 404
        assert (await server.ask("DELETE", "/r1/holds/case-7", by=ADMIN)).json() == {"id": "r1", "holds": []}
        assert (await server.ask("DELETE", "/r1", by=ADMIN)).json() == {"id": "r1", "erased": True, "left": []}
        rows, _ = await server.store.audit.list()
        assert [(row.action, row.actor, row.outcome, row.target) for row in reversed(rows)][:3] == [
            ("recordings.hold", "root", "done", reference_of("r1")), ("recordings.delete", "root", "refused 409", reference_of("r1")),
            ("recordings.hold", "local", "refused 400", reference_of("r1")),
        ]  # fmt: skip
        assert rows[0].action == "recordings.delete" and rows[0].outcome == "done"

    play(scenario)


def test_what_was_erased_is_gone_everywhere_and_says_so(play: Callable[..., None]) -> None:
    async def scenario(server: Server) -> None:
        await server.recorded("r1-secretcall", "secretcall@host")
        assert (await server.get("/r1-secretcall/audio", by=LISTENER)).status_code == 200
        assert (await server.ask("DELETE", "/r1-secretcall")).json()["erased"] is True
        for method, path in (("GET", ""), ("GET", "/audio"), ("GET", "/verify"), ("DELETE", "")):
            told = await server.ask(method, f"/r1-secretcall{path}")
            assert (told.status_code, told.json()["code"]) == (410, "recording.erased"), (method, path)
        assert (await server.get()).json()["recordings"] == []
        assert await server.store.calls.get("secretcall@host") is None
        rows, _ = await server.store.audit.list()
        assert ("recordings.play", "lea") in {(row.action, row.actor) for row in rows}
        assert not [row for row in rows if "secretcall" in repr(row)]
        left = b"".join(path.name.encode() + path.read_bytes() for path in server.folder.iterdir())
        assert b"secretcall" not in left

    play(scenario)


def test_a_sweep_tells_what_would_go_and_takes_it(play: Callable[..., None]) -> None:
    async def scenario(server: Server) -> None:
        # of a time long past, and kept for a day
        server.keeper.keeping.config = load(None, {"TRUNKLINE_DATA_DIR": str(server.loaded.data_dir), "TRUNKLINE_RECORDING_CLEANUP_DAYS": "1"}).config
        await server.recorded(began=1_600_000_000.0)
        told = (await server.ask("POST", "/sweep", params={"dry_run": "true"})).json()
        assert told == {"dry_run": True, "expired": ["r1"], "erased": [], "left": {}, "more": False}
        assert (server.folder / "r1.wav").exists()
        told = (await server.ask("POST", "/sweep")).json()
        assert (told["dry_run"], told["erased"]) == (False, ["r1"])
        assert (await server.get("/r1")).status_code == 410

    play(scenario)


def test_without_a_keeper_what_it_owns_is_not_available(play: Callable[..., None]) -> None:
    async def scenario(server: Server) -> None:
        await server.recorded()
        server.services.bus = None
        assert (await server.get("/holds")).status_code == 503
        assert (await server.ask("DELETE", "/r1")).status_code == 503
        server.services.bus = await server.station.open("api.1")
        server.keeper.stop()
        await met(lambda: server.keeper._bus._draining)
        told = await server.ask("DELETE", "/r1")
        assert told.status_code == 503 and (server.folder / "r1.wav").exists()
        assert (await server.get("/r1/audio")).status_code == 200
        assert msgspec.json.decode((await server.get()).content)["recordings"]

    play(scenario)


def test_keys_are_wrapped_by_the_master_key_of_now(play: Callable[..., None]) -> None:
    async def scenario(server: Server) -> None:
        await server.recorded()
        assert (await server.ask("POST", "/rewrap", by=LISTENER)).status_code == 403
        before = [file.sealed for file in server.keeper.keeping.catalogue.of_recording("r1").files]
        assert (await server.ask("POST", "/rewrap")).json() == {"rewrapped": 0}
        keys = server.loaded.data_dir / "keys"
        old = {path.name for path in keys.glob("*.key")}
        config = load(None, {"TRUNKLINE_DATA_DIR": str(server.loaded.data_dir), **WISHES, **WHOLE, "TRUNKLINE_ENCRYPTION_KEY_ROTATION_INTERVAL_S": "0.001"}).config
        server.keeper.keeping.config = config
        assert (await server.ask("POST", "/rewrap")).json() == {"rewrapped": 1}
        after = server.keeper.keeping.catalogue.of_recording("r1")
        assert all(file.sealed is None or file.sealed not in before for file in after.files)
        assert {path.name for path in keys.glob("*.key")} > old
        assert (await server.get("/r1/verify")).json()["whole"] is True
        assert (await server.get("/r1/audio")).content[:4] == b"RIFF"

    play(scenario, **WHOLE)
