"""The sockets as a client sees them: filters, control messages, snapshots, errors, and the page to try them with."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from engine.bus import Message
from tests.api.sockets.conftest import Play
from tests.api.sockets.rig import Rig, read, rig, until

pytestmark = pytest.mark.slow

PATHS = ("/ws/transcriptions", "/ws/analytics")


async def refused(running: Rig, path: str, **options: Any) -> tuple[list[Any], int]:
    """What is told before the end, and the code of that."""
    told = []
    async with running.connect(path, **options) as client:
        with pytest.raises(ConnectionClosed) as end:
            while True:
                told.append(await read(client))
    assert end.value.rcvd is not None
    return told, end.value.rcvd.code


async def greeted(client: Any, path: str) -> Any:
    return await read(client) if path == "/ws/analytics" else None


async def tell(running: Rig, path: str, call_id: str, n: int) -> None:
    await (running.transcription(call_id, n=n) if path == PATHS[0] else running.analytics(call_id, "sentiment_alert", n=n))


def number(told: Any) -> int:
    found: int = told["data"]["n"] if "data" in told else told["n"]
    return found


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["call_id", "call_uuid"])
def test_a_filter_of_the_query_holds_until_another_or_none_is_asked_for(play: Play, path: str, name: str) -> None:
    async def scenario(running: Rig) -> None:
        async with running.connect(f"{path}?{name}=B2B.160.1762863004%40example.net") as client:
            await greeted(client, path)
            call = "B2B.160.1762863004@example.net"
            await tell(running, path, "other", 1)
            await tell(running, path, call, 2)
            assert number(await read(client)) == 2
            await client.send(json.dumps({"type": "subscribe", name: "other"}))
            assert await read(client) == {"type": "subscribed", "call_id": "other", "call_uuid": "other"}
            await tell(running, path, call, 3)
            await tell(running, path, "other", 4)
            assert number(await read(client)) == 4
            await client.send('{"type": "unsubscribe"}')
            assert await read(client) == {"type": "unsubscribed", "call_id": "other", "call_uuid": "other"}
            await tell(running, path, "a third", 5)
            assert number(await read(client)) == 5
            await client.send('{"type": "ping"}')
            pong = await read(client)
            assert pong["type"] == "pong"
            assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", pong["timestamp"])
            await client.send('{"type": "pong"}')  # the answer to the server's own ping
            await client.send('{"type": "ping"}')
            assert (await read(client))["type"] == "pong"

    play(scenario)


def test_a_message_comes_as_it_was_told(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        document = {
            "message_id": "m-1", "text": "it is \U0001f600 “said”\u2028\x00", "is_final": True, "confidence": 0.5, "speaker_label": "agent",
            "sentiment": {"label": "neutral", "score": 0.1}, "keywords": [{"text": "refund"}], "metadata": {"provider": None},
        }  # fmt: skip
        async with running.connect("/ws/transcriptions?call_id=a") as client:
            await running.transcription("a", **document)
            assert await read(client) == {"call_id": "a", "event_type": "final_transcript", **document}

    play(scenario)


def test_messages_that_come_at_once_are_one_document_a_frame_in_their_order(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        async with running.connect("/ws/transcriptions") as client:
            for n in range(200):
                await running.transcription(f"call {n % 7}", n=n)
            assert [(await read(client))["n"] for _ in range(200)] == list(range(200))

    play(scenario)


def test_analytics_tells_who_is_connected(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        async with running.connect("/ws/analytics?session_id=desk-7") as client:
            told = await read(client)
        assert told["type"] == "connected"
        assert told["data"] == told["event"] == {
            "session_id": "desk-7", "version": "1.0", "features": ["sentiment", "keywords", "compliance", "metrics"]
        }  # fmt: skip
        made = set()
        for _ in range(5):
            async with running.connect("/ws/analytics") as client:
                made.add((await read(client))["data"]["session_id"])
        assert len(made) == 5
        assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)

    play(scenario)


def test_the_last_snapshot_of_a_call_comes_at_once_and_is_asked_for_once(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        gate, asked = asyncio.Event(), []

        async def last(message: Message) -> Any:
            call_id = message.read()["call_id"]
            asked.append(call_id)
            await gate.wait()
            return {"type": "snapshot", "call_id": call_id, "data": {"n": 1}} if call_id == "known" else None

        running.keeper.serve("analytics.snapshot", last)
        async with (
            running.connect("/ws/analytics?call_id=known") as one,
            running.connect("/ws/analytics?call_id=known") as two,
            running.connect("/ws/analytics?call_id=unknown") as none,
            running.connect("/ws/analytics") as every,
        ):
            for client in (one, two, none, every):
                assert (await read(client))["type"] == "connected"
            await until(lambda: sorted(asked) == ["known", "unknown"])
            gate.set()
            for client in (one, two):
                assert await read(client) == {"type": "snapshot", "call_id": "known", "data": {"n": 1}}
            await running.analytics("unknown", "snapshot", n=2)
            assert number(await read(none)) == 2
            assert number(await read(every)) == 2
            # a newer one that overtakes the answer is not followed by the older one
            gate.clear()
            await every.send('{"type": "subscribe", "call_id": "known"}')
            assert (await read(every))["type"] == "subscribed"
            await until(lambda: len(asked) == 3)
            await running.analytics("known", "snapshot", n=3)
            assert number(await read(every)) == 3
            gate.set()
            await running.analytics("known", "snapshot", n=4)
            assert number(await read(every)) == 4

    play(scenario)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "query", ["call_id=" + "x" * 129, "call_id=a%00b", "call_id=a%0d%0aX:b", "call_id=a%20b", "call_id=%ff%fe", "call_id=a&call_uuid=b",
              "session_id=" + "y" * 129, "session_id=%07", "&".join(f"a{n}=1" for n in range(40))],
)  # fmt: skip
def test_a_query_that_means_nothing_is_told_and_ends_the_connection(play: Play, path: str, query: str) -> None:
    async def scenario(running: Rig) -> None:
        told, code = await refused(running, f"{path}?{query}")
        assert [(one["type"], one["code"]) for one in told] == [("error", "request.invalid")]
        assert told[0]["message"] == told[0]["error"]
        assert code == 1008

    play(scenario)


BAD = [
    "", "xx", "[]", "null", "1", '"ping"', "{}", '{"type": 1}', '{"type": "dance"}', '{"type": "subscribe"}', '{"type": "subscribe", "call_id": ""}',
    '{"type": "subscribe", "call_id": 7}', '{"type": "subscribe", "call_id": "a\\u0000"}', '{"type": "subscribe", "call_id": "a", "call_uuid": "b"}',
    json.dumps({"type": "subscribe", "call_id": "x" * 129}), json.dumps({"type": "ping", "more": "x" * 1024}), json.dumps({"type": "ping", "m": "ä" * 520}, ensure_ascii=False),
    "[" * 1000, '{"type": "ping", "a": ' + "[" * 900 + "}", b'{"type": "ping"}', b"\xff\xfe",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_malformed_message_is_answered_and_the_third_ends_the_connection(play: Play, bad: str | bytes) -> None:
    async def scenario(running: Rig) -> None:
        async with running.connect("/ws/transcriptions?call_id=a") as client, running.connect("/ws/transcriptions") as other:
            for _ in range(2):
                await client.send(bad)
                told = await read(client)
                assert (told["type"], told["code"]) == ("error", "request.invalid")
                assert told["message"] == told["error"] != ""
            await running.transcription("a", n=1)  # it still follows what it did
            assert number(await read(client)) == 1
            await client.send(bad)
            assert (await read(client))["type"] == "error"
            with pytest.raises(ConnectionClosed) as end:
                await client.recv()
            assert end.value.rcvd is not None and end.value.rcvd.code == 1008
            assert number(await read(other)) == 1

    play(scenario)


def test_a_message_far_beyond_the_limit_ends_the_connection_at_once(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        async with running.connect("/ws/transcriptions", max_size=None) as client:
            await client.send(b"x" * (1 << 20))
            assert (await read(client))["type"] == "error"
            with pytest.raises(ConnectionClosed) as end:
                await client.recv()
            assert end.value.rcvd is not None and end.value.rcvd.code == 1009

    play(scenario)


@pytest.mark.parametrize("path", PATHS)
def test_pages_of_other_servers_may_not_connect(play: Play, path: str) -> None:
    async def scenario(running: Rig) -> None:
        own = f"http://127.0.0.1:{running.port}"
        async with running.connect(f"{path}?call_id=a", origin=own) as client:
            await client.send('{"type": "ping"}')
            await greeted(client, path)
            assert (await read(client))["type"] == "pong"
        for origin in (
            "http://evil.example", "null", "http://127.0.0.1:1", f"http://127.0.0.1.evil.example:{running.port}", "file://", f"{own}.evil.example", "http://"
        ):
            told, code = await refused(running, f"{path}?call_id=a", origin=origin)
            assert [one["type"] for one in told] == ["error"], origin
            assert code == 4403, origin

    play(scenario)


def test_the_first_subprotocol_is_taken(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        async with running.connect("/ws/transcriptions", subprotocols=["live", "other"]) as client:
            assert client.subprotocol == "live"

    play(scenario)


def test_the_page_runs_its_own_script_alone(play: Play) -> None:
    async def scenario(running: Rig) -> None:
        answer = await running.get("/websocket-client")
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        script = re.search(r"<script>(.*)</script>", answer.text, re.DOTALL)
        assert script is not None
        digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}';" in policy
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert not re.search(r"https?://|<link|\bsrc=|innerHTML|\bon\w+=\"", answer.text)

    play(scenario)


def test_what_is_measured() -> None:
    async def scenario() -> None:
        async with rig() as running:
            async with running.connect("/ws/transcriptions") as client, running.connect("/ws/transcriptions?call_id=b"):
                for _ in range(7):
                    await running.transcription("a")
                    await read(client)

                async def counted() -> bool:
                    clients = await running.metric("trunkline_socket_clients", socket="transcriptions")
                    return clients == 2 and await running.metric("trunkline_socket_messages_total", socket="transcriptions") == 7

                await until(counted)

            async def none() -> bool:
                return await running.metric("trunkline_socket_clients", socket="transcriptions") == 0

            await until(none)
            assert (await running.get("/health")).json()["checks"]["websocket"]["status"] == "healthy"

    asyncio.run(scenario())


def test_analytics_that_is_off_says_so() -> None:
    async def scenario() -> None:
        async with rig(TRUNKLINE_ANALYTICS_ENABLED="false", TRUNKLINE_HTTP_CONNECTIONS_MAX="4") as running:
            told, code = await refused(running, "/ws/analytics")
            assert [(one["type"], one["code"]) for one in told] == [("error", "analytics.disabled")]
            assert code == 4404
            # half of the connections are for requests
            async with running.connect("/ws/transcriptions") as one, running.connect("/ws/transcriptions"):
                told, code = await refused(running, "/ws/transcriptions")
                assert code == 1013
                # the server that stops says so, and does not wait for who follows
                running.process.terminate()
                with pytest.raises(ConnectionClosed) as end:
                    await one.recv()
                assert end.value.rcvd is not None and end.value.rcvd.code == 1001
            async with asyncio.timeout(8):
                assert await running.process.wait() == 0

    asyncio.run(scenario())
