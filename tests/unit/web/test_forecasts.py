"""Forecasts over HTTP: before a move, in its receipt, and how good they were."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from porter.domain.identity import Role
from tests.unit.web.conftest import Agent, Serving
from tests.unit.web.test_api import Cloud, refused
from tests.unit.web.test_plans import token

MOVE = {"workload": "shop", "to": "cloud"}
ACCURACY = "/v1/forecasts/accuracy"


@pytest.fixture
def cloud(serving: Serving, new_agent: Callable[..., Agent]) -> Cloud:
    object.__setattr__(serving.control.engine, "_queue", serving.queue)
    return Cloud(serving, new_agent)


def dry_run(cloud: Cloud) -> dict[str, Any]:
    answers: list[httpx.Response] = []

    def ask() -> None:
        with cloud.serving.client() as client:
            answers.append(client.post("/v1/workloads/shop/preflight", json={"to": "cloud"}))

    thread = threading.Thread(target=ask)
    thread.start()
    cloud.work_until(lambda: bool(answers))
    thread.join()
    found: dict[str, Any] = answers[0].json()
    return found


def test_from_a_guess_to_a_receipt(serving: Serving, cloud: Cloud) -> None:
    _, stranger = token(serving, "eve", Role.ADMIN, "other")
    with serving.client() as api, serving.client(stranger) as eve_api:
        told = dry_run(cloud)["forecast"]
        assert (told["known"], told["cost"]["likely"]) == (False, "0")
        assert "no cold move was ever measured here" in told["basis"]
        tried = api.post("/v1/migrations", params={"dry_run": True}, json=MOVE).json()
        assert tried["forecast"]["downtime_ms"]["likely"] > 0
        made = api.post("/v1/migrations", json=MOVE).json()
        where = f"/v1/migrations/{made['id']}"
        assert "features" not in made["forecast"]
        assert api.get(f"{where}/receipt").json()["forecast"] == made["forecast"]
        cloud.work_until(lambda: api.get(where).json()["state"] == "succeeded")
        receipt = api.get(f"{where}/receipt").json()
        assert receipt["forecast"] == made["forecast"]
        likely = made["forecast"]["downtime_ms"]["likely"]
        off = receipt["forecast_error"]
        assert off["downtime"] == pytest.approx(receipt["downtime_ms"] / likely, rel=1e-3)
        assert set(off) == {"downtime", "total", "wire"}, "traffic within a site costs nothing"
        found = api.get(ACCURACY).json()
        assert (found["share"], found["moves"], found["downtime"]["count"]) == (0.8, 1, 1)
        assert found["cost"] == {"count": 0, "median": None, "p90": None, "inside": None}
        assert api.get(ACCURACY, params={"workload": "other"}).json()["moves"] == 0
        assert eve_api.get(ACCURACY).json()["moves"] == 0
        refused(api.get(ACCURACY, params={"limit": 0}), 422, "limit")


def test_limits_hold_for_people_where_a_forecast_is_known(serving: Serving, cloud: Cloud) -> None:
    document = "version: 1\nname: calm\nproject: default\nlimits: {max_downtime: 1ms}\n"
    with serving.client() as api:
        kept = api.put("/v1/policies/calm", json={"document": document})
        assert kept.status_code == 200
        said = api.post("/v1/verdicts", json=MOVE).json()
        assert said["outcome"] == "allowed"
        (finding,) = said["findings"]
        assert (finding["rule"], finding["outcome"]) == ("limits.max_downtime", "allowed")
        assert "unknown: no cold move was ever measured here" in finding["why"]
        made = api.post("/v1/migrations", json=MOVE).json()["id"]
        cloud.work_until(lambda: api.get(f"/v1/migrations/{made}").json()["state"] == "succeeded")
        cloud.beat()
        back = {"workload": "shop", "to": "onprem"}
        problem = refused(api.post("/v1/migrations", json=back), 409, "its pause is likely")
        assert (problem["code"], problem["rule"]) == ("policy", "limits.max_downtime")
