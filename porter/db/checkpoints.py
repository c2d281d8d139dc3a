"""Kept checkpoints: requests, leases, and what an outcome changes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import (
    ACTIVE,
    CheckpointChange,
    CheckpointClaim,
    CheckpointRecord,
    CheckpointState,
    Homing,
    HostRecord,
    WorkloadRecord,
)
from porter.db.database import Database
from porter.domain.errors import Conflict, NotFound
from porter.domain.identity import Projects
from porter.protocol import codec
from porter.protocol.messages import Progress

AT_WORK = (CheckpointState.CREATING, CheckpointState.RESTORING, CheckpointState.REMOVING)
"""States in which a worker has something to do."""
BUSY = (CheckpointState.CREATING, CheckpointState.RESTORING)
"""A workload has one checkpoint in these states at most."""


def of_command(command: str) -> str:
    """The checkpoint that a command belongs to, if it belongs to one."""
    return command.partition(".")[0]


class Checkpoints:
    """Rows of checkpoints. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- requests ---------------------------------------------------------------------------

    def create(
        self,
        workload: WorkloadRecord,
        host: HostRecord,
        store: str,
        recipients: Sequence[HostRecord],
        now: float,
    ) -> str:
        """Record a wish for one. Raises Conflict while another, or a move, is at work."""
        new = rows.new_id("k")
        values = {
            "id": new,
            "workload": workload.name,
            "host": host.id,
            "host_name": host.name,
            "store": store,
            "state": CheckpointState.CREATING,
            "reason": "",
            "recipients": [_recipient(one) for one in recipients],
            "task": {"key": rows.new_id("t")},
            "created": now,
            "wake_at": now,
            "news": 0,
            "project": workload.project,
        }
        try:
            with self._db.write() as c:
                self._must_be_free(c, workload.name, "take a checkpoint of")
                c.execute(sa.insert(t.checkpoints).values(**values))
                self._event(c, now, "checkpoint.creating", workload.name, new, f"on {host.name}")
        except sa.exc.IntegrityError as error:
            # Somebody was quicker, between our look and our write (PostgreSQL).
            raise _second(workload.name, "take a checkpoint of", "another checkpoint") from error
        return new

    def begin(
        self,
        checkpoint: str,
        state: CheckpointState,
        since: Sequence[CheckpointState],
        task: dict[str, Any],
        now: float,
    ) -> None:
        """Begin to restore or remove it. Raises Conflict if it is in none of the states `since`."""
        doing = "restore" if state is CheckpointState.RESTORING else "remove"
        k = t.checkpoints
        try:
            with self._db.write() as c:
                record = self._get(c, checkpoint)
                if record.state not in since:
                    raise Conflict(
                        f"cannot {doing} the checkpoint {checkpoint}: it is {record.state}",
                        "wait for its end; `porter checkpoint ls` tells",
                    )
                if state in BUSY:
                    self._must_be_free(c, record.workload, doing)
                values = {"task": task, "wake_at": now, "news": k.c.news + 1, "progress": None}
                c.execute(
                    sa.update(k)
                    .where(k.c.id == checkpoint)
                    .values(state=state, reason="", **values)
                )
                self._event(c, now, f"checkpoint.{state}", record.workload, checkpoint, "")
        except sa.exc.IntegrityError as error:
            raise _second(checkpoint, doing, "another checkpoint") from error

    def _must_be_free(self, c: sa.Connection, workload: str, doing: str) -> None:
        k, m = t.checkpoints, t.migrations
        for what, query in (
            ("checkpoint", sa.select(k.c.id).where(k.c.workload == workload, k.c.state.in_(BUSY))),
            ("migration", sa.select(m.c.id).where(m.c.workload == workload, m.c.state.in_(ACTIVE))),
        ):
            if (other := c.execute(query).scalar()) is not None:
                raise _second(workload, doing, f"{what} {other}")

    def get(self, key: str, projects: Projects = None) -> CheckpointRecord:
        """By id, or by a beginning that no other id has. Raises NotFound, also for one of another
        project."""
        with self._db.read() as c:
            return self._get(c, key, projects)

    def _get(self, c: sa.Connection, key: str, projects: Projects = None) -> CheckpointRecord:
        k = t.checkpoints
        mine = rows.within(k.c.project, projects)
        like = sa.and_(k.c.id.startswith(key, autoescape=True), mine)
        found = c.execute(sa.select(k).where(like).limit(2)).all() if key else []
        exact = [row for row in found if row.id == key] or found
        if len(exact) != 1:
            many = "more than one begins so" if exact else "there is none"
            raise NotFound(
                f"cannot find the checkpoint {key!r}: {many}", "`porter checkpoint ls` lists them"
            )
        return rows.checkpoint(exact[0])

    def home(self, workload: str) -> WorkloadRecord | None:
        """What is known of a workload, also if no host has it any more."""
        with self._db.read() as c:
            return self._home(c, workload)

    def _home(self, c: sa.Connection, workload: str) -> WorkloadRecord | None:
        row = c.execute(sa.select(t.workloads).where(t.workloads.c.name == workload)).first()
        return None if row is None else rows.workload(row)

    # -- news from hosts --------------------------------------------------------------------

    def wake(self, command: str, now: float) -> str | None:
        """A command has ended: the checkpoint that somebody should advance, if it is one's."""
        k = t.checkpoints
        checkpoint = of_command(command)
        with self._db.write() as c:
            found = c.execute(
                sa.update(k)
                .where(k.c.id == checkpoint, k.c.state.in_(AT_WORK))
                .values(news=k.c.news + 1, wake_at=now)
            )
            return checkpoint if found.rowcount else None

    def note(self, command: str, news: Progress) -> None:
        """How far a host is, for people."""
        k = t.checkpoints
        with self._db.write() as c:
            c.execute(
                sa.update(k)
                .where(k.c.id == of_command(command), k.c.state.in_(AT_WORK))
                .values(progress=codec.dump(news))
            )

    # -- work -------------------------------------------------------------------------------

    def claim(self, checkpoint: str, now: float, lease: float) -> CheckpointClaim | None:
        """Take the lease. None if somebody else holds it, or nothing is to be done."""
        token = secrets.token_hex(8)
        k, w = t.checkpoints, t.commands
        free = sa.or_(k.c.lease_until.is_(None), k.c.lease_until < now)
        with self._db.write() as c:
            until = {"lease_token": token, "lease_until": now + lease, "wake_at": now + lease}
            won = c.execute(
                sa.update(k)
                .where(k.c.id == checkpoint, k.c.state.in_(AT_WORK), free)
                .values(**until)
            )
            if won.rowcount == 0:
                return None
            record = self._get(c, checkpoint)
            mine = w.c.id.startswith(f"{checkpoint}.{record.task['key']}.", autoescape=True)
            commands = c.execute(sa.select(w).where(mine).order_by(w.c.seq))
            return CheckpointClaim(
                token=token,
                checkpoint=record,
                commands=tuple(rows.command(row) for row in commands),
                hosts={row.id: rows.host(row) for row in c.execute(sa.select(t.hosts))},
                workload=self._home(c, record.workload),
            )

    def apply(self, claim: CheckpointClaim, change: CheckpointChange) -> bool | None:
        """Record an outcome and give the lease back. None: it was lost, nothing was written. True:
        there was news meanwhile."""
        k, record = t.checkpoints, claim.checkpoint
        with self._db.write() as c:
            mine = c.execute(
                sa.update(k)
                .where(k.c.id == record.id, k.c.lease_token == claim.token)
                .values(lease_token=None, lease_until=None, **_values(record, change))
            )
            if mine.rowcount == 0:
                return None
            for command in change.send:
                values = {"state": "queued", "created": change.now, **vars(command)}
                c.execute(
                    self._db.insert(t.commands)
                    .values(**values)
                    .on_conflict_do_nothing(index_elements=["id"])
                )
            if change.home is not None:
                self._rehome(c, record, change.home, change.now)
            for event in change.events:
                self._event(c, change.now, event.kind, record.workload, record.id, event.message)
            if change.forget:
                like = t.commands.c.id.startswith(change.forget, autoescape=True)
                c.execute(sa.delete(t.commands).where(like))
            news = self._get(c, record.id).news != record.news
            if change.gone:
                c.execute(sa.delete(k).where(k.c.id == record.id))
            return news and not change.gone

    def _rehome(self, c: sa.Connection, record: CheckpointRecord, home: Homing, now: float) -> None:
        """The workload's next generation lives there; or it is gone once more."""
        w = t.workloads
        if home.host is None:
            c.execute(sa.update(w).where(w.c.name == record.workload).values(state="gone"))
            rows.bump_network(c)
            return
        values: dict[str, Any] = {
            "host": home.host,
            "container": home.container,
            "container_name": home.container_name,
            "address": home.address,
            "generation": home.generation,
            "state": "running",
            "rival": None,
            "seen_at": now,
        }
        more = {"id": rows.new_id("w"), "image": home.image, "memory_bytes": 0}
        new = self._db.insert(w).values(name=record.workload, **more, **values)
        c.execute(new.on_conflict_do_update(index_elements=["name"], set_=values))
        rows.bump_network(c)

    def _event(
        self, c: sa.Connection, now: float, kind: str, workload: str, checkpoint: str, text: str
    ) -> None:
        message = f"checkpoint {checkpoint}: {text}" if text else f"checkpoint {checkpoint}"
        rows.add_event(c, now, kind, message, workload=workload, data={"checkpoint": checkpoint})

    def runnable(self, now: float, limit: int = 200) -> list[str]:
        """Checkpoints that somebody should advance."""
        k = t.checkpoints
        with self._db.read() as c:
            found = c.execute(
                sa.select(k.c.id)
                .where(
                    k.c.state.in_(AT_WORK),
                    sa.or_(k.c.lease_until.is_(None), k.c.lease_until < now),
                    sa.or_(k.c.wake_at.is_(None), k.c.wake_at <= now),
                )
                .order_by(k.c.wake_at)
                .limit(limit)
            )
            return [row.id for row in found]


def _recipient(host: HostRecord) -> dict[str, str]:
    return {"id": host.id, "name": host.name, "serial": host.serial}


def _values(record: CheckpointRecord, change: CheckpointChange) -> dict[str, Any]:
    values: dict[str, Any] = {
        "state": change.state,
        "reason": change.reason,
        "task": change.task,
        "wake_at": change.wake_at,
    }
    if change.result is not None:
        values["result"] = change.result
    if change.recipients is not None:
        values["recipients"] = change.recipients
    if change.state not in AT_WORK:
        values |= {"finished": record.finished or change.now, "progress": None}
    if change.home is not None or record.state is CheckpointState.RESTORING:
        values["restored"] = change.now
    return values


def _second(name: str, doing: str, other: str) -> Conflict:
    return Conflict(f"cannot {doing} {name}: {other} is at work on it", "wait until it has ended")
