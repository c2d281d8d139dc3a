"""What the policies that hold for a workload say of moves that the schedule begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from porter.domain.policy import Money, Policy
from porter.schedule.model import Bar

NO_SPOT = Bar(
    "spot",
    "no policy allows it on spot machines",
    "a policy with placement: {spot: true} that holds for it",
)


@dataclass(frozen=True)
class Budget:
    """So many moves of a policy's workloads the schedule may begin."""

    policy: Policy
    per_hour: int | None
    per_day: int | None


@dataclass(frozen=True)
class Rules:
    """The strictest of each kind."""

    spot: Bar | None = NO_SPOT
    """Why it may not run on spot machines; None if it may."""
    near: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    """Patterns of names."""
    max_downtime_s: float | None = None
    max_cost: tuple[Money, ...] = ()
    min_saving: tuple[Money, ...] = ()
    payback_s: float | None = None
    minute: tuple[Money, ...] = ()
    """What a minute of pause is worth."""
    cool_down_s: float = 0.0
    budgets: tuple[Budget, ...] = ()


def rules_of(policies: Sequence[Policy]) -> Rules:
    """Of the policies that hold for one workload."""
    return Rules()


def marks(wishes: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Workload -> the mark that it shares with all that it names by pattern, that name it, and so
    on; empty where there is none."""
    groups: dict[str, str] = {}
    for name, patterns in sorted(wishes.items()):
        others = {one for one in wishes if any(fnmatchcase(one, each) for each in patterns)}
        if not others - {name}:
            continue
        members = {name, *others}
        old = {groups[one] for one in members if one in groups}
        mark = min({*members, *old})
        members |= {one for one, known in groups.items() if known in old}
        groups |= dict.fromkeys(members, mark)
    return {name: groups.get(name, "") for name in wishes}
