"""What all policies of a workload together demand of moves that a schedule begins. Pure.

The strictest word wins, and keeps the name of the policy that said it. Amounts in different
currencies cannot be compared: of each currency the strictest one is kept, and all of them count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from porter.domain.money import Money
from porter.domain.policy import Policy, holding, missing
from porter.domain.rules import Budget, Limits, Placement, Saving
from porter.domain.units import span

HORIZON_DAYS = 2
HORIZON_S = HORIZON_DAYS * 86400.0
"""So far ahead a run looks, unless it is told otherwise."""
HYSTERESIS = 0.05
"""A proposal must save more than that part of what the machines cost that it leaves. Both as the
back-tests justify them: see docs/economics.md."""

T = TypeVar("T")
N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Rule(Generic[T]):
    """One demand, and the policy that it comes from; "" where none says anything."""

    value: T
    policy: str


@dataclass(frozen=True)
class Allowance:
    """A policy's budget: it counts the moves of all workloads for which that policy holds."""

    policy: str
    per_hour: int | None
    per_day: int | None


@dataclass(frozen=True)
class Line:
    """One demand as a document would have it."""

    rule: str
    """`placement.spot`, `limits.max_cost` …"""
    value: str
    policy: str


@dataclass(frozen=True)
class SchedulingRules:
    """Of one workload. Amounts: one for each currency that is named, all of them count."""

    policies: tuple[str, ...]
    """Those that hold, by name."""
    missing: tuple[str, ...]
    """Policies that its label names and that do not exist: nothing may be scheduled."""
    spot: Rule[bool]
    near: tuple[Rule[str], ...]
    """Patterns of names; all must be kept to."""
    apart: tuple[Rule[str], ...]
    max_downtime_s: Rule[float] | None
    max_cost: tuple[Rule[Money], ...]
    """The lowest of each currency."""
    min_saving: tuple[Rule[Money], ...]
    """The highest of each currency."""
    payback_s: Rule[float] | None
    downtime_per_minute: tuple[Rule[Money], ...]
    """The highest of each currency."""
    cool_down_s: Rule[float] | None
    allowances: tuple[Allowance, ...]
    """Each to be counted on its own."""

    def lines(self) -> list[Line]:
        """All that is demanded, in the order and the words of a document."""
        return list(_lines(self))

    @property
    def per_hour(self) -> Rule[int] | None:
        """The smallest of the allowances."""
        return _least((one.policy, one.per_hour) for one in self.allowances)

    @property
    def per_day(self) -> Rule[int] | None:
        return _least((one.policy, one.per_day) for one in self.allowances)


def scheduling(
    policies: Sequence[Policy], workload: str, project: str, named: Sequence[str] = ()
) -> SchedulingRules:
    """What holds for a workload whose label names these policies. `policies`: all there are; those
    that do not hold for it are left out here."""
    mine = holding(policies, workload, project, named)
    where = [(one.name, one.placement or Placement()) for one in mine]
    most = [(one.name, one.limits or Limits()) for one in mine]
    when = [(one.name, one.saving or Saving()) for one in mine]
    often = [(one.name, one.budget or Budget()) for one in mine]
    return SchedulingRules(
        policies=tuple(one.name for one in mine),
        missing=missing(mine, named),
        spot=_spot(where),
        near=tuple(Rule(one, name) for name, part in where for one in part.near),
        apart=tuple(Rule(one, name) for name, part in where for one in part.apart),
        max_downtime_s=_least((name, part.max_downtime_s) for name, part in most),
        max_cost=_of_each(((name, part.max_cost) for name, part in most), min),
        min_saving=_of_each(((name, part.min) for name, part in when), max),
        payback_s=_least((name, part.payback_s) for name, part in when),
        downtime_per_minute=_of_each(((name, part.downtime) for name, part in when), max),
        cool_down_s=_most((name, part.cool_down_s) for name, part in often),
        allowances=tuple(
            Allowance(name, part.per_hour, part.per_day)
            for name, part in often
            if part.per_hour is not None or part.per_day is not None
        ),
    )


def _lines(rules: SchedulingRules) -> Iterator[Line]:
    yield Line("placement.spot", str(rules.spot.value).lower(), rules.spot.policy)
    for word, patterns in (("near", rules.near), ("apart", rules.apart)):
        for one in patterns:
            yield Line(f"placement.{word}", one.value, one.policy)
    yield from _span("limits.max_downtime", rules.max_downtime_s)
    yield from _amounts("limits.max_cost", rules.max_cost)
    yield from _amounts("saving.min", rules.min_saving)
    yield from _span("saving.payback", rules.payback_s)
    yield from _amounts("saving.downtime", rules.downtime_per_minute)
    yield from _span("budget.cool_down", rules.cool_down_s)
    for budget in rules.allowances:
        for word, count in (("per_hour", budget.per_hour), ("per_day", budget.per_day)):
            if count is not None:
                yield Line(f"budget.{word}", str(count), budget.policy)


def _span(rule: str, told: Rule[float] | None) -> Iterator[Line]:
    if told is not None:
        yield Line(rule, span(told.value), told.policy)


def _amounts(rule: str, told: Sequence[Rule[Money]]) -> Iterator[Line]:
    for one in told:
        yield Line(rule, str(one.value), one.policy)


def _spot(said: Sequence[tuple[str, Placement]]) -> Rule[bool]:
    """One `false` outweighs any `true`; without a word it is not allowed."""
    for answer in (False, True):
        for name, part in said:
            if part.spot is answer:
                return Rule(answer, name)
    return Rule(False, "")


def _least(said: Iterable[tuple[str, N | None]]) -> Rule[N] | None:
    found = [Rule(value, name) for name, value in said if value is not None]
    return min(found, key=lambda rule: rule.value, default=None)


def _most(said: Iterable[tuple[str, N | None]]) -> Rule[N] | None:
    found = [Rule(value, name) for name, value in said if value is not None]
    return max(found, key=lambda rule: rule.value, default=None)


def _of_each(
    said: Iterable[tuple[str, Money | None]], strictest: Callable[..., Rule[Money]]
) -> tuple[Rule[Money], ...]:
    by_currency: dict[str, list[Rule[Money]]] = {}
    for name, money in said:
        if money is not None:
            by_currency.setdefault(money.currency, []).append(Rule(money, name))
    return tuple(
        strictest(rules, key=lambda rule: rule.value.amount)
        for _, rules in sorted(by_currency.items())
    )
