"""`porter doctor`: whether this machine can be a host, and what to do where it cannot."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from porter.cli.app import BAD_INPUT, OK, App, PorterCommand
from porter.domain.units import bytes_
from porter.lab.criu_probe import probe as probe_criu

_SETUP = "run 'make setup' in Porter's repository"
_TIMEOUT_S = 20.0
_LEAST_SHM = 256 * 1024 * 1024
_FILESYSTEMS = Path("/proc/filesystems")
_MEMINFO = Path("/proc/meminfo")
_CGROUPS = Path("/proc/cgroups")
_CGROUP2 = Path("/sys/fs/cgroup/cgroup.controllers")
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Finding:
    """One check. `state` is ok, warning or failed; remedy is empty when all is well."""

    check: str
    state: str
    detail: str
    remedy: str = ""


def check_root() -> Finding:
    if os.geteuid() == 0:
        return Finding("root", "ok", "running as root")
    why = "not root: containers cannot be frozen or dumped"
    return Finding("root", "failed", why, "run it again with sudo")


def check_kernel() -> Finding:
    release, arch = platform.release(), platform.machine()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < (5, 10):
        return Finding("kernel", "failed", f"{release} is too old", "boot Linux 5.10 or newer")
    if "overlay" not in _FILESYSTEMS.read_text().split():
        remedy = "load it: modprobe overlay"
        return Finding("kernel", "failed", f"{release} has no overlay filesystem", remedy)
    return Finding("kernel", "ok", f"{release}, {arch}, overlay filesystem")


def check_cgroup() -> Finding:
    if _CGROUP2.exists():
        return Finding("cgroup", "ok", "version 2, with the freezer built in")
    controllers = [line.split()[0] for line in _CGROUPS.read_text().splitlines() if line]
    if "freezer" in controllers:
        return Finding("cgroup", "ok", "version 1, with the freezer")
    remedy = "boot with cgroup version 2, or a kernel with CONFIG_CGROUP_FREEZER"
    return Finding("cgroup", "failed", "version 1 without the freezer", remedy)


def check_criu() -> Finding:
    """A real dump and restore of a small process: `criu check` alone promises too much."""
    path = shutil.which("criu")
    if path is None:
        return Finding("criu", "failed", "there is no criu on the PATH", _SETUP)
    version = _output(["criu", "--version"]).splitlines()
    words = version[0].removeprefix("Version:").strip() if version else "of unknown version"
    if os.geteuid() != 0:
        return Finding("criu", "warning", f"{words}; not tried", "run doctor as root to try it")
    try:
        reason = probe_criu(path)
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        return Finding("criu", "failed", f"{words}: {reason}", _SETUP)
    return Finding("criu", "ok", f"{words}; dumped and restored a listening process")


def check_runc() -> Finding:
    path = shutil.which("runc")
    if path is None:
        return Finding("runc", "failed", "there is no runc on the PATH", "apt install runc")
    lines = _output(["runc", "--version"]).splitlines()
    return Finding("runc", "ok", lines[0] if lines else path)


def check_podman() -> Finding:
    if shutil.which("podman") is None:
        return Finding("podman", "failed", "there is no podman on the PATH", "apt install podman")
    try:
        info = json.loads(_output(["podman", "info", "--format", "json"]) or "{}")
    except ValueError:
        info = {}
    host, store = info.get("host") or {}, info.get("store") or {}
    if not host:
        why = "'podman info' does not answer"
        return Finding("podman", "failed", why, "run 'podman info' and mend what it says")
    version = (info.get("version") or {}).get("Version", "?")
    runtime = (host.get("ociRuntime") or {}).get("name", "?")
    driver = store.get("graphDriverName", "?")
    words = f"{version}, runtime {runtime}, storage {driver}"
    if runtime != "runc":
        remedy = 'set runtime = "runc" under [engine] in /etc/containers/containers.conf'
        return Finding("podman", "failed", words, remedy)
    if driver != "overlay":
        remedy = 'set driver = "overlay" in /etc/containers/storage.conf, then podman system reset'
        return Finding("podman", "failed", words, remedy)
    return Finding("podman", "ok", words)


def check_memory() -> Finding:
    sizes = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    free = int(sizes["MemAvailable"].split()[0]) * 1024
    shm = os.statvfs(_SHM) if _SHM.is_dir() else None
    room = shm.f_bavail * shm.f_frsize if shm else 0
    words = f"{bytes_(free)} free, {bytes_(room)} of it for images in {_SHM}"
    if room < _LEAST_SHM:
        remedy = f"mount a larger tmpfs: mount -o remount,size=50% {_SHM}"
        return Finding("memory", "warning", words, remedy)
    return Finding("memory", "ok", words)


def check_disk() -> Finding:
    place = Path("/var/lib/containers")
    while not place.exists():
        place = place.parent
    disk = os.statvfs(place)
    free = disk.f_bavail * disk.f_frsize
    if free < 1_000_000_000:
        remedy = "make room, for example with 'podman image prune'"
        return Finding("disk", "warning", f"only {bytes_(free)} free in {place}", remedy)
    return Finding("disk", "ok", f"{bytes_(free)} free in {place}")


def check_network() -> Finding:
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    if missing:
        remedy = "apt install iproute2 nftables"
        return Finding("network", "failed", f"missing: {', '.join(missing)}", remedy)
    if _FORWARD.exists() and _FORWARD.read_text().strip() != "1":
        return Finding("network", "ok", "nftables and iproute2; the agent turns forwarding on")
    return Finding("network", "ok", "nftables and iproute2; forwarding is on")


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_root,
    check_kernel,
    check_cgroup,
    check_criu,
    check_runc,
    check_podman,
    check_network,
    check_memory,
    check_disk,
)


@click.command(cls=PorterCommand)
@click.pass_obj
def doctor(app: App) -> int:
    """Check whether this machine can be a host. Exit code 2 if something is missing."""
    found = [check() for check in CHECKS]
    healthy = all(finding.state != "failed" for finding in found)
    document: dict[str, Any] = {"ok": healthy, "checks": [asdict(finding) for finding in found]}
    app.show(document, _picture(found))
    return OK if healthy else BAD_INPUT


def _picture(found: Iterable[Finding]) -> RenderableType:
    marks = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}
    lines = []
    for finding in found:
        mark, style = marks[finding.state]
        lines.append(Text.assemble((f"{mark} ", style), f"{finding.check:<8} ", finding.detail))
        if finding.remedy:
            lines.append(Text(f"  → {finding.remedy}", style="dim"))
    return Group(*lines)


def _output(argv: list[str]) -> str:
    """What a tool prints, "" if it fails or hangs: the checks say what that means."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
