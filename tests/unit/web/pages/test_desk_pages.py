"""The pages of workloads and migrations, as a browser without scripts gets them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import httpx
import pytest

from porter.db.proposals import ProposalState
from tests.unit.web.conftest import Serving
from tests.unit.web.test_api import Cloud, cloud
from tests.unit.web.test_checkpoints import Site, site
from tests.unit.web.test_scheduling import offer

__all__ = ["cloud", "site"]


@pytest.fixture
def web(serving: Serving) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


def page(web: httpx.Client, path: str, **headers: str) -> str:
    answer = web.get(path, headers={"Accept": "text/html", **headers})
    assert answer.status_code == 200, answer.text
    # The policy forbids both: a page with one of them looks broken.
    assert not re.search(r"\sstyle=|<script>|\son\w+=", answer.text)
    return answer.text


def test_without_anything_the_next_step_is_told(web: httpx.Client) -> None:
    assert "porter.enable=true" in page(web, "/workloads")
    assert "porter migrate NAME" in page(web, "/migrations")


def test_workloads_are_found_and_filtered(web: httpx.Client, cloud: Cloud) -> None:
    assert 'href="/workloads/shop"' in page(web, "/workloads?q=SHO")
    assert "No workload is like that" in page(web, "/workloads?q=nothing")
    assert "No workload is like that" in page(web, "/workloads?site=elsewhere")


def test_a_workload_tells_where_it_is_and_could_go(web: httpx.Client, cloud: Cloud) -> None:
    shown = page(web, "/workloads/shop")
    assert "No run of the optimiser has looked at it yet" in shown
    assert 'hx-get="/workloads/shop/targets/cloud"' in shown
    assert 'targets/onprem"' not in shown
    answer = web.get("/workloads/nobody")
    assert answer.status_code == 404
    assert "text/html" in answer.headers["content-type"]


def test_a_workload_tells_of_the_proposal_that_would_move_it(
    web: httpx.Client, cloud: Cloud
) -> None:
    made = offer(cloud.serving, ProposalState.OPEN)
    shown = page(web, "/workloads/shop")
    assert "It is to move from onprem to cloud" in shown
    assert "<strong>14.40 USD</strong> over 30 days" in shown
    assert f'href="/proposals/{made.id}"' in shown
    web.post(f"/v1/proposals/{made.id}/decline", json={"reason": "no"})
    assert "It would be cheaper to have it moved" in page(web, "/workloads/shop")


def asked(web: httpx.Client, cloud: Cloud, path: str, **headers: str) -> str:
    """A page that waits for the hosts' answers."""
    found: list[str] = []
    asking = threading.Thread(target=lambda: found.append(page(web, path, **headers)))
    asking.start()
    cloud.work_until(lambda: not asking.is_alive())
    asking.join()
    return found[0]


def test_a_target_is_asked(web: httpx.Client, cloud: Cloud) -> None:
    piece = asked(web, cloud, "/workloads/shop/targets/cloud", **{"HX-Request": "true"})
    assert "<html" not in piece
    assert "can move" in piece
    assert "Expected pause" in piece
    assert "a guess: no cold move was ever measured here" in piece
    assert 'data-api="POST /v1/migrations"' in piece
    whole = asked(web, cloud, "/workloads/shop/targets/cloud")
    assert "<html" in whole
    assert "cannot find" in page(web, "/workloads/shop/targets/nowhere")


def test_a_migration_is_shown_from_its_beginning_to_its_receipt(
    web: httpx.Client, cloud: Cloud
) -> None:
    made = web.post("/v1/migrations", json={"workload": "shop", "to": "cloud"}).json()["id"]
    shown = page(web, f"/migrations/{made}")
    assert f'data-api="POST /v1/migrations/{made}/cancel"' in shown
    assert "Receipt" not in shown
    cloud.work_until(lambda: web.get(f"/v1/migrations/{made}").json()["state"] == "succeeded")
    cloud.beat()
    shown = page(web, f"/migrations/{made}/live")
    assert "<html" not in shown
    assert "Receipt" in shown
    assert f'data-api="POST /v1/migrations/{made}/rollback"' in shown
    assert "freeze and hand over" in shown
    assert "Expected pause" in shown
    assert "what was likely" in shown
    told = page(web, "/forecasts?workload=shop")
    assert "One move that succeeded of shop" in told
    assert "the factor" in told
    assert made in page(web, "/migrations?state=succeeded&host=cloud")
    assert made not in page(web, "/migrations?state=active")
    assert f'href="/migrations/{made}">how it came' in page(web, "/workloads/shop")


def test_a_kept_checkpoint_can_be_restored_or_removed(web: httpx.Client, site: Site) -> None:
    kept = site.take(web)
    shown = page(web, "/workloads/shop")
    assert f'data-api="POST /v1/checkpoints/{kept}/restore"' in shown
    assert f'data-api="DELETE /v1/checkpoints/{kept}"' in shown
    assert 'data-api="POST /v1/checkpoints"' in shown
