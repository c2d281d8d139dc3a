"""/v1/migrations: start, follow, cancel."""

from __future__ import annotations

import hashlib
import json
import time
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from porter.db.database import rehearsing
from porter.domain.errors import Invalid
from porter.domain.identity import Permission, Principal
from porter.migrate.prospects import Asked
from porter.migrate.receipt import receipt as make_receipt
from porter.web.access import Caller, demand
from porter.web.api.common import PROBLEMS, SECURED, Control, control_of, pulse_of
from porter.web.api.events import stream
from porter.web.api.schemas.moves import MigrationOut, MigrationRequest
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["migrations"])
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


@router.post("/migrations", status_code=HTTPStatus.ACCEPTED)
def create(
    response: Response,
    control: Control,
    caller: Caller,
    body: MigrationRequest,
    idempotency_key: Key = None,
) -> MigrationOut:
    """Move a workload to another host, or to some host of another site, made first if need be.

    With an Idempotency-Key the same request can be sent again and is one migration.
    A problem `policy` names the policy that refuses it; `approval-required` the plan that waits for
    another person's approval.
    """
    digest = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    known, key = None, None
    if idempotency_key is not None:
        key = hashlib.sha256(f"{caller.id} {idempotency_key}".encode()).hexdigest()
        known = control.moves.repeated(key, digest)
    migration_id = known or _create(control, caller, body, key, digest)
    control.queue.enqueue(migration_id)
    response.headers["Location"] = f"/v1/migrations/{migration_id}"
    story = control.moves.story(migration_id, projects=caller.projects())
    told = MigrationOut.of(story)
    if rehearsing.get() is None:
        return told
    return told.model_copy(update={"plan": story.migration.plan})


def _create(
    control: ControlPlane,
    caller: Principal,
    body: MigrationRequest,
    key: str | None,
    digest: str,
) -> str:
    now = time.time()
    moved = control.found.workload(body.workload, caller.projects())
    demand(caller, Permission.OPERATE, moved.project)
    prospect = control.planner.look(asked_of(control, body), now)
    return control.planner.start(prospect, caller, now, key, digest)


def asked_of(control: ControlPlane, body: MigrationRequest) -> Asked:
    """The request as the planner takes it. Raises NotFound for an unknown store."""
    if body.via is not None:
        control.store_book.get(body.via)
    return Asked(
        workload=body.workload,
        to=body.to,
        mode=str(body.mode),
        provision=body.provision,
        release=body.release,
        max_price=None if body.max_price is None else str(body.max_price),
        via=body.via,
    )


@router.get("/migrations/{migration_id}")
def get_migration(control: Control, caller: Caller, migration_id: str) -> MigrationOut:
    return MigrationOut.of(control.moves.story(migration_id, projects=caller.projects()))


@router.post("/migrations/{migration_id}/cancel", status_code=HTTPStatus.ACCEPTED)
def cancel(control: Control, caller: Caller, migration_id: str) -> MigrationOut:
    """Ask for a migration to be undone. 409 once the workload is handed over."""
    story = control.moves.story(migration_id, projects=caller.projects())
    demand(caller, Permission.OPERATE, story.migration.project)
    control.moves.cancel(migration_id, time.time())
    control.queue.enqueue(migration_id)
    return MigrationOut.of(control.moves.story(migration_id))


@router.get("/migrations/{migration_id}/receipt")
def get_receipt(control: Control, caller: Caller, migration_id: str) -> dict[str, Any]:
    """What really happened, measured; what is known so far while it has not ended."""
    story = control.moves.story(migration_id, commands=True, projects=caller.projects())
    move = story.migration
    if move.receipt is not None:
        return move.receipt
    known = make_receipt(move, story.steps, story.commands, move.state, move.reason, None)
    found: dict[str, Any] = json.loads(json.dumps(known.as_dict()))
    return found


@router.get("/migrations/{migration_id}/events", response_class=StreamingResponse)
async def events(
    request: Request,
    caller: Caller,
    migration_id: str,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Server-sent events, from the first or from after `Last-Event-ID`, until the end."""
    control = control_of(request)
    await run_in_threadpool(control.moves.story, migration_id, projects=caller.projects())
    try:
        after = int(last_event_id or 0)
        if not 0 <= after < 2**63:
            raise ValueError
    except ValueError as error:
        raise Invalid(
            f"cannot resume after event {last_event_id!r}: it is none's number"
        ) from error
    return StreamingResponse(
        stream(control, pulse_of(request), migration_id, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
