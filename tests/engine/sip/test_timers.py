"""Queues of calls that are due after one delay."""

from __future__ import annotations

import random

from engine.sip.timers import DelayQueue, QueuedClock

from .fake_clock import FakeClock


def test_calls_are_made_in_order_and_never_early() -> None:
    clock, made = FakeClock(), []
    queued = QueuedClock(clock, (1.0,))
    for at in range(50):
        queued.call_later(1.0, lambda at=at, due=clock.now + 1.0: made.append((at, clock.now - due)))
        clock.run(0.01)
    clock.run(2)
    assert [at for at, _ in made] == list(range(50))
    assert all(-1e-6 <= late <= DelayQueue.SLACK for _, late in made)
    assert clock.waiting == 0


def test_a_cancelled_call_is_not_made_and_the_last_one_takes_the_timer_along() -> None:
    clock, made = FakeClock(), []
    queued = QueuedClock(clock, (1.0,))
    first, second = queued.call_later(1.0, made.append, 1), queued.call_later(1.0, made.append, 2)
    first.cancel()
    first.cancel()
    clock.run(1.5)
    assert made == [2]
    second.cancel()
    third = queued.call_later(1.0, made.append, 3)
    assert clock.waiting == 1
    third.cancel()
    assert clock.waiting == 0
    clock.run(5)
    assert made == [2]


def test_other_delays_go_to_the_clock_itself() -> None:
    clock, made = FakeClock(), []
    QueuedClock(clock, (1.0,)).call_later(0.3, made.append, 1)
    clock.run(0.3)
    assert made == [1]


def test_a_queue_holds_no_more_than_twice_what_is_alive() -> None:
    clock, chance, made = FakeClock(), random.Random(1), []
    queue = DelayQueue(clock, 30.0)
    alive = []
    for at in range(20_000):
        due = queue.add(made.append, (at,))
        if chance.random() < 0.99:
            due.cancel()
        else:
            alive.append(at)
        assert len(queue) <= 2 * len(alive) + DelayQueue.DEAD_KEPT + 1
    clock.run(31)
    assert made == alive
    assert len(queue) == 0 and clock.waiting == 0


def test_a_call_may_add_and_cancel_others() -> None:
    clock, made = FakeClock(), []
    queue = DelayQueue(clock, 1.0)

    def fire(left: int) -> None:
        made.append(left)
        doomed.cancel()
        if left:
            queue.add(fire, (left - 1,))

    queue.add(fire, (3,))
    doomed = queue.add(made.append, ("never",))
    clock.run(10)
    assert made == [3, 2, 1, 0]
    assert clock.waiting == 0
