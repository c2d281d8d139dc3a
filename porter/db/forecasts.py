"""What past moves came to, and what had been forecast of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.database import Database
from porter.domain.estimate import Features, Past
from porter.domain.identity import Projects
from porter.domain.migration import MigrationState

RECENT = 100
"""So many of the newest moves of all are looked at …"""
NEAR = 30
"""… and so many of a workload and between two hosts, however old."""
_SENDING = ("dump", "transfer")


@dataclass(frozen=True)
class Kept:
    """A forecast, and the receipt that followed."""

    migration: str
    forecast: dict[str, Any]
    receipt: dict[str, Any]


class Forecasts:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def past(self, workload: str = "", source: str = "", target: str = "") -> list[Past]:
        """Moves that have ended, newest first: the newest of all, and those of a workload and
        between two hosts (ids). What people cancelled says nothing and is left out."""
        m = t.migrations
        # Ids first: sorting whole rows, receipts and all, takes many times as long.
        base = (
            sa.select(m.c.id)
            .where(m.c.finished.is_not(None))
            .where(sa.or_(m.c.state == MigrationState.SUCCEEDED, ~m.c.cancel_requested))
            .order_by(m.c.created.desc())
        )
        queries = [base.limit(RECENT)]
        if workload:
            queries.append(base.where(m.c.workload == workload).limit(NEAR))
        if source and target:
            pair = sa.and_(m.c.source == source, m.c.target == target)
            queries.append(base.where(pair).limit(NEAR))
        with self._db.read() as c:
            ids = {identity for query in queries for identity in c.execute(query).scalars()}
            found = c.execute(_WHOLE.where(m.c.id.in_(ids), m.c.receipt.is_not(None))).all()
        return [_past(row) for row in found]

    def kept(
        self, projects: Projects = None, workload: str | None = None, limit: int = 1000
    ) -> list[Kept]:
        """Forecasts of moves that succeeded, newest first."""
        m = t.migrations
        query = (
            sa.select(m.c.id, m.c.forecast, m.c.receipt)
            .where(m.c.state == MigrationState.SUCCEEDED, m.c.forecast.is_not(None))
            .where(m.c.receipt.is_not(None), rows.within(m.c.project, projects))
            .order_by(m.c.created.desc(), m.c.id.desc())
            .limit(limit)
        )
        if workload is not None:
            query = query.where(m.c.workload == workload)
        with self._db.read() as c:
            return [Kept(row.id, row.forecast, row.receipt) for row in c.execute(query)]


def _site(host: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Where a host is or was; of one that nobody knows any more, itself."""
    h, i = t.hosts, t.instances
    standing = sa.select(h.c.site).where(h.c.id == host).limit(1).scalar_subquery()
    removed = sa.select(i.c.site).where(i.c.host == host).limit(1).scalar_subquery()
    return sa.func.coalesce(standing, removed, host)


_M = t.migrations
_WHOLE = sa.select(
    *(_M.c.workload, _M.c.source, _M.c.target, _M.c.mode, _M.c.plan, _M.c.state),
    *(_M.c.forecast, _M.c.receipt),
    _site(_M.c.source).label("here"),
    _site(_M.c.target).label("there"),
).order_by(_M.c.created.desc())


def _past(row: sa.Row[Any]) -> Past:
    receipt = row.receipt
    moved = receipt.get("bytes") or {}
    phases = receipt.get("phases") or ()
    sent = sum(float(one["ms"]) for one in phases if one.get("name") in _SENDING)
    return Past(
        features=_features(row, moved),
        succeeded=row.state == MigrationState.SUCCEEDED,
        downtime_ms=receipt.get("downtime_ms"),
        total_ms=receipt.get("total_ms"),
        wire=moved.get("wire") or None,
        wire_frozen=float(moved.get("wire_frozen") or 0),
        sent_ms=sent,
    )


def _features(row: sa.Row[Any], moved: dict[str, Any]) -> Features:
    """As they were known beforehand, where that was kept: what forecasts do not know is a part of
    their error."""
    known = (row.forecast or {}).get("features") or {}
    if known.get("files") is None:
        known = {**known, **{key: moved.get(key) or 0 for key in ("memory", "files", "image")}}
    return Features(
        workload=row.workload,
        source=row.source,
        target=row.target,
        source_site=row.here,
        target_site=row.there,
        mode=str(row.receipt.get("mode") or row.mode),
        memory=int(known.get("memory") or 0),
        files=int(known.get("files") or 0),
        image=int(known.get("image") or 0),
        provision=bool(row.plan.get("provision")),
    )
