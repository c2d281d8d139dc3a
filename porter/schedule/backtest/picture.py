"""What a back-test came to, as a picture (SVG): cost by time, one panel for each trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from porter.schedule.backtest.backtest import Outcome, Run

WIDTH, HEIGHT = 380, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 36
LEGEND = 30
STYLES = (
    ("#8a8f98", "6 3", "never moving"),
    ("#d08b00", "2 3", "greedy rule"),
    ("#0b6bcb", "", "Porter"),
    ("#2a8a4a", "8 3 2 3", "clairvoyant"),
)
"""Colour, dashes and name, in the order of `Outcome.runs`: told apart without colours too."""
INK = "#24292f"


def draw(panels: Sequence[tuple[str, Outcome]]) -> str:
    """An SVG document; panels side by side, all with the same scale."""
    top = max(run.tally.total for _, outcome in panels for run in outcome.runs)
    width, height = WIDTH * len(panels), HEIGHT + LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" font-family="sans-serif" font-size="12" fill="{INK}" role="img">',
        "<title>Cost by time, for each contender</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (title, outcome) in enumerate(panels):
        parts.append(f'<g transform="translate({number * WIDTH} 0)">')
        parts += _panel(title, outcome, top)
        parts.append("</g>")
    parts += _legend()
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, outcome: Outcome, top: float) -> Iterator[str]:
    trace = outcome.trace
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(time: float) -> float:
        return LEFT + wide * (time - trace.start) / (trace.end - trace.start)

    def y(cost: float) -> float:
        return TOP + high * (1 - cost / top)

    yield f'<text x="{LEFT}" y="20" font-weight="bold">{escape(title)}</text>'
    for mark in _marks(top):
        yield (
            f'<path d="M{LEFT} {y(mark):.1f}h{wide}" stroke="#d8dee4"/>'
            f'<text x="{LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>'
        )
    days = max(1, round(trace.days))
    for day in range(0, days + 1, max(1, days // 7)):
        place = x(trace.start + day * 86400)
        yield f'<text x="{place:.1f}" y="{TOP + high + 16}" text-anchor="middle">{day}</text>'
    yield (
        f'<text x="{LEFT + wide / 2}" y="{TOP + high + 31}" text-anchor="middle">'
        f"days; cost so far in {escape(trace.currency)}</text>"
    )
    yield (
        f'<path d="M{LEFT} {y(outcome.bound):.1f}h{wide}" stroke="#cf222e" stroke-dasharray="1 3">'
        "<title>nothing can cost less</title></path>"
    )
    for run, (colour, dashes, _) in zip(outcome.runs, STYLES, strict=True):
        points = [(x(time), y(cost)) for time, cost in _path(run, trace.end)]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        yield (
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"'
            f' stroke-dasharray="{dashes}"><title>{run.name}: {run.tally.total:.2f}</title></path>'
        )


def _path(run: Run, end: float) -> list[tuple[float, float]]:
    return [*run.costs, (end, run.tally.total)]


def _marks(top: float) -> list[float]:
    """Round numbers up the axis."""
    step = 1.0
    while top / step > 6:
        step *= 2.5 if str(step)[0] == "2" else 2
    return [step * number for number in range(int(top / step) + 1)]


def _legend() -> Iterator[str]:
    place = HEIGHT + 12
    rows = [*STYLES, ("#cf222e", "1 3", "bound at the end")]
    for number, (colour, dashes, name) in enumerate(rows):
        left = LEFT + number * 140
        yield (
            f'<path d="M{left} {place}h26" stroke="{colour}" stroke-width="2"'
            f' stroke-dasharray="{dashes}"/><text x="{left + 32}" y="{place + 4}">{name}</text>'
        )
