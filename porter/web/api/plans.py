"""/v1/plans: moves frozen beforehand, approved by another person, carried out once."""

from __future__ import annotations

import time
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from porter.db.listing import Page
from porter.db.plans import PlanRecord, PlanState
from porter.domain.identity import Permission, Principal
from porter.migrate.planning import LIFETIME
from porter.web.access import Caller, demand
from porter.web.api.common import PROBLEMS, SECURED, Control, person_name
from porter.web.api.migrations import asked_of
from porter.web.api.paging import Paged
from porter.web.api.policies import VerdictOut
from porter.web.api.schemas.base import Body, moment
from porter.web.api.schemas.moves import MigrationOut, MigrationRequest
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["plans"])
Reason = Annotated[str, Field(max_length=2000)]


class PlanRequest(MigrationRequest):
    """A move to be frozen into a plan."""

    lifetime: Annotated[float, Field(ge=60, le=90 * 86400)] = LIFETIME
    """Seconds after which it expires."""


class Approval(Body):
    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the plan as it was looked at."""
    reason: Reason = ""


class Decline(Body):
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class PlanOut(BaseModel):
    id: str
    hash: str
    """SHA-256 over id, content and basis: what an approval is bound to."""
    state: PlanState
    workload: str
    project: str
    content: dict[str, Any]
    """What would be done: parties, generation, mode, steps, options, forecast, verdict."""
    basis: dict[str, Any]
    """What it rests on: when any of this changes, it lapses."""
    verdict: VerdictOut
    """What the policies said when it was made."""
    created_at: datetime | None
    created_by: str
    """Id of the person, who cannot approve it."""
    created_by_name: str
    expires_at: datetime | None
    decided_at: datetime | None
    decided_by: str
    decided_by_name: str
    reason: str
    """Of whoever decided, or why it lapsed."""
    migration: str | None
    """That carries it out."""


def _out(control: ControlPlane, plan: PlanRecord, names: dict[str, str] | None = None) -> PlanOut:
    names = {} if names is None else names
    return PlanOut(
        id=plan.id,
        hash=plan.hash,
        state=PlanState(plan.state),
        workload=plan.workload,
        project=plan.project,
        content=plan.content,
        basis=plan.basis,
        verdict=VerdictOut.model_validate(plan.content["verdict"]),
        created_at=moment(plan.created),
        created_by=plan.created_by,
        created_by_name=person_name(control, plan.created_by, names),
        expires_at=moment(plan.expires),
        decided_at=moment(plan.decided),
        decided_by=plan.decided_by,
        decided_by_name=person_name(control, plan.decided_by, names),
        reason=plan.reason,
        migration=plan.migration,
    )


@router.post("/plans", status_code=HTTPStatus.CREATED)
def create(response: Response, control: Control, caller: Caller, body: PlanRequest) -> PlanOut:
    """Freeze a move into a plan. It waits for another person's approval if a policy demands that,
    and may be made outside the change windows. 409 `policy` where it is refused at any time."""
    moved = control.found.workload(body.workload, caller.projects())
    demand(caller, Permission.OPERATE, moved.project)
    now = time.time()
    prospect = control.planner.look(asked_of(control, body), now)
    made = control.planner.make(prospect, caller, now, body.lifetime)
    response.headers["Location"] = f"/v1/plans/{made.id}"
    return _out(control, made)


@router.get("/plans")
def list_plans(
    control: Control,
    caller: Caller,
    paged: Paged,
    state: PlanState | None = None,
    workload: Annotated[str | None, Query(min_length=1, max_length=255)] = None,
) -> list[PlanOut]:
    """Newest first."""
    key = paged.after(float, str)
    after = (float(key[0]), str(key[1])) if key else None
    found = control.plans.all(caller.projects(), state, workload, paged.limit + 1, after)
    items, last = found[: paged.limit], found[: paged.limit][-1:]
    more = len(found) > paged.limit
    page = Page(items, (last[0].created, last[0].id) if more else None)
    names: dict[str, str] = {}
    return [_out(control, plan, names) for plan in paged.give(page)]


@router.get("/plans/{plan_id}")
def get_plan(control: Control, caller: Caller, plan_id: str) -> PlanOut:
    return _out(control, control.plans.get(plan_id, caller.projects()))


@router.post("/plans/{plan_id}/approve")
def approve(control: Control, caller: Caller, plan_id: str, body: Approval) -> PlanOut:
    """Approve exactly the plan with this hash. 403 for the person who made it, whatever token they
    use; 409 for another hash, a plan that waits for nobody, or `plan-lapsed`."""
    _seen(control, caller, plan_id, Permission.APPROVE)
    return _out(
        control, control.plans.approve(plan_id, body.hash, caller, body.reason, time.time())
    )


@router.post("/plans/{plan_id}/decline")
def decline(control: Control, caller: Caller, plan_id: str, body: Decline) -> PlanOut:
    """Decide against a plan, also one that was approved already; its maker may, too."""
    known = control.plans.get(plan_id, caller.projects())
    mine = known.created_by == caller.person
    demand(caller, Permission.OPERATE if mine else Permission.APPROVE, known.project)
    return _out(control, control.plans.decline(plan_id, caller, body.reason, time.time()))


@router.post("/plans/{plan_id}/execute", status_code=HTTPStatus.ACCEPTED)
def execute(response: Response, control: Control, caller: Caller, plan_id: str) -> MigrationOut:
    """Begin the plan's migration, once: sent again, the answer is the same migration."""
    _seen(control, caller, plan_id, Permission.OPERATE)
    migration = control.planner.execute(plan_id, caller, time.time())
    control.queue.enqueue(migration)
    response.headers["Location"] = f"/v1/migrations/{migration}"
    return MigrationOut.of(control.moves.story(migration, projects=caller.projects()))


def _seen(
    control: ControlPlane, caller: Principal, plan_id: str, permission: Permission
) -> PlanRecord:
    """A plan with which the caller may do this. Raises NotFound for one that they may not see."""
    known = control.plans.get(plan_id, caller.projects())
    demand(caller, permission, known.project)
    return known
