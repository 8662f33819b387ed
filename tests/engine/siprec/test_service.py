"""Recording sessions over a bus: who has one answers, a pause waits for nobody else, and "unknown" is only said when all say so."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.bus import Bus, BusError, Message, UnknownTarget
from engine.siprec import service
from engine.siprec.control import PauseSettings
from engine.siprec.facts import MuteStatus, PauseStatus, SessionFacts
from engine.siprec.service import (
    MuteStatuses,
    MuteWanted,
    PauseWanted,
    SessionPage,
    SessionService,
    SessionsWanted,
    SessionWanted,
    Statuses,
    Told,
    UnknownSession,
    ask,
    ask_all,
    ask_sessions,
)
from tests.engine.bus.stations import WAIT_S, HubStation
from tests.engine.siprec.live_sessions import NOW, LiveSession, LiveSessions, Time

WORKERS = ("worker.0", "worker.1", "worker.2")


class Machine:
    """Two workers with sessions, one that takes none, and somebody who asks."""

    def __init__(self, station: HubStation, asker: Bus, time: Time, workers: list[LiveSessions]) -> None:
        self.station = station
        self.asker = asker
        self.time = time
        self.workers = workers

    def begin(self, worker: int, call_id: str, **options: Any) -> LiveSession:
        return self.workers[worker].begin(call_id, **options)

    async def ask(self, subject: str, wanted: Any, shape: type[Any]) -> Any:
        return await ask(self.asker, WORKERS, subject, wanted, shape)

    async def refused(self, subject: str, wanted: Any, shape: type[Any]) -> str:
        with pytest.raises((BusError, UnknownSession)) as told:
            await self.ask(subject, wanted, shape)
        return told.value.code


Scenario = Callable[[Machine], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Runs a scenario on such a machine."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))

    async def on_machine(scenario: Scenario, settings: PauseSettings | None) -> None:
        station = HubStation(folder)
        await station.start()
        try:
            time = Time()
            workers = [LiveSessions(time, tmp_path / "pauses", settings) for _ in range(2)]
            for name, sessions in zip(WORKERS, workers, strict=False):
                SessionService(sessions, time).serve(await station.open(name))
            await station.open(WORKERS[2])
            machine = Machine(station, await station.open("asker"), time, workers)
            async with asyncio.timeout(WAIT_S):
                await scenario(machine)
        finally:
            await station.close()

    yield lambda scenario, settings=None: asyncio.run(on_machine(scenario, settings))
    shutil.rmtree(folder)


def test_a_session_is_paused_and_resumed_wherever_it_is(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        session = machine.begin(1, "a@x")
        machine.begin(0, "b@x")
        wanted = PauseWanted(id="a@x", recording=True, transcription=False, actor="desk", reason="card")
        status = await machine.ask(service.PAUSE_SUBJECT, wanted, PauseStatus)
        assert status == PauseStatus(session_id="a@x", is_paused=True, recording_paused=True, paused_at=NOW)
        assert session.gate.told == [("recording", True, "card", "desk")]
        machine.time.pass_s(3)
        assert (await machine.ask(service.PAUSE_STATUS_SUBJECT, SessionWanted(id="a@x"), PauseStatus)).pause_duration == 3
        assert await machine.ask(service.RESUME_SUBJECT, PauseWanted(id="a@x"), PauseStatus) == PauseStatus(session_id="a@x")
        assert session.gate.told[-1] == ("recording", False, "", "")

    play(scenario)


def test_a_session_is_known_by_its_recordings_id_too(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        session = machine.begin(1, "with/slash@x")
        facts = await machine.ask(service.SESSION_SUBJECT, SessionWanted(id=session.recording_id), SessionFacts)
        assert facts == session.facts()
        assert (await machine.ask(service.PAUSE_SUBJECT, PauseWanted(id=session.recording_id), PauseStatus)).session_id == "with/slash@x"

    play(scenario)


def test_only_when_all_workers_say_so_a_session_is_unknown(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        wanted = PauseWanted(id="nobody@x")
        assert await machine.refused(service.PAUSE_SUBJECT, wanted, PauseStatus) == "siprec.unknown_session"
        assert await machine.refused(service.PAUSE_SUBJECT, PauseWanted(id="x" * 2000), PauseStatus) == "siprec.unknown_session"
        with pytest.raises(UnknownTarget):
            await ask(machine.asker, (*WORKERS, "worker.9"), service.PAUSE_SUBJECT, wanted, PauseStatus)
        machine.begin(0, "nobody@x")
        assert (await ask(machine.asker, (*WORKERS, "worker.9"), service.PAUSE_SUBJECT, wanted, PauseStatus)).is_paused

    play(scenario)


def test_a_pause_does_not_wait_for_a_worker_that_does_not_answer(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        stuck = asyncio.Event()

        async def never(message: Message) -> None:
            await stuck.wait()

        (await machine.station.open("worker.stuck")).serve(service.PAUSE_SUBJECT, never)
        machine.begin(1, "a@x")
        status = await ask(machine.asker, ("worker.stuck", *WORKERS), service.PAUSE_SUBJECT, PauseWanted(id="a@x"), PauseStatus, timeout_s=WAIT_S)
        assert status.is_paused
        with pytest.raises(BusError) as told:
            await ask(machine.asker, ("worker.stuck", *WORKERS), service.PAUSE_SUBJECT, PauseWanted(id="b@x"), PauseStatus, timeout_s=0.2)
        assert told.value.code == "bus.timeout"
        stuck.set()

    play(scenario)


def noted(order: list[str], word: str, work: Callable[..., None]) -> Callable[..., None]:
    def done(*told: Any, **more: Any) -> None:
        order.append(word)
        work(*told, **more)

    return done


def test_all_sessions_are_paused_in_one_turn_and_resumed(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        sessions = [machine.begin(number % 2, f"{number}@x", session_ids=(f"s-{number}",)) for number in range(120)]
        order: list[str] = []
        for session in sessions:
            session.gate.recording = noted(order, "shut", session.gate.recording)  # type: ignore[method-assign]
            session.control._on_change = lambda *told: order.append("told")
        for worker in machine.workers:
            assert worker.pauses is not None
            worker.pauses.keep = noted(order, "kept", worker.pauses.keep)  # type: ignore[method-assign]
        answers, silent = await ask_all(machine.asker, WORKERS, service.PAUSE_SUBJECT, PauseWanted(actor="desk"), Statuses)
        assert silent == []
        statuses = {call_id: status for answer in answers for call_id, status in answer.statuses.items()}
        assert set(statuses) == {f"{number}@x" for number in range(120)}
        assert all(status.recording_paused for status in statuses.values())
        assert order[:60] == ["shut"] * 60  # of one worker: nothing is written or told while another is recorded
        assert (order.count("kept"), order.count("told")) == (120, 120)
        await ask_all(machine.asker, WORKERS, service.PAUSE_SUBJECT, PauseWanted(actor="desk"), Statuses)
        assert len(order) == 360  # which changes nothing
        answers, _ = await ask_all(machine.asker, WORKERS, service.RESUME_SUBJECT, PauseWanted(), Statuses)
        assert not any(status.is_paused for answer in answers for status in answer.statuses.values())
        answers, _ = await ask_all(machine.asker, WORKERS, service.PAUSE_STATUS_SUBJECT, SessionWanted(), Statuses)
        assert sum(len(answer.statuses) for answer in answers) == 120

    play(scenario)


def test_who_does_not_answer_is_named(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        machine.begin(0, "a@x")
        answers, silent = await ask_all(machine.asker, (*WORKERS, "worker.9"), service.PAUSE_SUBJECT, PauseWanted(), Statuses)
        assert ([list(answer.statuses) for answer in answers], silent) == ([["a@x"], []], ["worker.9"])
        sessions, silent = await ask_sessions(machine.asker, (*WORKERS, "worker.9"))
        assert ([facts.call_id for facts in sessions], silent) == (["a@x"], ["worker.9"])

    play(scenario)


def test_without_control_of_single_sessions_only_all_are_paused(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        machine.begin(0, "a@x")
        for subject, wanted, shape in (
            (service.PAUSE_SUBJECT, PauseWanted(id="a@x"), PauseStatus), (service.RESUME_SUBJECT, PauseWanted(id="a@x"), PauseStatus),
            (service.MUTE_SUBJECT, MuteWanted(id="a@x"), MuteStatus), (service.ARM_SUBJECT, PauseWanted(id="b@x"), PauseStatus),
        ):  # fmt: skip
            assert await machine.refused(subject, wanted, shape) == "siprec.per_session_off"
        answers, _ = await ask_all(machine.asker, WORKERS, service.PAUSE_SUBJECT, PauseWanted(), Statuses)
        assert answers[0].statuses["a@x"].is_paused
        assert (await machine.ask(service.PAUSE_STATUS_SUBJECT, SessionWanted(id="a@x"), PauseStatus)).is_paused

    play(scenario, PauseSettings(per_session=False))


def test_where_pausing_is_not_enabled_nothing_is_paused(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        session = machine.begin(0, "a@x")
        assert await machine.refused(service.PAUSE_SUBJECT, PauseWanted(id="a@x"), PauseStatus) == "siprec.pausing_off"
        with pytest.raises(BusError) as told:
            await ask_all(machine.asker, WORKERS, service.PAUSE_SUBJECT, PauseWanted(), Statuses)
        assert told.value.code == "siprec.pausing_off"
        assert session.gate.told == []

    play(scenario, PauseSettings(enabled=False))


def test_a_pause_is_asked_for_before_its_call(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        wanted = PauseWanted(id="soon@x", transcription=False, actor="desk")
        status = await machine.ask(service.ARM_SUBJECT, wanted, PauseStatus)
        assert (status.session_id, status.recording_paused, status.transcription_paused) == ("soon@x", True, False)
        assert await machine.ask(service.PAUSE_STATUS_SUBJECT, SessionWanted(id="soon@x"), PauseStatus) == status
        session = machine.begin(1, "soon@x")
        assert session.gate.told == [("recording", True, "", "desk")]
        await machine.ask(service.RESUME_SUBJECT, PauseWanted(id="soon@x"), PauseStatus)
        assert not session.control.recording_paused

        await machine.ask(service.ARM_SUBJECT, PauseWanted(id="never@x"), PauseStatus)
        assert await machine.ask(service.RESUME_SUBJECT, PauseWanted(id="never@x"), PauseStatus) == PauseStatus(session_id="never@x")
        assert machine.begin(0, "never@x").gate.told == []

        await machine.ask(service.ARM_SUBJECT, PauseWanted(id="raced@x"), PauseStatus)  # while its call begins
        machine.workers[0].sessions["raced@x"] = LiveSession("raced@x", machine.time, pauses=machine.workers[0].pauses)
        assert (await machine.ask(service.PAUSE_SUBJECT, PauseWanted(id="raced@x"), PauseStatus)).is_paused
        assert machine.workers[0].pauses is not None
        assert machine.workers[0].pauses.armed("raced@x") is None

    play(scenario)


def test_legs_are_muted(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        session = machine.begin(0, "a@x")
        status = await machine.ask(service.MUTE_SUBJECT, MuteWanted(id="a@x", inbound=True, actor="desk"), MuteStatus)
        assert status == MuteStatus(session_id="a@x", is_muted=True, inbound_muted=True, muted_at=NOW)
        assert session.gate.told == [("leg", 0, True)]
        assert await machine.ask(service.MUTE_STATUS_SUBJECT, SessionWanted(id="a@x"), MuteStatus) == status
        answers, _ = await ask_all(machine.asker, WORKERS, service.MUTE_STATUS_SUBJECT, SessionWanted(), MuteStatuses)
        assert answers[0].statuses == {"a@x": status}
        assert not (await machine.ask(service.UNMUTE_SUBJECT, MuteWanted(id="a@x"), MuteStatus)).is_muted
        assert await machine.refused(service.MUTE_SUBJECT, MuteWanted(id="b@x"), MuteStatus) == "siprec.unknown_session"

    play(scenario)


def test_a_session_is_ended_and_asked_for_its_metadata(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        session = machine.begin(1, "a@x")
        assert await machine.ask(service.SNAPSHOT_SUBJECT, SessionWanted(id="a@x"), Told) == Told("a@x")
        assert session.asked == 1
        session.may_be_asked = False
        assert await machine.refused(service.SNAPSHOT_SUBJECT, SessionWanted(id="a@x"), Told) == "siprec.not_asked"
        assert await machine.ask(service.TERMINATE_SUBJECT, SessionWanted(id="a@x", reason="r" * 999), Told) == Told("a@x")
        assert session.ended == ["r" * 200]

    play(scenario)


def test_sessions_come_page_by_page_in_the_order_they_began(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(machine: Machine) -> None:
        for number in range(40):
            machine.begin(number % 2, f"{number:02}@x", created_at=NOW + number)
        monkeypatch.setattr(service, "PAGE_MAX_BYTES", 3000)
        pages = 0
        real = machine.asker.request

        async def counted(*told: Any, **more: Any) -> Any:
            nonlocal pages
            pages += 1
            return await real(*told, **more)

        monkeypatch.setattr(machine.asker, "request", counted)
        sessions, silent = await ask_sessions(machine.asker, WORKERS)
        assert [facts.call_id for facts in sessions] == [f"{number:02}@x" for number in range(40)]
        assert silent == []
        assert pages > 10
        page = await real("worker.0", service.SESSIONS_SUBJECT, SessionsWanted(18, -5), shape=SessionPage)
        assert ([facts.call_id for facts in page.sessions], page.more) == (["36@x"], True)

    play(scenario)


def test_figures_are_those_of_the_registry(play: Play) -> None:
    async def scenario(machine: Machine) -> None:
        machine.begin(0, "a@x")
        told, silent = await ask_all(machine.asker, WORKERS, service.STATS_SUBJECT, None, dict[str, int])
        assert silent == []
        assert [counts["active"] for counts in told] == [1, 0]

    play(scenario)
