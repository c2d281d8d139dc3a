"""Makes what the clouds believe true: for every machine of a cloud there is a host in the lab.

A machine's user data runs on its host, as root and byte for byte as the cloud keeps it, after
every boot: lab hosts have no service manager that would start again what it started.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from porter.domain.errors import PorterError
from porter.lab.clouds.base import Machine, StandIn
from porter.lab.state import WAN, HostState

log = logging.getLogger(__name__)
_LONGEST_NAME = 31
_LONGEST_REST_S = 2.0


class Place(Protocol):
    """What it needs of a lab; `lab.Lab` has it."""

    def inventory(self) -> list[HostState]: ...
    def add(self, host: str, machine: str) -> None: ...
    def start(self, host: str) -> None: ...
    def kill(self, host: str, *, stopped: bool = False) -> None: ...
    def remove(self, host: str) -> None: ...
    def address(self, host: str) -> str: ...
    def init_pid(self, host: str) -> int: ...
    def host_directory(self, host: str) -> Path: ...
    def popen(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]: ...


class Hypervisor:
    """Compares and mends. What it must remember lies with the hosts, so that another goes on.

    A cloud that was looked at rests for `rest` times as long as that took, but 2 s at most: looking
    costs it, too.
    """

    def __init__(self, place: Place, clouds: Mapping[str, StandIn], rest: float = 9.0) -> None:
        self._place = place
        self._clouds = clouds
        self._scripts: list[tuple[Path, str, subprocess.Popen[Any]]] = []
        self._rest = rest
        self._known: set[tuple[str, int]] = set()
        self._due: dict[str, float] = {}

    def step(self) -> None:
        """Look at every cloud whose turn it is and do what is missing. One machine's trouble is
        logged, and is no other machine's; it is tried again at the next step."""
        self._reap()
        for kind, cloud in self._clouds.items():
            begun = time.monotonic()
            if begun < self._due.get(kind, 0.0):
                continue
            try:
                wanted = {f"{kind}/{one.id}": one for one in cloud.machines()}
            except Exception:
                # Not knowing what there is must remove nothing.
                log.exception("cannot ask %s for its machines", kind)
                continue
            finally:
                now = time.monotonic()
                self._due[kind] = now + min(_LONGEST_REST_S, self._rest * (now - begun))
            there = self._machines()
            for name in there.keys() - wanted.keys():
                if name.startswith(f"{kind}/"):
                    with self._logged(f"remove {name}"):
                        log.info("%s: gone, and host %s with it", name, there[name].name)
                        self._place.remove(there[name].name)
            for name, machine in wanted.items():
                with self._logged(f"serve {name}"):
                    self._serve(cloud, name, machine)

    @contextlib.contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        try:
            yield
        except (PorterError, OSError, subprocess.SubprocessError) as error:
            log.error("cannot %s: %s", what, error)

    def _serve(self, cloud: StandIn, name: str, machine: Machine) -> None:
        host = self._machines().get(name)
        if not machine.running:
            if host is not None and not host.stopped:
                log.info("%s: powered off", name)
                self._place.kill(host.name, stopped=True)
            return
        if host is None:
            chosen = host_name(machine, {one.name for one in self._place.inventory()})
            log.info("%s: boots as host %s", name, chosen)
            self._place.add(chosen, name)
        elif host.stopped:
            log.info("%s: powered on", name)
            self._place.start(host.name)
        self._greet(cloud, machine, self._machines()[name])

    def _machines(self) -> dict[str, HostState]:
        return {host.machine: host for host in self._place.inventory() if host.machine}

    def _greet(self, cloud: StandIn, machine: Machine, host: HostState) -> None:
        """Tell the cloud of a boot, and run the user data, once for each boot."""
        boot = (host.machine, host.init_pid)
        if not self._place.init_pid(host.name) or boot in self._known:
            return  # off by accident, as a power cut is: the cloud does not know of it either
        cloud.booted(machine.id, self._place.address(host.name))
        self._run(machine.user_data, host)
        self._known.add(boot)

    def _run(self, text: str, host: HostState) -> None:
        directory = self._place.host_directory(host.name)
        ran = directory / "user-data.ran"
        mark = f"{host.init_pid} {host.init_start}"
        if not text or (ran.exists() and ran.read_text() == mark):
            return
        if not text.startswith("#!"):
            log.error("cannot run the user data of %s: it is no script", host.machine)
            return
        script = directory / "user-data"
        descriptor = os.open(script, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
        with os.fdopen(descriptor, "w", newline="") as file:
            file.write(text)
        with (directory / "user-data.log").open("a") as out:
            running = self._place.popen(
                host.name, [str(script)], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self._scripts.append((ran, mark, running))

    def _reap(self) -> None:
        """Note which scripts have ended: it is then that they count as run."""
        for ran, mark, script in list(self._scripts):
            if script.poll() is None:
                continue
            self._scripts.remove((ran, mark, script))
            say = log.error if script.returncode else log.info
            say("user data of %s ended with %s", ran.parent.name, script.returncode)
            with contextlib.suppress(FileNotFoundError):
                ran.write_text(mark)

    def close(self) -> None:
        """End the user data that still runs. It did not count as run, so another runs it again."""
        self._reap()
        for _, _, script in self._scripts:
            script.kill()
            script.wait()
        self._scripts.clear()


def host_name(machine: Machine, taken: set[str]) -> str:
    """A name that a lab host may have, from the machine's; made unique by its id if need be."""
    plain = re.sub(r"[^a-z0-9-]+", "-", machine.name.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"m-{plain}".rstrip("-")
    if len(plain) <= _LONGEST_NAME and plain not in taken and plain != WAN:
        return plain
    suffix = hashlib.sha256(machine.id.encode()).hexdigest()[:8]
    return f"{plain[: _LONGEST_NAME - 9].rstrip('-')}-{suffix}"
