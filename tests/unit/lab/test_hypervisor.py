"""For every machine of a cloud a host, and no other; whatever fails, and whoever begins anew."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from porter.domain.errors import Permanent
from porter.domain.site import SiteKind
from porter.lab.clouds.base import Machine
from porter.lab.clouds.hypervisor import Hypervisor, host_name
from porter.lab.state import HostState
from porter.providers.base import SiteConfig


class Cloud:
    kind = SiteKind.FAKE

    def __init__(self, *machines: Machine) -> None:
        self.there = list(machines)
        self.heard: list[tuple[str, str]] = []
        self.broken: Exception | None = None

    def start(self, directory: Path, address: str) -> None: ...

    def stop(self) -> None: ...

    def site(self) -> SiteConfig:
        return SiteConfig("fake", SiteKind.FAKE, "")

    def machines(self) -> list[Machine]:
        if self.broken:
            raise self.broken
        return self.there

    def booted(self, machine: str, address: str) -> None:
        self.heard.append((machine, address))


class Lab:
    """Hosts that are directories; what runs on one runs here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts = {"onprem": HostState("onprem", 1, init_pid=1)}
        self.boots = 1
        self.failing: set[str] = set()

    def inventory(self) -> list[HostState]:
        return list(self.hosts.values())

    def add(self, host: str, machine: str) -> None:
        if host in self.failing:
            raise Permanent("cannot boot")
        self.hosts[host] = HostState(host, len(self.hosts) + 1, machine=machine)
        self.host_directory(host).mkdir()
        self.start(host)

    def start(self, host: str) -> None:
        self.boots += 1
        self.hosts[host].init_pid, self.hosts[host].stopped = self.boots, False

    def kill(self, host: str, *, stopped: bool = False) -> None:
        self.hosts[host].init_pid, self.hosts[host].stopped = 0, stopped

    def remove(self, host: str) -> None:
        del self.hosts[host]

    def address(self, host: str) -> str:
        return f"192.0.2.{self.hosts[host].number}"

    def init_pid(self, host: str) -> int:
        return self.hosts[host].init_pid

    def host_directory(self, host: str) -> Path:
        return self.folder / host

    def popen(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        return subprocess.Popen(argv, cwd=self.folder / host, **options)


def machine(name: str = "n", running: bool = True, script: str = "") -> Machine:
    return Machine(f"i-{name}", name, running, script)


def ended(hypervisor: Hypervisor) -> None:
    """Wait for all user data, and let the next step take note."""
    for _, _, script in hypervisor._scripts:
        script.wait(20)
    hypervisor.step()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_machines_come_stop_start_and_go(lab: Lab) -> None:
    cloud = Cloud(machine())
    hypervisor = Hypervisor(lab, {"fake": cloud}, rest=0)
    hypervisor.step()
    hypervisor.step()
    assert lab.hosts["n"].machine == "fake/i-n"
    assert (lab.boots, cloud.heard) == (2, [("i-n", "192.0.2.2")]), "once, and told once"
    cloud.there = [machine(running=False)]
    hypervisor.step()
    hypervisor.step()
    assert lab.hosts["n"].stopped
    cloud.there = [machine()]
    hypervisor.step()
    assert lab.boots == 3
    assert len(cloud.heard) == 2
    cloud.there = []
    hypervisor.step()
    assert list(lab.hosts) == ["onprem"]


def test_a_machine_that_never_ran_is_not_booted(lab: Lab) -> None:
    Hypervisor(lab, {"fake": Cloud(machine(running=False))}, rest=0).step()
    assert lab.boots == 1


def test_a_power_cut_is_not_mended_by_the_cloud(lab: Lab) -> None:
    hypervisor = Hypervisor(lab, {"fake": Cloud(machine())}, rest=0)
    hypervisor.step()
    lab.kill("n")
    hypervisor.step()
    assert not lab.init_pid("n")


def test_a_cloud_that_does_not_answer_keeps_its_machines(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    cloud, other = Cloud(machine()), Cloud(machine("o"))
    hypervisor = Hypervisor(lab, {"fake": cloud, "other": other}, rest=0)
    hypervisor.step()
    cloud.broken, other.there = RuntimeError("no answer"), []
    hypervisor.step()
    assert list(lab.hosts) == ["onprem", "n"]
    assert "no answer" in caplog.text


def test_a_slow_cloud_is_asked_less_often(lab: Lab) -> None:
    asked: list[float] = []

    class Slow(Cloud):
        def machines(self) -> list[Machine]:
            asked.append(time.monotonic())
            time.sleep(0.05)
            return []

    hypervisor = Hypervisor(lab, {"fake": Slow()}, rest=3)
    while len(asked) < 3:
        hypervisor.step()
    assert all(later - sooner >= 0.2 for sooner, later in itertools.pairwise(asked))


def test_one_that_cannot_boot_holds_up_no_other(lab: Lab) -> None:
    hypervisor = Hypervisor(lab, {"fake": Cloud(machine("bad"), machine("good"))}, rest=0)
    lab.failing = {"bad"}
    hypervisor.step()
    assert list(lab.hosts) == ["onprem", "good"]
    lab.failing = set()
    hypervisor.step()
    assert "bad" in lab.hosts


SCRIPT = f"#!{sys.executable}\nprint(open(__file__).read(), end='', file=open('ran', 'a'))\n# ü\r\n"


def test_user_data_runs_unmodified_once_for_each_boot(lab: Lab) -> None:
    cloud = Cloud(machine(script=SCRIPT))
    hypervisor = Hypervisor(lab, {"fake": cloud}, rest=0)
    hypervisor.step()
    ended(hypervisor)
    ran = lab.host_directory("n") / "ran"
    assert (lab.host_directory("n") / "user-data").read_bytes() == SCRIPT.encode()
    assert ran.read_text() == SCRIPT.replace("\r\n", "\n")
    again = Hypervisor(lab, {"fake": cloud}, rest=0)
    again.step()
    ended(again)
    assert ran.read_text().count("#!") == 1, "another process knows that it ran"
    lab.kill("n", stopped=True)
    again.step()
    ended(again)
    assert ran.read_text().count("#!") == 2, "a boot is a boot"


def test_user_data_that_was_cut_short_runs_again(lab: Lab) -> None:
    cloud = Cloud(machine(script="#!/bin/sh\nexec sleep 100\n"))
    first = Hypervisor(lab, {"fake": cloud}, rest=0)
    first.step()
    first.close()
    cloud.there = [machine(script=SCRIPT)]
    second = Hypervisor(lab, {"fake": cloud}, rest=0)
    second.step()
    ended(second)
    assert (lab.host_directory("n") / "ran").exists()


def test_failing_user_data_is_told_and_not_repeated(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = Cloud(
        machine("n", script="#!/bin/sh\nexit 3\n"), machine("c", script="#cloud-config\n")
    )
    hypervisor = Hypervisor(lab, {"fake": cloud}, rest=0)
    hypervisor.step()
    ended(hypervisor)
    assert "user data of n ended with 3" in caplog.text
    assert "fake/i-c: it is no script" in caplog.text
    hypervisor.step()
    assert not hypervisor._scripts


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("porter-aws-1", "porter-aws-1"),
        ("Web_01.example", "web-01-example"),
        ("42", "m-42"),
        ("", "m"),
        ("taken", "taken-"),
        ("wan", "wan-"),
        ("x" * 60, "x" * 22 + "-"),
    ],
)
def test_host_names_are_the_machines_as_far_as_they_can(name: str, wanted: str) -> None:
    found = host_name(Machine("i-1", name, True, ""), {"taken"})
    assert found.startswith(wanted)
    assert len(found) <= 31
    assert found == wanted or len(found) == len(wanted) + 8
