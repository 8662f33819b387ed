"""Live calls over a bus: workers answer for what they have, and askers find the one that has a call."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine.bus import Bus, BusError, Message, UnknownTarget
from engine.bus.errors import RemoteError
from engine.trace.ladder import as_json, ladder
from engine.trace.ladder_text import ladder_text
from engine.trace.live import LiveTrace, LiveTraces, UnknownCall
from engine.trace.live_service import (
    CALLS_SUBJECT,
    LADDER_SUBJECT,
    MESSAGES_SUBJECT,
    REPORT_SUBJECT,
    CallsWanted,
    CallWanted,
    LadderWanted,
    LiveCalls,
    LiveLadder,
    LiveReport,
    LiveService,
    Shape,
    ask,
    ask_calls,
)
from tests.engine.bus.stations import WAIT_S, HubStation
from tests.engine.trace.live_calls import Clock, answered, note, traces

WORKERS = ("worker.0", "worker.1", "worker.2")
Scenario = Callable[["Machine"], Awaitable[None]]


class Machine:
    """Three workers, the last of which takes no calls, and somebody who asks."""

    def __init__(self, station: HubStation, asker: Bus, buses: list[Bus], live: list[LiveTraces]) -> None:
        self.station = station
        self.asker = asker
        self.buses = buses
        self.live = live


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[[Scenario], None]]:
    """Runs a scenario on such a machine."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))

    async def on_machine(scenario: Scenario) -> None:
        station = HubStation(folder)
        await station.start()
        try:
            buses = [await station.open(name) for name in WORKERS]
            live = [traces(tmp_path / name, Clock(1_700_000_020_000_000_000)) for name in WORKERS[:2]]
            for bus, one in zip(buses, live, strict=False):
                LiveService(one).serve(bus)
            async with asyncio.timeout(WAIT_S):
                await scenario(Machine(station, await station.open("asker"), buses, live))
        finally:
            await station.close()

    yield lambda scenario: asyncio.run(on_machine(scenario))
    shutil.rmtree(folder)


def test_each_subject_answers_for_the_call_wherever_it_is(play: Callable[[Scenario], None]) -> None:
    async def scenario(machine: Machine) -> None:
        live = machine.live[1]
        note(live, answered())
        wanted = CallWanted("live@x")
        trace = await ask(machine.asker, WORKERS, MESSAGES_SUBJECT, wanted, LiveTrace)
        assert trace == live.trace("live@x")
        told = await ask(machine.asker, WORKERS, REPORT_SUBJECT, wanted, LiveReport)
        assert told.call == trace.call
        assert told.report.findings == live.report("live@x").findings != []
        drawn = await ask(machine.asker, WORKERS, LADDER_SUBJECT, LadderWanted("live@x"), LiveLadder)
        made = ladder(live.tables("live@x"), 0)
        assert drawn.document == as_json(made)
        text = await ask(machine.asker, WORKERS, LADDER_SUBJECT, LadderWanted("live@x", "text"), LiveLadder)
        assert text.text == "\n".join(ladder_text(made)) + "\n"

    play(scenario)


@pytest.mark.parametrize(("shape", "begin"), [("svg", "<svg"), ("mermaid", "sequenceDiagram\n")])
def test_ladders_come_in_every_shape(play: Callable[[Scenario], None], shape: Shape, begin: str) -> None:
    async def scenario(machine: Machine) -> None:
        note(machine.live[0], answered())
        drawn = await ask(machine.asker, WORKERS, LADDER_SUBJECT, LadderWanted("live@x", shape), LiveLadder)
        assert drawn.document is None
        assert drawn.text.startswith(begin)
        assert "INVITE" in drawn.text

    play(scenario)


def test_a_call_without_a_readable_message_has_an_empty_ladder(play: Callable[[Scenario], None]) -> None:
    async def scenario(machine: Machine) -> None:
        machine.live[0].note("odd", b"no SIP at all", True, "UDP", ("198.51.100.1", 1), ("198.51.100.2", 2), 3)
        drawn = await ask(machine.asker, WORKERS, LADDER_SUBJECT, LadderWanted("odd"), LiveLadder)
        assert (drawn.call.messages, drawn.document, drawn.text) == (1, None, "")
        told = await ask(machine.asker, WORKERS, REPORT_SUBJECT, CallWanted("odd"), LiveReport)
        assert told.report.summary.messages == 0

    play(scenario)


@pytest.mark.parametrize("subject", [MESSAGES_SUBJECT, REPORT_SUBJECT, LADDER_SUBJECT])
def test_what_nobody_knows_is_an_unknown_call(play: Callable[[Scenario], None], subject: str) -> None:
    async def scenario(machine: Machine) -> None:
        note(machine.live[0], answered())
        machine.live[0].forget("live@x")
        with pytest.raises(UnknownCall):
            await ask(machine.asker, WORKERS, subject, CallWanted("live@x"), LiveTrace)
        with pytest.raises(UnknownCall):
            await ask(machine.asker, (), subject, CallWanted("live@x"), LiveTrace)
        with pytest.raises(RemoteError) as failure:
            await machine.asker.request(WORKERS[0], subject, CallWanted("live@x"))
        assert failure.value.code == "live.unknown_call"

    play(scenario)


def test_a_worker_that_cannot_be_asked_might_have_it(play: Callable[[Scenario], None]) -> None:
    async def scenario(machine: Machine) -> None:
        await machine.buses[1].close()
        with pytest.raises(UnknownTarget):
            await ask(machine.asker, WORKERS, MESSAGES_SUBJECT, CallWanted("live@x"), LiveTrace)
        note(machine.live[0], answered())
        trace = await ask(machine.asker, WORKERS, MESSAGES_SUBJECT, CallWanted("live@x"), LiveTrace)
        assert len(trace.messages) == 7

    play(scenario)


def test_a_worker_that_does_not_answer_keeps_nobody_waiting(play: Callable[[Scenario], None]) -> None:
    async def scenario(machine: Machine) -> None:
        stuck = asyncio.Event()

        async def never(message: Message) -> None:
            await stuck.wait()

        machine.buses[2].serve(MESSAGES_SUBJECT, never)
        note(machine.live[0], answered())
        trace = await ask(machine.asker, WORKERS, MESSAGES_SUBJECT, CallWanted("live@x"), LiveTrace, timeout_s=2 * WAIT_S)
        assert trace.call.call_id == "live@x"
        with pytest.raises(BusError):
            await ask(machine.asker, WORKERS, MESSAGES_SUBJECT, CallWanted("strange"), LiveTrace, timeout_s=0.05)
        stuck.set()

    play(scenario)


def test_calls_of_all_workers_are_listed_together_the_newest_first(play: Callable[[Scenario], None]) -> None:
    async def scenario(machine: Machine) -> None:
        for at in range(10):
            messages = [msgspec.structs.replace(message, time_ns=(message.time_ns or 0) + at) for message in answered()]
            note(machine.live[at % 2], messages, f"call-{at}")
        machine.live[0].ended("call-0")
        machine.live[1].note("register", b"x", True, "UDP", ("198.51.100.1", 1), ("198.51.100.2", 2), 3)
        told = await ask_calls(machine.asker, WORKERS, CallsWanted(limit=4))
        assert [call.call_id for call in told.calls] == ["call-9", "call-8", "call-7", "call-6"]
        assert told.counts == {"other": 1, "up": 9, "ended": 1, "lost": 0}
        assert told.silent == 0
        [over] = (await ask_calls(machine.asker, WORKERS, CallsWanted(("ended",)))).calls
        assert (over.call_id, over.state, over.messages) == ("call-0", "ended", 7)
        none = await ask_calls(machine.asker, WORKERS, CallsWanted(limit=-5))
        assert none.calls == []
        await machine.buses[1].close()
        half = await ask_calls(machine.asker, WORKERS, CallsWanted())
        assert (len(half.calls), half.silent) == (4, 1)

    play(scenario)


def test_requests_of_another_shape_are_refused(play: Callable[[Scenario], None]) -> None:
    async def scenario(machine: Machine) -> None:
        for subject, payload in (
            (CALLS_SUBJECT, {"states": ["dead"]}),
            (MESSAGES_SUBJECT, {}),
            (LADDER_SUBJECT, {"call_id": "a", "shape": "png"}),
        ):
            with pytest.raises(RemoteError) as failure:
                await machine.asker.request(WORKERS[0], subject, payload)
            assert failure.value.code == "bus.bad_payload"
        assert (await machine.asker.request(WORKERS[0], CALLS_SUBJECT, {}, shape=LiveCalls)).calls == []

    play(scenario)


def test_a_subject_is_served_once(play: Callable[[Scenario], None]) -> None:
    async def scenario(machine: Machine) -> None:
        with pytest.raises(ValueError):
            LiveService(machine.live[0]).serve(machine.buses[0])

    play(scenario)
