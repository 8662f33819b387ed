"""A ladder in monospaced text: a column a node, an arrow a step, its time in front and what it carries behind."""

from __future__ import annotations

from collections.abc import Iterator

from engine.trace.ladder import Ladder, Media, Message, Step
from engine.trace.report_text import Paint, clipped, clock, columns_of, padded, printable

GAP_MIN, GAP_MAX, NAME_MAX = 18, 44, 24
MARGIN = 2
LEG_STYLES = ("bold", "low", "medium", "good")
UNICODE = {"line": "─", "media": "═", "right": "▶", "left": "◀", "lane": "│", "own": "↺"}
ASCII = {"line": "-", "media": "=", "right": ">", "left": "<", "lane": "|", "own": "@"}


def ladder_text(drawn: Ladder, *, width: int = 120, color: bool = False, ascii_only: bool = False) -> Iterator[str]:
    """Lines of the drawing. `width` decides how far columns stand apart; notes behind them may be wider."""
    drawn = drawn.folded()
    sheet = _Sheet(drawn, width, Paint(color), ASCII if ascii_only else UNICODE)
    for line in sheet.lines():
        yield line.encode("ascii", "replace").decode() if ascii_only else line


class _Sheet:
    """Where columns stand, and the lines on them."""

    def __init__(self, drawn: Ladder, width: int, paint: Paint, marks: dict[str, str]) -> None:
        self.drawn = drawn
        self.paint = paint
        self.marks = marks
        self.names = [printable(node.name) + (" *" if node.system else "") for node in drawn.nodes]
        self.front = 8 if drawn.no_time else 35
        self.gap = self._gap(width)
        self.half = min(self.gap, max([10, *(columns_of(name) for name in self.names)]) + 2) // 2
        self.width = self.half * 2 + self.gap * (len(self.names) - 1) + 1

    def _gap(self, width: int) -> int:
        labels = [columns_of(printable(_label(step))) + 6 for step in self.drawn.steps]
        wanted = max([GAP_MIN, *labels, *(columns_of(name) + 3 for name in self.names)])
        room = (width - self.front - 24) // max(1, len(self.names) - 1)
        names = max([0, *(min(columns_of(name), NAME_MAX) + 3 for name in self.names)])
        return max(GAP_MIN, names, min(wanted, GAP_MAX, room))

    def _x(self, node: int) -> int:
        return self.half + node * self.gap

    def lines(self) -> Iterator[str]:
        drawn = self.drawn
        for at, leg in enumerate(drawn.legs):
            style = LEG_STYLES[at % len(LEG_STYLES)]
            yield self.paint(style, f"leg {at + 1}: call {leg.call + 1}, Call-ID {printable(leg.call_id)}")
        if drawn.steps and not drawn.no_time:
            yield self.paint("dim", f"{clock(drawn.steps[0].time_ns, date=True)[:10]}, times in UTC; * is the system")
        yield ""
        yield self._heading()
        yield self._plain()
        for step in drawn.steps:
            yield self._step(step)
        yield self._plain()
        if drawn.omitted:
            yield f"{drawn.omitted:,} more steps are not drawn."

    def _heading(self) -> str:
        told = " " * self.front
        for node, name in enumerate(self.names):
            name = clipped(name, self.gap - 2 if len(self.names) > 1 else columns_of(name))
            start = self.front + self._x(node) - columns_of(name) // 2
            told = padded(told, max(start, columns_of(told) + (1 if node else 0))) + name
        return self.paint("bold", told)

    def _lanes(self) -> list[str]:
        lanes = [" "] * self.width
        for node in range(len(self.names)):
            lanes[self._x(node)] = self.marks["lane"]
        return lanes

    def _plain(self) -> str:
        return " " * self.front + "".join(self._lanes()).rstrip()

    def _step(self, step: Step) -> str:
        number = f"{step.number:>5}" if isinstance(step, Message) else f"{'rtp':>5}"
        if self.drawn.no_time:
            front = f"{number}  "
        else:
            delta = "" if step.delta_ms is None else _delta(step.delta_ms)
            front = f"{number}  {clock(step.time_ns)} {delta:>14}"
        front = padded(front, self.front)
        style = LEG_STYLES[step.leg % len(LEG_STYLES)] if len(self.drawn.legs) > 1 else ""
        return (self.paint("dim", front) + self._arrow(step, style) + self._behind(step)).rstrip()

    def _arrow(self, step: Step, style: str) -> str:
        lanes = self._lanes()
        label = printable(_label(step))
        if step.source == step.target:
            at = self._x(step.source) + 2
            told = clipped(f"{self.marks['own']} {label}", max(4, self.width - at))
            room = columns_of(told)
            return "".join(lanes[:at]) + (self.paint(style, told) if style else told) + "".join(lanes[at + room :])
        left, right = sorted((self._x(step.source), self._x(step.target)))
        line = self.marks["media" if isinstance(step, Media) else "line"]
        room = right - left - 1
        label = f" {clipped(label, room - 5)} "
        before = (room - columns_of(label)) // 2
        body = line * before + label + line * (room - before - columns_of(label))
        body = body[:-1] + self.marks["right"] if step.target > step.source else self.marks["left"] + body[1:]
        return "".join(lanes[: left + 1]) + (self.paint(style, body) if style else body) + "".join(lanes[right:])

    def _behind(self, step: Step) -> str:
        parts = []
        if isinstance(step, Message):
            if step.copies:
                until = "" if self.drawn.no_time else f" until {clock(step.copies[-1])}"
                parts.append(f"x{len(step.copies) + 1}{until}")
            if step.note:
                parts.append(f"SDP {step.note}")
        else:
            parts.append(step.note)
        told = self.paint("dim", " ".join(["", printable("; ".join(parts))])) if parts else ""
        for badge in step.badges if isinstance(step, Message) else ():
            told += " " + self.paint(badge.severity, f"[{badge.severity}: {printable(badge.rule)}]")
        return " " * MARGIN + told if told else ""


def _label(step: Step) -> str:
    if isinstance(step, Media):
        return step.label
    return f"{step.label} (SDP)" if step.sdp else step.label


def _delta(milliseconds: float) -> str:
    return f"+{milliseconds:,.1f} ms" if abs(milliseconds) < 10_000 else f"+{milliseconds / 1000:,.1f} s"


__all__ = ["ladder_text"]
