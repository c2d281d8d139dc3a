"""What is to be expected over the next hours, from the past alone: prices, interruptions, memory.

The same code for what is decided live and for back-tests. Pure.

The logarithm of a price is taken to be drawn to a mean (a first-order autoregression). Mean and
pull are estimated from what was seen and shrunk towards "it stays as it is now" where little was
seen, so that a price nobody has watched for long is expected to stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, log

from porter.schedule.series import Series

HOUR, DAY = 3600.0, 86400.0
WINDOW = 14 * DAY
"""Older prices say nothing of the mean."""
GRID = HOUR
"""Prices and memory are looked at so often."""
ENOUGH = 48
"""From so many prices, half of the weight is on what was seen, half on "it stays"."""
WEEK = 7 * DAY
QUANTILE = 0.95
"""Of what a workload took in the last week: not all are at their peaks in the same hour, so that
room for all peaks would stay empty."""
MARGIN, WIDE = 1.02, 1.35
"""On that; and where it has not been watched for a week yet: a Sunday says little of a Monday."""
ASSUMED = 0.15 / 730
"""How often an hour a spot machine is taken away, as long as nobody has seen any for long: about
one in seven a month."""
INTERRUPTED_S = 180.0
"""So long a workload pauses whose machine was taken away: it begins anew elsewhere."""
DOUBT = 0.1
"""So many interruptions of all machines that assumption is worth."""


@dataclass(frozen=True)
class Expected:
    """The average over the horizon."""

    price: float
    error: float
    """Standard deviation of that average, as a fraction of it: how far noise may carry it."""
    count: int = 0
    """So many prices it rests on …"""
    span_s: float = 0.0
    """… over so long."""


def price(past: Series, now: float, horizon_s: float) -> Expected:
    """What the price is expected to be on average from `now` until the horizon. Values of `past`
    that come later than `now` are not looked at."""
    here = past.at(now)
    logs = _logs(past, now)
    seen = len(logs), (len(logs) - 1) * GRID
    changes = [b - a for a, b in pairwise(logs)]
    variance = sum(change * change for change in changes) / len(changes) if changes else 0.0
    if variance < 1e-12:
        return Expected(here, 0.0, *seen)
    mean, keep = _fit(logs)
    trust = len(logs) / (len(logs) + ENOUGH)
    steps = max(1, round(horizon_s / GRID))
    gap, total = log(here) - mean, 0.0
    for step in range(steps):
        back = trust * (1 - keep**step)
        total += exp(log(here) - back * gap)
    # The average of a random walk over n steps varies a third of what its end does.
    spread = (variance * steps / 3) ** 0.5
    return Expected(total / steps, spread, *seen)


def _logs(past: Series, now: float) -> list[float]:
    begin = max(past.times[0], now - WINDOW)
    count = int((now - begin) // GRID)
    return [log(past.at(now - step * GRID)) for step in range(count, -1, -1)]


def _fit(logs: list[float]) -> tuple[float, float]:
    """The mean, and what is left of a deviation after one step. Regression finds too strong a pull
    in short series (by about 4/n), which is taken off."""
    count = len(logs)
    mean = sum(logs) / count
    around = [value - mean for value in logs]
    below = sum(value * value for value in around[:-1])
    above = sum(a * b for a, b in pairwise(around))
    keep = above / below if below > 0 else 1.0
    return mean, min(1.0, max(0.5, keep + 4 / count))


@dataclass(frozen=True)
class Seen:
    """How often spot machines were taken away, in the time in which some stood. All machines of a
    type that go together are one interruption."""

    count: int = 0
    span_s: float = 0.0

    def __add__(self, other: Seen) -> Seen:
        return Seen(self.count + other.count, self.span_s + other.span_s)


def interruptions(mine: Seen, all_types: Seen) -> float:
    """Expected an hour, of one type of machine. What was seen of it counts in full; for the rest it
    is taken to be like the others (worth one interruption of its own), and these like `ASSUMED`:
    where nothing was seen, that is the answer."""
    usual = (all_types.count + DOUBT) / (all_types.span_s / HOUR + DOUBT / ASSUMED)
    return (mine.count + 1) / (mine.span_s / HOUR + 1 / usual)


@dataclass(frozen=True)
class Room:
    """Memory that a workload will need over the next days."""

    memory: int
    span_s: float
    """For so long it has been watched, a week at most."""
    margin: float


def memory(past: Series, now: float, limit: float) -> Room | None:
    """What it took nearly always in the last week and a margin, at least what it takes now, never
    more than the limit (infinite for none). None as long as nobody has watched it for a day."""
    watched = now - past.times[0]
    if watched < DAY:
        return None
    hours = int(min(watched, WEEK) // GRID)
    seen = sorted(past.at(now - hour * GRID) for hour in range(1, hours + 1))
    often = seen[min(len(seen) - 1, int(QUANTILE * len(seen)))]
    margin = MARGIN if watched >= WEEK else WIDE
    most = max(margin * often, past.at(now))
    return Room(round(min(limit, most)), hours * GRID, margin)
