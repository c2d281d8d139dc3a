"""Rolling back and deciding about holds, as programs see it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from porter.db import tables as t
from tests.unit.web.conftest import Serving
from tests.unit.web.test_api import Cloud, NewAgent


@pytest.fixture
def cloud(serving: Serving, new_agent: NewAgent) -> Cloud:
    return Cloud(serving, new_agent)


def moved(cloud: Cloud, api: httpx.Client, to: str = "cloud") -> str:
    made = api.post("/v1/migrations", json={"workload": "shop", "to": to}).json()
    return finished(cloud, api, str(made["id"]))


def finished(cloud: Cloud, api: httpx.Client, migration: str) -> str:
    def ended() -> bool:
        return bool(api.get(f"/v1/migrations/{migration}").json()["finished_at"])

    cloud.work_until(ended)
    return migration


def refused(answer: httpx.Response, status: int, why: str) -> None:
    assert answer.status_code == status, answer.text
    assert why in answer.json()["detail"]


def test_what_succeeded_is_moved_back_once(cloud: Cloud, serving: Serving) -> None:
    with serving.client() as api:
        forth = moved(cloud, api)
        where = f"/v1/migrations/{forth}/rollback"
        answer = api.post(where)
        assert answer.status_code == 202, answer.text
        back = answer.json()
        assert (back["from"], back["to"]) == ("cloud", "onprem")
        assert answer.headers["Location"] == f"/v1/migrations/{back['id']}"
        assert api.post(where).json()["id"] == back["id"]
        finished(cloud, api, back["id"])
        assert api.post(where).json()["id"] == back["id"]
        receipt = api.get(f"/v1/migrations/{back['id']}/receipt").json()
        assert (receipt["state"], receipt["undoes"]) == ("succeeded", forth)
        assert cloud.onprem.runs("shop")


def test_what_is_not_handed_over_is_cancelled(cloud: Cloud, serving: Serving) -> None:
    with serving.client() as api:
        made = api.post("/v1/migrations", json={"workload": "shop", "to": "cloud"}).json()
        answer = api.post(f"/v1/migrations/{made['id']}/rollback").json()
        assert (answer["id"], answer["cancel_requested"]) == (made["id"], True)
        finished(cloud, api, made["id"])
        where = f"/v1/migrations/{made['id']}/rollback"
        refused(api.post(where), 409, "did not move anything")


def test_what_has_moved_on_is_not_rolled_back(cloud: Cloud, serving: Serving) -> None:
    with serving.client() as api:
        first = moved(cloud, api)
        moved(cloud, api, "onprem")
        refused(api.post(f"/v1/migrations/{first}/rollback"), 409, "has moved on since")
        moved(cloud, api)
        refused(api.post(f"/v1/migrations/{first}/rollback"), 409, "has moved on since")


def test_a_host_that_is_gone_takes_nothing_back(cloud: Cloud, serving: Serving) -> None:
    with serving.client() as api:
        forth = moved(cloud, api)
        with serving.control.database.write() as c:
            c.execute(sa.update(t.hosts).where(t.hosts.c.name == "onprem").values(last_seen=1.0))
        refused(api.post(f"/v1/migrations/{forth}/rollback"), 409, "onprem does not answer")
        with serving.control.database.write() as c:
            c.execute(sa.delete(t.hosts).where(t.hosts.c.name == "onprem"))
        refused(api.post(f"/v1/migrations/{forth}/rollback"), 409, "the host onprem is gone")


def held(cloud: Cloud, api: httpx.Client, serving: Serving) -> str:
    """A move whose target was silenced after the commit."""
    cloud.onprem.hook = lambda point: (
        cloud.cloud.power_cut() if point == "source: handed over" else None
    )
    made = api.post("/v1/migrations", json={"workload": "shop", "to": "cloud"}).json()
    gone = next(key for key, sim in cloud.sims.items() if sim is cloud.cloud)

    def is_held() -> bool:
        if not cloud.cloud.alive:
            cloud.agents.pop(gone, None)
            with serving.control.database.write() as c:
                c.execute(sa.update(t.hosts).where(t.hosts.c.id == gone).values(last_seen=1.0))
            serving.queue.enqueue(made["id"])
        return bool(api.get(f"/v1/migrations/{made['id']}").json()["state"] == "held")

    cloud.work_until(is_held)
    return str(made["id"])


def test_a_hold_is_resolved(cloud: Cloud, serving: Serving) -> None:
    with serving.client() as api:
        migration = held(cloud, api, serving)
        where = f"/v1/migrations/{migration}/resolve"
        body: dict[str, Any] = {"run_on": "source", "reason": "it burnt"}
        refused(api.post(where, json=body), 409, "nobody knows that cloud does not run it")
        refused(api.post(where, json=body | {"fence": True}), 409, "Porter did not make cloud")
        refused(
            api.post(where, json=body | {"fence": True, "fenced": True}), 422, "exclude each other"
        )
        refused(api.post(where, json=body | {"run_on": "target"}), 409, "does not answer")
        refused(
            api.post(where, json=body | {"run_on": "target", "fenced": True}), 422, "powered off"
        )
        assert api.post(where, json={"run_on": "source"}).status_code == 422
        assert api.post(where, json=body | {"run_on": "both"}).status_code == 422

        answer = api.post(where, json=body | {"fenced": True})
        assert answer.status_code == 202, answer.text
        assert "What cloud did since, if it ran, is lost" in answer.json()["gives_up"]
        finished(cloud, api, migration)
        assert api.post(where, json=body | {"fenced": True}).status_code == 202
        refused(api.post(where, json=body | {"run_on": "target"}), 409, "it is not held")
        receipt = api.get(f"/v1/migrations/{migration}/receipt").json()
        assert receipt["state"] == "rolled_back"
        assert "root decided that it runs on onprem: it burnt" in receipt["reason"]
        assert cloud.onprem.runs("shop")


def test_only_known_migrations(cloud: Cloud, serving: Serving) -> None:
    with serving.client() as api:
        assert api.post("/v1/migrations/nope/rollback").status_code == 404
        body = {"run_on": "source", "reason": "why not", "fenced": True}
        assert api.post("/v1/migrations/nope/resolve", json=body).status_code == 404
        made = api.post("/v1/migrations", json={"workload": "shop", "to": "cloud"}).json()
        refused(api.post(f"/v1/migrations/{made['id']}/resolve", json=body), 409, "not held")
