"""What a run expects of the time to come, from what was seen live: `market` applied to the history.
Each figure says what it rests on. Where nothing was seen, nothing is expected to change."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import inf
from typing import Any

from porter.db.base import WorkloadRecord
from porter.db.history import GAP, Past, Span
from porter.domain.money import Quote
from porter.domain.units import bytes_
from porter.schedule import market
from porter.schedule.market import DAY, HOUR
from porter.schedule.series import Series

TOGETHER = HOUR
"""Machines of one type that are taken away within so long are one interruption."""
FINE = Decimal("0.000001")


@dataclass(frozen=True)
class PriceForecast:
    """What a price is expected to be on average over the horizon."""

    amount: Decimal
    """An hour, in the quote's currency."""
    why: str
    """For people: `expected 0.071 USD/h over 48 h (now 0.068), from 312 prices over 13 days`."""

    def as_dict(self) -> dict[str, Any]:
        return {"amount": format(self.amount, "f"), "why": self.why}


@dataclass(frozen=True)
class Risk:
    """That a spot machine is taken away."""

    rate: float
    """An hour."""
    why: str


@dataclass(frozen=True)
class Needs:
    """Memory that room is kept for."""

    memory: int
    why: str


class Expectations:
    """Of one run."""

    def __init__(self, past: Past, now: float, horizon_s: float) -> None:
        self._past = past
        self._now = now
        self._horizon_s = horizon_s
        kinds = past.spot.keys() | past.interruptions.keys()
        self._seen = {key: _seen(past, key) for key in kinds}
        self._all = sum(self._seen.values(), market.Seen())

    def price(self, site: str, quote: Quote) -> PriceForecast | None:
        """None if nothing was seen from which it could be told that it changes."""
        course = self._past.prices.get((site, quote.item, quote.terms))
        if course is None or not quote.amount or course.currency != quote.currency:
            return None
        if self._now - course.looked > GAP:
            return None  # what it was meanwhile, nobody knows
        points = [(at, float(amount)) for at, amount in course.points if at < self._now]
        points.append((self._now, float(quote.amount)))
        found = market.price(_series(points), self._now, self._horizon_s)
        if found.error == 0:
            return None
        amount = Decimal(str(found.price)).quantize(FINE)
        why = (
            f"expected {_short(amount)} {quote.currency}/h over {_long(self._horizon_s)} "
            f"(now {quote.amount.normalize():f}), from {found.count} prices over "
            f"{_long(found.span_s)}"
        )
        return PriceForecast(amount, why)

    def interruptions(self, site: str, kind: str) -> Risk:
        """Of spot machines of a type."""
        mine = self._seen.get((site, kind), market.Seen())
        rate = market.interruptions(mine, self._all)
        once = f"once in {_long(HOUR / rate)}"
        if not self._all.span_s:
            return Risk(rate, f"{once}, as is assumed where none was seen")
        why = (
            f"{once}: seen {mine.count} in {_long(mine.span_s)} of {kind} at {site}, "
            f"{self._all.count} in {_long(self._all.span_s)} of all types"
        )
        return Risk(rate, why)

    def room(self, workload: WorkloadRecord, limit: float = inf) -> Needs | None:
        """Room that it will need, never less than it takes now. None: it was not watched for a day
        yet."""
        points = [
            (at, float(taken))
            for at, taken in self._past.memory.get(workload.id, ())
            if at < self._now
        ]
        if not points or self._now - points[-1][0] > GAP:
            return None
        points.append((self._now, float(workload.memory_bytes)))
        found = market.memory(_series(points), self._now, limit)
        if found is None:
            return None
        memory = max(found.memory, workload.memory_bytes)
        why = (
            f"what was enough for {market.QUANTILE:.0%} of {_long(found.span_s)}, "
            f"and {found.margin - 1:.0%} more"
        )
        if memory == workload.memory_bytes:
            why = f"what it takes now, which is more than {why}"
        elif memory >= limit:
            why = f"its limit, which is less than {why}"
        return Needs(memory, f"room for {bytes_(memory)}: {why}")


def _series(points: list[tuple[float, float]]) -> Series:
    return Series(tuple(at for at, _ in points), tuple(value for _, value in points))


def _seen(past: Past, key: tuple[str, str]) -> market.Seen:
    count, last = 0, -inf
    for at in past.interruptions.get(key, ()):
        count += at - last > TOGETHER
        last = at
    return market.Seen(count, _union(past.spot.get(key, ())))


def _union(spans: tuple[Span, ...]) -> float:
    """Seconds in which at least one of them was."""
    total, end = 0.0, -inf
    for span in sorted(spans, key=lambda one: one.begin):
        total += max(0.0, span.end - max(span.begin, end))
        end = max(end, span.end)
    return total


def _short(amount: Decimal) -> str:
    """Three digits that say something."""
    return f"{Decimal(f'{amount:.3g}').normalize():f}"


def _long(seconds: float) -> str:
    return f"{seconds / DAY:.0f} days" if seconds >= 3 * DAY else f"{seconds / HOUR:.0f} h"
