"""Migrations as people ask for them: create, list, follow, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import (
    ACTIVE,
    CheckpointState,
    CommandRecord,
    EventRecord,
    HostRecord,
    MigrationRecord,
    NewMigration,
    StepRecord,
    WorkloadRecord,
)
from porter.db.database import Database
from porter.db.found import get_workload
from porter.db.journal import first_steps
from porter.db.plans import spend
from porter.domain.errors import Conflict, NotFound
from porter.domain.identity import Projects
from porter.domain.migration import MigrationState, StepKind, StepState


class NoHost(Conflict):
    """The site is known, but no host there can take the workload."""


DECIDED = ("handed_over", "gone")
"""States of the source after which a move only goes forward."""


@dataclass(frozen=True)
class Story:
    """A migration with its steps and commands."""

    migration: MigrationRecord
    steps: tuple[StepRecord, ...]
    commands: tuple[CommandRecord, ...] = ()


class Moves:
    """Requests about migrations. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def repeated(self, key: str, request_hash: str) -> str | None:
        """The migration that this idempotency key made. Raises Conflict for another request."""
        with self._db.read() as c:
            return self._repeated(c, key, request_hash)

    def _repeated(self, c: sa.Connection, key: str, request_hash: str) -> str | None:
        m = t.migrations
        row = c.execute(
            sa.select(m.c.id, m.c.request_hash).where(m.c.idempotency_key == key)
        ).first()
        if row is None:
            return None
        if row.request_hash != request_hash:
            raise Conflict(
                "cannot use this Idempotency-Key: it belongs to another request",
                "send a fresh key with a new request",
            )
        return str(row.id)

    def resolve(
        self, workload: str, to: str, now: float
    ) -> tuple[WorkloadRecord, HostRecord, HostRecord]:
        """Workload, source and target for names that a person gave; `to` is a host or a site.

        Raises NotFound, or NoHost if a site has no living host to move to.
        """
        with self._db.read() as c:
            record = get_workload(c, workload)
            source = rows.get_host(c, str(record.host))
            h, i = t.hosts, t.instances
            leaving = set(c.execute(sa.select(i.c.host).where(i.c.state == "draining")).scalars())
            by_name = c.execute(sa.select(h).where(sa.or_(h.c.name == to, h.c.id == to))).first()
            if by_name is not None:
                if by_name.id in leaving:
                    raise Conflict(
                        f"cannot move {workload} to {by_name.name}: that machine is being removed",
                        "name another host, or its site",
                    )
                return record, source, rows.host(by_name)
            at_site = [
                rows.host(row)
                for row in c.execute(sa.select(h).where(h.c.site == to).order_by(h.c.name))
            ]
        if not at_site:
            raise NotFound(
                f"cannot find the host or site {to!r}: none of that name has joined",
                "`porter host ls` lists them",
            )
        for host in at_site:
            if host.alive(now) and host.id != source.id and host.id not in leaving:
                return record, source, host
        raise NoHost(
            f"cannot move {workload} to the site {to}: no other host there is alive",
            "start `porter agent` on one",
        )

    def source(self, workload: str) -> tuple[WorkloadRecord, HostRecord]:
        """A workload and the host it lives on. Raises NotFound."""
        with self._db.read() as c:
            record = get_workload(c, workload)
            return record, rows.get_host(c, str(record.host))

    def create(self, new: NewMigration) -> str:
        """Record a migration, pending. Idempotent by its key; raises Conflict for a second one."""
        try:
            with self._db.write() as c:
                same = self._same(c, new)
                if same is not None:
                    return same
                self._not_at_a_checkpoint(c, new)
                other = self._other(c, new)
                if other is not None:
                    # It may be our own twin, committed since we looked (PostgreSQL).
                    same = self._same(c, new)
                    if same is not None:
                        return same
                    raise _second(new.workload.name, f"migration {other}")
                self._insert(c, new)
        except sa.exc.IntegrityError as error:
            # Somebody was quicker, between our look and our write (PostgreSQL).
            with self._db.read() as c:
                same = self._same(c, new)
            if same is not None:
                return same
            raise _second(new.workload.name, "another migration") from error
        return new.id

    def _same(self, c: sa.Connection, new: NewMigration) -> str | None:
        """The migration that the same request has made already."""
        if new.idempotency_key is None:
            return None
        return self._repeated(c, new.idempotency_key, new.request_hash)

    def _other(self, c: sa.Connection, new: NewMigration) -> str | None:
        m = t.migrations
        query = sa.select(m.c.id).where(m.c.workload_id == new.workload.id, m.c.state.in_(ACTIVE))
        return c.execute(query).scalar()

    def _not_at_a_checkpoint(self, c: sa.Connection, new: NewMigration) -> None:
        k = t.checkpoints
        busy = (CheckpointState.CREATING, CheckpointState.RESTORING)
        row = c.execute(
            sa.select(k.c.id, k.c.state).where(
                k.c.workload == new.workload.name, k.c.state.in_(busy)
            )
        ).first()
        if row is not None:
            raise Conflict(
                f"cannot move {new.workload.name}: checkpoint {row.id} is {row.state}",
                "wait for its end: porter checkpoint show",
            )

    def _insert(self, c: sa.Connection, new: NewMigration) -> None:
        c.execute(
            sa.insert(t.migrations).values(
                id=new.id,
                workload_id=new.workload.id,
                workload=new.workload.name,
                source=new.source.id,
                source_name=new.source.name,
                target=new.target.id,
                target_name=new.target.name,
                mode=new.mode,
                generation=new.workload.generation,
                plan=new.plan,
                plan_hash=new.plan_hash,
                state=MigrationState.PENDING,
                reason="",
                news=0,
                wake_at=new.now,
                idempotency_key=new.idempotency_key,
                request_hash=new.request_hash,
                cancel_requested=False,
                project=new.workload.project,
                created_by=new.created_by,
                plan_id=new.plan_id,
                request=rows.current_request.get(),
                forecast=new.forecast,
                created=new.now,
            )
        )
        if new.plan_id is not None:
            spend(c, new.plan_id, new.id, new.now)
        for step in first_steps(new.steps):
            c.execute(sa.insert(t.steps).values(migration=new.id, **step))
        rows.add_event(
            c,
            new.now,
            "migration.pending",
            f"move {new.workload.name} from {new.source.name} to {new.target.name}",
            migration=new.id,
            workload=new.workload.name,
            data={"mode": new.mode, "plan_hash": new.plan_hash},
        )

    def story(self, migration_id: str, commands: bool = False, projects: Projects = None) -> Story:
        """Raises NotFound, also for one of another project."""
        with self._db.read() as c:
            return self._story(c, migration_id, commands, projects)

    def _story(
        self, c: sa.Connection, migration_id: str, commands: bool, projects: Projects = None
    ) -> Story:
        k = t.commands
        found: Sequence[Any] = ()
        migration = rows.get_migration(c, migration_id, projects)
        if commands:
            found = c.execute(
                sa.select(k).where(k.c.migration == migration_id).order_by(k.c.seq)
            ).all()
        return Story(
            migration=migration,
            steps=rows.steps_of(c, migration_id),
            commands=tuple(rows.command(row) for row in found),
        )

    def active(self) -> dict[str, str]:
        """Workload name -> its active migration."""
        m = t.migrations
        with self._db.read() as c:
            found = c.execute(sa.select(m.c.workload, m.c.id).where(m.c.state.in_(ACTIVE)))
            return {row.workload: row.id for row in found}

    def cancel(self, migration_id: str, now: float) -> None:
        """Ask for an end and an undoing. Asking again is the same. Raises Conflict when too late.

        A request that crosses with the handover's decision may be recorded and still be too late:
        then the move goes on and an event says so.
        """
        m = t.migrations
        with self._db.write() as c:
            story = self._story(c, migration_id, False)
            state = story.migration.state
            if state.final:
                raise Conflict(f"cannot cancel migration {migration_id}: it has ended ({state})")
            if state is MigrationState.UNDOING or story.migration.cancel_requested:
                return
            if _decided(story.steps):
                raise Conflict(
                    f"cannot cancel migration {migration_id}: the workload is handed over",
                    "let it finish, then move it back",
                )
            c.execute(
                sa.update(m)
                .where(m.c.id == migration_id)
                .values(cancel_requested=True, news=m.c.news + 1, wake_at=now)
            )
            rows.add_event(
                c,
                now,
                "cancel",
                "cancel requested",
                migration=migration_id,
                workload=story.migration.workload,
            )

    def events(self, migration_id: str, after: int, limit: int = 500) -> list[EventRecord]:
        e = t.events
        with self._db.read() as c:
            found = c.execute(
                sa.select(e)
                .where(e.c.migration == migration_id, e.c.id > after)
                .order_by(e.c.id)
                .limit(limit)
            )
            return [rows.event(row) for row in found]

    def news(self, limit: int = 20) -> list[EventRecord]:
        """The newest events of all, progress left out, newest first."""
        e = t.events
        with self._db.read() as c:
            found = c.execute(
                sa.select(e).where(e.c.kind != "progress").order_by(e.c.id.desc()).limit(limit)
            )
            return [rows.event(row) for row in found]


def _second(workload: str, other: str) -> Conflict:
    return Conflict(
        f"cannot move {workload}: {other} is moving it", "wait until it has ended, or cancel it"
    )


def _decided(steps: tuple[StepRecord, ...]) -> bool:
    handover = next((step for step in steps if step.kind is StepKind.HANDOVER), None)
    if handover is None:
        return False
    return handover.state is StepState.DONE or handover.memory.get("source") in DECIDED
