"""Commands and reports about kept checkpoints, and tickets for the stores that keep them."""

from __future__ import annotations

from dataclasses import dataclass

from porter.domain.migration import Phase
from porter.domain.workload import Image


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
