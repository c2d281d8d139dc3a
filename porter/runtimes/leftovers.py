"""What a dead CRIU or runc leaves on a host: mounts. Unmounted before anything is removed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from porter.domain.errors import Permanent

_MNT_DETACH = 2
_MS_BIND = 4096
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_libc = ctypes.CDLL(None, use_errno=True)


def mount_points() -> list[Path]:
    """Every mount point of this mount namespace, the latest mounted first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        raw = line.split()[4].encode().decode("unicode_escape")
        found.append(Path(raw.encode("latin-1").decode("utf-8", "surrogateescape")))
    return found[::-1]


def is_mounted(place: Path) -> bool:
    """Whether something is mounted exactly there."""
    return place in mount_points()


def bind(source: Path, place: Path) -> None:
    """Mount `source` on `place` unless it is mounted there already."""
    if is_mounted(place):
        return
    place.mkdir(parents=True, exist_ok=True)
    if _libc.mount(os.fsencode(source), os.fsencode(place), None, _MS_BIND, None) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise Permanent(f"cannot mount {source} on {place}: {reason}")


def mount_shm(place: Path, size: int) -> None:
    """Mount the tmpfs of a container's /dev/shm as Podman would, unless it is there already."""
    if is_mounted(place):
        return
    place.mkdir(parents=True, exist_ok=True)
    flags, options = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, f"mode=1777,size={size}"
    if _libc.mount(b"shm", os.fsencode(place), b"tmpfs", flags, options.encode()) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise Permanent(f"cannot mount {place}: {reason}")


def unmount(place: Path) -> None:
    """Detach everything mounted at or below `place`. Nothing there is fine."""
    for point in mount_points():
        if point == place or place in point.parents:
            _libc.umount2(os.fsencode(point), _MNT_DETACH)
    if any(point == place or place in point.parents for point in mount_points()):
        raise Permanent(f"cannot unmount {place}: it stays busy", "see what uses it: fuser -vm")


def clear_leftovers(container: str, places: Iterable[Path], runc: Path = Path("/run/runc")) -> None:
    """Detach CRIU's mounts of a container: its root in runc's state, cgroup yards in `places`."""
    for place in [runc / container, *places]:
        for point in mount_points():
            inside = place in point.parents
            if inside and (point.name == "criu-root" or ".criu." in str(point)):
                unmount(point)


def remove_tree(top: Path) -> None:
    """Remove a directory that may hold mounts: unmount first, then refuse to cross any device."""
    if not top.exists():
        return
    unmount(top)
    device = top.stat().st_dev
    for folder, names, files in os.walk(top, topdown=False):
        for name in files:
            os.unlink(os.path.join(folder, name))
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                os.unlink(path)
            elif os.lstat(path).st_dev == device:
                os.rmdir(path)
    os.rmdir(top)


def empty_tree(top: Path) -> None:
    """Remove everything in a directory but not itself; it must hold no mounts."""
    inside = [point for point in mount_points() if top in point.parents]
    if inside:
        raise Permanent(f"cannot empty {top}: {inside[0]} is mounted in it")
    for entry in os.scandir(top):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(Path(entry.path))
        else:
            os.unlink(entry.path)
