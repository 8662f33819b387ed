"""Live calls over the bus: a worker answers for the calls it has, and whoever asks finds the one that has a call.

    live.calls     CallsWanted    LiveCalls
    live.messages  CallWanted     LiveTrace
    live.report    CallWanted     LiveReport
    live.ladder    LadderWanted   LiveLadder
    live.forget    CallWanted     int: messages that were overwritten

A worker that knows nothing of a Call-ID fails with `live.unknown_call`. What is drawn and explained is drawn and explained in a thread of
the worker, one at a time; a process that asks often had better take the messages and do it itself (`engine.trace.live: tables_of`), so that
the worker's core is left to its calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from engine.bus import Bus, BusError, Message
from engine.bus.asking import ask_first
from engine.trace.analysis import report
from engine.trace.finding import Report
from engine.trace.ladder import as_json, ladder
from engine.trace.ladder_mermaid import ladder_mermaid
from engine.trace.ladder_svg import ladder_svg
from engine.trace.ladder_text import ladder_text
from engine.trace.live import LiveCall, LiveTrace, LiveTraces, State, UnknownCall, tables_of

CALLS_SUBJECT: Final = "live.calls"
MESSAGES_SUBJECT: Final = "live.messages"
REPORT_SUBJECT: Final = "live.report"
LADDER_SUBJECT: Final = "live.ladder"
FORGET_SUBJECT: Final = "live.forget"
CALLS_MAX: Final = 1000
ASK_S: Final = 5.0
# Of a worker without live calls: it answers, and has none.
KNOWS_NONE: Final = frozenset({UnknownCall.code, "bus.unknown_subject"})

Shape: TypeAlias = Literal["json", "text", "svg", "mermaid"]
Answer = TypeVar("Answer")
Result = TypeVar("Result")


class CallsWanted(msgspec.Struct, frozen=True):
    """Which calls to list: the newest in these states, at most CALLS_MAX."""

    states: tuple[State, ...] = ("up",)
    limit: int = 100


class CallWanted(msgspec.Struct, frozen=True):
    """One call, by its Call-ID."""

    call_id: str


class LadderWanted(msgspec.Struct, frozen=True):
    """The ladder of one call."""

    call_id: str
    shape: Shape = "json"


class LiveCalls(msgspec.Struct, frozen=True):
    """The calls of one worker, or of several, the newest first, and how many there are in each state. `silent` workers did not say."""

    calls: list[LiveCall]
    counts: dict[str, int]
    silent: int = 0


class LiveReport(msgspec.Struct, frozen=True):
    """Findings of a call up to now."""

    call: LiveCall
    report: Report


class LiveLadder(msgspec.Struct, frozen=True):
    """The ladder of a call up to now: `document` as JSON has it, or `text`. Both are empty for a call without a readable message."""

    call: LiveCall
    document: dict[str, Any] | None = None
    text: str = ""


def drawn(trace: LiveTrace, shape: Shape, shown: Callable[[bytes], bytes] | None = None) -> dict[str, Any] | str | None:
    """The ladder of a call: the documented document, or text; None where no message can be read. Message texts go through `shown`."""
    tables = tables_of(trace)
    if not len(tables.calls):
        return None
    made = ladder(tables, 0, everything=True)
    if shown is not None:
        for step in made.messages:
            step.text = shown(step.text)
    if shape == "json":
        document: dict[str, Any] = as_json(made)
        return document
    lines = {"text": ladder_text, "svg": ladder_svg, "mermaid": ladder_mermaid}[shape](made)
    return "\n".join(lines) + "\n"


# ---- the worker's side ----


class LiveService:
    """Answers for the calls of one worker."""

    def __init__(self, live: LiveTraces) -> None:
        self._live = live
        self._one = asyncio.Lock()

    def serve(self, bus: Bus) -> None:
        """Registers the subjects. Raises ValueError when one is served already."""
        bus.serve(CALLS_SUBJECT, self.calls)
        bus.serve(MESSAGES_SUBJECT, self.messages)
        bus.serve(REPORT_SUBJECT, self.report)
        bus.serve(LADDER_SUBJECT, self.ladder)
        bus.serve(FORGET_SUBJECT, self.forget)

    async def calls(self, message: Message) -> LiveCalls:
        """The newest calls."""
        wanted = message.read(CallsWanted)
        found = self._live.calls(wanted.states, max(0, min(wanted.limit, CALLS_MAX)))
        return LiveCalls(found, {str(state): count for state, count in self._live.states().items()})

    async def messages(self, message: Message) -> LiveTrace:
        """A call's messages. Raises UnknownCall."""
        return self._live.trace(message.read(CallWanted).call_id)

    async def report(self, message: Message) -> LiveReport:
        """A call's findings. Raises UnknownCall."""
        trace = self._live.trace(message.read(CallWanted).call_id)
        return LiveReport(trace.call, await self._aside(lambda: report(tables_of(trace))))

    async def ladder(self, message: Message) -> LiveLadder:
        """A call's ladder. Raises UnknownCall."""
        wanted = message.read(LadderWanted)
        trace = self._live.trace(wanted.call_id)
        told = await self._aside(lambda: drawn(trace, wanted.shape))
        return LiveLadder(trace.call, text=told) if isinstance(told, str) else LiveLadder(trace.call, told)

    async def forget(self, message: Message) -> int:
        """Nothing of a call stays. Raises OSError."""
        return self._live.erase(message.read(CallWanted).call_id)

    async def _aside(self, work: Callable[[], Result]) -> Result:
        async with self._one:
            return await asyncio.to_thread(work)


# ---- the asker's side ----


async def ask(
    bus: Bus, workers: Sequence[str], subject: str, wanted: CallWanted | LadderWanted, shape: type[Answer], *, timeout_s: float = ASK_S
) -> Answer:
    """What the worker says that has the call; all are asked at once. Raises UnknownCall when none has it, and the BusError of one that
    could not be asked, who might have it."""
    return await ask_first(bus, workers, subject, wanted, shape, UnknownCall("no message of this Call-ID is kept"), timeout_s=timeout_s)


async def ask_calls(bus: Bus, workers: Sequence[str], wanted: CallsWanted, *, timeout_s: float = ASK_S) -> LiveCalls:
    """The newest calls of all workers together. Who does not answer is counted."""
    asked = (bus.request(name, CALLS_SUBJECT, wanted, timeout_s, shape=LiveCalls) for name in workers)
    calls: list[LiveCall] = []
    counts: dict[str, int] = {}
    silent = 0
    for told in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(told, LiveCalls):
            calls += told.calls
            for state, count in told.counts.items():
                counts[state] = counts.get(state, 0) + count
        elif not isinstance(told, BusError):
            raise told
        elif told.code not in KNOWS_NONE:
            silent += 1
    calls.sort(key=lambda call: call.began_ns, reverse=True)
    return LiveCalls(calls[: max(0, min(wanted.limit, CALLS_MAX))], counts, silent)


__all__ = [
    "CALLS_MAX", "CALLS_SUBJECT", "FORGET_SUBJECT", "LADDER_SUBJECT", "MESSAGES_SUBJECT", "REPORT_SUBJECT", "CallWanted", "CallsWanted", "LadderWanted",
    "LiveCalls", "LiveLadder", "LiveReport", "LiveService", "Shape", "ask", "ask_calls", "drawn",
]  # fmt: skip
