"""Places for sessions: exact over processes that take them at the same time, and given back by who dies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.siprec.places import NoPlace, Places
from tests.running import ROOT


def places(path: Path, index: int = 0, count: int = 2, sessions: int = 3, streams: int = 100) -> Places:
    return Places(path, index, count, sessions_max=sessions, streams_max=streams)


def test_sessions_of_all_workers_are_one_count(tmp_path: Path) -> None:
    one, other = places(tmp_path / "places"), places(tmp_path / "places", 1)
    one.take(2)
    other.take(2)
    one.take(2)
    for each in (one, other):
        with pytest.raises(NoPlace):
            each.take(1)
    one.give_back(2)
    other.take(4)
    assert one.taken == other.taken == (3, 8)


def test_streams_are_counted_too_and_a_session_that_runs_may_grow(tmp_path: Path) -> None:
    one = places(tmp_path / "places", streams=5)
    one.take(4)
    with pytest.raises(NoPlace):
        one.take(2)
    one.change(3)
    assert one.taken == (1, 7)
    one.give_back(7)
    assert one.taken == (0, 0)


def test_a_worker_in_the_place_of_a_dead_one_begins_with_none(tmp_path: Path) -> None:
    one, other = places(tmp_path / "places"), places(tmp_path / "places", 1)
    one.take(2)
    other.take(2)
    other.close()
    assert places(tmp_path / "places", 1).taken == (1, 2) == one.taken


TAKER = """
import sys
from pathlib import Path
from engine.siprec.places import NoPlace, Places
mine = Places(Path(sys.argv[1]), int(sys.argv[2]), 4, sessions_max=500, streams_max=10_000)
print("ready", flush=True)
sys.stdin.readline()
got = 0
for _ in range(400):
    try:
        mine.take(1)
        got += 1
    except NoPlace:
        pass
print(got, flush=True)
sys.stdin.readline()
"""


def test_exactly_the_limit_is_taken_by_all_at_once(tmp_path: Path) -> None:
    takers = [
        subprocess.Popen([sys.executable, "-c", TAKER, str(tmp_path / "places"), str(index)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for index in range(4)
    ]
    try:
        for one in takers:
            assert one.stdout is not None and one.stdout.readline() == "ready\n"
        for one in takers:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()
        got = [int(one.stdout.readline()) for one in takers if one.stdout is not None]
    finally:
        for one in takers:
            one.communicate("\n")
    assert sum(got) == 500 and min(got) >= 0
