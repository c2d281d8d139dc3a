"""What the port authority brings, as people use it: runs, proposals, schedules and webhooks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import BrowserContext, Page, expect

from porter.db import tables as t
from porter.db.proposals import MoveState, Progress, ProposalRecord, ProposalState
from porter.domain.identity import Grant, Role
from porter.web.access import SESSION
from tests.browser.conftest import LOOKS, PHONE, Office, settled, shot, tour, violations
from tests.unit.web.rich import NEW, SPOT, asked, outcome, rich, stay, stood

Contexts = Callable[..., BrowserContext]
STAYS = {
    "billing": stay(
        "residency",
        "policy eu-only: aws:us-east-1 is not among its sites",
        "allow aws:us-east-1 in that policy",
        "aws:us-east-1/t3.large/on_demand",
        9.12,
    ),
    "search": stay("cheapest", "it is where it costs least"),
    "mail": stay(
        "min-saving",
        "mail moves for 10.00 USD at least; it saves 4.10",
        "a saving of 5.90 USD more",
        "rack-2",
        4.1,
    ),
    **{f"render-{n:02}": stay("spot", "no policy allows it on spot machines") for n in range(17)},
}
NIGHTLY = {"cron": "0 3 * * *", "zone": "Europe/Berlin", "project": "default", "interruption": True}
HASHES = {name: f"{number:x}" * 64 for number, name in enumerate(("wait", "run", "open"), 10)}


class Authority:
    """Ada runs the optimiser, Ben approves; the rows are what a run would have written."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.people = {}
        for who, role in (("ada", Role.OPERATOR), ("ben", Role.APPROVER), ("eve", Role.ADMIN)):
            now = time.time()
            made = office.control.identity.login("https://id.example", who, who.title(), "", now)
            office.control.identity.grant(made.id, Grant("*", role), "root", now)
            self.people[who] = made.id

    def page(self, context: Contexts, who: str, path: str, **look: Any) -> Page:
        window = context(base_url=self.office.url, **look)
        secret, _ = self.office.control.identity.begin_session(self.people[who], time.time())
        window.add_cookies([{"name": SESSION, "value": secret, "url": self.office.url}])
        return settled(window.new_page(), path)

    def offer(
        self, name: str, names: tuple[str, ...], state: ProposalState, schedule: str | None = None
    ) -> ProposalRecord:
        now = time.time()
        by = self.people["ada"] if schedule is None else f"schedule {schedule}"
        run = asked(by, now, schedule)
        made = rich(run, names, now, state)
        made = replace(made, id=f"o-{name}", hash=HASHES[name])
        self.office.control.rebalances.add(run, outcome(STAYS, [made]), now)
        return made

    def under_way(self, made: ProposalRecord, migration: str) -> None:
        """Its first move is done, the second has begun."""
        proposals = self.office.control.proposals
        now = time.time()
        with self.office.control.database.write() as c:
            began = {"started": now - 5400}
            c.execute(sa.update(t.proposals).where(t.proposals.c.id == made.id).values(**began))
        carrying = proposals.claim(made.id, now, 60)
        assert carrying is not None
        first, second = carrying.moves[:2]
        done = replace(first, state=MoveState.DONE, begun=now - 40, ended=now - 20)
        begun = replace(second, state=MoveState.BEGUN, begun=now, migration=migration)
        assert proposals.apply(carrying, Progress(now, now + 60, [done, begun]))


@pytest.fixture
def port(busy: Office) -> Authority:
    """One proposal waits, one is under way, one is ready; a schedule and a webhook are there."""
    authority = Authority(busy)
    with busy.api() as api:
        assert api.put("/v1/schedules/nightly", json=NIGHTLY).is_success
        body = {"url": "https://203.0.114.7/porter", "types": ["migration.", "proposal."]}
        hook = api.post("/v1/webhooks", json=body)
        assert hook.is_success, hook.text
    database, now = busy.control.database, time.time()
    stood(database, "c5-a", now - 86400)
    (moving,) = busy.control.moves.active().values()
    stood(database, NEW, now - 60, SPOT, moving)
    running = authority.offer("run", ("queue", "sessions", "cart"), ProposalState.EXECUTING)
    authority.under_way(running, moving)
    authority.offer("open", ("queue-2", "sessions-2"), ProposalState.OPEN, "nightly")
    authority.offer("wait", ("shop-cache", "search-2", "billing-2"), ProposalState.WAITING)
    return authority


def pages(port: Authority) -> dict[str, str]:
    (hook,) = port.office.control.webhooks.all()
    run = port.office.control.rebalances.all()[0].id
    return {
        "proposals": "/proposals",
        "proposals-none": "/proposals?state=declined",
        "proposal": "/proposals/o-wait",
        "proposal-running": "/proposals/o-run",
        "rebalances": "/rebalances",
        "rebalance": f"/rebalances/{run}",
        "schedules": "/schedules",
        "forecasts": "/forecasts",
        "webhooks": "/webhooks",
        "webhook": f"/webhooks/{hook.id}",
        "workload-stays": "/workloads/billing",
    }


@pytest.mark.parametrize("look", LOOKS, ids=("light", "dark", "phone"))
def test_nothing_is_in_anybodys_way(port: Authority, context: Contexts, look: Any) -> None:
    scheme, size = look
    page = port.page(context, "eve", "/proposals", scheme=scheme, size=size)
    name = "phone" if size == PHONE else scheme
    assert not tour(page, port.office, pages(port), name)


def test_a_second_person_approves_and_it_is_carried_out(port: Authority, context: Contexts) -> None:
    ada = port.page(context, "ada", "/")
    ada.keyboard.press("g")
    ada.keyboard.press("p")
    ada.wait_for_url("**/proposals")
    first = ada.get_by_role("list", name="Proposals").get_by_role("listitem").first
    expect(first).to_contain_text("waiting")
    expect(first).to_contain_text("over 30 days")
    first.get_by_role("link", name="Move shop-cache").click()
    expect(ada.get_by_text("another person must approve it")).to_be_visible()
    expect(ada.get_by_role("button", name="Approve")).to_have_count(0)

    ben = port.page(context, "ben", "/proposals/o-wait")
    ben.get_by_role("button", name="Approve").click()
    dialog = ben.get_by_role("dialog", name="Approve this proposal")
    expect(dialog).to_contain_text(HASHES["wait"])
    dialog.get_by_label("Why").fill("the sums are right")
    assert not violations(ben)
    shot(ben, "proposal-approve", whole=False)
    dialog.get_by_role("button", name="Approve it").click()
    expect(ben.locator(".head .badge")).to_have_text("approved")
    # Ada's page has heard of it.
    expect(ada.locator(".head .badge")).to_have_text("approved")
    ada.get_by_role("button", name="Carry it out").click()
    dialog = ada.get_by_role("dialog", name="Carry the proposal out")
    assert not violations(ada)
    shot(ada, "proposal-execute", whole=False)
    dialog.get_by_role("button", name="Begin").click()
    # Its workloads are not there: what the API says is told.
    expect(dialog.get_by_role("alert")).to_contain_text("lapsed")
    shot(ada, "proposal-lapsed", whole=False)
    dialog.get_by_role("button", name="Not now").click()
    expect(ada.locator(".head .badge")).to_have_text("lapsed")
    expect(ada.get_by_role("link", name="Ask the optimiser again")).to_be_visible()


def test_a_proposal_is_followed_and_stopped(port: Authority, context: Contexts) -> None:
    page = port.page(context, "ada", "/proposals/o-run")
    moves = page.get_by_role("region", name="Moves, wave by wave")
    expect(moves.get_by_role("row", name="queue")).to_contain_text("done")
    expect(moves.get_by_role("row", name="sessions")).to_contain_text("begun")
    proposals = port.office.control.proposals
    with port.office.control.database.write() as c:
        c.execute(sa.update(t.proposals).values(lease_until=None))
    carrying = proposals.claim("o-run", time.time(), 60)
    assert carrying is not None
    done = replace(carrying.moves[1], state=MoveState.DONE, ended=time.time())
    assert proposals.apply(carrying, Progress(time.time(), time.time() + 60, [done]))
    expect(moves.get_by_role("row", name="sessions")).to_contain_text("done")
    page.get_by_role("button", name="Stop").click()
    dialog = page.get_by_role("dialog", name="Stop it")
    dialog.get_by_label("Why").fill("the shop is full of people")
    shot(page, "proposal-stop", whole=False)
    dialog.get_by_role("button", name="Begin no further move").click()
    expect(page.get_by_text("Ada stopped it: the shop is full of people")).to_be_visible()
    assert not violations(page)
    shot(page, "proposal-stopping")


def test_a_proposal_is_declined_with_a_reason(port: Authority, context: Contexts) -> None:
    page = port.page(context, "ben", "/proposals/o-open")
    page.get_by_role("button", name="Decline").click()
    dialog = page.get_by_role("dialog", name="Decline this proposal")
    dialog.get_by_label("Why").fill("not before the sale")
    assert not violations(page)
    dialog.get_by_role("button", name="Decline it").click()
    expect(page.locator(".head .badge")).to_have_text("declined")
    expect(page.get_by_text("Ben declined it: not before the sale")).to_be_visible()
    assert not violations(page)
    shot(page, "proposal-declined")


def test_what_stays_is_searched(port: Authority, context: Contexts) -> None:
    run = port.office.control.rebalances.all()[0].id
    page = port.page(context, "ada", f"/rebalances/{run}")
    expect(page.get_by_text("Proven within 0.4 % of the best")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("residency")
    expect(page.get_by_text("1 of 20 workloads")).to_be_visible()
    row = page.get_by_role("row", name="billing")
    expect(row).to_contain_text("allow aws:us-east-1 in that policy")
    assert not violations(page)
    shot(page, "stays-searched")
    row.get_by_role("link", name="billing").click()
    card = page.get_by_role("region", name="Why it is here")
    expect(card).to_contain_text("allow aws:us-east-1 in that policy")
    expect(card).to_contain_text("which would save 9.12")


def test_the_optimiser_is_asked_only_to_look(busy: Office, context: Contexts) -> None:
    page = Authority(busy).page(context, "ada", "/proposals")
    page.get_by_role("link", name="Ask it now").click()
    page.get_by_role("button", name="Run now").click()
    dialog = page.get_by_role("dialog", name="Run the optimiser")
    dialog.get_by_label("It may think for").fill("0.2")
    busy.keep_alive()
    dialog.get_by_role("button", name="Only look").click()
    expect(dialog.get_by_role("status")).to_contain_text("Nothing would be proposed")
    assert not violations(page)
    shot(page, "run-looked", whole=False)
    assert busy.control.rebalances.all() == []
    dialog.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/rebalances/r*")
    expect(page.get_by_role("heading", name="What stays, and why")).to_be_visible()
    shot(page, "run-done")


def test_a_schedule_is_added_and_removed(busy: Office, context: Contexts) -> None:
    page = Authority(busy).page(context, "eve", "/schedules")
    page.get_by_role("button", name="Add a schedule").click()
    dialog = page.get_by_role("dialog", name="Add a schedule")
    dialog.get_by_label("Name", exact=True).fill("nightly")
    dialog.get_by_label("Time zone").fill("Mars/Base")
    dialog.get_by_label("a machine is about to be taken away").check()
    dialog.get_by_label("a price changed by more than").fill("10")
    dialog.get_by_role("button", name="Add it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("time zone")
    assert not violations(page)
    shot(page, "schedule-refused", whole=False)
    dialog.get_by_label("Time zone").fill("Europe/Berlin")
    dialog.get_by_role("button", name="Add it").click()
    row = page.get_by_role("row", name="nightly")
    expect(row).to_contain_text("a price changed by more than 10 %")
    expect(row).to_contain_text("in ")
    assert not violations(page)
    shot(page, "schedule-added")
    row.get_by_role("button", name="Remove nightly").click()
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    expect(page.get_by_text("There are no schedules")).to_be_visible()


def test_a_webhooks_secret_is_shown_once(busy: Office, context: Contexts) -> None:
    page = Authority(busy).page(context, "eve", "/webhooks")
    page.get_by_role("button", name="Add a webhook").click()
    dialog = page.get_by_role("dialog", name="Add a webhook")
    dialog.get_by_label("URL").fill("https://10.0.0.1/in")
    dialog.get_by_role("button", name="Add it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("private address")
    dialog.get_by_label("URL").fill("https://203.0.114.7/in")
    dialog.get_by_label("migration.").check()
    assert not violations(page)
    shot(page, "webhook-asked", whole=False)
    dialog.get_by_role("button", name="Add it").click()
    made = page.get_by_role("dialog", name="shown this once")
    secret = made.locator("[data-secret]").text_content() or ""
    assert secret.startswith("whsec_")
    assert not violations(page)
    shot(page, "webhook-secret", whole=False)
    made.get_by_role("button", name="I have kept it").click()
    page.wait_for_url("**/webhooks/wh*")
    assert secret not in page.content()
    expect(page.get_by_text("Nothing has been sent yet")).to_be_visible()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_role("row", name="io.porter.webhook.test")).to_contain_text("pending")
    page.get_by_role("button", name="New secret").click()
    dialog = page.get_by_role("dialog", name="Make a new secret")
    dialog.get_by_role("button", name="Make it").click()
    renewed = page.get_by_role("dialog", name="shown this once").locator("[data-secret]")
    expect(renewed).to_contain_text("whsec_")
    assert renewed.text_content() != secret
    page.get_by_role("button", name="I have kept it").click()
    page.get_by_role("button", name="Disable").click()
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    expect(page.get_by_text("Eve did so")).to_be_visible()
    row = page.get_by_role("row", name="io.porter.webhook.test")
    expect(row).to_contain_text("cancelled")
    assert not violations(page)
    shot(page, "webhook-disabled")
    page.get_by_role("button", name="Enable").click()
    page.get_by_role("button", name="Replay").click()
    dialog = page.get_by_role("dialog", name="Send events again")
    dialog.get_by_role("button", name="Send", exact=True).click()
    expect(row).to_contain_text("pending")
