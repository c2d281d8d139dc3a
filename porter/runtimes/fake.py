"""An engine in memory: containers are records, their memory a few bytes, their files real ones.

It keeps the promises of `base` and passes the same contract tests as the real engines, so that
everything above can be tested without root.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from porter.domain.container import Link, Tree, Twin
from porter.domain.errors import Conflict, NotFound, Permanent, Unsupported
from porter.domain.identity import project_of
from porter.domain.workload import (
    LABEL_ENABLE,
    LABEL_NAME,
    LABEL_POLICY,
    LABEL_PROJECT,
    LABEL_VOLUMES,
    Blocker,
    Image,
    Volume,
    WorkloadSpec,
    policies_of,
)
from porter.protocol.joining import FoundWorkload
from porter.runtimes.base import EngineFacts


@dataclass
class FakeContainer:
    """One container. `state` is created, running or exited; `memory` is what a dump holds."""

    id: str
    name: str
    labels: dict[str, str]
    image: Image
    address: str
    mac: str
    volumes: tuple[str, ...] = ()
    memory: bytes = b""
    state: str = "running"
    frozen: bool = False
    hostname: str = ""
    twin_of: str = ""
    """The migration that made it, until it is released."""
    at_gate: bool = False

    @property
    def workload(self) -> str:
        return self.labels.get(LABEL_NAME) or self.name

    @property
    def runs(self) -> bool:
        """Whether its tasks make progress."""
        return self.state == "running" and not self.frozen and not self.at_gate


@dataclass
class FakeRuntime:
    """`Runtime`, `Checkpoints` and `Images` of one pretended host, with files in `directory`.

    `gate` is called by `restore` with the twin, before its tasks run: where the real engine lets
    CRIU's action script wait. If it raises, the restore fails.
    """

    directory: Path
    gate: Callable[[Twin], None] = lambda twin: None
    containers: dict[str, FakeContainer] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    volumes: set[str] = field(default_factory=set)
    made: int = 0

    # -- for tests ---------------------------------------------------------------------------

    def run(
        self,
        name: str,
        image: Image,
        labels: dict[str, str] | None = None,
        volumes: Sequence[str] = (),
        memory: bytes = b"memory",
        address: str = "10.77.0.9",
    ) -> str:
        """Start a container as a user would; its id."""
        self.images[image.id] = image
        self.volumes.update(volumes)
        return self._add(name, image, labels or {}, volumes, memory, address).id

    def _add(
        self,
        name: str,
        image: Image,
        labels: dict[str, str],
        volumes: Sequence[str],
        memory: bytes,
        address: str,
    ) -> FakeContainer:
        self.made += 1
        serial = f"{self.directory} {name} {self.made}"
        made = FakeContainer(
            id=hashlib.sha256(serial.encode()).hexdigest(),
            name=name,
            labels=dict(labels),
            image=image,
            address=address,
            mac="02:00:" + ":".join(f"{int(part):02x}" for part in address.split(".")),
            volumes=tuple(volumes),
            memory=memory,
        )
        self.containers[made.id] = made
        for tree in self.trees(made.id):
            tree.path.mkdir(parents=True, exist_ok=True)
        return made

    # -- Runtime -----------------------------------------------------------------------------

    def facts(self) -> EngineFacts:
        return EngineFacts("fake", "1.0", "fake", self.directory)

    def discover(self) -> list[FoundWorkload]:
        """Labelled containers, but not one in the middle of a restore."""
        labelled = [
            one
            for one in self.containers.values()
            if one.labels.get(LABEL_ENABLE) == "true" and not one.at_gate
        ]
        return [
            FoundWorkload(
                name=one.workload,
                container=one.id,
                container_name=one.name,
                state="paused" if one.frozen else one.state,
                address=one.address if one.state == "running" else "",
                image=(*one.image.names, one.image.id)[0],
                memory_bytes=len(one.memory),
                project=project_of(one.labels.get(LABEL_PROJECT, "")),
                policies=policies_of(one.labels.get(LABEL_POLICY, "")),
            )
            for one in labelled
        ]

    def names(self) -> dict[str, str]:
        """Name of every container here, and its address."""
        return {one.name: one.address for one in self.containers.values()}

    def inspect(self, name: str) -> WorkloadSpec:
        for one in self.containers.values():
            if one.workload == name or one.name == name:
                return self._spec(one)
        raise NotFound(f"cannot find workload {name} on this host")

    def _spec(self, one: FakeContainer) -> WorkloadSpec:
        mode = one.labels.get(LABEL_VOLUMES, "move")
        return WorkloadSpec(
            name=one.workload,
            container=one.id,
            container_name=one.name,
            running=one.state == "running",
            image=one.image,
            address=one.address,
            mac=one.mac,
            hostname=one.hostname or one.id[:12],
            labels=dict(one.labels),
            volumes=tuple(Volume(name, f"/{name}", "volume", mode) for name in one.volumes),
            create=("--name", one.name, one.image.id),
            expect={"labels": dict(one.labels), "image": one.image.id},
            memory_bytes=len(one.memory),
            file_bytes=0,
            shm_bytes=0,
            blockers=tuple(self._blockers(one)),
        )

    @staticmethod
    def _blockers(one: FakeContainer) -> list[Blocker]:
        found = []
        if one.labels.get(LABEL_ENABLE) != "true":
            found.append(
                Blocker(
                    "not-labelled",
                    f"container {one.name} has not opted in",
                    f"create it with --label {LABEL_ENABLE}=true",
                )
            )
        if one.state != "running":
            found.append(Blocker("not-running", f"the container is {one.state}", "start it"))
        elif one.frozen:
            found.append(Blocker("paused", "the container is paused", "resume it"))
        return found

    def trees(self, container: str) -> tuple[Tree, ...]:
        one = self._known(container)
        moved = one.volumes if one.labels.get(LABEL_VOLUMES, "move") == "move" else ()
        return (
            Tree("rootfs", self.directory / one.id / "rootfs"),
            *(Tree(f"volume:{name}", self.directory / "volumes" / name) for name in moved),
            Tree("shm", self.directory / one.id / "shm"),
        )

    def link(self, container: str) -> Link | None:
        one = self._known(container)
        if one.state != "running" or not one.address:
            return None
        return Link(f"veth{one.id[:8]}", f"/fake/{one.id}/netns", one.address, one.mac)

    def _known(self, container: str) -> FakeContainer:
        if container not in self.containers:
            raise NotFound(f"cannot find container {container[:12]} on this host")
        return self.containers[container]

    def freeze(self, container: str) -> None:
        one = self.containers.get(container)
        if one is None or one.state != "running":
            raise NotFound(f"cannot freeze {container[:12]}: it is not running")
        one.frozen = True

    def thaw(self, container: str) -> None:
        if container in self.containers:
            self.containers[container].frozen = False

    def remove(self, container: str, volumes: Sequence[str] = ()) -> None:
        gone = self.containers.pop(container, None)
        if gone is not None:
            shutil.rmtree(self.directory / gone.id, ignore_errors=True)
        for name in volumes:
            self.volumes.discard(name)
            shutil.rmtree(self.directory / "volumes" / name, ignore_errors=True)

    # -- Checkpoints -------------------------------------------------------------------------

    def dump(self, container: str, images: Path, work: Path) -> None:
        """The files a real dump has: an inventory, a small image per task, and pages."""
        one = self.containers.get(container)
        if one is None or one.state != "running":
            raise NotFound(f"cannot dump {container[:12]}: it is not running")
        if not one.frozen:
            raise Permanent(f"cannot dump {container[:12]}: it is not frozen", "freeze it first")
        images.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        (images / "pages-1.img").write_bytes(one.memory)
        (images / "core-1.img").write_text(one.name)
        (images / "inventory.img").write_text(json.dumps({"size": len(one.memory)}))
        (work / "dump.log").write_text("Dumping finished successfully\n")

    def create_twin(self, spec: WorkloadSpec, migration: str) -> Twin:
        known = self.find_twin(migration)
        if known is not None:
            return known
        moved = [one.name for one in spec.volumes if one.kind == "volume" and one.mode == "move"]
        if spec.container_name in self.names():
            raise Conflict(
                f"cannot make {spec.container_name} here: a container of that name exists",
                "remove it",
            )
        if taken := sorted(self.volumes.intersection(moved)):
            raise Conflict(f"cannot make volume {taken[0]} here: one of that name exists")
        if spec.image.id not in self.images:
            raise Unsupported(
                f"cannot make {spec.container_name} here: its image is missing", "ship it first"
            )
        found = {"labels": dict(spec.labels), "image": spec.image.id}
        for setting, want in spec.expect.items():
            if found.get(setting) != want:
                raise Unsupported(f"cannot make the same {spec.container_name}: {setting} differs")
        self.volumes.update(moved)
        labels, names = spec.labels, [one.name for one in spec.volumes]
        made = self._add(spec.container_name, spec.image, labels, names, b"", spec.address)
        made.mac, made.hostname = spec.mac, spec.hostname
        made.state, made.twin_of = "exited", migration
        (self.directory / "memory" / migration / "images").mkdir(parents=True)
        return self._twin(made)

    def _twin(self, one: FakeContainer) -> Twin:
        images = self.directory / "memory" / one.twin_of / "images"
        return Twin(one.id, images, self.trees(one.id))

    def _of(self, migration: str) -> FakeContainer | None:
        mine = [one for one in self.containers.values() if one.twin_of == migration]
        return mine[0] if mine else None

    def find_twin(self, migration: str) -> Twin | None:
        one = self._of(migration)
        return self._twin(one) if one else None

    def restore(self, twin: Twin) -> None:
        one = self.containers.get(twin.container)
        if one is None or not one.twin_of:
            raise Permanent(f"cannot restore {twin.container[:12]}: there is no such twin here")
        try:
            size = json.loads((twin.images / "inventory.img").read_text())["size"]
            memory = (twin.images / "pages-1.img").read_bytes()
        except (OSError, ValueError) as error:
            raise Permanent(f"cannot restore {one.name}: {error}") from error
        if len(memory) != size:
            raise Permanent(f"cannot restore {one.name}: pages are missing")
        one.memory, one.state, one.at_gate = memory, "running", True
        try:
            self.gate(twin)
        except Permanent:
            one.state, one.at_gate = "exited", False
            raise
        if self.containers.get(one.id) is not one:
            raise Permanent(f"cannot restore {one.name}: it was discarded at the gate")
        one.at_gate = False

    def discard_twin(self, migration: str) -> None:
        one = self._of(migration)
        if one is not None:
            moved = one.volumes if one.labels.get(LABEL_VOLUMES, "move") == "move" else ()
            self.remove(one.id, moved)
        shutil.rmtree(self.directory / "memory" / migration, ignore_errors=True)

    def release_twin(self, migration: str) -> None:
        one = self._of(migration)
        if one is not None:
            one.twin_of = ""
        shutil.rmtree(self.directory / "memory" / migration, ignore_errors=True)

    # -- Images ------------------------------------------------------------------------------

    def missing(self, image: Image) -> tuple[str, ...]:
        if image.id in self.images:
            return ()
        here = {layer for one in self.images.values() for layer in one.layers}
        return tuple(one for one in image.layers if one not in here) or image.layers[-1:]

    def export(self, image: Image, layers: Sequence[str], directory: Path) -> None:
        if image.id not in self.images:
            raise Permanent(f"cannot export image {image.id[:12]}: it is not on this host")
        if directory.exists() and any(directory.iterdir()):
            raise Permanent(f"cannot export into {directory}: it is not empty", "empty it")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "manifest.json").write_text(json.dumps([image.id, *image.layers]))
        for layer in layers:
            (directory / layer.replace(":", "-")).write_text(layer)

    def load(self, image: Image, directory: Path) -> None:
        try:
            manifest = json.loads((directory / "manifest.json").read_text())
        except (OSError, ValueError) as error:
            raise Permanent(f"cannot read the image in {directory}: {error}") from error
        if manifest != [image.id, *image.layers]:
            raise Permanent(f"cannot use the exported image: it is not {image.id[:12]}")
        here = {layer for one in self.images.values() for layer in one.layers}
        for layer in image.layers:
            blob = directory / layer.replace(":", "-")
            if layer not in here and (not blob.exists() or blob.read_text() != layer):
                raise Permanent(f"cannot load image {image.id[:12]}: layer {layer} is damaged")
        self.images[image.id] = image
