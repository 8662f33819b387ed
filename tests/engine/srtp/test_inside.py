"""What only the inside of the kernel shows (`inside.c`), under address and undefined-behaviour checks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.srtp import SUITES

Inside = Callable[..., str]
SUITE_NUMBERS = pytest.mark.parametrize("suite", [suite.number for suite in SUITES.values()], ids=list(SUITES))


def test_an_index_at_its_end_is_not_used_again(inside: Inside) -> None:
    """RFC 3711 3.3.1: 2^48 SRTP and 2^31 SRTCP packets, then a new key; a ROC that wrapped would repeat keystream."""
    assert inside("exhausted") == "ok"


def test_every_allocation_that_fails_is_survived(inside: Inside) -> None:
    """A context is made or not, a new key taken or not; nothing leaks, and packets need no memory at all."""
    assert inside("allocations") == "ok"


@SUITE_NUMBERS
def test_nothing_is_read_or_written_beyond_a_packet(inside: Inside, suite: int) -> None:
    """Each truncation and each lack of room, flush with pages that cannot be touched on either side; the bytes stay as they were."""
    assert inside("edges", suite) == "ok"


@SUITE_NUMBERS
@pytest.mark.parametrize("seed", range(3))
def test_batches_of_broken_packets_give_what_single_packets_give(inside: Inside, suite: int, seed: int) -> None:
    assert inside("fuzz", suite, seed, 25) == "ok"


@pytest.mark.slow
@SUITE_NUMBERS
def test_many_batches_of_broken_packets(inside: Inside, suite: int) -> None:
    for seed in range(10, 16):
        assert inside("fuzz", suite, seed, 1500) == "ok"
