"""Policies as they are kept: their documents, word for word, and how often they were changed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.database import Database
from porter.domain.errors import NotFound
from porter.domain.identity import FLEET, Projects
from porter.domain.policy import Policy
from porter.protocol.policies import parse


@dataclass(frozen=True)
class PolicyRecord:
    name: str
    project: str
    """FLEET: it holds in all projects."""
    document: str
    version: int
    """Grows with every change of the document."""
    updated: float
    updated_by: str

    @property
    def digest(self) -> str:
        """SHA-256 of the document: another one of this name is another policy."""
        return hashlib.sha256(self.document.encode()).hexdigest()

    @property
    def policy(self) -> Policy:
        """The document, read. It was read before it was kept."""
        return _parsed(self.document)


_parsed = lru_cache(maxsize=1000)(parse)


class Policies:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self, projects: Projects = None) -> list[PolicyRecord]:
        """Those that hold in some projects, and those that hold in all; by name."""
        p = t.policies
        mine = sa.or_(p.c.project == FLEET, rows.within(p.c.project, projects))
        with self._db.read() as c:
            found = c.execute(sa.select(p).where(mine).order_by(p.c.name))
            return [PolicyRecord(**row._mapping) for row in found]

    def get(self, name: str, projects: Projects = None) -> PolicyRecord:
        """Raises NotFound, also for one of another project."""
        found = self.find(name)
        visible = projects is None or (found and found.project in (FLEET, *projects))
        if found is None or not visible:
            raise NotFound(f"cannot find the policy {name!r}", "`porter policy ls` lists them")
        return found

    def find(self, name: str) -> PolicyRecord | None:
        with self._db.read() as c:
            return _find(c, name)

    def put(self, name: str, project: str, document: str, by: str, now: float) -> PolicyRecord:
        """Add or change one. The same document again changes nothing."""
        p = t.policies
        values = {"project": project, "document": document, "updated": now, "updated_by": by}
        with self._db.write() as c:
            known = _find(c, name)
            if known is not None and (known.project, known.document) == (project, document):
                return known
            new = self._db.insert(p).values(name=name, version=1, **values)
            c.execute(
                new.on_conflict_do_update(
                    index_elements=["name"], set_={"version": p.c.version + 1, **values}
                )
            )
            kept = _find(c, name)
            assert kept is not None
            data = {"policy": name, "version": kept.version, "by": by}
            word = f"policy {name} changed"
            rows.add_event(c, now, "policy.changed", word, data=data, project=project)
            if known is not None and known.project != project:
                _warn_of_labels(c, name, now)
            return kept

    def remove(self, name: str, by: str, now: float) -> None:
        """Raises NotFound."""
        p = t.policies
        with self._db.write() as c:
            gone = c.execute(sa.delete(p).where(p.c.name == name).returning(p.c.project)).first()
            if gone is None:
                raise NotFound(f"cannot find the policy {name!r}", "`porter policy ls` lists them")
            data = {"policy": name, "by": by}
            word = f"policy {name} removed"
            rows.add_event(c, now, "policy.removed", word, data=data, project=gone.project)
            _warn_of_labels(c, name, now)


def unheard(c: sa.Connection, names: Sequence[str], project: str) -> list[str]:
    """Those of the names that are no policy of the project or of all."""
    if not names:
        return []
    p = t.policies
    mine = sa.and_(p.c.name.in_(names), p.c.project.in_((FLEET, project)))
    known = set(c.execute(sa.select(p.c.name).where(mine)).scalars())
    return [name for name in names if name not in known]


def warn(c: sa.Connection, workload: str, project: str, names: Sequence[str], now: float) -> None:
    """Tell which policies that a workload's label names do not exist, if any."""
    lost = unheard(c, names, project)
    if lost:
        what = (
            f"the label porter.policy of {workload} names what is no policy of the project "
            f"{project} or of all: {', '.join(lost)}; nothing may be scheduled for it until then"
        )
        data = {"policies": lost}
        rows.add_event(c, now, "warning", what, workload=workload, data=data, project=project)


def _warn_of_labels(c: sa.Connection, name: str, now: float) -> None:
    """A policy is gone, or gone from a project: workloads there may name it."""
    w = t.workloads
    found = c.execute(
        sa.select(w.c.name, w.c.project, w.c.policies).where(
            w.c.policies.is_not(None), w.c.state != "gone"
        )
    )
    for row in found.all():
        if name in (row.policies or ()):
            warn(c, row.name, row.project, [name], now)


def _find(c: sa.Connection, name: str) -> PolicyRecord | None:
    row = c.execute(sa.select(t.policies).where(t.policies.c.name == name)).first()
    return None if row is None else PolicyRecord(**row._mapping)


def documents(
    c: sa.Connection, workload: str, project: str, named: Collection[str] = ()
) -> dict[str, str]:
    """Name -> digest of every policy that holds for a workload whose label names these."""
    p = t.policies
    rows_ = c.execute(sa.select(p).where(p.c.project.in_((FLEET, project))))
    found = (PolicyRecord(**row._mapping) for row in rows_)
    return {one.name: one.digest for one in found if one.policy.holds(workload, project, named)}
