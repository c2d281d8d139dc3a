"""Real moves in a real lab, watched and decided on in Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from porter.lab.fleet import wait_until
from tests.browser.conftest import settled, shot, violations
from tests.browser.yard import Yard, opened
from tests.moments import stop_between_commit_and_answer

pytestmark = pytest.mark.e2e
Contexts = Callable[..., BrowserContext]


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with opened("office") as yard:
        yield yard


def entered(yard: Yard, context: Contexts, who: str) -> Page:
    """A window of somebody who is logged in."""
    window = context(base_url=yard.url)
    window.add_cookies([yard.cookie(who)])
    return window.new_page()


def answered(page: Page, target: str, word: str) -> Locator:
    """The target's card with the dry run's word; it is asked once somebody looks at it."""
    card = page.get_by_role("article", name=target)
    card.scroll_into_view_if_needed()
    expect(card.get_by_text(word)).to_be_visible(timeout=30_000)
    return card


def go_there(page: Page, target: str) -> None:
    """From the workload's page: wait for the dry run's word, and move."""
    card = answered(page, target, "can move")
    card.get_by_role("button", name="Move it here").click()
    page.get_by_role("dialog").get_by_role("button", name="Move it").click()


def ended(page: Page, state: str) -> None:
    expect(page.locator("#story > .head .badge")).to_have_text(state, timeout=60_000)
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()


def test_a_move_is_begun_watched_and_finished(yard: Yard, context: Contexts) -> None:
    page = settled(entered(yard, context, "ada"), "/workloads/shop")
    here, there = yard.host(), yard.other()
    answered(page, there, "can move")
    shot(page, "shop-before")
    assert not violations(page)
    go_there(page, there)
    page.wait_for_url(re.compile("/migrations/m"))
    steps = page.get_by_role("region", name="Steps in time")
    expect(steps.get_by_role("row", name=re.compile("freeze and hand over"))).to_contain_text(
        "running", timeout=30_000
    )
    shot(page, "move-under-way")
    ended(page, "succeeded")
    expect(steps.get_by_role("row", name=re.compile("part of the pause"))).not_to_have_count(0)
    expect(page.get_by_role("list", name="Events")).to_contain_text("settle")
    expect(page.locator("[data-link]")).to_contain_text("/s")
    assert yard.host() == there
    assert yard.fleet.running("shop", ("onprem", "cloud")) == [there]
    shot(page, "move-done")
    assert not violations(page)
    settled(page, "/workloads/shop")
    expect(page.get_by_text(here, exact=True).first).to_be_visible()
    shot(page, "shop-after")


def test_a_move_is_rolled_back(yard: Yard, context: Contexts) -> None:
    here, there = yard.host(), yard.other()
    receipt = yard.fleet.migrate("shop", there)
    assert receipt["state"] == "succeeded", receipt["reason"]
    page = settled(entered(yard, context, "ada"), f"/migrations/{receipt['id']}")
    page.get_by_role("button", name="Roll back").click()
    shot(page, "rollback-asked", whole=False)
    page.get_by_role("dialog").get_by_role("button", name="Move it back").click()
    page.wait_for_url(lambda url: receipt["id"] not in url)
    ended(page, "succeeded")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"shop: {there} → {here}")
    assert yard.host() == here
    assert not violations(page)
    shot(page, "rollback-done")


def test_a_plan_is_approved_by_another_person(yard: Yard, context: Contexts) -> None:
    there = yard.other()
    site = next(one["site"] for one in yard.fleet.json("host", "ls") if one["name"] == there)
    eve = settled(entered(yard, context, "eve"), "/policies")
    eve.get_by_role("button", name="New policy").click()
    asked = eve.get_by_role("dialog", name="New policy")
    words = f"version: 1\nname: two-people\nproject: default\napproval:\n  to: ['{site}']\n"
    asked.get_by_label("Document").fill(words)
    asked.get_by_role("button", name="Save").click()
    eve.wait_for_url("**/policies/two-people")

    ada = settled(entered(yard, context, "ada"), "/workloads/shop")
    card = answered(ada, there, "needs approval")
    shot(ada, "approval-needed")
    assert not violations(ada)
    card.get_by_role("button", name="Propose it").click()
    ada.get_by_role("dialog").get_by_role("button", name="Propose it").click()
    ada.wait_for_url(re.compile("/plans/p"))
    expect(ada.get_by_text("another person must approve it")).to_be_visible()
    expect(ada.get_by_role("button", name="Approve")).to_have_count(0)
    digest = ada.locator("dd .hash").text_content() or ""

    ben = settled(entered(yard, context, "ben"), "/plans")
    shot(ben, "proposals")
    assert not violations(ben)
    ben.get_by_role("row", name="shop").get_by_role("link").first.click()
    ben.get_by_role("button", name="Approve").click()
    question = ben.get_by_role("dialog", name="Approve this plan")
    expect(question).to_contain_text(digest)
    question.get_by_label("Why").fill("looked at the sums")
    shot(ben, "approval-asked", whole=False)
    question.get_by_role("button", name="Approve it").click()
    expect(ben.get_by_text("Ben approved it")).to_be_visible()
    assert not violations(ben)
    shot(ben, "approval-given")

    settled(ada, ada.url)
    ada.get_by_role("button", name="Carry it out").click()
    ada.get_by_role("dialog").get_by_role("button", name="Move it").click()
    ada.wait_for_url(re.compile("/migrations/m"))
    ended(ada, "succeeded")
    assert yard.host() == there
    settled(eve, "/policies/two-people")
    eve.get_by_role("button", name="Remove").click()
    eve.get_by_role("dialog").get_by_role("button", name="Remove it").click()
    eve.wait_for_url("**/policies")


def test_a_hold_is_resolved(yard: Yard, context: Contexts) -> None:
    """The target loses its power right after the commit, for good."""
    source, target = yard.host(), yard.other()
    made = yard.fleet.json("migrate", "shop", "--to", target, "--detach")["id"]
    stop_between_commit_and_answer(yard.fleet, "shop", source, target)
    yard.fleet.lab.kill(target)
    page = settled(entered(yard, context, "ada"), f"/migrations/{made}")
    expect(page.locator("#story > .head .badge")).to_have_text("held", timeout=90_000)
    wait_until(
        f"{target} to be missed",
        lambda: (
            not next(one for one in yard.fleet.json("host", "ls") if one["name"] == target)["alive"]
        ),
        60,
    )
    shot(page, "hold")
    assert not violations(page)
    page.get_by_role("button", name="Resolve").click()
    question = page.get_by_role("dialog", name="Resolve the hold")
    question.get_by_role("radio", name=f"I have powered {target} off").check()
    question.get_by_label("Why").fill("its power supply burnt")
    assert not violations(page)
    shot(page, "hold-asked", whole=False)
    question.get_by_role("button", name="Decide").click()
    ended(page, "rolled back")
    expect(page.get_by_text("its power supply burnt").first).to_be_visible()
    assert yard.host() == source
    assert yard.fleet.running("shop", (source,)) == [source]
    assert not violations(page)
    shot(page, "hold-resolved")
