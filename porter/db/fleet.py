"""The whole fleet at one moment, for the optimiser: one read, so that all of it fits together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import ACTIVE, HostRecord, InstanceRecord, WorkloadRecord
from porter.db.database import Database
from porter.domain.migration import StepKind, StepState

EXECUTING = "executing"
PRESENT = ("running", "paused")


@dataclass(frozen=True)
class Busy:
    """What a proposal that is being carried out still needs."""

    proposal: str
    workloads: frozenset[str]
    targets: frozenset[str]
    """Names of hosts and new machines to which it moves something."""
    ended: frozenset[str]
    """Names of hosts that it ends."""


@dataclass(frozen=True)
class Fleet:
    hosts: dict[str, HostRecord]
    """By id."""
    machines: dict[str, InstanceRecord]
    """By host's id: those that Porter made and that are not gone."""
    workloads: dict[str, WorkloadRecord]
    """By name; only those that run on a known host."""
    moving: dict[str, str]
    """Workload -> its active migration."""
    looks: dict[str, tuple[str, dict[str, Any]]]
    """Workload -> the newest migration that looked at it, and the spec that it saw."""
    begun: dict[str, float]
    """Workload -> when a proposal last began to move it."""
    busy: tuple[Busy, ...]


class Fleets:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def read(self) -> Fleet:
        """All that there is now."""
        h, i, w, m = t.hosts, t.instances, t.workloads, t.migrations
        with self._db.read() as c:
            hosts = [rows.host(row) for row in c.execute(sa.select(h).order_by(h.c.name))]
            standing = c.execute(sa.select(i).where(i.c.state != "gone").order_by(i.c.created))
            machines = {row.host: rows.instance(row) for row in standing}
            here = sa.and_(w.c.host.is_not(None), w.c.state.in_(PRESENT))
            found = c.execute(sa.select(w).where(here).order_by(w.c.name))
            workloads = {row.name: rows.workload(row) for row in found}
            active = c.execute(sa.select(m.c.workload, m.c.id).where(m.c.state.in_(ACTIVE)))
            return Fleet(
                hosts={host.id: host for host in hosts},
                machines=machines,
                workloads=workloads,
                moving={row.workload: row.id for row in active},
                looks=_looks(c),
                begun=_begun(c),
                busy=_busy(c),
            )


def _looks(c: sa.Connection) -> dict[str, tuple[str, dict[str, Any]]]:
    m, s = t.migrations, t.steps
    done = sa.and_(s.c.kind == StepKind.PREFLIGHT, s.c.state == StepState.DONE)
    newest = (
        sa.select(m.c.workload, sa.func.max(m.c.created).label("created"))
        .join(s, s.c.migration == m.c.id)
        .where(done)
        .group_by(m.c.workload)
        .subquery()
    )
    same = sa.and_(newest.c.workload == m.c.workload, newest.c.created == m.c.created)
    query = (
        sa.select(m.c.workload, m.c.id, s.c.output)
        .join(newest, same)
        .join(s, s.c.migration == m.c.id)
        .where(done)
    )
    return {
        row.workload: (row.id, (row.output or {}).get("spec") or {}) for row in c.execute(query)
    }


def _begun(c: sa.Connection) -> dict[str, float]:
    v = t.proposal_moves
    query = sa.select(v.c.workload, sa.func.max(v.c.begun).label("at")).where(
        v.c.begun.is_not(None)
    )
    return {row.workload: float(row.at) for row in c.execute(query.group_by(v.c.workload))}


def _busy(c: sa.Connection) -> tuple[Busy, ...]:
    p = t.proposals
    found = c.execute(sa.select(p.c.id, p.c.content).where(p.c.state == EXECUTING))
    return tuple(
        Busy(
            proposal=row.id,
            workloads=frozenset(move["workload"] for move in row.content["moves"]),
            targets=frozenset(move["to"] for move in row.content["moves"]),
            ended=frozenset(row.content["ended"]),
        )
        for row in found
    )
