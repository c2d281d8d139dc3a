"""Lists in pages: each page is a fixed number of queries, however long it is.

A page begins after a key: the values of the columns by which the list is ordered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import (
    ACTIVE,
    ALIVE_FOR,
    CheckpointRecord,
    HostRecord,
    InstanceRecord,
    StepRecord,
    WorkloadRecord,
)
from porter.db.database import Database
from porter.db.found import get_workload
from porter.db.moves import Story
from porter.domain.identity import Projects

T = TypeVar("T")
Key = tuple[str | float, ...]


@dataclass(frozen=True)
class Page(Generic[T]):
    items: list[T]
    next: Key | None = None
    """Where the next page begins; None: there is none."""


@dataclass(frozen=True)
class Placed:
    """A workload, where it is and what moves it right now."""

    workload: WorkloadRecord
    host: str | None
    site: str | None
    migration: str | None


@dataclass(frozen=True)
class Manned:
    """A host with the names of its workloads, and the machine that it is, if Porter made it."""

    host: HostRecord
    workloads: tuple[str, ...]
    machine: InstanceRecord | None


class Listing:
    """Every method is one transaction. `projects` are those that the caller may see."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def workloads(
        self,
        projects: Projects,
        limit: int,
        after: Key = (),
        *,
        host: str | None = None,
        site: str | None = None,
        state: str | None = None,
        project: str | None = None,
        prefix: str | None = None,
    ) -> Page[Placed]:
        """By name; `host` is a name or an id."""
        w, h, m = t.workloads, t.hosts, t.migrations
        moving = sa.and_(m.c.workload_id == w.c.id, m.c.state.in_(ACTIVE))
        query = (
            sa.select(w, h.c.name.label("host_name"), h.c.site, m.c.id.label("moved_by"))
            .join(h, h.c.id == w.c.host, isouter=True)
            .join(m, moving, isouter=True)
            .where(w.c.state != "gone", rows.within(w.c.project, projects))
            .order_by(w.c.name)
        )
        if host is not None:
            query = query.where(sa.or_(h.c.name == host, h.c.id == host))
        if prefix:
            query = query.where(w.c.name.startswith(prefix, autoescape=True))
        query = _equal(query, (h.c.site, site), (w.c.state, state), (w.c.project, project))
        if after:
            query = query.where(w.c.name > after[0])
        with self._db.read() as c:
            found = c.execute(query.limit(limit + 1)).all()
        placed = [
            Placed(rows.workload(row), row.host_name, row.site, row.moved_by) for row in found
        ]
        return _page(placed, limit, lambda one: (one.workload.name,))

    def workload(self, name: str, projects: Projects) -> Placed:
        """Raises NotFound for one that no host has, or that belongs to another project."""
        h, m = t.hosts, t.migrations
        with self._db.read() as c:
            found = get_workload(c, name, projects)
            home = c.execute(sa.select(h.c.name, h.c.site).where(h.c.id == found.host)).first()
            moving = sa.and_(m.c.workload_id == found.id, m.c.state.in_(ACTIVE))
            moved_by = c.execute(sa.select(m.c.id).where(moving)).scalar()
        return Placed(found, home and home.name, home and home.site, moved_by)

    def host(self, key: str, projects: Projects) -> Manned:
        """By id or name. Raises NotFound."""
        with self._db.read() as c:
            found = rows.get_host(c, key)
            names = self._names(c, [found.id], projects)[found.id]
            return Manned(found, tuple(names), self._machines(c, [found.id]).get(found.id))

    def sites(self, projects: Projects) -> dict[str, tuple[list[str], list[str]]]:
        """Names of the hosts and of the workloads at every site that has hosts."""
        h, w = t.hosts, t.workloads
        here = sa.and_(w.c.state != "gone", rows.within(w.c.project, projects))
        living = sa.select(h.c.site, w.c.name).join(w, w.c.host == h.c.id).where(here)
        found = defaultdict[str, tuple[list[str], list[str]]](lambda: ([], []))
        with self._db.read() as c:
            for row in c.execute(sa.select(h.c.site, h.c.name).order_by(h.c.name)):
                found[row.site][0].append(row.name)
            for row in c.execute(living.order_by(w.c.name)):
                found[row.site][1].append(row.name)
        return dict(found)

    def hosts(
        self,
        projects: Projects,
        limit: int,
        now: float,
        after: Key = (),
        *,
        site: str | None = None,
        alive: bool | None = None,
    ) -> Page[Manned]:
        """By name, each with those of its workloads that the caller may see."""
        h = t.hosts
        query = _equal(sa.select(h).order_by(h.c.name), (h.c.site, site))
        if alive is not None:
            heard = sa.func.coalesce(h.c.last_seen, 0) > now - ALIVE_FOR
            query = query.where(heard if alive else sa.not_(heard))
        if after:
            query = query.where(h.c.name > after[0])
        with self._db.read() as c:
            found = [rows.host(row) for row in c.execute(query.limit(limit + 1))]
            names = self._names(c, [one.id for one in found], projects)
            machines = self._machines(c, [one.id for one in found])
        manned = [Manned(one, tuple(names[one.id]), machines.get(one.id)) for one in found]
        return _page(manned, limit, lambda one: (one.host.name,))

    def _names(
        self, c: sa.Connection, hosts: Sequence[str], projects: Projects
    ) -> dict[str, list[str]]:
        w = t.workloads
        here = sa.and_(w.c.host.in_(hosts), w.c.state != "gone", rows.within(w.c.project, projects))
        names = defaultdict[str, list[str]](list)
        for row in c.execute(sa.select(w.c.host, w.c.name).where(here).order_by(w.c.name)):
            names[row.host].append(row.name)
        return names

    def _machines(self, c: sa.Connection, hosts: Sequence[str]) -> dict[str, InstanceRecord]:
        i = t.instances
        standing = sa.and_(i.c.host.in_(hosts), i.c.state != "gone")
        found = c.execute(sa.select(i).where(standing).order_by(i.c.created))
        return {row.host: rows.instance(row) for row in found}

    def migrations(
        self,
        projects: Projects,
        limit: int,
        after: Key = (),
        *,
        workload: str | None = None,
        state: str | None = None,
        project: str | None = None,
        since: float | None = None,
    ) -> Page[Story]:
        """Newest first; `since` is when they were asked for at the earliest."""
        m = t.migrations
        query = sa.select(m).where(rows.within(m.c.project, projects))
        query = _equal(query, (m.c.workload, workload), (m.c.state, state), (m.c.project, project))
        if since is not None:
            query = query.where(m.c.created >= since)
        query = _newest(query, m, after)
        with self._db.read() as c:
            found = [rows.migration(row) for row in c.execute(query.limit(limit + 1))]
            steps = self._steps(c, [one.id for one in found])
        stories = [Story(one, tuple(steps[one.id])) for one in found]
        return _page(stories, limit, lambda one: (one.migration.created, one.migration.id))

    def _steps(self, c: sa.Connection, migrations: Sequence[str]) -> dict[str, list[StepRecord]]:
        s = t.steps
        steps = defaultdict[str, list[StepRecord]](list)
        query = sa.select(s).where(s.c.migration.in_(migrations)).order_by(s.c.seq)
        for row in c.execute(query):
            steps[row.migration].append(rows.step(row))
        return steps

    def checkpoints(
        self,
        projects: Projects,
        limit: int,
        after: Key = (),
        *,
        workload: str | None = None,
        state: str | None = None,
        project: str | None = None,
    ) -> Page[CheckpointRecord]:
        """Newest first."""
        k = t.checkpoints
        query = sa.select(k).where(rows.within(k.c.project, projects))
        query = _equal(query, (k.c.workload, workload), (k.c.state, state), (k.c.project, project))
        query = _newest(query, k, after)
        with self._db.read() as c:
            found = [rows.checkpoint(row) for row in c.execute(query.limit(limit + 1))]
        return _page(found, limit, lambda one: (one.created, one.id))


def _equal(query: Any, *wanted: tuple[sa.Column[Any], str | None]) -> Any:
    """Only rows that have these values; None: any."""
    for column, value in wanted:
        if value is not None:
            query = query.where(column == value)
    return query


def _newest(query: Any, table: sa.Table, after: Key) -> Any:
    created, identity = table.c.created, table.c.id
    if after:
        at, key = after
        older = sa.or_(created < at, sa.and_(created == at, identity < key))
        query = query.where(older)
    return query.order_by(created.desc(), identity.desc())


def _page(found: list[T], limit: int, key: Any) -> Page[T]:
    """A page of what was read with one row more than a page has."""
    if len(found) <= limit:
        return Page(found)
    return Page(found[:limit], key(found[limit - 1]))
