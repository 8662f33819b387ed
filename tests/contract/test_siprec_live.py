"""The documented WebSockets, and their mirror in RabbitMQ, against a live server that knows nothing but the environment names of the recording contract."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import jwt
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from engine.bus import Bus, open_bus
from engine.siprec.events import SESSION_TOPIC, TRANSCRIPT_TOPIC, SessionEvent, Transcript
from engine.siprec.facts import ChannelFacts, Party, SessionFacts
from tests.api.sockets.rig import read, until
from tests.rabbitmq import broker, directory_of_run
from tests.running import Running, server

pytestmark = pytest.mark.slow

WAIT_S = 120.0
SECRET = "a secret of thirty-two bytes or more"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SPOKEN = [
    (0, "Good morning, this call is recorded, how can I help?"), (1, "I want a refund, this is terrible and awful."),
    (1, "It is terrible, awful, horrible."), (0, "I am sorry, the policy says that a refund is possible."),
]  # fmt: skip


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker(directory_of_run(tmp_path_factory.getbasetemp())) as url:
        yield url


class Live:
    """A server that asks for tokens, and the queue that it fills."""

    def __init__(self, running: Running, broker_url: str, queue: str) -> None:
        self.running = running
        self.broker_url = broker_url
        self.queue = queue

    def token(self, scope: str = "realtime.read") -> str:
        return jwt.encode({"sub": "desk", "exp": int(time.time()) + 600, "scope": scope}, SECRET, "HS256")

    def connect(self, path: str, **options: Any) -> connect:
        return connect(self.running.url.replace("http", "ws") + path, proxy=None, **options)

    async def published(self, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """What is in the queue, in its order, once it is as wanted; messages without their wrapper."""
        found: list[dict[str, Any]] = []
        async with await aio_pika.connect(self.broker_url) as connection:
            queue = await (await connection.channel()).declare_queue(self.queue, passive=True)

            async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                found.append(json.loads(message.body))

            await queue.consume(take, no_ack=True)
            await until(lambda: wanted(found))
        return found


@pytest.fixture(scope="module")
def live(broker_url: str) -> Iterator[Live]:
    queue = f"q-{secrets.token_hex(6)}"
    names = {
        "AUTH_ENABLED": "true", "AUTH_JWT_SECRET": SECRET, "ANALYTICS_ENABLED": "true", "ENABLE_REALTIME_AMQP": "true", "AMQP_URL": broker_url,
        "REALTIME_QUEUE_NAME": queue, "REALTIME_BATCH_SIZE": "1", "PUBLISH_PARTIAL_TRANSCRIPTS": "false", "PUBLISH_SPEAKER_CHANGES": "false",
        "PUBLISH_KEYWORD_DETECTIONS": "false", "PUBLISH_SENTIMENT_UPDATES": "false",
    }  # fmt: skip
    with server(**names) as running:
        yield Live(running, broker_url, queue)


def play(live: Live, scenario: Callable[[Live], Awaitable[None]]) -> None:
    """Runs a scenario once the broker has been reached."""

    async def ready() -> bool:
        with live.running.client("") as client:
            told: dict[str, Any] = (await asyncio.to_thread(client.get, "/health")).json()["checks"]
        return told.get("amqp", {}).get("status") == "healthy" and "analytics" in told

    async def whole() -> None:
        async with asyncio.timeout(WAIT_S):
            await until(ready)
            await scenario(live)

    asyncio.run(whole())


def facts(call_id: str) -> SessionFacts:
    return SessionFacts(
        call_id=call_id, recording_id=f"recording-{secrets.token_hex(4)}", worker="worker.0", created_at=1_700_000_000.0, session_ids=(f"session of {call_id}",),
        participants=(Party(place=0, participant_id="p0", name="Ada", role="agent"), Party(place=1, participant_id="p1", name="Bob", role="customer")),
        channels=(ChannelFacts(index=0, label="1", parties=(0,)), ChannelFacts(index=1, label="2", parties=(1,))),
    )  # fmt: skip


@asynccontextmanager
async def speech(live: Live, call_id: str) -> AsyncIterator[Bus]:
    """Where a recogniser is, with a session that has begun."""
    async with await open_bus(f"unix://{live.running.data}/bus/hub", f"speech.{secrets.token_hex(4)}") as bus:
        await bus.publish(SESSION_TOPIC, SessionEvent(kind="started", at=time.time(), session=facts(call_id)))
        yield bus


async def said(bus: Bus, call_id: str, channel: int, text: str, at: float, is_final: bool = True) -> None:
    heard = Transcript(call_id=call_id, channel=channel, text=text, is_final=is_final, start_time=at, end_time=at + 2.0, utterance=f"u{at}", confidence=0.9, language="en-US")
    await bus.publish(TRANSCRIPT_TOPIC, heard)


async def first(client: ClientConnection, **wanted: Any) -> Any:
    while not wanted.items() <= (told := await read(client)).items():
        pass
    return told


def test_what_is_said_is_told_as_documented_and_mirrored(live: Live) -> None:
    call_id, other = "B2B.160.1762863004.937031301", "another@x"

    async def scenario(live: Live) -> None:
        bearer = {"additional_headers": {"Authorization": f"Bearer {live.token()}"}}
        async with (
            live.connect(f"/ws/transcriptions?call_id={call_id}", **bearer) as one,
            live.connect(f"/ws/transcriptions?token={live.token()}") as everything,
            live.connect(f"/ws/analytics?call_id={call_id}&session_id=desk-7&token={live.token()}") as analytics,
            speech(live, call_id) as bus,
            speech(live, other) as elsewhere,
        ):
            connected = await read(analytics)
            assert (connected["type"], connected["call_id"], connected["data"]["session_id"]) == ("connected", call_id, "desk-7")
            await said(elsewhere, other, 0, "Not for you.", 0.0)
            await said(bus, call_id, 1, "I want", 0.5, is_final=False)
            partial = await first(one, event_type="partial_transcript")
            assert (partial["text"], partial["is_final"]) == ("I want", False)
            finals = []
            for number, (channel, text) in enumerate(SPOKEN):
                await said(bus, call_id, channel, text, 1.0 + 3 * number)
                finals.append(await first(one, event_type="final_transcript"))
            assert [told["text"] for told in finals] == [text for _, text in SPOKEN]
            assert [told["speaker_label"] for told in finals] == ["agent", "customer", "customer", "agent"]
            for told in (partial, *finals):
                assert {"text", "is_final", "speaker_label", "sentiment", "keywords", "metadata"} <= set(told), told
                assert (told["call_id"], isinstance(told["keywords"], list), isinstance(told["metadata"], dict)) == (call_id, True, True)
                assert TIME.fullmatch(told["timestamp"])
            assert finals[1]["sentiment"]["label"] == "negative"
            assert {(await first(everything, event_type="final_transcript"))["call_id"] for _ in range(5)} == {call_id, other}

            alert = await first(analytics, type="sentiment_alert")
            assert (alert["call_id"], alert["data"]["speaker"], alert["data"]["label"]) == (call_id, "customer", "negative")
            snapshot = await first(analytics, type="snapshot")
            while len(snapshot["data"]["sentiment_trend"]) < 2:
                snapshot = await first(analytics, type="snapshot")
            assert set(snapshot) == {"type", "call_id", "timestamp", "data"}
            assert (snapshot["call_id"], bool(TIME.fullmatch(snapshot["timestamp"]))) == (call_id, True)
            assert {"sentiment_trend", "keywords", "compliance", "agent_metrics"} <= set(snapshot["data"])
            trend = {row["speaker"]: row for row in snapshot["data"]["sentiment_trend"]}
            assert all(set(row) == {"speaker", "label", "score", "confidence"} for row in trend.values())
            assert trend["customer"]["label"] == "negative" and trend["customer"]["score"] < 0
            assert {"talk_ratio", "dead_air_seconds"} <= set(snapshot["data"]["agent_metrics"])

            published = await live.published(lambda found: [told["text"] for told in found if told.get("call_id") == call_id and told.get("event_type") == "final_transcript"] == [text for _, text in SPOKEN] and any(told.get("type") == "snapshot" for told in found))  # fmt: skip
            assert [told for told in published if told.get("call_id") == call_id and told.get("event_type") == "final_transcript"] == finals
            left_out = {"partial_transcript", "speaker_change", "sentiment_update", "keyword_detected"}
            assert not left_out & {told.get("event_type") for told in published}
            assert not {"sentiment_alert", "sentiment_positive", "keywords_update"} & {told.get("type") for told in published}

    play(live, scenario)


@pytest.mark.parametrize("path", ["/ws/transcriptions", "/ws/analytics"])
def test_who_is_nobody_is_told_so_and_let_go(live: Live, path: str) -> None:
    async def scenario(live: Live) -> None:
        forged = jwt.encode({"sub": "desk", "exp": int(time.time()) + 600, "scope": "realtime.read"}, "another secret of thirty-two bytes", "HS256")
        for query, closed in (("", 4401), (f"?token={forged}", 4401), (f"?token={live.token('sessions.read')}", 4403)):
            async with live.connect(path + query) as client:
                told = await read(client)
                assert (told["type"], isinstance(told["message"], str)) == ("error", True)
                with pytest.raises(ConnectionClosed) as end:
                    await read(client)
                assert end.value.rcvd is not None and end.value.rcvd.code == closed

    play(live, scenario)


@pytest.mark.parametrize("path", ["/ws/transcriptions", "/ws/analytics"])
def test_frames_that_mean_nothing_are_told_and_end_the_connection(live: Live, path: str) -> None:
    async def scenario(live: Live) -> None:
        async with live.connect(f"{path}?token={live.token()}") as client:
            for frame in ("{", "[]", '{"type": "dance"}'):
                await client.send(frame)
                told = await first(client, type="error")
                assert isinstance(told["message"], str) and told["message"]
            with pytest.raises(ConnectionClosed) as end:
                await read(client)
            assert end.value.rcvd is not None and end.value.rcvd.code == 1008

    play(live, scenario)


def test_metrics_tell_of_every_part(live: Live) -> None:
    async def scenario(live: Live) -> None:
        async with speech(live, "measured@x") as bus, live.connect(f"/ws/transcriptions?call_id=measured@x&token={live.token()}") as follower:
            await said(bus, "measured@x", 0, "Hello.", 1.0)
            await first(follower, event_type="final_transcript")

    play(live, scenario)
    with live.running.client("") as client:
        answer = client.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        told = {(sample.name, *sample.labels.values()): sample.value for family in families(answer.text) for sample in family.samples}
        assert told["siprec_amqp_connection_status",] == 1
        assert told["siprec_amqp_published_messages_total", live.queue, "published"] >= 1
        assert told["siprec_analytics_messages_total", "final_transcript"] >= 1
        assert told["siprec_system_memory_usage_bytes",] > 1 << 20
        assert 0 <= told["siprec_system_cpu_usage_percent",] <= 100
        assert told["siprec_system_file_descriptors",] > 3
        assert {"stt_queue_size", "siprec_active_calls", "siprec_uptime_seconds"} <= {name for name, *_ in told}
        opened = client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
        assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert "siprec_analytics_messages" in {family.name for family in open_families(opened.text)}
        simple = client.get("/metrics/simple").json()
        assert simple["siprec_amqp_published_messages_total"] >= 1 and simple["siprec_amqp_connection_status"] == 1


def test_routes_ask_for_the_same_tokens(live: Live) -> None:
    def status(path: str, token: str = "") -> int:
        with live.running.client(token) as client:
            return client.get(path).status_code

    assert (status("/api/sessions"), status("/api/sessions", live.token("sessions.read")), status("/api/sessions", live.token())) == (401, 200, 403)
    assert (status("/health"), status("/metrics")) == (200, 200)
