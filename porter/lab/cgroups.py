"""Control groups of the lab: one subtree per host in every hierarchy this machine has.

Works with version 1 (also hybrid, as on older systems), where a host lives in
`porter-lab/<lab>/<host>` of each hierarchy, and with version 2 alone. All functions may be
repeated; what is gone already is no error.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from porter.domain.errors import Permanent

TOP = "porter-lab"
LEAF = "init"

# Mount options of version 1 hierarchies that name neither a controller nor the hierarchy.
_PLAIN_OPTIONS = {"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode"}


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup hierarchy. `options` is what mounts it again (version 1)."""

    root: Path
    version: int
    options: str = ""

    @property
    def is_cpuset(self) -> bool:
        """Whether new groups here are useless until they were given processors and memory."""
        return self.version == 1 and "cpuset" in self.options.split(",")


@functools.cache
def hierarchies() -> tuple[Hierarchy, ...]:
    """Find the hierarchies of this machine: all of version 1, else the one of version 2."""
    old: list[Hierarchy] = []
    new: list[Hierarchy] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, superblock = rest.split(" ", 2)
        root = Path(fields.split(" ")[4])
        if kind == "cgroup" and not any(h.root == root for h in old):
            kept = [
                o
                for o in superblock.split(",")
                if o not in _PLAIN_OPTIONS and not o.startswith("release_agent=")
            ]
            old.append(Hierarchy(root, 1, ",".join(kept)))
        elif kind == "cgroup2" and not new:
            new.append(Hierarchy(root, 2))
    found = tuple(old or new)
    if not found:
        raise Permanent(
            "cannot find a cgroup hierarchy: none is mounted", "mount cgroup2 on /sys/fs/cgroup"
        )
    return found


def create(path: str) -> None:
    """Make the group `porter-lab/<path>` in every hierarchy."""
    for hierarchy in hierarchies():
        group = hierarchy.root
        for part in [TOP, *path.split("/")]:
            if hierarchy.version == 2:
                delegate(group)
            parent, group = group, group / part
            group.mkdir(exist_ok=True)
            if hierarchy.is_cpuset:
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (group / name).write_text((parent / name).read_text())


def delegate(group: Path) -> None:
    """Let the groups below this one of version 2 use every controller that it has itself."""
    for controller in (group / "cgroup.controllers").read_text().split():
        # Not each can be handed down everywhere; what cannot be is simply not limited.
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def groups(path: str) -> list[Path]:
    """Return the directories of the group `porter-lab/<path>`, one in every hierarchy."""
    return [h.root / TOP / path for h in hierarchies()]


def settle(group: Path) -> None:
    """In version 2, move the calling process of a booting host from its group to a leaf.

    Only leaves may hold processes there, and the host's engine wants its groups beside us. It
    comes after the cgroup namespace was made, whose root must be the group itself.
    """
    leaf = group / LEAF
    leaf.mkdir(exist_ok=True)
    (leaf / "cgroup.procs").write_text(str(os.getpid()))
    delegate(group)


def join_files(path: str) -> list[Path]:
    """Return the files into which a process writes its pid to enter a running host."""
    return [
        h.root / TOP / path / (LEAF if h.version == 2 else "") / "cgroup.procs"
        for h in hierarchies()
    ]


def pids(path: str) -> set[int]:
    """Return every live process in `porter-lab/<path>` and the groups below it."""
    found: set[int] = set()
    for group in _groups(path):
        with contextlib.suppress(OSError):
            found.update(int(pid) for pid in (group / "cgroup.procs").read_text().split())
    found.discard(0)
    return found


def thaw(path: str) -> None:
    """Thaw every frozen group in `porter-lab/<path>`: frozen processes cannot die."""
    for group in _groups(path):
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            with contextlib.suppress(OSError):
                if (group / name).exists():
                    (group / name).write_text(value)


def remove(path: str = "", *, wait_s: float = 5.0) -> None:
    """Remove `porter-lab/<path>` and all below it, once its processes are gone.

    Blocks up to `wait_s`: the kernel lets go of dying processes a little late. Also removes the
    lab's and the top group if they are empty then. Raises `Permanent` if something is left.
    """
    deadline = time.monotonic() + wait_s
    while True:
        stuck = [group for group in _groups(path, bottom_up=True) if not _rmdir(group)]
        if not stuck:
            break
        if time.monotonic() > deadline:
            raise Permanent(
                f"cannot remove the cgroup {stuck[0]}: it is still in use",
                f"see which processes are in {stuck[0]}/cgroup.procs, end them and try again",
            )
        time.sleep(0.02)
    parents = [Path(TOP, path).parent, Path(TOP)]
    for hierarchy in hierarchies():
        for parent in parents:
            if parent.parts:
                _rmdir(hierarchy.root / parent)


def _rmdir(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _groups(path: str, *, bottom_up: bool = False) -> Iterator[Path]:
    for hierarchy in hierarchies():
        top = hierarchy.root / TOP / path
        for directory, _, _ in os.walk(top, topdown=not bottom_up):
            yield Path(directory)
