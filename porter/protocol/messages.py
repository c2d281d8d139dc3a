"""Commands for agents, and their reports. All fields are JSON-able through `codec`.

| kind | runs on | payload | output |
|---|---|---|---|
| inspect | source | Inspect | WorkloadSpec |
| reach | source | Reach | Reached |
| check | target | Check | Checked |
| reserve | target | Reserve | Reserved |
| ship_image | source | ShipImage | ShippedImage |
| prepare | target | Prepare | Prepared |
| handover | source | Handover | HandoverReport |
| query | both | Query | HandoverState |
| resolve | both | Resolve | HandoverState |
| abort | source | Query | HandoverState |
| refuse | target | Query | HandoverState |
| reclaim | source | Reclaim | HandoverState |
| settle | both | Settle | Settled |
| checkpoint | the workload's host | TakeCheckpoint | Checkpointed |
| vacate | the host that had it last | Vacate | Vacated |
| rewrap | a host that can read it | Rewrap | Rewrapped |
| restore | target | RestoreCheckpoint | Restored |
| open | target | Query | HandoverState |

Every command may arrive more than once: its id is the key of the agent's journal, and a command
already done answers with the recorded result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from porter.domain.host import HostFacts
from porter.domain.migration import Bytes, Connections, Phase
from porter.domain.workload import Blocker, Image, WorkloadSpec


class Kind(StrEnum):
    INSPECT = "inspect"
    CHECK = "check"
    RESERVE = "reserve"
    SHIP_IMAGE = "ship_image"
    PREPARE = "prepare"
    HANDOVER = "handover"
    QUERY = "query"
    RESOLVE = "resolve"
    REACH = "reach"
    ABORT = "abort"
    REFUSE = "refuse"
    RECLAIM = "reclaim"
    SETTLE = "settle"
    CHECKPOINT = "checkpoint"
    VACATE = "vacate"
    REWRAP = "rewrap"
    RESTORE = "restore"
    OPEN = "open"


@dataclass(frozen=True)
class Command:
    """One order to one agent. `payload` is the JSON-able form of the kind's payload class."""

    id: str
    kind: Kind
    migration: str | None
    payload: dict[str, Any]
    request: str = ""
    """Id of the API request in which it began, for the logs."""


@dataclass(frozen=True)
class Failure:
    """A PorterError on the wire: `code` as in domain.errors."""

    code: str
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Result:
    """The end of a command: exactly one of `output` and `error` is set."""

    output: dict[str, Any] | None = None
    error: Failure | None = None


@dataclass(frozen=True)
class Progress:
    """News of a running command, for people: not kept on the agent, may be lost.

    `done` and `total` are bytes; total 0 means unknown. `capacity` is what the link between the
    hosts carries in bytes per second, where that was just measured.
    """

    phase: str
    done: int = 0
    total: int = 0
    message: str = ""
    capacity: int = 0


@dataclass(frozen=True)
class Inspect:
    workload: str


@dataclass(frozen=True)
class Reach:
    """Can you open a connection there?"""

    address: str
    port: int


@dataclass(frozen=True)
class Reached:
    ok: bool
    problem: str = ""


@dataclass(frozen=True)
class Check:
    """`source` are the facts of the host from which it would come."""

    spec: WorkloadSpec
    source: HostFacts


@dataclass(frozen=True)
class Checked:
    blockers: tuple[Blocker, ...]
    missing_layers: tuple[str, ...]
    """Image layers the target lacks; all of them when it lacks the image altogether."""


@dataclass(frozen=True)
class Reserve:
    """Open the target for one migration. `token` authorises the source's streams.

    `source_host` is the host id that must stand in the certificate of whoever connects.
    """

    migration: str
    workload: str
    generation: int
    spec: WorkloadSpec
    source_host: str
    token: str
    via: str = ""
    """Below this prefix of a store the source talks to us, where it cannot reach us."""


@dataclass(frozen=True)
class Reserved:
    peer_address: str
    peer_port: int
    missing_layers: tuple[str, ...]


@dataclass(frozen=True)
class ShipImage:
    migration: str
    image: Image
    missing_layers: tuple[str, ...]
    target_host: str
    peer_address: str
    peer_port: int
    token: str
    via: str = ""


@dataclass(frozen=True)
class ShippedImage:
    image_bytes: int
    wire_bytes: int


@dataclass(frozen=True)
class Prepare:
    """Make the twin container on the target; everything that can be done before the freeze."""

    migration: str


@dataclass(frozen=True)
class Prepared:
    container: str


@dataclass(frozen=True)
class Handover:
    migration: str
    workload: str
    generation: int
    target_host: str
    peer_address: str
    peer_port: int
    token: str
    streams: int = 4
    via: str = ""


@dataclass(frozen=True)
class HandoverReport:
    """How far the handover came, and what was measured on the source."""

    state: str
    """domain.handover.Source"""
    peer: str
    """domain.handover.Target as last heard; `absent` if never."""
    downtime_ms: float | None = None
    """From the freeze to the target's word that the tasks run."""
    bytes: Bytes = field(default_factory=Bytes)
    phases: tuple[Phase, ...] = ()
    connections: Connections = field(default_factory=Connections)
    verified: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Query:
    migration: str


@dataclass(frozen=True)
class Resolve:
    """What the other side's agent said of itself: `peer` is a Source or Target state."""

    migration: str
    peer: str
    via: str = ""
    """With `fenced`: the underlay address of the host where the workload runs."""


@dataclass(frozen=True)
class Reclaim:
    """A person decided for the source's copy; the target's does not run and never will."""

    migration: str
    reason: str


@dataclass(frozen=True)
class HandoverState:
    """`role` is source or target; `state` the durable record; `note` what a person should know."""

    role: str
    state: str
    note: str = ""
    lost: bool = False
    """Target: it owns the workload, but the restored tasks ended before it was known to run them.
    The source must not let go of its frozen copy; a person decides."""


@dataclass(frozen=True)
class Settle:
    """Clear away what the migration left; the target's container stays.

    `as_it_is`: also if its tasks were lost there. A person gave them up.
    """

    migration: str
    as_it_is: bool = False


@dataclass(frozen=True)
class Settled:
    removed: tuple[str, ...] = ()
