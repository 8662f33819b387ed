"""engine.bus.machines: what is told on this machine and on others, and what becomes of it where a bus is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.bus import Bus, Message
from engine.bus.machines import Machines, announce, machines_of, place_of
from tests.engine.bus.conftest import Scenario
from tests.engine.bus.stations import WAIT_S, HubStation, Station


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


def test_events_are_told_here_and_elsewhere(play: Callable[[Scenario], None]) -> None:
    async def scenario(station: Station) -> None:
        heard: list[int] = []

        async def hear(message: Message) -> None:
            heard.append(message.read())

        async def dial(url: str, name: str) -> Bus:
            return await station.open(name)

        here, listener = await station.open("here"), await station.open("listener")
        await listener.subscribe("call.began", hear)
        machines = Machines("amqp://elsewhere", "there", dial)
        machines.start()
        await until(lambda: machines.connected)
        await announce(here, machines, "call.began", 1)
        await until(lambda: heard == [1, 1])
        await announce(None, machines, "call.began", 2)
        await announce(here, None, "call.began", 3)
        await until(lambda: sorted(heard) == [1, 1, 2, 3])
        assert machines.dropped == 0
        await machines.close()

    play(scenario)


def test_a_bus_that_is_away_is_logged_and_the_other_is_told(short_directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        station = HubStation(short_directory)
        await station.start()
        here = await station.open("here")
        await here.close()
        machines = Machines("amqp://elsewhere", "there")
        with caplog.at_level(logging.WARNING, "trunkline.bus"):
            await announce(here, machines, "call.began", 1)
        assert "call.began was not told" in caplog.text and machines.dropped == 1
        await station.close()

    asyncio.run(scenario())


def test_there_is_no_place_without_a_bus_between_machines() -> None:
    assert machines_of("", "keeper") is None
    made = machines_of("amqp://broker", "keeper")
    assert made is not None and not made.connected and made.bus is None


@pytest.mark.parametrize(("host", "place"), [("pbx-1.example.com", "pbx-1-example-com.7.api"), ("\n", "-.7.api"), ("", "machine.7.api"), ("x" * 99, f"{'x' * 60}.7.api")])
def test_a_place_has_one_machine_and_no_strange_characters(host: str, place: str) -> None:
    assert place_of(host, 7, "api") == place
