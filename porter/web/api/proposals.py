"""/v1/proposals: moves that pay together; approved by another person, carried out once, stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from porter.db.listing import Page
from porter.db.proposals import MoveRecord, ProposalRecord, ProposalState
from porter.domain.errors import NotFound
from porter.domain.identity import Permission, Principal
from porter.web.access import Caller, demand
from porter.web.api.common import PROBLEMS, SECURED, Control, person_name
from porter.web.api.paging import Paged
from porter.web.api.schemas.base import Body, moment
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["proposals"])
Reason = Annotated[str, Field(max_length=2000)]


class ProposalApproval(Body):
    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the proposal as it was looked at."""
    reason: Reason = ""


class ProposalDecline(Body):
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class StopIn(Body):
    reason: Reason = ""


class ProposedMoveOut(BaseModel):
    """One move and how far it is: `pending`, `begun`, `done`, `failed` or `skipped`."""

    workload: str
    source: str
    target: str
    """A host, or a machine to be made: `SITE/TYPE/TERMS#N`."""
    wave: int
    """Those of one wave are made at the same time."""
    release: bool
    """Afterwards the machine that is left ends."""
    state: str
    migration: str | None
    reason: str
    begun_at: datetime | None
    ended_at: datetime | None


class ProposalOut(BaseModel):
    id: str
    hash: str
    """SHA-256 over id, content, basis and demands: what an approval is bound to."""
    state: ProposalState
    project: str
    """Empty where it touches several projects."""
    rebalance: str
    """The run that made it."""
    content: dict[str, Any]
    """What would be done, and the sums: exact amounts as text, with sources."""
    basis: dict[str, Any]
    """What it rests on: when any of this changes, it lapses."""
    demands: list[dict[str, Any]]
    """Rules that ask for another person's approval."""
    moves: list[ProposedMoveOut]
    created_at: datetime | None
    created_by: str
    """The person, who cannot approve it; or `schedule NAME`."""
    created_by_name: str
    expires_at: datetime | None
    decided_at: datetime | None
    decided_by: str
    decided_by_name: str
    started_at: datetime | None
    """When it began to be carried out."""
    started_by: str
    started_by_name: str
    ended_at: datetime | None
    stopping: str
    """Why no further move is begun."""
    reason: str
    """What was done and what not; why it lapsed; or of whoever decided."""

    @classmethod
    def of(
        cls,
        proposal: ProposalRecord,
        moves: tuple[MoveRecord, ...],
        name: Callable[[str], str] = str,
    ) -> ProposalOut:
        """`name`: what the person with an id is called."""
        wishes = proposal.content["moves"]
        return cls(
            id=proposal.id,
            hash=proposal.hash,
            state=ProposalState(proposal.state),
            project=proposal.project,
            rebalance=proposal.rebalance,
            content=proposal.content,
            basis=proposal.basis,
            demands=proposal.demands,
            moves=[_move(wishes[move.seq], move) for move in moves],
            created_at=moment(proposal.created),
            created_by=proposal.created_by,
            created_by_name=name(proposal.created_by),
            expires_at=moment(proposal.expires),
            decided_at=moment(proposal.decided),
            decided_by=proposal.decided_by,
            decided_by_name=name(proposal.decided_by),
            started_at=moment(proposal.started),
            started_by=proposal.started_by,
            started_by_name=name(proposal.started_by),
            ended_at=moment(proposal.ended),
            stopping=proposal.stopping,
            reason=proposal.reason,
        )


def _move(wish: dict[str, Any], move: MoveRecord) -> ProposedMoveOut:
    return ProposedMoveOut(
        workload=move.workload,
        source=wish["from"],
        target=wish["to"],
        wave=wish["wave"],
        release=wish["release"],
        state=move.state,
        migration=move.migration,
        reason=move.reason,
        begun_at=moment(move.begun),
        ended_at=moment(move.ended),
    )


def shown(control: ControlPlane, proposal: ProposalRecord) -> ProposalOut:
    return all_shown(control, [proposal])[0]


def all_shown(control: ControlPlane, found: Sequence[ProposalRecord]) -> list[ProposalOut]:
    moves = control.proposals.moves_of(found)
    names: dict[str, str] = {}
    return [
        ProposalOut.of(one, moves[one.id], lambda who: person_name(control, who, names))
        for one in found
    ]


@router.get("/proposals")
def list_proposals(
    control: Control, caller: Caller, paged: Paged, state: ProposalState | None = None
) -> list[ProposalOut]:
    """Newest first. Those that touch several projects are seen by those who see all."""
    key = paged.after(float, str)
    after = (float(key[0]), str(key[1])) if key else None
    found = control.proposals.all(caller.projects(), state, None, paged.limit + 1, after)
    items, last = found[: paged.limit], found[: paged.limit][-1:]
    more = len(found) > paged.limit
    page = Page(items, (last[0].created, last[0].id) if more else None)
    return all_shown(control, paged.give(page))


@router.get("/proposals/{proposal_id}")
def get_proposal(control: Control, caller: Caller, proposal_id: str) -> ProposalOut:
    return shown(control, control.proposals.get(proposal_id, caller.projects()))


@router.post("/proposals/{proposal_id}/approve")
def approve(
    control: Control, caller: Caller, proposal_id: str, body: ProposalApproval
) -> ProposalOut:
    """Approve exactly the proposal with this hash. 403 for whoever ran the optimiser; 409 for
    another hash, a proposal that waits for nobody, or `plan-lapsed`."""
    _seen(control, caller, proposal_id, Permission.APPROVE)
    now = time.time()
    done = control.proposals.approve(proposal_id, body.hash, caller, body.reason, now)
    return shown(control, done)


@router.post("/proposals/{proposal_id}/decline")
def decline(
    control: Control, caller: Caller, proposal_id: str, body: ProposalDecline
) -> ProposalOut:
    """Decide against a proposal, also one that was approved; whoever had it made may, too."""
    known = control.proposals.get(proposal_id, caller.projects())
    mine = known.created_by == caller.person
    demand(caller, Permission.OPERATE if mine else Permission.APPROVE, known.project)
    done = control.proposals.decline(proposal_id, caller, body.reason, time.time())
    return shown(control, done)


@router.post("/proposals/{proposal_id}/execute", status_code=HTTPStatus.ACCEPTED)
def execute(control: Control, caller: Caller, proposal_id: str) -> ProposalOut:
    """Begin to carry it out, once: sent again, nothing changes. Prices, policies and the fleet are
    looked at again before."""
    _seen(control, caller, proposal_id, Permission.OPERATE)
    begun = control.port.execute(proposal_id, caller, time.time())
    control.queue.carry(begun.id)
    return shown(control, begun)


@router.post("/proposals/{proposal_id}/stop", status_code=HTTPStatus.ACCEPTED)
def stop(control: Control, caller: Caller, proposal_id: str, body: StopIn) -> ProposalOut:
    """Begin no further move of it. What is begun comes to its end."""
    _seen(control, caller, proposal_id, Permission.OPERATE)
    stopped = control.proposals.stop(proposal_id, caller, body.reason, time.time())
    control.queue.carry(stopped.id)
    return shown(control, stopped)


@router.get("/proposals/{proposal_id}/receipt")
def get_receipt(control: Control, caller: Caller, proposal_id: str) -> dict[str, Any]:
    """What it really cost and saved until now: reckoned from the ledger and its moves' receipts."""
    proposal = control.proposals.get(proposal_id, caller.projects())
    return control.accountant.receipt(proposal, time.time())


class ExplanationOut(BaseModel):
    """Why a workload stays or is to move, by the newest run that looked at it."""

    workload: str
    outcome: str
    """`stays`, `moves`, or `unseen` if no run has looked at it."""
    rebalance: str | None
    at: datetime | None
    rule: str
    """The constraint that binds it."""
    why: str
    remedy: str
    """What would change the answer."""
    runner_up: str
    """The best that there was else."""
    saving: float | None
    """What that would have saved over the horizon; null: there was nothing."""
    currency: str
    """Of that; empty if no run has looked at it."""
    needs: str
    """What the room that is kept for it rests on; empty where it was not watched for a day."""
    prices: str
    """Of one that stays: what its machine and the next best are expected to cost, where prices were
    seen to change."""
    proposal: str | None
    move: dict[str, Any] | None
    sums: dict[str, Any] | None


@router.get("/workloads/{name}/explanation")
def get_explanation(control: Control, caller: Caller, name: str) -> ExplanationOut:
    """What binds a workload that stays, and what would change that; or the sums of its move."""
    workload = control.found.workload(name, caller.projects())
    run = control.rebalances.last_about(name, workload.project)
    nothing: dict[str, Any] = {
        "workload": name,
        "outcome": "unseen",
        "rebalance": None,
        "at": None,
        "rule": "",
        "why": "no run of the optimiser has looked at it",
        "remedy": "porter rebalance run",
        "runner_up": "",
        "saving": None,
        "currency": "",
        "needs": "",
        "prices": "",
        "proposal": None,
        "move": None,
        "sums": None,
    }
    if run is None:
        return ExplanationOut(**nothing)
    currency = str((run.problem or {}).get("currency", ""))
    known = {"rebalance": run.id, "at": moment(run.started), "currency": currency}
    if name in (run.stays or {}):
        return ExplanationOut(**{**nothing, **known, "outcome": "stays", **(run.stays or {})[name]})
    for proposal in control.proposals.all(rebalance=run.id, limit=1000):
        for wish in proposal.content["moves"]:
            if wish["workload"] == name:
                return ExplanationOut(**{**nothing, **known, **_moves(proposal, wish)})
    raise NotFound(f"cannot find out why {name} is to move", "porter rebalance run")


def _moves(proposal: ProposalRecord, wish: dict[str, Any]) -> dict[str, Any]:
    sums = proposal.content["sums"]
    other = proposal.content["runner_up"] or {}
    return {
        "outcome": "moves",
        "rule": "saving",
        "why": f"it saves {sums['saving']} {sums['currency']} together with what moves with it",
        "remedy": "",
        "runner_up": str(other.get("what", "")),
        "saving": None if "saving" not in other else float(other["saving"]),
        "currency": sums["currency"],
        "needs": wish.get("needs", ""),
        "proposal": proposal.id,
        "move": wish,
        "sums": sums,
    }


def _seen(
    control: ControlPlane, caller: Principal, proposal_id: str, permission: Permission
) -> ProposalRecord:
    """A proposal with which the caller may do this. NotFound for one that they may not see."""
    known = control.proposals.get(proposal_id, caller.projects())
    demand(caller, permission, known.project)
    return known
