"""What the control plane answers, as frozen dataclasses.

Sizes are in bytes, durations in the unit that their name says, times have an offset. `None` is "not
known", never 0. States are plain strings, as a newer control plane may know more of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from porter.client.decode import KEY
from porter.domain.migration import FINAL

SOURCE: dict[str, Any] = {KEY: "from"}
TARGET: dict[str, Any] = {KEY: "to"}


@dataclass(frozen=True)
class Host:
    id: str
    name: str
    site: str
    alive: bool
    last_seen: datetime | None
    workloads: tuple[str, ...]
    facts: dict[str, Any] | None = None
    machine: dict[str, Any] | None = None
    """Type, state and price of a machine that Porter made; None for others."""


@dataclass(frozen=True)
class Workload:
    id: str
    name: str
    project: str
    host: str | None
    site: str | None
    state: str
    address: str
    image: str
    memory_bytes: int
    generation: int
    endpoints: tuple[str, ...]
    migration: str | None
    """The migration that moves it right now."""


@dataclass(frozen=True)
class Step:
    kind: str
    state: str
    attempt: int
    error: str
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Move:
    """A migration's state, as it was when it was asked for. See `Migration` for what it can do."""

    id: str
    workload: str
    project: str
    source: str = field(metadata=SOURCE)
    target: str = field(metadata=TARGET)
    mode: str
    state: str
    """pending, running, undoing, held, succeeded, rolled_back or failed."""
    phase: str | None
    """The step that is under way."""
    generation: int
    reason: str
    cancel_requested: bool
    plan_hash: str
    created_at: datetime | None
    finished_at: datetime | None
    steps: tuple[Step, ...]
    plan: dict[str, Any] | None = None
    """Only in the answer to a dry run."""

    @property
    def ended(self) -> bool:
        return self.state in FINAL

    @property
    def succeeded(self) -> bool:
        return self.state == "succeeded"


@dataclass(frozen=True)
class Bytes:
    """Uncompressed per kind, and compressed on the wire."""

    memory: int
    files: int
    image: int
    wire: int
    wire_frozen: int


@dataclass(frozen=True)
class Phase:
    name: str
    ms: float


@dataclass(frozen=True)
class Connections:
    kept: int
    closed: int


@dataclass(frozen=True)
class Receipt:
    """What a migration really did, measured; `raw` is the whole of it, as it came."""

    id: str
    workload: str
    source: str = field(metadata=SOURCE)
    target: str = field(metadata=TARGET)
    mode: str
    state: str
    generation: int
    started_at: datetime
    finished_at: datetime | None
    downtime_ms: float | None
    total_ms: float | None
    bytes: Bytes
    phases: tuple[Phase, ...]
    connections: Connections
    verified: str | None
    """The digest that source and target both computed; None if it was not reached."""
    reason: str
    rounds: tuple[dict[str, Any], ...] = ()
    cost: dict[str, Any] = field(default_factory=dict)
    endpoints: tuple[str, ...] = ()
    plan: str | None = None
    plan_hash: str = ""
    undoes: str = ""
    raw: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def succeeded(self) -> bool:
        return self.state == "succeeded"


@dataclass(frozen=True)
class Blocker:
    """What stops a move, and what to do."""

    code: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Preflight:
    workload: str
    source: str = field(metadata=SOURCE)
    target: str = field(metadata=TARGET)
    mode: str
    ok: bool
    blockers: tuple[Blocker, ...]
    memory_bytes: int | None
    file_bytes: int | None
    offers: tuple[dict[str, Any], ...] = ()
    """Machines that could be made for it, cheapest first, where the site has no host."""


@dataclass(frozen=True)
class Finding:
    """What one rule of one policy says; `outcome` as in `Verdict`."""

    policy: str
    rule: str
    outcome: str
    why: str
    remedy: str


@dataclass(frozen=True)
class Verdict:
    outcome: str
    """allowed, needs_approval or refused."""
    findings: tuple[Finding, ...]
    opens_at: datetime | None
    """When the change windows open, where only they are in the way."""


@dataclass(frozen=True)
class Plan:
    """A move frozen beforehand. An approval is bound to `hash`."""

    id: str
    hash: str
    state: str
    workload: str
    project: str
    content: dict[str, Any]
    basis: dict[str, Any]
    verdict: Verdict
    created_at: datetime | None
    created_by: str
    expires_at: datetime | None
    decided_at: datetime | None
    decided_by: str
    reason: str
    migration: str | None


@dataclass(frozen=True)
class Task:
    """What is being done with a checkpoint, or was done last. `outcome` is None meanwhile."""

    kind: str
    to: str | None
    outcome: str | None
    reason: str
    ended_at: datetime | None


@dataclass(frozen=True)
class Checkpoint:
    id: str
    workload: str
    project: str
    host: str
    store: str
    state: str
    reason: str
    created_at: datetime | None
    taken_at: datetime | None
    downtime_ms: float | None
    size_bytes: int | None
    stored_bytes: int | None
    digest: str | None
    readers: tuple[str, ...]
    task: Task


@dataclass(frozen=True)
class Event:
    """Something that happened: a CloudEvent. `data` has kind, message, and more by kind."""

    id: str
    """Later ones have greater numbers; to be given to `events(after=…)`."""
    type: str
    source: str
    time: datetime
    data: dict[str, Any]
    subject: str = ""
    project: str = ""
    migration: str = ""
    workload: str = ""
    requestid: str = ""
