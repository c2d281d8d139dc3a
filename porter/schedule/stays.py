"""Why workloads stay, as runs keep it: the rule that binds, and what else there was. Pure."""

from __future__ import annotations

from typing import Any

from porter.schedule.optimiser.model import Answer, Bar, Stay
from porter.schedule.snapshot import Snapshot


def told(snapshot: Snapshot, answer: Answer) -> dict[str, Any]:
    """Workload -> why it stays; only those that the run was about."""
    found = {name: refusal(snapshot, name, bar) for name, bar in snapshot.left_out.items()}
    for stay in answer.stays:
        if snapshot.scope.covers(snapshot.fleet.workloads[stay.job]):
            found[stay.job] = _stay(snapshot, stay)
    return found


def refusal(snapshot: Snapshot, name: str, bar: Bar) -> dict[str, Any]:
    """One that was not looked at, or whose move is refused."""
    return _stay(snapshot, Stay(name, bar, "", None))


def _stay(snapshot: Snapshot, stay: Stay) -> dict[str, Any]:
    return {
        "rule": stay.bar.rule,
        "why": stay.bar.why,
        "remedy": stay.bar.remedy,
        "runner_up": stay.runner_up,
        "saving": stay.saving,
        "currency": snapshot.problem.currency,
        "needs": snapshot.needs.get(stay.job, ""),
        "prices": _prices(snapshot, stay),
    }


def _prices(snapshot: Snapshot, stay: Stay) -> str:
    """What the machine under it and the next best are expected to cost, where that is another price
    than now."""
    homes = [job.host for job in snapshot.problem.jobs if job.name == stay.job]
    found = [(name, snapshot.ground.prices.get(name)) for name in (*homes, stay.runner_up)]
    told = [
        f"{name}: {priced.forecast.why}"
        for name, priced in found
        if priced is not None and priced.forecast is not None
    ]
    return "; ".join(told)
