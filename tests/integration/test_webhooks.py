"""Webhooks with the control plane as people run it: real workers and receivers, and PostgreSQL."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from porter.db.database import Database
from tests.integration.services import free_port, program, wait_until
from tests.unit.webhooks.office import Office
from tests.unit.webhooks.receivers import Receiver, receiving
from tests.unit.webhooks.test_courier import (
    prove_leases,
    prove_one_at_a_time,
    prove_replay,
    prove_selection,
)

pytestmark = pytest.mark.integration
UP = [sys.executable, "-m", "porter.cli.up", "up"]


class Place:
    """A control plane without hosts. What happens here: sites are added."""

    def __init__(self, state: Path, database: str | None) -> None:
        self.state = state
        self.url = f"http://127.0.0.1:{free_port()}"
        self.env = {
            "PORTER_STATE": str(state),
            "PORTER_LISTEN": self.url.removeprefix("http://"),
            "PORTER_AGENTS": f"127.0.0.1:{free_port()}",
            "PORTER_WEBHOOK_ALLOW": "127.0.0.1",
            "PYTHONWARNINGS": "default",
        }
        if database is not None:
            self.env["PORTER_DATABASE_URL"] = database

    def connect(self) -> None:
        wait_until("the API", self._answers)
        token = (self.state / "api-token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        self.api = httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False, timeout=5).is_success
        except httpx.HTTPError:
            return False

    def post(self, path: str, **body: Any) -> Any:
        answer = self.api.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def log(self, hook: str, state: str | None = None) -> list[dict[str, Any]]:
        """Oldest first."""
        query = {} if state is None else {"state": state}
        answer = self.api.get(f"/v1/webhooks/{hook}/deliveries", params=query)
        assert answer.is_success, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found[::-1]

    def happen(self, *names: str) -> None:
        for name in names:
            self.post("/v1/sites", name=name, kind="onprem")

    def kill_worker(self) -> None:
        os.kill(int((self.state / "run" / "worker.pid").read_text()), signal.SIGKILL)


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Parametrised indirectly by the name of a database's fixture, or None."""
    name = getattr(request, "param", None)
    database = None if name is None else request.getfixturevalue(name)
    one = Place(tmp_path / "state", database)
    with program(UP, tmp_path / "up.log", one.env):
        one.connect()
        try:
            yield one
        finally:
            one.api.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.mark.parametrize("place", [None, "postgresql_url"], indirect=True, ids=str)
def test_delivered_and_again_after_a_worker_was_killed(place: Place, receiver: Receiver) -> None:
    made = place.post("/v1/webhooks", url=receiver.url, project="*", types=["site"])
    hook, secret = made["id"], made["secret"]
    with receiving() as quiet:
        place.post("/v1/webhooks", url=quiet.url, project="shop")
        place.happen("one", "two")
        wait_until("two deliveries", lambda: len(receiver.got) == 2)
        wait_until("the log", lambda: len(place.log(hook, "delivered")) == 2)
        assert receiver.kinds(secret) == ["io.porter.site"] * 2
        assert receiver.ids() == [one["id"] for one in place.log(hook)]

        # Killed while the receiver has the request and has not answered.
        receiver.begun.clear()
        receiver.gate.clear()
        place.happen("three", "four")
        assert receiver.begun.wait(60)
        place.kill_worker()
        receiver.gate.set()
        wait_until("the rest", lambda: len(place.log(hook, "delivered")) == 4)
        third, fourth = place.log(hook)[2:]
        assert receiver.ids()[2:] == [third["id"], third["id"], fourth["id"]]
        assert (third["attempts"], fourth["attempts"]) == (2, 1)
        first, second = (one for one in receiver.got if one.id == third["id"])
        assert first.body == second.body
        assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]
        receiver.kinds(secret)
        assert receiver.most_at_once == 1
        # Events of the fleet are none of a project's.
        assert quiet.got == []


def test_a_receiver_is_down_and_comes_up(place: Place) -> None:
    port = free_port()
    down = place.post("/v1/webhooks", url=f"http://127.0.0.1:{port}/in", project="*")
    with receiving() as other:
        up = place.post("/v1/webhooks", url=other.url, project="*")
        place.happen("one", "two")
        wait_until("the other's", lambda: len(other.got) == 2)
        wait_until("a try", lambda: any(one["error"] for one in place.log(down["id"])))
        (tried, *_) = place.log(down["id"])
        assert tried["error"] == "cannot connect: connection refused"
        with receiving(port=port) as receiver:
            wait_until("both", lambda: len(place.log(down["id"], "delivered")) == 2)
            assert receiver.ids() == [one["id"] for one in place.log(down["id"])]
            receiver.kinds(down["secret"])
            with pytest.raises(Exception, match="No matching signature"):
                receiver.kinds(up["secret"])
        # What it misses while it is disabled comes by a replay.
        since = place.api.get(f"/v1/webhooks/{down['id']}").json()["created_at"]
        place.post(f"/v1/webhooks/{down['id']}/disable")
        place.happen("three")
        wait_until("the other's", lambda: len(other.got) == 4)
        with receiving(port=port) as receiver:

            def enabled() -> bool:
                place.post(f"/v1/webhooks/{down['id']}/enable")
                return bool(place.post(f"/v1/webhooks/{down['id']}/replay", since=since)["events"])

            wait_until("something to replay", enabled)
            wait_until("three again", lambda: len({*receiver.ids()}) >= 3)


@pytest.fixture
def office(postgresql_url: str) -> Iterator[Office]:
    database = Database(postgresql_url)
    database.upgrade()
    yield Office(database)
    database.close()


def test_selection_on_postgresql(office: Office) -> None:
    prove_selection(office)


def test_leases_on_postgresql(office: Office) -> None:
    prove_leases(office)


def test_replay_on_postgresql(office: Office) -> None:
    prove_replay(office)


def test_one_at_a_time_on_postgresql(office: Office) -> None:
    prove_one_at_a_time(office, workers=8, events=40)
