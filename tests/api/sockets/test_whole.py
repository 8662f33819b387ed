"""From what was heard to who follows, through the whole server: supervisor, keeper, API worker and RabbitMQ."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from websockets.asyncio.client import ClientConnection, connect

from engine.bus import Bus, open_bus
from engine.siprec.events import SESSION_TOPIC, TRANSCRIPT_TOPIC, SessionEvent, Transcript
from engine.siprec.facts import ChannelFacts, Party, SessionFacts
from tests.api.sockets.rig import read, until
from tests.rabbitmq import broker, directory_of_run
from tests.running import Running, server

pytestmark = pytest.mark.slow

CALL = "B2B.160.1762863004.937031301"
FACTS = SessionFacts(
    call_id=CALL, recording_id="recording-1", worker="worker.0", created_at=1_700_000_000.0, session_ids=("session-1",),
    participants=(Party(place=0, participant_id="p0", name="Ada", role="agent"), Party(place=1, participant_id="p1", name="Bob", role="customer")),
    channels=(ChannelFacts(index=0, label="1", parties=(0,)), ChannelFacts(index=1, label="2", parties=(1,))),
)  # fmt: skip


@pytest.fixture(scope="module")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker(directory_of_run(tmp_path_factory.getbasetemp())) as url:
        yield url


@asynccontextmanager
async def speech(running: Running) -> AsyncIterator[Bus]:
    async with await open_bus(f"unix://{running.data}/bus/hub", "speech.0") as bus:
        yield bus


async def said(bus: Bus, channel: int, text: str, at: float, is_final: bool = True) -> None:
    heard = Transcript(call_id=CALL, channel=channel, text=text, is_final=is_final, start_time=at, end_time=at + 2.0, utterance=f"u{at}", confidence=0.9, language="en-US")
    await bus.publish(TRANSCRIPT_TOPIC, heard)


async def first(client: ClientConnection, **wanted: Any) -> Any:
    while True:
        told = await read(client)
        if wanted.items() <= told.items():
            return told


def test_what_is_said_reaches_sockets_and_queue_as_the_same_document(broker_url: str) -> None:
    queue = f"q-{secrets.token_hex(6)}"

    async def scenario(running: Running) -> None:
        url = running.url.replace("http", "ws")
        async with (
            speech(running) as bus,
            connect(f"{url}/ws/transcriptions?call_id={CALL}", proxy=None) as transcripts,
            connect(f"{url}/ws/transcriptions?call_id=another", proxy=None) as others,
            connect(f"{url}/ws/analytics?call_id={CALL}", proxy=None) as analytics,
        ):
            assert (await read(analytics))["type"] == "connected"
            await bus.publish(SESSION_TOPIC, SessionEvent(kind="started", at=time.time(), session=FACTS))
            await said(bus, 0, "Good morning, this call is recorded.", 1.0)
            await said(bus, 1, "I want a refund", 4.0, is_final=False)
            await said(bus, 1, "I want a refund, this is terrible and awful.", 4.0)
            final = await first(transcripts, event_type="final_transcript", text="I want a refund, this is terrible and awful.")
            assert (final["call_id"], final["is_final"], final["participant_name"]) == (CALL, True, "Bob")
            # the last snapshot is the one behind the last that was said; then nothing comes any more
            while (await first(analytics, type="transcription"))["data"]["text"] != final["text"]:
                pass
            snapshot = await first(analytics, type="snapshot")
            assert snapshot["call_id"] == CALL
            assert "sentiment_trend" in snapshot["data"]
            # who comes later gets the last snapshot at once
            async with connect(f"{url}/ws/analytics?call_id={CALL}", proxy=None) as later:
                assert (await read(later))["type"] == "connected"
                assert (await read(later))["type"] == "snapshot"
            await others.send('{"type": "ping"}')
            assert (await read(others))["type"] == "pong"

            async with await aio_pika.connect(broker_url) as connection:
                where = await (await connection.channel()).declare_queue(queue, passive=True)
                found: dict[str, Any] = {}

                async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                    told = json.loads(message.body)
                    found[told["message_id"]] = told

                await where.consume(take, no_ack=True)
                await until(lambda: final["message_id"] in found)
                assert found[final["message_id"]] == final
                await until(lambda: any(told.get("type") == "snapshot" for told in found.values()))
                assert all(told.get("event_type") != "partial_transcript" for told in found.values())

    with server(
        ANALYTICS_ENABLED="true", ENABLE_REALTIME_AMQP="true", PUBLISH_PARTIAL_TRANSCRIPTS="false", TRUNKLINE_REALTIME_URL=broker_url,
        TRUNKLINE_REALTIME_QUEUE=queue, TRUNKLINE_REALTIME_BATCH_SIZE="1",
    ) as running:  # fmt: skip

        async def ready() -> bool:
            with running.client() as client:
                checks: dict[str, Any] = (await asyncio.to_thread(client.get, "/health")).json()["checks"]
            return "websocket" in checks and checks["amqp"]["status"] == "healthy"

        async def whole() -> None:
            async with asyncio.timeout(120):
                await until(ready)
                await scenario(running)

        asyncio.run(whole())
