"""What one process begins on Google, another one ends; killed at the worst moments."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from porter.lab.clouds.gcp import GcpCloud
from porter.lab.clouds.gcp.server import Call
from porter.providers.base import Instance, LaunchSpec, Pending
from porter.providers.registry import open_site
from tests.contracts.provider_contracts import finish

pytestmark = pytest.mark.integration
SPEC = LaunchSpec("p-key", "host-1", "e2-small", "#!/bin/sh\n", "o-1")
WORKER = """
import json, sys
from porter.domain.site import SiteKind
from porter.providers.base import LaunchSpec, Pending, SiteConfig
from porter.providers.registry import open_site

told = json.loads(sys.argv[1])
config = SiteConfig("gcp:lab", SiteKind.GCP, told["region"], told["settings"])
hosts = open_site(config).hosts
spec = LaunchSpec(**told["spec"])
what = spec if told["call"] == "launch" else spec.key
answer = getattr(hosts, told["call"])(what, told["token"])
print(json.dumps({"token": answer.token if isinstance(answer, Pending) else None}))
"""


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[GcpCloud]:
    cloud = GcpCloud()
    cloud.google.world.slow = 10**6
    cloud.start(tmp_path, "127.0.0.1")
    yield cloud
    cloud.stop()
    assert cloud.google.violations == []


def worker(cloud: GcpCloud, call: str, token: str = "") -> subprocess.Popen[str]:
    site = cloud.site()
    told = {
        "region": site.region,
        "settings": dict(site.settings),
        "call": call,
        "spec": {**asdict(SPEC), "tags": {}},
        "token": token,
    }
    command = [sys.executable, "-c", WORKER, json.dumps(told)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> str | None:
    """The token that a worker was given; None once it is done."""
    with process:
        out, _ = process.communicate(timeout=90)
        assert process.returncode == 0
    answer: str | None = json.loads(out)["token"]
    return answer


def hurry(cloud: GcpCloud) -> None:
    """All that is under way ends with the next requests."""
    with cloud.google.lock:
        cloud.google.world.slow = 0
        for one in cloud.google.world.operations.values():
            one.left = 0


def launched(cloud: GcpCloud, token: str = "") -> Instance:
    first = token

    def go(token: str) -> Instance | Pending:
        hosts = open_site(cloud.site()).hosts
        assert hosts is not None
        return hosts.launch(SPEC, token or first)

    return finish(go, 20)


def test_a_fresh_process_goes_on_with_the_token(cloud: GcpCloud) -> None:
    token = told(worker(cloud, "launch"))
    assert token is not None
    # Other processes ask for the operation by its name, and begin none.
    assert told(worker(cloud, "launch", token)) == token
    hurry(cloud)
    assert told(worker(cloud, "launch", token)) is None
    assert cloud.google.world.made == ["p-key-porter"]
    operations = {c.path["operation"] for c in cloud.google.calls if "perations.get" in c.method}
    assert operations == {json.loads(token)["op"]}


@pytest.mark.parametrize("call", ["launch", "power_off", "terminate"])
def test_a_worker_killed_before_it_hears_the_answer(cloud: GcpCloud, call: str) -> None:
    if call != "launch":
        hurry(cloud)
        launched(cloud)
        cloud.google.world.slow = 10**6
    method = {"launch": "insert", "power_off": "stop", "terminate": "delete"}[call]
    here, arrived = threading.Event(), threading.Event()
    victim: list[subprocess.Popen[str]] = []

    def kill(seen: Call) -> None:
        if seen.method == f"compute.instances.{method}":
            assert here.wait(30)
            victim[0].kill()
            victim[0].wait(30)
            cloud.google.after = None
            arrived.set()

    cloud.google.after = kill
    victim.append(worker(cloud, call))
    here.set()
    assert arrived.wait(90)
    with victim[0] as process:
        assert process.communicate()[0] == ""
    # Nobody has the token. The next worker begins the same call from the start.
    second = told(worker(cloud, call))
    assert second is not None
    hurry(cloud)
    assert finish_by_workers(cloud, call, second)
    begun = [c.query["requestId"] for c in cloud.google.calls if c.method.endswith(f".{method}")]
    assert len(set(begun)) == 1
    assert cloud.google.world.made == ["p-key-porter"]
    states = [one["status"] for one in cloud.google.world.instances.values()]
    assert states == {"launch": ["RUNNING"], "power_off": ["TERMINATED"], "terminate": []}[call]


def finish_by_workers(cloud: GcpCloud, call: str, token: str) -> bool:
    for _ in range(5):
        answer = told(worker(cloud, call, token))
        if answer is None:
            return True
        token = answer
    return False


def test_what_a_killed_worker_left_is_undone_cleanly(cloud: GcpCloud) -> None:
    assert told(worker(cloud, "launch")) is not None
    # The machine is still being made when the undo comes, by a worker without any token.
    hosts = open_site(cloud.site()).hosts
    assert hosts is not None
    hurry(cloud)
    finish(lambda token: hosts.terminate(SPEC.key, token), 20)
    assert hosts.find(SPEC.key) is None
    assert not hosts.strays(SPEC.owner)
    assert not cloud.google.world.instances
    assert not cloud.google.world.disks


@pytest.mark.parametrize("call", ["terminate", "power_off"])
def test_a_machine_that_cannot_be_seen_yet_is_not_absent(cloud: GcpCloud, call: str) -> None:
    cloud.google.world.hidden = 10**6
    hosts = open_site(cloud.site()).hosts
    assert hosts is not None
    assert isinstance(hosts.launch(SPEC), Pending)
    assert hosts.find(SPEC.key) is None
    assert getattr(hosts, call)(SPEC.key) == Pending("")
    with cloud.google.lock:
        cloud.google.world.hidden = 0
        for one in cloud.google.world.operations.values():
            one.hidden = 0
    hurry(cloud)
    finish(lambda token: getattr(hosts, call)(SPEC.key, token), 20)
    assert not [one for one in cloud.machines() if one.running]


def test_a_second_attempt_gets_the_first_ones_operation(cloud: GcpCloud) -> None:
    cloud.google.world.hidden = 10**6
    tokens = {told(worker(cloud, "launch")) for _ in range(2)}
    assert len(tokens) == 1
    assert tokens != {None}
    begun = [one.query["requestId"] for one in cloud.google.calls if one.method.endswith(".insert")]
    assert len(begun) == 2
    assert len(set(begun)) == 1
    assert cloud.google.world.made == ["p-key-porter"]
