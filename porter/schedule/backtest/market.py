"""What is to be expected over the next hours, from the past alone: prices, interruptions, memory.

The logarithm of a price is taken to be drawn to a mean (a first-order autoregression). Mean and
pull are estimated from what was seen and shrunk towards "it stays as it is now" where little was
seen, so that a price nobody has watched for long is expected to stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, log

from porter.schedule.backtest.series import Series

DAY = 86400.0
WINDOW = 14 * DAY
"""Older prices say nothing of the mean."""
GRID = 3600.0
"""Prices are looked at so often."""
ENOUGH = 48
"""From so many prices, half of the weight is on what was seen, half on "it stays"."""
WEEK = 7 * DAY
QUANTILE = 0.95
"""Of what a workload took in the last week: not all are at their peaks in the same hour, so that
room for all peaks would stay empty."""
MARGIN, WIDE = 1.02, 1.35
"""On that; and where it has not been watched for a week yet: a Sunday says little of a Monday."""


@dataclass(frozen=True)
class Expected:
    """The average over the horizon."""

    price: float
    error: float
    """Standard deviation of that average, as a fraction of it: how far noise may carry it."""


def price(past: Series, now: float, horizon_s: float) -> Expected:
    """What the price is expected to be on average from `now` until the horizon. Values of `past`
    that come later than `now` are not looked at."""
    here = past.at(now)
    logs = _logs(past, now)
    changes = [b - a for a, b in pairwise(logs)]
    variance = sum(change * change for change in changes) / len(changes) if changes else 0.0
    if variance < 1e-12:
        return Expected(here, 0.0)
    mean, keep = _fit(logs)
    trust = len(logs) / (len(logs) + ENOUGH)
    steps = max(1, round(horizon_s / GRID))
    gap, total = log(here) - mean, 0.0
    for step in range(steps):
        back = trust * (1 - keep**step)
        total += exp(log(here) - back * gap)
    # The average of a random walk over n steps varies a third of what its end does.
    spread = (variance * steps / 3) ** 0.5
    return Expected(total / steps, spread)


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


def interruptions(count: int, seen_s: float, prior_days: float = 10.0) -> float:
    """Expected an hour, from how many were seen in how long; as if one had been seen in
    `prior_days` before, as none seen does not mean none to come."""
    return (count + 1) / (seen_s + prior_days * DAY) * 3600


def memory(past: Series, now: float, limit: int) -> int:
    """Room that a workload will need over the next days: what it took nearly always in the last
    week and a margin, at least what it takes now; its limit as long as nobody has watched it for a
    day. Never more than the limit."""
    watched = now - past.times[0]
    if watched < DAY:
        return limit
    hours = int(min(watched, WEEK) // GRID)
    seen = sorted(past.at(now - hour * GRID) for hour in range(1, hours + 1))
    often = seen[min(len(seen) - 1, int(QUANTILE * len(seen)))]
    margin = MARGIN if watched >= WEEK else WIDE
    return min(limit, round(max(margin * often, past.at(now))))
