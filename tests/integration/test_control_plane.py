"""`porter up` as people run it: every broker with every database, and processes that die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from porter.pki import open_authority
from tests.integration.agents import LiveAgent
from tests.integration.services import free_port, program, rabbitmq, redis_server, wait_until
from tests.saga.simulation import SimHost

pytestmark = pytest.mark.integration
UP = [sys.executable, "-m", "porter.cli.up"]


class Site:
    """A running control plane with two simulated hosts and one workload."""

    def __init__(self, state: Path, database: str | None, broker: str | None) -> None:
        self.state = state
        self.public, self.agents_port = free_port(), free_port()
        self.env = {
            "PORTER_STATE": str(state),
            "PORTER_LISTEN": f"127.0.0.1:{self.public}",
            "PORTER_AGENTS": f"127.0.0.1:{self.agents_port}",
            "PYTHONWARNINGS": "default",
        }
        if database:
            self.env["PORTER_DATABASE_URL"] = database
        if broker:
            self.env["PORTER_BROKER_URL"] = broker
        self.agents: list[LiveAgent] = []
        self.sims: dict[str, SimHost] = {}

    def connect(self) -> None:
        wait_until("the API", self.answers)
        token = (self.state / "api-token").read_text().strip()
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{self.public}",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=30,
        )
        authority = open_authority(self.state)
        for name in ("onprem", "cloud"):
            join = self.api.post("/v1/join-tokens", json={}).json()["token"]
            url = f"https://127.0.0.1:{self.agents_port}"
            self.agents.append(LiveAgent(name, url, authority, join, self.state, self.sims))
        self.agents[0].sim.running["shop"] = "c-shop"
        for agent in self.agents:
            agent.start()
        wait_until("the workload", lambda: self.get("/v1/workloads/shop") is not None)

    def answers(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.public}/healthz"
            return httpx.get(url, trust_env=False, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def get(self, path: str) -> Any:
        """None while the API is away or does not know it."""
        try:
            answer = self.api.get(path)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def move(self, to: str) -> str:
        answer = self.api.post("/v1/migrations", json={"workload": "shop", "to": to})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def ended(self, migration: str, seconds: float = 60) -> dict[str, Any]:
        def final() -> bool:
            found = self.get(f"/v1/migrations/{migration}")
            return bool(found) and found["state"] in ("succeeded", "rolled_back", "failed")

        try:
            wait_until("the move to end", final, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.get(f'/v1/migrations/{migration}')}") from error
        found: dict[str, Any] = self.get(f"/v1/migrations/{migration}/receipt")
        return found

    def runners(self) -> list[str]:
        return [sim.name for sim in self.sims.values() if sim.runs("shop")]

    def kill(self, name: str) -> None:
        os.kill(int((self.state / "run" / f"{name}.pid").read_text()), signal.SIGKILL)

    def close(self) -> None:
        for agent in self.agents:
            agent.stop()
            assert agent.problems == []
        self.api.close()


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Parametrised indirectly by (database, broker): names of fixtures, or None."""
    database, broker = getattr(request, "param", (None, None))
    urls = [None if name is None else request.getfixturevalue(name) for name in (database, broker)]
    site = Site(tmp_path / "state", *urls)
    with program([*UP, "up"], tmp_path / "up.log", site.env):
        site.connect()
        try:
            yield site
        finally:
            site.close()


COMBINATIONS = [
    (database, broker)
    for database in (None, "postgresql_url")
    for broker in (None, "rabbitmq_url", "redis_url")
]


@pytest.mark.parametrize("site", COMBINATIONS, indirect=True, ids=str)
def test_there_and_back_and_a_worker_dies(site: Site) -> None:
    began = time.monotonic()
    receipt = site.ended(site.move("cloud"))
    assert receipt["state"] == "succeeded", receipt
    assert time.monotonic() - began < 20
    assert site.runners() == ["cloud"]
    # Killed the moment it has begun: another takes over when the lease ends.
    migration = site.move("onprem")
    site.kill("worker")
    receipt = site.ended(migration)
    assert receipt["state"] == "succeeded", receipt
    assert site.runners() == ["onprem"]
    assert site.get("/v1/workloads/shop")["generation"] == 3


@pytest.mark.parametrize("victim", ["web", "worker", "beat"])
@pytest.mark.parametrize("point", ["source: frozen", "source: handed over", "source: gone"])
def test_a_process_of_the_control_plane_dies_in_a_handover(
    site: Site, victim: str, point: str
) -> None:
    source = site.agents[0].sim

    def strike(now: str) -> None:
        if now == point:
            source.hook = None
            site.kill(victim)

    source.hook = strike
    receipt = site.ended(site.move("cloud"))
    assert receipt["state"] == "succeeded", receipt
    assert site.runners() == ["cloud"]
    assert receipt["downtime_ms"] == 120.0


@pytest.mark.parametrize("broker", [redis_server, rabbitmq], ids=["redis", "rabbitmq"])
def test_the_broker_dies_and_comes_back_empty(tmp_path: Path, broker: Any) -> None:
    """Its messages were only hints: requests are accepted meanwhile and carried out afterwards."""
    port = free_port()
    with ExitStack() as running:
        first = running.enter_context(ExitStack())
        site = Site(tmp_path / "state", None, first.enter_context(broker(port)))
        running.enter_context(program([*UP, "up"], tmp_path / "up.log", site.env))
        site.connect()
        running.callback(site.close)
        assert site.ended(site.move("cloud"))["state"] == "succeeded"
        first.close()
        migration = site.move("onprem")
        running.enter_context(broker(port))
        assert site.ended(migration, 90)["state"] == "succeeded"
        assert site.runners() == ["onprem"]


def test_the_supervisor_dies_and_everything_with_it(tmp_path: Path) -> None:
    site = Site(tmp_path / "state", None, None)
    with program([*UP, "up"], tmp_path / "up.log", site.env) as supervisor:
        site.connect()
        migration = site.move("cloud")
        pids = [
            int((site.state / "run" / f"{name}.pid").read_text())
            for name in ("web", "worker", "beat")
        ]
        supervisor.kill()
        supervisor.wait()
        wait_until("its children to end", lambda: not any(map(runs, pids)), 20)
    with program([*UP, "up"], tmp_path / "up.log", site.env):
        wait_until("the API", site.answers)
        assert site.ended(migration)["state"] == "succeeded"
        site.close()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def porter(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "porter.cli.main", *words],
        env={**os.environ, **site.env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_up_detached_status_twice_and_down(tmp_path: Path) -> None:
    site = Site(tmp_path / "state", None, None)
    assert porter(site, "status").returncode == 1
    first = porter(site, "up", "--detach")
    assert first.returncode == 0, first.stderr
    try:
        assert f"http://127.0.0.1:{site.public}/" in first.stdout
        second = porter(site, "up", "--detach")
        assert second.returncode == 2
        assert "runs already" in second.stderr
        state = json.loads(porter(site, "status", "--json").stdout)
        assert state["running"]
        assert state["health"]["status"] == "ok"
        pids = [*state["processes"].values(), state["pid"]]
        assert all(map(runs, pids))
        for secret in ("api-token", "ca-key.pem", "porter.sqlite3"):
            assert (site.state / secret).stat().st_mode & 0o777 == 0o600
    finally:
        done = porter(site, "down")
    assert done.returncode == 0, done.stderr
    wait_until("everything to end", lambda: not any(map(runs, pids)), 10)
    assert porter(site, "down").returncode == 0
    assert not list((site.state / "run").glob("*.pid"))
