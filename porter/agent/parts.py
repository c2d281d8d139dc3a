"""What an agent is composed of: the rooms it uses, seen through their protocols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from porter.checkpoint.base import Receiver, Sender
from porter.domain.container import Tree
from porter.domain.host import HostFacts
from porter.domain.workload import Blocker, WorkloadSpec
from porter.network.base import HostNetwork
from porter.runtimes.base import Checkpoints, Images, Runtime


class Gate(Protocol):
    """Where restored tasks stand stopped until this host may run them. Its state lies on disk, so
    that a restarted agent can use it again."""

    def waiting(self, timeout: float) -> bool:
        """Whether restored tasks stand at the gate; waits up to `timeout` seconds for them."""
        ...

    def open(self) -> None:
        """Let the tasks run. Only after this host's record says that it owns the workload."""
        ...

    def refuse(self) -> None:
        """End the restore: the tasks never run."""
        ...


@dataclass(frozen=True)
class AgentParts:
    """The concrete rooms of one host; made by the composition root, faked in tests."""

    runtime: Runtime
    checkpoints: Checkpoints
    images: Images
    network: HostNetwork
    new_sender: Callable[[int | None], Sender]
    """Takes the link's speed in bytes per second, None if unknown."""
    new_receiver: Callable[[Path, tuple[Tree, ...]], Receiver]
    """Takes the directory for CRIU's images and the trees to unpack into."""
    gate: Callable[[Path], Gate]
    """Takes the twin's directory of images."""
    criu_facts: Callable[[], tuple[tuple[int, ...], str]]
    """CRIU's version, and why it cannot be used here (empty if it can)."""
    blockers: Callable[[WorkloadSpec, HostFacts, HostFacts], tuple[Blocker, ...]]
    """The target's check: workload, the source's facts, this host's facts."""
