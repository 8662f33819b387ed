"""A worker that asks for no key, and one that does, each for all tests of a module."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.api.sockets.rig import WAIT_S, Rig, rig

Play = Callable[[Callable[[Rig], Awaitable[None]]], None]
JWT_SECRET = "a secret of thirty-two bytes or more"
SETTINGS = {
    "open": {"TRUNKLINE_AUTH_ENABLED": "off"},
    "locked": {"TRUNKLINE_AUTH_ENABLED": "on", "TRUNKLINE_AUTH_JWT_ALGORITHM": "HS256", "TRUNKLINE_AUTH_JWT_SECRET": JWT_SECRET},
}


def _played(**environment: str) -> Iterator[Play]:
    with asyncio.Runner() as runner:
        context = rig(**environment)
        running = runner.run(context.__aenter__())

        def play(scenario: Callable[[Rig], Awaitable[None]]) -> None:
            async def within() -> None:
                async with asyncio.timeout(4 * WAIT_S):
                    await scenario(running)

            runner.run(within())

        try:
            yield play
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def play() -> Iterator[Play]:
    """Runs a scenario at a worker that asks for no key."""
    yield from _played(**SETTINGS["open"])


@pytest.fixture(scope="module")
def locked() -> Iterator[Play]:
    """Runs a scenario at a worker that asks for keys, and takes tokens too."""
    yield from _played(**SETTINGS["locked"])
