"""How an agent joins, what its heartbeats carry, and what its polls bring."""

from __future__ import annotations

from dataclasses import dataclass

from porter.domain.host import HostFacts
from porter.domain.identity import DEFAULT_PROJECT
from porter.protocol.messages import Command


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
