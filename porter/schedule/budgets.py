"""How often the schedule may move workloads: counted from what is in SQL."""

from __future__ import annotations

from porter.db.base import WorkloadRecord
from porter.db.policies import Policies
from porter.db.proposals import Proposals
from porter.schedule.rules import rules_of

HOUR, DAY = 3600.0, 86400.0


class Budgets:
    def __init__(self, proposals: Proposals, policies: Policies) -> None:
        self._proposals = proposals
        self._policies = policies

    def free_at(self, workload: WorkloadRecord, proposal: str, now: float) -> float:
        """From when on a workload may be moved again; not later than now if it may be at once."""
        kept = self._policies.all(frozenset({workload.project}))
        holding = [one.policy for one in kept if one.policy.holds(workload.name, workload.project)]
        rules = rules_of(holding)
        free = 0.0
        last = self._proposals.last_begun(workload.name, proposal)
        if last is not None:
            free = last + rules.cool_down_s
        for budget in rules.budgets:
            for most, length in ((budget.per_hour, HOUR), (budget.per_day, DAY)):
                if most is None:
                    continue
                begun = [
                    at
                    for name, project, at in self._proposals.begun_since(now - length)
                    if budget.policy.holds(name, project)
                ]
                if len(begun) >= most:
                    free = max(free, begun[len(begun) - most] + length if most else now + length)
        return free
