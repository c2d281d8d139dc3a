"""What monitoring wants to know of the whole control plane, whichever replica is asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from porter.db import tables as t
from porter.db.base import ACTIVE, ALIVE_FOR
from porter.db.database import Database
from porter.domain.migration import FINAL, StepState

DOWNTIME_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
TOTAL_S = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
WIRE = tuple(float(4**power * 2**20) for power in range(10))
"""Bytes: 1 MiB to 256 GiB."""
STEP_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True)
class Spread:
    """A histogram: how many are at most each bound, how many in all, and their sum."""

    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    sum: float


@dataclass(frozen=True)
class Heard:
    """A host, and the seconds since its last heartbeat; None: it has not joined yet."""

    name: str
    site: str
    age: float | None

    @property
    def alive(self) -> bool:
        return self.age is not None and self.age < ALIVE_FOR


@dataclass(frozen=True)
class Figures:
    """Counts by labels. Durations in seconds, sizes in bytes."""

    active: dict[tuple[str, str], int]
    """By state and mode."""
    ended: dict[tuple[str, str], int]
    downtime: list[Spread]
    """By mode, as the next two."""
    total: list[Spread]
    wire: list[Spread]
    steps: list[Spread]
    """By kind."""
    failed_steps: dict[str, int]
    hosts: list[Heard]
    overdue: float
    """So long the migration that waits longest has been due with nobody at work on it."""
    unfetched: float
    """So long the oldest command has waited for its host."""
    deliveries: dict[str, int]
    """By state."""
    audited: int


def figures(database: Database, now: float) -> Figures:
    """All of them, in one transaction."""
    m, s, d = t.migrations, t.steps, t.deliveries
    real = sa.func.coalesce(m.c.receipt["mode"].as_string(), m.c.mode)
    ended = m.c.state.in_(FINAL)
    with database.read() as c:
        return Figures(
            active=_counts(c, (m.c.state, m.c.mode), m.c.state.in_(ACTIVE)),
            ended=_counts(c, (m.c.state, real), ended),
            downtime=_spread(c, real, m.c.receipt["downtime_ms"].as_float() / 1e3, DOWNTIME_S),
            total=_spread(c, real, m.c.receipt["total_ms"].as_float() / 1e3, TOTAL_S),
            wire=_spread(c, real, m.c.receipt[("bytes", "wire")].as_float(), WIRE),
            steps=_spread(c, s.c.kind, s.c.ended - s.c.started, STEP_S),
            failed_steps={
                row[0]: row[1]
                for row in c.execute(
                    sa.select(s.c.kind, sa.func.count())
                    .where(sa.or_(s.c.state == StepState.FAILED, s.c.error != ""))
                    .group_by(s.c.kind)
                )
            },
            hosts=_hosts(c, now),
            overdue=_overdue(c, now),
            unfetched=_age(
                c,
                sa.select(sa.func.min(t.commands.c.created)).where(t.commands.c.state == "queued"),
                now,
            ),
            deliveries={
                row[0]: row[1]
                for row in c.execute(sa.select(d.c.state, sa.func.count()).group_by(d.c.state))
            },
            audited=c.execute(sa.select(sa.func.max(t.audit.c.seq))).scalar() or 0,
        )


def probe(database: Database) -> float:
    """Seconds that one small transaction takes now. Raises Transient."""
    begun = time.perf_counter()
    with database.read() as c:
        c.execute(sa.select(t.settings.c.value).limit(1)).first()
    return time.perf_counter() - begun


def _counts(
    c: sa.Connection, columns: Sequence[Any], where: sa.ColumnElement[bool]
) -> dict[tuple[str, str], int]:
    found = c.execute(sa.select(*columns, sa.func.count()).where(where).group_by(*columns))
    return {(row[0], row[1]): row[2] for row in found}


def _spread(c: sa.Connection, label: Any, value: Any, bounds: tuple[float, ...]) -> list[Spread]:
    sums = [sa.func.sum(sa.case((value <= bound, 1), else_=0)) for bound in bounds]
    query = (
        sa.select(label, *sums, sa.func.count(value), sa.func.sum(value))
        .where(value.is_not(None))
        .group_by(label)
    )
    return [
        Spread((row[0],), bounds, tuple(map(int, row[1:-2])), int(row[-2]), float(row[-1]))
        for row in c.execute(query)
    ]


def _hosts(c: sa.Connection, now: float) -> list[Heard]:
    h = t.hosts
    found = c.execute(sa.select(h.c.name, h.c.site, h.c.last_seen).order_by(h.c.name))
    return [
        Heard(row.name, row.site, None if row.last_seen is None else max(0.0, now - row.last_seen))
        for row in found
    ]


def _overdue(c: sa.Connection, now: float) -> float:
    m = t.migrations
    free = sa.or_(m.c.lease_until.is_(None), m.c.lease_until < now)
    since = sa.func.min(sa.func.coalesce(m.c.wake_at, m.c.created))
    return _age(c, sa.select(since).where(m.c.state.in_(ACTIVE), free), now)


def _age(c: sa.Connection, query: sa.Select[Any], now: float) -> float:
    since = c.execute(query).scalar()
    return 0.0 if since is None else max(0.0, now - since)
