"""How often the schedule may move workloads: counted from what is in SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from porter.db.base import WorkloadRecord
from porter.db.policies import Policies
from porter.db.proposals import Begun, Proposals
from porter.domain.scheduling import scheduling

HOUR, DAY = 3600.0, 86400.0


class Budgets:
    def __init__(self, proposals: Proposals, policies: Policies) -> None:
        self._proposals = proposals
        self._policies = policies

    def limit(
        self, workload: WorkloadRecord, proposal: str, now: float
    ) -> Callable[[Sequence[Begun]], float]:
        """What tells, by the moves begun within a day, the oldest first, from when on a workload
        may be moved again: not later than now if it may be at once."""
        kept = {one.name: one.policy for one in self._policies.all(frozenset({workload.project}))}
        rules = scheduling(list(kept.values()), workload.name, workload.project, workload.policies)
        last = self._proposals.last_begun(workload.name, proposal)
        rested = 0.0
        if last is not None and rules.cool_down_s is not None:
            rested = last + rules.cool_down_s.value

        def free_at(begun: Sequence[Begun]) -> float:
            free = rested
            for one in rules.allowances:
                for most, length in ((one.per_hour, HOUR), (one.per_day, DAY)):
                    times = [
                        each.at
                        for each in begun
                        if each.at > now - length
                        and kept[one.policy].holds(each.workload, each.project, each.named)
                    ]
                    if most is not None and len(times) >= most:
                        later = times[len(times) - most] if most else now
                        free = max(free, later + length)
            return free

        return free_at
