"""Every page that stands on the ground: looks, keys, errors, and what it must not do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import LOOKS, PHONE, Office, settled, shot, tour, violations

PAGES = {
    "harbour": "/",
    "hosts": "/hosts",
    "hosts-none": "/hosts?q=nothing-like-it",
    "host": "/hosts/rack-2",
    "sites": "/sites",
    "site": "/sites/onprem",
    "failure": "/hosts/nope",
}
Contexts = Callable[..., BrowserContext]


@pytest.mark.parametrize("look", LOOKS, ids=("light", "dark", "phone"))
def test_nothing_is_in_anybodys_way(busy: Office, context: Contexts, look: Any) -> None:
    scheme, size = look
    window = context(scheme, size, base_url=busy.url)
    window.add_cookies([busy.cookie()])
    page = window.new_page()
    name = "phone" if size == PHONE else scheme
    assert not tour(page, busy, PAGES, name)


def test_an_empty_harbour_says_what_to_do(office: Office, context: Contexts) -> None:
    window = context(base_url=office.url)
    window.add_cookies([office.cookie()])
    page = window.new_page()
    settled(page, "/")
    expect(page.get_by_role("heading", name="No host has joined yet")).to_be_visible()
    assert not violations(page)
    shot(page, "harbour-empty")


def test_whoever_is_not_logged_in_is_led_to_the_login(office: Office, context: Contexts) -> None:
    page = context(base_url=office.url).new_page()
    page.goto("/hosts?site=onprem")
    assert page.url.endswith("/login?next=%2Fhosts%3Fsite%3Donprem")


@pytest.mark.parametrize("look", LOOKS, ids=("light", "dark", "phone"))
def test_the_login_is_in_nobodys_way(office: Office, context: Contexts, look: Any) -> None:
    scheme, size = look
    page = context(scheme, size, base_url=office.url).new_page()
    page.goto("/login")
    assert not violations(page)
    page.get_by_label("first token").fill("a wrong one")
    page.get_by_role("button", name="Log in with the token").click()
    expect(page.get_by_role("alert").filter(has_text="What to do")).to_be_visible()
    shot(page, f"login-{'phone' if size == PHONE else scheme}")
    assert not violations(page)


def test_a_page_that_is_not_there_says_so(office: Office, context: Contexts) -> None:
    window = context(base_url=office.url)
    window.add_cookies([office.cookie()])
    page = window.new_page()
    page.goto("/no/such/page")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Cannot find the page")
    with office.api() as api:
        answer = api.get("/v1/no-such", headers={"Accept": "text/html"})
    assert answer.headers["content-type"] == "application/problem+json"


def test_keys_and_theme(busy: Office, context: Contexts) -> None:
    window = context(base_url=busy.url)
    window.add_cookies([busy.cookie()])
    page = settled(window.new_page(), "/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("o")
    page.wait_for_url("**/hosts")
    page.keyboard.press("/")
    search = page.get_by_role("searchbox", name="Name")
    expect(search).to_be_focused()
    search.press_sequentially("rack")
    expect(page.get_by_text("2 of 5 hosts")).to_be_visible()
    expect(search).to_be_focused()
    assert "q=rack" in page.url
    page.get_by_role("button", name="Theme: auto").click()
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    settled(page, "/sites")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"


def test_pages_work_without_scripts(busy: Office, context: Contexts) -> None:
    window = context(base_url=busy.url, java_script_enabled=False)
    window.add_cookies([busy.cookie()])
    page = window.new_page()
    page.goto("/hosts")
    expect(page.get_by_text("without scripts it neither refreshes")).to_be_visible()
    page.get_by_role("searchbox", name="Name").fill("rack-1")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("1 of 5 hosts")).to_be_visible()


def test_no_page_asks_anybody_else(busy: Office, context: Contexts) -> None:
    window = context(base_url=busy.url)
    window.add_cookies([busy.cookie()])
    page = window.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in PAGES.values():
        answer = page.goto(path)
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        inline = re.findall(
            r'<script(?![^>]* src=)(?![^>]*json")|<style| style="| on\w+="', answer.text()
        )
        assert not inline, (path, inline)
    assert asked
    assert all(url.startswith(busy.url) for url in asked), asked
