"""Live calls over HTTP: asked for over the bus, explained here, shown to whom they concern."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ASGIApp, Receive, Scope, Send

from api.auth import Principal, local_principal
from api.errors import HANDLERS
from api.routes.analyze import Analyses
from api.routes.live import ROUTES
from api.scopes import ALL, guard, undeclared
from engine.trace.export import KeptMessage
from engine.trace.live import LiveTraces
from engine.trace.live_service import LiveService
from tests.engine.bus.stations import WAIT_S, HubStation
from tests.engine.trace.live_calls import Clock, answered, note, traces

# The oldest Litestar that is supported knows no other way to state parameters.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.base_exceptions.LitestarDeprecationWarning")

LOCAL = local_principal()
ADMIN = Principal(owner="root", kind="key", scopes=ALL)
VIEWER = Principal(owner="somebody", kind="key", scopes=frozenset({"calls.read"}))
NOBODY = Principal(owner="nobody", kind="key", scopes=frozenset({"status.read"}))
# Everybody's calls, and nothing unredacted: no role is like that, and a later one may be.
MASKED = Principal(owner="local", kind="local", scopes=frozenset({"calls.read"}))
SECRET = b"6629fae49393a05397450978507c4ef1"


class Engine:
    """The routes before two workers on one bus; the third place in the list of processes is an API worker."""

    def __init__(self, station: HubStation, live: list[LiveTraces]) -> None:
        self.station = station
        self.live = live
        self.principal = LOCAL
        children = [SimpleNamespace(name=name, kind=kind) for name, kind in (("worker.0", "engine"), ("worker.1", "engine"), ("api.0", "api"))]
        self.status: Any = SimpleNamespace(children=children)
        self.services = SimpleNamespace(bus=None, analyses=Analyses(1), processes=self.processes, metrics=SimpleNamespace(refused=len))
        self.app = Litestar(
            route_handlers=ROUTES, guards=[guard], middleware=[self.identified], state=State({"services": self.services}),
            exception_handlers=HANDLERS,
            openapi_config=None, logging_config=None,
        )  # fmt: skip

    async def processes(self) -> Any:
        return self.status

    def identified(self, app: ASGIApp) -> ASGIApp:
        async def as_principal(scope: Scope, receive: Receive, send: Send) -> None:
            scope["principal"] = self.principal  # type: ignore[typeddict-unknown-key]
            await app(scope, receive, send)

        return as_principal

    async def get(self, path: str = "", *, by: Principal | None = None, **query: str) -> httpx.Response:
        self.principal = by or LOCAL
        transport = httpx.ASGITransport(self.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get(f"/api/v1/live/calls{path}", params=query or None)


Scenario = Callable[[Engine], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[[Scenario], None]]:
    """Runs a scenario before such an engine."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))

    async def before_engine(scenario: Scenario) -> None:
        station = HubStation(folder)
        await station.start()
        try:
            live = []
            for name in ("worker.0", "worker.1"):
                live.append(traces(tmp_path / name, Clock(1_700_000_020_000_000_000)))
                LiveService(live[-1]).serve(await station.open(name))
            engine = Engine(station, live)
            engine.services.bus = await station.open("api.0")
            async with asyncio.timeout(WAIT_S):
                await scenario(engine)
            engine.services.analyses.close()
        finally:
            await station.close()

    yield lambda scenario: asyncio.run(before_engine(scenario))
    shutil.rmtree(folder)


def with_secret(messages: list[KeptMessage]) -> list[KeptMessage]:
    """The INVITE answers a challenge."""
    first = messages[0]
    header = b'Authorization: Digest username="bob", realm="x", response="' + SECRET + b'"\r\nMax-Forwards'
    text = first.text.replace(b"Max-Forwards", header, 1)
    return [KeptMessage(first.time_ns, first.source, first.target, first.transport, text), *messages[1:]]


def test_every_route_says_who_may_call_it(play: Callable[[Scenario], None]) -> None:
    async def scenario(engine: Engine) -> None:
        assert undeclared(engine.app) == []
        for path in ("", "/a", "/a/findings", "/a/messages", "/a/ladder"):
            assert (await engine.get(path, by=NOBODY)).status_code == 403

    play(scenario)


def test_calls_are_listed(play: Callable[[Scenario], None]) -> None:
    async def scenario(engine: Engine) -> None:
        note(engine.live[0], answered("a@x"), "a@x")
        note(engine.live[1], answered("b@x"), "b@x")
        engine.live[1].ended("b@x")
        told = (await engine.get()).json()
        assert told == {
            "calls": [
                {"call_id": "a@x", "state": "up", "began_at": "2023-11-14T22:13:20.000Z", "message_count": 7, "omitted": 0}
            ],
            "counts": {"other": 0, "up": 1, "ended": 1, "lost": 0},
            "silent_workers": 0,
        }
        assert [call["call_id"] for call in (await engine.get(which="ended")).json()["calls"]] == ["b@x"]
        for name, value in (("which", "dead"), ("limit", "0"), ("limit", "501")):
            refused = await engine.get(f"?{name}={value}")
            assert (refused.status_code, refused.json()["code"]) == (400, "request.invalid_parameter")

    play(scenario)


def test_one_call_is_told_from_wherever_it_is(play: Callable[[Scenario], None]) -> None:
    async def scenario(engine: Engine) -> None:
        live = engine.live[1]
        note(live, answered())
        assert (await engine.get("/live@x")).json()["state"] == "up"
        findings = (await engine.get("/live@x/findings")).json()
        whole = live.report("live@x")
        assert [finding["rule"] for finding in findings["findings"]] == [finding.rule for finding in whole.findings]
        assert findings["severity_counts"] == whole.severity_counts
        assert findings["until"] == "2023-11-14T22:13:40.000Z"
        messages = (await engine.get("/live@x/messages")).json()["messages"]
        assert [message["text"].encode() for message in messages] == [message.text for message in live.messages("live@x")]
        assert [message["number"] for message in messages] == list(range(1, 8))
        assert (messages[0]["method"], messages[0]["status"], messages[0]["sdp"]) == ("INVITE", None, True)
        assert (messages[1]["method"], messages[1]["status"], messages[1]["sdp"]) == ("INVITE", 100, False)
        assert (messages[0]["source"], messages[0]["target"]) == ("198.51.100.10:5060", "203.0.113.20:5060")

    play(scenario)


def test_ladders_come_in_every_shape(play: Callable[[Scenario], None]) -> None:
    async def scenario(engine: Engine) -> None:
        note(engine.live[0], answered())
        drawn = await engine.get("/live@x/ladder")
        assert drawn.headers["content-type"].startswith("application/json")
        assert list(drawn.json()) == ["diagnosticInfo", "nodes", "messages"]
        assert [message["method"] for message in drawn.json()["messages"]] == ["INVITE", "100", "180", "200", "ACK", "BYE", "200"]
        text = await engine.get("/live@x/ladder", format="text")
        assert text.headers["content-type"] == "text/plain; charset=utf-8"
        assert "180 Ringing" in text.text
        svg = await engine.get("/live@x/ladder", format="svg")
        assert svg.headers["content-type"] == "image/svg+xml"
        assert "default-src 'none'" in svg.headers["content-security-policy"]
        assert ElementTree.fromstring(svg.text).tag == "{http://www.w3.org/2000/svg}svg"
        assert (await engine.get("/live@x/ladder", format="mermaid")).text.startswith("sequenceDiagram\n")
        assert (await engine.get("/live@x/ladder", format="png")).status_code == 400
        engine.live[0].note("odd", b"no SIP", True, "UDP", ("198.51.100.1", 1), ("198.51.100.2", 2), 3)
        assert (await engine.get("/odd/ladder")).status_code == 404

    play(scenario)


def test_live_calls_are_shown_to_those_alone_who_may_see_every_call(play: Callable[[Scenario], None]) -> None:
    async def scenario(engine: Engine) -> None:
        note(engine.live[0], answered())
        for path in ("/live@x", "/live@x/findings", "/live@x/messages", "/live@x/ladder"):
            assert (await engine.get(path, by=ADMIN)).status_code == 200
            hidden, unknown = await engine.get(path, by=VIEWER), await engine.get(path.replace("live", "no"), by=VIEWER)
            assert (hidden.status_code, hidden.json()) == (unknown.status_code, unknown.json())
            assert hidden.status_code == 404
        assert (await engine.get(by=VIEWER)).json() == {"calls": [], "counts": {}, "silent_workers": 0}
        assert len((await engine.get(by=ADMIN)).json()["calls"]) == 1

    play(scenario)


def test_secrets_are_masked_where_they_are_shown_and_change_no_finding(play: Callable[[Scenario], None]) -> None:
    async def scenario(engine: Engine) -> None:
        note(engine.live[0], with_secret(answered()))
        for path in ("/live@x/messages", "/live@x/ladder", "/live@x/findings"):
            seen, hidden = await engine.get(path), await engine.get(path, by=MASKED)
            assert SECRET.decode() not in hidden.text
            if path.endswith("findings"):
                assert json.loads(seen.text) == json.loads(hidden.text)
            else:
                assert SECRET.decode() in seen.text
                assert "***" in hidden.text

    play(scenario)


def test_unknown_calls_are_not_found_and_missing_workers_are_no_proof(play: Callable[[Scenario], None]) -> None:
    async def scenario(engine: Engine) -> None:
        note(engine.live[0], answered())
        for call_id in ("strange@x", "x" * 600):
            unknown = await engine.get(f"/{call_id}")
            assert (unknown.status_code, unknown.json()["code"]) == (404, "request.not_found")
        engine.status.children.append(SimpleNamespace(name="worker.7", kind="engine"))
        gone = await engine.get("/strange@x")
        assert (gone.status_code, gone.json()["code"]) == (503, "bus.unknown_target")
        assert (await engine.get("/live@x")).status_code == 200
        assert (await engine.get()).json()["silent_workers"] == 1
        engine.status = None
        assert (await engine.get("/live@x")).status_code == 503
        assert (await engine.get()).status_code == 503

    play(scenario)
