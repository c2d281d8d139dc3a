"""Boot one lab host: `python -m porter.lab.boot`, with its description as one line on stdin.

The process enters the host's cgroups, makes its namespaces and forks the host's first process,
whose pid (as this machine sees it) it prints before it ends. The first process arranges the
mounts, prints "ready" and waits for the line "go": until then the lab plugs in the network.
It loads little: this is on the path of every boot.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from porter.lab import cgroups, init, syscalls

_TMPFS = syscalls.MS_NOSUID | syscalls.MS_NODEV
_NAMESPACES = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWCGROUP
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWNET
)


def main() -> None:
    """Boot the host described on standard input."""
    spec = json.loads(sys.stdin.readline())
    # First the cgroups: the new cgroup namespace takes the group we are in as its root.
    for group in spec["cgroups"]:
        Path(group, "cgroup.procs").write_text(str(os.getpid()))
    syscalls.unshare(_NAMESPACES)
    if spec["hierarchies"][0]["version"] == 2:
        cgroups.settle(Path(spec["cgroups"][0]))
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        # _exit: nothing of ours may be flushed or closed twice.
        os._exit(0)
    _first_process(spec)


def _first_process(spec: dict[str, Any]) -> None:
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    directory = Path(spec["directory"])
    _isolate(spec, directory)
    print("ready", flush=True)
    if sys.stdin.readline().strip() != "go":
        sys.exit("cannot boot: the lab that started this host is gone")
    null = os.open("/dev/null", os.O_RDWR)
    log = os.open(directory / "init.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)
    init.serve(directory)


def _isolate(spec: dict[str, Any], directory: Path) -> None:
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    _drop_foreign_namespaces()
    syscalls.mount("proc", "/proc", "proc", _TMPFS | syscalls.MS_NOEXEC)
    _mount_sys(spec["hierarchies"])
    syscalls.set_hostname(spec["name"])
    _mount_disk(spec, directory)
    _mount_memory(spec["keep"])
    for key, value in spec["sysctls"].items():
        # Not every kernel has every one of them (IPv6 can be compiled out).
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys", key).write_text(value)


def _drop_foreign_namespaces() -> None:
    """A mount of a network namespace that we inherited would keep another lab's WAN alive."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.startswith("nsfs "):
            syscalls.unmount(fields.split(" ")[4])


def _mount_sys(hierarchies: list[dict[str, Any]]) -> None:
    syscalls.unmount("/sys")
    flags = _TMPFS | syscalls.MS_NOEXEC
    syscalls.mount("sysfs", "/sys", "sysfs", flags)
    if hierarchies[0]["version"] == 2:
        syscalls.mount("cgroup2", "/sys/fs/cgroup", "cgroup2", flags)
        return
    syscalls.mount("tmpfs", "/sys/fs/cgroup", "tmpfs", flags, "mode=755")
    for hierarchy in hierarchies:
        target = Path("/sys/fs/cgroup", hierarchy["directory"])
        target.mkdir()
        options = hierarchy["options"]
        named = options.startswith("name=")
        syscalls.mount(
            "cgroup", str(target), "cgroup", flags, f"none,{options}" if named else options
        )
        for alias in options.split(",") if "," in options else ():
            with contextlib.suppress(FileExistsError):
                Path("/sys/fs/cgroup", alias).symlink_to(target.name)


def _mount_disk(spec: dict[str, Any], directory: Path) -> None:
    """What survives a power cut: it lies in the host's directory on this machine's disk."""
    upper, work = directory / "etc", directory / "etc.work"
    syscalls.mount(
        "etc", "/etc", "overlay", options=f"lowerdir=/etc,upperdir={upper},workdir={work}"
    )
    for relative, text in spec["etc"].items():
        path = Path("/etc", relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.unlink()
        path.write_text(text)
    Path("/etc/criu").mkdir(exist_ok=True)
    for name in ("containers", "porter", "cni"):
        if Path("/var/lib", name).is_dir():
            syscalls.bind(str(directory / name), f"/var/lib/{name}")


def _mount_memory(keep: list[str]) -> None:
    """What a power cut wipes. `keep` lists directories of programs that must stay visible."""
    handles = [(path, os.open(path, os.O_PATH | os.O_DIRECTORY)) for path in keep]
    syscalls.mount("tmpfs", "/run", "tmpfs", _TMPFS, "mode=755")
    Path("/run/lock").mkdir()
    for target in ("/dev/shm", "/tmp", "/var/tmp"):
        syscalls.mount("tmpfs", target, "tmpfs", _TMPFS, "mode=1777")
    for path, handle in handles:
        if not Path(path).exists():
            Path(path).mkdir(parents=True)
            syscalls.bind(f"/proc/self/fd/{handle}", path)
        os.close(handle)


if __name__ == "__main__":
    main()
