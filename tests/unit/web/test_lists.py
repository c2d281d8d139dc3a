"""Lists in pages, their filters, and the overview, over a small seeded fleet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from porter.cli import client
from tests.scale import seed
from tests.unit.web.conftest import TOKEN, Serving
from tests.unit.web.test_api import refused


@pytest.fixture
def api(serving: Serving) -> Iterator[httpx.Client]:
    seed(
        serving.control.database,
        hosts=53,
        workloads=120,
        migrations=60,
        active=23,
        checkpoints=30,
    )
    with serving.client() as client:
        yield client


def pages(api: httpx.Client, path: str, **query: object) -> list[list[dict[str, Any]]]:
    """Every page, by following the links."""
    found = []
    answer = api.get(path, params={key: str(value) for key, value in query.items()})
    while True:
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        following = answer.links.get("next")
        if following is None:
            return found
        answer = api.get(following["url"])


def test_pages_are_whole_and_in_order(api: httpx.Client) -> None:
    for path, size, count, key in (
        ("/v1/workloads", 7, 120, "name"),
        ("/v1/hosts", 53, 53, "name"),
        ("/v1/migrations", 11, 60, "id"),
        ("/v1/checkpoints", 30, 30, "id"),
        ("/v1/sites", 2, 5, "name"),
    ):
        found = pages(api, path, limit=size)
        assert [len(page) for page in found[:-1]] == [size] * (len(found) - 1)
        names = [one[key] for page in found for one in page]
        assert len(names) == len(set(names)) == count
        assert names == [one[key] for page in pages(api, path, limit=1000) for one in page]
    assert len(pages(api, "/v1/workloads")[0]) == 100


def test_a_page_begins_where_the_last_one_ended_though_rows_come_and_go(
    api: httpx.Client, serving: Serving
) -> None:
    first = api.get("/v1/workloads", params={"limit": 10})
    last = first.json()[-1]["name"]
    with serving.control.database.write() as c:
        c.exec_driver_sql("UPDATE workloads SET state = 'gone' WHERE name <= 'shop-00003'")
    second = api.get(first.links["next"]["url"]).json()
    assert second[0]["name"] > last
    assert second[0]["name"] == "shop-00010"


def test_filters(api: httpx.Client) -> None:
    def names(path: str, **query: object) -> set[str]:
        found = pages(api, path, limit=9, **query)
        return {str(one.get("name") or one["id"]) for page in found for one in page}

    everything = [one for page in pages(api, "/v1/workloads", limit=1000) for one in page]
    for field in ("host", "site", "state", "project"):
        value = everything[3][field]
        assert names("/v1/workloads", **{field: value}) == {
            one["name"] for one in everything if one[field] == value
        }
    assert names("/v1/workloads", name="shop-0010") == {f"shop-0010{n}" for n in range(10)}
    assert names("/v1/workloads", name="shop%") == set()
    silent = {"host-0000", "host-0050"}
    assert names("/v1/hosts", alive="false") == silent
    assert (
        names("/v1/hosts", site="onprem", alive="true")
        == {f"host-{n:04}" for n in range(0, 53, 5)} - silent
    )
    assert names("/v1/migrations", state="held") == {"m00000000", "m00000020"}
    assert names("/v1/migrations", workload="shop-00004") == {"m00000004"}
    since = (datetime.now(UTC) - timedelta(seconds=150)).isoformat()
    assert names("/v1/migrations", since=since) == {"m00000000", "m00000001", "m00000002"}
    assert names("/v1/checkpoints", workload="shop-00004", state="ready") == {"k00000004"}
    assert names("/v1/checkpoints", state="failed") == set()


def test_a_cursor_is_a_lists_own(api: httpx.Client) -> None:
    answer = api.get("/v1/workloads", params={"limit": 1})
    cursor = answer.links["next"]["url"].rpartition("cursor=")[2]
    for path in ("/v1/migrations", "/v1/checkpoints"):
        refused(api.get(path, params={"cursor": cursor}), 422, "cursor")
    for bad in ("", "x", "W10", "WzFd", "bnVsbA", "W05hTiwgIngiXQ", "ü"):
        refused(api.get("/v1/migrations", params={"cursor": bad}), 422, "cursor")
    refused(api.get("/v1/workloads", params={"limit": 0}), 422, "limit")


def test_the_overview(api: httpx.Client) -> None:
    found = api.get("/v1/overview").json()
    assert (found["hosts"], found["hosts_alive"], found["migrations_active"]) == (53, 51, 23)
    assert sum(found["workloads"].values()) == 120
    sites = {one["site"]: one for one in found["sites"]}
    assert sum(host["workloads"] for one in sites.values() for host in one["hosts"]) == 120
    assert sites["onprem"]["cost"] == {"known": [], "unknown_hosts": 11}
    aws = sites["aws:eu-west-1"]
    assert aws["cost"]["known"] == [{"currency": "USD", "amount": "1.8304"}]
    assert aws["hosts"][0]["memory_bytes"] == 64 * 2**30
    assert aws["hosts"][0]["price"] == "0.1664"
    first = found["migrations"][0]
    assert (first["state"], first["phase"], first["total"]) == ("held", "sync", 20 * 2**20)
    assert first["done"] == 19 * 2**20
    kinds = [alert["kind"] for alert in found["alerts"]]
    assert kinds == ["held"] * 2 + ["rival"] * 2 + ["host_silent"] * 2
    assert found["alerts_total"] == 6


def test_the_command_line_reads_all_pages(
    api: httpx.Client, serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("porter.client.transport.PAGE", 50)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with closing(client.Api(serving.url, token)) as asked:
        assert len(asked.workloads()) == 120
        assert len(asked.migrations(55)) == 55
        assert len(asked.migrations(70)) == 60
