"""What people decided about migrations that are held: one row each, while the events keep all."""

from __future__ import annotations

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import DecisionRecord, MigrationRecord
from porter.db.database import Database
from porter.domain.errors import Conflict
from porter.domain.migration import MigrationState


class Decisions:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def find(self, migration: str) -> DecisionRecord | None:
        with self._db.read() as c:
            return decision_of(c, migration)

    def newest(self, workload_id: str) -> MigrationRecord:
        """The newest migration of a workload that has had one."""
        m = t.migrations
        with self._db.read() as c:
            mine = sa.select(m).where(m.c.workload_id == workload_id)
            return rows.migration(c.execute(mine.order_by(m.c.created.desc()).limit(1)).one())

    def decide(self, new: DecisionRecord) -> DecisionRecord:
        """Record a decision and wake the migration; the one that counts from now on.

        The same again changes nothing. One for the source may be given more proof, but never taken
        back: it may have been carried out. Raises Conflict if the migration is not held.
        """
        m, d = t.migrations, t.decisions
        with self._db.write() as c:
            # Two who decide at once: one after the other.
            c.execute(sa.select(m.c.id).where(m.c.id == new.migration).with_for_update())
            migration = rows.get_migration(c, new.migration)
            known = decision_of(c, new.migration)
            if known is not None and _stands(known, new):
                return known
            if migration.state is not MigrationState.HELD:
                raise not_held(new.migration, migration.state)
            values = vars(new)
            c.execute(
                self._db.insert(d)
                .values(**values)
                .on_conflict_do_update(index_elements=["migration"], set_=values)
            )
            c.execute(
                sa.update(m)
                .where(m.c.id == new.migration)
                .values(news=m.c.news + 1, wake_at=new.at)
            )
            rows.add_event(
                c,
                new.at,
                "decision",
                f"{new.by_name} decided that it runs on the {new.run_on}: {new.reason}",
                migration=new.migration,
                workload=migration.workload,
                data={"run_on": new.run_on, "proof": new.proof, "by": new.by},
            )
            return new


def _stands(known: DecisionRecord, new: DecisionRecord) -> bool:
    """Whether the known decision counts. Raises Conflict if the new one contradicts it."""
    if known.run_on != new.run_on:
        if known.run_on == "target":
            return False
        raise Conflict(
            f"cannot decide for the target: {known.by_name} decided that {new.migration} runs on "
            "the source",
            "move it when it runs there",
        )
    return known.proof == "declared" or known.proof == new.proof or not new.proof


def not_held(migration: str, state: MigrationState) -> Conflict:
    return Conflict(
        f"cannot decide about migration {migration}: it is not held, but {state}",
        f"'porter migration show {migration}' tells how it stands",
    )


def decision_of(c: sa.Connection, migration: str) -> DecisionRecord | None:
    d = t.decisions
    row = c.execute(sa.select(d).where(d.c.migration == migration)).first()
    return None if row is None else DecisionRecord(**row._mapping)
