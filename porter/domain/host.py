"""A Linux machine that runs `porter agent`, and what Porter knows of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class HostFacts:
    """What an agent reports of its machine. Sizes in bytes, versions as tuples of integers."""

    kernel: str
    arch: str
    cpus: int
    cpu_features: tuple[str, ...]
    """The processor's flags as /proc/cpuinfo names them, sorted."""
    memory_total: int
    memory_free: int
    """Memory that can be used without swapping (MemAvailable)."""
    disk_free: int
    """Free bytes where the engine keeps images and volumes."""
    criu_version: tuple[int, ...]
    """(0,) where CRIU is missing or does not pass its own check."""
    criu_problem: str
    """Why CRIU cannot be used here; empty when it can."""
    engine: str
    engine_version: str
    oci_runtime: str
    cgroup: str
    """`v1` or `v2`."""
    underlay: str
    """The address at which other hosts reach this one."""
    peer_port: int
    """The port on which this agent accepts state streams."""


@dataclass(frozen=True)
class Host:
    """A joined host. `range` is its part of the workload network, for new containers."""

    id: str
    name: str
    site: str
    range: str
    alive: bool
    facts: HostFacts | None = None
    workloads: tuple[str, ...] = field(default=())
