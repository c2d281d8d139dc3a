"""What Porter asks of a container engine. All calls block; sizes are bytes.

Contract shared by all: a container is named by the engine's full id; every call is idempotent;
what is absent counts as already removed, thawed or ended. Errors are `porter.domain.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from porter.domain.container import Link, Tree, Twin
from porter.domain.workload import Image, WorkloadSpec
from porter.protocol.joining import FoundWorkload


@dataclass(frozen=True)
class EngineFacts:
    name: str
    version: str
    oci_runtime: str
    storage: Path
    """Where images and volumes lie: its free space is what counts."""


class Runtime(Protocol):
    """The engine as it stands: look, hold still, let go, take away."""

    def facts(self) -> EngineFacts: ...

    def discover(self) -> list[FoundWorkload]:
        """Containers labelled `porter.enable=true`, running, paused or stopped."""
        ...

    def inspect(self, name: str) -> WorkloadSpec:
        """The workload called `name` here. NotFound if no labelled container has that name.

        Blockers that only this host can see are in the answer, not raised.
        """
        ...

    def trees(self, container: str) -> tuple[Tree, ...]: ...

    def link(self, container: str) -> Link | None:
        """None if the container has no network of its own."""
        ...

    def freeze(self, container: str) -> None:
        """Stop all tasks by the cgroup freezer; returns when they are all stopped. Survives us."""
        ...

    def thaw(self, container: str) -> None: ...

    def remove(self, container: str, volumes: Sequence[str] = ()) -> None:
        """End and remove, even frozen: no task runs another instruction of its own."""
        ...


class Checkpoints(Protocol):
    """Engines that can hand out and take in a container's running state."""

    def dump(self, container: str, images: Path, work: Path) -> None:
        """Write CRIU images of a frozen container into `images`; it stays alive and frozen.

        Blocks until done. The large `pages-*.img` grow by appending only, all other files may
        change until the return. Raises Permanent with CRIU's own reason; the container is then
        still there (frozen again) and nothing of CRIU is left (locks, processes, mounts).
        """
        ...

    def create_twin(self, spec: WorkloadSpec, migration: str) -> Twin:
        """Make the container on the target. Looks before it makes: the same migration finds its
        twin again. Raises Unsupported if the twin would differ from `spec.expect`, naming the
        setting; nothing is left behind then."""
        ...

    def find_twin(self, migration: str) -> Twin | None: ...

    def restore(self, twin: Twin) -> None:
        """Restore from `twin.images` and block until the tasks run (`gate` stops them before).

        Raises Permanent with CRIU's reason. Runs engine processes that outlive the caller.
        """
        ...

    def discard_twin(self, migration: str) -> None:
        """End and remove the twin in whatever state: never restored, at the gate, half restored.
        CRIU's leftovers (cgroups, mounts, processes) go too."""
        ...

    def release_twin(self, migration: str) -> None:
        """The twin is now an ordinary container: drop images, mounts and marks of the migration."""
        ...


class Images(Protocol):
    """Engines that can pass images from host to host by digest."""

    def missing(self, image: Image) -> tuple[str, ...]:
        """Diff ids of the layers this host lacks; empty if the whole image is present."""
        ...

    def export(self, image: Image, layers: Sequence[str], directory: Path) -> None:
        """Write manifest, configuration and just these layers into an empty directory."""
        ...

    def load(self, image: Image, directory: Path) -> None:
        """Take in what `export` wrote; layers not in the directory are here already.

        Verifies digests; afterwards `missing(image)` is empty and all its names are set.
        """
        ...
