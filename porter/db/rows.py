"""Rows of the tables as records."""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from porter.db import tables as t
from porter.db.base import (
    CheckpointRecord,
    CheckpointState,
    CommandRecord,
    EventRecord,
    HostRecord,
    InstanceRecord,
    MigrationRecord,
    SiteRecord,
    StepRecord,
    WorkloadRecord,
)
from porter.domain.errors import NotFound
from porter.domain.host import HostFacts
from porter.domain.identity import FLEET, Projects
from porter.domain.migration import MigrationState, StepKind, StepState
from porter.logs import current_request as current_request
from porter.protocol import codec

NETWORK_VERSION = "network_version"


def new_id(prefix: str) -> str:
    """A fresh id: short enough for names of interfaces' sets and files that derive from it."""
    return f"{prefix}{secrets.token_hex(5)}"


def host(row: sa.Row[Any]) -> HostRecord:
    return HostRecord(
        id=row.id,
        name=row.name,
        site=row.site,
        range=row.range,
        serial=row.serial,
        facts=None if row.facts is None else codec.load(HostFacts, row.facts),
        last_seen=row.last_seen,
        joined_at=row.joined_at,
        certificate=row.certificate,
        notices=tuple(row.notices or ()),
    )


def workload(row: sa.Row[Any]) -> WorkloadRecord:
    return WorkloadRecord(
        id=row.id,
        name=row.name,
        host=row.host,
        container=row.container,
        container_name=row.container_name,
        generation=row.generation,
        address=row.address,
        image=row.image,
        memory_bytes=row.memory_bytes,
        endpoints=tuple(row.endpoints or ()),
        state=row.state,
        project=row.project,
        policies=tuple(row.policies or ()),
    )


def site(row: sa.Row[Any]) -> SiteRecord:
    return SiteRecord(**row._mapping)


def checkpoint(row: sa.Row[Any]) -> CheckpointRecord:
    return CheckpointRecord(
        id=row.id,
        workload=row.workload,
        host=row.host,
        host_name=row.host_name,
        store=row.store,
        state=CheckpointState(row.state),
        reason=row.reason,
        recipients=row.recipients,
        result=row.result,
        task=row.task,
        progress=row.progress,
        created=row.created,
        finished=row.finished,
        wake_at=row.wake_at,
        news=row.news,
        project=row.project,
    )


def instance(row: sa.Row[Any]) -> InstanceRecord:
    return InstanceRecord(**row._mapping)


def migration(row: sa.Row[Any]) -> MigrationRecord:
    return MigrationRecord(
        id=row.id,
        workload=row.workload,
        workload_id=row.workload_id,
        source=row.source,
        source_name=row.source_name,
        target=row.target,
        target_name=row.target_name,
        mode=row.mode,
        generation=row.generation,
        plan=row.plan,
        plan_hash=row.plan_hash,
        state=MigrationState(row.state),
        reason=row.reason,
        cancel_requested=row.cancel_requested,
        receipt=row.receipt,
        created=row.created,
        started=row.started,
        finished=row.finished,
        wake_at=row.wake_at,
        news=row.news,
        project=row.project,
        created_by=row.created_by,
        plan_id=row.plan_id,
        request=row.request,
        forecast=row.forecast,
    )


def step(row: sa.Row[Any]) -> StepRecord:
    return StepRecord(
        kind=StepKind(row.kind),
        seq=row.seq,
        state=StepState(row.state),
        attempt=row.attempt,
        memory=row.memory,
        output=row.output,
        error=row.error,
        started=row.started,
        ended=row.ended,
    )


def command(row: sa.Row[Any]) -> CommandRecord:
    return CommandRecord(
        id=row.id,
        host=row.host,
        migration=row.migration,
        step=row.step,
        kind=row.kind,
        payload=row.payload,
        state=row.state,
        result=row.result,
        created=row.created,
        sent=row.sent,
        done=row.done,
    )


def event(row: sa.Row[Any]) -> EventRecord:
    return EventRecord(
        id=row.id,
        at=row.at,
        migration=row.migration,
        workload=row.workload,
        kind=row.kind,
        message=row.message,
        data=row.data,
        project=row.project,
        request=row.request,
    )


def get_host(connection: sa.Connection, key: str) -> HostRecord:
    """The host with this id or name. Raises NotFound."""
    row = connection.execute(
        sa.select(t.hosts).where(sa.or_(t.hosts.c.id == key, t.hosts.c.name == key))
    ).first()
    if row is None:
        raise NotFound(
            f"cannot find the host {key!r}: none of that name has joined",
            "`porter host ls` lists them",
        )
    return host(row)


def steps_of(connection: sa.Connection, migration_id: str) -> tuple[StepRecord, ...]:
    rows = connection.execute(
        sa.select(t.steps).where(t.steps.c.migration == migration_id).order_by(t.steps.c.seq)
    )
    return tuple(step(row) for row in rows)


def within(column: sa.Column[str], projects: Projects) -> sa.ColumnElement[bool]:
    """Whether a row belongs to one of these projects."""
    return sa.true() if projects is None else column.in_(sorted(projects))


def get_migration(
    connection: sa.Connection, migration_id: str, projects: Projects = None
) -> MigrationRecord:
    """Raises NotFound, also for one of another project."""
    m = t.migrations
    row = connection.execute(
        sa.select(m).where(m.c.id == migration_id, within(m.c.project, projects))
    ).first()
    if row is None:
        raise NotFound(
            f"cannot find the migration {migration_id!r}", "`porter migration ls` lists them"
        )
    return migration(row)


def _project(workload: str) -> Any:
    """The project of a workload, as an expression; FLEET for what belongs to none."""
    if not workload:
        return FLEET
    w = t.workloads
    return sa.func.coalesce(
        sa.select(w.c.project).where(w.c.name == workload).scalar_subquery(), FLEET
    )


def add_event(
    connection: sa.Connection,
    now: float,
    kind: str,
    message: str,
    *,
    migration: str | None = None,
    workload: str = "",
    data: dict[str, Any] | None = None,
    project: str | None = None,
    request: str | None = None,
) -> int:
    """Its number. `project`: whose it is, where that is not the workload's. `request`: the API
    request that it began with, where that is not the one being served."""
    added = connection.execute(
        sa.insert(t.events).values(
            at=now,
            migration=migration,
            workload=workload,
            kind=kind,
            message=message,
            data=data or {},
            project=_project(workload) if project is None else project,
            request=current_request.get() if request is None else request,
        )
    )
    assert added.inserted_primary_key is not None
    return int(added.inserted_primary_key[0])


def bump_network(connection: sa.Connection) -> None:
    """Let every host fetch its routes anew."""
    connection.execute(
        sa.update(t.settings)
        .where(t.settings.c.key == NETWORK_VERSION)
        .values(value=t.settings.c.value + 1)
    )


def network_version(connection: sa.Connection) -> int:
    value = connection.execute(
        sa.select(t.settings.c.value).where(t.settings.c.key == NETWORK_VERSION)
    ).scalar_one()
    return int(value)
