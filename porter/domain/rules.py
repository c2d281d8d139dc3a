"""The parts of a policy that are about moves nobody asks for: where, how long, what for, how often.

`Limits` bind moves that people ask for, too; the rest binds what a schedule begins. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from porter.domain.money import Money
from porter.domain.units import duration

SECONDS = "s"


@dataclass(frozen=True)
class Placement:
    """Where a workload may be."""

    spot: bool | None = None
    """On machines that may be taken away at any time; None: not said, so not allowed."""
    near: tuple[str, ...] = ()
    """At the same site as workloads whose names match."""
    apart: tuple[str, ...] = ()
    """Never on the same host as another workload whose name matches."""


@dataclass(frozen=True)
class Saving:
    """When a move pays."""

    min: Money | None = None
    """Over the horizon of the schedule."""
    payback_s: float | None = None
    """What it costs once is earned back within so long."""
    downtime: Money | None = None
    """What a minute of pause is worth."""


@dataclass(frozen=True)
class Budget:
    """How often a schedule may move something."""

    cool_down_s: float | None = None
    """Between two moves of one workload."""
    per_hour: int | None = None
    """Moves of all workloads for which the policy holds, together."""
    per_day: int | None = None


@dataclass(frozen=True)
class Expected:
    """What a forecast says: in four of five cases it is between `low` and `high`."""

    low: Decimal | None
    likely: Decimal | None
    high: Decimal | None
    unit: str
    """SECONDS, or a currency."""
    doubt: str = ""
    """Why it is not known; empty if it is."""

    @property
    def known(self) -> bool:
        return not self.doubt and self.likely is not None and self.high is not None


UNTOLD = Expected(None, None, None, "", "nothing is forecast")


@dataclass(frozen=True)
class Judged:
    """A limit that does not simply let pass."""

    exceeded: bool
    """By what is likely; else it may be exceeded, or nobody knows."""
    why: str
    remedy: str


@dataclass(frozen=True)
class Limits:
    """What one move may come to, held against its forecast."""

    max_downtime_s: float | None = None
    max_cost: Money | None = None
    """Once."""

    def judged(self, downtime: Expected, once: Expected) -> Iterator[tuple[str, Judged]]:
        """`max_downtime` and `max_cost`, each with what there is to say against the move."""
        if self.max_downtime_s is not None:
            most = Decimal(str(self.max_downtime_s))
            found = _judge("its pause", downtime, most, SECONDS)
            if found is not None:
                yield "max_downtime", found
        if self.max_cost is not None:
            found = _judge("what it costs once", once, self.max_cost.amount, self.max_cost.currency)
            if found is not None:
                yield "max_cost", found


def shown(amount: Decimal, unit: str) -> str:
    """`1.20 s` or `5 EUR`."""
    return duration(float(amount) * 1000) if unit == SECONDS else str(Money(amount, unit))


def _judge(what: str, told: Expected, most: Decimal, unit: str) -> Judged | None:
    limit = shown(most, unit)
    doubt = told.doubt
    if told.known and told.unit != unit and told.high:
        doubt = f"it is told in {told.unit or 'no currency'}, not in {unit}"
    if doubt or told.likely is None or told.high is None:
        return Judged(False, f"{what} is unknown: {doubt}", f"at most {limit} is allowed")
    if told.high <= most:
        return None
    likely, high = shown(told.likely, unit), shown(told.high, unit)
    remedy = "choose another target or mode, make it smaller, or raise the limit"
    if told.likely > most:
        return Judged(True, f"{what} is likely {likely}, more than {limit}", remedy)
    return Judged(False, f"{what} is likely {likely}, but may be {high}, more than {limit}", remedy)
