"""The saga's journal: leases, steps and what a step's outcome changes."""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import ACTIVE, WITHDRAWN, Change, Claim, StepRecord
from porter.db.database import Database
from porter.db.decisions import decision_of
from porter.domain.migration import MigrationState, StepKind, StepState


def current_step(undoing: bool, steps: tuple[StepRecord, ...]) -> StepRecord | None:
    """The step to do next; when undoing, the last one that may have left something."""
    if undoing:
        touched = (StepState.RUNNING, StepState.FAILED, StepState.DONE)
        return next((step for step in reversed(steps) if step.state in touched), None)
    return next((step for step in steps if step.state is not StepState.DONE), None)


class Journal:
    """What the engine reads and writes. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def claim(self, migration_id: str, now: float, lease: float) -> Claim | None:
        """Transaction A: take the lease and record the intent to run the next step.

        None if somebody else holds the lease, or nothing is left to do.
        """
        token = secrets.token_hex(8)
        m = t.migrations
        free = sa.or_(m.c.lease_until.is_(None), m.c.lease_until < now)
        with self._db.write() as c:
            won = c.execute(
                sa.update(m)
                .where(m.c.id == migration_id, m.c.state.in_(ACTIVE), free)
                .values(
                    lease_token=token,
                    lease_until=now + lease,
                    # If this worker dies, the sweep finds the row when the lease ends.
                    wake_at=now + lease,
                    started=sa.func.coalesce(m.c.started, now),
                )
            )
            if won.rowcount == 0:
                return None
            return self._intend(c, migration_id, token, now)

    def _intend(self, c: sa.Connection, migration_id: str, token: str, now: float) -> Claim | None:
        migration = rows.get_migration(c, migration_id)
        undoing = migration.state is MigrationState.UNDOING
        step = current_step(undoing, rows.steps_of(c, migration_id))
        if step is None:
            return None
        if step.state is StepState.PENDING:
            c.execute(
                sa.update(t.steps)
                .where(t.steps.c.migration == migration_id, t.steps.c.seq == step.seq)
                .values(state=StepState.RUNNING, attempt=1, started=now)
            )
            rows.add_event(
                c,
                now,
                "step.started",
                "",
                migration=migration_id,
                workload=migration.workload,
                data={"step": step.kind},
                request=migration.request,
            )
        steps = rows.steps_of(c, migration_id)
        commands = c.execute(
            sa.select(t.commands)
            .where(t.commands.c.migration == migration_id)
            .order_by(t.commands.c.seq)
        )
        workload = c.execute(
            sa.select(t.workloads).where(t.workloads.c.id == migration.workload_id)
        ).one()
        return Claim(
            token=token,
            migration=migration,
            step=steps[step.seq],
            steps=steps,
            commands=tuple(rows.command(row) for row in commands),
            source=rows.get_host(c, migration.source),
            target=rows.get_host(c, migration.target),
            workload=rows.workload(workload),
            decision=decision_of(c, migration_id),
        )

    def renew(self, migration_id: str, token: str, until: float) -> bool:
        """Lengthen a lease that is still ours. False if it is not."""
        m = t.migrations
        with self._db.write() as c:
            done = c.execute(
                sa.update(m)
                .where(m.c.id == migration_id, m.c.lease_token == token)
                .values(lease_until=until, wake_at=until)
            )
            return done.rowcount == 1

    def apply(self, claim: Claim, change: Change) -> bool | None:
        """Transaction B: record the outcome and give the lease back, if it is still ours.

        None: it is not, nothing was written. True: there was news meanwhile, advance again.
        """
        m = t.migrations
        migration_id = claim.migration.id
        final = change.state.final
        values: dict[str, Any] = {
            "state": change.state,
            "reason": change.reason,
            "wake_at": None if final else change.wake_at,
            "lease_token": None,
            "lease_until": None,
        }
        if final:
            values |= {"finished": change.now, "receipt": change.receipt}
        with self._db.write() as c:
            mine = c.execute(
                sa.update(m)
                .where(m.c.id == migration_id, m.c.lease_token == claim.token)
                .values(**values)
            )
            if mine.rowcount == 0:
                return None
            self._record_step(c, migration_id, claim.step, change)
            self._withdraw(c, migration_id, change)
            self._send(c, migration_id, change)
            self._rehome(c, claim, change)
            for event in change.events:
                rows.add_event(
                    c,
                    change.now,
                    event.kind,
                    event.message,
                    migration=migration_id,
                    workload=claim.migration.workload,
                    data=event.data,
                )
            return rows.get_migration(c, migration_id).news != claim.migration.news

    def _record_step(
        self, c: sa.Connection, migration_id: str, step: StepRecord, change: Change
    ) -> None:
        values: dict[str, Any] = {
            "state": change.step_state,
            "attempt": change.attempt,
            "memory": change.memory,
            "error": change.error,
        }
        if change.output is not None:
            values["output"] = change.output
        if step.ended is None and change.step_state is not StepState.RUNNING:
            values["ended"] = change.now
        c.execute(
            sa.update(t.steps)
            .where(t.steps.c.migration == migration_id, t.steps.c.seq == step.seq)
            .values(**values)
        )

    def _withdraw(self, c: sa.Connection, migration_id: str, change: Change) -> None:
        if not change.withdraw:
            return
        error = {"code": WITHDRAWN, "message": "taken back before its host fetched it"}
        c.execute(
            sa.update(t.commands)
            .where(t.commands.c.migration == migration_id, t.commands.c.state == "queued")
            .values(state="done", done=change.now, result={"output": None, "error": error})
        )

    def _send(self, c: sa.Connection, migration_id: str, change: Change) -> None:
        for command in change.send:
            c.execute(
                self._db.insert(t.commands)
                .values(
                    id=command.id,
                    host=command.host,
                    migration=migration_id,
                    step=command.step,
                    kind=command.kind,
                    payload=command.payload,
                    state="queued",
                    created=change.now,
                )
                .on_conflict_do_nothing(index_elements=["id"])
            )

    def _rehome(self, c: sa.Connection, claim: Claim, change: Change) -> None:
        if change.rehome is None:
            return
        w = t.workloads
        c.execute(
            sa.update(w)
            .where(w.c.id == claim.workload.id)
            .values(
                host=claim.target.id,
                container=change.rehome,
                generation=claim.migration.generation + 1,
                state="running",
                rival=None,
                seen_at=change.now,
            )
        )
        rows.bump_network(c)

    def runnable(self, now: float, limit: int = 200) -> list[str]:
        """Migrations that somebody should advance: their time has come, nobody holds them."""
        m = t.migrations
        with self._db.read() as c:
            found = c.execute(
                sa.select(m.c.id)
                .where(
                    m.c.state.in_(ACTIVE),
                    sa.or_(m.c.lease_until.is_(None), m.c.lease_until < now),
                    sa.or_(m.c.wake_at.is_(None), m.c.wake_at <= now),
                )
                .order_by(m.c.wake_at)
                .limit(limit)
            )
            return [row.id for row in found]


def first_steps(kinds: tuple[StepKind, ...]) -> list[dict[str, object]]:
    """The rows of a new migration's steps, without its id."""
    return [
        {
            "seq": seq,
            "kind": kind,
            "state": StepState.PENDING,
            "attempt": 0,
            "memory": {},
            "error": "",
        }
        for seq, kind in enumerate(kinds)
    ]
