"""How often the schedule may move workloads: counted from what is in SQL."""

from __future__ import annotations

from porter.db.base import WorkloadRecord
from porter.db.policies import Policies
from porter.db.proposals import Proposals
from porter.domain.scheduling import scheduling

HOUR, DAY = 3600.0, 86400.0


class Budgets:
    def __init__(self, proposals: Proposals, policies: Policies) -> None:
        self._proposals = proposals
        self._policies = policies

    def free_at(self, workload: WorkloadRecord, proposal: str, now: float) -> float:
        """From when on a workload may be moved again; not later than now if it may be at once."""
        kept = {one.name: one.policy for one in self._policies.all(frozenset({workload.project}))}
        rules = scheduling(list(kept.values()), workload.name, workload.project, workload.policies)
        free = 0.0
        last = self._proposals.last_begun(workload.name, proposal)
        if last is not None and rules.cool_down_s is not None:
            free = last + rules.cool_down_s.value
        for one in rules.allowances:
            for most, length in ((one.per_hour, HOUR), (one.per_day, DAY)):
                if most is None:
                    continue
                begun = [
                    at
                    for name, project, named, at in self._proposals.begun_since(now - length)
                    if kept[one.policy].holds(name, project, named)
                ]
                if len(begun) >= most:
                    free = max(free, begun[len(begun) - most] + length if most else now + length)
        return free
