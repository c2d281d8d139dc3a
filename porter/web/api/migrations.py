"""/v1/migrations: start, follow, cancel."""

from __future__ import annotations

import hashlib
import json
import time
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from porter.db.base import NewMigration
from porter.db.rows import new_id
from porter.domain.errors import Conflict, Invalid
from porter.migrate.plan import STEPS, choose, plan, plan_hash
from porter.migrate.receipt import receipt as make_receipt
from porter.web.api.common import PROBLEMS, SECURED, Control, control_of, pulse_of
from porter.web.api.events import stream
from porter.web.api.schemas import MigrationOut, MigrationRequest
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["migrations"])
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


@router.post("/migrations", status_code=HTTPStatus.ACCEPTED)
def create(
    response: Response, control: Control, body: MigrationRequest, idempotency_key: Key = None
) -> MigrationOut:
    """Move a workload to another host, or to some host of another site.

    With an Idempotency-Key the same request can be sent again and is one migration.
    """
    digest = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    known = None
    if idempotency_key is not None:
        known = control.moves.repeated(idempotency_key, digest)
    migration_id = known or _create(control, body, idempotency_key, digest)
    control.queue.enqueue(migration_id)
    response.headers["Location"] = f"/v1/migrations/{migration_id}"
    return MigrationOut.of(control.moves.story(migration_id))


def _create(control: ControlPlane, body: MigrationRequest, key: str | None, digest: str) -> str:
    now = time.time()
    workload, source, target = control.moves.resolve(body.workload, body.to, now)
    if source.id == target.id:
        raise Conflict(
            f"cannot move {workload.name} to {target.name}: it is there already",
            "name another host",
        )
    mode = choose(body.mode)
    content = plan(workload.name, source.name, target.name, mode)
    return control.moves.create(
        NewMigration(
            id=new_id("m"),
            workload=workload,
            source=source,
            target=target,
            mode=mode,
            plan=content,
            plan_hash=plan_hash(content),
            steps=tuple(STEPS),
            now=now,
            idempotency_key=key,
            request_hash=digest,
        )
    )


@router.get("/migrations")
def list_migrations(
    control: Control,
    workload: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[MigrationOut]:
    """Newest first."""
    return [MigrationOut.of(story) for story in control.moves.stories(workload, limit)]


@router.get("/migrations/{migration_id}")
def get_migration(control: Control, migration_id: str) -> MigrationOut:
    return MigrationOut.of(control.moves.story(migration_id))


@router.post("/migrations/{migration_id}/cancel", status_code=HTTPStatus.ACCEPTED)
def cancel(control: Control, migration_id: str) -> MigrationOut:
    """Ask for a migration to be undone. 409 once the workload is handed over."""
    control.moves.cancel(migration_id, time.time())
    control.queue.enqueue(migration_id)
    return MigrationOut.of(control.moves.story(migration_id))


@router.get("/migrations/{migration_id}/receipt")
def get_receipt(control: Control, migration_id: str) -> dict[str, Any]:
    """What really happened, measured; what is known so far while it has not ended."""
    story = control.moves.story(migration_id, commands=True)
    move = story.migration
    if move.receipt is not None:
        return move.receipt
    known = make_receipt(move, story.steps, story.commands, move.state, move.reason, None)
    found: dict[str, Any] = json.loads(json.dumps(known.as_dict()))
    return found


@router.get("/migrations/{migration_id}/events", response_class=StreamingResponse)
async def events(
    request: Request,
    migration_id: str,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Server-sent events, from the first or from after `Last-Event-ID`, until the end."""
    control = control_of(request)
    await run_in_threadpool(control.moves.story, migration_id)
    try:
        after = int(last_event_id or 0)
    except ValueError as error:
        raise Invalid(f"cannot resume after event {last_event_id!r}: it is no number") from error
    return StreamingResponse(
        stream(control, pulse_of(request), migration_id, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
