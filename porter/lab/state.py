"""What a lab remembers about itself, and the locks around it.

The file is a help, not the truth: everything a lab makes can also be found by the lab's name, so
that a lost or half-written file never keeps `down` from cleaning up.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from porter.domain.errors import Conflict, Invalid

ROOT = Path("/var/lib/porter-lab")
WORKLOADS = "10.77.0.0/16"
WAN = "wan"

_LAB_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_HOST_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_MAX_HOSTS = 200


@dataclass
class HostState:
    """One host. `init_pid` is 0 while it is off; `init_start` guards against a reused pid.

    `machine` is `KIND/ID` of the cloud's machine that this host is, "" for the lab's own;
    `stopped` says that its cloud has powered it off.
    """

    name: str
    number: int
    init_pid: int = 0
    init_start: int = 0
    partitioned: bool = False
    machine: str = ""
    stopped: bool = False


@dataclass
class LabState:
    """One lab. `index` picks its addresses; `link_mbit` is each host's link, 0 for no limit."""

    name: str
    index: int
    link_mbit: int
    hosts: dict[str, HostState] = field(default_factory=dict)

    @property
    def gateway(self) -> str:
        """This machine's own address in the lab's WAN: where a control plane listens."""
        return f"10.99.{self.index}.1"

    @property
    def client(self) -> str:
        """The WAN namespace's address: where clients of workloads call from."""
        return f"10.99.{self.index}.254"

    def address(self, host: HostState) -> str:
        """The underlay address of a host."""
        return f"10.99.{self.index}.{10 + host.number}"

    def mac(self, host: HostState) -> str:
        """The hardware address of a host's eth0, the same after every boot."""
        return self.hardware_address(10 + host.number)

    def hardware_address(self, last: int) -> str:
        """The hardware address that goes with the lab's address ending in `last`."""
        return f"02:99:00:{self.index:02x}:00:{last:02x}"

    @property
    def uplink(self) -> str:
        """The interface that joins this machine to the lab's WAN."""
        return f"plab{self.index}"

    def add_host(self, name: str) -> HostState:
        """Give a new host the lowest free number. Raises `Conflict` when there is none."""
        taken = {host.number for host in self.hosts.values()}
        number = next((n for n in range(1, _MAX_HOSTS) if n not in taken), 0)
        if not number:
            raise Conflict(
                f"cannot add host {name}: a lab has room for {_MAX_HOSTS - 1}", "use another lab"
            )
        self.hosts[name] = HostState(name, number)
        return self.hosts[name]


def check_lab_name(name: str) -> str:
    """Return `name` if a lab may be called so. Raises `Invalid`."""
    if not _LAB_NAME.fullmatch(name):
        raise Invalid(
            f"cannot call a lab {name!r}: it is not a plain name",
            "use at most 32 small letters, digits and dashes, a letter first",
        )
    return name


def check_host_name(name: str) -> str:
    """Return `name` if a host may be called so. Raises `Invalid`."""
    if not _HOST_NAME.fullmatch(name) or name == WAN:
        raise Invalid(
            f"cannot call a host {name!r}: it is not a plain name, or it is '{WAN}'",
            "use at most 31 small letters, digits and dashes, a letter first",
        )
    return name


def load(directory: Path) -> LabState | None:
    """Read a lab's state; None if there is none or it cannot be read."""
    try:
        raw: dict[str, Any] = json.loads((directory / "lab.json").read_text())
        hosts = {name: HostState(**host) for name, host in raw.pop("hosts").items()}
        return LabState(**raw, hosts=hosts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def save(directory: Path, state: LabState) -> None:
    """Write a lab's state; a reader sees the old or the new one, never half of it."""
    write_atomically(directory / "lab.json", json.dumps(asdict(state), indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` in one step. Readable by root only: agents' tokens pass through here."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    new.replace(path)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of `directory`, which is made if missing. Blocks; freed if we die."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # `down` may have removed what we waited for: then the lock guards nothing.
            if _is_at(descriptor, directory):
                yield
                return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, directory: Path) -> bool:
    try:
        there = directory.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def free_index() -> int:
    """Find an index whose addresses and interface nobody on this machine uses.

    Call it with `ROOT` locked, and save the lab's state before letting go.
    """
    taken = {lab.index for path in _lab_directories() if (lab := load(path))}
    taken |= {int(m[1]) for n in os.listdir("/sys/class/net") if (m := re.match(r"plab(\d+)$", n))}
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        octets = bytes.fromhex(line.split()[1])[::-1]
        if octets[:2] == bytes((10, 99)):
            taken.add(octets[2])
    for index in range(1, 255):
        if index not in taken:
            return index
    raise Conflict("cannot add a lab: all 254 are in use", "take one down with 'porter lab down'")


def names() -> list[str]:
    """Names of all labs that left a directory on this machine."""
    return [path.name for path in _lab_directories()]


def _lab_directories() -> list[Path]:
    if not ROOT.is_dir():
        return []
    return sorted(path for path in ROOT.iterdir() if path.is_dir())
