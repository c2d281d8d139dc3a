"""Runs of the optimiser over the fleet: asked for by a person, or claimed by a schedule once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.database import Database
from porter.db.offered import ProposalRecord
from porter.db.proposed import insert_proposals, supersede
from porter.domain.errors import NotFound
from porter.domain.identity import FLEET, Projects


class RunState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Trigger(StrEnum):
    MANUAL = "manual"
    CRON = "cron"
    CATCH_UP = "catch-up"
    PRICE = "price"
    INTERRUPTION = "interruption"


@dataclass(frozen=True)
class RebalanceRecord:
    id: str
    trigger: str
    schedule: str | None
    due_at: float | None
    """For which time its schedule claimed it."""
    project: str
    """FLEET: workloads of all projects."""
    spec: dict[str, Any]
    state: str
    reason: str
    """Why it failed."""
    problem: dict[str, Any] | None
    """What was asked, in figures."""
    answer: dict[str, Any] | None
    stays: dict[str, Any] | None
    """Workload -> why it stays."""
    prices: list[dict[str, Any]] | None
    """The quotes it rests on."""
    created_by: str
    started: float
    finished: float | None
    attempt: int


@dataclass(frozen=True)
class Outcome:
    """What a run found."""

    problem: dict[str, Any]
    answer: dict[str, Any]
    stays: dict[str, Any]
    prices: list[dict[str, Any]]
    proposals: Sequence[ProposalRecord]


@dataclass(frozen=True)
class RunClaim:
    """A run that is ours to carry out."""

    run: RebalanceRecord
    token: str


_COLUMNS = [t.rebalances.c[name] for name in RebalanceRecord.__dataclass_fields__]


class Rebalances:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, run: RebalanceRecord, outcome: Outcome, now: float) -> None:
        """A run that somebody asked for, and what came of it, at once."""
        with self._db.write() as c:
            c.execute(sa.insert(t.rebalances).values(**_values(run)))
            _finish(c, run, outcome, now)

    def claim(self, run: RebalanceRecord, now: float, lease: float) -> RunClaim | None:
        """Begin a schedule's run for the time `due_at`; None if anybody ever has, or while another
        run of that schedule is under way."""
        b = t.rebalances
        token = secrets.token_hex(8)
        with self._db.read() as c:
            same = sa.select(b.c.id).where(b.c.schedule == run.schedule, b.c.due_at == run.due_at)
            if c.execute(same).first() is not None:
                return None
        with self._db.write() as c:
            busy = sa.select(b.c.id).where(
                b.c.schedule == run.schedule, b.c.state == RunState.RUNNING
            )
            if c.execute(busy).first() is not None:
                return None
            values = {**_values(run), "lease_token": token, "lease_until": now + lease}
            won = c.execute(
                self._db.insert(b)
                .values(**values)
                .on_conflict_do_nothing(index_elements=["schedule", "due_at"])
                .returning(b.c.id)
            ).first()
            if won is None:
                return None
            what = f"schedule {run.schedule}: a run begins ({run.trigger})"
            _tell(c, run, "begun", what, now)
            return RunClaim(run, token)

    def take_over(self, now: float, lease: float) -> RunClaim | None:
        """A run whose worker has not been heard of since its lease ended."""
        b = t.rebalances
        token = secrets.token_hex(8)
        over = sa.and_(b.c.state == RunState.RUNNING, b.c.lease_until <= now)
        with self._db.read() as c:
            if c.execute(sa.select(b.c.id).where(over).limit(1)).first() is None:
                return None
        with self._db.write() as c:
            row = c.execute(sa.select(*_COLUMNS).where(over).order_by(b.c.started)).first()
            if row is None:
                return None
            won = c.execute(
                sa.update(b)
                .where(b.c.id == row.id, over)
                .values(lease_token=token, lease_until=now + lease, attempt=b.c.attempt + 1)
                .returning(b.c.attempt)
            ).first()
            if won is None:
                return None
            record = RebalanceRecord(**{**row._mapping, "attempt": won.attempt})
            return RunClaim(record, token)

    def renew(self, claim: RunClaim, until: float) -> bool:
        """Keep a claimed run. False: somebody else has it by now, or it has ended."""
        b = t.rebalances
        held = sa.and_(
            b.c.id == claim.run.id, b.c.lease_token == claim.token, b.c.state == RunState.RUNNING
        )
        with self._db.write() as c:
            return c.execute(sa.update(b).where(held).values(lease_until=until)).rowcount == 1

    def finish(self, claim: RunClaim, outcome: Outcome, now: float) -> bool:
        """Write down what a claimed run found. False: somebody else has it by now."""
        with self._db.write() as c:
            if not _mine(c, claim):
                return False
            _finish(c, claim.run, outcome, now)
            return True

    def fail(self, claim: RunClaim, why: str, now: float) -> None:
        b = t.rebalances
        with self._db.write() as c:
            if not _mine(c, claim):
                return
            c.execute(
                sa.update(b)
                .where(b.c.id == claim.run.id)
                .values(state=RunState.FAILED, reason=why, finished=now, lease_until=None)
            )
            _tell(c, claim.run, "failed", f"a run of the optimiser failed: {why}", now)

    def get(self, identity: str, projects: Projects = None) -> RebalanceRecord:
        """Raises NotFound, also for one of another project."""
        b = t.rebalances
        with self._db.read() as c:
            row = c.execute(
                sa.select(*_COLUMNS).where(b.c.id == identity, rows.within(b.c.project, projects))
            ).first()
        if row is None:
            raise NotFound(f"cannot find the run {identity!r}", "`porter rebalance ls` lists them")
        return RebalanceRecord(**row._mapping)

    def all(
        self,
        projects: Projects = None,
        schedule: str | None = None,
        limit: int = 100,
        after: tuple[float, str] | None = None,
    ) -> list[RebalanceRecord]:
        """Newest first; `after`: what follows the run that began then, with this id."""
        b = t.rebalances
        query = sa.select(*_COLUMNS).where(rows.within(b.c.project, projects))
        if after is not None:
            query = query.where(sa.tuple_(b.c.started, b.c.id) < sa.tuple_(*after))
        if schedule is not None:
            query = query.where(b.c.schedule == schedule)
        with self._db.read() as c:
            order = query.order_by(b.c.started.desc(), b.c.id.desc()).limit(limit)
            return [RebalanceRecord(**row._mapping) for row in c.execute(order)]

    def last_about(self, workload: str, project: str, look_at: int = 20) -> RebalanceRecord | None:
        """The newest finished run, of its project or of all, that looked at a workload."""
        b, p = t.rebalances, t.proposals
        query = (
            sa.select(*_COLUMNS)
            .where(b.c.state == RunState.DONE, b.c.project.in_((FLEET, project)))
            .order_by(b.c.started.desc(), b.c.id.desc())
            .limit(look_at)
        )
        with self._db.read() as c:
            for row in c.execute(query).all():
                if workload in (row.stays or {}):
                    return RebalanceRecord(**row._mapping)
                made = c.execute(sa.select(p.c.content).where(p.c.rebalance == row.id)).scalars()
                if any(move["workload"] == workload for one in made for move in one["moves"]):
                    return RebalanceRecord(**row._mapping)
        return None

    def last_due(self, schedule: str, until: float) -> float | None:
        """For which time a schedule last began a run, of the times up to `until`."""
        b = t.rebalances
        query = sa.select(sa.func.max(b.c.due_at)).where(
            b.c.schedule == schedule, b.c.due_at <= until
        )
        with self._db.read() as c:
            found = c.execute(query).scalar()
            return None if found is None else float(found)


def _values(run: RebalanceRecord) -> dict[str, Any]:
    return {**vars(run), "lease_token": None, "lease_until": None}


def _mine(c: sa.Connection, claim: RunClaim) -> bool:
    b = t.rebalances
    held = sa.and_(
        b.c.id == claim.run.id, b.c.lease_token == claim.token, b.c.state == RunState.RUNNING
    )
    # An update, so that nobody can take it over until this transaction has ended.
    return c.execute(sa.update(b).where(held).values(lease_until=None)).rowcount == 1


def _finish(c: sa.Connection, run: RebalanceRecord, outcome: Outcome, now: float) -> None:
    b = t.rebalances
    c.execute(
        sa.update(b)
        .where(b.c.id == run.id)
        .values(
            state=RunState.DONE,
            problem=outcome.problem,
            answer=outcome.answer,
            stays=outcome.stays,
            prices=outcome.prices,
            finished=now,
            lease_until=None,
        )
    )
    looked = {*outcome.stays, *(name for one in outcome.proposals for name in one.workloads)}
    if not run.spec.get("dry_run"):
        supersede(c, looked, run.id, now)
        insert_proposals(c, outcome.proposals, now)
    count = len(outcome.proposals)
    what = f"the optimiser made {count} proposal{'' if count == 1 else 's'}"
    _tell(c, run, "done", what, now, proposals=[one.id for one in outcome.proposals])


def _tell(
    c: sa.Connection, run: RebalanceRecord, kind: str, message: str, now: float, **data: Any
) -> None:
    about = {"rebalance": run.id, "schedule": run.schedule or "", "trigger": run.trigger, **data}
    rows.add_event(c, now, f"rebalance.{kind}", message, data=about, project=run.project)
