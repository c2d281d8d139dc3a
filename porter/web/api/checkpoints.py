"""/v1/checkpoints: make, list, restore, remove. What takes long is answered 202 and followed by
GET: `state` tells, `task` what was done last."""

from __future__ import annotations

import time
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from porter.db.base import CheckpointRecord, CheckpointState, HostRecord
from porter.db.found import PRESENT
from porter.db.rows import new_id
from porter.domain.errors import Conflict, NotFound
from porter.domain.identity import Permission, Principal
from porter.migrate.custody import can_read, check_home, helper_for, no_certificate
from porter.web.access import Caller, demand
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.schemas.base import Body, Name, moment
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["checkpoints"])
REMOVABLE = (CheckpointState.READY, CheckpointState.FAILED, CheckpointState.REMOVING)


class CheckpointIn(Body):
    """`readers`: names or ids of the hosts that may read it, beside the one that makes it; without
    any, all that are alive."""

    workload: Name
    store: Name | None = None
    readers: Annotated[list[Name], Field(default_factory=list, max_length=256)]


class RestoreIn(Body):
    """`to` is a host or a site."""

    to: Name


class TaskOut(BaseModel):
    """What is being done with it, or was done last."""

    kind: str
    """create, restore or remove."""
    to: str | None
    outcome: str | None
    """succeeded or failed; null while it goes on."""
    reason: str
    ended_at: datetime | None


class CheckpointOut(BaseModel):
    id: str
    workload: str
    project: str
    host: str
    store: str
    state: str
    reason: str
    created_at: datetime | None
    taken_at: datetime | None
    """The moment of which it is: when the workload was frozen."""
    downtime_ms: float | None
    memory_bytes: int | None
    file_bytes: int | None
    size_bytes: int | None
    """Before compression."""
    stored_bytes: int | None
    image: str | None
    address: str | None
    digest: str | None
    phases: list[dict[str, Any]]
    readers: list[str]
    progress: dict[str, Any] | None
    task: TaskOut

    @classmethod
    def of(cls, record: CheckpointRecord) -> CheckpointOut:
        taken = record.result or {}
        image = taken.get("image") or {}
        return cls(
            id=record.id,
            workload=record.workload,
            project=record.project,
            host=record.host_name,
            store=record.store,
            state=record.state,
            reason=record.reason,
            created_at=moment(record.created),
            taken_at=moment(taken.get("taken_at")),
            downtime_ms=taken.get("downtime_ms"),
            memory_bytes=taken.get("memory_bytes"),
            file_bytes=taken.get("file_bytes"),
            size_bytes=taken.get("size"),
            stored_bytes=taken.get("stored"),
            image=next(iter(image.get("names") or ()), image.get("id")),
            address=taken.get("address"),
            digest=taken.get("digest"),
            phases=taken.get("phases") or [],
            readers=[one["name"] for one in record.recipients],
            progress=record.progress,
            task=_task(record.task),
        )


def _task(task: dict[str, Any]) -> TaskOut:
    return TaskOut(
        kind=task.get("kind", "create"),
        to=task.get("target_name"),
        outcome=task.get("outcome"),
        reason=task.get("why") or task.get("failed") or "",
        ended_at=moment(task.get("ended")),
    )


@router.get("/checkpoints/{key}")
def get_checkpoint(control: Control, caller: Caller, key: str) -> CheckpointOut:
    """By id, or a beginning of one that is unique."""
    return CheckpointOut.of(control.checkpoints.get(key, caller.projects()))


def _to_operate(control: ControlPlane, caller: Principal, key: str) -> CheckpointRecord:
    record = control.checkpoints.get(key, caller.projects())
    demand(caller, Permission.OPERATE, record.project)
    return record


@router.post("/checkpoints", status_code=HTTPStatus.ACCEPTED)
def create_checkpoint(control: Control, caller: Caller, body: CheckpointIn) -> CheckpointOut:
    """Begin to take a checkpoint of a running workload, which goes on running."""
    now = time.time()
    known = control.found.workload(body.workload, caller.projects())
    demand(caller, Permission.OPERATE, known.project)
    workload, host = control.moves.source(body.workload)
    if workload.state not in PRESENT or not host.alive(now):
        why = f"it is {workload.state}" if host.alive(now) else f"{host.name} is not alive"
        raise Conflict(
            f"cannot take a checkpoint of {workload.name}: {why}", "it must run on a living host"
        )
    store = control.store_book.get(body.store).name if body.store else control.stores.first()
    if not store:
        raise Conflict("cannot take a checkpoint: there is no store", "porter store add adds one")
    readers = _readers(control, host, body.readers, now)
    made = control.checkpoints.create(workload, host, store, readers, now)
    control.queue.checkpoint(made)
    return CheckpointOut.of(control.checkpoints.get(made))


def _readers(
    control: ControlPlane, host: HostRecord, names: list[str], now: float
) -> list[HostRecord]:
    """The host itself first: its agent knows its own certificate."""
    if not names:
        living = [one for one in control.registry.hosts() if one.alive(now) and one.certificate]
        return [host, *(one for one in living if one.id != host.id)]
    others = {one.id: one for one in map(control.registry.host, names) if one.id != host.id}
    for one in others.values():
        if one.certificate is None:
            raise no_certificate(one)
    return [host, *others.values()]


@router.post("/checkpoints/{key}/restore", status_code=HTTPStatus.ACCEPTED)
def restore_checkpoint(
    control: Control, caller: Caller, key: str, body: RestoreIn
) -> CheckpointOut:
    """Begin to restore it on a host. 409 while the workload is anywhere, or may be."""
    now = time.time()
    record = _to_operate(control, caller, key)
    target = _target(control, body.to, now)
    home = control.checkpoints.home(record.workload)
    if home is not None:
        # Its container may have been given to another project since.
        demand(caller, Permission.OPERATE, home.project)
    last = None
    if home is not None and home.host is not None:
        last = control.registry.host(home.host)
    check_home(home, last, now)
    if not can_read(record, target):
        if target.certificate is None:
            raise no_certificate(target)
        helper_for(record, control.registry.hosts(), now)
    task = {
        "key": new_id("t"),
        "kind": "restore",
        "restore": new_id("r"),
        "target": target.id,
        "target_name": target.name,
    }
    since = (CheckpointState.READY,)
    control.checkpoints.begin(record.id, CheckpointState.RESTORING, since, task, now)
    control.queue.checkpoint(record.id)
    return CheckpointOut.of(control.checkpoints.get(record.id))


def _target(control: ControlPlane, to: str, now: float) -> HostRecord:
    hosts = control.registry.hosts()
    named = [one for one in hosts if to in (one.name, one.id)]
    found = named or [one for one in hosts if one.site == to]
    if not found:
        raise NotFound(f"cannot find the host or site {to!r}", "`porter host ls` lists hosts")
    living = [one for one in found if one.alive(now)]
    if not living:
        raise Conflict(f"cannot restore on {to}: it is not alive", "start `porter agent` there")
    return living[0]


@router.delete("/checkpoints/{key}", status_code=HTTPStatus.ACCEPTED)
def remove_checkpoint(control: Control, caller: Caller, key: str) -> CheckpointOut:
    """Begin to remove it from its store; once that is done it is listed no more."""
    record = _to_operate(control, caller, key)
    task = {"key": new_id("t"), "kind": "remove"}
    now = time.time()
    control.checkpoints.begin(record.id, CheckpointState.REMOVING, REMOVABLE, task, now)
    control.queue.checkpoint(record.id)
    return CheckpointOut.of(control.checkpoints.get(record.id))
