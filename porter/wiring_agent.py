"""The composition root of the agent: the rooms it uses, and the concrete ones of a Linux host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from porter.checkpoint.base import Receiver, Sender
from porter.domain.container import Tree
from porter.domain.host import HostFacts
from porter.domain.workload import NETWORK, Blocker, WorkloadSpec
from porter.network.base import HostNetwork
from porter.protocol.joining import HostNotice
from porter.runtimes.base import Checkpoints, Images, Runtime


class Gate(Protocol):
    """Where restored tasks stand stopped until this host may run them. Its state lies on disk, so
    that a restarted agent can use it again."""

    def prepare(self) -> None:
        """Close the gate before a restore begins."""
        ...

    def waiting(self, timeout: float) -> bool:
        """Whether restored tasks stand at the gate; waits up to `timeout` seconds for them."""
        ...

    def open(self) -> None:
        """Let the tasks run. Only after this host's record says that it owns the workload."""
        ...

    def refuse(self) -> None:
        """End the restore: the tasks never run."""
        ...


class Reserve(Protocol):
    """Memory held for what comes next."""

    def release(self) -> None:
        """Give it up. Harmless to repeat."""
        ...


@dataclass(frozen=True)
class AgentParts:
    """The concrete rooms of one host; made by the composition root, faked in tests."""

    install: Callable[[], None]
    """Puts in place on the host what the others need. Only once the host has joined."""
    runtime: Runtime
    checkpoints: Checkpoints
    images: Images
    network: HostNetwork
    new_sender: Callable[[int | None], Sender]
    """Takes the link's speed in bytes per second, None if unknown."""
    new_receiver: Callable[[Path, tuple[Tree, ...], int], Receiver]
    """Takes the directory for CRIU's images, the trees to unpack into, and about how many bytes
    of memory will come."""
    reserve: Callable[[Path, int], Reserve]
    """Finds so many bytes in a memory-backed directory, before a freeze needs them."""
    gate: Callable[[Path], Gate]
    """Takes the twin's directory of images."""
    criu_facts: Callable[[], tuple[tuple[int, ...], str]]
    """CRIU's version, and why it cannot be used here (empty if it can)."""
    blockers: Callable[[WorkloadSpec, HostFacts, HostFacts], tuple[Blocker, ...]]
    """The target's check: workload, the source's facts, this host's facts."""
    notices: Callable[[], tuple[HostNotice, ...]] | None = None
    """What the place says is about to become of this machine; None: nobody to ask."""


def agent_parts(
    underlay: str, state: Path, scratch: Path, cloud: str = "", metadata_url: str = ""
) -> AgentParts:
    """Podman, runc and CRIU on this host, whose own address is `underlay`.

    `state` is the agent's directory on disk, `scratch` must be memory-backed. `cloud`: the kind of
    site whose metadata service tells of interruptions, empty for none; `metadata_url`: where that
    is, if not where it always is. Raises Invalid for a kind that has none. Changes nothing on
    the host. The rooms are imported here: most commands never need them.
    """
    from porter.checkpoint import criu, gate, memory
    from porter.checkpoint.receiver import StateReceiver
    from porter.checkpoint.sender import StateSender
    from porter.network.linux import MTU, LinuxNetwork
    from porter.runtimes.compat import check
    from porter.runtimes.podman import PodmanRuntime

    podman = PodmanRuntime(state=state / "twins", memory=scratch)

    def blockers(spec: WorkloadSpec, source: HostFacts, here: HostFacts) -> tuple[Blocker, ...]:
        return check(spec, source, here, podman)

    def ensure_network(subnet: str, own: str, bridge: str) -> None:
        podman.ensure_network(NETWORK, subnet, own, bridge, MTU)

    return AgentParts(
        install=lambda: gate.install(script=state / "criu-gate"),
        runtime=podman,
        checkpoints=podman,
        images=podman,
        network=LinuxNetwork(underlay, ensure_network),
        new_sender=StateSender,
        new_receiver=StateReceiver,
        reserve=memory.Reserve,
        gate=gate.Gate,
        criu_facts=lambda: (criu.version(), criu.problem()),
        blockers=blockers,
        notices=_notices(cloud, metadata_url) if cloud else None,
    )


def _notices(cloud: str, url: str) -> Callable[[], tuple[HostNotice, ...]]:
    from porter.providers.registry import open_metadata

    metadata = open_metadata(cloud, url)
    return lambda: tuple(HostNotice(one.kind, one.at) for one in metadata.notices())
