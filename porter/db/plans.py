"""Plans: frozen, hashed, decided on, and carried out once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.database import Database
from porter.db.policies import documents
from porter.domain.errors import Conflict, Denied, Lapsed, NotFound
from porter.domain.identity import Principal, Projects
from porter.domain.migration import StepKind, StepState


class PlanState(StrEnum):
    OPEN = "open"
    """It needs nobody's approval."""
    WAITING = "waiting"
    """For another person's approval."""
    APPROVED = "approved"
    DECLINED = "declined"
    LAPSED = "lapsed"
    """It expired, or what it rests on changed."""
    EXECUTED = "executed"


LIVING = (PlanState.OPEN, PlanState.WAITING, PlanState.APPROVED)
READY = (PlanState.OPEN, PlanState.APPROVED)


@dataclass(frozen=True)
class PlanRecord:
    id: str
    hash: str
    content: dict[str, Any]
    basis: dict[str, Any]
    """What it rests on; see `drift`."""
    workload: str
    project: str
    state: str
    demands: list[dict[str, Any]]
    """The rules that ask for approval."""
    created: float
    created_by: str
    """The person, also where a token of theirs was used."""
    decided: float | None
    decided_by: str
    reason: str
    expires: float
    migration: str | None


class Plans:
    """Every method is one transaction. What raises Lapsed has recorded that before."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, plan: PlanRecord) -> PlanRecord:
        with self._db.write() as c:
            c.execute(sa.insert(t.plans).values(**asdict(plan)))
            what = f"plan to move {plan.workload} made"
            _tell(c, plan, "created", what, plan.created, state=plan.state, by=plan.created_by)
            return plan

    def get(self, identity: str, projects: Projects = None) -> PlanRecord:
        """Raises NotFound, also for one of another project."""
        with self._db.read() as c:
            return _get(c, identity, projects)

    def all(
        self,
        projects: Projects = None,
        state: str | None = None,
        workload: str | None = None,
        limit: int = 100,
        after: tuple[float, str] | None = None,
    ) -> list[PlanRecord]:
        """Newest first; `after`: what follows the plan made then, with this id."""
        p = t.plans
        query = sa.select(p).where(rows.within(p.c.project, projects))
        if after is not None:
            query = query.where(sa.tuple_(p.c.created, p.c.id) < sa.tuple_(*after))
        if state is not None:
            query = query.where(p.c.state == state)
        if workload is not None:
            query = query.where(p.c.workload == workload)
        with self._db.read() as c:
            order = query.order_by(p.c.created.desc(), p.c.id.desc()).limit(limit)
            return [PlanRecord(**row._mapping) for row in c.execute(order)]

    def last_look(self, workload: str) -> tuple[str, dict[str, Any]] | None:
        """The newest migration that looked at a workload, and the spec that it saw."""
        m, s = t.migrations, t.steps
        query = (
            sa.select(m.c.id, s.c.output)
            .join(s, s.c.migration == m.c.id)
            .where(m.c.workload == workload, s.c.kind == StepKind.PREFLIGHT)
            .where(s.c.state == StepState.DONE)
            .order_by(m.c.created.desc())
            .limit(1)
        )
        with self._db.read() as c:
            row = c.execute(query).first()
        return None if row is None else (str(row.id), (row.output or {}).get("spec") or {})

    def check(self, identity: str, now: float) -> None:
        """Raises Lapsed, and records it, if it does not hold any more."""
        with self._db.write() as c:
            plan = _get(c, identity)
            stale = _stale(c, plan, now)
            if not stale:
                return
            _lapse(c, plan, stale, now)
        raise lapsed(identity, stale)

    def approve(
        self, identity: str, digest: str, by: Principal, reason: str, now: float
    ) -> PlanRecord:
        """Approve what has this hash. Raises Denied for its own maker, Conflict for another hash or
        a plan that waits for nobody, Lapsed."""
        with self._db.write() as c:
            plan = _get(c, identity)
            if plan.state != PlanState.WAITING:
                raise Conflict(f"cannot approve plan {identity}: it is {plan.state}")
            if by.person == plan.created_by:
                raise Denied(
                    f"cannot approve plan {identity}: you made it",
                    "another person must approve it",
                )
            if digest != plan.hash:
                raise Conflict(
                    f"cannot approve plan {identity}: its hash is another one",
                    "look at the plan again, then approve what you saw",
                )
            stale = _stale(c, plan, now)
            if not stale:
                return _decide(c, plan, PlanState.APPROVED, by, reason, now)
            _lapse(c, plan, stale, now)
        raise lapsed(identity, stale)

    def decline(self, identity: str, by: Principal, reason: str, now: float) -> PlanRecord:
        """Decide that it is not carried out. Raises Conflict when it is too late for that."""
        with self._db.write() as c:
            plan = _get(c, identity)
            if plan.state not in LIVING:
                raise Conflict(f"cannot decline plan {identity}: it is {plan.state}")
            return _decide(c, plan, PlanState.DECLINED, by, reason, now)

    def lapse(self, identity: str, why: str, now: float) -> None:
        """End it, unless it has come to another end already."""
        with self._db.write() as c:
            _lapse(c, _get(c, identity), why, now)

    def sweep(self, now: float) -> int:
        """End every plan that expired or rests on what is no longer so. Returns how many."""
        p = t.plans
        with self._db.read() as c:
            found = c.execute(sa.select(p).where(p.c.state.in_(LIVING))).all()
            plans = [PlanRecord(**row._mapping) for row in found]
            stale = [(plan, why) for plan in plans if (why := _stale(c, plan, now))]
        for plan, why in stale:
            self.lapse(plan.id, why, now)
        return len(stale)


def lapsed(identity: str, why: str) -> Lapsed:
    return Lapsed(f"cannot use plan {identity}: it lapsed, as {why}", "make a new plan")


def spend(c: sa.Connection, identity: str, migration: str, now: float) -> None:
    """Within the transaction that makes its migration: this plan is carried out by that one.

    Raises Conflict unless it may be, Lapsed (not recorded yet) if what it rests on has changed.
    """
    p = t.plans
    won = c.execute(
        sa.update(p)
        .where(p.c.id == identity, p.c.state.in_(READY))
        .values(state=PlanState.EXECUTED, migration=migration)
        .returning(p.c.id)
    ).first()
    plan = _get(c, identity)
    if won is None:
        raise Conflict(f"cannot execute plan {identity}: it is {plan.state}")
    stale = _stale(c, plan, now)
    if stale:
        raise lapsed(identity, stale)
    what = f"plan to move {plan.workload} is carried out by {migration}"
    _tell(c, plan, "executed", what, now, migration=migration)


def _get(c: sa.Connection, identity: str, projects: Projects = None) -> PlanRecord:
    p = t.plans
    row = c.execute(
        sa.select(p).where(p.c.id == identity, rows.within(p.c.project, projects))
    ).first()
    if row is None:
        raise NotFound(f"cannot find the plan {identity!r}", "`porter plan ls` lists them")
    return PlanRecord(**row._mapping)


def _decide(
    c: sa.Connection, plan: PlanRecord, state: PlanState, by: Principal, reason: str, now: float
) -> PlanRecord:
    p = t.plans
    won = c.execute(
        sa.update(p)
        .where(p.c.id == plan.id, p.c.state == plan.state)
        .values(state=state, decided=now, decided_by=by.person, reason=reason)
        .returning(p.c.id)
    ).first()
    if won is None:
        raise Conflict(
            f"cannot decide on plan {plan.id}: somebody else just did", "look at it again"
        )
    what = f"plan to move {plan.workload} {state} by {by.name}"
    _tell(c, plan, state, what, now, by=by.id, person=by.person, reason=reason)
    return _get(c, plan.id)


def _lapse(c: sa.Connection, plan: PlanRecord, why: str, now: float) -> None:
    p = t.plans
    ended = c.execute(
        sa.update(p)
        .where(p.c.id == plan.id, p.c.state.in_(LIVING))
        .values(state=PlanState.LAPSED, reason=why)
        .returning(p.c.id)
    ).first()
    if ended is not None:
        _tell(c, plan, "lapsed", f"plan to move {plan.workload} lapsed: {why}", now, reason=why)


def _tell(
    c: sa.Connection, plan: PlanRecord, kind: str, message: str, now: float, **data: str
) -> None:
    rows.add_event(
        c,
        now,
        f"plan.{kind}",
        message,
        workload=plan.workload,
        data={"plan": plan.id, "hash": plan.hash, **data},
        project=plan.project,
    )


def _stale(c: sa.Connection, plan: PlanRecord, now: float) -> str:
    """Why it does not hold any more; empty if it does."""
    if plan.expires <= now:
        return "it expired"
    return drift(c, plan.project, plan.basis)


def drift(c: sa.Connection, project: str, basis: dict[str, Any]) -> str:
    """How a plan's basis differs from what is so now; empty if it does not. Prices are not looked
    at: the verdict on them is made anew when the plan is executed."""
    w, h = t.workloads, t.hosts
    row = c.execute(sa.select(w).where(w.c.id == basis["workload"])).first()
    if row is None or row.state == "gone" or row.host is None:
        return "no host has the workload any more"
    if row.generation != basis["generation"]:
        return f"the workload has moved (generation {row.generation}, not {basis['generation']})"
    if row.host != basis["host"]:
        return "the workload is on another host"
    if row.project != project:
        return f"the workload belongs to the project {row.project} now"
    target = basis["target"]
    if target and c.execute(sa.select(h.c.id).where(h.c.id == target)).first() is None:
        return "the target host has been removed"
    if documents(c, row.name, project, row.policies or ()) != basis["policies"]:
        return "policies have changed"
    return ""
