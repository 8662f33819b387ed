"""What a supervisor decides, without a process and without waiting."""

from __future__ import annotations

import random

import pytest

from engine.child_state import (
    Action,
    Beaten,
    ChildState,
    Drain,
    Due,
    Event,
    Exited,
    Halt,
    Paused,
    Policy,
    Spawned,
    decide,
)

POLICY = Policy(
    start_s=30, silence_s=5, stable_s=10, failing_after=3, retry_first_s=0.25, retry_last_s=4, grace_s=8
)  # fmt: skip


class Life:
    """A child's state, driven by hand."""

    def __init__(self) -> None:
        self.state = ChildState()
        self.now = 100.0

    def on(self, event: Event, after_s: float = 0.0) -> Action:
        self.now += after_s
        self.state, action = decide(self.state, event, self.now, POLICY)
        return action

    def start(self) -> None:
        assert self.on(Due()) is Action.SPAWN
        self.on(Spawned(7))

    def get_ready(self) -> None:
        self.start()
        self.on(Beaten(True), 1)
        assert self.state.phase == "ready"


def test_a_child_starts_at_once_and_is_ready_when_it_says_so() -> None:
    life = Life()
    assert life.on(Due()) is Action.SPAWN
    assert (life.state.phase, life.state.started_at) == ("starting", 100)
    life.on(Spawned(7))
    life.on(Beaten(False), 2)
    assert (life.state.phase, life.state.pid, life.state.beat_at) == ("starting", 7, 102)
    life.on(Beaten(True), 1)
    assert (life.state.phase, life.state.ready_at, life.state.restarts) == ("ready", 103, 0)


def test_a_child_that_beats_is_left_alone_and_a_silent_one_is_killed() -> None:
    life = Life()
    life.get_ready()
    for _ in range(100):
        assert life.on(Due(), 4.9) is Action.NOTHING
        life.on(Beaten(True))
    assert life.on(Due(), 4.9) is Action.NOTHING
    assert life.on(Due(), 0.1) is Action.KILL
    assert life.state.phase == "killing"
    assert life.on(Due(), 100) is Action.NOTHING
    life.on(Exited("Killed"))
    assert (life.state.phase, life.state.restarts, life.state.pid) == ("waiting", 1, None)
    assert life.state.last_exit == "Killed, killed because it was silent"
    assert life.on(Due()) is Action.SPAWN
    assert life.state.beat_at is None


def test_a_child_that_never_gets_ready_is_killed_though_it_beats() -> None:
    life = Life()
    life.start()
    for _ in range(29):
        life.on(Beaten(False), 1)
        assert life.on(Due()) is Action.NOTHING
    assert life.on(Due(), 1) is Action.KILL


def test_the_first_crash_is_answered_at_once_and_a_loop_ever_slower() -> None:
    life, pauses_s = Life(), []
    for _ in range(8):
        life.start()
        life.on(Exited("exit status 1"), 0.5)
        assert life.state.due_at is not None
        pauses_s.append(life.state.due_at - life.now)
        if pauses_s[-1] > 0:
            assert life.on(Due(), pauses_s[-1] - 0.01) is Action.NOTHING
        assert life.state.failing(POLICY) == (len(pauses_s) >= 3)
        life.now = life.state.due_at
    assert pauses_s == [0, 0.25, 0.5, 1, 2, 4, 4, 4]
    assert life.state.restarts == 8


def test_failing_ends_when_a_child_was_ready_long_enough() -> None:
    life = Life()
    for _ in range(5):
        life.start()
        life.on(Exited("exit status 1"))
        life.now += 10
    assert life.state.failing(POLICY)
    life.get_ready()
    life.on(Exited("exit status 1"), 9)
    assert life.state.failures == 6
    life.now += 10
    life.get_ready()
    life.on(Exited("exit status 1"), 10)
    assert life.state.failures == 1
    assert not life.state.failing(POLICY)
    assert life.on(Due()) is Action.SPAWN


def test_a_drain_asks_first_and_kills_after_the_grace_time() -> None:
    life = Life()
    life.get_ready()
    assert life.on(Drain()) is Action.TERMINATE
    assert life.on(Drain()) is Action.NOTHING
    assert life.on(Due(), 7.9) is Action.NOTHING
    life.on(Beaten(True))
    assert life.on(Due(), 0.1) is Action.KILL
    assert life.on(Due(), 100) is Action.NOTHING
    life.on(Exited("Killed"))
    assert life.state.phase == "stopped"
    assert life.on(Due(), 100) is Action.NOTHING


def test_a_drained_child_is_not_replaced() -> None:
    life = Life()
    life.get_ready()
    life.on(Drain())
    life.on(Exited("exit status 0"), 1)
    assert (life.state.phase, life.state.restarts) == ("stopped", 0)


@pytest.mark.parametrize("event", [Drain(), Halt()])
def test_a_child_that_waits_for_its_restart_stops_waiting(event: Event) -> None:
    life = Life()
    life.start()
    life.on(Exited("exit status 1"))
    assert life.on(event) is Action.NOTHING
    assert life.state.phase == "stopped"
    assert life.on(Due(), 100) is Action.NOTHING


def test_a_silent_child_that_is_drained_meanwhile_stops() -> None:
    life = Life()
    life.get_ready()
    assert life.on(Due(), 5) is Action.KILL
    assert life.on(Drain()) is Action.NOTHING
    life.on(Exited("Killed"))
    assert life.state.phase == "stopped"


def test_a_halt_kills_at_once_also_during_a_drain() -> None:
    life = Life()
    life.get_ready()
    life.on(Drain())
    assert life.on(Halt(), 1) is Action.KILL
    life.on(Exited("Killed"))
    assert life.state.phase == "stopped"


def test_a_pause_of_the_supervisor_is_no_silence_of_the_child() -> None:
    life = Life()
    life.get_ready()
    life.on(Paused(3600), 3600)
    assert life.on(Due()) is Action.NOTHING
    assert life.on(Due(), 4.9) is Action.NOTHING
    assert life.on(Due(), 0.1) is Action.KILL


def test_no_sequence_of_events_leaves_the_rules() -> None:
    """At most one process at a time, none after the end, and always something to wait for."""
    chance = random.Random(11)
    for _ in range(2_000):
        life, running, drained = Life(), False, False
        for _ in range(60):
            events: list[Event] = [Due(), Due(), Due(), Paused(1), Beaten(True), Beaten(False)]
            if running:
                events += [Exited("x"), Exited("x")]
            if chance.random() < 0.05:
                events = [Drain(), Halt()]
            event = chance.choice(events)
            action = life.on(event, chance.choice([0, 0.1, 1, 6, 40]))
            drained |= isinstance(event, (Drain, Halt))
            running &= not isinstance(event, Exited)
            assert not (action is Action.SPAWN and (running or drained))
            if action is Action.SPAWN:
                running = True
                life.on(Spawned(chance.randrange(1, 1000)))
            assert (life.state.pid is not None) == running
            assert running or life.state.phase in ("waiting", "stopped")
            assert not running or life.state.phase in ("starting", "ready", "killing", "draining")
            if life.state.phase in ("waiting", "starting", "ready"):
                assert life.state.due_at is not None
            if drained and not running:
                assert life.state.phase == "stopped"
