"""One container under Porter's care, described so that another host can make its twin."""

from __future__ import annotations

from dataclasses import dataclass

LABEL_ENABLE = "porter.enable"
LABEL_NAME = "porter.name"
LABEL_VOLUMES = "porter.volumes"
LABEL_POLICY = "porter.policy"
LABEL_PROJECT = "porter.project"
NETWORK = "porter"
"""The engine network on which Porter's workloads live; the agent makes it."""


def policies_of(label: str) -> tuple[str, ...]:
    """The policies that a container's label `porter.policy` names, each once. What is no name of a
    policy stays: it is told as one that does not exist, never passed over."""
    return tuple(dict.fromkeys(name for part in label.split(",") if (name := part.strip())))


@dataclass(frozen=True)
class Volume:
    """A named volume or bind mount. `mode` is move, shared or skip (label `porter.volumes`)."""

    name: str
    destination: str
    kind: str
    """`volume` or `bind`."""
    mode: str = "move"
    read_only: bool = False


@dataclass(frozen=True)
class Image:
    """The image a workload was made from. `id` is the digest of its configuration."""

    id: str
    names: tuple[str, ...]
    layers: tuple[str, ...]
    """Digests of the uncompressed layers (diff ids), lowest first."""
    size: int


@dataclass(frozen=True)
class Blocker:
    """A reason why a workload cannot move, and what to do about it."""

    code: str
    """Stable, kebab-case: `tty-attached`, `io-uring`, `image-missing` …"""
    message: str
    remedy: str


@dataclass(frozen=True)
class WorkloadSpec:
    """What the source's agent tells of a workload: enough to judge, and to make the twin.

    `create` is the engine's own create command (argv without engine and verb) and `expect` the
    inspected settings (env, labels, limits, mounts, restart policy …) that the twin must show.
    """

    name: str
    container: str
    """The engine's id of the container on the host that reports it."""
    container_name: str
    running: bool
    image: Image
    address: str
    mac: str
    hostname: str
    labels: dict[str, str]
    volumes: tuple[Volume, ...]
    create: tuple[str, ...]
    expect: dict[str, object]
    memory_bytes: int
    """Resident memory of all tasks, shared memory and tmpfs included."""
    file_bytes: int
    """Root filesystem diff and moved volumes."""
    shm_bytes: int
    blockers: tuple[Blocker, ...] = ()
    """What only the source can see: TTY, io_uring, devices, unsupported mounts, foreign network."""
