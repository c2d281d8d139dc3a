"""Why a container cannot leave this host: what only its own host can see."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.domain.workload import LABEL_ENABLE, LABEL_VOLUMES, NETWORK, Blocker

_VOLUME_MODES = ("move", "shared", "skip")
_FOREIGN_MOUNTS = ("fuse", "nfs", "cifs", "smb", "ceph", "9p", "autofs", "glusterfs", "afs")
_FOREIGN_FILES = {
    "anon_inode:[perf_event]": ("perf-event", "a performance counter"),
    "anon_inode:[userfaultfd]": ("userfaultfd", "a userfaultfd"),
    "anon_inode:bpf-prog": ("bpf", "a BPF program"),
    "anon_inode:bpf-map": ("bpf", "a BPF map"),
    "anon_inode:kvm-vm": ("kvm", "a virtual machine"),
    "/dev/kvm": ("kvm", "/dev/kvm"),
    "/dev/fuse": ("fuse", "/dev/fuse"),
}


@dataclass(frozen=True)
class Seen:
    """One container as its host sees it."""

    info: dict[str, Any]
    pids: tuple[int, ...]
    frozen: bool
    volumes: dict[str, dict[str, Any]]
    """Inspection of each named volume it mounts."""
    others: tuple[dict[str, Any], ...]
    """Inspections of the other containers here."""
    parents: dict[int, int]
    """Parent of each of `pids`."""

    @property
    def first(self) -> int:
        """Its first process; 0 if it does not run."""
        return int((self.info.get("State") or {}).get("Pid") or 0)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.info.get("Config") or {})

    @property
    def host(self) -> dict[str, Any]:
        return dict(self.info.get("HostConfig") or {})

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.config.get("Labels") or {})


Check = Callable[[Seen], Iterator[Blocker]]


def find_blockers(seen: Seen) -> tuple[Blocker, ...]:
    """Every reason found, in a fixed order; empty if it can move."""
    return tuple(blocker for check in _CHECKS for blocker in check(seen))


def _label(seen: Seen) -> Iterator[Blocker]:
    if seen.labels.get(LABEL_ENABLE) != "true":
        name = seen.info["Name"]
        yield Blocker(
            "not-labelled",
            f"container {name} has not opted in",
            f"create it with --label {LABEL_ENABLE}=true",
        )


def _state(seen: Seen) -> Iterator[Blocker]:
    state = seen.info.get("State") or {}
    if not state.get("Running") and state.get("Status") != "paused":
        yield Blocker(
            "not-running", f"the container is {state.get('Status')}", "start it: podman start"
        )
    elif state.get("Paused") or seen.frozen:
        yield Blocker("paused", "the container is paused", "resume it: podman unpause")


def _terminal(seen: Seen) -> Iterator[Blocker]:
    if seen.config.get("Tty") or seen.config.get("OpenStdin"):
        yield Blocker(
            "tty-attached",
            "the container has a terminal or an open standard input on this host",
            "create it without -t and -i",
        )


def _made_by(seen: Seen) -> Iterator[Blocker]:
    if not seen.config.get("CreateCommand"):
        yield Blocker(
            "no-create-command",
            "the container was made through the engine's API: its create command is not recorded",
            "create it with podman run",
        )
    if seen.host.get("AutoRemove"):
        yield Blocker(
            "auto-remove",
            "the engine removes the container as soon as it stops (--rm)",
            "create it without --rm",
        )
    if seen.info.get("Rootfs"):
        yield Blocker(
            "rootfs", "the container runs from a directory (--rootfs)", "run it from an image"
        )
    if seen.info.get("Pod") or seen.info.get("IsInfra"):
        yield Blocker("pod", "the container belongs to a pod", "create it without --pod")
    if seen.info.get("Dependencies"):
        yield Blocker(
            "dependencies",
            "the container depends on another one",
            "create it without --requires, --volumes-from or a container: namespace",
        )
    if seen.config.get("Secrets"):
        yield Blocker(
            "secrets",
            "the container uses secrets that only this host's engine knows",
            "give it the secret as a file on a volume",
        )


def _engine(seen: Seen) -> Iterator[Blocker]:
    runtime = os.path.basename(str(seen.info.get("OCIRuntime", "")))
    if runtime != "runc":
        yield Blocker(
            "oci-runtime",
            f"the container is run by {runtime or 'an unknown runtime'}",
            'set runtime = "runc" in containers.conf and create it again',
        )
    driver = str(seen.info.get("Driver", ""))
    if driver != "overlay":
        yield Blocker(
            "storage-driver",
            f"the container's files lie in a {driver} store",
            'set driver = "overlay" in storage.conf and create it again',
        )


def _rights(seen: Seen) -> Iterator[Blocker]:
    if seen.host.get("Privileged"):
        yield Blocker(
            "privileged",
            "the container is privileged",
            "give it only the capabilities it needs: --cap-add",
        )
    if seen.host.get("Devices"):
        names = ", ".join(str(one.get("PathOnHost")) for one in seen.host["Devices"])
        yield Blocker(
            "devices", f"the container uses devices of this host: {names}", "drop --device"
        )
    if seen.config.get("SystemdMode"):
        yield Blocker(
            "systemd-mode", "the container runs systemd", "create it with --systemd=false"
        )


def _namespaces(seen: Seen) -> Iterator[Blocker]:
    for key, word in (("PidMode", "pid"), ("IpcMode", "ipc"), ("UTSMode", "uts")):
        mode = str(seen.host.get(key) or "private")
        if shares_ours(seen.first, word):
            mode = "host"
        if mode == "host" or mode.startswith(("container:", "ns:")):
            yield Blocker(
                f"{word}-namespace",
                f"the container shares a {word} namespace ({mode})",
                f"create it without --{word}",
            )
    mode = str(seen.host.get("UsernsMode") or "")
    if mode not in ("", "host") or (seen.host.get("IDMappings") or {}).get("UidMap"):
        yield Blocker(
            "user-namespace",
            "the container has a user namespace of its own",
            "create it without --userns, --uidmap and --gidmap",
        )


def shares_ours(pid: int, kind: str) -> bool:
    """Whether a process is in the host's own namespace. Engines do not always say so."""
    try:
        theirs, ours = os.stat(f"/proc/{pid}/ns/{kind}"), os.stat(f"/proc/self/ns/{kind}")
    except OSError:
        return False  # it does not run
    return pid > 0 and (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def _network(seen: Seen) -> Iterator[Blocker]:
    mode = str(seen.host.get("NetworkMode") or "")
    networks = list((seen.info.get("NetworkSettings") or {}).get("Networks") or {})
    if mode == "none" or networks == [NETWORK]:
        return
    what = ", ".join(networks) or mode
    yield Blocker(
        "network",
        f"the container is not on Porter's network alone: {what}",
        f"create it with --network {NETWORK} (or none)",
    )


def _mounts(seen: Seen) -> Iterator[Blocker]:
    mode = seen.labels.get(LABEL_VOLUMES, "move")
    if mode not in _VOLUME_MODES:
        yield Blocker(
            "volumes-label",
            f"label {LABEL_VOLUMES} is {mode}",
            f"set it to one of {', '.join(_VOLUME_MODES)}",
        )
    for mount in seen.info.get("Mounts") or []:
        if mount.get("Type") == "bind" and mode == "move":
            yield Blocker(
                "bind-mount",
                f"{mount['Destination']} is the host's {mount['Source']}",
                f"use a named volume, or label {LABEL_VOLUMES}=shared if the target has the same "
                f"files there, or {LABEL_VOLUMES}=skip",
            )
        elif mount.get("Type") == "volume" and mode == "move":
            yield from _volume(seen, mount)
        elif mount.get("Type") not in ("bind", "volume", "tmpfs"):
            yield Blocker(
                "unsupported-mount",
                f"{mount.get('Destination')} is a mount of type {mount.get('Type')}",
                "use a named volume",
            )


def _volume(seen: Seen, mount: dict[str, Any]) -> Iterator[Blocker]:
    name = str(mount.get("Name"))
    volume = seen.volumes.get(name) or {}
    driver = volume.get("Driver") or mount.get("Driver")
    if driver not in (None, "", "local") or volume.get("Options"):
        yield Blocker(
            "volume-driver",
            f"volume {name} is not a plain local one",
            "create it without driver and options, or use label porter.volumes=shared",
        )
    for other in seen.others:
        if any(one.get("Name") == name for one in other.get("Mounts") or []):
            yield Blocker(
                "volume-in-use",
                f"volume {name} is also mounted by container {other['Name']}",
                "give each container a volume of its own",
            )


def _tasks(seen: Seen) -> Iterator[Blocker]:
    inside = set(seen.pids)
    for pid in seen.pids:
        if pid != seen.first and seen.parents.get(pid) not in inside:
            yield Blocker(
                "exec-session",
                "a command runs in the container that was started from outside (podman exec)",
                "end it first",
            )
            return


def _open_files(seen: Seen) -> Iterator[Blocker]:
    found: dict[str, Blocker] = {}
    for pid in seen.pids:
        for target in open_files(pid):
            if "io_uring" in target and target.startswith("anon_inode"):
                found["io-uring"] = Blocker(
                    "io-uring",
                    f"process {pid} uses io_uring, which cannot be checkpointed",
                    "switch io_uring off in the program's settings",
                )
            elif target in _FOREIGN_FILES:
                code, what = _FOREIGN_FILES[target]
                found[code] = Blocker(
                    code,
                    f"process {pid} holds {what}, which cannot be checkpointed",
                    "close it, or move the container in restart mode",
                )
    yield from found.values()


def open_files(pid: int) -> list[str]:
    """What a process's file descriptors point to; empty once it has ended."""
    try:
        return [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    except OSError:
        return []  # it ended, or closed a file while we looked


def _inner_mounts(seen: Seen) -> Iterator[Blocker]:
    pid = seen.first
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if pid else []
    except OSError:
        return  # it ended: `not-running` says so
    known = {str(mount.get("Destination")) for mount in seen.info.get("Mounts") or []}
    for line in lines:
        place, kind = line.split()[4], line.partition(" - ")[2].split()[0]
        if kind.startswith(_FOREIGN_MOUNTS) and kind != "fusectl" and place not in known:
            yield Blocker(
                "unsupported-mount",
                f"{place} in the container is a {kind} mount",
                "use a named volume",
            )


_CHECKS: tuple[Check, ...] = (
    _label,
    _state,
    _terminal,
    _made_by,
    _engine,
    _rights,
    _namespaces,
    _network,
    _mounts,
    _tasks,
    _open_files,
    _inner_mounts,
)
