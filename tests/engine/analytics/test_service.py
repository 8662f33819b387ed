"""Analytics of all calls, on a real bus and a real disk."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from engine.analytics import service as service_module
from engine.analytics.service import (
    SNAPSHOT_SUBJECT,
    SUMMARY_SUBJECT,
    AnalyticsService,
    CallWanted,
    SummaryWanted,
    UnknownCall,
    bounded,
)
from engine.analytics.transcripts import TranscriptDocument, part_name
from engine.bus import Bus, Message, RemoteError
from engine.bus.messages import Handler
from engine.config import Config
from engine.config.document import Analytics, ComplianceRule, Pii
from engine.keeping import Keeping
from engine.siprec.events import (
    ANALYTICS_TOPIC,
    QUALITY_TOPIC,
    SESSION_TOPIC,
    TRANSCRIPT_TOPIC,
    TRANSCRIPTION_TOPIC,
    CallQuality,
    LegQuality,
    LiveMessage,
    QualityReport,
    Transcript,
    Word,
)
from engine.siprec.service import SESSION_SUBJECT, UnknownSession
from engine.supervisor import STATUS_SUBJECT, ChildStatus, Status
from tests.engine.analytics.calls import BEGAN, CALL, RECORDING, event, numbers, said, session
from tests.engine.bus.stations import HubStation, until


class Stage:
    """The keeper's place on a bus, a worker beside it that tells, and a follower that hears."""

    def __init__(self, station: HubStation, folder: Path, config: Config) -> None:
        self.station, self.folder, self.config = station, folder, config
        self.now = BEGAN + 100.0
        self.heard: list[tuple[str, LiveMessage]] = []
        self.listened: list[tuple[str, LiveMessage, Any]] = []

    async def open(self, **changes: Any) -> None:
        self.worker = await self.station.open("worker.0")
        follower = await self.station.open("api.0")
        await follower.subscribe("live.#", self._hear)
        await self.restart(**changes)

    async def restart(self, **changes: Any) -> None:
        self.bus: Bus = await self.station.open("keeper")
        self.keeping = Keeping(
            config=self.config, data_dir=self.folder, bus=self.bus, store=lambda: None, clock=lambda: self.now, catalogue=cast(Any, None), announce=self._announce
        )
        self.keeping.listeners.append(lambda topic, message: self.listened.append((topic, message, copy.deepcopy(message.document))))
        self.service = AnalyticsService(self.keeping, new_id=numbers(), **changes)
        await self.service.start()

    async def close(self) -> None:
        await self.service.close()
        await self.bus.close()

    async def _announce(self, topic: str, payload: Any) -> None:
        await self.bus.publish(topic, payload)

    async def _hear(self, message: Message) -> None:
        self.heard.append((message.subject, message.read(LiveMessage)))

    async def tell(self, *payloads: Any) -> None:
        for payload in payloads:
            topic = TRANSCRIPT_TOPIC if isinstance(payload, Transcript) else QUALITY_TOPIC if isinstance(payload, QualityReport) else SESSION_TOPIC
            await self.worker.publish(topic, payload)

    async def end(self, *payloads: Any) -> None:
        """Tells that, which ends calls, and lets the time go by in which something may still be said of them."""
        await self.tell(*payloads)
        await until(lambda: any(call.ends_at is not None for call in self.service._calls.values()))
        self.now += 60

    def kinds(self, topic: str = "", call_id: str = CALL) -> list[str]:
        """What was told of a call, in order."""
        return [
            message.document.get("type") or message.document["event_type"] for on, message in self.heard if message.call_id == call_id and topic in ("", on)
        ]

    def texts(self) -> list[str]:
        """All that anybody could read."""
        return [message.document["text"] for on, message in self.heard if on == TRANSCRIPTION_TOPIC and "text" in message.document]

    @property
    def recordings(self) -> Path:
        return self.folder / "recordings"

    def transcript(self) -> TranscriptDocument:
        return msgspec.json.decode((self.recordings / f"{RECORDING}.transcript.json").read_bytes(), type=TranscriptDocument)


def play(folder: Path, work: Callable[[Stage], Awaitable[None]], config: Config | None = None, **changes: Any) -> None:
    async def run() -> None:
        station = HubStation(folder)
        await station.start()
        stage = Stage(station, folder, config or Config(analytics=Analytics(enabled=True)))
        try:
            async with asyncio.timeout(60):
                await stage.open(**changes)
                await work(stage)
                await stage.close()
        finally:
            await station.close()

    asyncio.run(run())


def report(*mos: float) -> QualityReport:
    legs = tuple(LegQuality(index=index, packets=50, loss_percent=0.0, mos=each) for index, each in enumerate(mos))
    return QualityReport(at=BEGAN + 100, calls=(CallQuality(call_id=CALL, legs=legs),))


def test_what_happens_in_a_call_is_told_in_order(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.tell(event(), said("I am very disappointed", is_final=False), said("I am very disappointed by your password."))
        await until(lambda: "snapshot" in stage.kinds(ANALYTICS_TOPIC))
        await stage.tell(report(4.2, 1.9))
        await until(lambda: "audio_quality_alert" in stage.kinds(ANALYTICS_TOPIC))
        assert stage.kinds(TRANSCRIPTION_TOPIC) == ["session_start", "partial_transcript", "final_transcript", "sentiment_update", "keyword_detected"]
        assert stage.kinds(ANALYTICS_TOPIC)[:4] == ["transcription", "transcription", "snapshot", "audio_quality_alert"]
        await stage.end(event("ended", 100.0))
        await until(lambda: "call_completed" in stage.kinds())
        await until(lambda: len(stage.heard) == len(stage.listened))
        assert stage.kinds(ANALYTICS_TOPIC)[-3:] == ["compliance_violation", "call_completed", "snapshot"]
        assert stage.kinds(TRANSCRIPTION_TOPIC)[-1] == "session_end"
        # who listens in this process hears the same, in the same order, and may keep it
        assert [(topic, message.document) for topic, message in stage.heard] == [(topic, message.document) for topic, message, _ in stage.listened]
        assert all(message.document == as_told for _, message, as_told in stage.listened)

    play(tmp_path, work)


def test_a_listener_that_fails_does_not_keep_others_from_hearing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fails(topic: str, message: LiveMessage) -> None:
        raise RuntimeError("it is broken")

    async def work(stage: Stage) -> None:
        stage.keeping.listeners.insert(0, fails)
        with caplog.at_level(logging.CRITICAL, "trunkline.analytics"):
            await stage.tell(event(), said("hello"))
            await until(lambda: "final_transcript" in stage.kinds())
        assert len(stage.listened) >= 2

    play(tmp_path, work)


def test_calls_at_once_keep_each_its_order(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        calls = [f"call-{number}" for number in range(20)]
        for call_id in calls:
            await stage.tell(event(call_id=call_id, recording_id=call_id))
        for number in range(40):
            await stage.tell(*(said(f"number {number}", number * 3.0, call_id=call_id) for call_id in calls))
        await until(lambda: sum(kind == "final_transcript" for call_id in calls for kind in stage.kinds(TRANSCRIPTION_TOPIC, call_id)) == 800)
        for call_id in calls:
            told = [message.document for on, message in stage.heard if message.call_id == call_id and on == TRANSCRIPTION_TOPIC]
            assert [each["text"] for each in told if each["event_type"] == "final_transcript"] == [f"number {number}" for number in range(40)]
        assert stage.service.dropped == 0

    play(tmp_path, work)


def test_the_transcript_is_beside_the_recording_when_the_call_is_over(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.tell(event(), said("hello", 0.5), said("how can I help", 2.0, channel=1))
        await until(lambda: stage.kinds(TRANSCRIPTION_TOPIC).count("final_transcript") == 2)
        await stage.tell(event("ended", 90.0), said("bye, and this came late", 88.0), event("recorded", 91.0))
        await until(lambda: stage.kinds(TRANSCRIPTION_TOPIC).count("final_transcript") == 3)
        finished = asyncio.create_task(stage.service.finished(RECORDING, f"{RECORDING}.json"))
        await asyncio.sleep(0)
        assert not finished.done()
        stage.now += 60
        assert await finished == f"{RECORDING}.transcript.json"
        document = stage.transcript()
        assert [(each.speaker, each.name, each.text) for each in document.segments] == [
            ("customer", "Alice", "hello"), ("agent", "Bob", "how can I help"), ("customer", "Alice", "bye, and this came late"),
        ]  # fmt: skip
        assert document.analytics is not None and document.analytics["agent_metrics"]["talk_ratio"] == pytest.approx(1 / 3, abs=0.001)
        assert await stage.service.finished("rec-unheard", "rec-unheard.json") == ""

    play(tmp_path, work)


def test_a_killed_keeper_loses_nothing_that_was_said(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.tell(event(), said("before", 1.0))
        await until((stage.recordings / part_name(RECORDING)).exists)
        for task in stage.service._tasks:
            task.cancel()
        await stage.bus.close()
        await stage.restart()
        stage.now = BEGAN + 10
        await stage.tell(event("updated", 10.0), said("after", 11.0))
        await until(lambda: "after" in stage.texts())
        await stage.end(event("ended", 20.0))
        assert await stage.service.finished(RECORDING, f"{RECORDING}.json") == f"{RECORDING}.transcript.json"
        assert [each.text for each in stage.transcript().segments] == ["before", "after"]

    play(tmp_path, work)


# ---- what must not go out ----


def test_what_is_said_in_a_pause_goes_nowhere(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        words = (Word("card", 9.0, 9.4), Word("pausedword", 12.0, 13.0))
        await stage.tell(event(), said("shown", 1.0))
        await until(lambda: stage.texts() == ["shown"])
        await stage.tell(
            event("paused", 10.0, transcription_paused=True), said("pausedword now", 11.0), said("pausedword partial", 12.0, is_final=False),
            event("resumed", 20.0), said("pausedword late", 15.0), said("card pausedword", 9.0, 13.0, words=words), said("after", 21.0),
        )  # fmt: skip
        await until(lambda: "after" in stage.texts())
        assert stage.texts() == ["shown", "card", "after"]
        assert stage.service.hidden == 3
        await stage.end(event("ended", 30.0))
        await stage.service.finished(RECORDING, f"{RECORDING}.json")
        await stage.service.close()
        assert b"pausedword" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert "pausedword" not in str(stage.heard) + str(stage.listened)

    play(tmp_path, work)


def test_personal_data_goes_nowhere(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.tell(event(), said("my number is 4111 1111 1111 1111 ok"), said("my card 4111 1111 1111 1111", is_final=False), said("done", 50.0))
        await until(lambda: "done" in stage.texts())
        await stage.end(event("ended", 90.0))
        await stage.service.finished(RECORDING, f"{RECORDING}.json")
        told = str(stage.heard) + str(stage.listened) + str(stage.transcript())
        assert "4111 1111" not in told and "number is" in told

    play(tmp_path, work, Config(analytics=Analytics(enabled=True), pii=Pii(enabled=True)))


# ---- calls that were not heard of ----


def answering(facts: Any) -> Handler:
    async def answer(message: Message) -> Any:
        if isinstance(facts, Exception):
            raise facts
        return facts

    return answer


async def supervised(stage: Stage, facts: Any) -> None:
    """A supervisor beside it that names the worker, which says that of its session."""
    supervisor = await stage.station.open("supervisor")
    child = ChildStatus("worker.0", "engine", 1, "up", BEGAN, 0, None, None, None)
    supervisor.serve(STATUS_SUBJECT, answering(Status(1, BEGAN, True, False, [child])))
    stage.worker.serve(SESSION_SUBJECT, answering(facts))


def test_a_call_that_was_not_heard_of_is_asked_about(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await supervised(stage, session())
        stage.now = BEGAN + 50
        await stage.tell(said("perhaps it was paused then", 40.0), said("hello", 60.0, channel=1))
        await until(lambda: "hello" in stage.texts())
        assert stage.texts() == ["hello"]
        (message,) = [message for topic, message in stage.heard if topic == TRANSCRIPTION_TOPIC and message.document["event_type"] == "final_transcript"]
        assert message.document["participant_name"] == "Bob"

    play(tmp_path, work)


def test_a_call_that_is_paused_stays_so(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await supervised(stage, session(transcription_paused=True))
        await stage.tell(said("secret", 400.0))
        await until(lambda: stage.service.hidden == 1)
        assert stage.texts() == []

    play(tmp_path, work)


def test_a_call_that_no_worker_has_is_told_by_itself(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await supervised(stage, UnknownSession("there is no such recording session"))
        await stage.tell(said("hello", 1.0), said("again", 3.0))
        await until(lambda: stage.texts() == ["hello", "again"])

    play(tmp_path, work)


def test_where_nobody_says_whether_it_is_paused_nothing_goes_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(stage: Stage) -> None:
        await supervised(stage, RuntimeError("it is broken"))
        with caplog.at_level(logging.CRITICAL):
            await stage.tell(said("secret", 1.0))
            await until(lambda: stage.service.dropped == 1)
        assert stage.texts() == []

    play(tmp_path, work)


# ---- what is asked ----


def test_calls_are_summed_up_while_they_go_on_and_after(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.tell(event(), said("this is terrible, awful!"), report(4.2, 3.9))
        await until(lambda: stage.kinds(ANALYTICS_TOPIC).count("transcription") == 1)

        async def summary() -> Any:
            return await stage.worker.request("keeper", SUMMARY_SUBJECT, SummaryWanted([CALL, "other"]))

        async with asyncio.timeout(20):
            while await summary() != {CALL: {"sentiment": "negative", "mos": 3.9}}:
                await asyncio.sleep(0.01)
        await stage.end(event("ended", 90.0))
        await until(lambda: "call_completed" in stage.kinds())
        assert await summary() == {CALL: {"sentiment": "negative", "mos": 3.9}}
        snapshot = await stage.worker.request("keeper", SNAPSHOT_SUBJECT, CallWanted(CALL))
        assert snapshot["type"] == "snapshot" and snapshot["data"]["sentiment_trend"][0]["label"] == "negative"
        with pytest.raises(RemoteError) as failed:
            await stage.worker.request("keeper", SNAPSHOT_SUBJECT, CallWanted("other"))
        assert failed.value.code == UnknownCall.code

    play(tmp_path, work)


def test_an_erased_call_leaves_nothing(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.tell(event(), said("my secret"), event(call_id="other", recording_id="rec-2"), said("kept", call_id="other"))
        await until(lambda: stage.kinds(TRANSCRIPTION_TOPIC, "other").count("final_transcript") == 1)
        (erase,) = stage.keeping.erasers
        assert list(await erase(frozenset({CALL}))) == []
        assert await stage.worker.request("keeper", SUMMARY_SUBJECT, SummaryWanted([CALL])) == {}
        await stage.service.close()
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"my secret" not in kept and b"kept" in kept

    play(tmp_path, work)


# ---- bounds and changes ----


def test_more_calls_than_the_bound_push_out_the_one_that_was_silent_longest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(stage: Stage) -> None:
        for number in range(20):
            await stage.tell(event(call_id=f"call-{number}", recording_id=f"rec-{number}"))
            await stage.tell(said("hello", call_id="call-0"))
        await until(lambda: len(stage.kinds(TRANSCRIPTION_TOPIC, "call-0")) == 21)
        assert list(stage.service._calls) == ["call-16", "call-17", "call-18", "call-19", "call-0"]
        assert "session_end" not in [message.document.get("event_type") for _, message in stage.heard]

    with caplog.at_level(logging.CRITICAL, "trunkline.analytics"):
        play(tmp_path, work, calls_max=5)


def test_what_a_stuck_bus_does_not_take_is_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "OUTGOING_MAX", 50)

    async def work(stage: Stage) -> None:
        stuck = asyncio.Event()

        async def announce(topic: str, payload: Any) -> None:
            await stuck.wait()
            stage.heard.append((topic, payload))

        stage.keeping.announce = announce
        await stage.tell(event(), *(said(f"number {number}", number * 2.0, is_final=False) for number in range(200)))
        await until(lambda: len(stage.listened) == 401)
        assert stage.service.dropped == 350
        assert stage.service.checks()["analytics"].status == "degraded"
        stage.now += 120
        assert stage.service.checks()["analytics"].status == "healthy"
        stuck.set()
        await until(lambda: len(stage.heard) == 51)
        assert stage.texts()[-1] == "number 199"

    play(tmp_path, work)


def test_a_reload_is_heard(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.tell(event(), said("guaranteed", 1.0))
        await until(lambda: stage.texts() == ["guaranteed"])
        assert stage.kinds(ANALYTICS_TOPIC) == []
        rule = ComplianceRule(id="promise", missing=["guaranteed"])
        stage.keeping.config = Config(analytics=Analytics(enabled=True, compliance_rules=[rule]))
        await stage.tell(said("guaranteed", 5.0))
        await until(lambda: "compliance_violation" in stage.kinds(ANALYTICS_TOPIC))

    play(tmp_path, work, Config())


def test_a_call_id_that_comes_again_is_another_call(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.tell(event(), said("one", 1.0))
        await until(lambda: stage.texts() == ["one"])
        await stage.tell(event("started", 200.0, recording_id="rec-2", created_at=BEGAN + 200), event("recorded", 201.0), said("two", 1.0))
        await until(lambda: "two" in stage.texts())
        await stage.end(event("ended", 260.0, recording_id="rec-2", created_at=BEGAN + 200))
        assert await stage.service.finished(RECORDING, f"{RECORDING}.json") == f"{RECORDING}.transcript.json"
        assert await stage.service.finished("rec-2", "rec-2.json") == "rec-2.transcript.json"
        assert [each.text for each in stage.transcript().segments] == ["one"]
        assert stage.kinds(TRANSCRIPTION_TOPIC).count("session_start") == stage.kinds(TRANSCRIPTION_TOPIC).count("session_end") == 2

    play(tmp_path, work)


def test_a_session_that_goes_on_into_another_recording_is_two(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        await stage.tell(event(), said("one", 1.0))
        await until(lambda: stage.texts() == ["one"])
        await stage.tell(event("updated", 50.0, recording_id="rec-2", created_at=BEGAN + 49), event("recorded", 51.0), said("two", 0.5))
        await until(lambda: "two" in stage.texts())
        assert await stage.service.finished(RECORDING, f"{RECORDING}.json") == f"{RECORDING}.transcript.json"
        assert [each.text for each in stage.transcript().segments] == ["one"]
        # a pause that holds is none less in the next recording
        await stage.tell(event("paused", 60.0, recording_id="rec-2", created_at=BEGAN + 49, transcription_paused=True))
        await stage.tell(event("updated", 70.0, recording_id="rec-3", created_at=BEGAN + 65, transcription_paused=True))
        await stage.tell(event("resumed", 80.0, recording_id="rec-3", created_at=BEGAN + 65))
        await until(lambda: stage.kinds(TRANSCRIPTION_TOPIC).count("session_start") == 3)
        await stage.tell(said("secret", 2.0), said("three", 30.0))
        await until(lambda: "three" in stage.texts())
        assert stage.texts() == ["one", "two", "three"]

    play(tmp_path, work)


@pytest.mark.parametrize(
    "changes",
    [{"call_id": ""}, {"call_id": "x" * 2000}, {"channel": -1}, {"channel": 10_000}],
)
def test_what_names_no_call_or_channel_is_refused(changes: dict[str, Any]) -> None:
    assert bounded(said("x", **changes)) is None


def test_what_comes_is_bounded() -> None:
    told = bounded(
        said("x" * 100_000, float("nan"), float("inf"), speaker="s" * 1000, provider="p" * 1000, confidence=7.0, words=tuple(Word("w", 0.0, 1.0) for _ in range(9999)))
    )
    assert told is not None
    assert (len(told.text), len(told.words), len(told.speaker), len(told.provider)) == (16_384, 0, 64, 64)
    assert (told.start_time, told.end_time, told.confidence) == (0.0, 0.0, None)
    for word in (Word("w", float("nan"), 1.0), Word("w", 0.0, float("inf")), Word("w", -1.0, 1.0), Word("w" * 1000, 0.0, 1.0)):
        told = bounded(said("w w", words=(Word("w", 0.0, 1.0), word)))
        assert told is not None and told.words == ()
