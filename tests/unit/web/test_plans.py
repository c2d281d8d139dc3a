"""Policies, plans and signed receipts over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from porter.domain.identity import Grant, Permission, Role
from porter.signing import read_keys, verify
from tests.unit.web.conftest import Agent, Serving
from tests.unit.web.test_api import Cloud, refused

POLICY = "version: 1\nname: two\nproject: default\napproval: {}\n"


@pytest.fixture
def cloud(serving: Serving, new_agent: Callable[..., Agent]) -> Cloud:
    object.__setattr__(serving.control.engine, "_queue", serving.queue)
    return Cloud(serving, new_agent)


def token(serving: Serving, name: str, role: Role, project: str = "default") -> tuple[str, str]:
    """A user with this role: their id, and a token of theirs."""
    identity, now = serving.control.identity, time.time()
    user = identity.login("https://id", name, name.title(), "", now)
    identity.grant(user.id, Grant(project, role), "root", now)
    scopes = list(Permission)
    return user.id, identity.add_token(name, user.id, project, scopes, now + 999, now)[0]


def put(api: httpx.Client, document: str, name: str = "two") -> httpx.Response:
    return api.put(f"/v1/policies/{name}", json={"document": document})


def test_from_policy_to_signed_receipt(serving: Serving, cloud: Cloud) -> None:
    _, admin = token(serving, "ada", Role.ADMIN)
    ann, operator = token(serving, "ann", Role.OPERATOR)
    bob, approver = token(serving, "bob", Role.APPROVER)
    _, stranger = token(serving, "eve", Role.ADMIN, "other")
    serving.control.identity.grant(ann, Grant("default", Role.APPROVER), "root", time.time())
    with (
        serving.client(admin) as ada_api,
        serving.client(operator) as ann_api,
        serving.client(approver) as bob_api,
        serving.client(stranger) as eve_api,
    ):
        kept = put(ada_api, POLICY)
        assert (kept.status_code, kept.json()["version"]) == (200, 1)
        move = {"workload": "shop", "to": "cloud"}
        problem = refused(ann_api.post("/v1/migrations", json=move), 409, "policy two")
        assert (problem["code"], problem["rule"]) == ("approval-required", "approval")
        where = f"/v1/plans/{problem['plan']}"
        made = ann_api.get(where).json()
        assert (made["state"], made["created_by"]) == ("waiting", ann)
        assert made["created_by_name"] == "Ann"
        yes = {"hash": made["hash"], "reason": "looks right"}
        refused(eve_api.get(where), 404, "cannot find the plan")
        refused(eve_api.post(f"{where}/approve", json=yes), 404, "cannot find the plan")
        refused(eve_api.post(f"{where}/execute"), 404, "cannot find the plan")
        refused(eve_api.post(f"{where}/decline", json={"reason": "x"}), 404, "plan")
        assert eve_api.get("/v1/plans").json() == []
        refused(ann_api.post(f"{where}/approve", json=yes), 403, "you made it")
        refused(ada_api.post(f"{where}/approve", json={"hash": "0" * 64}), 409, "hash")
        refused(bob_api.post(f"{where}/execute"), 403, "operate")
        done = bob_api.post(f"{where}/approve", json=yes).json()
        assert (done["state"], done["decided_by"], done["decided_by_name"]) == (
            "approved",
            bob,
            "Bob",
        )
        answers = [ann_api.post(f"{where}/execute") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        identity = answers[0].json()["id"]
        assert answers[1].json()["id"] == identity
        _receipt(serving, cloud, ann_api, eve_api, identity, made)


def _receipt(
    serving: Serving,
    cloud: Cloud,
    api: httpx.Client,
    stranger: httpx.Client,
    identity: str,
    made: dict[str, Any],
) -> None:
    where = f"/v1/migrations/{identity}/receipt"
    refused(api.get(f"{where}.jws"), 409, "has not ended")
    cloud.work_until(lambda: serving.control.moves.story(identity).migration.state.final)
    refused(stranger.get(f"{where}.jws"), 404, identity)
    answer = api.get(f"{where}.jws")
    assert answer.headers["content-type"] == "application/jose"
    keys = read_keys(json.dumps(api.get("/v1/keys").json()))
    assert verify(answer.text, keys) == api.get(where).json()
    assert verify(answer.text, keys)["plan_hash"] == made["hash"]


def test_rules_for_schedules(serving: Serving, cloud: Cloud) -> None:
    """What the kept policies demand, and what one would that is only tried."""
    _, stranger = token(serving, "eve", Role.ADMIN, "other")
    limits = "version: 1\nname: two\nproject: default\nlimits: {max_downtime: 2s}\n"
    tried = limits.replace("2s", "1s")
    with serving.client() as root, serving.client(stranger) as eve_api:
        assert put(root, limits).json()["demands"] == ["limits"]
        (shop,) = root.post("/v1/rules", json={}).json()["workloads"]
        assert (shop["workload"], shop["policies"], shop["missing"]) == ("shop", ["two"], [])
        assert shop["rules"] == [
            {"rule": "placement.spot", "value": "false", "policy": ""},
            {"rule": "limits.max_downtime", "value": "2s", "policy": "two"},
        ]
        asked = {"workload": "shop", "document": tried}
        (shop,) = root.post("/v1/rules", json=asked).json()["workloads"]
        assert shop["rules"][1]["value"] == "1s"
        other = tried.replace("two", "one").replace("1s", "3s")
        (shop,) = root.post("/v1/rules", json={"document": other}).json()["workloads"]
        assert (shop["policies"], shop["rules"][1]["policy"]) == (["one", "two"], "two")
        assert eve_api.post("/v1/rules", json={}).json() == {"workloads": []}
        refused(eve_api.post("/v1/rules", json={"workload": "shop"}), 404, "shop")
        refused(root.post("/v1/rules", json={"document": "version: 2"}), 422, "policy")


def test_policies_are_kept_by_administrators_of_their_project(serving: Serving) -> None:
    _, admin = token(serving, "ada", Role.ADMIN)
    _, operator = token(serving, "ann", Role.OPERATOR)
    _, stranger = token(serving, "eve", Role.ADMIN, "other")
    everywhere = POLICY.replace("default", "'*'").replace("two", "all")
    with (
        serving.client() as root,
        serving.client(admin) as ada_api,
        serving.client(operator) as ann_api,
        serving.client(stranger) as eve_api,
    ):
        refused(put(ann_api, POLICY), 403, "admin")
        refused(put(ada_api, everywhere, "all"), 403, "whole fleet")
        assert put(root, everywhere, "all").status_code == 200
        assert put(ada_api, POLICY).status_code == 200
        assert put(ada_api, POLICY).json()["version"] == 1
        assert put(ada_api, POLICY + "description: more\n").json()["version"] == 2
        assert [one["name"] for one in ann_api.get("/v1/policies").json()] == ["all", "two"]
        assert [one["name"] for one in eve_api.get("/v1/policies").json()] == ["all"]
        refused(eve_api.get("/v1/policies/two"), 404, "two")
        refused(eve_api.delete("/v1/policies/two"), 404, "two")
        refused(put(eve_api, POLICY.replace("default", "other")), 403, "default")
        refused(ann_api.delete("/v1/policies/two"), 403, "admin")
        refused(put(ada_api, POLICY, "three"), 422, "is called two")
        refused(put(ada_api, POLICY + "nonsense: 1\n"), 422, "nonsense")
        assert ada_api.delete("/v1/policies/two").status_code == 204
        refused(ada_api.delete("/v1/policies/two"), 404, "two")
        assert ann_api.get("/v1/schemas/policy").json()["title"] == "Document"


def test_a_verdict_begins_nothing(serving: Serving, cloud: Cloud) -> None:
    with serving.client() as api:
        ask = {"workload": "shop", "to": "cloud"}
        assert api.post("/v1/verdicts", json=ask).json()["outcome"] == "allowed"
        night = "version: 1\nname: n\nproject: default\n"
        night += "windows: [{cron: 0 2 * * *, zone: UTC, length: 1h}]\n"
        for at, outcome in (("2026-01-01T02:30:00Z", "allowed"), ("2026-01-01T03:00", "refused")):
            told = api.post("/v1/verdicts", json=ask | {"document": night, "at": at}).json()
            assert told["outcome"] == outcome
        assert told["opens_at"] == "2026-01-02T02:00:00Z"
        assert told["findings"][0]["remedy"] == "wait until 2026-01-02 02:00 UTC"
        refused(api.post("/v1/verdicts", json=ask | {"at": "9999-12-31T23:59:59Z"}), 422, "time")
        assert api.get("/v1/migrations").json() == []
        assert api.get("/v1/plans").json() == []
