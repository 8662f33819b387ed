"""A store to test, over each database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from engine.store import Store
from tests import postgres

Scenario = Callable[[Store], Awaitable[None]]
DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.slow))


@pytest.fixture(scope="session")
def postgresql_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The socket of a PostgreSQL that all processes of this test run share."""
    with postgres.cluster(postgres.directory_of_run(tmp_path_factory.getbasetemp())) as socket:
        yield socket


@pytest.fixture
def postgresql_url(postgresql_socket: str) -> Iterator[str]:
    """An empty database."""
    with postgres.database(postgresql_socket) as url:
        yield url


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store can be made, in each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store/trunkline.db"
    found: str = request.getfixturevalue("postgresql_url")
    return found


@pytest.fixture
def play(url: str) -> Callable[[Scenario], None]:
    """Runs a scenario over a new store."""

    def run(scenario: Scenario) -> None:
        async def over_store() -> None:
            store = await Store.open(url)
            try:
                await scenario(store)
            finally:
                await store.close()

        asyncio.run(over_store())

    return run
