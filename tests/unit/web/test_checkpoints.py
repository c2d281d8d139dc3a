"""/v1/checkpoints, and what agents may do in the store of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from porter.db.base import CheckpointState
from porter.domain.workload import Image
from porter.protocol import codec
from porter.protocol.checkpoints import Checkpointed, WantTickets
from porter.protocol.messages import Failure, Progress, Result
from tests.saga.simulation import SimHost
from tests.unit.web.conftest import Agent, Serving

NewAgent = Callable[..., Agent]
IMAGE = Image("sha256:1", ("redis",), ("sha256:a",), 1)
TAKEN = Checkpointed("identity", "d1", 12.5, 1e9, 100, 10, 120, 60, IMAGE, "10.77.1.2")


class Site:
    """Two joined hosts with a workload on the first, and a store."""

    def __init__(self, serving: Serving, new_agent: NewAgent, shelf: Path) -> None:
        self.serving, self.control = serving, serving.control
        self.due: list[str] = []
        serving.queue.checkpoint = self.due.append  # type: ignore[attr-defined]
        self.agents = {name: new_agent(name).join() for name in ("onprem", "cloud")}
        self.sims = {name: SimHost(name, name, {}) for name in self.agents}
        self.sims["onprem"].running["shop"] = "c-shop"
        self.beat()
        self.control.store_book.add("shelf", f"file://{shelf}", {}, "", time.time())

    def beat(self) -> None:
        for name, agent in self.agents.items():
            beat = codec.dump(self.sims[name].heartbeat())
            assert agent.http.post("/heartbeat", json=beat).status_code == 200

    def advance(self) -> None:
        while self.due:
            self.control.keeper.advance(self.due.pop())

    def orders(self, name: str) -> dict[str, Any]:
        """The host's one command."""
        self.advance()
        (order,) = self.agents[name].http.get("/commands?wait=0").json()["commands"]
        return dict(order)

    def answer(self, name: str, order: dict[str, Any], result: Result) -> None:
        where = f"/commands/{order['id']}/result"
        assert self.agents[name].http.post(where, json=codec.dump(result)).status_code == 204
        self.advance()

    def done(self, name: str, order: dict[str, Any], output: object) -> None:
        self.answer(name, order, Result(output=codec.dump(output)))

    def tickets(self, name: str, about: str, method: str, *keys: str) -> httpx.Response:
        want = codec.dump(WantTickets(about, method, keys, 60))
        return self.agents[name].http.post("/tickets", json=want)

    def take(self, api: httpx.Client) -> str:
        made = api.post("/v1/checkpoints", json={"workload": "shop"}).json()
        self.done("onprem", self.orders("onprem"), TAKEN)
        return str(made["id"])

    def lose(self) -> None:
        self.sims["onprem"].running.clear()
        self.beat()


@pytest.fixture
def site(serving: Serving, new_agent: NewAgent, tmp_path: Path) -> Site:
    return Site(serving, new_agent, tmp_path / "shelf")


@pytest.fixture
def api(serving: Serving) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


def refused(answer: httpx.Response, status: int, word: str) -> None:
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert word in f"{problem['detail']} {problem.get('remedy')}", problem


def test_taken_for_all_living_hosts(site: Site, api: httpx.Client) -> None:
    answer = api.post("/v1/checkpoints", json={"workload": "shop"})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["state"], made["host"], made["store"]) == ("creating", "onprem", "shelf")
    assert made["readers"] == ["onprem", "cloud"]
    order = site.orders("onprem")
    assert order["kind"] == "checkpoint"
    assert order["payload"]["checkpoint"] == made["id"]
    held = [agent.joined.certificate_pem for agent in site.agents.values() if agent.joined]
    assert order["payload"]["recipients"] == held
    news = codec.dump(Progress("dump", 30, 120))
    site.agents["onprem"].http.post(f"/commands/{order['id']}/progress", json=news)
    found = api.get(f"/v1/checkpoints/{made['id'][:6]}").json()
    assert found["progress"] == {
        "phase": "dump",
        "done": 30,
        "total": 120,
        "message": "",
        "capacity": 0,
    }
    site.done("onprem", order, TAKEN)
    (found,) = api.get("/v1/checkpoints").json()
    assert (found["state"], found["progress"]) == ("ready", None)
    assert (found["size_bytes"], found["stored_bytes"], found["downtime_ms"]) == (120, 60, 12.5)
    assert (found["image"], found["task"]["outcome"]) == ("redis", "succeeded")
    assert api.get("/v1/checkpoints?workload=other").json() == []
    assert "certificate" not in api.get("/v1/hosts").text


def test_what_cannot_be_taken(site: Site, api: httpx.Client) -> None:
    def post(**body: object) -> httpx.Response:
        return api.post("/v1/checkpoints", json={"workload": "shop"} | body)

    refused(post(workload="other"), 404, "other")
    refused(post(store="other"), 404, "other")
    refused(post(readers=["nobody"]), 404, "nobody")
    refused(post(else_=1), 422, "else_")
    with site.control.database.write() as c:
        c.exec_driver_sql("UPDATE hosts SET certificate = NULL WHERE name = 'cloud'")
    refused(post(readers=["cloud"]), 409, "join it again")
    made = post().json()
    assert made["readers"] == ["onprem"]
    refused(post(), 409, made["id"])
    refused(api.delete(f"/v1/checkpoints/{made['id']}"), 409, "creating")
    refused(api.post(f"/v1/checkpoints/{made['id']}/restore", json={"to": "cloud"}), 409, "rm -f")
    refused(api.delete("/v1/stores/shelf"), 409, made["id"])


def test_without_a_store_none_can_be_taken(site: Site, api: httpx.Client) -> None:
    assert api.delete("/v1/stores/shelf").status_code == 204
    refused(api.post("/v1/checkpoints", json={"workload": "shop"}), 409, "porter store add")


def test_a_failure_is_told_and_cleared_away(site: Site, api: httpx.Client) -> None:
    made = api.post("/v1/checkpoints", json={"workload": "shop"}).json()
    order = site.orders("onprem")
    site.control.stores.open("shelf").put(f"data/{made['id']}/parts/1", b"half")
    site.answer("onprem", order, Result(error=Failure("permanent", "cannot dump: no", "mend it")))
    found = api.get(f"/v1/checkpoints/{made['id']}").json()
    assert (found["state"], found["reason"]) == ("failed", "cannot dump: no; mend it")
    assert list(site.control.stores.open("shelf").list("")) == []
    assert api.delete(f"/v1/checkpoints/{made['id']}").status_code == 202
    site.advance()
    refused(api.get(f"/v1/checkpoints/{made['id']}"), 404, made["id"])


def test_restored_only_where_it_may_be(site: Site, api: httpx.Client) -> None:
    made = site.take(api)

    def restore(to: str) -> httpx.Response:
        return api.post(f"/v1/checkpoints/{made}/restore", json={"to": to})

    refused(restore("cloud"), 409, "podman rm -f shop")
    site.lose()
    refused(restore("nowhere"), 404, "nowhere")
    with site.control.database.write() as c:
        c.exec_driver_sql("UPDATE hosts SET last_seen = 1 WHERE name = 'onprem'")
    refused(restore("cloud"), 409, "porter host rm onprem")
    refused(restore("onprem"), 409, "not alive")
    site.beat()
    answer = restore("lab")
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "restoring"
    assert answer.json()["task"]["kind"] == "restore"
    refused(restore("cloud"), 409, "restoring")
    refused(api.delete(f"/v1/checkpoints/{made}"), 409, "restoring")


def test_tickets_are_for_ones_own_part(site: Site, api: httpx.Client) -> None:
    made = api.post("/v1/checkpoints", json={"workload": "shop"}).json()["id"]
    part = f"data/{made}/parts/1"
    assert site.tickets("onprem", made, "PUT", part).status_code == 200
    listed = site.agents["onprem"].http.get(f"/blobs?migration={made}&prefix=data/{made}/")
    assert listed.json() == {"blobs": []}
    for name, method, key in (
        ("cloud", "GET", part),
        ("onprem", "DELETE", part),
        ("onprem", "PUT", "data/k0/parts/1"),
        ("onprem", "PUT", f"tunnels/{made}/1"),
        ("onprem", "PUT", f"data/{made}x/1"),
    ):
        refused(site.tickets(name, made, method, key), 403, "not this host's part")
    refused(site.tickets("onprem", made[:5], "PUT", part), 403, "not this host's part")
    refused(site.tickets("onprem", "m0", "PUT", part), 404, "m0")
    site.done("onprem", site.orders("onprem"), TAKEN)
    refused(site.tickets("onprem", made, "GET", part), 403, "not this host's part")


def test_a_removed_one_leaves_nothing(site: Site, api: httpx.Client) -> None:
    made = site.take(api)
    site.control.stores.open("shelf").put(f"data/{made}/parts/1", b"sealed")
    site.control.stores.open("shelf").put(f"catalog/{made}/manifest", b"sealed")
    answer = api.delete(f"/v1/checkpoints/{made}")
    assert answer.json()["state"] == CheckpointState.REMOVING
    assert api.delete(f"/v1/checkpoints/{made}").status_code == 202, "asked again"
    site.advance()
    assert api.get("/v1/checkpoints").json() == []
    assert list(site.control.stores.open("shelf").list("")) == []
