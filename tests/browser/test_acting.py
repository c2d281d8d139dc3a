"""What hosts' and sites' pages change, they change through the API, and say so when it refuses."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, expect

from porter.providers.base import Instance, InstanceState
from porter.providers.fake import WORLDS
from tests.browser.conftest import Office, settled, shot, violations

Contexts = Callable[..., BrowserContext]


def desk(office: Office, context: Contexts) -> Page:
    window = context(base_url=office.url)
    window.add_cookies([office.cookie()])
    return window.new_page()


def test_a_host_is_removed_after_a_question(busy: Office, context: Contexts) -> None:
    page = settled(desk(busy, context), "/hosts/edge-7")
    expect(page.get_by_text("Nothing has been heard of this host")).to_be_visible()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert busy.control.registry.host("edge-7")
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    page.wait_for_url("**/hosts")
    expect(page.get_by_text("4 of 4 hosts")).to_be_visible()


def test_a_refusal_is_told_with_its_remedy(busy: Office, context: Contexts) -> None:
    page = settled(desk(busy, context), "/hosts/rack-1")
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    told = page.get_by_role("alert").filter(has_text="cannot remove the host rack-1")
    expect(told).to_contain_text("move")
    assert not violations(page)
    shot(page, "host-refused")


def test_everything_is_moved_away(busy: Office, context: Contexts) -> None:
    page = settled(desk(busy, context), "/hosts/c5-a")
    page.get_by_role("button", name="Move everything away").click()
    dialog = page.get_by_role("dialog", name="Move everything away from c5-a")
    dialog.get_by_label("To").select_option("rack-1")
    assert not violations(page)
    shot(page, "host-drain", whole=False)
    busy.keep_alive()
    dialog.get_by_role("button", name="Move", exact=True).click()
    page.wait_for_url("**/")
    under_way = page.get_by_role("region", name="Under way")
    expect(under_way.get_by_text("c5-a → rack-1")).to_have_count(2)


def test_a_sites_rights_are_verified(busy: Office, context: Contexts) -> None:
    with busy.api() as api:
        body = {"name": "fake:west", "kind": "fake", "region": "west", "settings": {"world": "b"}}
        assert api.post("/v1/sites", json=body).status_code == 201
    page = settled(desk(busy, context), "/sites/fake:west")
    expect(page.get_by_text("Nobody has verified them yet.")).to_be_visible()
    page.get_by_role("button", name="Verify rights").click()
    rights = page.get_by_role("region", name="Rights at this site")
    expect(rights.get_by_text("granted").first).to_be_visible()
    assert not violations(page)
    shot(page, "site-verified")


def test_strays_at_a_site_are_found_and_removed(busy: Office, context: Contexts) -> None:
    with busy.api() as api:
        body = {"name": "fake:west", "kind": "fake", "region": "west", "settings": {"world": "c"}}
        assert api.post("/v1/sites", json=body).status_code == 201
    page = settled(desk(busy, context), "/sites/fake:west")
    sweep = page.get_by_role("button", name="Sweep")
    sweep.click()
    expect(page.get_by_text("There is none.")).to_be_visible()
    there = WORLDS["c"]
    there.owners["p-old"] = busy.control.machines.owner
    there.instances["p-old"] = Instance("i-old", "p-old", "old", InstanceState.RUNNING, "small")
    sweep.click()
    expect(page.get_by_role("row", name="i-old").get_by_text("stray")).to_be_visible()
    assert not violations(page)
    shot(page, "site-strays")
    page.get_by_role("button", name="Remove strays").click()
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    expect(page.get_by_role("row", name="i-old")).to_have_count(0)
    assert not there.instances


def test_logging_out_ends_the_session(busy: Office, context: Contexts) -> None:
    page = settled(desk(busy, context), "/sites")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login**")
    page.goto("/sites")
    assert "/login" in page.url
