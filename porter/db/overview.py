"""The whole fleet in a few numbers: every query here is an aggregate or bounded."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import ACTIVE, ALIVE_FOR
from porter.db.database import Database
from porter.domain.identity import Projects
from porter.domain.migration import MigrationState, StepState

MOST = 200
"""So many migrations, and so many alerts of a kind, are told at most."""


@dataclass(frozen=True)
class Berth:
    """A host. Memory in bytes, None before it has told; `price` an hour, None if unknown."""

    id: str
    name: str
    site: str
    joined: bool
    alive: bool
    silent_s: float
    workloads: int
    memory_total: int | None
    memory_used: int | None
    price: Decimal | None
    currency: str


@dataclass(frozen=True)
class Underway:
    id: str
    workload: str
    source: str
    target: str
    state: str
    phase: str | None
    done: int
    total: int
    """Bytes of what the phase is doing now, 0 where nobody told."""
    reason: str


@dataclass(frozen=True)
class Rivalry:
    """A container that runs where its workload does not live."""

    workload: str
    host: str


@dataclass(frozen=True)
class Adrift:
    """A machine that Porter made and that no host is known for any more."""

    host: str
    site: str


@dataclass(frozen=True)
class Fleet:
    sites: list[str]
    """Those that were added, with or without hosts."""
    hosts: list[Berth]
    workloads: dict[tuple[str, str], int]
    """(site, state) -> how many; site "" for those on no host."""
    active: int
    """Migrations under way, of which `moves` has the newest."""
    moves: list[Underway]
    rivals: list[Rivalry]
    adrift: list[Adrift]


class Overview:
    """One transaction that only reads."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def fleet(self, projects: Projects, now: float) -> Fleet:
        """As somebody sees it who may see these projects."""
        with self._db.read() as c:
            counts = self._counts(c, projects)
            living: dict[str, int] = {}
            for host, _, _, number in counts:
                living[host] = living.get(host, 0) + number
            states: dict[tuple[str, str], int] = {}
            for _, site, state, number in counts:
                states[site, state] = states.get((site, state), 0) + number
            active, moves = self._moves(c, projects)
            return Fleet(
                sites=list(c.execute(sa.select(t.sites.c.name)).scalars()),
                hosts=self._hosts(c, living, now),
                workloads=states,
                active=active,
                moves=moves,
                rivals=self._rivals(c, projects),
                adrift=self._adrift(c),
            )

    def _counts(self, c: sa.Connection, projects: Projects) -> list[tuple[str, str, str, int]]:
        w, h = t.workloads, t.hosts
        site, host = sa.func.coalesce(h.c.site, ""), sa.func.coalesce(w.c.host, "")
        query = (
            sa.select(host, site, w.c.state, sa.func.count())
            .join(h, h.c.id == w.c.host, isouter=True)
            .where(w.c.state != "gone", rows.within(w.c.project, projects))
            .group_by(host, site, w.c.state)
        )
        return [(str(a), str(b), str(s), int(n)) for a, b, s, n in c.execute(query)]

    def _hosts(self, c: sa.Connection, living: dict[str, int], now: float) -> list[Berth]:
        h = t.hosts
        prices = self._prices(c)
        query = sa.select(
            h.c.id,
            h.c.name,
            h.c.site,
            h.c.serial,
            h.c.last_seen,
            h.c.joined_at,
            _bytes(h.c.facts["memory_total"]).label("total"),
            _bytes(h.c.facts["memory_free"]).label("free"),
        ).order_by(h.c.site, h.c.name)
        return [
            _berth(row, living.get(row.id, 0), prices.get(row.id), now) for row in c.execute(query)
        ]

    def _prices(self, c: sa.Connection) -> dict[str, tuple[Decimal, str]]:
        """What machines that Porter made cost an hour, by the quote they were made for."""
        i = t.instances
        found: dict[str, tuple[Decimal, str]] = {}
        for row in c.execute(sa.select(i.c.host, i.c.quote).where(i.c.state != "gone")):
            quote: dict[str, Any] = row.quote or {}
            try:
                amount = Decimal(str(quote["amount"]))
            except (KeyError, InvalidOperation):
                continue
            if amount.is_finite() and quote.get("unit") == "hour":
                found[row.host] = (amount, str(quote.get("currency", "")))
        return found

    def _moves(self, c: sa.Connection, projects: Projects) -> tuple[int, list[Underway]]:
        m, s = t.migrations, t.steps
        mine = sa.and_(m.c.state.in_(ACTIVE), rows.within(m.c.project, projects))
        number = c.execute(sa.select(sa.func.count()).select_from(m).where(mine)).scalar_one()
        running = sa.and_(s.c.migration == m.c.id, s.c.state == StepState.RUNNING)
        query = (
            sa.select(m, s.c.kind.label("phase"))
            .join(s, running, isouter=True)
            .where(mine)
            # What needs a person stands first.
            .order_by(m.c.state != MigrationState.HELD, m.c.created.desc(), m.c.id, s.c.seq.desc())
            .limit(MOST * 2)
        )
        found: dict[str, sa.Row[Any]] = {}
        for row in c.execute(query):
            found.setdefault(row.id, row)
        progress = self._progress(c, list(found))
        moves = [
            Underway(
                id=row.id,
                workload=row.workload,
                source=row.source_name,
                target=row.target_name,
                state=row.state,
                phase=row.phase,
                done=progress.get(row.id, (0, 0))[0],
                total=progress.get(row.id, (0, 0))[1],
                reason=row.reason,
            )
            for row in list(found.values())[:MOST]
        ]
        return int(number), moves

    def _progress(self, c: sa.Connection, migrations: list[str]) -> dict[str, tuple[int, int]]:
        e = t.events
        newest = (
            sa.select(sa.func.max(e.c.id))
            .where(e.c.migration.in_(migrations), e.c.kind == "progress")
            .group_by(e.c.migration)
        )
        found = c.execute(sa.select(e.c.migration, e.c.data).where(e.c.id.in_(newest)))
        return {
            row.migration: (int(row.data.get("done", 0)), int(row.data.get("total", 0)))
            for row in found
        }

    def _rivals(self, c: sa.Connection, projects: Projects) -> list[Rivalry]:
        w, h = t.workloads, t.hosts
        query = (
            sa.select(w.c.name, h.c.name.label("host"))
            .join(h, h.c.id == w.c.rival)
            .where(w.c.state != "gone", rows.within(w.c.project, projects))
            .order_by(w.c.name)
            .limit(MOST)
        )
        return [Rivalry(row.name, row.host) for row in c.execute(query)]

    def _adrift(self, c: sa.Connection) -> list[Adrift]:
        i, h = t.instances, t.hosts
        query = (
            sa.select(i.c.host_name, i.c.site)
            .join(h, h.c.id == i.c.host, isouter=True)
            .where(i.c.state == "running", h.c.id.is_(None))
            .order_by(i.c.host_name)
            .limit(MOST)
        )
        return [Adrift(row.host_name, row.site) for row in c.execute(query)]


def _bytes(value: Any) -> sa.ColumnElement[int]:
    return sa.cast(value.as_string(), sa.BigInteger)


def _berth(
    row: sa.Row[Any], workloads: int, price: tuple[Decimal, str] | None, now: float
) -> Berth:
    silent = now - (row.joined_at if row.last_seen is None else row.last_seen)
    known = row.total is not None and row.free is not None
    return Berth(
        id=row.id,
        name=row.name,
        site=row.site,
        joined=bool(row.serial),
        alive=row.last_seen is not None and silent < ALIVE_FOR,
        silent_s=silent,
        workloads=workloads,
        memory_total=row.total,
        memory_used=row.total - row.free if known else None,
        price=None if price is None else price[0],
        currency="" if price is None else price[1],
    )
