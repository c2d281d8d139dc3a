"""A container's control group, version 1 or 2: freezer, processes, memory in use."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from porter.domain.errors import Transient


@dataclass(frozen=True)
class Hierarchy:
    """Where one hierarchy is mounted. `controllers` is empty for version 2."""

    root: Path
    mount: Path
    controllers: frozenset[str]


def hierarchies(mountinfo: str) -> list[Hierarchy]:
    """All cgroup hierarchies that /proc/self/mountinfo shows."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        if len(fields) < 5 or len(tail) < 3 or tail[0] not in ("cgroup", "cgroup2"):
            continue
        names = frozenset(tail[2].split(",")) if tail[0] == "cgroup" else frozenset[str]()
        found.append(Hierarchy(Path(fields[3]), Path(fields[4]), names))
    return found


def version(mounted: list[Hierarchy]) -> str:
    """`v1` where the freezer is a hierarchy of its own, else `v2`."""
    return "v1" if any("freezer" in one.controllers for one in mounted) else "v2"


def _path_of(pid: str, mounted: list[Hierarchy]) -> str:
    """The freezer's path of a process, "" if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    wanted = "freezer" if version(mounted) == "v1" else ""
    for line in lines:
        _, names, path = line.split(":", 2)
        if wanted in names.split(","):
            return path
    return ""


def _stands_apart(path: str, mounted: list[Hierarchy]) -> bool:
    """Whether a group can be a container's: neither the root, nor outside, nor ours."""
    parts = PurePosixPath(f"/{path.strip('/')}").parts
    own = PurePosixPath(_path_of("self", mounted)).parts
    return len(parts) > 1 and ".." not in parts and own[: len(parts)] != parts


class Cgroup:
    """The control group of one container, found by a process in it or by its path."""

    def __init__(self, path: str, mounted: list[Hierarchy] | None = None) -> None:
        if mounted is None:
            mounted = hierarchies(Path("/proc/self/mountinfo").read_text())
        self._mounted = mounted
        self.path = path
        self.v1 = version(mounted) == "v1"

    @classmethod
    def of(cls, pid: int) -> Cgroup | None:
        """The group of a process; None if it has ended or has none apart from ours.

        Version 1 counts a zombie to the root group: taken for the container's, that would have
        every process of the machine frozen or killed in its place.
        """
        mounted = hierarchies(Path("/proc/self/mountinfo").read_text())
        path = _path_of(str(pid), mounted)
        return cls(path, mounted) if _stands_apart(path, mounted) else None

    @classmethod
    def configured(cls, config: Path) -> Cgroup | None:
        """The group that an OCI configuration names; None if there is none such any more."""
        try:
            named = str(json.loads(config.read_text())["linux"]["cgroupsPath"])
        except (OSError, ValueError, KeyError):
            return None
        if named.count(":") == 2:  # systemd's way: slice:prefix:name
            parent, prefix, leaf = named.split(":")
            named = f"/{parent}/{prefix}-{leaf}.scope"
        group = cls(named)
        return group if _stands_apart(named, group._mounted) and group.directories() else None

    def directory(self, controller: str) -> Path | None:
        """The group's directory for one controller (any name on version 2)."""
        for one in self._mounted:
            if (controller in one.controllers) if self.v1 else not one.controllers:
                # A group outside the mounted root cannot be reached from here at all.
                inside = self.path
                if one.root != Path("/") and self.path.startswith(str(one.root)):
                    inside = self.path.removeprefix(str(one.root))
                return one.mount / inside.lstrip("/")
        return None

    def directories(self) -> list[Path]:
        """The group's directory in every hierarchy where it exists."""
        places = [one.mount / self.path.lstrip("/") for one in self._mounted]
        return [place for place in places if self.path != "/" and place.is_dir()]

    def frozen(self) -> bool:
        """Whether every task is stopped by the freezer."""
        where = self.directory("freezer")
        if where is None:
            return False
        try:
            if self.v1:
                return (where / "freezer.state").read_text().strip() == "FROZEN"
            events = dict(
                line.split() for line in (where / "cgroup.events").read_text().splitlines()
            )
        except OSError:
            return False
        return events.get("frozen") == "1"

    def close_freezer(self) -> None:
        """Have tasks freeze before their next instruction. Does not wait for it."""
        where = self.directory("freezer")
        if where is not None and where.is_dir():
            name, word = ("freezer.state", "FROZEN") if self.v1 else ("cgroup.freeze", "1")
            (where / name).write_text(word)

    def set_frozen(self, frozen: bool, limit: float = 10) -> None:
        """Freeze or thaw and wait until it is so. A group that is gone counts as thawed."""
        where = self.directory("freezer")
        if where is None or not where.is_dir():
            return
        name = "freezer.state" if self.v1 else "cgroup.freeze"
        word = ("FROZEN" if frozen else "THAWED") if self.v1 else str(int(frozen))
        until = time.monotonic() + limit
        while True:
            try:
                # Version 1 can stay in FREEZING until the state is written again.
                (where / name).write_text(word)
            except FileNotFoundError:
                return
            if self.frozen() == frozen:
                return
            if time.monotonic() > until:
                verb = "freeze" if frozen else "thaw"
                raise Transient(f"cannot {verb} {self.path}: its tasks did not follow in {limit} s")
            time.sleep(0.002)

    def pids(self) -> list[int]:
        """Every process in the group and below it."""
        where = self.directory("freezer")
        if where is None or not where.is_dir():
            return []
        found: set[int] = set()
        for procs in [where / "cgroup.procs", *where.rglob("cgroup.procs")]:
            try:
                found.update(int(word) for word in procs.read_text().split())
            except OSError:
                continue  # a group below may end while we look
        return sorted(found - {0})

    def memory(self) -> tuple[int, int]:
        """Bytes of anonymous and of shared memory (tmpfs and /dev/shm included), without cache."""
        where = self.directory("memory")
        if where is None:
            return 0, 0
        try:
            lines = (where / "memory.stat").read_text().splitlines()
        except OSError:
            return 0, 0
        stat = {key: int(value) for key, value in (line.split() for line in lines)}
        if self.v1:
            return stat.get("total_rss", 0), stat.get("total_shmem", 0)
        return stat.get("anon", 0), stat.get("shmem", 0)

    def remove(self) -> None:
        """Remove the empty group in every hierarchy, its children first."""
        for top in self.directories():
            below = sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts))
            for place in [*below, top]:
                try:
                    place.rmdir()
                except OSError:
                    continue  # busy or already gone: the engine removes what is left
