"""Proposals: moves that pay only together, frozen and hashed; decided on, and carried out once."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from porter.db import proposed, rows
from porter.db.database import Database
from porter.db.offered import LIVING as LIVING
from porter.db.offered import OVER as OVER
from porter.db.offered import READY as READY
from porter.db.offered import Begun as Begun
from porter.db.offered import Carrying as Carrying
from porter.db.offered import MoveRecord as MoveRecord
from porter.db.offered import MoveState as MoveState
from porter.db.offered import Progress as Progress
from porter.db.offered import ProposalRecord as ProposalRecord
from porter.db.offered import ProposalState as ProposalState
from porter.db.proposed import P, V
from porter.db.proposed import lapsed as lapsed
from porter.domain.errors import Conflict, Denied
from porter.domain.identity import Principal, Projects

DAY = 86400.0
BUDGET_LOCK = 0x4275646765740A
"""Number of the PostgreSQL advisory lock under which moves are counted."""


class Proposals:
    """Every method is one transaction. What raises Lapsed has recorded that before."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- reading

    def get(self, identity: str, projects: Projects = None) -> ProposalRecord:
        """Raises NotFound, also for one of another project."""
        with self._db.read() as c:
            return proposed.get_proposal(c, identity, projects)

    def moves(self, identity: str) -> tuple[MoveRecord, ...]:
        with self._db.read() as c:
            return proposed.moves_of(c, identity)

    def moves_of(self, proposals: Sequence[ProposalRecord]) -> dict[str, tuple[MoveRecord, ...]]:
        """By proposal."""
        found: dict[str, list[MoveRecord]] = {one.id: [] for one in proposals}
        query = sa.select(V).where(V.c.proposal.in_(list(found))).order_by(V.c.seq)
        with self._db.read() as c:
            for row in c.execute(query):
                found[row.proposal].append(MoveRecord(**row._mapping))
        return {identity: tuple(moves) for identity, moves in found.items()}

    def all(
        self,
        projects: Projects = None,
        state: str | None = None,
        rebalance: str | None = None,
        limit: int = 100,
        after: tuple[float, str] | None = None,
    ) -> list[ProposalRecord]:
        """Newest first; `after`: what follows the proposal made then, with this id."""
        query = sa.select(*proposed.COLUMNS).where(rows.within(P.c.project, projects))
        if after is not None:
            query = query.where(sa.tuple_(P.c.created, P.c.id) < sa.tuple_(*after))
        if state is not None:
            query = query.where(P.c.state == state)
        if rebalance is not None:
            query = query.where(P.c.rebalance == rebalance)
        with self._db.read() as c:
            order = query.order_by(P.c.created.desc(), P.c.id.desc()).limit(limit)
            return [ProposalRecord(**row._mapping) for row in c.execute(order)]

    def living(self) -> list[ProposalRecord]:
        """All that could still be carried out."""
        with self._db.read() as c:
            found = c.execute(sa.select(*proposed.COLUMNS).where(P.c.state.in_(LIVING)))
            return [ProposalRecord(**row._mapping) for row in found]

    def of_migration(self, migration: str) -> str | None:
        """The proposal being carried out to which a migration belongs."""
        query = (
            sa.select(V.c.proposal)
            .join(P, P.c.id == V.c.proposal)
            .where(V.c.migration == migration, P.c.state == ProposalState.EXECUTING)
        )
        with self._db.read() as c:
            found = c.execute(query).scalar()
            return None if found is None else str(found)

    def last_begun(self, workload: str, without: str) -> float | None:
        """When a proposal, other than one, last began to move a workload."""
        query = sa.select(sa.func.max(V.c.begun)).where(
            V.c.workload == workload, V.c.proposal != without
        )
        with self._db.read() as c:
            found = c.execute(query).scalar()
            return None if found is None else float(found)

    # -- deciding

    def check(self, identity: str, now: float) -> None:
        """Raises Lapsed, and records it, if it does not hold any more. Prices are not looked at."""
        with self._db.write() as c:
            proposal = proposed.get_proposal(c, identity)
            stale = proposed.stale(c, proposal, now)
            if not stale:
                return
            proposed.lapse(c, proposal, stale, now)
        raise proposed.lapsed(identity, stale)

    def approve(
        self, identity: str, digest: str, by: Principal, reason: str, now: float
    ) -> ProposalRecord:
        """Approve what has this hash. Raises Denied for whoever ran the optimiser, Conflict for
        another hash or one that waits for nobody, Lapsed."""
        with self._db.write() as c:
            proposal = proposed.get_proposal(c, identity)
            what = f"cannot approve proposal {identity}"
            if proposal.state != ProposalState.WAITING:
                raise Conflict(f"{what}: it is {proposal.state}")
            if by.person == proposal.created_by:
                raise Denied(f"{what}: you had it made", "another person must approve it")
            if digest != proposal.hash:
                raise Conflict(
                    f"{what}: its hash is another one",
                    "look at the proposal again, then approve what you saw",
                )
            stale = proposed.stale(c, proposal, now)
            if not stale:
                return proposed.decide(c, proposal, ProposalState.APPROVED, by, reason, now)
            proposed.lapse(c, proposal, stale, now)
        raise proposed.lapsed(identity, stale)

    def decline(self, identity: str, by: Principal, reason: str, now: float) -> ProposalRecord:
        """Decide that it is not carried out. Raises Conflict when it is too late for that."""
        with self._db.write() as c:
            proposal = proposed.get_proposal(c, identity)
            if proposal.state not in LIVING:
                raise Conflict(f"cannot decline proposal {identity}: it is {proposal.state}")
            return proposed.decide(c, proposal, ProposalState.DECLINED, by, reason, now)

    def lapse(self, identity: str, why: str, now: float) -> None:
        """End it, unless it is being carried out or has come to another end."""
        with self._db.write() as c:
            proposed.lapse(c, proposed.get_proposal(c, identity), why, now)

    def noted(self, identity: str, now: float) -> None:
        """Its prices have just been compared, and hold."""
        with self._db.write() as c:
            c.execute(sa.update(P).where(P.c.id == identity).values(checked=now))

    def sweep(self, now: float) -> int:
        """End every one that expired or rests on what is no longer so. Returns how many."""
        with self._db.read() as c:
            found = c.execute(sa.select(*proposed.COLUMNS).where(P.c.state.in_(LIVING))).all()
            living = [ProposalRecord(**row._mapping) for row in found]
            stale = [(one, why) for one in living if (why := proposed.stale(c, one, now))]
        for one, why in stale:
            self.lapse(one.id, why, now)
        return len(stale)

    # -- carrying out

    def begin(self, identity: str, by: Principal, now: float) -> ProposalRecord:
        """Let it be carried out, once: asked again, nothing changes. Raises Conflict for one that
        waits or has come to another end, Lapsed."""
        with self._db.write() as c:
            proposal = proposed.get_proposal(c, identity)
            if proposal.state in (ProposalState.EXECUTING, *OVER):
                return proposal
            if proposal.state not in READY:
                raise Conflict(f"cannot execute proposal {identity}: it is {proposal.state}")
            stale = proposed.stale(c, proposal, now) or proposed.busy(c, proposal)
            if not stale:
                proposed.start(c, proposal, by.person, now)
                return proposed.get_proposal(c, identity)
            proposed.lapse(c, proposal, stale, now)
        raise proposed.lapsed(identity, stale)

    def stop(self, identity: str, by: Principal, reason: str, now: float) -> ProposalRecord:
        """Begin no further move of it. Asking again is the same. Raises Conflict unless it is being
        carried out."""
        with self._db.write() as c:
            proposal = proposed.get_proposal(c, identity)
            if proposal.state != ProposalState.EXECUTING:
                raise Conflict(
                    f"cannot stop proposal {identity}: it is {proposal.state}",
                    "decline one that has not begun",
                )
            if not proposal.stopping:
                why = f"{by.name} stopped it" + (f": {reason}" if reason else "")
                c.execute(sa.update(P).where(P.c.id == identity).values(stopping=why, wake_at=now))
                proposed.tell(c, proposal, "stopping", why, now, by=by.id, person=by.person)
            return proposed.get_proposal(c, identity)

    def due(self, now: float, limit: int = 100) -> list[str]:
        """Proposals whose executor should look again."""
        free = sa.or_(P.c.lease_until.is_(None), P.c.lease_until <= now)
        query = (
            sa.select(P.c.id)
            .where(P.c.state == ProposalState.EXECUTING, P.c.wake_at <= now, free)
            .order_by(P.c.wake_at)
            .limit(limit)
        )
        with self._db.read() as c:
            return [str(one) for one in c.execute(query).scalars()]

    def claim(self, identity: str, now: float, lease: float) -> Carrying | None:
        """Lease a proposal that is being carried out. None: nothing to do for us."""
        token = secrets.token_hex(8)
        free = sa.or_(P.c.lease_until.is_(None), P.c.lease_until <= now)
        with self._db.write() as c:
            won = c.execute(
                sa.update(P)
                .where(P.c.id == identity, P.c.state == ProposalState.EXECUTING, free)
                .values(lease_token=token, lease_until=now + lease)
                .returning(P.c.id)
            ).first()
            return None if won is None else proposed.carrying_of(c, identity, token)

    def reserve(
        self,
        carrying: Carrying,
        move: MoveRecord,
        free_at: Callable[[Sequence[Begun]], float],
        now: float,
    ) -> float:
        """Count a move as begun now, if budgets allow it; returns from when on they do. `free_at`
        is given the moves begun within a day, without this one. Nobody else counts meanwhile.
        Infinity: the lease was lost."""
        with self._db.write() as c:
            self._db.alone(c, BUDGET_LOCK)
            if not proposed.held(c, carrying):
                return math.inf
            free = free_at(proposed.begun_since(c, now - DAY, move))
            if free <= now:
                mine = sa.and_(V.c.proposal == move.proposal, V.c.seq == move.seq)
                c.execute(sa.update(V).where(mine).values(begun=now))
            return free

    def note(self, carrying: Carrying, move: MoveRecord, now: float) -> bool:
        """Write down at once what became of one move. False: the lease was lost."""
        with self._db.write() as c:
            if not proposed.held(c, carrying):
                return False
            proposed.put_move(c, carrying.proposal, move, now)
            return True

    def apply(self, carrying: Carrying, progress: Progress) -> bool:
        """Write down how far it is, and give the lease back. False: the lease was lost, nothing is
        written."""
        proposal = carrying.proposal
        with self._db.write() as c:
            if not proposed.held(c, carrying):
                return False
            for move in progress.moves:
                proposed.put_move(c, proposal, move, progress.now)
            values: dict[str, Any] = {"lease_until": None, "wake_at": progress.wake_at}
            if progress.stopping and not proposal.stopping:
                values["stopping"] = progress.stopping
                proposed.tell(c, proposal, "stopping", progress.stopping, progress.now)
            if progress.end is not None:
                values |= {"state": progress.end, "ended": progress.now, "reason": progress.reason}
                what = f"proposal {proposal.id} is {progress.end}: {progress.reason}"
                proposed.tell(c, proposal, progress.end, what, progress.now)
            c.execute(sa.update(P).where(P.c.id == proposal.id).values(**values))
            return True
