"""What a supervisor decides about one child: a pure function of its state, what happened, and the time.

    waiting -> starting -> ready -> (exit) -> waiting -> ...
                  |          |
                  +-- silent +--> killing -> (exit) -> waiting
    any -> draining -> (exit) -> stopped

Times are seconds of a monotonic clock. A child that ended early again and again waits longer each time and is called
failing; one that stayed ready for a while starts again with a clean record.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, TypeAlias

import msgspec

Phase: TypeAlias = Literal["waiting", "starting", "ready", "killing", "draining", "stopped"]


class Policy(msgspec.Struct, frozen=True):
    """How patient a supervisor is. All in seconds, but the two counts."""

    start_s: float = 30.0
    """A child that has not said that it is ready by then is killed."""
    silence_s: float = 5.0
    """A ready child that gave no sign of life for so long is killed."""
    stable_s: float = 10.0
    """A child that was ready for so long has a clean record."""
    failing_after: int = 3
    """So many early ends in a row make a child "failing"."""
    retry_first_s: float = 0.25
    retry_last_s: float = 30.0
    """The first restart is immediate, the second waits `retry_first_s`, each further one twice as long as the last."""
    grace_s: float = 10.0
    """What a child gets between SIGTERM and SIGKILL."""


class ChildState(msgspec.Struct, frozen=True):
    """One child, as its supervisor knows it."""

    phase: Phase = "waiting"
    pid: int | None = None
    started_at: float | None = None
    ready_at: float | None = None
    beat_at: float | None = None
    due_at: float | None = 0.0
    """When the next decision is due without anything having happened."""
    restarts: int = 0
    failures: int = 0
    last_exit: str | None = None
    stopping: bool = False

    def failing(self, policy: Policy) -> bool:
        """Whether it keeps ending early."""
        return self.failures >= policy.failing_after


class Due(msgspec.Struct, frozen=True):
    """Time has passed."""


class Spawned(msgspec.Struct, frozen=True):
    """The process runs."""

    pid: int


class Beaten(msgspec.Struct, frozen=True):
    """The process gave a sign of life."""

    ready: bool


class Exited(msgspec.Struct, frozen=True):
    """The process ended, or could not be started."""

    how: str


class Paused(msgspec.Struct, frozen=True):
    """The supervisor itself did not run for a while, so that it cannot have heard anything."""

    pause_s: float


class Drain(msgspec.Struct, frozen=True):
    """The child shall end, in its own time."""


class Halt(msgspec.Struct, frozen=True):
    """The child shall end now."""


Event: TypeAlias = Due | Spawned | Beaten | Exited | Paused | Drain | Halt


class Action(Enum):
    """What is to be done to the process."""

    NOTHING = "nothing"
    SPAWN = "spawn"
    TERMINATE = "terminate"
    KILL = "kill"


Decision: TypeAlias = tuple[ChildState, Action]
_change = msgspec.structs.replace


def decide(state: ChildState, event: Event, now: float, policy: Policy) -> Decision:
    """The state after `event`, and what to do. Events that do not fit the state change nothing."""
    match event:
        case Due():
            return _due(state, now, policy)
        case Spawned(pid):
            return _change(state, pid=pid), Action.NOTHING
        case Beaten(ready):
            return _beaten(state, ready, now, policy), Action.NOTHING
        case Exited(how):
            return _exited(state, how, now, policy), Action.NOTHING
        case Paused(pause_s):
            return _paused(state, pause_s), Action.NOTHING
        case Drain():
            return _drain(state, now, policy)
        case Halt():
            return _halt(state)


def _due(state: ChildState, now: float, policy: Policy) -> Decision:
    if state.due_at is None or now < state.due_at:
        return state, Action.NOTHING
    if state.phase == "waiting":
        started = _change(
            state, phase="starting", started_at=now, ready_at=None, beat_at=None, due_at=now + policy.start_s
        )
        return started, Action.SPAWN
    if state.phase in ("starting", "ready"):
        return _change(state, phase="killing", due_at=None), Action.KILL
    if state.phase == "draining":
        return _change(state, due_at=None), Action.KILL
    return state, Action.NOTHING


def _beaten(state: ChildState, ready: bool, now: float, policy: Policy) -> ChildState:
    if state.phase == "starting" and ready:
        return _change(state, phase="ready", ready_at=now, beat_at=now, due_at=now + policy.silence_s)
    if state.phase == "starting":
        return _change(state, beat_at=now)
    if state.phase == "ready":
        return _change(state, beat_at=now, due_at=now + policy.silence_s)
    return state


def _exited(state: ChildState, how: str, now: float, policy: Policy) -> ChildState:
    silent = state.phase == "killing"
    state = _change(state, pid=None, last_exit=f"{how}, killed because it was silent" if silent else how)
    if state.stopping:
        return _change(state, phase="stopped", due_at=None)
    stable = state.ready_at is not None and now - state.ready_at >= policy.stable_s
    failures = 1 if stable else state.failures + 1
    pause_s = 0.0 if failures == 1 else min(policy.retry_last_s, policy.retry_first_s * 2.0 ** min(failures - 2, 60))
    return _change(
        state, phase="waiting", failures=failures, restarts=state.restarts + 1, due_at=now + pause_s
    )


def _paused(state: ChildState, pause_s: float) -> ChildState:
    if state.due_at is None or state.phase not in ("starting", "ready"):
        return state
    return _change(state, due_at=state.due_at + pause_s)


def _drain(state: ChildState, now: float, policy: Policy) -> Decision:
    if state.stopping:
        return state, Action.NOTHING
    state = _change(state, stopping=True)
    if state.phase == "waiting":
        return _change(state, phase="stopped", due_at=None), Action.NOTHING
    if state.phase == "killing":
        return state, Action.NOTHING
    return _change(state, phase="draining", due_at=now + policy.grace_s), Action.TERMINATE


def _halt(state: ChildState) -> Decision:
    if state.phase in ("waiting", "stopped"):
        return _change(state, phase="stopped", stopping=True, due_at=None), Action.NOTHING
    return _change(state, phase="draining", stopping=True, due_at=None), Action.KILL


__all__ = [
    "Action", "Beaten", "ChildState", "Decision", "Drain", "Due", "Event", "Exited", "Halt", "Paused", "Phase", "Policy",
    "Spawned", "decide",
]  # fmt: skip
