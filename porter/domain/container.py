"""Parts of a container on one host: directories that travel, the twin on the target, the link."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tree:
    """A directory that travels with a workload: `rootfs` (the overlay's upper directory, whiteouts
    included), `volume:NAME`, or `shm` (the engine's own /dev/shm of the container)."""

    name: str
    path: Path


@dataclass(frozen=True)
class Twin:
    """A container made on the target, ready to be restored into, never started."""

    container: str
    images: Path
    """Where CRIU's images must lie for `restore` (memory-backed)."""
    trees: tuple[Tree, ...]
    """Where each tree must be unpacked before `restore`; same names as on the source."""


@dataclass(frozen=True)
class Link:
    """A container's network attachment on the host."""

    device: str
    """Host-side interface."""
    netns: str
    """Path of the container's network namespace."""
    address: str
    mac: str
