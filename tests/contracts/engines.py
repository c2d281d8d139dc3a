"""Engines to hold to the contract: the fake anywhere, Podman where a lab host runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from porter.domain.container import Tree, Twin
from porter.domain.workload import LABEL_ENABLE, LABEL_NAME, Image, WorkloadSpec
from porter.runtimes.fake import FakeRuntime

ON_HOST = os.environ.get("PORTER_ON_HOST", "")
"""The underlay address of the lab host on which these tests run; empty elsewhere."""
IMAGE = "localhost/porter-test:latest"
REDIS = ("redis-server", "--save", "", "--protected-mode", "no")


class Engine(Protocol):
    """One engine and the hands to use it as a user would."""

    runtime: Any
    directory: Path

    def run(self, name: str, *, label: bool = True, volume: str = "") -> str:
        """Start a container that remembers a value; its id."""
        ...

    def remember(self, container: str, value: str) -> None: ...

    def recall(self, container: str) -> str: ...

    def exists(self, container: str) -> bool: ...

    def volumes(self) -> set[str]: ...

    def clear(self) -> None: ...


class FakeEngine:
    """`FakeRuntime`; what a container remembers is its memory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = FakeRuntime(directory / "host")
        self.image = Image("1" * 64, ("localhost/fake:1",), ("sha256:a", "sha256:b"), 10)

    def run(self, name: str, *, label: bool = True, volume: str = "") -> str:
        labels = {LABEL_ENABLE: "true", LABEL_NAME: f"{name}-work"} if label else {}
        return self.runtime.run(name, self.image, labels, [volume] if volume else [])

    def remember(self, container: str, value: str) -> None:
        self.runtime.containers[container].memory = value.encode()

    def recall(self, container: str) -> str:
        assert self.runtime.containers[container].runs
        return self.runtime.containers[container].memory.decode()

    def exists(self, container: str) -> bool:
        return container in self.runtime.containers

    def volumes(self) -> set[str]:
        return set(self.runtime.volumes)

    def clear(self) -> None:
        """Nothing outlives the fixture."""


class PodmanEngine:
    """The lab host's Podman; a container remembers as a Redis."""

    def __init__(self, directory: Path) -> None:
        from porter.runtimes.podman import PodmanRuntime

        self.directory = directory
        self.memory = Path("/dev/shm/porter-test")
        self.runtime = PodmanRuntime(state=directory / "twins", memory=self.memory)
        self._made: list[str] = []

    def run(self, name: str, *, label: bool = True, volume: str = "") -> str:
        flags = ["--name", name, "--network", "none"]
        if label:
            flags += ["--label", f"{LABEL_ENABLE}=true", "--label", f"{LABEL_NAME}={name}-work"]
        if volume:
            flags += ["-v", f"{volume}:/data"]
        return self.start(*flags, IMAGE, *REDIS)

    def start(self, *words: str) -> str:
        """`podman run -d WORDS`; the container's id."""
        return podman("run", "-d", *words).split()[-1]

    def remember(self, container: str, value: str) -> None:
        redis(container, "set", "value", value)

    def recall(self, container: str) -> str:
        return redis(container, "get", "value")

    def exists(self, container: str) -> bool:
        done = subprocess.run(["podman", "container", "exists", container], check=False)
        return done.returncode == 0

    def volumes(self) -> set[str]:
        return set(podman("volume", "ls", "-q").split())

    def clear(self) -> None:
        for path in (self.directory / "twins").glob("*.json"):
            self.runtime.discard_twin(path.stem)
        for one in podman("ps", "-aq", "--no-trunc").split():
            self.runtime.remove(one)
        podman("volume", "prune", "-f")


def podman(*words: str) -> str:
    """Run podman as a user would; what it prints."""
    done = subprocess.run(
        ["podman", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def redis(container: str, *words: str) -> str:
    """Ask the Redis in a container; waits for it to answer at all."""
    until = time.monotonic() + 20
    while True:
        done = subprocess.run(
            ["podman", "exec", container, "redis-cli", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == 0 and "refused" not in done.stdout + done.stderr:
            return done.stdout.strip()
        assert time.monotonic() < until, done.stderr
        time.sleep(0.05)


class Move:
    """One move on one host: the source is dumped and removed, then its twin made and restored."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.migration = f"m{uuid.uuid4().hex[:8]}"
        self.spec: WorkloadSpec = engine.runtime.inspect(name)
        self._stash = engine.directory / f"stash-{self.migration}"

    def leave(self) -> None:
        """Freeze, dump, keep the files, and remove the source with its volumes."""
        runtime, container = self.engine.runtime, self.spec.container
        trees: tuple[Tree, ...] = runtime.trees(container)
        runtime.freeze(container)
        runtime.dump(container, self._stash / "images", self._stash / "work")
        for tree in trees:
            copy(tree.path, self._stash / "trees" / tree.name)
        moved = [one.name for one in self.spec.volumes if one.mode == "move"]
        runtime.remove(container, [name for name in moved if not name.startswith("/")])

    def arrive(self) -> Twin:
        """Make the twin and unpack everything into it."""
        twin: Twin = self.engine.runtime.create_twin(self.spec, self.migration)
        places = {tree.name: tree.path for tree in twin.trees}
        for kept in (self._stash / "trees").iterdir():
            assert not list(places[kept.name].iterdir()), f"{kept.name} is not empty"
            copy(kept, places[kept.name])
        copy(self._stash / "images", twin.images)
        return twin

    def whole(self) -> str:
        """All of it; the new container's id."""
        self.leave()
        twin = self.arrive()
        self.engine.runtime.restore(twin)
        self.engine.runtime.release_twin(self.migration)
        shutil.rmtree(self._stash)
        return twin.container


def copy(source: Path, target: Path) -> None:
    """Copy what is in one directory into another, with owners, times and extended attributes."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True, timeout=60)


ENGINES: list[Callable[[Path], Engine]] = [PodmanEngine if ON_HOST else FakeEngine]
