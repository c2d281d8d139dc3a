"""`porter.client` against a served API and simulated hosts: what it reads is what is answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from porter.client import Conflict, Denied, NotFound, Porter, StillUnderWay
from tests.unit.web.conftest import TOKEN, Serving, new_agent, serving  # noqa: F401
from tests.unit.web.test_api import Cloud, cloud  # noqa: F401

pytestmark = pytest.mark.integration


@pytest.fixture
def porter(serving: Serving) -> Iterator[Porter]:  # noqa: F811
    with Porter(serving.url, TOKEN) as found:
        yield found


class Working:
    """Hosts and engine at work for as long as the body runs."""

    def __init__(self, cloud: Cloud) -> None:  # noqa: F811
        self.over = threading.Event()
        self.thread = threading.Thread(target=cloud.work_until, args=(self.over.is_set,))

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def test_a_move_there_and_back(porter: Porter, cloud: Cloud) -> None:  # noqa: F811
    with Working(cloud):
        assert porter.preflight("shop", to="cloud").ok
        moved = porter.migrate("shop", to="cloud", mode="cold", wait=60)
        assert (moved.state, moved.source, moved.target) == ("succeeded", "onprem", "cloud")
        assert {step.kind for step in moved.steps} >= {"reserve", "handover", "settle"}
        receipt = moved.receipt()
        assert (receipt.succeeded, receipt.generation) == (True, 2)
        assert receipt.raw["downtime_ms"] == receipt.downtime_ms
        assert porter.workload("shop").host == "cloud"
        back = moved.rollback()
        assert back.id != moved.id
        assert back.wait(60).succeeded
        assert porter.receipt(back.id).undoes == moved.id
    assert [one.id for one in porter.migrations()] == [back.id, moved.id]
    assert porter.migrations(state="failed") == []
    told = []
    for event in moved.events():
        told.append(event)
        if event.type == "io.porter.migration.succeeded":
            break
    numbers = [int(event.id) for event in told]
    assert numbers == sorted(set(numbers))
    assert {event.migration for event in told} == {moved.id}
    done = [event.data["data"]["step"] for event in told if event.type == "io.porter.step.done"]
    assert done == [step.kind for step in moved.steps]


def test_lists(porter: Porter, cloud: Cloud) -> None:  # noqa: F811
    assert {(one.name, one.alive) for one in porter.hosts()} == {("onprem", True), ("cloud", True)}
    assert porter.host("onprem").workloads == ("shop",)
    (workload,) = porter.workloads(state="running")
    assert (workload.name, workload.host, workload.generation) == ("shop", "onprem", 1)
    assert porter.workloads(name="x") == []
    assert porter.checkpoints() == []


def test_plans_and_verdicts(porter: Porter, cloud: Cloud) -> None:  # noqa: F811
    verdict = porter.verdict("shop", to="cloud")
    assert (verdict.outcome, verdict.findings) == ("allowed", ())
    plan = porter.create_plan("shop", to="cloud", mode="cold", lifetime=600)
    assert plan.verdict == verdict
    assert [one.id for one in porter.plans(workload="shop")] == [plan.id]
    with Working(cloud):
        assert porter.execute_plan(plan.id, wait=60).succeeded
    assert porter.plan(plan.id).migration is not None
    other = porter.create_plan("shop", to="onprem")
    assert porter.decline_plan(other.id, "no need").reason == "no need"
    with pytest.raises(Conflict):
        porter.execute_plan(other.id)


def test_a_dry_run_a_limit_and_a_cancellation(porter: Porter, cloud: Cloud) -> None:  # noqa: F811
    rehearsed = porter.migrate("shop", to="cloud", dry_run=True)
    assert rehearsed.plan is not None
    assert porter.migrations() == []
    with pytest.raises(StillUnderWay) as caught:
        porter.migrate("shop", to="cloud", wait=0, idempotency_key="one")
    again = porter.migrate("shop", to="cloud", idempotency_key="one")
    assert again.id == caught.value.migration
    with pytest.raises(Conflict) as refused:
        porter.migrate("shop", to="cloud")
    assert refused.value.request_id
    assert refused.value.type.startswith("/problems/")
    assert again.cancel().cancel_requested
    with Working(cloud):
        assert again.wait(60).state == "rolled_back"


def test_refusals(porter: Porter, serving: Serving) -> None:  # noqa: F811
    with pytest.raises(NotFound):
        porter.workload("nobody")
    with Porter(serving.url, "wrong") as stranger, pytest.raises(Denied):
        stranger.hosts()
