"""/v1/rebalances: runs of the optimiser over the fleet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from porter.db.listing import Page
from porter.db.proposals import ProposalRecord
from porter.db.rebalances import RebalanceRecord
from porter.domain.identity import FLEET, PROJECT_NAME, Permission
from porter.domain.scheduling import HORIZON_S
from porter.schedule.snapshot import Scope
from porter.web.access import Caller, demand
from porter.web.api.common import PROBLEMS, SECURED, Control, person_name
from porter.web.api.paging import Paged
from porter.web.api.proposals import ProposalOut, all_shown
from porter.web.api.schemas.base import WHOLE, Body, moment
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["rebalances"])
Pattern = Annotated[str, Field(min_length=1, max_length=255)]


class RebalanceIn(Body):
    """What a run may move, and how far it looks."""

    project: Annotated[str, Field(pattern=f"^{PROJECT_NAME.pattern}$")] | None = None
    """Null: workloads of all projects."""
    workloads: Annotated[list[Pattern], Field(min_length=1, max_length=100)] = Field(
        default_factory=lambda: ["*"]
    )
    """Patterns of names."""
    horizon: Annotated[float, Field(ge=3600, le=366 * 86400)] = HORIZON_S
    """Seconds for which what is decided now is expected to last."""
    most_moves: Annotated[int, Field(ge=1, le=1000), WHOLE] = 20
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    """In which is reckoned; null: in which most prices are told."""
    seconds: Annotated[float, Field(ge=0.1, le=60)] = 5.0
    """So long the optimiser may think."""

    def scope(self) -> Scope:
        return Scope(
            project=self.project or FLEET,
            workloads=tuple(self.workloads),
            horizon_s=self.horizon,
            most_moves=self.most_moves,
            currency=self.currency or "",
            seconds=self.seconds,
        )


class RebalanceOut(BaseModel):
    id: str
    trigger: str
    """`manual`, `cron`, `catch-up`, `price` or `interruption`."""
    schedule: str | None
    due_at: datetime | None
    """For which time its schedule began it; each time has one run."""
    project: str
    """Empty: all."""
    state: str
    """`running`, `done` or `failed`."""
    reason: str
    spec: dict[str, Any]
    problem: dict[str, Any] | None
    """What was asked, in figures; `notes` and `left_out` say what was passed over."""
    answer: dict[str, Any] | None
    """`cost`, `stay_cost`, `bound` (proven), `gap`, `method`, `seconds`."""
    stays: dict[str, Any] | None
    """Workload -> the constraint that binds it, and what would change that."""
    prices: list[dict[str, Any]] | None
    """The quotes it rests on."""
    proposals: list[ProposalOut]
    """In a list of runs: none; ask for one run."""
    created_by: str
    created_by_name: str
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, run: RebalanceRecord, proposals: list[ProposalOut], name: str) -> RebalanceOut:
        return cls(
            id=run.id,
            trigger=run.trigger,
            schedule=run.schedule,
            due_at=moment(run.due_at),
            project=run.project,
            state=run.state,
            reason=run.reason,
            spec=run.spec,
            problem=run.problem,
            answer=run.answer,
            stays=run.stays,
            prices=run.prices,
            proposals=proposals,
            created_by=run.created_by,
            created_by_name=name,
            started_at=moment(run.started),
            finished_at=moment(run.finished),
        )


def _out(
    control: ControlPlane, run: RebalanceRecord, made: Sequence[ProposalRecord]
) -> RebalanceOut:
    return RebalanceOut.of(run, all_shown(control, made), person_name(control, run.created_by, {}))


@router.post("/rebalances", status_code=HTTPStatus.CREATED)
def create(response: Response, control: Control, caller: Caller, body: RebalanceIn) -> RebalanceOut:
    """Ask the optimiser what should be moved, now. Moves nothing: what it proposes is decided on
    and executed afterwards. Takes as long as it may think, and as prices take to be read."""
    demand(caller, Permission.OPERATE, body.project or FLEET)
    run, _ = control.port.run(body.scope(), caller, time.time())
    response.headers["Location"] = f"/v1/rebalances/{run.id}"
    made = control.proposals.all(rebalance=run.id, limit=1000)
    return _out(control, run, made)


@router.get("/rebalances")
def list_rebalances(
    control: Control,
    caller: Caller,
    paged: Paged,
    schedule: Annotated[str | None, Query(min_length=1, max_length=63)] = None,
) -> list[RebalanceOut]:
    """Newest first."""
    key = paged.after(float, str)
    after = (float(key[0]), str(key[1])) if key else None
    found = control.rebalances.all(caller.projects(), schedule, paged.limit + 1, after)
    items, last = found[: paged.limit], found[: paged.limit][-1:]
    more = len(found) > paged.limit
    page = Page(items, (last[0].started, last[0].id) if more else None)
    names: dict[str, str] = {}
    return [
        RebalanceOut.of(run, [], person_name(control, run.created_by, names))
        for run in paged.give(page)
    ]


@router.get("/rebalances/{rebalance_id}")
def get_rebalance(control: Control, caller: Caller, rebalance_id: str) -> RebalanceOut:
    """One run, with what it proposed."""
    run = control.rebalances.get(rebalance_id, caller.projects())
    made = control.proposals.all(caller.projects(), rebalance=run.id, limit=1000)
    return _out(control, run, made)
