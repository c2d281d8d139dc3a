"""One id from an HTTP request, through the broker and a worker, to the agents' log lines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.agent.executor import Executor
from porter.protocol import codec
from porter.protocol.joining import Orders
from porter.protocol.messages import Command
from porter.wiring import CeleryQueue
from tests.integration.services import program, wait_until
from tests.unit.agent.conftest import pair as pair
from tests.unit.agent.nodes import Pair
from tests.unit.control.test_logs import Lines
from tests.unit.control.test_logs import lines as lines
from tests.unit.web.conftest import Serving
from tests.unit.web.conftest import new_agent as new_agent
from tests.unit.web.conftest import serving as serving
from tests.unit.web.test_api import Cloud, NewAgent

pytestmark = pytest.mark.integration
ID = "deploy-4711"


@pytest.fixture
def worker(serving: Serving, tmp_path: Path) -> Iterator[Path]:
    """A worker's log: a process of its own, with the embedded broker between."""
    object.__setattr__(serving.control, "queue", CeleryQueue(serving.control.celery))
    log = tmp_path / "worker.log"
    env = serving.control.settings.environment() | {"PORTER_LOG_FORMAT": "json"}
    with program([sys.executable, "-m", "porter.cli.up", "worker"], log, {**os.environ, **env}):
        yield log


def written(log: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in found if line.get("request") == ID]


def fetched(cloud: Cloud, move: str) -> Command:
    agent = next(one for one in cloud.agents.values() if one.name == "onprem")
    while True:
        orders = codec.load(Orders, agent.http.get("/commands", params={"wait": 10}).json())
        for command in orders.commands:
            if command.migration == move:
                return command


def test_it_is_in_every_log(
    pair: Pair, serving: Serving, new_agent: NewAgent, worker: Path, lines: Lines
) -> None:
    # `pair` comes first, so that it ends last: it looks for threads that are left over.
    cloud = Cloud(serving, new_agent)
    body = {"workload": "shop", "to": "cloud"}
    with serving.client() as api:
        answer = api.post("/v1/migrations", json=body, headers={"X-Request-Id": ID})
        move = answer.json()["id"]
    asked = [line for line in lines.all() if line["message"] == "POST /v1/migrations: 202"]
    assert [line["request"] for line in asked] == [ID]

    command = fetched(cloud, move)
    assert command.request == ID
    executor = Executor(pair.a.journal, pair.a.operations, lambda name, news: None)
    executor.submit(command)
    assert executor.wait(20)
    agents = [line for line in lines.all() if line["logger"] == "porter.agent.executor"]
    assert len(agents) == 2
    for line in agents:
        assert (line["request"], line["migration"]) == (ID, move)
        assert line["command"] == command.id

    # The next step's end is the worker's: here the move is called off.
    with serving.client() as api:
        api.post(f"/v1/migrations/{move}/cancel")
    wait_until("a line of the worker", lambda: written(worker))
    (first, *_) = written(worker)
    assert (first["migration"], first["step"], first["workload"]) == (move, "preflight", "shop")
    events = serving.control.moves.events(move, 0)
    kinds = {event.kind: event.request for event in events}
    assert kinds["step.started"] == kinds["step.failed"] == ID
