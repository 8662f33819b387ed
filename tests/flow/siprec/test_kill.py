"""The engine worker is killed (-9) while 50 calls of two legs are recorded: nothing of what was said before is missing but the last 250 ms at most, and who said it is known.

A few rounds; as many as KILL_ROUNDS says where it does.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.flow.siprec.kill_rounds import CALLS, LEGS, LOST_MAX_MS, play

pytestmark = pytest.mark.slow
ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))


def test_a_killed_worker_loses_250_ms_of_a_leg_at_most(tmp_path: Path) -> None:
    told = play(ROUNDS, CALLS, 7, tmp_path)
    assert told.legs == ROUNDS * CALLS * LEGS
    assert told.worst_lost_ms <= LOST_MAX_MS
