"""Carries proposals out: wave by wave, each move begun once, however often the worker dies.

All that it knows is in SQL. `advance` takes a lease, looks at what became of the moves that were
begun, begins those whose time has come, and writes down how far it is. A move is begun under a key
of its own, so that a second try finds the first one's migration. When anything goes wrong no
further move begins, what is begun comes to its end, and the proposal says what was done.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from porter.db.base import HostRecord
from porter.db.ledger import Ledger
from porter.db.moves import Moves
from porter.db.policies import Policies
from porter.db.proposals import (
    Carrying,
    MoveRecord,
    MoveState,
    Progress,
    Proposals,
    ProposalState,
)
from porter.domain.errors import PolicyRefused, PorterError, Transient
from porter.domain.identity import Principal
from porter.domain.policy import WINDOWS
from porter.domain.units import about
from porter.migrate.planning import Planner
from porter.migrate.prospects import Asked
from porter.schedule.budgets import Budgets
from porter.schedule.proposals import DRIFT
from porter.schedule.watching import follow, report

log = logging.getLogger(__name__)

LEASE = 60.0
LOOK = 2.0
"""Seconds between looks at moves that are under way."""
LONGEST_PAUSE = 60.0
SILENT_FOR = 120.0
"""A target that has said nothing for so long is not waited for."""


@dataclass(frozen=True)
class _Wait:
    until: float


@dataclass(frozen=True)
class _Stop:
    why: str


class Carrier:
    """Thread-safe; any number may work on one database."""

    def __init__(
        self,
        proposals: Proposals,
        planner: Planner,
        moves: Moves,
        policies: Policies,
        ledger: Ledger,
        clock: Callable[[], float],
        enqueue: Callable[[str], None],
        idle: float,
    ) -> None:
        """`enqueue` asks for a migration to be advanced; it may be lost."""
        self._proposals = proposals
        self._planner = planner
        self._moves = moves
        self._budgets = Budgets(proposals, policies)
        self._ledger = ledger
        self._clock = clock
        self._enqueue = enqueue
        self._idle = idle

    def sweep(self) -> int:
        """Go on with every proposal whose time has come. Returns how many."""
        due = self._proposals.due(self._clock())
        for identity in due:
            self.advance(identity)
        return len(due)

    def ended(self, migration: str) -> None:
        """A migration may have come to its end: go on with the proposal that it belongs to."""
        identity = self._proposals.of_migration(migration)
        if identity is not None:
            self.advance(identity)

    def advance(self, identity: str) -> None:
        """Take a proposal as far as it goes now. Harmless at any time. Raises Transient if the
        database is away."""
        now = self._clock()
        carrying = self._proposals.claim(identity, now, LEASE)
        if carrying is None:
            return
        progress = self._work(carrying, now)
        if progress.end is ProposalState.DONE:
            self._end_empty_hosts(carrying, now)
        if not self._proposals.apply(carrying, progress):
            log.warning("%s: the lease was lost, the outcome is thrown away", identity)

    def _work(self, carrying: Carrying, now: float) -> Progress:
        followed = follow(carrying, now)
        moves = list(followed.moves)
        why = carrying.proposal.stopping or followed.against
        wake = now + LOOK
        if not why:
            why, wake = self._begin_some(carrying, moves, now)
        active = any(move.state == MoveState.BEGUN for move in moves)
        if active or (not why and any(move.state == MoveState.PENDING for move in moves)):
            return Progress(now, wake, _changed(carrying, moves), stopping=why or None)
        end = ProposalState.STOPPED if why else ProposalState.DONE
        over = tuple(
            replace(move, state=MoveState.SKIPPED, reason=why, ended=now)
            if move.state == MoveState.PENDING
            else move
            for move in moves
        )
        told = report(carrying, over, why, self._idle)
        return Progress(now, None, _changed(carrying, list(over)), why or None, end, told)

    # -- beginning moves

    def _begin_some(
        self, carrying: Carrying, moves: list[MoveRecord], now: float
    ) -> tuple[str, float]:
        """Begin what may begin. Returns why to stop, if anything is against it, and when to look
        again."""
        wishes = carrying.proposal.content["moves"]
        pending = [move for move in moves if move.state != MoveState.DONE]
        wave = min((wishes[move.seq]["wave"] for move in pending), default=0)
        wake = now + LONGEST_PAUSE
        for move in pending:
            if wishes[move.seq]["wave"] != wave or move.state != MoveState.PENDING:
                wake = min(wake, now + LOOK)
                continue
            outcome = self._try(carrying, moves, move, now)
            if isinstance(outcome, _Stop):
                return outcome.why, now + LOOK
            if isinstance(outcome, _Wait):
                wake = min(wake, max(outcome.until, now + LOOK))
                continue
            moves[move.seq] = outcome
            wake = now + LOOK
        expired = carrying.proposal.expires <= now
        if expired and not any(move.state == MoveState.BEGUN for move in moves):
            return ("it expired before all of it was begun" if pending else ""), now
        return "", wake

    def _try(
        self, carrying: Carrying, moves: list[MoveRecord], move: MoveRecord, now: float
    ) -> MoveRecord | _Wait | _Stop:
        wish = carrying.proposal.content["moves"][move.seq]
        key = key_of(carrying.proposal.id, move.seq)
        digest = hashlib.sha256(f"{carrying.proposal.hash} {move.seq}".encode()).hexdigest()
        try:
            known = self._moves.repeated(key, digest)
            if known is None:
                obstacle = self._obstacle(carrying, moves, move, wish, now)
                if obstacle is not None:
                    return obstacle
                workload = carrying.workloads[move.workload]
                limit = self._budgets.limit(workload, carrying.proposal.id, now)
                free_at = self._proposals.reserve(carrying, move, limit, now)
                if free_at > now:
                    return _Wait(free_at)
                known = self._begin(carrying, moves, wish, key, digest, now)
        except PorterError as error:
            # Not begun after all: it counts against no budget.
            self._proposals.note(carrying, replace(move, begun=None), now)
            return _against(error, now)
        begun = replace(move, state=MoveState.BEGUN, migration=known, begun=now)
        # At once: what follows in this call may take long, and budgets count what was begun.
        if self._proposals.note(carrying, begun, now):
            self._enqueue(known)
        return begun

    def _begin(
        self,
        carrying: Carrying,
        moves: list[MoveRecord],
        wish: dict[str, Any],
        key: str,
        digest: str,
        now: float,
    ) -> str:
        proposal = carrying.proposal
        host = self._target(carrying, moves, wish)
        if host is None:
            asked = Asked(
                wish["workload"],
                wish["site"],
                provision="always",
                release=wish["release"],
                max_price=_most(proposal.content, wish["to"]),
                instance_type=wish["instance_type"],
                terms=wish["terms"],
                scheduled=True,
            )
        else:
            asked = Asked(
                wish["workload"],
                host.name,
                provision="never",
                release=wish["release"],
                scheduled=True,
            )
        by = Principal(proposal.started_by, "system", proposal.started_by, ())
        met = {(one["policy"], one["rule"]) for one in proposal.demands if proposal.decided}
        prospect = self._planner.look(asked, now)
        return self._planner.start(prospect, by, now, key, digest, met)

    def _target(
        self, carrying: Carrying, moves: list[MoveRecord], wish: dict[str, Any]
    ) -> HostRecord | None:
        """The host to go to; None for a machine that this move is to make."""
        if not wish["new"]:
            return carrying.hosts.get(wish["to"])
        first = _maker(carrying, moves, wish)
        migration = carrying.migrations.get(first.migration or "")
        return None if migration is None else carrying.hosts.get(migration.target_name)

    def _obstacle(
        self,
        carrying: Carrying,
        moves: list[MoveRecord],
        move: MoveRecord,
        wish: dict[str, Any],
        now: float,
    ) -> _Wait | _Stop | None:
        """What is against beginning a move now, policies left out."""
        proposal, name = carrying.proposal, move.workload
        workload, basis = carrying.workloads.get(name), proposal.basis["workloads"][name]
        if workload is None or workload.state == "gone" or workload.host != basis["host"]:
            return _Stop(f"{name} is not on {wish['from']} any more")
        if workload.generation != basis["generation"]:
            return _Stop(f"{name} has moved meanwhile")
        if name in carrying.moving:
            return _Stop(f"migration {carrying.moving[name]} is moving {name}")
        if wish["release"] and _others_left(carrying, moves, move, wish):
            return _Wait(now + LOOK)
        if wish["new"]:
            first = _maker(carrying, moves, wish)
            if first.seq != move.seq and first.state != MoveState.DONE:
                return _Wait(now + LOOK)
        host = self._target(carrying, moves, wish)
        if wish["new"] and host is None:
            return None
        return self._no_room(carrying, moves, wish, host, now)

    def _no_room(
        self,
        carrying: Carrying,
        moves: list[MoveRecord],
        wish: dict[str, Any],
        host: HostRecord | None,
        now: float,
    ) -> _Wait | _Stop | None:
        if host is None or host.facts is None:
            return _Stop(f"the host {wish['to']} has been removed")
        machine = carrying.machines.get(host.id)
        if machine is not None and machine.state != "running":
            return _Stop(f"the machine {host.name} is being removed")
        if host.notices:
            return _Stop(f"{host.name} is about to be taken away ({host.notices[0]['kind']})")
        if not host.alive(now):
            silent = host.silent(now)
            if silent > SILENT_FOR:
                return _Stop(f"{host.name} has said nothing for {about(silent)}")
            return _Wait(now + LOOK)
        wishes = carrying.proposal.content["moves"]
        coming = sum(
            wishes[one.seq]["needs_bytes"]
            for one in moves
            if one.state == MoveState.BEGUN and wishes[one.seq]["to"] == wish["to"]
        )
        needed = wish["needs_bytes"]
        if host.facts.memory_free >= needed + coming:
            return None
        if coming:
            return _Wait(now + LOOK)
        return _Stop(
            f"{host.name} has no room for {wish['workload']} any more: "
            f"{host.facts.memory_free >> 20} MiB of memory are free, {needed >> 20} MiB are needed"
        )

    def _end_empty_hosts(self, carrying: Carrying, now: float) -> None:
        """Hosts that end though nothing was on them: no move released them."""
        left = {move["from"] for move in carrying.proposal.content["moves"]}
        for name in carrying.proposal.content["ended"]:
            host = carrying.hosts.get(name)
            if host is not None and name not in left:
                self._ledger.drain(host.id, f"ended by proposal {carrying.proposal.id}", now)


def _against(error: PorterError, now: float) -> _Wait | _Stop:
    """What an error of a move that was to begin means."""
    if isinstance(error, Transient):
        return _Wait(now + LOOK)
    if isinstance(error, PolicyRefused) and error.members.get("rule") == WINDOWS:
        return _Wait(now + LONGEST_PAUSE)
    return _Stop(error.message)


def key_of(proposal: str, seq: int) -> str:
    """The idempotency key of one move."""
    return f"proposal {proposal} {seq}"


def _most(content: dict[str, Any], machine: str) -> str | None:
    """What a new machine may cost an hour, in its site's currency: little more than it did."""
    price = next(one["price"] for one in content["machines"] if one["name"] == machine)
    return format(Decimal(price["amount"]) * (1 + DRIFT), "f")


def _maker(carrying: Carrying, moves: list[MoveRecord], wish: dict[str, Any]) -> MoveRecord:
    """The move that makes the machine to which this one goes, too."""
    wishes = carrying.proposal.content["moves"]
    return next(move for move in moves if wishes[move.seq]["to"] == wish["to"])


def _others_left(
    carrying: Carrying, moves: list[MoveRecord], mine: MoveRecord, wish: dict[str, Any]
) -> bool:
    """Whether another move off the same host has not been made yet."""
    wishes = carrying.proposal.content["moves"]
    return any(
        move.seq != mine.seq
        and wishes[move.seq]["from"] == wish["from"]
        and move.state != MoveState.DONE
        for move in moves
    )


def _changed(carrying: Carrying, moves: list[MoveRecord]) -> list[MoveRecord]:
    return [now for before, now in zip(carrying.moves, moves, strict=True) if before != now]
