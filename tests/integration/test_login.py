"""Logging in with a browser at a real OpenID Connect provider; httpx follows the forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from porter.domain.identity import Grant, Role
from porter.web.access import CSRF, SESSION
from porter.web.login import LOGIN_COOKIE
from tests.integration import oidc
from tests.unit.web.conftest import TOKEN, Serving, bound, served

pytestmark = pytest.mark.integration


@dataclass
class Harbour:
    """A control plane and its issuer; browsers are made as they are needed."""

    serving: Serving
    provider: oidc.Provider
    browsers: list[httpx.Client] = field(default_factory=list)

    def browser(self) -> httpx.Client:
        self.browsers.append(httpx.Client(base_url=self.serving.url, trust_env=False, timeout=20))
        return self.browsers[-1]

    def begin(self, browser: httpx.Client, then: str = "/") -> str:
        """Where the login page sends the browser."""
        page = browser.get("/login", params={"next": then})
        link = re.search(r'href="(/login/oidc[^"]*)"', page.text)
        assert link
        answer = browser.get(unescape(link[1]))
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def came_back(self, browser: httpx.Client, name: str, then: str = "/") -> str:
        """The callback that the browser is about to call."""
        where = self.provider.log_in(browser, self.begin(browser, then), name)
        assert where.startswith(f"{self.serving.url}/login/callback?")
        return where

    def log_in(self, name: str, then: str = "/") -> tuple[httpx.Client, httpx.Response]:
        browser = self.browser()
        answer = browser.get(self.came_back(browser, name, then))
        assert answer.status_code == 303, answer.text
        return browser, answer

    def ann(self) -> str:
        """Her user id."""
        (user,) = [u for u in self.serving.control.identity.users() if u.subject == "ann"]
        return user.id


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    folder: Path = tmp_path_factory.mktemp("login")
    own = bound()
    port = own.getsockname()[1]
    with oidc.provider(f"http://127.0.0.1:{port}/login/callback") as provider:
        with served(folder, provider.environment(folder), own) as serving:
            harbour = Harbour(serving, provider)
            yield harbour
            for browser in harbour.browsers:
                browser.close()


def field_of(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return unescape(found[1])


def me(browser: httpx.Client) -> dict[str, Any]:
    answer = browser.get("/v1/me")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_first_login_the_claim_and_the_end(harbour: Harbour) -> None:
    browser, answer = harbour.log_in("ann", "/workloads?state=running")
    assert answer.headers["location"] == "/login?next=%2Fworkloads%3Fstate%3Drunning"
    (cookie,) = [c for c in answer.headers.get_list("set-cookie") if c.startswith(SESSION)]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    found = me(browser)
    assert (found["name"], found["kind"], found["grants"]) == ("Ann of the harbour", "user", [])
    assert harbour.serving.control.identity.user(found["id"]).email == "ann@example.org"
    assert browser.get("/v1/workloads").json() in ([], {"items": [], "next": None})
    assert browser.get("/v1/hosts").status_code == 403

    page = browser.get(answer.headers["location"])
    claim = {"csrf": field_of(page.text, "csrf"), "next": field_of(page.text, "next")}
    before = browser.cookies[SESSION]
    for wrong in (claim | {"token": "wrong"}, {"token": TOKEN}, claim | {"csrf": "x"}):
        assert browser.post("/login/claim", data=wrong).status_code == 403
    assert not harbour.serving.control.identity.has_admin()
    answer = browser.post("/login/claim", data=claim | {"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/workloads?state=running")
    assert browser.cookies[SESSION] != before
    assert (
        httpx.get(
            f"{harbour.serving.url}/v1/me", cookies={SESSION: before}, trust_env=False
        ).status_code
        == 401
    )
    assert me(browser)["grants"] == [{"project": "*", "role": "admin"}]
    assert browser.get("/v1/hosts").status_code == 200
    # Once there is an administrator, the first token makes no other.
    other, answer = harbour.log_in("bob", "/hosts")
    assert answer.headers["location"] == "/hosts"
    csrf = me(other)["csrf"]
    answer = other.post("/login/claim", data={"csrf": csrf, "token": TOKEN})
    assert answer.status_code == 403
    assert me(other)["grants"] == []

    session = browser.cookies[SESSION]
    assert browser.post("/logout", data={"csrf": "wrong"}).status_code == 403
    assert me(browser)
    answer = browser.post("/logout", data={"csrf": me(browser)["csrf"]})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert SESSION not in browser.cookies
    again = httpx.get(f"{harbour.serving.url}/v1/me", cookies={SESSION: session}, trust_env=False)
    assert again.status_code == 401


def test_each_login_has_a_session_of_its_own(harbour: Harbour) -> None:
    first, _ = harbour.log_in("ann")
    second, _ = harbour.log_in("ann")
    assert first.cookies[SESSION] != second.cookies[SESSION]
    assert me(first)["csrf"] != me(second)["csrf"]
    assert me(first)["id"] == me(second)["id"]
    # One session's CSRF token is worth nothing in another.
    body = {"name": "ci", "scopes": ["read"]}
    crossed = first.post("/v1/tokens", json=body, headers={CSRF: me(second)["csrf"]})
    assert crossed.status_code == 403
    assert "CSRF" in crossed.json()["detail"]


def test_a_callback_counts_once_and_for_its_browser(harbour: Harbour) -> None:
    browser = harbour.browser()
    where = harbour.came_back(browser, "cay")
    kept = browser.cookies[LOGIN_COOKIE]
    thief = harbour.browser()
    answer = thief.get(where)
    assert answer.status_code == 403
    assert "not begun by this browser" in answer.text
    # A browser with a login of its own is not taken over either (login CSRF).
    harbour.begin(thief)
    assert thief.get(where).status_code == 403
    assert SESSION not in thief.cookies

    assert browser.get(where).status_code == 303
    again = harbour.browser()
    again.cookies.set(LOGIN_COOKIE, kept)
    answer = again.get(where)
    assert answer.status_code == 403
    assert SESSION not in again.cookies


def test_a_code_counts_once(harbour: Harbour) -> None:
    browser = harbour.browser()
    where = harbour.came_back(browser, "dee")
    code = parse_qs(urlsplit(where).query)["code"][0]
    assert browser.get(where).status_code == 303
    other = harbour.browser()
    fresh = parse_qs(urlsplit(harbour.came_back(other, "eve")).query)
    stolen = {**{name: found[0] for name, found in fresh.items()}, "code": code}
    answer = other.get("/login/callback", params=stolen)
    assert answer.status_code == 403
    assert "issuer refuses" in answer.text
    assert SESSION not in other.cookies
    assert "eve" not in {u.subject for u in harbour.serving.control.identity.users()}


def test_changed_answers_are_refused(harbour: Harbour) -> None:
    for change in ({"state": "x" * 43}, {"code": "x" * 43}, {"iss": "http://127.0.0.1:1"}):
        browser = harbour.browser()
        told = parse_qs(urlsplit(harbour.came_back(browser, "fay")).query)
        changed = {**{name: found[0] for name, found in told.items()}, **change}
        answer = browser.get("/login/callback", params=changed)
        assert answer.status_code == 403
        assert SESSION not in browser.cookies
    assert "fay" not in {u.subject for u in harbour.serving.control.identity.users()}


def test_a_refusal_of_the_issuer_is_told(harbour: Harbour) -> None:
    browser = harbour.browser()
    state = parse_qs(urlsplit(harbour.begin(browser)).query)["state"][0]
    told = {"error": "access_denied<script>", "state": state, "iss": harbour.provider.issuer}
    answer = browser.get(f"/login/callback?{urlencode(told)}")
    assert answer.status_code == 403
    assert "access_deniedscript" in answer.text


@pytest.mark.parametrize(
    "there",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example", "evil", ""],
)
def test_nobody_is_sent_elsewhere(harbour: Harbour, there: str) -> None:
    browser, answer = harbour.log_in("ann", there)
    assert answer.headers["location"] == "/login?next=%2F" or answer.headers["location"] == "/"
    assert browser.get("/login", params={"next": there}).text.count("evil") == 0


def test_who_is_locked_out_stays_out(harbour: Harbour) -> None:
    identity = harbour.serving.control.identity
    browser, _ = harbour.log_in("gil")
    user = me(browser)["id"]
    identity.grant(user, Grant("shop", Role.OPERATOR), "root", 1.0)
    body = {"name": "ci", "project": "shop", "scopes": ["operate"]}
    made = browser.post("/v1/tokens", json=body, headers={CSRF: me(browser)["csrf"]})
    assert made.status_code == 201, made.text
    token = made.json()["token"]
    with harbour.serving.client(token) as program:
        assert program.get("/v1/me").json()["owner"] == user
        with harbour.serving.client() as root:
            assert root.post(f"/v1/users/{user}/disable").status_code == 200
        assert program.get("/v1/me").status_code == 401
    assert browser.get("/v1/me").status_code == 401
    again = harbour.browser()
    answer = again.get(harbour.came_back(again, "gil"))
    assert answer.status_code == 403
    assert "locked out" in answer.text
    identity.disable(user, False, 1.0)
    harbour.log_in("gil")


def test_the_first_token_logs_in(harbour: Harbour) -> None:
    browser = harbour.browser()
    page = browser.get("/login?next=/hosts")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    form = {"form": field_of(page.text, "form"), "next": field_of(page.text, "next")}
    for wrong in (form | {"token": "wrong"}, form | {"token": ""}, {"token": TOKEN}):
        answer = browser.post("/login/token", data=wrong)
        assert answer.status_code == 403
        assert TOKEN not in answer.text
    # A form of this page, sent by another browser: somebody else's login.
    other = harbour.browser()
    other.get("/login")
    assert other.post("/login/token", data=form | {"token": TOKEN}).status_code == 403
    bare = harbour.browser()
    assert bare.post("/login/token", data=form | {"token": TOKEN}).status_code == 403

    answer = browser.post("/login/token", data=form | {"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/hosts")
    assert (me(browser)["id"], me(browser)["kind"]) == ("root", "system")
    assert LOGIN_COOKIE not in browser.cookies
    assert browser.post("/v1/join-tokens", json={}).status_code == 403
    made = browser.post("/v1/join-tokens", json={}, headers={CSRF: me(browser)["csrf"]})
    assert made.status_code == 201


def test_forms_that_are_none(harbour: Harbour) -> None:
    browser = harbour.browser()
    huge = browser.post("/login/token", data={"token": "x" * 20_000})
    assert huge.status_code == 422
    assert browser.post("/login/token", json={"token": TOKEN}).status_code == 422
    assert browser.post("/login/token", data={str(i): "" for i in range(99)}).status_code == 422
