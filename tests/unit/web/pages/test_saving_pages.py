"""The pages of runs, proposals, schedules, forecasts and webhooks, as served."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from porter.db.proposals import ProposalRecord, ProposalState
from porter.domain.identity import Role
from tests.unit.web.conftest import Serving, served
from tests.unit.web.pages.test_desk_pages import page
from tests.unit.web.rich import FORETOLD, asked, outcome, rich, stay, stood
from tests.unit.web.test_plans import token
from tests.unit.web.test_scheduling import NIGHTLY

STAYS = {
    "db": stay("residency", "policy eu: aws:us-east-1 is forbidden", "allow it", "x-1", 12.5),
    "mail": stay("cheapest", "it is where it costs least", "", "rack-2", -0.0),
    "shop": stay("cheapest", "it is where it costs least", "", "rack-2", -4.5),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with served(tmp_path_factory.mktemp("saving")) as serving:
        yield serving


@pytest.fixture(scope="module")
def web(place: Serving) -> Iterator[httpx.Client]:
    with place.client() as client:
        yield client


@pytest.fixture(scope="module")
def ann(place: Serving) -> str:
    return token(place, "ann", Role.OPERATOR)[0]


def offered(
    place: Serving, by: str, name: str, state: ProposalState, **more: object
) -> ProposalRecord:
    now = time.time()
    run = asked(by, now)
    made = replace(rich(run, (f"{name}-1", f"{name}-2"), now, state), id=f"o-{name}", **more)  # type: ignore[arg-type]
    place.control.rebalances.add(run, outcome(STAYS, [made]), now)
    return made


def test_without_anything_the_next_step_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    with served(tmp_path_factory.mktemp("empty")) as serving, serving.client() as web:
        assert "Nobody has asked the optimiser yet" in page(web, "/proposals")
        assert "porter rebalance run --dry-run" in page(web, "/rebalances")
        assert "porter schedule add nightly" in page(web, "/schedules")
        assert "Move one of the" in page(web, "/forecasts")
        assert "porter webhook add" in page(web, "/webhooks")


def test_what_waits_for_approval_comes_first(place: Serving, web: httpx.Client, ann: str) -> None:
    offered(place, ann, "wait", ProposalState.WAITING)
    offered(place, "schedule nightly", "open", ProposalState.OPEN)
    shown = page(web, "/proposals")
    assert shown.index("o-wait") < shown.index("o-open")
    assert "Move wait-1 and wait-2" in shown
    assert "<strong>111.78</strong> <span>USD saved over 30 days" in shown
    assert 'href="/schedules#nightly"' in shown
    assert "o-open" not in page(web, "/proposals?state=waiting")
    assert "No proposal is like that" in page(web, "/proposals?state=stopped")
    assert 'href="/proposals" data-key="p" aria-current="true"' in page(web, "/plans?state=all")


def test_a_proposal_shows_sums_waves_and_what_one_may(place: Serving, ann: str) -> None:
    made = offered(place, ann, "sums", ProposalState.WAITING)
    _, mine = token(place, "ann", Role.OPERATOR)
    _, other = token(place, "bob", Role.APPROVER)
    with place.client(mine) as web:
        shown = page(web, f"/proposals/{made.id}")
        assert "You had it made: another person must approve it" in shown
        assert 'data-opens="approve"' not in shown
        assert 'data-opens="decline"' in shown
    with place.client(other) as web:
        shown = page(web, f"/proposals/{made.id}")
        assert f'name="hash" value="{made.hash}"' in shown
        assert 'data-opens="approve"' in shown
        assert 'data-opens="execute"' not in shown
    for word in ("Wave 2", "138.24", "aws price list", "2026-11-26", "2 moves to rack-2", "ann"):
        assert word.lower() in shown.lower()
    assert shown.count(FORETOLD) == 2, "beside the new machine, and in the sums"
    assert re.search(r'<rect class="once" x="[\d.]+" width="0\.\d+"', shown)


def test_one_that_is_carried_out_has_an_account_and_can_be_stopped(
    place: Serving, web: httpx.Client
) -> None:
    stood(place.control.database, "c5-a", time.time() - 7200)
    made = offered(place, "u-x", "run", ProposalState.EXECUTING)
    shown = page(web, f"/proposals/{made.id}")
    assert "Saved until now" in shown
    assert "0.192 USD an hour</td>" in shown
    assert "it runs" in shown
    assert 'data-opens="stop"' in shown
    assert f'data-api="POST /v1/proposals/{made.id}/stop"' in shown
    assert web.post(f"/v1/proposals/{made.id}/stop", json={"reason": "lunch"}).status_code == 202
    shown = page(web, f"/proposals/{made.id}")
    assert "no further move begins: root stopped it: lunch" in shown
    assert 'data-opens="stop"' not in shown


def test_a_run_says_how_good_it_is_and_why_the_rest_stays(
    place: Serving, web: httpx.Client, ann: str
) -> None:
    made = offered(place, ann, "why", ProposalState.OPEN)
    shown = page(web, f"/rebalances/{made.rebalance}")
    assert "Proven within 0.4 % of the best" in shown
    assert "allow it" in shown
    assert "x-1, which would save 12.50 USD" in shown
    assert "rack-2, which would save nothing" in shown
    assert "rack-2, which would cost 4.50 USD more" in shown
    found = page(web, f"/rebalances/{made.rebalance}?q=RESIDENCY+db")
    assert 'href="/workloads/db"' in found
    assert 'href="/workloads/mail"' not in found
    assert "None is like that" in page(web, f"/rebalances/{made.rebalance}?q=nothing")
    listed = page(web, "/rebalances")
    assert made.rebalance in listed
    assert 'data-api="POST /v1/rebalances"' in listed
    assert '<option value="172800" selected>2 days</option>' in listed


def test_a_schedule_tells_when_and_what_then(web: httpx.Client) -> None:
    assert web.put("/v1/schedules/weekly", json=NIGHTLY).status_code == 200
    shown = page(web, "/schedules")
    assert "a price changed by more than 10 %" in shown
    assert "carries out what needs no approval" in shown
    assert 'data-api="DELETE /v1/schedules/weekly"' in shown
    assert "has not run yet" in page(web, "/rebalances?schedule=weekly")


def test_a_webhook_with_its_log(place: Serving, web: httpx.Client) -> None:
    body = {"url": "https://203.0.114.7/in", "project": "shop", "types": ["migration."]}
    hook = web.post("/v1/webhooks", json=body).json()
    assert "enabled" in page(web, "/webhooks")
    where = f"/webhooks/{hook['id']}"
    assert "Nothing has been sent yet" in page(web, where)
    web.post(f"/v1{where}/test")
    shown = page(web, where)
    assert "io.porter.webhook.test" in shown
    assert 'hx-trigger="every 2s"' in shown
    web.post(f"/v1{where}/disable")
    shown = page(web, where)
    assert "root did so" in shown
    assert f'data-api="POST /v1{where}/enable"' in shown
    assert hook["secret"] not in shown
    _, reader = token(place, "eve", Role.VIEWER, "shop")
    with place.client(reader) as eve:
        shown = page(eve, where)
        assert "secret-path" not in shown
        assert f"/v1{where}/" not in shown
        assert "Add a webhook" not in page(eve, "/webhooks")


def test_refusals_are_pages(web: httpx.Client) -> None:
    for path in ("/proposals/none", "/rebalances/none", "/webhooks/none"):
        answer = web.get(path)
        assert answer.status_code == 404
        assert "What to do" in answer.text
