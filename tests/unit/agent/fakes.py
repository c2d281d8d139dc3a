"""Two hosts in memory: engines, gates, networks and checkpoints that keep an eye on the law.

`World.law` notes every breach: two copies running, a dump of something that moves, a thaw under a
dump. What a host's engine does outlives an agent's death, as the real one's does.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter.checkpoint.base import Frames, Manifest
from porter.domain.container import Link, Tree, Twin
from porter.domain.errors import Conflict, NotFound, Permanent
from porter.domain.host import HostFacts
from porter.domain.workload import Blocker, Image, Volume, WorkloadSpec
from porter.network.base import Held
from porter.protocol.joining import FoundWorkload, Network
from porter.runtimes.base import EngineFacts
from porter.wiring_agent import AgentParts

WORKLOAD = "web"
ADDRESS = "10.77.1.5"
PIECES = 6


@dataclass
class Container:
    """Tasks of one container on one host."""

    id: str
    name: str
    memory: str
    tasks: bool = True
    frozen: bool = False
    at_gate: bool = False
    dumping: bool = False
    cut: bool = False

    @property
    def runs(self) -> bool:
        return self.tasks and not self.frozen and not self.at_gate


class World:
    """All hosts, and what must never happen on them."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.hosts: list[FakeHost] = []
        self.law: list[str] = []

    def running(self) -> list[tuple[str, Container]]:
        return [(h.name, c) for h in self.hosts for c in h.containers.values() if c.runs]

    def check(self) -> None:
        """Called with every change."""
        if len(self.running()) > 1:
            self.law.append(f"two copies run: {self.running()}")
        self.changed.notify_all()

    def end(self) -> None:
        """All tasks end, and with them the wait of whoever restores some."""
        with self.changed:
            for container in [c for host in self.hosts for c in host.containers.values()]:
                container.tasks = container.at_gate = False
            self.changed.notify_all()


@dataclass
class FakeHost:
    """One host's engine, network and memory; survives its agent, not a power cut."""

    world: World
    name: str
    place: Path
    containers: dict[str, Container] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)
    yielded: dict[str, str] = field(default_factory=dict)
    holding: set[int] = field(default_factory=set)
    replayed: list[bytes] = field(default_factory=list)
    removed_volumes: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    applied: list[Network] = field(default_factory=list)
    layers: set[str] = field(default_factory=set)
    fail: dict[str, Exception] = field(default_factory=dict)
    """Errors to raise, by name of the call."""
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What happens just before a call, by its name."""

    def __post_init__(self) -> None:
        self.world.hosts.append(self)

    def power_cut(self) -> None:
        """All tasks and all memory-backed files are gone."""
        with self.world.changed:
            for container in self.containers.values():
                container.tasks = container.frozen = container.at_gate = False
                container.cut = False
            self.claimed.clear()
            self.yielded.clear()
            shutil.rmtree(self.place / "shm", ignore_errors=True)
            self.world.check()

    def called(self, name: str) -> None:
        if hook := self.before.pop(name, None):
            hook()
        if error := self.fail.get(name):
            raise error

    # -- Runtime ----------------------------------------------------------------------------

    def facts(self) -> EngineFacts:
        return EngineFacts("podman", "4.3.1", "runc", self.place)

    def discover(self) -> list[FoundWorkload]:
        return [
            FoundWorkload(c.name, c.id, c.name, _state(c), ADDRESS, "image")
            for c in self.containers.values()
        ]

    def inspect(self, name: str) -> WorkloadSpec:
        for container in self.containers.values():
            if container.name == name and container.tasks:
                return spec_of(container)
        raise NotFound(f"cannot find workload {name}")

    def trees(self, container: str) -> tuple[Tree, ...]:
        return (
            Tree("rootfs", self.place / container),
            Tree("volume:data", self.place / "data"),
            Tree("volume:common", self.place / "common"),
        )

    def link(self, container: str) -> Link | None:
        return Link(f"veth-{container}", f"netns-{container}", ADDRESS, "02:00:00:00:00:05")

    def freeze(self, container: str) -> None:
        self.called("freeze")
        with self.world.changed:
            if found := self.containers.get(container):
                found.frozen = True
            self.world.check()

    def thaw(self, container: str) -> None:
        self.called("thaw")
        with self.world.changed:
            found = self.containers.get(container)
            if found is None:
                return
            if found.dumping:
                self.world.law.append("thawed under a dump")
            if found.cut:
                self.world.law.append("thawed while cut off")
            found.frozen = False
            self.world.check()

    def remove(self, container: str, volumes: Sequence[str] = ()) -> None:
        with self.world.changed:
            if self.containers.pop(container, None) is not None:
                self.removed.append(container)
            self.removed_volumes.extend(volumes)
            self.world.check()

    # -- Checkpoints ------------------------------------------------------------------------

    def dump(self, container: str, images: Path, work: Path) -> None:
        self.called("dump")
        with self.world.changed:
            found = self.containers[container]
            if not found.frozen or not found.cut:
                self.world.law.append("dumped what was not held still")
            found.dumping = True
        try:
            self.called("dumping")
            (images / "pages-1.img").write_text(found.memory)
        finally:
            with self.world.changed:
                found.dumping = False

    def create_twin(self, spec: WorkloadSpec, migration: str) -> Twin:
        if migration not in self.twins:
            twin = Container(f"{spec.name}-{migration}", spec.name, "", tasks=False)
            self.containers[twin.id] = twin
            self.twins[migration] = twin.id
            (self.place / "shm" / migration).mkdir(parents=True)
        return self._twin(migration)

    def _twin(self, migration: str) -> Twin:
        return Twin(self.twins[migration], self.place / "shm" / migration, ())

    def find_twin(self, migration: str) -> Twin | None:
        if migration not in self.twins or not self._twin(migration).images.exists():
            return None
        return self._twin(migration)

    def restore(self, twin: Twin) -> None:
        self.called("restore")
        with self.world.changed:
            container = self.containers[twin.container]
            container.memory = (twin.images / "pages-1.img").read_text()
            container.tasks = container.at_gate = True
            self.world.check()
            self.world.changed.wait_for(lambda: not container.at_gate, 60)
            if not container.tasks or container.id not in self.containers:
                raise Permanent("cannot restore: criu was killed at the gate")
        self.called("restored")

    def discard_twin(self, migration: str) -> None:
        self.called("discard")
        with self.world.changed:
            container = self.containers.pop(self.twins.pop(migration, ""), None)
            if container is not None:
                container.tasks = container.at_gate = False
            shutil.rmtree(self.place / "shm" / migration, ignore_errors=True)
            self.world.check()

    def release_twin(self, migration: str) -> None:
        self.twins.pop(migration, None)
        self.released.append(migration)

    # -- Images -----------------------------------------------------------------------------

    def missing(self, image: Image) -> tuple[str, ...]:
        return tuple(layer for layer in image.layers if layer not in self.layers)

    def export(self, image: Image, layers: Sequence[str], directory: Path) -> None:
        (directory / "blobs").mkdir()
        for layer in layers:
            (directory / "blobs" / layer).write_bytes(layer.encode() * 1000)

    def load(self, image: Image, directory: Path) -> None:
        self.called("load")
        for path in (directory / "blobs").iterdir():
            if path.read_bytes() != path.name.encode() * 1000:
                raise Permanent(f"cannot load {path.name}: wrong content")
            self.layers.add(path.name)

    # -- HostNetwork ------------------------------------------------------------------------

    def apply(self, network: Network) -> None:
        self.called("apply")
        self.applied.append(network)

    def _linked(self, link: Link) -> Container | None:
        return self.containers.get(link.device.removeprefix("veth-"))

    def cut(self, link: Link) -> None:
        self.called("cut")
        with self.world.changed:
            if container := self._linked(link):
                container.cut = True

    def join(self, link: Link) -> None:
        self.called("join")
        with self.world.changed:
            if container := self._linked(link):
                container.cut = False

    def claim(self, address: str, mac: str) -> None:
        self.called("claim")
        self.claimed.add(address)
        self.yielded.pop(address, None)

    def yield_to(self, address: str, via: str) -> None:
        self.called("yield")
        self.claimed.discard(address)
        self.yielded[address] = via

    def hold(self, address: str) -> Held:
        return FakeHeld(self)

    def replay(self, packets: Sequence[bytes]) -> None:
        self.replayed.extend(packets)

    def unlock(self, netns: str) -> None:
        self.called("unlock")


class FakeHeld:
    """One packet was caught."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host
        host.holding.add(id(self))

    def stop(self) -> list[bytes]:
        self._host.holding.discard(id(self))
        return [b"a caught packet"]


class NoReserve:
    """Fakes need no memory."""

    def release(self) -> None:
        """There is none."""


class FakeGate:
    """The gate of the twin whose images lie in `images`."""

    def __init__(self, host: FakeHost, images: Path) -> None:
        self._host = host
        self._images = images

    def _container(self) -> Container | None:
        twin = self._host.twins.get(self._images.name)
        return self._host.containers.get(twin or "")

    def prepare(self) -> None:
        if self.waiting(0):
            raise Conflict("cannot prepare the gate: restored tasks stand at it")

    def waiting(self, timeout: float) -> bool:
        def there() -> bool:
            container = self._container()
            return container is not None and container.at_gate

        with self._host.world.changed:
            return self._host.world.changed.wait_for(there, timeout)

    def open(self) -> None:
        self._host.called("open")
        with self._host.world.changed:
            container = self._container()
            if container is not None and container.at_gate:
                container.at_gate = False
                self._host.world.check()

    def refuse(self) -> None:
        with self._host.world.changed:
            container = self._container()
            if container is None or not container.at_gate:
                raise Conflict("cannot refuse: nothing stands at the gate")
            container.tasks = container.at_gate = False
            self._host.world.check()


class FakeSender:
    """Runs the dump, then sends its one file in small pieces."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def send(
        self,
        dump: Callable[[], None],
        images: Path,
        trees: tuple[Tree, ...],
        frames: Frames,
        progress: Callable[[int], None],
    ) -> Manifest:
        if any(tree.name == "volume:common" for tree in trees):
            raise Permanent("cannot send: a shared volume must not travel")
        dump()
        content = (images / "pages-1.img").read_bytes()
        step = -(-len(content) // PIECES)
        for at in range(0, len(content), step):
            piece = content[at : at + step]
            frames.send({"t": "chunk", "path": b"pages-1.img", "offset": at}, piece)
            progress(at + len(piece))
        digest = hashlib.sha256(content).hexdigest()
        return Manifest(digest, PIECES, len(content), 0, len(content))


class FakeReceiver:
    """Collects the pieces and writes the file."""

    def __init__(self, host: FakeHost, images: Path) -> None:
        self._host = host
        self._images = images
        self._pieces: dict[int, bytes] = {}

    def frame(self, header: dict[str, Any], payload: bytes | memoryview) -> None:
        self._host.called("frame")
        self._pieces[header["offset"]] = bytes(payload)

    def finish(self, manifest: Manifest) -> str:
        content = b"".join(self._pieces[at] for at in sorted(self._pieces))
        digest = hashlib.sha256(content).hexdigest()
        if digest != manifest.digest:
            raise Permanent("cannot verify: the digest differs")
        (self._images / "pages-1.img").write_bytes(content)
        return digest


class Crashed(BaseException):
    """The agent's process is dead; none of its code goes on."""


class Power:
    """Whether the agent's process lives. Dead, it can touch nothing any more."""

    def __init__(self) -> None:
        self.on = True

    def check(self) -> None:
        if not self.on:
            raise Crashed


class Guarded:
    """An object that only a living agent can use."""

    def __init__(self, target: object, power: Power) -> None:
        self._target = target
        self._power = power

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._power.check()
            result = found(*args, **kwargs)
            self._power.check()
            return result

        return call


def parts_of(host: FakeHost, power: Power) -> AgentParts:
    """The rooms of one agent on `host`."""
    guarded: Any = Guarded(host, power)

    def blockers(spec: WorkloadSpec, source: HostFacts, here: HostFacts) -> tuple[Blocker, ...]:
        return (Blocker("too-old", f"{source.kernel} and {here.kernel}", "update"),)

    def gate(images: Path) -> Any:
        return Guarded(FakeGate(host, images), power)

    def sender(speed: int | None) -> Any:
        return Guarded(FakeSender(host), power)

    def receiver(images: Path, trees: tuple[Tree, ...], memory: int) -> Any:
        return Guarded(FakeReceiver(host, images), power)

    return AgentParts(
        install=lambda: None,
        runtime=guarded,
        checkpoints=guarded,
        images=guarded,
        network=guarded,
        new_sender=sender,
        new_receiver=receiver,
        reserve=lambda directory, size: NoReserve(),
        gate=gate,
        criu_facts=lambda: ((4, 1, 1), ""),
        blockers=blockers,
    )


def spec_of(container: Container) -> WorkloadSpec:
    """A workload with a moved and a shared volume."""
    return WorkloadSpec(
        name=container.name,
        container=container.id,
        container_name=container.name,
        running=True,
        image=Image("sha256:config", ("web:1",), ("layer-a", "layer-b"), 1000),
        address=ADDRESS,
        mac="02:00:00:00:00:05",
        hostname="web",
        labels={"porter.enable": "true"},
        volumes=(
            Volume("data", "/data", "volume"),
            Volume("common", "/common", "volume", mode="shared"),
        ),
        create=("--name", "web"),
        expect={"env": ["A=1"]},
        memory_bytes=1000,
        file_bytes=10,
        shm_bytes=0,
    )


def _state(container: Container) -> str:
    if not container.tasks or container.at_gate:
        return "exited"
    return "paused" if container.frozen else "running"
