"""What this machine is and has left: the HostFacts that every heartbeat carries."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from porter.domain.host import HostFacts
from porter.runtimes.base import EngineFacts
from porter.wiring_agent import AgentParts


class Facts:
    """Gathers facts; what cannot change while the agent runs is looked up once."""

    def __init__(self, parts: AgentParts, underlay: str, peer_port: Callable[[], int]) -> None:
        self._parts = parts
        self._underlay = underlay
        self._peer_port = peer_port

    @cached_property
    def _engine(self) -> EngineFacts:
        return self._parts.runtime.facts()

    @cached_property
    def _criu(self) -> tuple[tuple[int, ...], str]:
        return self._parts.criu_facts()

    @cached_property
    def _cpu_features(self) -> tuple[str, ...]:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                return tuple(sorted(value.split()))
        return ()

    def gather(self) -> HostFacts:
        """Facts as of now."""
        memory = _meminfo()
        version, problem = self._criu
        return HostFacts(
            kernel=platform.release(),
            arch=platform.machine(),
            cpus=os.cpu_count() or 1,
            cpu_features=self._cpu_features,
            memory_total=memory.get("MemTotal", 0),
            memory_free=memory.get("MemAvailable", 0),
            disk_free=_disk_free(self._engine.storage),
            criu_version=version,
            criu_problem=problem,
            engine=self._engine.name,
            engine_version=self._engine.version,
            oci_runtime=self._engine.oci_runtime,
            cgroup="v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1",
            underlay=self._underlay,
            peer_port=self._peer_port(),
        )


def _meminfo() -> dict[str, int]:
    sizes: dict[str, int] = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        key, _, rest = line.partition(":")
        sizes[key] = int(rest.split()[0]) * 1024
    return sizes


def _disk_free(place: Path) -> int:
    while not place.exists():
        place = place.parent  # the engine makes its storage on first use
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize
