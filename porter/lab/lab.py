"""A lab: hosts, the network between them, and the accidents that befall them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from porter.domain.errors import Conflict, NotFound, Permanent
from porter.lab import cgroups, hosts, images, wan
from porter.lab import state as states
from porter.lab.clouds import control as clouds
from porter.lab.state import WAN, HostState, LabState

DEFAULT_HOSTS = ("onprem", "cloud")
DEFAULT_LINK_MBIT = 1000


class HostReport(TypedDict):
    """One host in a lab's status. `agent_pid` and `init_pid` are 0 while there is none; `machine`
    is `KIND/ID` of the cloud's machine that it is, "" for the lab's own."""

    name: str
    address: str
    state: str
    partitioned: bool
    init_pid: int
    agent_pid: int
    agent_restarts: int
    machine: str


class LabReport(TypedDict):
    """A lab's status. `gateway` is this machine's address in it, `client` the WAN's own."""

    name: str
    directory: str
    gateway: str
    client: str
    netns: str
    link_mbit: int
    hosts: list[HostReport]
    clouds: list[clouds.CloudReport]


class Lab:
    """A lab by its name. Methods block, may be repeated, and are safe from several processes."""

    def __init__(self, name: str = "lab") -> None:
        self.name = states.check_lab_name(name)
        self.directory = states.ROOT / name

    # -------------------------------------------------------------- up and down

    def up(
        self,
        hosts: Sequence[str] = DEFAULT_HOSTS,
        link_mbit: int = DEFAULT_LINK_MBIT,
        *,
        images: bool = True,
        clouds: Sequence[str] = (),
    ) -> LabReport:
        """Bring the lab up with these hosts; those that run already are left alone.

        `link_mbit` limits every host's link in both directions (0: no limit) of a new lab. With
        `images`, hosts booted here hold the test image. `clouds`: see `start_clouds`. If it fails
        or is interrupted, a new lab is taken down again, an old one keeps what ran before.
        """
        if os.geteuid() != 0:
            raise Permanent("cannot bring up a lab: it needs root", "run it with sudo")
        for host in hosts:
            states.check_host_name(host)
        is_new = states.load(self.directory) is None
        try:
            with self._lock():
                self._up(hosts, link_mbit, images)
            if clouds:
                self.start_clouds(clouds)
        except BaseException:
            if is_new:
                self.down()
            raise
        return self.status()

    def _up(self, names: Sequence[str], link_mbit: int, with_images: bool) -> None:
        state = states.load(self.directory)
        if state is None:
            # Nothing readable: what a crash left under this name would be in the way.
            self._clear(None)
            self.directory.mkdir(parents=True, exist_ok=True)
            with states.locked(states.ROOT):
                state = LabState(self.name, states.free_index(), link_mbit)
                states.save(self.directory, state)
        if not wan.is_up(state):
            for host in state.hosts.values():
                hosts.power_off(state, host, self.host_directory(host.name))
            wan.create(state)
        wanted = list(dict.fromkeys([*state.hosts, *names]))
        for name in wanted:
            if name not in state.hosts:
                state.add_host(name)
        for name in wanted:
            # Whether a cloud's machine runs is for its cloud to say.
            if not hosts.is_alive(state.hosts[name]) and not state.hosts[name].machine:
                self._boot(state, state.hosts[name], with_images)
                states.save(self.directory, state)

    def _boot(self, state: LabState, host: HostState, with_images: bool) -> None:
        containers = self.host_directory(host.name) / "containers"
        if with_images and images.is_blank(containers):
            images.preload(containers)
        hosts.boot(state, host, self.host_directory(host.name))

    def start_clouds(self, kinds: Sequence[str]) -> None:
        """Start stand-ins for these clouds, whose machines become hosts here.

        Blocks until all answer; those that run are left alone. Raises Conflict, Permanent.
        """
        clouds.start(self.name, self.directory, kinds)

    def down(self) -> None:
        """Remove every trace of the lab. Safe to repeat, and after a crash of any part."""
        if not self.directory.exists() and not self._has_traces():
            return
        with self._lock():
            clouds.stop(self.directory)
            self._clear(states.load(self.directory))
            hosts.wipe(self.directory)
            hosts.leave(self.directory.parent)

    def _has_traces(self) -> bool:
        groups = [h.root / cgroups.TOP / self.name for h in cgroups.hierarchies()]
        return wan.netns_path(self.name).exists() or any(path.exists() for path in groups)

    def _clear(self, state: LabState | None) -> None:
        """End all that runs. Everything is found by the lab's name; the state may be lost."""
        hosts.kill_group(self.name)
        for pid in wan.pids(self.name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wan.remove(self.name)
        if state:
            wan.remove_uplink(state)
        cgroups.remove(self.name)

    # -------------------------------------------------------------- looking

    def status(self) -> LabReport:
        """Say what there is. Raises `NotFound` if the lab is not up."""
        state = self._state()
        return {
            "name": state.name,
            "directory": str(self.directory),
            "gateway": state.gateway,
            "client": state.client,
            "netns": wan.netns(state.name),
            "link_mbit": state.link_mbit,
            "hosts": [self._report(state, host) for host in state.hosts.values()],
            "clouds": clouds.status(self.directory),
        }

    def _report(self, state: LabState, host: HostState) -> HostReport:
        directory = self.host_directory(host.name)
        return {
            "name": host.name,
            "address": state.address(host),
            "state": "running" if hosts.is_alive(host) else "off",
            "partitioned": host.partitioned,
            "init_pid": host.init_pid if hosts.is_alive(host) else 0,
            "agent_pid": hosts.agent_pid(state, host, directory),
            "agent_restarts": hosts.agent_status(directory).restarts,
            "machine": host.machine,
        }

    @property
    def gateway(self) -> str:
        """This machine's address in the lab: where a control plane listens for agents."""
        return self._state().gateway

    @property
    def client(self) -> str:
        """Address of the WAN namespace, from where clients call workloads."""
        return self._state().client

    def address(self, host: str) -> str:
        """The host's own address."""
        state = self._state()
        return state.address(self._host(state, host))

    def host_directory(self, host: str) -> Path:
        """The host's disk on this machine; hosts see it under the same path."""
        return self.directory / "hosts" / host

    def init_pid(self, host: str) -> int:
        """Pid of the host's first process as this machine sees it; 0 while the host is off."""
        found = self._host(self._state(), host)
        return found.init_pid if hosts.is_alive(found) else 0

    # -------------------------------------------------------------- running things

    def exec(
        self,
        host: str,
        argv: Sequence[str],
        *,
        input: str | None = None,
        timeout: float | None = None,
        check: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host, or among the clients (`wan`), and capture what it prints.

        Raises `subprocess.TimeoutExpired` after `timeout` seconds, when it was killed, and with
        `check` `subprocess.CalledProcessError`.
        """
        line, environment = self._command(host, argv, env)
        return subprocess.run(
            line,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
            env=environment,
        )

    def popen(
        self,
        host: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a command on a host, or among the clients (`wan`); `options` are `Popen`'s.

        On a host the handle is that of a helper: when it is killed, so is the command.
        """
        line, environment = self._command(host, argv, env)
        return subprocess.Popen(line, env=environment, **options)

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` there, for a caller who replaces itself by it."""
        line, environment = self._command(host, argv, None)
        return ["env", "-i", *(f"{k}={v}" for k, v in environment.items()), *line]

    def _command(
        self, host: str, argv: Sequence[str], env: Mapping[str, str] | None
    ) -> tuple[list[str], dict[str, str]]:
        state = self._state()
        if host == WAN:
            return hosts.wan_command(self.name, argv, env)
        return hosts.command(state, self._host(state, host), argv, env)

    # -------------------------------------------------------------- accidents

    def kill(self, host: str, *, stopped: bool = False) -> None:
        """Cut the host's power: all its processes and memory are gone, its disk stays. `stopped`
        notes that its cloud wants it so."""
        with self._changing(host) as (state, found):
            hosts.power_off(state, found, self.host_directory(host))
            found.stopped = stopped

    def start(self, host: str) -> None:
        """Boot a host again after a power cut; its agent starts too. A running one is left."""
        with self._changing(host) as (state, found):
            if not hosts.is_alive(found):
                hosts.boot(state, found, self.host_directory(host))
            found.stopped = False

    def partition(self, host: str) -> None:
        """Cut the host off: everything to and from it vanishes without a word."""
        self._set_partition(host, True)

    def heal(self, host: str) -> None:
        """Undo `partition`."""
        self._set_partition(host, False)

    def _set_partition(self, host: str, cut: bool) -> None:
        with self._changing(host) as (state, found):
            found.partitioned = cut
            if hosts.is_alive(found):
                wan.set_partition(state, found, cut)

    # -------------------------------------------------------------- machines of the clouds

    def inventory(self) -> list[HostState]:
        """All hosts as they are recorded now."""
        return list(self._state().hosts.values())

    def add(self, host: str, machine: str) -> None:
        """Boot one more host, with the test image, as this machine of a cloud. If that fails,
        nothing is left. Raises Conflict for a name that is taken."""
        states.check_host_name(host)
        with self._lock():
            state = self._state()
            if host in state.hosts:
                raise Conflict(f"cannot add host {host}: there is one already")
            state.add_host(host).machine = machine
            try:
                self._boot(state, state.hosts[host], True)
                states.save(self.directory, state)
            except BaseException:
                self._discard(state, host)
                raise

    def remove(self, host: str) -> None:
        """Power a host off and remove it with its disk. Absent is fine."""
        with self._lock():
            state = self._state()
            if host in state.hosts:
                self._discard(state, host)
                states.save(self.directory, state)

    def _discard(self, state: LabState, host: str) -> None:
        hosts.power_off(state, state.hosts[host], self.host_directory(host))
        hosts.wipe(self.host_directory(host))
        del state.hosts[host]

    # -------------------------------------------------------------- agents and images

    def start_agent(
        self, host: str, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        """Have the host run this agent, restart it when it dies and start it at every boot.

        Returns once it was started; an agent running under another command line is stopped
        first. It prints to `agent.log` in the host's directory.
        """
        with self._changing(host) as (_, found):
            hosts.set_agent(found, self.host_directory(host), argv, env)

    def stop_agent(self, host: str) -> None:
        """End the host's agent (SIGTERM, after 10 s SIGKILL) and do not start it again."""
        with self._changing(host) as (_, found):
            hosts.set_agent(found, self.host_directory(host), (), None)

    def agent_pid(self, host: str) -> int:
        """The agent's pid as this machine sees it. Raises `NotFound` while none runs."""
        state = self._state()
        pid = hosts.agent_pid(state, self._host(state, host), self.host_directory(host))
        if not pid:
            raise NotFound(
                f"cannot find the agent of {host}: none runs",
                f"see {self.host_directory(host)}/agent.log",
            )
        return pid

    def load_image(self, host: str) -> None:
        """Make sure that the host's Podman holds the test image."""
        with self._changing(host) as (_, found):
            containers = self.host_directory(host) / "containers"
            if images.is_blank(containers):
                images.preload(containers)
                return
        if self.exec(host, ["podman", "image", "exists", images.IMAGE]).returncode == 0:
            return
        images.check()
        done = self.exec(host, ["podman", "load", "-q", "-i", str(images.ARCHIVE)])
        if done.returncode != 0:
            raise Permanent(f"cannot load {images.IMAGE} on {found.name}: {done.stderr.strip()}")

    # -------------------------------------------------------------- inside

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return states.locked(self.directory)

    def _state(self) -> LabState:
        state = states.load(self.directory)
        if state is None:
            raise NotFound(
                f"cannot find the lab {self.name}: it is not up",
                f"run 'porter lab up --name {self.name}'",
            )
        return state

    def _host(self, state: LabState, name: str) -> HostState:
        if name not in state.hosts:
            raise NotFound(
                f"cannot find host {name} in the lab {self.name}: there is none of that name",
                f"its hosts are {', '.join(state.hosts) or 'none'}",
            )
        return state.hosts[name]

    @contextlib.contextmanager
    def _changing(self, host: str) -> Iterator[tuple[LabState, HostState]]:
        """Hold the lab's lock around a change to one host; the state is saved however it ends."""
        self._host(self._state(), host)
        with self._lock():
            state = self._state()
            try:
                yield state, self._host(state, host)
            finally:
                states.save(self.directory, state)
