"""Which port is next: each once, none again before its rest is over, and none that can be foretold."""

from __future__ import annotations

import itertools
import random

from engine.media.port_range import PortRange


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ports(first: int, last: int, clock: Clock, seed: int = 1) -> PortRange:
    return PortRange(first, last, quarantine_s=10.0, clock=clock, choice=random.Random(seed))


def test_each_even_port_that_has_a_next_one_is_given_once() -> None:
    found = list(ports(10_001, 10_021, Clock()).take())
    assert sorted(found) == list(range(10_002, 10_020, 2)) and found != sorted(found)
    assert list(ports(10_000, 10_001, Clock()).take()) == []


def test_another_seed_is_another_order() -> None:
    assert list(ports(10_000, 12_000, Clock(), 1).take()) != list(ports(10_000, 12_000, Clock(), 2).take())


def test_a_port_that_was_in_use_rests_and_comes_last() -> None:
    clock = Clock()
    one = ports(10_000, 10_008, clock)
    first = next(one.take())
    one.give_back(first)
    assert one.free == 4
    assert list(one.take())[-1] == first  # it rests; there is nothing else left then
    assert one.free == 0


def test_a_rest_ends() -> None:
    clock = Clock()
    one = ports(10_000, 10_400, clock)
    taken = list(itertools.islice(one.take(), 200))
    for port in taken[:100]:
        one.give_back(port)
    clock.now = 10.0
    one.give_back(taken[100])
    assert taken[100] not in list(itertools.islice(one.take(), 100))


def test_a_port_that_somebody_has_is_not_given_again() -> None:
    one = ports(10_000, 10_100, Clock())
    mine = next(one.take())
    assert mine not in list(one.take())
