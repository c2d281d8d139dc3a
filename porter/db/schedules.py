"""Schedules: when the optimiser is asked by itself, about what, and what becomes of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.database import Database
from porter.domain.errors import NotFound
from porter.domain.identity import Projects


@dataclass(frozen=True)
class ScheduleRecord:
    name: str
    project: str
    """FLEET: it is about workloads of all projects."""
    cron: str
    zone: str
    spec: dict[str, Any]
    """Scope of its runs, `auto`, `grace`, `price_change` and `interruption`."""
    prices: list[dict[str, Any]] | None
    """Quotes that its last run rested on: price changes are measured against them."""
    looked: float | None
    """When prices were last compared with those."""
    created: float
    updated: float
    updated_by: str


class Schedules:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self, projects: Projects = None) -> list[ScheduleRecord]:
        """By name."""
        s = t.schedules
        with self._db.read() as c:
            mine = rows.within(s.c.project, projects)
            found = c.execute(sa.select(s).where(mine).order_by(s.c.name))
            return [ScheduleRecord(**row._mapping) for row in found]

    def get(self, name: str, projects: Projects = None) -> ScheduleRecord:
        """Raises NotFound, also for one of another project."""
        found = self.find(name)
        if found is None or (projects is not None and found.project not in projects):
            raise NotFound(f"cannot find the schedule {name!r}", "`porter schedule ls` lists them")
        return found

    def find(self, name: str) -> ScheduleRecord | None:
        with self._db.read() as c:
            return _find(c, name)

    def put(
        self,
        name: str,
        project: str,
        cron: str,
        zone: str,
        spec: dict[str, Any],
        by: str,
        now: float,
    ) -> ScheduleRecord:
        """Add or change one. The same again changes nothing. One that is changed is due at the
        first time after that."""
        s = t.schedules
        values = {"project": project, "cron": cron, "zone": zone, "spec": spec}
        with self._db.write() as c:
            known = _find(c, name)
            if known is not None and values == {key: vars(known)[key] for key in values}:
                return known
            fresh = {**values, "updated": now, "updated_by": by, "prices": None, "looked": None}
            new = self._db.insert(s).values(name=name, created=now, **fresh)
            c.execute(new.on_conflict_do_update(index_elements=["name"], set_=fresh))
            data = {"schedule": name, "by": by}
            what = f"schedule {name} changed"
            rows.add_event(c, now, "schedule.changed", what, data=data, project=project)
            kept = _find(c, name)
            assert kept is not None
            return kept

    def remove(self, name: str, by: str, now: float) -> None:
        """Raises NotFound. What its runs proposed stays."""
        s = t.schedules
        with self._db.write() as c:
            gone = c.execute(sa.delete(s).where(s.c.name == name).returning(s.c.project)).first()
            if gone is None:
                raise NotFound(
                    f"cannot find the schedule {name!r}", "`porter schedule ls` lists them"
                )
            data = {"schedule": name, "by": by}
            what = f"schedule {name} removed"
            rows.add_event(c, now, "schedule.removed", what, data=data, project=gone.project)

    def measure(self, name: str, prices: list[dict[str, Any]], now: float) -> None:
        """Price changes are measured against these from now on."""
        s = t.schedules
        with self._db.write() as c:
            c.execute(sa.update(s).where(s.c.name == name).values(prices=prices, looked=now))

    def look(self, name: str, now: float, every: float) -> bool:
        """Whether it is ours to compare prices now: once in so many seconds, for one of all."""
        s = t.schedules
        old = sa.or_(s.c.looked.is_(None), s.c.looked <= now - every, s.c.looked > now)
        with self._db.read() as c:
            if c.execute(sa.select(s.c.name).where(s.c.name == name, old)).first() is None:
                return False
        with self._db.write() as c:
            won = c.execute(
                sa.update(s).where(s.c.name == name, old).values(looked=now).returning(s.c.name)
            ).first()
            return won is not None

    def notices(self) -> list[tuple[str, float]]:
        """(Host, when we first heard) of machines that are about to be taken away."""
        h = t.hosts
        with self._db.read() as c:
            found = c.execute(sa.select(h.c.name, h.c.notices).where(h.c.notices.is_not(None)))
            return [(row.name, float(one["seen"])) for row in found for one in (row.notices or ())]


def _find(c: sa.Connection, name: str) -> ScheduleRecord | None:
    row = c.execute(sa.select(t.schedules).where(t.schedules.c.name == name)).first()
    return None if row is None else ScheduleRecord(**row._mapping)
