"""A bus to test, over each transport and loop."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from tests.engine.bus.stations import WAIT_S, BrokerStation, HubStation, Station
from tests.rabbitmq import broker, directory_of_run

Scenario = Callable[[Station], Awaitable[None]]
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name."""
    directory = Path(tempfile.mkdtemp(prefix="tl-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The url of a RabbitMQ that all processes of this test run share."""
    with broker(directory_of_run(tmp_path_factory.getbasetemp())) as url:
        yield url


@pytest.fixture(
    params=[
        "unix-asyncio",
        "unix-uvloop",
        pytest.param("amqp-asyncio", marks=pytest.mark.slow),
        pytest.param("amqp-uvloop", marks=pytest.mark.slow),
    ]
)
def play(request: pytest.FixtureRequest) -> Iterator[Callable[[Scenario], None]]:
    """Runs a scenario at a station, over one transport on one loop."""
    transport, loop = request.param.split("-")

    def run(scenario: Scenario) -> None:
        async def at_station() -> None:
            station: HubStation | BrokerStation
            if transport == "unix":
                station = HubStation(request.getfixturevalue("short_directory"))
            else:
                station = BrokerStation(request.getfixturevalue("broker_url"), f"t{secrets.token_hex(6)}")
            await station.start()
            try:
                async with asyncio.timeout(4 * WAIT_S):
                    await scenario(station)
            finally:
                await station.close()

        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(at_station())

    yield run
