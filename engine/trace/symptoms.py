"""The context's hint: which symptom a person means, and what was looked at and found in order.

A symptom moves findings that explain it to the front; for checks that found nothing, one info finding says so, so
that the reader knows what is cleared.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.trace.finding import Evidence, Finding
from engine.trace.tables import Tables

# words that people write -> the symptom that rules name
WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("one-way-audio", ("one-way", "one way", "oneway", "can't hear", "cannot hear")),
    ("no-audio", ("no-audio", "no audio", "silence", "no sound")),
    ("registration-failing", ("regist", "unregister")),
    ("calls-dropping", ("drop", "disconnect", "hang", "cut off")),
    ("poor-audio", ("poor", "quality", "choppy", "robot", "garbled", "jitter", "loss", "mos")),
    ("slow-setup", ("slow", "delay", "pdd", "latency")),
    ("dtmf", ("dtmf", "digit", "tones")),
    ("fax", ("fax", "t38", "t.38")),
    ("transfer", ("transfer", "refer")),
    ("hold", ("hold", "resume")),
    ("security", ("fraud", "attack", "scan", "security", "brute")),
    ("early-media", ("ringback", "early")),
    ("echo", ("echo",)),
    ("ai-voice-agent-call", ("ai-voice", "voice-agent", "ai agent", "bot")),
    ("call-setup-failing", ("fail", "setup", "reject", "busy", "can't call", "cannot call")),
)


def symptom_of(issue: str) -> str:
    """The symptom that a hint means; "" when it says nothing known. Exact names win over words in them."""
    said = issue.strip().lower().replace("_", "-")[:200]
    if not said:
        return ""
    for name, _ in WORDS:
        if said == name:
            return name
    return next((name for name, words in WORDS if any(word in said for word in words)), "")


def _both_directions(tables: Tables) -> str | None:
    answered = np.flatnonzero(tables.calls.answer_row != 0xFFFFFFFF)
    if not len(answered) or not len(tables.streams):
        return None
    with_two = np.count_nonzero(tables.calls.stream_count[answered] >= 2)
    return f"{with_two:,} of {len(answered):,} answered calls have RTP streams in more than one direction."


def _registrations(tables: Tables) -> str | None:
    registrations = tables.calls.kind == 2
    count = int(np.count_nonzero(registrations))
    if not count:
        return "The trace holds no REGISTER at all."
    done = int(np.count_nonzero(registrations & (tables.calls.final_status // 100 == 2)))
    return f"{done:,} of {count:,} registrations ended in a 2xx."


def _releases(tables: Tables) -> str | None:
    released = tables.calls.bye_row != 0xFFFFFFFF
    count = int(np.count_nonzero(released))
    if not count:
        return "No call in the trace ends with a BYE."
    by_caller = int(np.count_nonzero(released & (tables.calls.released_by == 1)))
    return f"{count:,} calls end with a BYE, {by_caller:,} of them sent by the caller."


def _setups(tables: Tables) -> str | None:
    calls = tables.calls.kind == 1
    count = int(np.count_nonzero(calls))
    answered = int(np.count_nonzero(calls & (tables.calls.outcome == 1)))
    return f"{answered:,} of {count:,} calls were answered."


def _loss(tables: Tables) -> str | None:
    if not len(tables.streams):
        return "The trace holds no RTP, so audio quality cannot be judged from it."
    worst = int(np.argmax(tables.streams.loss_percent))
    return f"The highest loss of any stream is {float(tables.streams.loss_percent[worst]):.2f} %."


def _setup_time(tables: Tables) -> str | None:
    times = tables.calls.pdd_ms[tables.calls.pdd_ms >= 0]
    if not len(times):
        return None
    return f"The longest wait from INVITE to ringing or answer is {int(times.max()):,} ms."


CHECKS: dict[str, tuple[Callable[[Tables], str | None], ...]] = {
    "one-way-audio": (_both_directions, _loss),
    "no-audio": (_both_directions, _loss),
    "registration-failing": (_registrations,),
    "calls-dropping": (_releases,),
    "poor-audio": (_loss,),
    "slow-setup": (_setup_time,),
    "call-setup-failing": (_setups, _setup_time),
    "ai-voice-agent-call": (_both_directions, _loss, _setup_time),
    "early-media": (_setup_time,),
}


def confidence_for(symptom: str, tables: Tables, findings: list[Finding]) -> list[Finding]:
    """The findings, and behind them one that lists what was checked for the symptom."""
    told = [text for check in CHECKS.get(symptom, ()) if (text := check(tables))]
    if not told:
        return findings
    finding = Finding(
        rule="symptom-checks",
        severity="info",
        category="general",
        title=f"What was checked for {symptom}",
        detail=" ".join(told),
        recommendation="",
        count=len(told),
        affected_calls=0,
        evidence=[Evidence(summary=text) for text in told],
    )
    return [*findings, finding]


__all__ = ["CHECKS", "WORDS", "confidence_for", "symptom_of"]
