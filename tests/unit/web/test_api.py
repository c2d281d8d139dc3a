"""The REST API as programs see it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from porter.protocol import codec
from porter.protocol.messages import Progress, Result
from tests.saga.simulation import SimHost
from tests.unit.web.conftest import Agent, Serving

NewAgent = Callable[..., Agent]
PROBLEM = "application/problem+json"


class Cloud:
    """Two joined hosts, one workload; `work` does what is to be done, once."""

    def __init__(self, serving: Serving, new_agent: NewAgent) -> None:
        self.serving = serving
        self.sims: dict[str, SimHost] = {}
        self.agents: dict[str, Agent] = {}
        for name in ("onprem", "cloud"):
            agent = new_agent(name).join()
            assert agent.joined is not None
            self.sims[agent.joined.host] = SimHost(agent.joined.host, name, self.sims)
            self.agents[agent.joined.host] = agent
        self.onprem, self.cloud = self.sims.values()
        self.onprem.running["shop"] = "c-shop"
        self.beat()

    def beat(self) -> None:
        for host, agent in self.agents.items():
            answer = agent.http.post("/heartbeat", json=codec.dump(self.sims[host].heartbeat()))
            assert answer.status_code == 200, answer.text

    def work(self) -> None:
        for migration in self.serving.queue.enqueued[:]:
            self.serving.queue.enqueued.remove(migration)
            self.serving.control.engine.advance(migration)
        for host, agent in self.agents.items():
            orders = agent.http.get("/commands?wait=0").json()
            for command in orders["commands"]:
                from porter.protocol.messages import Command

                result = self.sims[host].handle(codec.load(Command, command))
                assert result is not None
                where = f"/commands/{command['id']}"
                agent.http.post(f"{where}/progress", json=codec.dump(Progress("work", 1, 2)))
                agent.http.post(f"{where}/result", json=codec.dump(result))

    def work_until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not done():
            assert time.monotonic() < deadline
            self.work()


@pytest.fixture
def cloud(serving: Serving, new_agent: NewAgent) -> Cloud:
    # The engine must enqueue where the web process does.
    object.__setattr__(serving.control.engine, "_queue", serving.queue)
    return Cloud(serving, new_agent)


@pytest.fixture
def api(serving: Serving) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


def refused(answer: httpx.Response, status: int, word: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert word in problem["detail"]
    return problem


def test_the_token_is_needed(serving: Serving) -> None:
    for token in (None, "wrong", "a b"):
        with serving.client(token) as client:
            answer = client.get("/v1/hosts")
            refused(answer, 401, "token")
            assert answer.headers["www-authenticate"] == "Bearer"
            refused(client.post("/v1/migrations", content=b"{"), 401, "token")
            refused(client.get("/v1/nothing"), 401, "token")
            assert client.get("/healthz").json()["status"] == "ok"


def test_foreign_host_headers_are_refused(serving: Serving) -> None:
    with serving.client() as client:
        for path in ("/", "/v1/hosts", "/healthz"):
            answer = client.get(path, headers={"Host": "evil.example"})
            refused(answer, 400, "evil.example")
        assert client.get("/", headers={"Host": "localhost:1"}).status_code == 200


def test_every_answer_has_a_request_id(api: httpx.Client) -> None:
    assert api.get("/v1/hosts").headers["x-request-id"]
    given = {"X-Request-Id": "abc-1"}
    assert api.get("/nothing", headers=given).headers["x-request-id"] == "abc-1"
    bad = {"X-Request-Id": "a b" * 99}
    assert api.get("/v1/hosts", headers=bad).headers["x-request-id"] != bad["X-Request-Id"]


def test_unknown_paths_and_methods(api: httpx.Client) -> None:
    refused(api.get("/nothing"), 404, "/nothing")
    refused(api.get("/v1/migrations/m1"), 404, "m1")
    refused(api.get("/v1/migrations/m1/events"), 404, "m1")
    refused(api.get("/v1/migrations/m1/receipt"), 404, "m1")
    refused(api.get("/v1/hosts/h1"), 404, "h1")
    refused(api.get("/v1/workloads/w1"), 404, "w1")
    answer = api.put("/v1/hosts")
    refused(answer, 405, "PUT")
    assert answer.headers["allow"] == "GET"


def test_hosts_and_workloads(api: httpx.Client, cloud: Cloud) -> None:
    hosts = api.get("/v1/hosts").json()
    assert [(h["name"], h["alive"], h["workloads"]) for h in hosts] == [
        ("cloud", True, []),
        ("onprem", True, ["shop"]),
    ]
    assert hosts[0]["facts"]["criu_version"] == [4, 1]
    (workload,) = api.get("/v1/workloads").json()
    assert workload == api.get("/v1/workloads/shop").json()
    assert (workload["host"], workload["generation"], workload["migration"]) == ("onprem", 1, None)
    refused(api.delete("/v1/hosts/onprem"), 409, "shop")


def test_a_move_and_its_events(api: httpx.Client, cloud: Cloud) -> None:
    body = {"workload": "shop", "to": "cloud"}
    answer = api.post("/v1/migrations", json=body)
    assert answer.status_code == 202
    made = answer.json()
    where = f"/v1/migrations/{made['id']}"
    assert answer.headers["location"] == where
    assert (made["from"], made["to"], made["mode"]) == ("onprem", "cloud", "cold")
    refused(api.post("/v1/migrations", json=body), 409, made["id"])
    assert api.get("/v1/workloads/shop").json()["migration"] == made["id"]
    seen: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: seen.extend(follow(cloud.serving, where)))
    thread.start()
    early = api.get(f"{where}/receipt").json()
    assert (early["state"], early["finished_at"]) == ("pending", None)
    cloud.work_until(lambda: api.get(where).json()["state"] == "succeeded")
    thread.join(20)
    kinds = [event["kind"] for event in seen]
    assert kinds[0] == "migration.pending"
    assert kinds[-1] == "migration.succeeded"
    assert kinds.count("step.done") == 7
    assert "progress" in kinds
    assert len({event["id"] for event in seen}) == len(seen)
    # Resumed after any event, exactly the rest comes.
    for cut in (0, 5, len(seen) - 1):
        rest = list(follow(cloud.serving, where, str(seen[cut]["id"])))
        assert rest == seen[cut + 1 :]
    receipt = api.get(f"{where}/receipt").json()
    assert receipt["state"] == "succeeded"
    assert receipt["downtime_ms"] == 120.0
    refused(api.post(f"{where}/cancel"), 409, "has ended")
    refused(api.post("/v1/migrations", json=body), 409, "it is there already")
    assert [m["id"] for m in api.get("/v1/migrations").json()] == [made["id"]]


def follow(serving: Serving, where: str, after: str | None = None) -> Iterator[dict[str, Any]]:
    headers = {} if after is None else {"Last-Event-ID": after}
    with serving.client() as client:
        with client.stream("GET", f"{where}/events", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])


def test_cancel(api: httpx.Client, cloud: Cloud) -> None:
    made = api.post("/v1/migrations", json={"workload": "shop", "to": "cloud"}).json()
    where = f"/v1/migrations/{made['id']}"
    assert api.post(f"{where}/cancel").status_code == 202
    cloud.work_until(lambda: api.get(where).json()["state"] == "rolled_back")
    assert "cancelled" in api.get(f"{where}/receipt").json()["reason"]


def test_idempotency(api: httpx.Client, cloud: Cloud) -> None:
    body = {"workload": "shop", "to": "cloud"}
    key = {"Idempotency-Key": "k1"}
    first = api.post("/v1/migrations", json=body, headers=key)
    again = api.post("/v1/migrations", json=body, headers=key)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    other = body | {"mode": "cold"}
    refused(api.post("/v1/migrations", json=other, headers=key), 409, "Idempotency-Key")
    where = first.headers["location"]
    cloud.work_until(lambda: api.get(where).json()["state"] == "succeeded")
    late = api.post("/v1/migrations", json=body, headers=key)
    assert late.json()["id"] == first.json()["id"]
    assert len(api.get("/v1/migrations").json()) == 1


def test_what_cannot_be_moved(api: httpx.Client, cloud: Cloud) -> None:
    refused(api.post("/v1/migrations", json={"workload": "nope", "to": "cloud"}), 404, "nope")
    refused(api.post("/v1/migrations", json={"workload": "shop", "to": "mars"}), 404, "mars")
    refused(api.post("/v1/migrations", json={"workload": "shop", "to": "onprem"}), 409, "already")
    for content in (
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"workload": 7, "to": "cloud"}',
        b'{"workload": "shop", "to": "cloud", "mode": "x"}',
        b'{"workload": "shop", "to": "cloud", "extra": 1}',
        b'{"workload": "", "to": "cloud"}',
    ):
        headers = {"Content-Type": "application/json"}
        answer = api.post("/v1/migrations", content=content, headers=headers)
        problem = refused(answer, 422, "cannot read the request")
        assert problem["errors"]
    assert api.get("/v1/migrations").json() == []
    for ttl in (True, "60", None):
        refused(api.post("/v1/join-tokens", json={"ttl": ttl}), 422, "cannot read the request")
    for number, status in ((20.0, 200), (20.5, 422), (0.0, 422), (True, 422), ("20", 422)):
        body = {"cron": "0 3 * * *", "most_moves": number}
        answer = api.put("/v1/schedules/nightly", json=body)
        assert answer.status_code == status, number
        if status == 200:
            assert answer.json()["spec"]["most_moves"] == 20


def test_the_dry_run_says_what_stands_in_the_way(api: httpx.Client, cloud: Cloud) -> None:
    from porter.domain.workload import Blocker

    cloud.cloud.blockers = (Blocker("no-memory", "cannot: too little memory", "free some"),)
    answers: list[httpx.Response] = []
    where = "/v1/workloads/shop/preflight"

    def ask() -> None:
        with cloud.serving.client() as client:
            answers.append(client.post(where, json={"to": "cloud", "mode": "live"}))

    thread = threading.Thread(target=ask)
    thread.start()
    cloud.work_until(lambda: bool(answers))
    thread.join()
    found = answers[0].json()
    assert not found["ok"]
    codes = [blocker["code"] for blocker in found["blockers"]]
    assert codes == ["mode-unsupported", "no-memory"]
    assert all(blocker["remedy"] for blocker in found["blockers"])
    assert cloud.serving.control.desk.read("dry-") == ()
    same = api.post(where, json={"to": "onprem"}).json()
    assert [blocker["code"] for blocker in same["blockers"]] == ["same-host"]
    refused(api.post(where, json={"to": "mars"}), 404, "mars")
    refused(api.post("/v1/workloads/nope/preflight", json={"to": "cloud"}), 404, "nope")


def test_the_page_shows_everything_and_escapes_it(api: httpx.Client, cloud: Cloud) -> None:
    cloud.onprem.running["<b>x"] = "c"
    cloud.beat()
    answer = api.get("/")
    assert answer.status_code == 200
    assert "onprem" in answer.text
    assert "shop" in answer.text
    assert "&lt;b&gt;x" in answer.text
    assert "<b>x" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_openapi_describes_it(api: httpx.Client) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    assert {
        "/v1/hosts",
        "/v1/join-tokens",
        "/v1/workloads/{name}/preflight",
        "/v1/migrations/{migration_id}/events",
        "/v1/migrations/{migration_id}/receipt",
    } <= set(paths)
    problem = paths["/v1/migrations"]["post"]["responses"]["409"]["content"]
    assert PROBLEM in problem


def test_results_wake_the_engine(cloud: Cloud, api: httpx.Client) -> None:
    made = api.post("/v1/migrations", json={"workload": "shop", "to": "cloud"}).json()
    cloud.serving.queue.enqueued.clear()
    cloud.serving.control.engine.advance(made["id"])
    (command,) = cloud.serving.control.desk.fetch(cloud.onprem.id, time.time(), False)
    agent = cloud.agents[cloud.onprem.id]
    result = codec.dump(Result(output={}))
    for _ in range(2):
        agent.http.post(f"/commands/{command.id}/result", json=result)
    assert cloud.serving.queue.enqueued == [made["id"], made["id"]]
