"""Events of the whole fleet, in an order that stays.

Transactions may end in another order than their events were numbered. So an event that follows a
gap is held back until the gap is filled or the event is `SETTLE` seconds old: whoever goes on after
a number, at any replica, then misses nothing. A transaction that stays open for longer than that
after it wrote an event would be missed; Porter's are short.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import EventRecord
from porter.db.database import Database
from porter.domain.cloudevents import cloudevent
from porter.domain.identity import Projects

SETTLE = 5.0


def told(event: EventRecord) -> dict[str, Any]:
    """The event as a CloudEvent."""
    return cloudevent(
        event.id,
        event.at,
        event.kind,
        event.message,
        event.data,
        migration=event.migration,
        workload=event.workload,
        project=event.project,
        request=event.request,
    )


class Happenings:
    """Every method is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def settled(self, after: int, now: float, limit: int = 500) -> list[EventRecord]:
        """What follows the number, as far as its order is certain. Of all projects."""
        e = t.events
        query = sa.select(e).where(e.c.id > after).order_by(e.c.id).limit(limit)
        found: list[EventRecord] = []
        with self._db.read() as c:
            for row in c.execute(query):
                if row.id != after + 1 and row.at > now - SETTLE:
                    break
                found.append(rows.event(row))
                after = row.id
        return found

    def newest(self, now: float) -> int:
        """The number up to which the order is certain; 0 if nothing has happened."""
        e = t.events
        query = sa.select(e.c.id).where(e.c.at <= now - SETTLE).order_by(e.c.id.desc()).limit(1)
        with self._db.read() as c:
            newest = int(c.execute(query).scalar() or 0)
        while found := self.settled(newest, now):
            newest = found[-1].id
        return newest

    def between(
        self,
        after: int,
        until: int,
        projects: Projects,
        limit: int,
        *,
        kind: str = "",
        project: str | None = None,
        workload: str | None = None,
        migration: str | None = None,
    ) -> list[EventRecord]:
        """Numbered above `after` and up to `until`, oldest first; `kind` is how kinds begin."""
        e = t.events
        query = sa.select(e).where(
            e.c.id > after, e.c.id <= until, rows.within(e.c.project, projects)
        )
        if kind:
            query = query.where(e.c.kind.startswith(kind, autoescape=True))
        wanted = ((e.c.project, project), (e.c.workload, workload), (e.c.migration, migration))
        for column, value in wanted:
            if value is not None:
                query = query.where(column == value)
        with self._db.read() as c:
            return [rows.event(row) for row in c.execute(query.order_by(e.c.id).limit(limit))]
