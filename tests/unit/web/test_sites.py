"""/v1/sites, and moves to machines that are to be made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import sqlalchemy as sa

from porter.providers.fake import WORLDS
from porter.providers.fake import World as FakeWorld
from tests.unit.web.conftest import Agent, Serving
from tests.unit.web.test_api import Cloud, refused

SITE = "fake:west"
SECRET = "pl4nted-secret-value"


@pytest.fixture
def api(serving: Serving) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


@pytest.fixture
def west(api: httpx.Client) -> FakeWorld:
    body = {
        "name": SITE,
        "kind": "fake",
        "region": "west",
        "settings": {"world": f"w{time.monotonic_ns()}"},
        "secrets": {"key": SECRET},
    }
    answer = api.post("/v1/sites", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["credentials"] == "stored"
    return WORLDS[body["settings"]["world"]]  # type: ignore[index]


def test_secrets_are_never_shown_nor_stored_in_clear(
    serving: Serving, api: httpx.Client, west: FakeWorld
) -> None:
    assert SECRET not in api.get("/v1/sites").text
    assert SECRET not in api.get(f"/v1/sites/{SITE}").text
    with serving.control.database.read() as c:
        for table in sa.inspect(c).get_table_names():
            rows = c.execute(sa.text(f'SELECT * FROM "{table}"')).all()
            assert SECRET not in str(rows)
    assert serving.control.sites.open(SITE).config.secrets == {"key": SECRET}
    assert SECRET not in repr(serving.control.sites.open(SITE).config)


def test_a_site_is_there_once(api: httpx.Client, west: FakeWorld) -> None:
    again = {"name": SITE, "kind": "fake", "region": "west"}
    refused(api.post("/v1/sites", json=again), 409, "one of that name")
    refused(api.post("/v1/sites", json={"name": "No Name", "kind": "aws"}), 422, "No Name")
    assert api.delete(f"/v1/sites/{SITE}").status_code == 204
    refused(api.get(f"/v1/sites/{SITE}"), 404, SITE)
    refused(api.delete(f"/v1/sites/{SITE}"), 404, SITE)


def test_onprem_is_always_there(api: httpx.Client) -> None:
    [site] = api.get("/v1/sites").json()
    assert (site["name"], site["kind"]) == ("onprem", "onprem")
    assert "hosts" not in site["can"]


def test_rights_are_checked_one_by_one(api: httpx.Client, west: FakeWorld) -> None:
    assert all(right["granted"] for right in api.post(f"/v1/sites/{SITE}/verify").json())
    west.lacking.add("fake:Terminate")
    missing = [r for r in api.post(f"/v1/sites/{SITE}/verify").json() if not r["granted"]]
    assert [right["name"] for right in missing] == ["fake:Terminate"]
    assert api.get(f"/v1/sites/{SITE}").json()["missing"] == ["fake:Terminate"]


def test_a_dry_run_tells_what_could_be_made(
    serving: Serving, new_agent: Callable[..., Agent], api: httpx.Client, west: FakeWorld
) -> None:
    cloud = Cloud(serving, new_agent)
    answers: list[httpx.Response] = []

    def ask() -> None:
        with serving.client() as own:
            answers.append(own.post("/v1/workloads/shop/preflight", json={"to": SITE}))

    thread = threading.Thread(target=ask)
    thread.start()
    cloud.work_until(lambda: bool(answers))
    thread.join()
    answer = answers[0].json()
    assert answer["ok"]
    assert [offer["type"] for offer in answer["offers"]] == ["small", "large", "unpriced"]
    assert answer["offers"][0]["amount"] == "0.02"
    assert answer["offers"][2]["amount"] is None
    assert not west.launches


def test_a_move_to_a_site_without_hosts_makes_one(
    serving: Serving, new_agent: Callable[..., Agent], api: httpx.Client, west: FakeWorld
) -> None:
    cloud = Cloud(serving, new_agent)
    move = {"workload": "shop", "to": SITE}
    refused(api.post("/v1/migrations", json=move | {"provision": "never"}), 404, SITE)
    made = api.post("/v1/migrations", json=move).json()
    assert made["to"].startswith("fake-west-")
    assert made["steps"][0]["kind"] == "provision"
    cloud.work_until(lambda: bool(west.instances))
    [script] = west.user_data.values()
    assert made["to"] in script
    hosts = {host["name"]: host for host in api.get("/v1/hosts").json()}
    assert hosts[made["to"]]["machine"]["type"] == "small"
    refused(api.delete(f"/v1/hosts/{made['to']}"), 409, made["id"])
    refused(api.delete(f"/v1/sites/{SITE}"), 409, made["to"])
    [known] = api.post(f"/v1/sites/{SITE}/sweep", json={}).json()
    assert known["verdict"] == "known"
    api.post(f"/v1/migrations/{made['id']}/cancel")
    where = f"/v1/migrations/{made['id']}"
    cloud.work_until(lambda: api.get(where).json()["state"] == "rolled_back")
    assert not west.instances
    assert api.post(f"/v1/sites/{SITE}/sweep", json={}).json() == []


def test_a_secret_of_a_join_is_not_stored(
    serving: Serving, new_agent: Callable[..., Agent], api: httpx.Client, west: FakeWorld
) -> None:
    cloud = Cloud(serving, new_agent)
    api.post("/v1/migrations", json={"workload": "shop", "to": SITE})
    cloud.work_until(lambda: bool(west.instances))
    [key] = west.instances
    secret = serving.control.vault.derive(f"join {key}")
    assert secret in west.user_data[key]
    with serving.control.database.read() as c:
        for table in sa.inspect(c).get_table_names():
            assert secret not in str(c.execute(sa.text(f'SELECT * FROM "{table}"')).all())


@pytest.mark.parametrize(
    "wrong", ["shop.example.test", "dns=a@b c", "lb=group@fake:west", "ip=1.2.3.4@fake:west?ttl=1"]
)
def test_endpoints_that_cannot_be_read_are_refused(
    serving: Serving,
    new_agent: Callable[..., Agent],
    api: httpx.Client,
    west: FakeWorld,
    wrong: str,
) -> None:
    Cloud(serving, new_agent)
    where = "/v1/workloads/shop/endpoints"
    refused(
        api.put(where, json={"endpoints": [wrong]}), 422, "endpoint" if "@b" not in wrong else ""
    )
    refused(api.put(where, json={"endpoints": ["dns=a.b@nowhere"]}), 404, "nowhere")
    good = [f"dns=shop.example.test@{SITE}?ttl=5", f"lb=g:80@{SITE}"]
    assert api.put(where, json={"endpoints": good}).json()["endpoints"] == good
