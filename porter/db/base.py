"""What the database remembers, as plain records. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from porter.domain.host import HostFacts
from porter.domain.identity import DEFAULT_PROJECT, FLEET
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
    certificate: str | None = None
    """PEM; null for a host that joined before this was kept, or has not joined yet."""
    notices: tuple[dict[str, Any], ...] = ()
    """What its place says is about to become of it: `kind`, `at`, and `seen` (when we heard)."""

    def alive(self, now: float) -> bool:
        return self.last_seen is not None and self.silent(now) < ALIVE_FOR

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
    endpoints: tuple[str, ...]
    """As declared by the API, beside those of its label."""
    state: str
    """The engine's word for it; `gone` when its host no longer has it."""
    project: str = DEFAULT_PROJECT
    policies: tuple[str, ...] = ()
    """Those that its label names; they may not exist."""


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
    project: str = DEFAULT_PROJECT
    created_by: str = ""
    """Id of the principal that asked for it."""
    plan_id: str | None = None
    """The plan that it carries out, if it was planned beforehand."""
    request: str = ""
    """Id of the API request that made it."""
    forecast: dict[str, Any] | None = None
    """What was expected of it when it was asked for; None: it is older than forecasts."""


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
    project: str = FLEET
    request: str = ""
    """Id of the API request that caused it, "" if none did."""


@dataclass(frozen=True)
class SiteRecord:
    name: str
    kind: str
    region: str
    settings: dict[str, str]
    sealed: str
    """Its secrets, encrypted by the vault; empty where credentials come from the environment."""
    created: float
    verified: float | None
    rights: list[dict[str, Any]] | None
    """What the last verification found."""


@dataclass(frozen=True)
class StoreRecord:
    name: str
    url: str
    settings: dict[str, str]
    sealed: str
    """Its secrets, encrypted by the vault."""
    created: float


class CheckpointState(StrEnum):
    CREATING = "creating"
    READY = "ready"
    FAILED = "failed"
    """It could not be made; nothing of it is left in the store."""
    RESTORING = "restoring"
    REMOVING = "removing"


@dataclass(frozen=True)
class CheckpointRecord:
    """A checkpoint that is kept in a store, under its id."""

    id: str
    workload: str
    host: str
    host_name: str
    """Where it was taken."""
    store: str
    state: CheckpointState
    reason: str
    """What is waited for, or why it failed."""
    recipients: list[dict[str, str]]
    """Hosts that can read it: id, name, serial of the certificate."""
    result: dict[str, Any] | None
    """A `Checkpointed`, once it is whole."""
    task: dict[str, Any]
    """What is being done with it, or was done last; see `porter.migrate.checkpoints`."""
    progress: dict[str, Any] | None
    created: float
    finished: float | None
    wake_at: float | None
    news: int
    project: str = DEFAULT_PROJECT


@dataclass(frozen=True)
class CheckpointClaim:
    """A leased checkpoint with all that its next step may need to know."""

    token: str
    checkpoint: CheckpointRecord
    commands: tuple[CommandRecord, ...]
    hosts: dict[str, HostRecord]
    workload: WorkloadRecord | None
    """Also one that no host has any more."""


@dataclass(frozen=True)
class Homing:
    """A restored workload belongs to a host from now on; without a host it is lost again."""

    host: str | None
    container: str
    container_name: str
    address: str
    generation: int
    image: str = ""


@dataclass(frozen=True)
class CheckpointChange:
    """What one call changes, applied in one transaction or not at all."""

    state: CheckpointState
    now: float
    task: dict[str, Any]
    reason: str = ""
    wake_at: float | None = None
    result: dict[str, Any] | None = None
    recipients: list[dict[str, str]] | None = None
    send: tuple[NewCommand, ...] = ()
    events: tuple[NewEvent, ...] = ()
    home: Homing | None = None
    forget: str = ""
    """Drop the commands whose ids begin so."""
    gone: bool = False
    """The row goes, too."""


@dataclass(frozen=True)
class InstanceRecord:
    """A machine that Porter made, or is about to make. Written before anything is asked for."""

    key: str
    host: str
    """Id of the host that it is or becomes."""
    host_name: str
    site: str
    migration: str | None
    instance_type: str
    instance: str
    """The provider's id; empty until it is known."""
    public_address: str
    state: str
    """launching, running, draining or gone."""
    token: str
    """How to go on with an operation of the provider that is under way."""
    quote: dict[str, Any] | None
    reason: str
    created: float
    launched: float | None
    empty_since: float | None
    gone: float | None
    wake_at: float
    launched_at: float | None = None
    """When it began by its provider's word; None where that does not tell: then `launched`."""
    ended_at: float | None = None
    """When it ended by its provider's word; None: then `gone`."""


@dataclass(frozen=True)
class DecisionRecord:
    """What a person decided about a migration that is held."""

    migration: str
    run_on: str
    """`source` or `target`."""
    reason: str
    proof: str
    """Why the target's copy is sure not to run: `provider` (its site cuts its power), `declared`
    (that person did), or "" (the target itself gives up what it lost)."""
    by: str
    """Id of the principal."""
    by_name: str
    at: float


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
    decision: DecisionRecord | None = None


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
    created_by: str = ""
    plan_id: str | None = None
    forecast: dict[str, Any] | None = None
