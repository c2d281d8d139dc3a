"""Rows of proposals within a transaction: read, decided on, lapsed, begun."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import ACTIVE
from porter.db.offered import (
    LIVING,
    READY,
    Carrying,
    MoveRecord,
    MoveState,
    ProposalRecord,
    ProposalState,
)
from porter.db.plans import drift
from porter.domain.errors import Conflict, Lapsed, NotFound
from porter.domain.identity import Principal, Projects

P, V = t.proposals, t.proposal_moves
COLUMNS = [P.c[name] for name in ProposalRecord.__dataclass_fields__]


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
            sa.insert(P).values(
                **{**vars(one), "state": state},
                lease_token=None,
                lease_until=None,
                wake_at=None,
            )
        )
        for seq, name in enumerate(one.workloads):
            move = MoveRecord(one.id, seq, name, None, MoveState.PENDING, "", None, None)
            c.execute(sa.insert(V).values(**vars(move)))
        count = len(one.workloads)
        what = f"proposal {one.id} made: {count} move{'' if count == 1 else 's'}"
        tell(c, one, "created", what, now, by=one.created_by)
        if begins:
            if why := busy(c, one):
                lapse(c, get_proposal(c, one.id), why, now)
            else:
                start(c, get_proposal(c, one.id), one.created_by, now)


def supersede(c: sa.Connection, workloads: Collection[str], run: str, now: float) -> None:
    """Within the transaction that ends a run: older proposals about what it looked at lapse."""
    looked = frozenset(workloads)
    found = c.execute(sa.select(*COLUMNS).where(P.c.state.in_(LIVING))).all()
    for row in found:
        proposal = ProposalRecord(**row._mapping)
        if looked.intersection(proposal.workloads):
            lapse(c, proposal, f"the run {run} looked at its workloads anew", now)


def carrying_of(c: sa.Connection, identity: str, token: str) -> Carrying:
    w, m, i = t.workloads, t.migrations, t.instances
    moves = moves_of(c, identity)
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
        proposal=get_proposal(c, identity),
        moves=moves,
        migrations={row.id: rows.migration(row) for row in mine},
        workloads={row.name: rows.workload(row) for row in found},
        seen={row.name: row.seen_at for row in found},
        hosts={host.name: host for host in hosts},
        machines={row.host: rows.instance(row) for row in standing},
        moving={row.workload: row.id for row in active},
    )


def moves_of(c: sa.Connection, identity: str) -> tuple[MoveRecord, ...]:
    found = c.execute(sa.select(V).where(V.c.proposal == identity).order_by(V.c.seq))
    return tuple(MoveRecord(**row._mapping) for row in found)


def held(c: sa.Connection, carrying: Carrying) -> bool:
    mine = sa.and_(
        P.c.id == carrying.proposal.id,
        P.c.lease_token == carrying.token,
        P.c.state == ProposalState.EXECUTING,
    )
    # An update, so that nobody can take it over until this transaction has ended.
    return c.execute(sa.update(P).where(mine).values(lease_token=carrying.token)).rowcount == 1


def put_move(c: sa.Connection, proposal: ProposalRecord, move: MoveRecord, now: float) -> None:
    key = sa.and_(V.c.proposal == move.proposal, V.c.seq == move.seq)
    before = c.execute(sa.select(V.c.state).where(key)).scalar_one()
    c.execute(sa.update(V).where(key).values(**vars(move)))
    if before != move.state:
        what = f"move of {move.workload}: {move.state}" + (
            f": {move.reason}" if move.reason else ""
        )
        data = {"seq": str(move.seq), "migration": move.migration or ""}
        tell(c, proposal, "move", what, now, move.workload, **data)


def get_proposal(c: sa.Connection, identity: str, projects: Projects = None) -> ProposalRecord:
    row = c.execute(
        sa.select(*COLUMNS).where(P.c.id == identity, rows.within(P.c.project, projects))
    ).first()
    if row is None:
        raise NotFound(f"cannot find the proposal {identity!r}", "`porter proposal ls` lists them")
    return ProposalRecord(**row._mapping)


def decide(
    c: sa.Connection,
    proposal: ProposalRecord,
    state: ProposalState,
    by: Principal,
    reason: str,
    now: float,
) -> ProposalRecord:
    won = c.execute(
        sa.update(P)
        .where(P.c.id == proposal.id, P.c.state == proposal.state)
        .values(state=state, decided=now, decided_by=by.person, reason=reason)
        .returning(P.c.id)
    ).first()
    if won is None:
        raise Conflict(
            f"cannot decide on proposal {proposal.id}: somebody else just did", "look at it again"
        )
    what = f"proposal {proposal.id} {state} by {by.name}"
    tell(c, proposal, state, what, now, by=by.id, person=by.person, reason=reason)
    return get_proposal(c, proposal.id)


def start(c: sa.Connection, proposal: ProposalRecord, by: str, now: float) -> None:
    values = {"state": ProposalState.EXECUTING, "started": now, "started_by": by, "wake_at": now}
    won = c.execute(
        sa.update(P)
        .where(P.c.id == proposal.id, P.c.state.in_(READY))
        .values(**values)
        .returning(P.c.id)
    ).first()
    if won is not None:
        tell(c, proposal, "executing", f"proposal {proposal.id} is carried out", now, by=by)


def lapse(c: sa.Connection, proposal: ProposalRecord, why: str, now: float) -> None:
    ended = c.execute(
        sa.update(P)
        .where(P.c.id == proposal.id, P.c.state.in_(LIVING))
        .values(state=ProposalState.LAPSED, reason=why)
        .returning(P.c.id)
    ).first()
    if ended is not None:
        what = f"proposal {proposal.id} lapsed: {why}"
        tell(c, proposal, "lapsed", what, now, reason=why)


def tell(
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


def stale(c: sa.Connection, proposal: ProposalRecord, now: float) -> str:
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


def busy(c: sa.Connection, proposal: ProposalRecord) -> str:
    """Why it cannot be carried out beside others that are; empty if it can."""
    mine = {*proposal.content["ended"], *(move["to"] for move in proposal.content["moves"])}
    found = c.execute(sa.select(P.c.id, P.c.content).where(P.c.state == ProposalState.EXECUTING))
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
