"""One lab for all end-to-end tests: two hosts, a control plane, real Podman and real CRIU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.lab.fleet import Fleet, wait_until

PROGRAMS = Path(__file__).parent / "programs"
HOSTS = ("onprem", "cloud")
FAMILY = (PROGRAMS / "family.py").read_text()


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Two hosts joined by 1 Gbit/s; workloads of earlier tests may still be there."""
    fleet = Fleet(f"t{os.getpid()}")
    try:
        fleet.up(HOSTS)
        yield fleet
    finally:
        fleet.down()


class Client:
    """A client program among the lab's clients. It never reconnects."""

    def __init__(self, fleet: Fleet, script: str, *words: str, folder: Path) -> None:
        self.stop_file = folder / f"{uuid.uuid4().hex}.stop"
        argv = [sys.executable, str(PROGRAMS / script), *words]
        if script == "ask.py":
            argv.append(str(self.stop_file))
        self.process = fleet.lab.popen(
            "wan", argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def report(self, timeout: float = 120) -> dict[str, Any]:
        """End the client and return what it saw; fails with its error if its connection broke."""
        self.stop_file.touch()
        out, err = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, err
        answer: dict[str, Any] = json.loads(out)
        return answer


@pytest.fixture
def client(fleet: Fleet, tmp_path: Path) -> Iterator[Any]:
    """Starts client programs; those left over are killed."""
    started: list[Client] = []

    def start(script: str, *words: str) -> Client:
        started.append(Client(fleet, script, *words, folder=tmp_path))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


@pytest.fixture
def name(fleet: Fleet) -> Iterator[str]:
    """A workload name of this test's own; its container and volume are removed afterwards."""
    name = f"w{uuid.uuid4().hex[:8]}"
    yield name
    for host in HOSTS:
        fleet.lab.exec(host, ["podman", "rm", "-f", "-i", "-t", "0", name], timeout=60)
        fleet.lab.exec(host, ["podman", "volume", "rm", "-f", name], timeout=60)


def only_on(fleet: Fleet, name: str, host: str) -> None:
    """Exactly one copy: running on `host`, and no container of that name elsewhere."""
    assert fleet.running(name, HOSTS) == [host]
    for other in HOSTS:
        if other != host:
            everything = fleet.podman(other, "ps", "-a", "--format", "{{.Names}}").split()
            assert name not in everything


def clean(fleet: Fleet, host: str) -> None:
    """Nothing of a migration or of CRIU is left on the host."""
    leftovers = fleet.lab.exec(
        host, ["sh", "-c", "grep -E 'criu|cgyard|/dev/shm/porter' /proc/mounts; ls /dev/shm/porter"]
    )
    assert not leftovers.stdout.strip(), leftovers.stdout

    def nothing_runs() -> bool:
        # The agent asks for versions now and then: such a process is gone a moment later.
        return not fleet.lab.exec(host, ["pgrep", "-x", "-a", "criu|runc"]).stdout.strip()

    wait_until(f"CRIU and runc to end on {host}", nothing_runs, 5)


def network_is_unlocked(fleet: Fleet, host: str, name: str) -> None:
    """No packet filter of CRIU's is left in the container's network namespace."""
    pid = fleet.podman(host, "inspect", "-f", "{{.State.Pid}}", name)
    rules = fleet.lab.exec(
        host, ["nsenter", "-t", pid, "-n", "sh", "-c", "nft list ruleset; iptables-save"]
    )
    assert "CRIU" not in rules.stdout, rules.stdout


def settle(fleet: Fleet, name: str, seconds: float = 90) -> dict[str, Any]:
    """Wait until no migration of the workload is active; the last one."""

    def ended() -> Any:
        done = fleet.try_porter("--json", "migration", "ls")
        if done.returncode:
            return None
        rows = [row for row in json.loads(done.stdout) if row["workload"] == name]
        final = ("succeeded", "rolled_back", "failed")
        return rows[0] if rows and all(row["state"] in final for row in rows) else None

    answer: dict[str, Any] = wait_until(f"the migrations of {name} to end", ended, seconds)
    return answer
