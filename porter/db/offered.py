"""What a proposal is: records of it, of its moves, and of how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from porter.db.base import HostRecord, InstanceRecord, MigrationRecord, WorkloadRecord


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
