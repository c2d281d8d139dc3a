"""Workloads as the agents' heartbeats tell of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import ACTIVE, CheckpointState, HostRecord, WorkloadRecord
from porter.db.database import Database
from porter.db.history import Peaks, write_interruption, write_peaks
from porter.db.policies import warn
from porter.domain.errors import NotFound
from porter.domain.identity import Projects, project_of
from porter.protocol import codec
from porter.protocol.joining import FoundWorkload, Heartbeat

PRESENT = ("running", "paused")
"""States in which a container counts as a workload that lives where it was found."""
SETTLING = 10.0
"""After a move, heartbeats that were collected before it may still arrive for so long."""


class Found:
    """Which workloads there are and where. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._peaks = Peaks()

    def heartbeat(self, host: HostRecord, beat: Heartbeat, now: float) -> None:
        """Record what a host says of itself and of the containers it found."""
        with self._db.write() as c:
            if host.facts is None or host.facts.underlay != beat.facts.underlay:
                rows.bump_network(c)
            c.execute(
                sa.update(t.hosts)
                .where(t.hosts.c.id == host.id)
                .values(
                    facts=codec.dump(beat.facts),
                    last_seen=now,
                    notices=self._notices(c, host, beat, now) or None,
                )
            )
            moving = self._moving(c, now)
            peaks = []
            for found in beat.workloads:
                home = self._found(c, host, found, moving, now)
                peak = None if home is None else self._peaks.see(home, found.memory_bytes, now)
                peaks += [] if peak is None else [peak]
            self._lost(c, host, {found.name for found in beat.workloads}, moving, now)
            write_peaks(self._db, c, peaks)

    def _moving(self, c: sa.Connection, now: float) -> set[str]:
        """Names of workloads whose place is the engine's to say, not the heartbeats'."""
        m = t.migrations
        moving = c.execute(
            sa.select(m.c.workload).where(
                sa.or_(m.c.state.in_(ACTIVE), m.c.finished > now - SETTLING)
            )
        )
        k = t.checkpoints
        restoring = c.execute(
            sa.select(k.c.workload).where(
                sa.or_(
                    k.c.state == CheckpointState.RESTORING,
                    k.c.restored > now - SETTLING,
                )
            )
        )
        return {row.workload for row in (*moving, *restoring)}

    def _found(
        self,
        c: sa.Connection,
        host: HostRecord,
        found: FoundWorkload,
        moving: set[str],
        now: float,
    ) -> str | None:
        """The workload's id, if this host is its home."""
        w = t.workloads
        known = c.execute(sa.select(w).where(w.c.name == found.name)).first()
        named = list(found.policies)
        here: dict[str, Any] = {
            "container": found.container,
            "container_name": found.container_name,
            "address": found.address,
            "image": found.image,
            "memory_bytes": found.memory_bytes,
            "project": project_of(found.project),
            "policies": list(found.policies) or None,
            "state": found.state,
            "seen_at": now,
        }
        if known is None:
            if found.state in PRESENT:
                self._register(c, host, found.name, here, now)
                warn(c, found.name, here["project"], named, now)
            return None
        mine = sa.update(w).where(w.c.id == known.id)
        changed = (known.project, list(known.policies or ())) != (here["project"], named)
        if known.host == host.id:
            if found.name in moving:
                here = {"memory_bytes": found.memory_bytes, "seen_at": now}
            elif found.state in PRESENT:
                here["rival"] = known.rival
            c.execute(mine.values(**here))
            if changed and found.name not in moving:
                warn(c, found.name, here["project"], named, now)
            return str(known.id) if found.state in PRESENT else None
        if found.state in PRESENT and found.name not in moving:
            if known.host is None or known.state not in PRESENT:
                self._adopt(c, host, known, here, now)
                warn(c, found.name, here["project"], named, now)
            elif known.rival != host.id:
                c.execute(mine.values(rival=host.id))
                self._warn(c, host, known, now)
        return None

    def _register(
        self, c: sa.Connection, host: HostRecord, name: str, here: dict[str, Any], now: float
    ) -> None:
        new = (
            self._db.insert(t.workloads)
            .values(id=rows.new_id("w"), name=name, host=host.id, generation=1, **here)
            .on_conflict_do_nothing(index_elements=["name"])
            .returning(t.workloads.c.id)
        )
        if c.execute(new).first() is not None:
            rows.add_event(c, now, "workload", f"found on {host.name}", workload=name)

    def _adopt(
        self,
        c: sa.Connection,
        host: HostRecord,
        known: sa.Row[Any],
        here: dict[str, Any],
        now: float,
    ) -> None:
        """Somebody started it elsewhere by hand: whoever runs it owns it."""
        w = t.workloads
        c.execute(
            sa.update(w)
            .where(w.c.id == known.id)
            .values(host=host.id, generation=known.generation + 1, rival=None, **here)
        )
        rows.bump_network(c)
        rows.add_event(c, now, "workload", f"found on {host.name}", workload=known.name)

    def _warn(self, c: sa.Connection, host: HostRecord, known: sa.Row[Any], now: float) -> None:
        home = rows.get_host(c, known.host)
        rows.add_event(
            c,
            now,
            "warning",
            f"{known.name} runs on {home.name} but a container of that name runs on {host.name} "
            f"too; the first one counts: rename or remove the one on {host.name}",
            workload=known.name,
            data={"host": host.id},
        )

    def _lost(
        self, c: sa.Connection, host: HostRecord, names: set[str], moving: set[str], now: float
    ) -> None:
        w = t.workloads
        mine = c.execute(sa.select(w).where(w.c.host == host.id, w.c.state != "gone")).all()
        for row in mine:
            if row.name in names or row.name in moving:
                continue
            c.execute(sa.update(w).where(w.c.id == row.id).values(state="gone"))
            rows.bump_network(c)
            rows.add_event(c, now, "workload", f"no longer found on {host.name}", workload=row.name)

    def _notices(
        self, c: sa.Connection, host: HostRecord, beat: Heartbeat, now: float
    ) -> list[dict[str, Any]]:
        """What the host's place says is about to become of it, and when we first heard of each."""
        if not beat.notices:
            return []
        row = c.execute(sa.select(t.hosts.c.notices).where(t.hosts.c.id == host.id)).first()
        known = {(one["kind"], one["at"]): one for one in (row.notices if row else None) or ()}
        found = []
        for notice in beat.notices:
            key = (notice.kind, notice.at)
            if key not in known:
                when = f" at {notice.at}" if notice.at else ""
                what = f"{host.name} is about to be taken away: {notice.kind}{when}"
                data = {"host": host.id, "kind": notice.kind, "at": notice.at}
                rows.add_event(c, now, "host.notice", what, data=data)
                write_interruption(self._db, c, host, notice.kind, notice.at, now)
            found.append(known.get(key) or {"kind": notice.kind, "at": notice.at, "seen": now})
        return found

    def workloads(self) -> list[WorkloadRecord]:
        """All, by name."""
        w = t.workloads
        with self._db.read() as c:
            found = c.execute(sa.select(w).where(w.c.state != "gone").order_by(w.c.name))
            return [rows.workload(row) for row in found]

    def declare(self, name: str, endpoints: list[str], now: float) -> WorkloadRecord:
        """Set what the outside calls a workload by, beside its label. Raises NotFound."""
        w = t.workloads
        with self._db.write() as c:
            record = get_workload(c, name)
            c.execute(sa.update(w).where(w.c.id == record.id).values(endpoints=endpoints))
            rows.add_event(c, now, "endpoints", ", ".join(endpoints) or "none", workload=name)
            return get_workload(c, name)

    def workload(self, name: str, projects: Projects = None) -> WorkloadRecord:
        """Raises NotFound for one that no host has, or that belongs to another project."""
        with self._db.read() as c:
            return get_workload(c, name, projects)


def get_workload(c: sa.Connection, name: str, projects: Projects = None) -> WorkloadRecord:
    w = t.workloads
    there = sa.and_(w.c.state != "gone", w.c.host.is_not(None), rows.within(w.c.project, projects))
    row = c.execute(sa.select(w).where(w.c.name == name, there)).first()
    if row is None:
        raise NotFound(
            f"cannot find the workload {name!r}: no host reports a container of that name",
            "label the container porter.enable=true; `porter workload ls` lists what is known",
        )
    return rows.workload(row)
