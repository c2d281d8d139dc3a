"""Bare machines become hosts: by user data alone, and as machines of every cloud's stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from porter import bootstrap
from porter.domain.errors import Conflict
from porter.lab import cgroups
from porter.lab.agents import AGENTS_PORT
from porter.lab.clouds import control
from porter.lab.fleet import Fleet, wait_until
from porter.providers.base import HostLifecycle, Instance, LaunchSpec, Pending
from porter.providers.registry import open_site

pytestmark = [
    pytest.mark.e2e,
    # Of the OpenStack SDK about itself.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
BARE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOG = f"{bootstrap.HOME}/log"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A control plane in a lab that has no host yet."""
    fleet = Fleet(f"c{os.getpid()}")
    try:
        fleet.up(())
        yield fleet
    finally:
        fleet.down()


def script(fleet: Fleet, name: str, site: str = "test") -> str:
    """User data with a fresh token, for a host of this name."""
    token = fleet.json("host", "token", "--name", name)["token"]
    return bootstrap.user_data(f"https://{fleet.lab.gateway}:{AGENTS_PORT}", token, name, site)


def host_row(fleet: Fleet, name: str) -> dict[str, Any] | None:
    rows = {row["name"]: row for row in fleet.json("host", "ls")}
    return rows.get(name)


def alive(fleet: Fleet, name: str, seconds: float = 60) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        row = host_row(fleet, name)
        return row if row and row["alive"] else None

    row: dict[str, Any] = wait_until(f"a heartbeat of {name}", found, seconds)
    return row


def agents(fleet: Fleet, host: str) -> list[str]:
    """Command lines of the agents on a host."""
    shown = fleet.lab.exec(host, ["pgrep", "-af", "agent --join"]).stdout
    return [line for line in shown.splitlines() if "python" in line]


def one_agent(fleet: Fleet, host: str) -> None:
    """A child that it has just forked looks like a second one, for a moment."""
    wait_until("one agent, and no second one", lambda: len(agents(fleet, host)) == 1)


class Bare:
    """Machines without an agent, on which a test runs a script as a first boot would."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.names: list[str] = []

    def boot(self) -> str:
        name = f"bare-{uuid.uuid4().hex[:6]}"
        self.fleet.lab.add(name, "")
        self.names.append(name)
        return name

    def run(self, host: str, text: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = self.fleet.lab.host_directory(host) / "script"
        path.write_text(text)
        path.chmod(0o700)
        return self.fleet.lab.exec(host, [str(path)], timeout=120, env=env)

    def log(self, host: str) -> str:
        return self.fleet.lab.exec(host, ["cat", LOG]).stdout


@pytest.fixture
def bare(fleet: Fleet) -> Iterator[Bare]:
    made = Bare(fleet)
    yield made
    for name in made.names:
        fleet.lab.remove(name)


# ---------------------------------------------------------------- user data by itself


def test_user_data_makes_a_host_and_may_run_twice(fleet: Fleet, bare: Bare) -> None:
    name = bare.boot()
    text = script(fleet, name, "aws:eu-west-1")
    for _ in range(2):
        done = bare.run(name, text)
        assert done.returncode == 0, done.stderr + bare.log(name)
    assert alive(fleet, name)["site"] == "aws:eu-west-1"
    one_agent(fleet, name)
    secret = text.partition("token=")[2].partition(".")[0]
    shown = fleet.lab.exec(name, ["sh", "-c", "cat /proc/[0-9]*/cmdline"]).stdout
    assert "agent\0--join" in shown
    assert secret not in shown


def test_a_dead_agent_is_started_again(fleet: Fleet, bare: Bare) -> None:
    name = bare.boot()
    assert bare.run(name, script(fleet, name)).returncode == 0
    alive(fleet, name)
    before = agents(fleet, name)
    fleet.lab.exec(name, ["pkill", "-KILL", "-f", "porter agent --join"])
    fleet.lab.exec(name, ["pkill", "-KILL", "-f", "porter.cli.main agent"])
    wait_until("another agent", lambda: agents(fleet, name) not in ([], before))
    one_agent(fleet, name)


def test_another_control_plane_is_refused(fleet: Fleet, bare: Bare) -> None:
    name = bare.boot()
    text = script(fleet, name)
    pin = text.partition("pin=")[2].partition("\n")[0]
    done = bare.run(name, text.replace(pin, "0" * 64))
    assert done.returncode == 1
    assert "it is not the control plane that made the token" in done.stderr
    assert not agents(fleet, name)
    assert host_row(fleet, name) is None


def test_a_second_certificate_is_not_trusted(fleet: Fleet, bare: Bare) -> None:
    """A listener that shows the right CA and slips in another one gets nothing."""
    name = bare.boot()
    text = script(fleet, name)
    trust = text.partition("find_porter || install_porter")[0]
    assert bare.run(name, trust).returncode == 0
    pem = fleet.lab.exec(name, ["cat", f"{bootstrap.HOME}/ca.pem"]).stdout
    answer = fleet.lab.exec(name, ["cat", f"{bootstrap.HOME}/answer"]).stdout
    assert pem == answer, "the certificate, written anew, is the same"
    double = trust.replace("    tries=0\n", "    tries=0\n    url=file:///tmp/fake\n")
    double = double.replace("/agent/v1/$path", "")
    fleet.lab.exec(name, ["tee", "/tmp/fake"], input=answer + answer.replace("A", "B"))
    assert bare.run(name, double).returncode == 0
    pem = fleet.lab.exec(name, ["cat", f"{bootstrap.HOME}/ca.pem"]).stdout
    assert pem == answer


def test_a_machine_without_porter_fetches_and_installs_it(fleet: Fleet, bare: Bare) -> None:
    """Real but for one thing: pip finds the requirements in a virtual environment prepared for
    it, since no package index can be reached from a lab."""
    name = bare.boot()
    folder = fleet.lab.host_directory(name) / "opt"
    prepare_venv(folder / "venv")
    env = {
        "PATH": f"{folder}/bin:{BARE_PATH}",
        "PORTER_PREFIX": str(folder),
        "PORTER_BIN": f"{folder}/bin",
    }
    done = bare.run(name, script(fleet, name), **env)
    assert done.returncode == 0, done.stderr + bare.log(name)
    alive(fleet, name)
    one_agent(fleet, name)
    running = agents(fleet, name)
    assert f"{folder}/venv/bin/python" in running[0]
    where = [f"{folder}/venv/bin/python", "-c", "import porter; print(porter.__file__)"]
    assert fleet.lab.exec(name, where).stdout.startswith(f"{folder}/tree/porter")
    left = fleet.lab.exec(name, ["ls", bootstrap.HOME]).stdout.split()
    assert not {"header", "bundle.tar.gz", "tree"} & set(left)


def prepare_venv(path: Path) -> None:
    """An environment that sees our packages, but not our Porter."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(path)], check=True, timeout=60
    )
    (site,) = path.glob("lib/python*/site-packages")
    (ours,) = Path(sys.prefix).glob("lib/python*/site-packages")
    (site / "requirements.pth").write_text(f"{ours}\n")
    (path / ".complete").touch()


# ---------------------------------------------------------------- machines of the clouds


def tell(fleet: Fleet) -> None:
    """What there is to read for whoever asks why a test failed."""
    directory = fleet.lab.directory
    for path in [directory / "clouds" / "log", *directory.glob("hosts/*/porter/bootstrap/*log")]:
        print(f"{path}:\n{path.read_text()}")


@pytest.fixture(params=control.KINDS)
def cloud(request: pytest.FixtureRequest) -> Iterator[tuple[str, Fleet]]:
    """A control plane, no host, and one cloud."""
    fleet = Fleet(f"{request.param}{os.getpid()}")
    try:
        fleet.up((), clouds=[request.param])
        yield request.param, fleet
        tell(fleet)
    finally:
        fleet.down()


def finish(call: Callable[[str], Any], seconds: float = 60) -> Any:
    """Call on, with each token, until it is no longer pending."""
    token, deadline = "", time.monotonic() + seconds
    while isinstance(answer := call(token), Pending):
        assert time.monotonic() < deadline, f"still pending: {answer}"
        token = answer.token
        time.sleep(min(answer.seconds, 0.5))
    return answer


def launch(fleet: Fleet, kind: str, name: str) -> tuple[HostLifecycle, Instance]:
    """What the control plane does for a host that it needs."""
    site = control.sites(fleet.lab.directory)[kind]
    hosts = open_site(site).hosts
    assert hosts is not None
    fitting = [t for t in hosts.types() if t.arch == "x86_64" and not t.features]
    small = min(fitting, key=lambda t: t.memory_bytes)
    spec = LaunchSpec(name, name, small.name, script(fleet, name, site.name), owner="test")
    instance = finish(lambda token: hosts.launch(spec, token))
    assert isinstance(instance, Instance)
    return hosts, instance


def lab_host(fleet: Fleet, name: str) -> dict[str, Any] | None:
    rows = {
        row["name"]: row for row in fleet.json("lab", "status", "--name", fleet.lab.name)["hosts"]
    }
    return rows.get(name)


def test_a_machine_boots_joins_and_goes(cloud: tuple[str, Fleet]) -> None:
    kind, fleet = cloud
    name = f"{kind}-{uuid.uuid4().hex[:6]}"
    hosts, instance = launch(fleet, kind, name)
    row = alive(fleet, name)
    assert row["site"] == f"{kind}:{control.sites(fleet.lab.directory)[kind].region}"
    shown = lab_host(fleet, name)
    assert shown is not None
    assert shown["machine"] == f"{kind}/{instance.id}"
    assert fleet.podman(name, "image", "exists", "localhost/porter-test:latest") == ""
    fleet.lab.kill(name)
    fleet.lab.start(name)
    wait_until("the agent after a power cut", lambda: agents(fleet, name))
    finish(lambda token: hosts.power_off(name, token))
    wait_until("the power to be cut", lambda: (lab_host(fleet, name) or {}).get("state") == "off")
    finish(lambda token: hosts.terminate(name, token))
    wait_until("the host to go", lambda: lab_host(fleet, name) is None)
    assert hosts.managed("test") == []
    assert hosts.strays("test") == []
    assert not fleet.lab.host_directory(name).exists()


def test_down_leaves_no_trace_even_after_a_crash(tmp_path: Path) -> None:
    fleet = Fleet(f"x{os.getpid()}")
    try:
        fleet.up((), clouds=["aws"])
        directory = fleet.lab.directory
        assert (directory / "clouds.json").stat().st_mode & 0o777 == 0o600
        fleet.lab.start_clouds(["aws"])
        with pytest.raises(Conflict):
            fleet.lab.start_clouds(["aws", "gcp"])
        (report,) = fleet.lab.status()["clouds"]
        assert (report["kind"], report["site"]) == ("aws", "aws:eu-west-1")
        launch(fleet, "aws", "crashed")
        alive(fleet, "crashed")
        os.kill(report["pid"], signal.SIGKILL)
        wait_until("the clouds to die", lambda: not control.running(directory))
        fleet.lab.start_clouds(["aws"])
        wait_until("the lost machine to go", lambda: lab_host(fleet, "crashed") is None)
        os.kill(control.running(directory), signal.SIGKILL)
        (directory / "lab.json").unlink()
    finally:
        fleet.down()
    assert not fleet.lab.directory.exists()
    groups = [h.root / cgroups.TOP / fleet.lab.name for h in cgroups.hierarchies()]
    assert not any(group.exists() for group in groups)
