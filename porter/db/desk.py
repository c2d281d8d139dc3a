"""Where commands wait for their hosts, and results for the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import CommandRecord, NewCommand
from porter.db.database import Database
from porter.domain.errors import NotFound
from porter.protocol import codec
from porter.protocol.messages import Command, Kind, Progress, Result

REDELIVER = 30.0
"""A fetched command of which nothing was heard for so many seconds is handed out again."""

_PULSE = sa.select(
    sa.select(sa.func.max(t.commands.c.seq)).scalar_subquery(),
    sa.select(sa.func.max(t.events.c.id)).scalar_subquery(),
    sa.select(t.settings.c.value).where(t.settings.c.key == rows.NETWORK_VERSION).scalar_subquery(),
)
"""One statement: it is asked twenty times a second."""


class Desk:
    """Commands from the control plane's side. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def send(self, commands: Sequence[NewCommand], now: float) -> None:
        """Queue commands that belong to no migration. Those already there stay as they are."""
        with self._db.write() as c:
            for command in commands:
                c.execute(
                    self._db.insert(t.commands)
                    .values(
                        id=command.id,
                        host=command.host,
                        migration=None,
                        step=command.step,
                        kind=command.kind,
                        payload=command.payload,
                        state="queued",
                        created=now,
                    )
                    .on_conflict_do_nothing(index_elements=["id"])
                )

    def read(self, prefix: str) -> tuple[CommandRecord, ...]:
        """Commands whose id begins so, oldest first."""
        with self._db.read() as c:
            found = c.execute(
                sa.select(t.commands)
                .where(t.commands.c.id.startswith(prefix, autoescape=True))
                .order_by(t.commands.c.seq)
            )
            return tuple(rows.command(row) for row in found)

    def forget(self, prefix: str) -> None:
        """Remove commands that belong to no migration."""
        with self._db.write() as c:
            c.execute(
                sa.delete(t.commands).where(
                    t.commands.c.migration.is_(None),
                    t.commands.c.id.startswith(prefix, autoescape=True),
                )
            )

    def fetch(self, host: str, now: float, resume: bool) -> tuple[Command, ...]:
        """Commands for a host, oldest first, each marked as sent.

        `resume`: the agent has just started, so it also gets what it fetched and never answered.
        """
        k = t.commands
        due = [k.c.state == "queued", sa.and_(k.c.state == "sent", k.c.sent < now - REDELIVER)]
        if resume:
            due.append(k.c.state == "sent")
        wanted = sa.and_(k.c.host == host, k.c.state != "done", sa.or_(*due))
        with self._db.read() as c:
            if c.execute(sa.select(k.c.seq).where(wanted).limit(1)).first() is None:
                return ()
        with self._db.write() as c:
            m = t.migrations
            began = sa.func.coalesce(m.c.request, "").label("request")
            found = c.execute(
                sa.select(k, began)
                .join(m, m.c.id == k.c.migration, isouter=True)
                .where(wanted)
                .order_by(k.c.seq)
            ).all()
            c.execute(
                sa.update(k)
                .where(k.c.seq.in_([row.seq for row in found]), k.c.state != "done")
                .values(state="sent", sent=now)
            )
        return tuple(
            Command(row.id, Kind(row.kind), row.migration, row.payload, row.request)
            for row in found
        )

    def finish(self, host: str, command_id: str, result: Result, now: float) -> str | None:
        """Record a result; the first one counts. Returns the migration to advance, if any.

        Raises NotFound for a command that this host was never given.
        """
        k = t.commands
        with self._db.write() as c:
            row = self._of(c, host, command_id)
            if row.state == "done":
                return None if row.migration is None else str(row.migration)
            c.execute(
                sa.update(k)
                .where(k.c.id == command_id)
                .values(state="done", done=now, result=codec.dump(result))
            )
            if row.migration is None:
                return None
            # Whoever advances right now has not seen this result: it must look again.
            m = t.migrations
            c.execute(
                sa.update(m)
                .where(m.c.id == row.migration)
                .values(
                    news=m.c.news + 1, wake_at=sa.case((m.c.wake_at < now, m.c.wake_at), else_=now)
                )
            )
            return str(row.migration)

    def progress(self, host: str, command_id: str, progress: Progress, now: float) -> None:
        """Pass on an agent's news. What comes after the result is dropped."""
        with self._db.write() as c:
            row = self._of(c, host, command_id)
            if row.state == "done":
                return
            c.execute(sa.update(t.commands).where(t.commands.c.id == command_id).values(sent=now))
            if row.migration is None:
                return
            m = t.migrations
            name, request = c.execute(
                sa.select(m.c.workload, m.c.request).where(m.c.id == row.migration)
            ).one()
            rows.add_event(
                c,
                now,
                "progress",
                progress.message or progress.phase,
                migration=row.migration,
                workload=name,
                data={"host": host, "step": row.step, "command": row.kind, **codec.dump(progress)},
                request=request,
            )

    def _of(self, c: sa.Connection, host: str, command_id: str) -> sa.Row[Any]:
        row = c.execute(
            sa.select(t.commands).where(t.commands.c.id == command_id, t.commands.c.host == host)
        ).first()
        if row is None:
            raise NotFound(f"cannot find the command {command_id!r} for this host")
        return row

    def pulse(self) -> tuple[int, int, int]:
        """Newest command, newest event, network version: any change is a reason to look."""
        with self._db.read() as c:
            commands, events, network = c.execute(_PULSE).one()
            return commands or 0, events or 0, network
