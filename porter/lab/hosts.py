"""Lab hosts: their disk, their boot, their end, and how to run something on one."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import porter
from porter.domain.errors import Conflict, Permanent
from porter.lab import cgroups, wan
from porter.lab.state import HostState, LabState, write_atomically

_BOOT_S = 20.0
_DEATH_S = 15.0
_AGENT_S = 10.0
_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # Replies to a moved address may leave by another way than requests came.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
}
# Memory-backed in a host; programs that live below these are shown there again.
_WIPED = ("/tmp", "/var/tmp", "/run", "/dev/shm")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def group(state: LabState, host: HostState) -> str:
    """The host's cgroup, below `porter-lab` in every hierarchy."""
    return f"{state.name}/{host.name}"


def prepare(directory: Path) -> None:
    """Make the directories that are a host's disk."""
    for name in ("containers", "porter", "cni", "etc", "etc.work"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for path in (Path("/var/lib/porter"), Path("/var/lib/containers")):
        path.mkdir(parents=True, exist_ok=True)


def is_alive(host: HostState) -> bool:
    """Whether the host's first process runs."""
    return host.init_pid != 0 and _start_time(host.init_pid) == host.init_start


def _start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if it is gone or dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


# ------------------------------------------------------------------ boot and power cut


def boot(state: LabState, host: HostState, directory: Path) -> None:
    """Start the host and plug it in. What an earlier run left behind is cleared first.

    Blocks for about 0.2 s. On any failure the host is off again. Raises `Permanent`.
    """
    power_off(state, host, directory)
    prepare(directory)
    cgroups.create(group(state, host))
    process = subprocess.Popen(
        [sys.executable, "-m", "porter.lab.boot"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        env={**_environment(), "PYTHONPATH": str(_repository())},
    )
    try:
        with process:
            assert process.stdin
            process.stdin.write(json.dumps(_specification(state, host, directory)).encode() + b"\n")
            process.stdin.flush()
            host.init_pid = int(_line(process, host))
            host.init_start = _start_time(host.init_pid)
            if _line(process, host) != "ready":
                raise Permanent(f"cannot boot host {host.name}: {_complaint(process)}")
            wan.plug(state, host, host.init_pid)
            process.stdin.write(b"go\n")
    except BaseException:
        process.kill()
        power_off(state, host, directory)
        raise


def _line(process: subprocess.Popen[bytes], host: HostState) -> str:
    assert process.stdout
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], _BOOT_S)
        byte = os.read(process.stdout.fileno(), 1) if readable else b""
        if not byte:
            raise Permanent(f"cannot boot host {host.name}: {_complaint(process)}")
        line += byte
    return line.decode().strip()


def _complaint(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr
    readable, _, _ = select.select([process.stderr], [], [], 1)
    text = os.read(process.stderr.fileno(), 65536).decode(errors="replace") if readable else ""
    return text.strip().rpartition("\n")[2] or f"it was not ready within {_BOOT_S:g} s"


def _repository() -> Path:
    return Path(porter.__file__).resolve().parent.parent


def _specification(state: LabState, host: HostState, directory: Path) -> dict[str, Any]:
    keep = {str(_repository()), sys.prefix, sys.base_prefix}
    return {
        "name": host.name,
        "directory": str(directory),
        "cgroups": [str(path) for path in cgroups.groups(group(state, host))],
        "hierarchies": [
            {"version": h.version, "options": h.options, "directory": h.root.name}
            for h in cgroups.hierarchies()
        ],
        "etc": _etc(state, host),
        "keep": sorted(p for p in keep if p.startswith(tuple(f"{w}/" for w in _WIPED))),
        "sysctls": _SYSCTLS,
    }


def _etc(state: LabState, host: HostState) -> dict[str, str]:
    names = "".join(f"{state.address(other)} {other.name}\n" for other in state.hosts.values())
    return {
        "hostname": f"{host.name}\n",
        "hosts": f"127.0.0.1 localhost\n{names}{state.gateway} control\n",
        "resolv.conf": "",
        "containers/containers.conf": _containers_conf(),
        "containers/policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}\n',
        "containers/registries.conf": "",
        "containers/storage.conf": (
            '[storage]\ndriver = "overlay"\ngraphroot = "/var/lib/containers/storage"\n'
            'runroot = "/run/containers/storage"\n'
        ),
    }


def _containers_conf() -> str:
    limits = []
    for name, which in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(which)[1]
        # Engines ask for 1048576, which a root without CAP_SYS_RESOURCE may not give.
        most = 1048576 if hard == resource.RLIM_INFINITY else min(hard, 1048576)
        limits.append(f'"{name}={most}:{most}"')
    return (
        f"[containers]\ndefault_ulimits = [{', '.join(limits)}]\n"
        'log_driver = "k8s-file"\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        '[network]\nnetwork_backend = "netavark"\n'
    )


def power_off(state: LabState, host: HostState, directory: Path) -> None:
    """Cut the host's power: no process of it gets to say good-bye. Its disk stays.

    The cable goes first, else the kernel would close the connections of dying processes in good
    order. Safe to repeat. Raises `Permanent` if something cannot be killed.
    """
    wan.unplug(state, host)
    kill_group(group(state, host), host.init_pid if is_alive(host) else 0)
    host.init_pid = host.init_start = 0
    (directory / "agent.status").unlink(missing_ok=True)
    cgroups.remove(group(state, host))


def kill_group(path: str, init_pid: int = 0) -> None:
    """Kill every process in `porter-lab/<path>`, frozen ones too, and wait for their end."""
    deadline = time.monotonic() + _DEATH_S
    start = _start_time(init_pid) if init_pid else 0
    while True:
        left = {pid for pid in cgroups.pids(path) if _start_time(pid)}
        # The first process dies last: the kernel waits for all of its namespace before it.
        if start and _start_time(init_pid) == start:
            left.add(init_pid)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A frozen process holds its death back until it is thawed, and then runs not one step.
        cgroups.thaw(path)
        if time.monotonic() > deadline:
            raise Permanent(
                f"cannot end {path}: processes {sorted(left)} do not die",
                "see /proc/PID/stack for what they wait for",
            )
        time.sleep(0.01)


def wipe(directory: Path) -> None:
    """Remove a lab's directory, or one host's. Refuses while anything is mounted below it."""
    mounts = [
        path
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if (path := line.split(" ")[4]).startswith(f"{directory}/")
    ]
    if mounts:
        raise Permanent(
            f"cannot remove {directory}: {mounts[0]} is still mounted",
            f"run 'umount {mounts[0]}' and try again",
        )
    deadline = time.monotonic() + _DEATH_S
    while directory.exists():
        try:
            shutil.rmtree(directory)
        except OSError as error:
            # Somebody still writes there, a control plane perhaps: it may be about to end.
            if time.monotonic() > deadline:
                raise Permanent(
                    f"cannot remove {directory}: {error.strerror}",
                    "end the processes that use it ('porter down') and try again",
                ) from error
            time.sleep(0.1)


def leave(root: Path) -> None:
    """With the last lab, remove what `prepare` made where it was missing.

    Not before: hosts of other labs have mounts on it, and removing a directory takes away what
    other namespaces have mounted there.
    """
    with contextlib.suppress(OSError):
        root.rmdir()
        Path("/var/lib/porter").rmdir()


# ------------------------------------------------------------------ running things


def _environment() -> dict[str, str]:
    """What a login on a host would see. The virtual environment's tools come last."""
    kept = {key: os.environ[key] for key in ("TERM", "LANG") if key in os.environ}
    return {"LANG": "C.UTF-8", "HOME": "/root", "PATH": f"{_PATH}:{sys.prefix}/bin", **kept}


def command(
    state: LabState, host: HostState, argv: Sequence[str], env: Mapping[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and environment that run `argv` on the host. It dies with us."""
    if not is_alive(host):
        raise Conflict(
            f"cannot run {argv[0]} on host {host.name}: it is off",
            f"run 'porter lab start {host.name}'",
        )
    files = " ".join(str(path) for path in cgroups.join_files(group(state, host)))
    script = (
        f"for f in {files}; do echo $$ >$f || exit 125; done; "
        f'exec nsenter -t {host.init_pid} -a setpriv --pdeathsig KILL -- "$@"'
    )
    return ["/bin/sh", "-c", script, "porter-lab", *argv], {**_environment(), **(env or {})}


def wan_command(
    lab: str, argv: Sequence[str], env: Mapping[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return the command line and environment that run `argv` among the clients."""
    full = {**os.environ, **(env or {})}
    return ["nsenter", f"--net={wan.netns_path(lab)}", "--", *argv], full


# ------------------------------------------------------------------ the agent


@dataclasses.dataclass(frozen=True)
class AgentStatus:
    """What a host's first process says of its agent. `pid` is as the host sees it, 0 for none."""

    pid: int = 0
    restarts: int = 0
    key: str = ""


def agent_status(directory: Path) -> AgentStatus:
    """Read what the host's first process last said."""
    try:
        return AgentStatus(**json.loads((directory / "agent.status").read_text()))
    except (OSError, ValueError, TypeError):
        return AgentStatus()


def set_agent(
    host: HostState, directory: Path, argv: Sequence[str], env: Mapping[str, str] | None
) -> None:
    """Have the host run this agent from now on, also after boots; no `argv` is no agent.

    Blocks until it was started, or has ended. Raises `Permanent` with the end of its log.
    """
    path, key = directory / "agent.json", ""
    if argv:
        wanted = {"argv": list(argv), "env": {**_environment(), **(env or {})}}
        key = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
        write_atomically(path, json.dumps({**wanted, "key": key}))
    else:
        path.unlink(missing_ok=True)
    if not is_alive(host):
        return
    os.kill(host.init_pid, signal.SIGHUP)
    # Its own grace period comes on top: an agent may take its time to end.
    deadline = time.monotonic() + 2 * _AGENT_S
    while agent_status(directory).key != key:
        if time.monotonic() > deadline:
            log = directory / "agent.log"
            last = log.read_text(errors="replace").strip().rpartition("\n")[2] if argv else ""
            raise Permanent(
                f"cannot {'start' if argv else 'stop'} the agent of {host.name}: {last}",
                f"see {log}",
            )
        time.sleep(0.02)


def agent_pid(state: LabState, host: HostState, directory: Path) -> int:
    """The agent's pid as this machine sees it; 0 while none runs."""
    inner = agent_status(directory).pid
    if not inner or not is_alive(host):
        return 0
    children = Path(f"/proc/{host.init_pid}/task/{host.init_pid}/children").read_text().split()
    for child in children:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{child}/status").read_text().splitlines():
                if line.startswith("NSpid:") and int(line.split()[-1]) == inner:
                    return int(child)
    return 0
