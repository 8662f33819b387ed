"""For all tests."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
# Real servers, phones, disks and media on a real clock. A machine that stands still for a moment may fail them: they are asked once more, and the summary names who
# was ("RERUN"). What only reads bytes is never asked twice.
BY_THE_CLOCK: Final = (
    *(
        "api",
        "bench",
        "contract",
        "flow",
        "fuzz/test_api_schema.py",
        "fuzz/test_plane_fuzz.py",
        "fuzz/test_sockets_fuzz.py",
    ),
    *(
        f"engine/{name}"
        for name in (
            "analytics",
            "bus",
            "compliance",
            "media",
            "realtime",
            "recordings",
            "sip",
            "siprec",
            "speech",
            "srtp",
            "store",
        )
    ),
    *("engine/_native/test_plane.py", "engine/trace/test_doubling.py", "engine/trace/test_live.py"),
)


def _keeps_time(path: Path) -> bool:
    return path.parent == TESTS / "engine" or any(path.is_relative_to(TESTS / name) for name in BY_THE_CLOCK)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _keeps_time(item.path):
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=1))
    items.sort(key=lambda item: item.path.name != "test_soak.py")  # the longest of all: begun last, it would keep a worker waiting


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was collected lives to the end. The collector need not look through it again and again: each time it would hold up tests that keep time."""
    gc.collect()
    gc.freeze()
