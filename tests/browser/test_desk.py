"""Tokens, users, policies and the audit trail, as people use them; and how all those pages look."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from porter.domain.identity import Grant, Role
from tests.browser.conftest import LOOKS, PHONE, Office, settled, shot, tour, violations

PAGES = {
    "workloads": "/workloads",
    "workloads-none": "/workloads?q=nothing-like-it",
    "workload": "/workloads/billing",
    "migrations": "/migrations",
    "tokens": "/tokens",
    "users": "/users",
    "plans": "/plans",
    "policies": "/policies",
    "policy": "/policies/production",
    "audit": "/audit",
}
Contexts = Callable[..., BrowserContext]
POLICY = """\
version: 1
name: production
project: default
workloads: ["shop", "shop-*"]
approval:
  to: ["aws:*"]
residency:
  allow: ["onprem", "aws:eu-*"]
egress:
  max_bytes: 20 GB
"""


@pytest.fixture
def furnished(busy: Office) -> Office:
    """With people, a token and a policy, too."""
    now = time.time()
    identity = busy.control.identity
    ada = identity.login("https://id.example", "ada", "Ada Lovelace", "ada@example.org", now)
    identity.grant(ada.id, Grant("default", Role.OPERATOR), "root", now)
    identity.grant(ada.id, Grant("*", Role.VIEWER), "root", now)
    identity.login("https://id.example", "ben", "Ben Bitdiddle", "ben@example.org", now)
    with busy.api() as api:
        for path, body in (
            ("/v1/tokens", {"name": "deploy pipeline", "scopes": ["read", "operate"]}),
        ):
            assert api.post(path, json=body).status_code == 201
        answer = api.put("/v1/policies/production", json={"document": POLICY})
        assert answer.is_success, answer.text
    return busy


@pytest.mark.parametrize("look", LOOKS, ids=("light", "dark", "phone"))
def test_nothing_is_in_anybodys_way(furnished: Office, context: Contexts, look: Any) -> None:
    scheme, size = look
    window = context(scheme, size, base_url=furnished.url)
    window.add_cookies([furnished.cookie()])
    page = window.new_page()
    name = "phone" if size == PHONE else scheme
    assert not tour(page, furnished, PAGES, name)


def test_a_token_is_made_used_once_and_revoked(office: Office, context: Contexts) -> None:
    window = context(base_url=office.url)
    window.add_cookies([office.cookie()])
    page = settled(window.new_page(), "/tokens")
    page.get_by_role("button", name="Make a token").click()
    asked = page.get_by_role("dialog", name="Make a token")
    asked.get_by_label("Name").fill("deploy pipeline")
    asked.get_by_role("checkbox", name="operate").check()
    assert not violations(page)
    shot(page, "token-asked", whole=False)
    asked.get_by_role("button", name="Make it").click()
    made = page.get_by_role("dialog", name="shown this once")
    secret = made.locator("[data-secret]").text_content() or ""
    assert secret.startswith("porter_")
    assert not violations(page)
    shot(page, "token-made", whole=False)
    made.get_by_role("button", name="I have kept it").click()
    row = page.get_by_role("row", name="deploy pipeline")
    expect(row).to_contain_text("active")
    expect(page.get_by_text(secret)).to_have_count(0)

    program = httpx.Client(
        base_url=office.url, headers={"Authorization": f"Bearer {secret}"}, trust_env=False
    )
    with program:
        assert program.get("/v1/hosts").status_code == 200
        row.get_by_role("button", name="Revoke deploy pipeline").click()
        page.get_by_role("dialog").get_by_role("button", name="Go on").click()
        expect(page.get_by_role("row", name="deploy pipeline")).to_contain_text("revoked")
        assert program.get("/v1/hosts").status_code == 401
    assert not violations(page)
    shot(page, "token-revoked")


def test_a_policy_that_cannot_be_read_says_why_and_is_mended(
    office: Office, context: Contexts
) -> None:
    window = context(base_url=office.url)
    window.add_cookies([office.cookie()])
    page = settled(window.new_page(), "/policies")
    page.get_by_role("button", name="New policy").click()
    asked = page.get_by_role("dialog", name="New policy")
    asked.get_by_label("Document").fill(POLICY.replace("20 GB", "many"))
    asked.get_by_role("button", name="Save").click()
    expect(asked.get_by_role("alert")).to_contain_text("max_bytes")
    shot(page, "policy-wrong", whole=False)
    asked.get_by_label("Document").fill(POLICY)
    asked.get_by_role("button", name="Save").click()
    page.wait_for_url("**/policies/production")
    expect(page.get_by_text("At most 20 GB may leave a site")).to_be_visible()


def test_a_role_is_given_and_taken(office: Office, context: Contexts) -> None:
    now = time.time()
    ben = office.control.identity.login("https://id.example", "ben", "Ben", "b@example.org", now)
    window = context(base_url=office.url)
    window.add_cookies([office.cookie()])
    page = settled(window.new_page(), "/users")
    page.get_by_role("button", name="Give a role").click()
    asked = page.get_by_role("dialog", name="Give Ben a role")
    asked.get_by_label("Role").select_option("approver")
    asked.get_by_role("button", name="Give it").click()
    taken = page.get_by_role("button", name="Take away approver everywhere")
    expect(taken).to_be_visible()
    assert [one.role for one in office.control.identity.user(ben.id).grants] == [Role.APPROVER]
    taken.click()
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    expect(page.get_by_text("none: they see nothing")).to_be_visible()
    assert office.control.identity.user(ben.id).grants == ()
