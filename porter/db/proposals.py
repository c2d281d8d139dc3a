"""Proposals: moves that pay only together, frozen and hashed; decided on, and carried out once."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import (
    ACTIVE,
    HostRecord,
    InstanceRecord,
    MigrationRecord,
    WorkloadRecord,
)
from porter.db.database import Database
from porter.db.plans import drift
from porter.domain.errors import Conflict, Denied, Lapsed, NotFound
from porter.domain.identity import FLEET, Principal, Projects


class ProposalState(StrEnum):
    OPEN = "open"
    """It needs nobody's approval."""
    WAITING = "waiting"
    """For another person's approval."""
    APPROVED = "approved"
    DECLINED = "declined"
    LAPSED = "lapsed"
    """It expired, a newer run took its place, or what it rests on changed."""
    EXECUTING = "executing"
    DONE = "done"
    STOPPED = "stopped"
    """Some of it was done; `reason` says why not all."""


LIVING = (ProposalState.OPEN, ProposalState.WAITING, ProposalState.APPROVED)
READY = (ProposalState.OPEN, ProposalState.APPROVED)
OVER = (ProposalState.DONE, ProposalState.STOPPED)


class MoveState(StrEnum):
    PENDING = "pending"
    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The proposal was stopped before it began."""


@dataclass(frozen=True)
class ProposalRecord:
    id: str
    hash: str
    rebalance: str
    """The run that made it."""
    project: str
    """FLEET where it touches workloads of several projects."""
    state: str
    content: dict[str, Any]
    basis: dict[str, Any]
    """What it rests on: `workloads` as for `plans.drift`, by name, and `prices`."""
    demands: list[dict[str, Any]]
    """The rules that ask for approval."""
    created: float
    created_by: str
    """The person who ran the optimiser, or `schedule NAME`."""
    decided: float | None
    decided_by: str
    reason: str
    expires: float
    checked: float
    """When its prices were last compared."""
    started: float | None
    started_by: str
    ended: float | None
    stopping: str
    """Why no further move is begun; empty if nothing is against it."""

    @property
    def workloads(self) -> tuple[str, ...]:
        return tuple(move["workload"] for move in self.content["moves"])


@dataclass(frozen=True)
class MoveRecord:
    """How far one move of a proposal is; `seq` is its place in `content["moves"]`."""

    proposal: str
    seq: int
    workload: str
    migration: str | None
    state: str
    reason: str
    begun: float | None
    ended: float | None


@dataclass(frozen=True)
class Carrying:
    """A leased proposal with all that its next step may need to know."""

    token: str
    proposal: ProposalRecord
    moves: tuple[MoveRecord, ...]
    migrations: dict[str, MigrationRecord]
    """By id: those of its moves."""
    workloads: dict[str, WorkloadRecord]
    """By name, also those that no host has any more."""
    seen: dict[str, float]
    """Workload -> when a host last told of it."""
    hosts: dict[str, HostRecord]
    """By name: all there are."""
    machines: dict[str, InstanceRecord]
    """By host's id: those that Porter made and that are not gone."""
    moving: dict[str, str]
    """Workload -> its active migration."""


@dataclass(frozen=True)
class Progress:
    """What one call of the executor changes, applied in one transaction or not at all."""

    now: float
    wake_at: float | None
    moves: Sequence[MoveRecord] = ()
    """Those that changed."""
    stopping: str | None = None
    end: ProposalState | None = None
    reason: str = ""


_P, _V = t.proposals, t.proposal_moves
_COLUMNS = [_P.c[name] for name in ProposalRecord.__dataclass_fields__]


class Proposals:
    """Every method is one transaction. What raises Lapsed has recorded that before."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- reading

    def get(self, identity: str, projects: Projects = None) -> ProposalRecord:
        """Raises NotFound, also for one of another project."""
        with self._db.read() as c:
            return _get(c, identity, projects)

    def moves(self, identity: str) -> tuple[MoveRecord, ...]:
        with self._db.read() as c:
            return _moves(c, identity)

    def all(
        self,
        projects: Projects = None,
        state: str | None = None,
        rebalance: str | None = None,
        limit: int = 100,
        after: tuple[float, str] | None = None,
    ) -> list[ProposalRecord]:
        """Newest first; `after`: what follows the proposal made then, with this id."""
        query = sa.select(*_COLUMNS).where(rows.within(_P.c.project, projects))
        if after is not None:
            query = query.where(sa.tuple_(_P.c.created, _P.c.id) < sa.tuple_(*after))
        if state is not None:
            query = query.where(_P.c.state == state)
        if rebalance is not None:
            query = query.where(_P.c.rebalance == rebalance)
        with self._db.read() as c:
            order = query.order_by(_P.c.created.desc(), _P.c.id.desc()).limit(limit)
            return [ProposalRecord(**row._mapping) for row in c.execute(order)]

    def living(self) -> list[ProposalRecord]:
        """All that could still be carried out."""
        with self._db.read() as c:
            found = c.execute(sa.select(*_COLUMNS).where(_P.c.state.in_(LIVING)))
            return [ProposalRecord(**row._mapping) for row in found]

    def of_migration(self, migration: str) -> str | None:
        """The proposal being carried out to which a migration belongs."""
        query = (
            sa.select(_V.c.proposal)
            .join(_P, _P.c.id == _V.c.proposal)
            .where(_V.c.migration == migration, _P.c.state == ProposalState.EXECUTING)
        )
        with self._db.read() as c:
            found = c.execute(query).scalar()
            return None if found is None else str(found)

    def begun_since(self, since: float) -> list[tuple[str, str, tuple[str, ...], float]]:
        """(workload, its project, policies that its label names, when) of the moves that proposals
        began after a moment; the oldest first."""
        w = t.workloads
        project = sa.func.coalesce(w.c.project, FLEET).label("project")
        query = (
            sa.select(_V.c.workload, project, w.c.policies, _V.c.begun)
            .join(w, w.c.name == _V.c.workload, isouter=True)
            .where(_V.c.begun > since)
            .order_by(_V.c.begun)
        )
        with self._db.read() as c:
            return [
                (row.workload, row.project, tuple(row.policies or ()), float(row.begun))
                for row in c.execute(query)
            ]

    def last_begun(self, workload: str, without: str) -> float | None:
        """When a proposal, other than one, last began to move a workload."""
        query = sa.select(sa.func.max(_V.c.begun)).where(
            _V.c.workload == workload, _V.c.proposal != without
        )
        with self._db.read() as c:
            found = c.execute(query).scalar()
            return None if found is None else float(found)

    # -- deciding

    def check(self, identity: str, now: float) -> None:
        """Raises Lapsed, and records it, if it does not hold any more. Prices are not looked at."""
        with self._db.write() as c:
            proposal = _get(c, identity)
            stale = _stale(c, proposal, now)
            if not stale:
                return
            _lapse(c, proposal, stale, now)
        raise lapsed(identity, stale)

    def approve(
        self, identity: str, digest: str, by: Principal, reason: str, now: float
    ) -> ProposalRecord:
        """Approve what has this hash. Raises Denied for whoever ran the optimiser, Conflict for
        another hash or one that waits for nobody, Lapsed."""
        with self._db.write() as c:
            proposal = _get(c, identity)
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
            stale = _stale(c, proposal, now)
            if not stale:
                return _decide(c, proposal, ProposalState.APPROVED, by, reason, now)
            _lapse(c, proposal, stale, now)
        raise lapsed(identity, stale)

    def decline(self, identity: str, by: Principal, reason: str, now: float) -> ProposalRecord:
        """Decide that it is not carried out. Raises Conflict when it is too late for that."""
        with self._db.write() as c:
            proposal = _get(c, identity)
            if proposal.state not in LIVING:
                raise Conflict(f"cannot decline proposal {identity}: it is {proposal.state}")
            return _decide(c, proposal, ProposalState.DECLINED, by, reason, now)

    def lapse(self, identity: str, why: str, now: float) -> None:
        """End it, unless it is being carried out or has come to another end."""
        with self._db.write() as c:
            _lapse(c, _get(c, identity), why, now)

    def noted(self, identity: str, now: float) -> None:
        """Its prices have just been compared, and hold."""
        with self._db.write() as c:
            c.execute(sa.update(_P).where(_P.c.id == identity).values(checked=now))

    def sweep(self, now: float) -> int:
        """End every one that expired or rests on what is no longer so. Returns how many."""
        with self._db.read() as c:
            found = c.execute(sa.select(*_COLUMNS).where(_P.c.state.in_(LIVING))).all()
            living = [ProposalRecord(**row._mapping) for row in found]
            stale = [(one, why) for one in living if (why := _stale(c, one, now))]
        for one, why in stale:
            self.lapse(one.id, why, now)
        return len(stale)

    # -- carrying out

    def begin(self, identity: str, by: Principal, now: float) -> ProposalRecord:
        """Let it be carried out, once: asked again, nothing changes. Raises Conflict for one that
        waits or has come to another end, Lapsed."""
        with self._db.write() as c:
            proposal = _get(c, identity)
            if proposal.state in (ProposalState.EXECUTING, *OVER):
                return proposal
            if proposal.state not in READY:
                raise Conflict(f"cannot execute proposal {identity}: it is {proposal.state}")
            stale = _stale(c, proposal, now) or _busy(c, proposal)
            if not stale:
                _start(c, proposal, by.person, now)
                return _get(c, identity)
            _lapse(c, proposal, stale, now)
        raise lapsed(identity, stale)

    def stop(self, identity: str, by: Principal, reason: str, now: float) -> ProposalRecord:
        """Begin no further move of it. Asking again is the same. Raises Conflict unless it is being
        carried out."""
        with self._db.write() as c:
            proposal = _get(c, identity)
            if proposal.state != ProposalState.EXECUTING:
                raise Conflict(
                    f"cannot stop proposal {identity}: it is {proposal.state}",
                    "decline one that has not begun",
                )
            if not proposal.stopping:
                why = f"{by.name} stopped it" + (f": {reason}" if reason else "")
                c.execute(
                    sa.update(_P).where(_P.c.id == identity).values(stopping=why, wake_at=now)
                )
                _tell(c, proposal, "stopping", why, now, by=by.id, person=by.person)
            return _get(c, identity)

    def due(self, now: float, limit: int = 100) -> list[str]:
        """Proposals whose executor should look again."""
        free = sa.or_(_P.c.lease_until.is_(None), _P.c.lease_until <= now)
        query = (
            sa.select(_P.c.id)
            .where(_P.c.state == ProposalState.EXECUTING, _P.c.wake_at <= now, free)
            .order_by(_P.c.wake_at)
            .limit(limit)
        )
        with self._db.read() as c:
            return [str(one) for one in c.execute(query).scalars()]

    def claim(self, identity: str, now: float, lease: float) -> Carrying | None:
        """Lease a proposal that is being carried out. None: nothing to do for us."""
        token = secrets.token_hex(8)
        free = sa.or_(_P.c.lease_until.is_(None), _P.c.lease_until <= now)
        with self._db.write() as c:
            won = c.execute(
                sa.update(_P)
                .where(_P.c.id == identity, _P.c.state == ProposalState.EXECUTING, free)
                .values(lease_token=token, lease_until=now + lease)
                .returning(_P.c.id)
            ).first()
            return None if won is None else _carrying(c, identity, token)

    def note(self, carrying: Carrying, move: MoveRecord, now: float) -> bool:
        """Write down at once what became of one move. False: the lease was lost."""
        with self._db.write() as c:
            if not _held(c, carrying):
                return False
            _put(c, carrying.proposal, move, now)
            return True

    def apply(self, carrying: Carrying, progress: Progress) -> bool:
        """Write down how far it is, and give the lease back. False: the lease was lost, nothing is
        written."""
        proposal = carrying.proposal
        with self._db.write() as c:
            if not _held(c, carrying):
                return False
            for move in progress.moves:
                _put(c, proposal, move, progress.now)
            values: dict[str, Any] = {"lease_until": None, "wake_at": progress.wake_at}
            if progress.stopping and not proposal.stopping:
                values["stopping"] = progress.stopping
                _tell(c, proposal, "stopping", progress.stopping, progress.now)
            if progress.end is not None:
                values |= {"state": progress.end, "ended": progress.now, "reason": progress.reason}
                what = f"proposal {proposal.id} is {progress.end}: {progress.reason}"
                _tell(c, proposal, progress.end, what, progress.now)
            c.execute(sa.update(_P).where(_P.c.id == proposal.id).values(**values))
            return True


def lapsed(identity: str, why: str) -> Lapsed:
    return Lapsed(
        f"cannot use proposal {identity}: it lapsed, as {why}",
        "have a new one made: porter rebalance run",
    )


def insert_proposals(c: sa.Connection, made: Sequence[ProposalRecord], now: float) -> None:
    """Within the transaction that ends their run. One in the state `executing` begins at once."""
    for one in made:
        begins = one.state == ProposalState.EXECUTING
        state = ProposalState.OPEN if begins else one.state
        c.execute(
            sa.insert(_P).values(
                **{**vars(one), "state": state},
                lease_token=None,
                lease_until=None,
                wake_at=None,
            )
        )
        for seq, name in enumerate(one.workloads):
            move = MoveRecord(one.id, seq, name, None, MoveState.PENDING, "", None, None)
            c.execute(sa.insert(_V).values(**vars(move)))
        count = len(one.workloads)
        what = f"proposal {one.id} made: {count} move{'' if count == 1 else 's'}"
        _tell(c, one, "created", what, now, by=one.created_by)
        if begins:
            if why := _busy(c, one):
                _lapse(c, _get(c, one.id), why, now)
            else:
                _start(c, _get(c, one.id), one.created_by, now)


def supersede(c: sa.Connection, workloads: Collection[str], run: str, now: float) -> None:
    """Within the transaction that ends a run: older proposals about what it looked at lapse."""
    looked = frozenset(workloads)
    found = c.execute(sa.select(*_COLUMNS).where(_P.c.state.in_(LIVING))).all()
    for row in found:
        proposal = ProposalRecord(**row._mapping)
        if looked.intersection(proposal.workloads):
            _lapse(c, proposal, f"the run {run} looked at its workloads anew", now)


def _carrying(c: sa.Connection, identity: str, token: str) -> Carrying:
    w, m, i = t.workloads, t.migrations, t.instances
    moves = _moves(c, identity)
    names = [move.workload for move in moves]
    known = [move.migration for move in moves if move.migration is not None]
    mine = c.execute(sa.select(m).where(m.c.id.in_(known))).all()
    found = c.execute(sa.select(w).where(w.c.name.in_(names))).all()
    active = c.execute(
        sa.select(m.c.workload, m.c.id).where(m.c.workload.in_(names), m.c.state.in_(ACTIVE))
    ).all()
    standing = c.execute(sa.select(i).where(i.c.state != "gone").order_by(i.c.created)).all()
    hosts = [rows.host(row) for row in c.execute(sa.select(t.hosts))]
    return Carrying(
        token=token,
        proposal=_get(c, identity),
        moves=moves,
        migrations={row.id: rows.migration(row) for row in mine},
        workloads={row.name: rows.workload(row) for row in found},
        seen={row.name: row.seen_at for row in found},
        hosts={host.name: host for host in hosts},
        machines={row.host: rows.instance(row) for row in standing},
        moving={row.workload: row.id for row in active},
    )


def _moves(c: sa.Connection, identity: str) -> tuple[MoveRecord, ...]:
    found = c.execute(sa.select(_V).where(_V.c.proposal == identity).order_by(_V.c.seq))
    return tuple(MoveRecord(**row._mapping) for row in found)


def _held(c: sa.Connection, carrying: Carrying) -> bool:
    mine = sa.and_(
        _P.c.id == carrying.proposal.id,
        _P.c.lease_token == carrying.token,
        _P.c.state == ProposalState.EXECUTING,
    )
    # An update, so that nobody can take it over until this transaction has ended.
    return c.execute(sa.update(_P).where(mine).values(lease_token=carrying.token)).rowcount == 1


def _put(c: sa.Connection, proposal: ProposalRecord, move: MoveRecord, now: float) -> None:
    key = sa.and_(_V.c.proposal == move.proposal, _V.c.seq == move.seq)
    before = c.execute(sa.select(_V.c.state).where(key)).scalar_one()
    c.execute(sa.update(_V).where(key).values(**vars(move)))
    if before != move.state:
        what = f"move of {move.workload}: {move.state}" + (
            f": {move.reason}" if move.reason else ""
        )
        data = {"seq": str(move.seq), "migration": move.migration or ""}
        _tell(c, proposal, "move", what, now, move.workload, **data)


def _get(c: sa.Connection, identity: str, projects: Projects = None) -> ProposalRecord:
    row = c.execute(
        sa.select(*_COLUMNS).where(_P.c.id == identity, rows.within(_P.c.project, projects))
    ).first()
    if row is None:
        raise NotFound(f"cannot find the proposal {identity!r}", "`porter proposal ls` lists them")
    return ProposalRecord(**row._mapping)


def _decide(
    c: sa.Connection,
    proposal: ProposalRecord,
    state: ProposalState,
    by: Principal,
    reason: str,
    now: float,
) -> ProposalRecord:
    won = c.execute(
        sa.update(_P)
        .where(_P.c.id == proposal.id, _P.c.state == proposal.state)
        .values(state=state, decided=now, decided_by=by.person, reason=reason)
        .returning(_P.c.id)
    ).first()
    if won is None:
        raise Conflict(
            f"cannot decide on proposal {proposal.id}: somebody else just did", "look at it again"
        )
    what = f"proposal {proposal.id} {state} by {by.name}"
    _tell(c, proposal, state, what, now, by=by.id, person=by.person, reason=reason)
    return _get(c, proposal.id)


def _start(c: sa.Connection, proposal: ProposalRecord, by: str, now: float) -> None:
    values = {"state": ProposalState.EXECUTING, "started": now, "started_by": by, "wake_at": now}
    won = c.execute(
        sa.update(_P)
        .where(_P.c.id == proposal.id, _P.c.state.in_(READY))
        .values(**values)
        .returning(_P.c.id)
    ).first()
    if won is not None:
        _tell(c, proposal, "executing", f"proposal {proposal.id} is carried out", now, by=by)


def _lapse(c: sa.Connection, proposal: ProposalRecord, why: str, now: float) -> None:
    ended = c.execute(
        sa.update(_P)
        .where(_P.c.id == proposal.id, _P.c.state.in_(LIVING))
        .values(state=ProposalState.LAPSED, reason=why)
        .returning(_P.c.id)
    ).first()
    if ended is not None:
        what = f"proposal {proposal.id} lapsed: {why}"
        _tell(c, proposal, "lapsed", what, now, reason=why)


def _tell(
    c: sa.Connection,
    proposal: ProposalRecord,
    kind: str,
    message: str,
    now: float,
    workload: str = "",
    **data: str,
) -> None:
    rows.add_event(
        c,
        now,
        f"proposal.{kind}",
        message,
        workload=workload,
        data={"proposal": proposal.id, "hash": proposal.hash, **data},
        project=proposal.project,
    )


def _stale(c: sa.Connection, proposal: ProposalRecord, now: float) -> str:
    """Why it does not hold any more; empty if it does."""
    if proposal.expires <= now:
        return "it expired"
    for name, basis in proposal.basis["workloads"].items():
        changed = drift(c, basis["project"], basis)
        if changed:
            return f"{name}: {changed}"
    for name in proposal.content["ended"]:
        if c.execute(sa.select(t.hosts.c.id).where(t.hosts.c.name == name)).first() is None:
            return f"the host {name} has been removed"
    return ""


def _busy(c: sa.Connection, proposal: ProposalRecord) -> str:
    """Why it cannot be carried out beside others that are; empty if it can."""
    mine = {*proposal.content["ended"], *(move["to"] for move in proposal.content["moves"])}
    found = c.execute(sa.select(_P.c.id, _P.c.content).where(_P.c.state == ProposalState.EXECUTING))
    for row in found:
        ended = set(row.content["ended"])
        theirs = {move["to"] for move in row.content["moves"]}
        moved = {move["workload"] for move in row.content["moves"]}
        if (
            moved.intersection(proposal.workloads)
            or ended & mine
            or theirs.intersection(proposal.content["ended"])
        ):
            return f"proposal {row.id}, which is being carried out, needs the same"
    return ""
