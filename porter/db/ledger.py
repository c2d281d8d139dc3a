"""The book of machines that Porter made: written before anything is asked of a provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import ACTIVE, HostRecord, InstanceRecord
from porter.db.database import Database
from porter.domain.errors import NotFound

UNUSED = 60.0
"""A host that was expected but that no migration wants is forgotten after so many seconds."""


class Ledger:
    """Rows of instances. Every method is one transaction; all may be repeated."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(
        self,
        key: str,
        host: HostRecord,
        migration: str | None,
        instance_type: str,
        quote: dict[str, Any] | None,
        now: float,
    ) -> None:
        """Write down that a machine will be asked for. Must be called before it is."""
        with self._db.write() as c:
            c.execute(
                self._db.insert(t.instances)
                .values(
                    key=key,
                    host=host.id,
                    host_name=host.name,
                    site=host.site,
                    migration=migration,
                    instance_type=instance_type,
                    instance="",
                    public_address="",
                    state="launching",
                    token="",
                    quote=quote,
                    reason="",
                    created=now,
                    wake_at=now,
                )
                .on_conflict_do_nothing(index_elements=["key"])
            )

    def running(
        self,
        key: str,
        instance: str,
        public_address: str,
        now: float,
        launched_at: float | None = None,
    ) -> None:
        """The machine runs, since `launched_at` by its provider's word. One that is being removed
        stays so."""
        i = t.instances
        with self._db.write() as c:
            c.execute(
                sa.update(i)
                .where(i.c.key == key, i.c.state == "launching")
                .values(
                    state="running",
                    instance=instance,
                    public_address=public_address,
                    launched=now,
                    launched_at=launched_at,
                )
            )

    def drain(self, host: str, why: str, now: float) -> bool:
        """Have the machine of a host removed as soon as nothing needs it. False if it has none."""
        i = t.instances
        with self._db.write() as c:
            done = c.execute(
                sa.update(i)
                .where(i.c.host == host, i.c.state != "gone")
                .values(state="draining", reason=why, wake_at=now)
            )
            return bool(done.rowcount)

    def removing(self, key: str, token: str, reason: str, wake_at: float) -> None:
        """How far its removal is."""
        i = t.instances
        with self._db.write() as c:
            c.execute(
                sa.update(i)
                .where(i.c.key == key, i.c.state != "gone")
                .values(state="draining", token=token, reason=reason, wake_at=wake_at)
            )

    def gone(self, key: str, now: float, ended_at: float | None = None) -> None:
        """All that was made under the key is gone, since `ended_at` by its provider's word; its
        host is forgotten once nothing needs it."""
        i = t.instances
        with self._db.write() as c:
            row = c.execute(sa.select(i).where(i.c.key == key)).first()
            if row is None or row.state == "gone":
                return
            c.execute(
                sa.update(i)
                .where(i.c.key == key)
                .values(state="gone", token="", gone=now, ended_at=ended_at)
            )
            rows.add_event(
                c,
                now,
                "instance",
                f"{row.instance_type} {row.host_name} removed from {row.site}",
                migration=row.migration,
                data={"key": key},
            )

    def set_empty_since(self, key: str, since: float | None) -> None:
        i = t.instances
        with self._db.write() as c:
            c.execute(sa.update(i).where(i.c.key == key).values(empty_since=since))

    def get(self, key: str) -> InstanceRecord:
        with self._db.read() as c:
            row = c.execute(sa.select(t.instances).where(t.instances.c.key == key)).first()
        if row is None:
            raise NotFound(f"cannot find a machine with the key {key!r}")
        return rows.instance(row)

    def of_host(self, host: str) -> InstanceRecord | None:
        """The machine that a host is, if Porter made it."""
        i = t.instances
        with self._db.read() as c:
            row = c.execute(
                sa.select(i)
                .where(i.c.host == host, i.c.state != "gone")
                .order_by(i.c.created.desc())
                .limit(1)
            ).first()
        return None if row is None else rows.instance(row)

    def of_migration(self, migration: str) -> list[InstanceRecord]:
        return self._where(t.instances.c.migration == migration)

    def of_names(self, names: Sequence[str]) -> list[InstanceRecord]:
        """Of hosts by these names, also those that are gone."""
        return self._where(t.instances.c.host_name.in_(names))

    def of_site(self, site: str) -> list[InstanceRecord]:
        return self._where(t.instances.c.site == site)

    def standing(self) -> list[InstanceRecord]:
        """All that are not gone."""
        return self._where(t.instances.c.state != "gone")

    def _where(self, condition: sa.ColumnElement[bool]) -> list[InstanceRecord]:
        i = t.instances
        with self._db.read() as c:
            found = c.execute(sa.select(i).where(condition).order_by(i.c.created, i.c.key))
            return [rows.instance(row) for row in found]

    def needed(self, host: str) -> str:
        """Why a host cannot be removed now; empty if it can."""
        m, w = t.migrations, t.workloads
        with self._db.read() as c:
            moving = c.execute(
                sa.select(m.c.id)
                .where(m.c.state.in_(ACTIVE), sa.or_(m.c.source == host, m.c.target == host))
                .limit(1)
            ).scalar()
            if moving is not None:
                return f"migration {moving} needs it"
            name = c.execute(
                sa.select(w.c.name).where(w.c.host == host, w.c.state != "gone").limit(1)
            ).scalar()
            return "" if name is None else f"workload {name} lives there"

    def forget_hosts(self, now: float) -> list[str]:
        """Remove hosts that were expected and never came, or whose machine is gone."""
        h, i, m = t.hosts, t.instances, t.migrations
        with self._db.write() as c:
            standing = sa.select(i.c.host).where(i.c.state != "gone")
            made = sa.select(i.c.host)
            wanted = (
                sa.select(m.c.source)
                .where(m.c.state.in_(ACTIVE))
                .union(sa.select(m.c.target).where(m.c.state.in_(ACTIVE)))
            )
            never_came = sa.and_(h.c.serial == "", h.c.joined_at < now - UNUSED)
            found = c.execute(
                sa.select(h.c.id, h.c.name).where(
                    h.c.id.not_in(standing),
                    h.c.id.not_in(wanted),
                    sa.or_(never_came, h.c.id.in_(made)),
                )
            ).all()
            w = t.workloads
            for row in found:
                c.execute(sa.update(w).where(w.c.host == row.id).values(host=None))
                c.execute(sa.delete(h).where(h.c.id == row.id))
                rows.add_event(c, now, "host", f"host {row.name} removed", data={"host": row.id})
            if found:
                rows.bump_network(c)
            return [str(row.name) for row in found]
