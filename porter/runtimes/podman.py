"""Podman behind Porter's protocols: `Runtime`, `Checkpoints` and `Images` in one object."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from porter.domain.container import Link, Tree, Twin
from porter.domain.errors import NotFound
from porter.domain.workload import Image, WorkloadSpec
from porter.protocol.joining import FoundWorkload
from porter.runtimes.base import EngineFacts
from porter.runtimes.images import PodmanImages
from porter.runtimes.inspect import Inspector, labelled
from porter.runtimes.links import host_device
from porter.runtimes.oci import Runc
from porter.runtimes.podman_cli import Podman
from porter.runtimes.podman_network import ensure_network
from porter.runtimes.records import Records
from porter.runtimes.remembered import recall, remember
from porter.runtimes.settings import address_of
from porter.runtimes.twin import Twins

STATE = Path("/var/lib/porter/twins")
MEMORY = Path("/dev/shm/porter")


class PodmanRuntime:
    """The host's Podman, run as root with runc.

    `state` holds a small durable file per twin; `memory` must lie on tmpfs: CRIU's images of
    restores go there.
    """

    def __init__(
        self,
        state: Path = STATE,
        memory: Path = MEMORY,
        podman: str = "podman",
        runc: str = "runc",
    ) -> None:
        self._engine = podman
        self._podman = Podman(podman)
        self._runc = Runc(runc)
        self._facts: EngineFacts | None = None
        self._records = Records(state)
        self._memory = memory
        self._parts: tuple[Inspector, PodmanImages, Twins] | None = None

    # The engine is asked for its directories on first use: constructing must not fail or block.
    def _made(self) -> tuple[Inspector, PodmanImages, Twins]:
        if self._parts is None:
            storage = self.facts().storage
            inspector = Inspector(self._podman, storage)
            images = PodmanImages(self._podman, storage)
            twins = Twins(self._podman, self._runc, inspector, images, self._records, self._memory)
            self._parts = (inspector, images, twins)
        return self._parts

    @property
    def _inspector(self) -> Inspector:
        return self._made()[0]

    @property
    def _images(self) -> PodmanImages:
        return self._made()[1]

    @property
    def _twins(self) -> Twins:
        return self._made()[2]

    # -- Runtime -----------------------------------------------------------------------------

    def facts(self) -> EngineFacts:
        """Asked once and remembered until the host reboots or the engine is replaced.

        `podman info` waits for every container's lock, and a restore holds one while its tasks
        stand at the gate: an agent that starts again in that moment must not wait for them.
        """
        if self._facts is None:
            self._facts = recall(self._engine) or self._ask_facts()
        return self._facts

    def _ask_facts(self) -> EngineFacts:
        info = self._podman.ask("info", "--format", "json")
        facts = EngineFacts(
            name="podman",
            version=str(info["version"]["Version"]),
            oci_runtime=str(info["host"]["ociRuntime"]["name"]),
            storage=Path(info["store"]["graphRoot"]),
        )
        remember(facts, self._engine)
        return facts

    def discover(self) -> list[FoundWorkload]:
        """Labelled containers. Twins are listed too, but not one in the middle of a restore."""
        infos = self._inspector.all(self._twins.busy())
        return [self._inspector.found(info) for info in infos if labelled(info)]

    def names(self) -> dict[str, str]:
        """Name of every container here, and its address on Porter's network ("" if none).

        Pinned addresses of stopped containers are not known to the engine's inspection.
        """
        busy = self._twins.busy()
        found = {str(one["Name"]): address_of(one)[0] for one in self._inspector.all(busy)}
        held = {one.name: "" for one in self._records.all() if one.container in busy}
        return {**held, **found}

    def inspect(self, name: str) -> WorkloadSpec:
        """The workload called `name`; blockers that only this host can see are in the answer."""
        infos = self._inspector.all(self._twins.busy())
        return self._inspector.spec(self._inspector.find(name, infos), infos)

    def trees(self, container: str) -> tuple[Tree, ...]:
        """What travels of it."""
        return self._inspector.trees(self._known(container))

    def link(self, container: str) -> Link | None:
        """None if the container has no network, or does not run."""
        info = self._known(container)
        address, mac = address_of(info)
        netns = str((info.get("NetworkSettings") or {}).get("SandboxKey") or "")
        if not address or not netns or not os.path.exists(netns):
            return None
        device = host_device(netns, mac)
        return Link(device, netns, address, mac) if device else None

    def freeze(self, container: str) -> None:
        """Stop all tasks. Needs no word of the engine's."""
        self._runc.freeze(container)

    def thaw(self, container: str) -> None:
        """Let them run again; waits for a dump that is still under way."""
        self._runc.thaw(container)

    def remove(self, container: str, volumes: Sequence[str] = ()) -> None:
        """End and remove, even frozen: no task runs another instruction of its own."""
        self._twins.kill(container)
        self._twins.delete(container)
        for name in volumes:
            self._twins.delete_volume(name)

    def _known(self, container: str) -> dict[str, Any]:
        info = self._podman.container(container)
        if info is None:
            raise NotFound(f"cannot find container {container[:12]} on this host")
        return info

    # -- Checkpoints -------------------------------------------------------------------------

    def dump(self, container: str, images: Path, work: Path) -> None:
        """Write CRIU's images of a frozen container, which stays frozen."""
        self._runc.checkpoint(container, images, work)

    def create_twin(self, spec: WorkloadSpec, migration: str) -> Twin:
        """Make the twin; the same migration finds it again."""
        return self._twins.create(spec, migration)

    def find_twin(self, migration: str) -> Twin | None:
        """The complete twin of a migration, if there is one."""
        return self._twins.find(migration)

    def restore(self, twin: Twin) -> None:
        """Blocks until the tasks run."""
        self._twins.restore(twin)

    def discard_twin(self, migration: str) -> None:
        """End and remove the twin in whatever state."""
        self._twins.discard(migration)

    def release_twin(self, migration: str) -> None:
        """It is an ordinary container from now on."""
        self._twins.release(migration)

    # -- Images ------------------------------------------------------------------------------

    def missing(self, image: Image) -> tuple[str, ...]:
        """Diff ids of the layers this host lacks; empty if the whole image is present."""
        return self._images.missing(image)

    def export(self, image: Image, layers: Sequence[str], directory: Path) -> None:
        """Write manifest, configuration and just these layers."""
        self._images.export(image, layers, directory)

    def load(self, image: Image, directory: Path) -> None:
        """Take in what `export` wrote."""
        self._images.load(image, directory)

    # -- the workload network ----------------------------------------------------------------

    def ensure_network(self, name: str, subnet: str, hosts: str, bridge: str, mtu: int) -> None:
        """Tell the engine of the network `name` on `bridge`; see `podman_network`."""
        ensure_network(self._podman, name, subnet, hosts, bridge, mtu)
