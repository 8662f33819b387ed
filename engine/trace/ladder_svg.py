"""A ladder as one self-contained SVG picture: no script, no font, nothing fetched, every text escaped."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from engine.trace.ladder import Ladder, Media, Message, Step
from engine.trace.report_text import clock, columns_of, printable

ROW, TOP, LEFT, RIGHT = 38, 84, 215, 24
GAP_MIN, GAP_MAX = 210, 420
CHARACTER = 6.7  # advance of the 11 px monospaced font, a little wide
TEXT_MAX = 4000
LEGS = ("#2563eb", "#0f766e", "#9333ea", "#b45309", "#be185d", "#4d7c0f")
SEVERITY = {"critical": "#b91c1c", "high": "#dc2626", "medium": "#d97706", "low": "#0891b2", "info": "#64748b"}
STYLE = (
    "text{font:11px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1e293b}"
    ".name{font-weight:700;font-size:12px;text-anchor:middle}.label{text-anchor:middle}.dim{fill:#64748b}"
    ".lane{stroke:#cbd5e1}.head{fill:#f1f5f9;stroke:#94a3b8}.system{fill:#dbeafe;stroke:#2563eb}"
    ".note{fill:#64748b;font-size:10px;text-anchor:middle}.badge{fill:#fff;font-size:10px;font-weight:700}"
    ".paper{fill:#fff}"
    "@media (prefers-color-scheme:dark){.paper{fill:#0f172a}text{fill:#e2e8f0}.dim,.note{fill:#94a3b8}"
    ".lane{stroke:#334155}.head{fill:#1e293b}.system{fill:#1e3a8a}.badge{fill:#fff}}"
)


def _xml(text: str) -> str:
    return escape(printable(text), {'"': "&quot;", "'": "&#39;"})


def ladder_svg(drawn: Ladder) -> Iterator[str]:
    """Lines of the document. Hovering over an arrow shows its message."""
    drawn = drawn.folded()
    page = _Page(drawn)
    width, height = page.size()
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="SIP ladder">'
    )
    yield f"<style>{STYLE}</style>"
    yield f'<rect class="paper" width="{width}" height="{height}"/>'
    for at, leg in enumerate(drawn.legs[: len(LEGS)]):
        told = _xml(f"leg {at + 1}: {leg.call_id}"[:120])
        yield f'<text x="8" y="{16 + 13 * at}" style="fill:{LEGS[at]}">{told}</text>'
    yield from page.columns(height)
    for at, step in enumerate(drawn.steps):
        yield from page.step(step, page.top + 26 + ROW * at)
    if drawn.omitted:
        yield f'<text x="8" y="{height - 10}" class="dim">{drawn.omitted:,} more steps are not drawn.</text>'
    yield "</svg>"


class _Page:
    """Where things stand on the picture."""

    def __init__(self, drawn: Ladder) -> None:
        self.drawn = drawn
        self.top = TOP + 13 * max(0, min(len(drawn.legs), len(LEGS)) - 2)
        texts = [max(columns_of(printable(_label(step))), columns_of(printable(step.note)) * 0.9) for step in drawn.steps]
        wanted = max([columns_of(printable(node.name)) + 4 for node in drawn.nodes] + [t + 8 for t in texts] + [0])
        self.gap = round(max(GAP_MIN, min(GAP_MAX, wanted * CHARACTER)))
        self.half = self.gap // 2

    def size(self) -> tuple[int, int]:
        width = LEFT + self.gap * max(1, len(self.drawn.nodes)) + RIGHT
        return width, self.top + 26 + ROW * (len(self.drawn.steps) + 1)

    def _x(self, node: int) -> int:
        return LEFT + self.half + node * self.gap

    def columns(self, height: int) -> Iterator[str]:
        for at, node in enumerate(self.drawn.nodes):
            x, box = self._x(at), self.gap - 24
            name = printable(node.name)
            shown = name if len(name) * 7.3 < box else name[: int(box / 7.3) - 1] + "…"
            kind = "system" if node.system else "head"
            yield f'<line class="lane" x1="{x}" y1="{self.top}" x2="{x}" y2="{height - 24}"/>'
            yield f'<g><title>{_xml(node.address)}</title><rect class="{kind}" x="{x - box // 2}" y="{self.top - 28}" '
            yield f'width="{box}" height="26" rx="4"/><text class="name" x="{x}" y="{self.top - 11}">{_xml(shown)}</text></g>'

    def step(self, step: Step, y: int) -> Iterator[str]:
        color = LEGS[step.leg % len(LEGS)]
        number = str(step.number) if isinstance(step, Message) else "rtp"
        time = "" if self.drawn.no_time else clock(step.time_ns)
        delta = "" if step.delta_ms is None else f"+{step.delta_ms:,.0f} ms"
        yield f"<g><title>{_hover(step)}</title>"
        yield f'<text class="dim" x="8" y="{y + 4}">{number}</text><text x="48" y="{y + 4}">{time}</text>'
        yield f'<text class="dim" x="48" y="{y + 17}">{delta}</text>'
        yield self._arrow(step, y, color)
        middle = (self._x(step.source) + self._x(step.target)) / 2
        if step.source == step.target:
            middle += 60
        yield f'<text class="label" x="{middle:g}" y="{y - 5}">{_xml(_short(_label(step), self._room(step)))}</text>'
        if step.note:
            yield f'<text class="note" x="{middle:g}" y="{y + 13}">{_xml(_short(step.note, self._room(step) * 1.1))}</text>'
        if isinstance(step, Message) and step.badges:
            yield from self._badge(step, y)
        yield "</g>"

    def _room(self, step: Step) -> float:
        return max(1, abs(step.target - step.source)) * self.gap / CHARACTER - 3

    def _arrow(self, step: Step, y: int, color: str) -> str:
        start, end = self._x(step.source), self._x(step.target)
        style = f'stroke="{color}" stroke-width="1.5"' if isinstance(step, Message) else (
            f'stroke="{color}" stroke-width="4" stroke-opacity=".45"'
        )
        if step.source == step.target:
            head = f'<path d="M{end} {y + 8}l9 -4v8z" fill="{color}"/>'
            return f'<path d="M{start} {y - 8}h26v16h-18" fill="none" {style}/>{head}'
        toward = 1 if end > start else -1
        dashes = ' stroke-dasharray="5 3"' if isinstance(step, Message) and step.method.isdigit() else ""
        head = f'<path d="M{end} {y}l{-9 * toward} -4.5v9z" fill="{color}"/>'
        return f'<line x1="{start}" y1="{y}" x2="{end - 8 * toward}" y2="{y}" {style}{dashes}/>{head}'

    def _badge(self, step: Message, y: int) -> Iterator[str]:
        worst = step.badges[0]
        more = f" +{len(step.badges) - 1}" if len(step.badges) > 1 else ""
        told = f"{worst.severity}{more}"
        width = round(len(told) * 6.2 + 10)
        x = LEFT - width - 6
        yield f'<rect x="{x}" y="{y + 6}" width="{width}" height="14" rx="7" fill="{SEVERITY[worst.severity]}"/>'
        yield f'<text class="badge" x="{x + 5}" y="{y + 16}">{_xml(told)}</text>'


def _label(step: Step) -> str:
    if isinstance(step, Media):
        return step.label
    times = f" x{len(step.copies) + 1}" if step.copies else ""
    return f"{step.label}{' (SDP)' if step.sdp else ''}{times}"


def _short(text: str, characters: float) -> str:
    text = printable(text)
    return text if len(text) <= characters else text[: max(1, int(characters) - 1)] + "…"


def _hover(step: Step) -> str:
    """The tooltip, escaped: findings, then the message line by line."""
    if isinstance(step, Media):
        return _xml(f"{step.label}, {step.note}, {step.addresses}")
    told = step.text[:TEXT_MAX].decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    findings = [f"{badge.severity}: {badge.title} ({badge.rule})" for badge in step.badges]
    return "\n".join(_xml(line) for line in [*findings, *told.split("\n")])


__all__ = ["ladder_svg"]
