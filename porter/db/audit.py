"""The audit trail in the database. Triggers there refuse to change or delete what was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.database import Database
from porter.domain.audit import Anchor, Entry, follow
from porter.domain.identity import Projects

CHAIN_LOCK = 0x506F727465AD
"""Number of the PostgreSQL advisory lock under which the trail grows."""
AT_ONCE = 1000


@dataclass(frozen=True)
class Query:
    """What to list; empty fields leave it open. Times in seconds since the epoch."""

    actor: str = ""
    action: str = ""
    """The action itself, or what it begins or ends with."""
    project: str | None = None
    outcome: str = ""
    since: float | None = None
    until: float | None = None


class Audit:
    """Every method is one transaction, `stream` one for every AT_ONCE entries."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def append(self, entry: Entry) -> Entry:
        """Write an entry behind the last one. Returns it as it stands there."""
        with self._db.write() as c:
            self._db.alone(c, CHAIN_LOCK)
            placed = follow(self._head(c), entry)
            c.execute(sa.insert(t.audit).values(**asdict(placed)))
            return placed

    def head(self) -> Anchor | None:
        """Number and hash of the last entry."""
        with self._db.read() as c:
            return self._head(c)

    def _head(self, c: sa.Connection) -> Anchor | None:
        a = t.audit
        row = c.execute(sa.select(a.c.seq, a.c.hash).order_by(a.c.seq.desc()).limit(1)).first()
        return None if row is None else Anchor(row.seq, row.hash)

    def list(
        self, query: Query, projects: Projects, before: int | None, limit: int
    ) -> tuple[Entry, ...]:
        """Newest first, from before the entry of that number on."""
        a = t.audit
        wanted: list[sa.ColumnElement[bool]] = [rows.within(a.c.project, projects)]
        if before is not None:
            wanted.append(a.c.seq < before)
        for column, value in ((a.c.actor, query.actor), (a.c.outcome, query.outcome)):
            if value:
                wanted.append(column == value)
        if query.action:
            action = query.action
            wanted.append(
                sa.or_(
                    a.c.action.startswith(action, autoescape=True),
                    a.c.action.endswith(action, autoescape=True),
                )
            )
        if query.project is not None:
            wanted.append(a.c.project == query.project)
        if query.since is not None:
            wanted.append(a.c.at >= query.since)
        if query.until is not None:
            wanted.append(a.c.at < query.until)
        with self._db.read() as c:
            found = c.execute(sa.select(a).where(*wanted).order_by(a.c.seq.desc()).limit(limit))
            return tuple(_entry(row) for row in found)

    def stream(self, until: int) -> Iterator[Entry]:
        """All entries, oldest first, to the one of that number."""
        a, after = t.audit, 0
        while True:
            with self._db.read() as c:
                found = c.execute(
                    sa.select(a)
                    .where(a.c.seq > after, a.c.seq <= until)
                    .order_by(a.c.seq)
                    .limit(AT_ONCE)
                ).all()
            yield from (_entry(row) for row in found)
            if len(found) < AT_ONCE:
                return
            after = found[-1].seq


def _entry(row: sa.Row[Any]) -> Entry:
    return Entry(**row._mapping)
