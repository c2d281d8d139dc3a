"""Why each job that stays, stays: the rule that binds, and what would change the answer."""

from __future__ import annotations

from porter.schedule.bundles import Sorted
from porter.schedule.fleet import Fleet
from porter.schedule.model import Bar, Stay


def explain(fleet: Fleet, best: Sorted) -> tuple[Stay, ...]:
    moved = {job for jobs in best.kept for job in jobs}
    bar = Bar("cheapest", "it is where it costs least", "")
    return tuple(
        Stay(job.name, job.pinned or best.dropped.get(i, bar), "", None)
        for i, job in enumerate(fleet.problem.jobs)
        if i not in moved
    )
