"""A ladder as a Mermaid sequence diagram, for pages that render Mermaid."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.trace.ladder import Ladder, Media, Message
from engine.trace.report_text import clock, printable

# what Mermaid gives no meaning in a message text; everything else is written as its number
PLAIN = re.compile(r"[^A-Za-z0-9 ._,:/@+()\[\]|~*!?'=-]")


def escaped(text: str) -> str:
    """Text behind a colon that Mermaid shows as it is: separators, entities and markup written as "#NN;", "end" never alone."""
    told = PLAIN.sub(lambda match: f"#{ord(match[0])};", printable(text))
    return f"({told})" if told.strip().lower() == "end" else told


def ladder_mermaid(drawn: Ladder) -> Iterator[str]:
    """Lines of a sequenceDiagram."""
    drawn = drawn.folded()
    yield "sequenceDiagram"
    for at, node in enumerate(drawn.nodes):
        yield f"    participant n{at} as {escaped(node.name).replace(':', '#58;')}"
    for step in drawn.steps:
        time = "" if drawn.no_time else f"{clock(step.time_ns)} "
        ends = f"n{step.source}{{}}n{step.target}"
        if isinstance(step, Media):
            yield f"    {ends.format('--)')}: {escaped(f'{time}{step.label}, {step.note}')}"
            continue
        arrow = "-->>" if step.method.isdigit() else "->>"
        yield f"    {ends.format(arrow)}: {escaped(time + _told(step))}"
        for badge in step.badges:
            yield f"    Note over n{step.source},n{step.target}: {escaped(f'{badge.severity}: {badge.title}')}"
    if drawn.omitted:
        yield f"    Note over n0: {drawn.omitted} more steps are not drawn"


def _told(step: Message) -> str:
    told = step.label
    if step.copies:
        told += f" x{len(step.copies) + 1}"
    if step.note:
        told += f" [SDP {step.note}]"
    elif step.sdp:
        told += " [SDP]"
    return told


__all__ = ["escaped", "ladder_mermaid"]
