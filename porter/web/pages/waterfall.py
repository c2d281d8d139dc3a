"""A migration's steps as bars on one line of time, the pause among them. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from porter.domain.migration import FINAL
from porter.domain.units import moment

WIDTH = 100.0
"""Units of the picture; a bar's `x` and `width` are in them: per cent."""
NOTABLE_MS = 50.0
"""So much of the pause that no phase accounts for is shown as one of its own."""
LEAST = 0.4
"""No bar is narrower, so that the shortest can be seen."""
TITLES = {
    "provision": "make a machine",
    "preflight": "check both hosts",
    "reserve": "reserve, send the image",
    "sync": "copy ahead",
    "handover": "freeze and hand over",
    "rewire": "routes follow",
    "publish": "endpoints follow",
    "settle": "clear up the source",
}
PARTS = {
    "freeze": "freeze",
    "dump": "dump memory",
    "transfer": "send",
    "verify": "verify",
    "restore": "restore",
    "commit": "commit",
    "resume": "resume",
    "frozen": "stay frozen",
}


@dataclass(frozen=True)
class Bar:
    """One row. `ms` is None while it has not begun; parts are pieces of the pause."""

    name: str
    title: str
    state: str
    ms: float | None = None
    x: float = 0.0
    width: float = 0.0
    part: bool = False
    note: str = ""


@dataclass(frozen=True)
class Waterfall:
    bars: tuple[Bar, ...]
    total_ms: float
    pause_ms: float | None
    ticks: tuple[tuple[float, str], ...]
    """Position and label of the marks on the axis."""


def waterfall(migration: dict[str, Any], receipt: dict[str, Any], now: float) -> Waterfall:
    """From the API's migration and its receipt, known so far. `now` in seconds since 1970."""
    steps = [one for one in migration.get("steps") or () if one]
    begun = [at for at in (moment(one.get("started_at")) for one in steps) if at is not None]
    ended = [at for at in (moment(one.get("ended_at")) for one in steps) if at is not None]
    start = min(begun, default=now)
    final = migration.get("state") in FINAL
    end = max(ended, default=start) if final else max(now, *ended, start)
    span = max(end - start, 0.001)
    pieces = _pieces(receipt, {str(one.get("kind")) for one in steps})
    bars: list[Bar] = []
    for step in steps:
        bar = _bar(step, start, span, end, final)
        bars.append(bar)
        if bar.name == "handover" and bar.ms is not None:
            bars.extend(_parts(pieces, bar, span))
    return Waterfall(tuple(bars), span * 1000, receipt.get("downtime_ms"), _ticks(span))


def _bar(step: dict[str, Any], start: float, span: float, end: float, final: bool) -> Bar:
    kind, state = str(step.get("kind")), str(step.get("state"))
    title, note = TITLES.get(kind, kind), str(step.get("error") or "")
    begun, ended = moment(step.get("started_at")), moment(step.get("ended_at"))
    if begun is None:
        return Bar(kind, title, "skipped" if final else state, note=note)
    length = max(0.0, (end if ended is None else ended) - begun)
    x, width = _place((begun - start) / span, length / span)
    return Bar(kind, title, state, length * 1000, x, width, note=note)


def _pieces(receipt: dict[str, Any], kinds: set[str]) -> list[tuple[str, float]]:
    """What the source measured of the pause, in order: phases that are no steps."""
    known = [
        (str(one["name"]), float(one["ms"]))
        for one in receipt.get("phases") or ()
        if one.get("ms") is not None and one["name"] not in kinds and one["name"] not in TITLES
    ]
    rest = float(receipt.get("downtime_ms") or 0.0) - sum(ms for _, ms in known)
    return [*known, ("frozen", rest)] if known and rest > NOTABLE_MS else known


def _parts(pieces: list[tuple[str, float]], whole: Bar, span: float) -> list[Bar]:
    """Laid end to end. In a handover that was done they end with it: what comes before the freeze
    (connecting, measuring the link) is longer than what comes after the tasks run. One that was
    not may have stood for long afterwards."""
    before = max(0.0, (whole.ms or 0.0) - sum(ms for _, ms in pieces))
    at = whole.x / WIDTH + (before / span / 1000 if whole.state == "done" else 0.0)
    bars = []
    for name, ms in pieces:
        x, width = _place(at, ms / span / 1000)
        bars.append(Bar(name, PARTS.get(name, name), whole.state, ms, x, width, part=True))
        at += ms / span / 1000
    return bars


def _place(begun: float, length: float) -> tuple[float, float]:
    width = min(WIDTH, max(LEAST, length * WIDTH))
    return round(min(max(0.0, begun * WIDTH), WIDTH - width), 2), round(width, 2)


def _ticks(span: float) -> tuple[tuple[float, str], ...]:
    """Three to six marks at round times."""
    unit = 0.001
    for unit in (base * 10**power for power in range(-3, 6) for base in (1, 2, 5)):
        if span / unit <= 6:
            break
    marks = []
    count = 0
    while count * unit < span:
        marks.append((round(count * unit / span * WIDTH, 2), _label(count * unit)))
        count += 1
    return tuple(marks)


def _label(seconds: float) -> str:
    if seconds == 0:
        return "0"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:.3g} min"
