"""The hub of an API worker's sockets: who gets what, and who is let go."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from litestar import WebSocket
from prometheus_client import CollectorRegistry

from api.auth import AuthUnavailable, Principal, RevokedKey
from api.sockets.connection import follow
from api.sockets.hub import QUEUE_MAX, Client, Closing, Hub, Kind
from engine.bus import Bus, Message, open_bus
from engine.bus import Hub as EngineHub
from engine.bus.machines import Machines
from engine.siprec.events import ANALYTICS_TOPIC, LiveMessage

WAIT_S = 10.0
TESS = Principal(owner="tess", kind="key", key_id="1", key_digest=b"1", scopes=frozenset({"realtime.read"}))
TOM = Principal(owner="tom", kind="token", expires_at=1e12)


def hub(recheck: Any = None, **options: Any) -> Hub:
    chosen: dict[str, Any] = {"bus": None, "recheck": recheck, "registry": CollectorRegistry(), "clients_max": 3, "clock": lambda: 0.0, **options}
    return Hub(**chosen)


async def _nothing() -> None:
    await asyncio.Event().wait()


class Seat:
    """A client and what reaches it. Without `reads` it takes nothing."""

    def __init__(self, where: Hub, kind: Kind = "transcriptions", call_id: str = "", principal: Principal = TESS, reads: bool = True) -> None:
        self.client = Client(kind, call_id, "session", principal)
        self.frames: list[dict[str, Any]] = []
        self._may_read = asyncio.Event()
        if reads:
            self._may_read.set()
        self.task = asyncio.create_task(where.run(self.client, lambda: asyncio.sleep(0), _nothing, self._send))

    async def _send(self, frame: dict[str, Any]) -> None:
        await self._may_read.wait()
        self.frames.append(frame)

    @property
    def told(self) -> list[Any]:
        return [json.loads(frame["text"]) for frame in self.frames if frame["type"] == "websocket.send"]

    @property
    def closed(self) -> int | None:
        return next((frame["code"] for frame in self.frames if frame["type"] == "websocket.close"), None)


def played(scenario: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(WAIT_S):
            await scenario()

    asyncio.run(within())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_message_goes_to_the_followers_of_its_call_and_of_all_calls_and_to_no_other() -> None:
    async def scenario() -> None:
        where = hub()
        everything, one, other = Seat(where), Seat(where, call_id="a"), Seat(where, call_id="b")
        elsewhere = Seat(where, "analytics")
        await until(lambda: where.clients == 4)
        where.tell("transcriptions", "a", '{"n":1}')
        where.follow(other.client, "a")
        where.tell("transcriptions", "a", '{"n":2}')
        where.follow(one.client, "")
        where.tell("transcriptions", "c", '{"n":3}')
        await until(lambda: len(one.told) == 3)
        assert [told["n"] for told in everything.told] == [1, 2, 3]
        assert [told["n"] for told in one.told] == [1, 2, 3]
        assert [told["n"] for told in other.told] == [2]
        assert elsewhere.told == []
        await where.close()

    played(scenario)


def test_messages_that_waited_together_are_frames_of_their_own() -> None:
    async def scenario() -> None:
        where = hub()
        seat = Seat(where, reads=False)
        await until(lambda: where.clients == 1)
        for n in range(QUEUE_MAX):
            where.tell("transcriptions", "a", json.dumps({"n": n}))
        seat._may_read.set()
        await until(lambda: len(seat.frames) == QUEUE_MAX)
        assert [told["n"] for told in seat.told] == list(range(QUEUE_MAX))
        await where.close()

    played(scenario)


def test_a_full_queue_lets_one_client_go_and_holds_nothing_of_it() -> None:
    async def scenario() -> None:
        where = hub()
        slow, quick = Seat(where, reads=False), Seat(where)
        await until(lambda: where.clients == 2)
        count = 3 * QUEUE_MAX
        for n in range(count):
            where.tell("transcriptions", "a", json.dumps({"n": n}))
            await asyncio.sleep(0)
        await until(lambda: len(quick.told) == count)
        assert len(slow.client.queue) == 1  # the error
        assert slow.client.closing is not None
        assert slow.client.closing.reason == "client.slow"
        slow._may_read.set()
        await slow.task
        assert slow.told[-1]["code"] == "client.slow"
        assert slow.closed == 1008
        assert where.clients == 1
        await where.close()

    played(scenario)


def test_a_client_that_takes_nothing_is_cut() -> None:
    async def scenario() -> None:
        where = hub(send_s=0.02, sweep_s=0.005)
        await where.start()
        stalled, reading = Seat(where, reads=False), Seat(where)
        await until(lambda: where.clients == 2)
        where.tell("transcriptions", "a", "{}")
        await stalled.task
        assert stalled.frames == []
        assert where.clients == 1
        assert reading.client.closing is None
        await where.close()
        assert reading.closed == 1001

    played(scenario)


def test_idle_clients_are_pinged_and_never_cut() -> None:
    async def scenario() -> None:
        where = hub(ping_s=0.01, sweep_s=0.002)
        await where.start()
        seats = [Seat(where), Seat(where, "analytics", "a")]
        await until(lambda: all(len(seat.told) >= 5 for seat in seats))
        assert {told["type"] for seat in seats for told in seat.told} == {"ping"}
        assert all(seat.client.closing is None for seat in seats)
        await where.close()

    played(scenario)


class Keys:
    """Keys of which some are not good any more."""

    def __init__(self) -> None:
        self.wrong: dict[str, Exception] = {}
        self.asked: list[str] = []

    async def recheck(self, principal: Principal) -> Principal:
        self.asked.append(principal.owner)
        if principal.owner in self.wrong:
            raise self.wrong[principal.owner]
        return principal


def test_open_connections_end_with_their_key_and_outlast_the_store_of_keys() -> None:
    async def scenario() -> None:
        keys = Keys()
        where = hub(keys, sweep_s=0.002)
        await where.start()
        hers, hers_too, his = Seat(where), Seat(where, "analytics"), Seat(where, principal=TOM)
        keys.wrong["tess"] = AuthUnavailable()
        await until(lambda: keys.asked.count("tess") > 3)
        assert where.clients == 3
        keys.wrong["tess"] = RevokedKey("The API key was revoked")
        await asyncio.gather(hers.task, hers_too.task)
        for seat in (hers, hers_too):
            assert seat.told[-1] == {
                "type": "error", "message": "The API key was revoked", "error": "The API key was revoked", "code": "auth.revoked",
            }  # fmt: skip
            assert seat.closed == 4401
        assert his.closed is None
        # one look at each key, however many connections it has
        assert abs(keys.asked.count("tess") - keys.asked.count("tom")) <= 1
        await where.close()

    played(scenario)


def test_there_is_a_place_for_so_many_and_none_once_it_is_closed() -> None:
    async def scenario() -> None:
        where = hub()
        seats = [Seat(where) for _ in range(3)]
        await until(lambda: where.clients == 3)
        refusal = where.refusal()
        assert refusal is not None and refusal.code == 1013
        seats[0].client.end(Closing(1000, "bye"))
        await seats[0].task
        assert where.refusal() is None
        await where.close()
        refusal = where.refusal()
        assert refusal is not None and refusal.code == 1001
        assert where.clients == 0

    played(scenario)


def test_nothing_of_a_connection_outlives_it_until_the_collector_comes() -> None:
    class End:
        """The server's side of a connection whose client leaves at once, or sends what ends it."""

        def __init__(self, *frames: str) -> None:
            self._frames = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": frame} for frame in frames)]
            self.sent: list[Any] = []

        async def receive(self) -> Any:
            await asyncio.sleep(0)
            return self._frames.pop(0) if self._frames else {"type": "websocket.disconnect", "code": 1005}

        async def send(self, frame: Any) -> None:
            self.sent.append(frame)

    async def one(where: Hub, *frames: str) -> tuple[weakref.ref[End], list[Any]]:
        end = End(*frames)
        services = SimpleNamespace(sockets=where, config=SimpleNamespace(http=SimpleNamespace(hosts=[])))
        app = SimpleNamespace(state=SimpleNamespace(services=services))
        scope: Any = {"type": "websocket", "litestar_app": app, "app": app, "headers": [], "query_string": b"call_id=a", "principal": TESS, "subprotocols": []}
        await asyncio.create_task(follow(WebSocket(scope, end.receive, end.send), "analytics", lambda client: ('{"type":"connected"}',)))
        return weakref.ref(end), end.sent

    async def scenario() -> None:
        where = hub()
        gc.collect()
        gc.disable()
        try:
            for frames, code in (((), None), (("x", "x", "x"), 1008), (('{"type":"ping"}',), None)):
                gone, sent = await one(where, *frames)
                closed = [frame["code"] for frame in sent if frame["type"] == "websocket.close"]
                assert closed == ([] if code is None else [code])
                await asyncio.sleep(0)
                assert gone() is None, frames
        finally:
            gc.enable()
        assert where.clients == 0
        await where.close()

    played(scenario)


def test_messages_of_other_machines_come_once(tmp_path: Path) -> None:
    class Joined(Machines):
        """The bus between machines, which is a hub here."""

        def __init__(self, joined: Bus) -> None:
            super().__init__("", "api")
            self._bus = joined

    async def scenario() -> None:
        message = LiveMessage(call_id="a", document={"n": 1})
        near, far = EngineHub(tmp_path / "near"), EngineHub(tmp_path / "far")
        await near.start()
        await far.start()
        async with (
            await open_bus(near.url, "api.0") as here,
            await open_bus(near.url, "keeper") as keeper,
            await open_bus(far.url, "m1.7.api-0") as between,
            await open_bus(far.url, "m1.8.keeper") as ours,
            await open_bus(far.url, "m11.8.keeper") as theirs,
        ):
            where = hub(bus=here, machines=Joined(between), machine="m1", sweep_s=0.001)
            await where.start()
            seat = Seat(where, "analytics")
            await until(lambda: len(between._subscriptions) == 2)
            await ours.publish(ANALYTICS_TOPIC, message)
            await keeper.publish(ANALYTICS_TOPIC, message)
            await theirs.publish(ANALYTICS_TOPIC, LiveMessage(call_id="b", document={"n": 2}))
            await until(lambda: len(seat.told) == 2)
            await theirs.publish(ANALYTICS_TOPIC, LiveMessage(call_id="b", document={"n": 3}))
            await until(lambda: len(seat.told) == 3)
            assert sorted(told["n"] for told in seat.told) == [1, 2, 3]
            await where.close()
        await near.close()
        await far.close()

    played(scenario)


@pytest.mark.parametrize("body", [b"", b"\xc1", msgspec.msgpack.encode({"call_id": 1, "document": {}}), msgspec.msgpack.encode([1])])
def test_what_is_no_live_message_reaches_nobody_and_harms_nobody(body: bytes) -> None:
    async def scenario() -> None:
        where = hub()
        seat = Seat(where)
        await until(lambda: where.clients == 1)
        heard = where._listener("transcriptions")
        await heard(Message("somebody", "live.transcription", body))
        await heard(Message("keeper", "live.transcription", msgspec.msgpack.encode(LiveMessage(call_id="a", document={"n": 1}))))
        await until(lambda: len(seat.told) == 1)
        assert seat.told == [{"n": 1}]
        await where.close()

    played(scenario)
