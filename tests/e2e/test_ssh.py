"""A machine becomes a host over SSH, with a real server and a real client."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from porter.lab.fleet import Fleet

pytestmark = pytest.mark.e2e
CONFIG = """\
Port 22
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
SetEnv PATH={path}
"""


@dataclass
class Machine:
    name: str
    address: str
    ssh: list[str]


@pytest.fixture
def machine(fleet: Fleet) -> Iterator[Machine]:
    name = f"ssh-{uuid.uuid4().hex[:6]}"
    fleet.lab.add(name, "")
    folder: Path = fleet.lab.host_directory(name)
    for key in ("host", "key"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(make, check=True)
    path = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    (folder / "sshd_config").write_text(CONFIG.format(folder=folder, path=path))
    start = f"mkdir -p /run/sshd && /usr/sbin/sshd -f {folder}/sshd_config"
    fleet.lab.exec(name, ["sh", "-c", start], check=True)
    address = fleet.lab.address(name)
    known = folder / "known_hosts"
    known.write_text(f"{address} {(folder / 'host.pub').read_text()}")
    yield Machine(
        name, address, ["-o", f"UserKnownHostsFile={known}", "--identity", f"{folder}/key"]
    )
    fleet.try_porter("host", "rm", name)
    fleet.lab.remove(name)


def test_a_machine_joins_over_ssh(fleet: Fleet, machine: Machine) -> None:
    words = ["--name", machine.name, "--site", "onprem", *machine.ssh]
    joined = fleet.json("host", "join", f"root@{machine.address}", *words)
    assert (joined["name"], joined["site"], joined["alive"]) == (machine.name, "onprem", True)


def test_a_machine_that_does_not_let_us_in_is_told(fleet: Fleet, machine: Machine) -> None:
    wrong = [*machine.ssh[:2], "--identity", "/dev/null"]
    done = fleet.try_porter("host", "join", f"root@{machine.address}", "--name", "x", *wrong)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr
    assert "ssh root@" in done.stderr
