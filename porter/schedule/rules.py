"""Wishes to be near and apart, as the marks by which the optimiser knows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from porter.domain.scheduling import SchedulingRules
from porter.schedule.optimiser.model import Bar


def spot_bar(rules: SchedulingRules) -> Bar | None:
    """Why a workload may not run on spot machines; None if it may."""
    if rules.spot.value:
        return None
    if not rules.spot.policy:
        why = "no policy allows it on spot machines"
        return Bar("spot", why, "a policy with placement: {spot: true} that holds for it")
    why = f"policy {rules.spot.policy} does not allow it on spot machines"
    return Bar("spot", why, "set placement.spot in that policy")


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
