"""For all tests."""

from __future__ import annotations

import gc

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was collected lives to the end. The collector need not look through it again and again: each time it would hold up tests that keep time."""
    gc.collect()
    gc.freeze()
