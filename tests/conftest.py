"""For all tests."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
# Real servers, phones and media on a real clock. A machine that stands still for a moment may fail them, so they are asked once more; the summary names who was ("RERUN").
BY_THE_CLOCK: Final = ("api", "contract", "flow", "engine/media", "engine/realtime", "engine/sip", "engine/siprec", "engine/speech", "engine/test_media_worker.py", "engine/test_sip_worker.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = tuple(TESTS / name for name in BY_THE_CLOCK)
    for item in items:
        if any(item.path.is_relative_to(place) for place in places):
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=1))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was collected lives to the end. The collector need not look through it again and again: each time it would hold up tests that keep time."""
    gc.collect()
    gc.freeze()
