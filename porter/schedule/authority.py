"""The port authority: runs of the optimiser, and proposals that are decided on and begun."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from porter.db.proposals import LIVING, ProposalRecord, Proposals, ProposalState, lapsed
from porter.db.rebalances import Outcome, RebalanceRecord, Rebalances, RunState, Trigger
from porter.db.rows import new_id
from porter.domain.errors import ApprovalRequired, Lapsed, PorterError, Transient
from porter.domain.identity import Principal
from porter.schedule.proposals import Proposer
from porter.schedule.snapshot import Scope

log = logging.getLogger(__name__)

CHECK_EVERY = 300.0
"""Seconds between looks at the prices of a proposal that nobody has decided on."""


class Authority:
    """Thread-safe; any number may work on one database."""

    def __init__(
        self,
        proposer: Proposer,
        rebalances: Rebalances,
        proposals: Proposals,
        clock: Callable[[], float],
    ) -> None:
        self._proposer = proposer
        self._rebalances = rebalances
        self._proposals = proposals
        self._clock = clock

    def run(self, scope: Scope, by: Principal, now: float) -> tuple[RebalanceRecord, Outcome]:
        """Ask the optimiser now; blocks for as long as prices and it take. What it proposes is
        kept, unless the scope says dry run; older proposals about the same workloads lapse."""
        run = new_run(Trigger.MANUAL, None, None, scope.project, scope.as_dict(), by.person, now)
        outcome = self._proposer.propose(run.id, scope, by.person, now)
        self._rebalances.add(run, outcome, self._clock())
        return self._rebalances.get(run.id), outcome

    def execute(self, identity: str, by: Principal, now: float) -> ProposalRecord:
        """Begin to carry a proposal out, once: asked again, nothing changes. Raises
        ApprovalRequired, Lapsed, or Conflict for one that has come to another end."""
        proposal = self._proposals.get(identity)
        if proposal.state == ProposalState.WAITING:
            error = ApprovalRequired(
                f"cannot execute proposal {identity}: it waits for another person's approval",
                f"porter proposal approve {identity}",
            )
            error.members = {"proposal": identity, "hash": proposal.hash}
            raise error
        if proposal.state in LIVING and not self._proposer.recheck(proposal, now):
            raise lapsed(identity, self._proposals.get(identity).reason)
        return self._proposals.begin(identity, by, now)

    def sweep(self) -> None:
        """Let lapse what does not hold any more. Prices are looked at now and then."""
        now = self._clock()
        self._proposals.sweep(now)
        for proposal in self._proposals.living():
            if now - proposal.checked < CHECK_EVERY:
                continue
            try:
                self._proposer.recheck(proposal, now)
            except (Lapsed, Transient):
                continue
            except PorterError as error:
                log.warning("cannot look at the prices of %s: %s", proposal.id, error)


def new_run(
    trigger: Trigger,
    schedule: str | None,
    due_at: float | None,
    project: str,
    spec: dict[str, Any],
    by: str,
    now: float,
) -> RebalanceRecord:
    """A run that is about to begin."""
    return RebalanceRecord(
        id=new_id("r"),
        trigger=trigger,
        schedule=schedule,
        due_at=due_at,
        project=project,
        spec=spec,
        state=RunState.RUNNING,
        reason="",
        problem=None,
        answer=None,
        stays=None,
        prices=None,
        created_by=by,
        started=now,
        finished=None,
        attempt=1,
    )
