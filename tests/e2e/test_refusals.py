"""What cannot be done is refused in one sentence, before anything is touched."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest

from porter.lab.fleet import PORTER, Fleet
from tests.e2e.conftest import HOSTS

pytestmark = pytest.mark.e2e
SLEEP = ("sleep", "1000000")


def refused(fleet: Fleet, *words: str) -> str:
    """The one sentence with which a command is refused; exit code 2, nothing on stdout."""
    before = fleet.json("migration", "ls")
    done = fleet.try_porter(*words)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3, done.stderr
    assert fleet.json("migration", "ls") == before
    return done.stderr


def test_unknown_workload_and_unknown_target(fleet: Fleet, name: str) -> None:
    assert "nope" in refused(fleet, "migrate", "nope", "--to", "cloud")
    fleet.run("onprem", name, *SLEEP)
    assert "mars" in refused(fleet, "migrate", name, "--to", "mars")
    assert fleet.running(name, HOSTS) == ["onprem"]


def test_a_second_migration_of_the_same_workload(fleet: Fleet, name: str) -> None:
    fleet.run("onprem", name, *SLEEP)
    fleet.porter("migrate", name, "--to", "cloud", "--detach")
    second = fleet.try_porter("migrate", name, "--to", "cloud")
    # The first may have ended by now; then the workload is on the target already.
    assert second.returncode == 2, second.stderr
    assert name in second.stderr
    fleet.try_porter("migration", "watch", fleet.json("migration", "ls")[0]["id"])


def test_malformed_bodies(fleet: Fleet) -> None:
    token = (fleet.state / "api-token").read_text().strip()
    url = f"http://127.0.0.1:{fleet.port}/v1/migrations"
    headers = {"Authorization": f"Bearer {token}"}
    for body in (
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"workload": 7}',
        b'{"workload":"a","to":"b","mode":"x"}',
    ):
        answer = httpx.post(
            url, content=body, headers=headers | {"Content-Type": "application/json"}
        )
        assert 400 <= answer.status_code < 500, (body, answer.text)
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert answer.json()["detail"]
    assert httpx.post(url, json={}).status_code == 401


def test_an_expired_or_used_join_token(fleet: Fleet) -> None:
    expired = fleet.json("host", "token", "--ttl", "0")["token"]
    for token in (expired, "nonsense", expired[:-2] + "00"):
        argv = [*PORTER, "agent", "--join", f"https://{fleet.lab.gateway}:8461"]
        argv += ["--name", "intruder", "--state", str(fleet.state / "intruder")]
        done = subprocess.run(
            argv,
            env=fleet.environment | {"PORTER_JOIN_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert "token" in done.stderr
    # An agent that may not join leaves the machine as it was.
    assert not Path("/etc/criu/runc.conf").exists()
    assert "intruder" not in {row["name"] for row in fleet.json("host", "ls")}


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("tty", ("-t",)),
        ("privileged", ("--privileged",)),
        ("device", ("--device", "/dev/fuse")),
        ("bind", ("-v", "/tmp:/host")),
    ],
)
def test_preflight_names_the_blocker_and_the_remedy(
    fleet: Fleet, name: str, code: str, options: tuple[str, ...]
) -> None:
    fleet.run("onprem", name, *SLEEP, options=options)
    done = fleet.try_porter("--json", "migrate", name, "--to", "cloud", "--dry-run")
    answer = json.loads(done.stdout)
    assert any(code in blocker["code"] for blocker in answer["blockers"]), answer
    assert all(blocker["remedy"] for blocker in answer["blockers"])
    assert done.returncode == 2
    assert fleet.running(name, HOSTS) == ["onprem"]
    assert name not in fleet.podman("cloud", "ps", "-a", "--format", "{{.Names}}").split()


def test_the_target_is_down(fleet: Fleet, name: str) -> None:
    fleet.run("onprem", name, *SLEEP)
    fleet.lab.kill("cloud")
    try:
        done = fleet.try_porter("--json", "migrate", name, "--to", "cloud", timeout=90)
        assert done.returncode in (1, 2)
        assert fleet.running(name, ("onprem",)) == ["onprem"]
    finally:
        fleet.lab.start("cloud")
        fleet.wait_alive(HOSTS, 60)
