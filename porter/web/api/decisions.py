"""What people decide about a migration afterwards: to undo it, or how a held one ends."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from porter.db.base import DecisionRecord, HostRecord, WorkloadRecord
from porter.db.moves import Story
from porter.domain.errors import Conflict, Invalid, NotFound
from porter.domain.identity import Permission, Principal
from porter.domain.migration import MigrationState
from porter.migrate.decisions import check, consequence
from porter.migrate.prospects import Asked
from porter.web.access import Caller, demand
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.schemas.base import Body
from porter.web.api.schemas.moves import MigrationOut
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["migrations"])
NOT_UNDOING = (MigrationState.ROLLED_BACK, MigrationState.FAILED)


_AGREEING: list[dict[str, bool | str]] = [
    {"fence": False, "fenced": False},
    {"run_on": "source", "fence": False},
    {"run_on": "source", "fenced": False},
]
"""What `resolve` checks, for those who read the schema."""


class Resolution(Body):
    """How a held migration ends. To run it on the source, it must be sure that the target does not
    and never will: with `fence` Porter has the target's machine powered off, with `fenced` the
    caller declares to have done so. Neither is needed where the target answers that it lost it."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"properties": {name: {"const": value} for name, value in one.items()}}
                for one in _AGREEING
            ]
        }
    )

    run_on: Literal["source", "target"]
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    fence: bool = False
    fenced: bool = False


class Resolved(MigrationOut):
    gives_up: str = ""
    """What is lost by it, as far as anybody can know."""


@router.post("/migrations/{migration_id}/rollback", status_code=HTTPStatus.ACCEPTED)
def rollback(
    response: Response, control: Control, caller: Caller, migration_id: str
) -> MigrationOut:
    """Undo a migration: cancel one that is not handed over yet, or move the workload back.

    Moving back is a migration of its own, whose plan and receipt name the one that it undoes; asked
    again, it is the same one. 409 where nothing was moved, the workload has moved on since, or the
    host that it came from is gone.
    """
    story = _story(control, caller, migration_id)
    now = time.time()
    if story.migration.state.final:
        undoing = _known(control, story) or _move_back(control, caller, story, now)
    else:
        undoing = migration_id
        control.moves.cancel(migration_id, now)
    control.queue.enqueue(undoing)
    response.headers["Location"] = f"/v1/migrations/{undoing}"
    return MigrationOut.of(control.moves.story(undoing))


def _story(control: ControlPlane, caller: Principal, migration_id: str) -> Story:
    story = control.moves.story(migration_id, projects=caller.projects())
    demand(caller, Permission.OPERATE, story.migration.project)
    return story


def _known(control: ControlPlane, story: Story) -> str | None:
    """The migration that undoes, or undid, this one."""
    newest = control.decisions.newest(story.migration.workload_id)
    if newest.state in NOT_UNDOING or newest.plan.get("undoes") != story.migration.id:
        return None
    return newest.id


def _move_back(control: ControlPlane, caller: Principal, story: Story, now: float) -> str:
    move = story.migration
    if move.state is not MigrationState.SUCCEEDED:
        raise Conflict(
            f"cannot roll back {move.id}: it did not move anything ({move.state})",
            "'porter workload ls' shows where the workload is",
        )
    workload = control.found.workload(move.workload)
    _still_there(control, story, workload)
    home = _home(control, story, now)
    plan = move.plan
    asked = Asked(
        workload=move.workload,
        to=home.name,
        mode=move.mode,
        provision="never",
        # A machine that was made for the move is not needed after it.
        release=bool(plan.get("provision")),
        via=str(plan["via"]) if plan.get("via") else None,
        undoes=move.id,
    )
    return control.planner.start(control.planner.look(asked, now), caller, now, None, "")


def _still_there(control: ControlPlane, story: Story, workload: WorkloadRecord) -> None:
    move = story.migration
    if workload.host == move.target and workload.generation == move.generation + 1:
        return
    where = control.registry.host(str(workload.host)).name
    raise Conflict(
        f"cannot roll back {move.id}: {move.workload} has moved on since and is on {where}",
        f"'porter migrate {move.workload} --to {move.source_name}' moves it there all the same",
    )


def _home(control: ControlPlane, story: Story, now: float) -> HostRecord:
    """The very host that it came from."""
    move = story.migration
    remedy = f"'porter migrate {move.workload} --to SITE' moves it to another host"
    try:
        home = control.registry.host(move.source)
    except NotFound as error:
        raise Conflict(
            f"cannot roll back {move.id}: the host {move.source_name} is gone", remedy
        ) from error
    if not home.alive(now):
        raise Conflict(f"cannot roll back {move.id}: {home.name} does not answer", remedy)
    return home


@router.post("/migrations/{migration_id}/resolve", status_code=HTTPStatus.ACCEPTED)
def resolve(control: Control, caller: Caller, migration_id: str, body: Resolution) -> Resolved:
    """Decide how a held migration ends. The same decision again changes nothing.

    A decision for the source is never taken back, but may be given more proof. The answer says what
    is given up; the receipt's reason, who decided, and why.
    """
    story = _story(control, caller, migration_id)
    if body.fence and body.fenced:
        raise Invalid("cannot decide: fence and fenced exclude each other", "name one of them")
    if body.run_on == "target" and (body.fence or body.fenced):
        raise Invalid("cannot decide: a target that was powered off cannot run it", "name neither")
    move, now = story.migration, time.time()
    proof = "provider" if body.fence else "declared" if body.fenced else ""
    decision = DecisionRecord(move.id, body.run_on, body.reason, proof, caller.id, caller.name, now)
    known = control.decisions.find(move.id)
    same = known is not None and (known.run_on, known.proof) == (body.run_on, proof)
    if not same:
        source, target = (control.registry.host(key) for key in (move.source, move.target))
        check(story, decision, source, target, control.ledger.of_host(move.target))
    stands = control.decisions.decide(decision)
    control.queue.enqueue(move.id)
    shown = MigrationOut.of(control.moves.story(move.id)).model_dump()
    return Resolved(**shown, gives_up=consequence(story, stands))
