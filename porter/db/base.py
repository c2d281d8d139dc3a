"""What the database remembers, as plain records. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from porter.domain.host import HostFacts
from porter.domain.migration import MigrationState, StepKind, StepState

ACTIVE = (
    MigrationState.PENDING,
    MigrationState.RUNNING,
    MigrationState.UNDOING,
    MigrationState.HELD,
)
"""States of which a workload can have one migration at most."""

ALIVE_FOR = 10.0
"""A host that has said nothing for so long counts as not alive."""

WITHDRAWN = "withdrawn"
"""Error code of a command that was taken back before its host fetched it."""


@dataclass(frozen=True)
class HostRecord:
    id: str
    name: str
    site: str
    range: str
    serial: str
    facts: HostFacts | None
    last_seen: float | None
    joined_at: float

    def alive(self, now: float) -> bool:
        return self.silent(now) < ALIVE_FOR

    def silent(self, now: float) -> float:
        """Seconds since it was last heard."""
        return now - (self.joined_at if self.last_seen is None else self.last_seen)


@dataclass(frozen=True)
class WorkloadRecord:
    id: str
    name: str
    host: str | None
    container: str
    container_name: str
    generation: int
    address: str
    image: str
    memory_bytes: int
    state: str
    """The engine's word for it; `gone` when its host no longer has it."""


@dataclass(frozen=True)
class MigrationRecord:
    id: str
    workload: str
    """The workload's name; `workload_id` is its row."""
    workload_id: str
    source: str
    source_name: str
    target: str
    target_name: str
    mode: str
    generation: int
    """The workload's generation before the move."""
    plan: dict[str, Any]
    plan_hash: str
    state: MigrationState
    reason: str
    cancel_requested: bool
    receipt: dict[str, Any] | None
    created: float
    started: float | None
    finished: float | None
    wake_at: float | None
    news: int
    """Grows with everything that a running `advance` may not have seen."""


@dataclass(frozen=True)
class StepRecord:
    kind: StepKind
    seq: int
    state: StepState
    attempt: int
    memory: dict[str, Any]
    """What the step must know when it is called again."""
    output: dict[str, Any] | None
    error: str
    started: float | None
    ended: float | None


@dataclass(frozen=True)
class CommandRecord:
    id: str
    host: str
    migration: str | None
    step: str
    kind: str
    payload: dict[str, Any]
    state: str
    """queued, sent or done."""
    result: dict[str, Any] | None
    created: float
    sent: float | None
    done: float | None

    @property
    def withdrawn(self) -> bool:
        error = (self.result or {}).get("error") or {}
        return error.get("code") == WITHDRAWN


@dataclass(frozen=True)
class EventRecord:
    id: int
    at: float
    migration: str | None
    workload: str
    kind: str
    message: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A leased migration with all that its next step may need to know."""

    token: str
    migration: MigrationRecord
    step: StepRecord
    steps: tuple[StepRecord, ...]
    commands: tuple[CommandRecord, ...]
    source: HostRecord
    target: HostRecord
    workload: WorkloadRecord


@dataclass(frozen=True)
class NewCommand:
    """A command to be sent; `id` derives from migration, step and name: sending twice is once."""

    id: str
    host: str
    step: str
    kind: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class NewEvent:
    kind: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What one call of a step changes, applied in one transaction or not at all."""

    step: StepKind
    step_state: StepState
    attempt: int
    memory: dict[str, Any]
    output: dict[str, Any] | None
    error: str
    state: MigrationState
    reason: str
    wake_at: float
    now: float
    send: tuple[NewCommand, ...] = ()
    events: tuple[NewEvent, ...] = ()
    withdraw: bool = False
    """Take back commands that no host has fetched yet."""
    rehome: str | None = None
    """The workload's container on the target, where it lives from now on."""
    receipt: dict[str, Any] | None = None


@dataclass(frozen=True)
class NewMigration:
    """A request to move a workload, resolved to hosts."""

    id: str
    workload: WorkloadRecord
    source: HostRecord
    target: HostRecord
    mode: str
    plan: dict[str, Any]
    plan_hash: str
    steps: tuple[StepKind, ...]
    now: float
    idempotency_key: str | None = None
    request_hash: str = ""
