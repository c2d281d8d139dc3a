"""Runs, proposals and schedules over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from porter.db.proposals import ProposalRecord, ProposalState
from porter.db.rebalances import Outcome, Trigger
from porter.domain.identity import Role
from porter.schedule.authority import new_run
from tests.unit.web.conftest import Agent, Serving
from tests.unit.web.offered import example
from tests.unit.web.test_api import Cloud, refused
from tests.unit.web.test_plans import token


@pytest.fixture
def cloud(serving: Serving, new_agent: Callable[..., Agent]) -> Cloud:
    return Cloud(serving, new_agent)


def offer(serving: Serving, state: ProposalState, made_by: str = "u-x") -> ProposalRecord:
    """A proposal to move shop, as a run would have made it."""
    now = time.time()
    run = new_run(Trigger.MANUAL, None, None, "default", {}, made_by, now)
    shop = serving.control.found.workload("shop")
    basis = {
        "workload": shop.id,
        "project": "default",
        "generation": shop.generation,
        "host": shop.host,
        "target": "",
        "policies": {},
    }
    made = replace(example(run.id, "shop", "default", now, state, shop=basis), created_by=made_by)
    serving.control.rebalances.add(run, Outcome({}, {}, {}, [], [made]), now)
    return made


def test_a_run_says_why_everything_stays(serving: Serving, cloud: Cloud) -> None:
    with serving.client() as api:
        body = {"seconds": 0.2}
        dry = api.post("/v1/rebalances?dry_run=true", json=body)
        assert dry.status_code == 201, dry.text
        assert dry.json()["stays"]["shop"]["why"]
        assert api.get("/v1/rebalances").json() == []
        assert api.get("/v1/workloads/shop/explanation").json()["outcome"] == "unseen"
        key = {"Idempotency-Key": "once"}
        made = api.post("/v1/rebalances", json=body, headers=key)
        again = api.post("/v1/rebalances", json=body, headers=key)
        assert made.json()["id"] == again.json()["id"]
        [listed] = api.get("/v1/rebalances").json()
        assert (listed["state"], listed["trigger"]) == ("done", "manual")
        found = api.get(made.headers["location"]).json()
        assert found["answer"]["method"]
        assert found["problem"]["jobs"] == 1
        told = api.get("/v1/workloads/shop/explanation").json()
        assert (told["outcome"], told["rebalance"]) == ("stays", found["id"])
        assert told["why"] == found["stays"]["shop"]["why"]
        assert (told["currency"], told["needs"]) == ("USD", "")
        refused(api.post("/v1/rebalances", json={"horizon": 1}), 422, "")
        refused(api.get("/v1/rebalances/none"), 404, "cannot find the run")


def test_decided_by_another_person_and_executed_once(serving: Serving, cloud: Cloud) -> None:
    ann, operator = token(serving, "ann", Role.ADMIN)
    _, approver = token(serving, "bob", Role.APPROVER)
    _, stranger = token(serving, "eve", Role.ADMIN, "other")
    made = offer(serving, ProposalState.WAITING, ann)
    where = f"/v1/proposals/{made.id}"
    with (
        serving.client(operator) as ann_api,
        serving.client(approver) as bob_api,
        serving.client(stranger) as eve_api,
    ):
        assert [one["id"] for one in ann_api.get("/v1/proposals").json()] == [made.id]
        assert eve_api.get("/v1/proposals").json() == []
        refused(eve_api.get(where), 404, "cannot find the proposal")
        problem = refused(ann_api.post(f"{where}/execute"), 409, "another person's approval")
        assert problem["code"] == "approval-required"
        refused(ann_api.post(f"{where}/approve", json={"hash": made.hash}), 403, "you had it made")
        refused(bob_api.post(f"{where}/approve", json={"hash": "0" * 64}), 409, "another one")
        refused(ann_api.get(f"{where}/receipt"), 409, "nothing was done")
        approved = bob_api.post(f"{where}/approve", json={"hash": made.hash, "reason": "fine"})
        assert approved.json()["state"] == "approved"
        dry = ann_api.post(f"{where}/execute?dry_run=true")
        assert (dry.status_code, dry.json()["state"]) == (202, "executing")
        assert ann_api.get(where).json()["state"] == "approved"
        for _ in range(2):
            begun = ann_api.post(f"{where}/execute")
            assert (begun.status_code, begun.json()["state"]) == (202, "executing")
        assert made.id in serving.queue.enqueued
        account = ann_api.get(f"{where}/receipt").json()
        assert (account["paid"], account["saving"], account["unknown"]) == ("0", "0", [])
        told = ann_api.get("/v1/workloads/shop/explanation").json()
        assert (told["outcome"], told["proposal"]) == ("moves", made.id)
        assert (told["sums"]["saving"], told["currency"]) == ("14.4", "USD")
        stopped = ann_api.post(f"{where}/stop", json={"reason": "slow"})
        assert "stopped it: slow" in stopped.json()["stopping"]
        refused(bob_api.post(f"{where}/decline", json={"reason": "late"}), 409, "executing")


def test_a_decline_is_for_those_who_may(serving: Serving, cloud: Cloud) -> None:
    made = offer(serving, ProposalState.OPEN)
    where = f"/v1/proposals/{made.id}"
    _, operator = token(serving, "ann", Role.OPERATOR)
    _, approver = token(serving, "bob", Role.APPROVER)
    with serving.client(operator) as ann_api, serving.client(approver) as bob_api:
        refused(ann_api.post(f"{where}/decline", json={"reason": "no"}), 403, "permission approve")
        refused(bob_api.post(f"{where}/execute"), 403, "permission operate")
        assert bob_api.post(f"{where}/decline", json={"reason": "no"}).json()["state"] == "declined"
        [found] = bob_api.get("/v1/proposals?state=declined").json()
        assert (found["reason"], found["moves"][0]["state"]) == ("no", "pending")
        assert bob_api.get("/v1/proposals?state=open").json() == []


NIGHTLY: dict[str, Any] = {
    "cron": "0 3 * * *",
    "zone": "Europe/Berlin",
    "project": "default",
    "auto": "execute",
    "price_change": 10,
}


def test_schedules_are_kept_by_administrators(serving: Serving) -> None:
    _, admin = token(serving, "ada", Role.ADMIN)
    _, operator = token(serving, "ann", Role.OPERATOR)
    with serving.client(admin) as ada_api, serving.client(operator) as ann_api:
        refused(ann_api.put("/v1/schedules/nightly", json=NIGHTLY), 403, "permission admin")
        kept = ada_api.put("/v1/schedules/nightly", json=NIGHTLY)
        assert kept.status_code == 200, kept.text
        assert kept.json()["next_at"]
        assert kept.json()["spec"]["auto"] == "execute"
        again = ada_api.put("/v1/schedules/nightly", json=NIGHTLY).json()
        assert again["updated_at"] == kept.json()["updated_at"]
        fleet = {key: value for key, value in NIGHTLY.items() if key != "project"}
        refused(ada_api.put("/v1/schedules/all", json=fleet), 403, "whole fleet")
        for wrong, said in (
            ({"cron": "0 3 * *"}, "five fields"),
            ({"zone": "Mars/Base"}, "time zone"),
            ({"cron": "0 0 31 2 *"}, "cron expression"),
        ):
            refused(ada_api.put("/v1/schedules/nightly", json=NIGHTLY | wrong), 422, said)
        assert [one["name"] for one in ann_api.get("/v1/schedules").json()] == ["nightly"]
        assert ann_api.get("/v1/schedules/nightly").json()["zone"] == "Europe/Berlin"
        refused(ann_api.delete("/v1/schedules/nightly"), 403, "permission admin")
        assert ada_api.delete("/v1/schedules/nightly").status_code == 204
        refused(ada_api.get("/v1/schedules/nightly"), 404, "cannot find the schedule")
