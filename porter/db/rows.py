"""Rows of the tables as records."""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from porter.db import tables as t
from porter.db.base import (
    CommandRecord,
    EventRecord,
    HostRecord,
    MigrationRecord,
    StepRecord,
    WorkloadRecord,
)
from porter.domain.errors import NotFound
from porter.domain.host import HostFacts
from porter.domain.migration import MigrationState, StepKind, StepState
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
        state=row.state,
    )


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


def get_migration(connection: sa.Connection, migration_id: str) -> MigrationRecord:
    row = connection.execute(
        sa.select(t.migrations).where(t.migrations.c.id == migration_id)
    ).first()
    if row is None:
        raise NotFound(
            f"cannot find the migration {migration_id!r}", "`porter migration ls` lists them"
        )
    return migration(row)


def add_event(
    connection: sa.Connection,
    now: float,
    kind: str,
    message: str,
    *,
    migration: str | None = None,
    workload: str = "",
    data: dict[str, Any] | None = None,
) -> None:
    connection.execute(
        sa.insert(t.events).values(
            at=now,
            migration=migration,
            workload=workload,
            kind=kind,
            message=message,
            data=data or {},
        )
    )


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
