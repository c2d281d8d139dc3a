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
from porter.domain.identity import DEFAULT_PROJECT
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


# -- kept checkpoints -----------------------------------------------------------------------


@dataclass(frozen=True)
class TakeCheckpoint:
    """Freeze, write everything into the store under the name `checkpoint`, and let it run on."""

    checkpoint: str
    workload: str
    recipients: tuple[str, ...]
    """Certificates (PEM) of the hosts that may read it, beside the one that makes it."""


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint that is whole. Sizes are bytes."""

    identity: str
    """Of its key: whoever reads it makes sure that it is this one."""
    digest: str
    downtime_ms: float
    taken_at: float
    """When it was frozen, seconds since the epoch."""
    memory_bytes: int
    file_bytes: int
    size: int
    """All layers, before compression."""
    stored: int
    """What they take up in the store."""
    image: Image
    address: str
    phases: tuple[Phase, ...] = ()


@dataclass(frozen=True)
class Vacate:
    """Do you have any container of this workload? If not, send its address's packets to `via`."""

    workload: str
    address: str
    via: str = ""
    """Underlay address; empty: only answer."""


@dataclass(frozen=True)
class Vacated:
    here: tuple[str, ...]
    """The states of its containers here; empty: there is none."""


@dataclass(frozen=True)
class Rewrap:
    """Let further hosts read a checkpoint: certificates (PEM)."""

    checkpoint: str
    recipients: tuple[str, ...]


@dataclass(frozen=True)
class Rewrapped:
    count: int


@dataclass(frozen=True)
class RestoreCheckpoint:
    """Restore a checkpoint up to the gate. `restore` names this attempt, as a migration is named:
    `open` lets the tasks run, `refuse` takes everything back."""

    restore: str
    checkpoint: str
    workload: str
    generation: int
    identity: str


@dataclass(frozen=True)
class Restored:
    """Verified, restored, and stopped at the gate."""

    container: str
    container_name: str
    address: str
    digest: str


# -- join, heartbeat and poll ---------------------------------------------------------------


@dataclass(frozen=True)
class Join:
    """First words of an agent; the CSR's key never leaves the host."""

    token: str
    name: str
    site: str
    csr_pem: str
    facts: HostFacts


@dataclass(frozen=True)
class Joined:
    host: str
    certificate_pem: str
    ca_pem: str


@dataclass(frozen=True)
class FoundWorkload:
    """A labelled container as the agent sees it. Twins that do not run yet are left out."""

    name: str
    container: str
    container_name: str
    state: str
    address: str
    image: str
    memory_bytes: int = 0
    project: str = DEFAULT_PROJECT
    policies: tuple[str, ...] = ()
    """Named by its label, beside those whose patterns match."""


@dataclass(frozen=True)
class OpenHandover:
    migration: str
    workload: str
    role: str
    state: str
    note: str = ""


@dataclass(frozen=True)
class HostNotice:
    """The place is about to take the machine away, stop or restart it."""

    kind: str
    """`terminate`, `stop`, `restart` or `maintenance`."""
    at: str
    """ISO 8601; empty if not told."""


@dataclass(frozen=True)
class Heartbeat:
    facts: HostFacts
    workloads: tuple[FoundWorkload, ...]
    handovers: tuple[OpenHandover, ...] = ()
    notices: tuple[HostNotice, ...] = ()


@dataclass(frozen=True)
class Route:
    """Workload addresses in `prefix` (CIDR) are reached through the host at `via`."""

    prefix: str
    via: str


@dataclass(frozen=True)
class Network:
    """The workload network as this host should set it up. `version` grows with every change."""

    version: int
    subnet: str
    """The whole workload network, the same everywhere: 10.77.0.0/16."""
    range: str
    """This host's own part of it, for new containers."""
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class Orders:
    """Answer to a poll: commands to run, and the network when it differs from what was named."""

    commands: tuple[Command, ...] = ()
    network: Network | None = None


# -- stores ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class WantTickets:
    """An agent asks for leave to do one thing to some blobs of its migration's store."""

    migration: str
    method: str
    keys: tuple[str, ...]
    seconds: int


@dataclass(frozen=True)
class TicketFor:
    method: str
    url: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Granted:
    tickets: tuple[TicketFor, ...]


@dataclass(frozen=True)
class Listed:
    """Keys and sizes in bytes."""

    blobs: tuple[tuple[str, int], ...]
