"""One move of one workload: its states, steps and receipt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """How a workload moves. `auto` picks the best rung both hosts can do."""

    AUTO = "auto"
    LIVE = "live"
    COLD = "cold"
    RESTART = "restart"


class MigrationState(StrEnum):
    """`pending`, `running` and `undoing` are active: at most one per workload."""

    PENDING = "pending"
    RUNNING = "running"
    UNDOING = "undoing"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    HELD = "held"
    """Still active: frozen, in doubt, and saying why; ends when both hosts can be asked."""
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({MigrationState.SUCCEEDED, MigrationState.ROLLED_BACK, MigrationState.FAILED})


class StepKind(StrEnum):
    PROVISION = "provision"
    """Only where a host must be made first."""
    PREFLIGHT = "preflight"
    RESERVE = "reserve"
    SYNC = "sync"
    HANDOVER = "handover"
    REWIRE = "rewire"
    PUBLISH = "publish"
    """DNS names, load balancers' targets and floating addresses follow."""
    SETTLE = "settle"


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


@dataclass(frozen=True)
class Bytes:
    """Bytes moved: uncompressed per kind, and compressed on the wire."""

    memory: int = 0
    files: int = 0
    image: int = 0
    wire: int = 0
    wire_frozen: int = 0


@dataclass(frozen=True)
class Phase:
    name: str
    ms: float


@dataclass(frozen=True)
class Connections:
    kept: int = 0
    closed: int = 0


@dataclass(frozen=True)
class Receipt:
    """What really happened, measured. Times in milliseconds, sizes in bytes."""

    id: str
    workload: str
    source: str
    target: str
    mode: str
    state: str
    generation: int
    started_at: str
    finished_at: str | None = None
    downtime_ms: float | None = None
    total_ms: float | None = None
    bytes: Bytes = field(default_factory=Bytes)
    rounds: tuple[dict[str, float], ...] = ()
    phases: tuple[Phase, ...] = ()
    connections: Connections = field(default_factory=Connections)
    cost: dict[str, Any] = field(default_factory=dict)
    """What it cost and what the target costs, each with its source; what is unknown says so."""
    endpoints: tuple[str, ...] = ()
    """What follows the workload now, as it was declared."""
    verified: str | None = None
    """The digest over all layers that source and target both computed; None if not reached."""
    reason: str = ""
    requested_by: str = ""
    """Id of the user or token that asked for it."""
    plan: str | None = None
    """The plan that it carried out, if it was planned beforehand."""
    plan_hash: str = ""
    """Of that plan; of what the request came to, if there was none."""
    undoes: str = ""
    """The migration that this one moved back, if it did."""
    forecast: dict[str, Any] | None = None
    """What was expected of it when it began: ranges, and what they rest on."""
    forecast_error: dict[str, float] = field(default_factory=dict)
    """What it came to over what was likely: downtime, total, wire, cost, as far as both are
    known."""

    def as_dict(self) -> dict[str, object]:
        """The public shape: `source` and `target` are called `from` and `to`."""
        raw = asdict(self)
        out: dict[str, object] = {}
        for key, value in raw.items():
            out[{"source": "from", "target": "to"}.get(key, key)] = value
        return out
