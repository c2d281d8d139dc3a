"""API tokens and users: never more than whoever makes or gives has; nothing lives on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from porter.db import tables as t
from porter.domain.identity import EVERYWHERE, Grant, Permission, Role
from porter.web.access import SESSION
from porter.web.api.tokens import LONGEST
from tests.unit.web.conftest import TOKEN, Serving, served


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with served(tmp_path_factory.mktemp("tokens")) as serving:
        yield serving


class Person:
    """A user with roles, who calls with a token of all scopes."""

    made = 0

    def __init__(self, place: Serving, *grants: Grant) -> None:
        Person.made += 1
        identity = place.control.identity
        self.place = place
        self.id = identity.login("i", f"p{Person.made}", f"p{Person.made}", "", time.time()).id
        for grant in grants:
            identity.grant(self.id, grant, "root", time.time())
        self.secret, session = identity.begin_session(self.id, time.time())
        self.csrf = session.csrf

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.place.url,
            cookies={SESSION: self.secret},
            headers={"X-CSRF-Token": self.csrf},
            trust_env=False,
            timeout=20,
        )


def make(client: httpx.Client, **more: Any) -> httpx.Response:
    return client.post("/v1/tokens", json={"name": "ci", "scopes": ["read"], **more})


def test_nobody_makes_more_than_they_have(place: Serving) -> None:
    with Person(place, Grant("shop", Role.OPERATOR)).client() as operator:
        made = make(operator, project="shop", scopes=["operate"])
        assert made.status_code == 201, made.text
        assert made.json()["scopes"] == ["operate", "read"]
        for more in (
            {"project": "bank"},
            {"project": "shop", "scopes": ["admin"]},
            {"project": "shop", "scopes": ["operate", "approve"]},
            {"scopes": ["admin"]},
        ):
            assert make(operator, **more).status_code == 403, more
        # Of all projects: as far as its owner's roles reach, and no further.
        wide = make(operator, scopes=["operate"]).json()["token"]
    with place.client(wide) as program:
        assert program.get("/v1/me").json()["grants"] == [{"project": "shop", "role": "operator"}]
        assert program.post("/v1/join-tokens", json={}).status_code == 403
    with Person(place).client() as nobody:
        assert make(nobody).status_code == 403


def test_a_token_makes_only_less(place: Serving) -> None:
    with Person(place, Grant(EVERYWHERE, Role.ADMIN)).client() as admin:
        first = make(admin, project="shop", scopes=["operate"], expires_in=600).json()
    with place.client(first["token"]) as program:
        for more in ({"scopes": ["admin"]}, {"project": "bank"}, {"project": "*"}):
            assert make(program, **{"project": "shop", **more}).status_code == 403, more
        child = make(program, project="shop", scopes=["operate"], expires_in=LONGEST).json()
        assert child["parent"] == first["id"]
        assert child["expires_at"] == first["expires_at"]
        assert {one["id"] for one in program.get("/v1/tokens").json()} == {
            first["id"],
            child["id"],
        }
        with place.client(child["token"]) as second:
            grandchild = make(second, project="shop").json()
            assert second.get("/v1/me").status_code == 200
            # It ends itself, and what it made; not what it was made with.
            assert second.delete(f"/v1/tokens/{first['id']}").status_code == 404
        with place.client() as root:
            assert root.delete(f"/v1/tokens/{first['id']}").status_code == 200
    for secret in (first["token"], child["token"], grandchild["token"]):
        with place.client(secret) as ended:
            assert ended.get("/v1/me").status_code == 401


def test_forged_expired_and_revoked_tokens_are_refused(place: Serving) -> None:
    identity, now = place.control.identity, time.time()
    expired, _ = identity.add_token("old", None, EVERYWHERE, [Permission.READ], now - 1, now - 9)
    good, token = identity.add_token("new", None, EVERYWHERE, [Permission.READ], now + 60, now)
    forged = good[:-1] + ("A" if good[-1] != "A" else "B")
    for secret in (expired, forged, f"{good}x", good.upper(), token.id, "porter_"):
        with place.client(secret) as client:
            assert client.get("/v1/me").status_code == 401, secret
    with place.client(good) as client:
        assert client.get("/v1/me").status_code == 200
        identity.revoke(token.id, now)
        assert client.get("/v1/me").status_code == 401


def test_withdrawn_roles_count_at_once(place: Serving) -> None:
    grant = Grant("shop", Role.OPERATOR)
    person = Person(place, grant)
    with person.client() as browser:
        secret = make(browser, project="shop", scopes=["operate"]).json()["token"]
        with place.client(secret) as program:
            assert program.get("/v1/hosts").status_code == 200
            with place.client() as root:
                path = f"/v1/users/{person.id}/grants/shop/operator"
                assert root.delete(path).json()["grants"] == []
            assert program.get("/v1/hosts").status_code == 403
            assert browser.get("/v1/hosts").status_code == 403


def test_administrators_of_a_project_give_roles_there_only(place: Serving) -> None:
    somebody = Person(place, Grant("bank", Role.VIEWER))
    roles = f"/v1/users/{somebody.id}/grants"
    with Person(place, Grant("shop", Role.ADMIN)).client() as admin:
        given = admin.put(f"{roles}/shop/operator")
        # Roles elsewhere are none of theirs.
        assert given.json()["grants"] == [{"project": "shop", "role": "operator"}]
        for other in ("bank", "*", "new"):
            assert admin.put(f"{roles}/{other}/viewer").status_code == 403
        assert admin.delete(f"{roles}/bank/viewer").status_code == 403
        assert admin.put("/v1/users/nobody/grants/shop/viewer").status_code == 404
        assert admin.put(f"{roles}/No%20Name/viewer").status_code == 422
        assert admin.post(f"/v1/users/{somebody.id}/disable").status_code == 403
    root = Person(place, Grant(EVERYWHERE, Role.ADMIN))
    with root.client() as everything:
        assert everything.post(f"/v1/users/{root.id}/disable").status_code == 409
        assert len(everything.get(f"/v1/users/{somebody.id}").json()["grants"]) == 2


def test_sessions_need_their_csrf_token(place: Serving) -> None:
    ann, bob = (Person(place, Grant(EVERYWHERE, Role.ADMIN)) for _ in range(2))
    with ann.client() as browser:
        for wrong in ("", "x", bob.csrf, ann.csrf + "x"):
            browser.headers["X-CSRF-Token"] = wrong
            assert make(browser).status_code == 403
            assert browser.get("/v1/me").status_code == 200
        del browser.headers["X-CSRF-Token"]
        assert make(browser).status_code == 403
        # A header that names a program counts alone: the cookie adds nothing to it.
        browser.headers["Authorization"] = "Bearer wrong"
        assert browser.get("/v1/me").status_code == 401


def test_old_sessions_are_over(place: Serving) -> None:
    person = Person(place, Grant("shop", Role.VIEWER))
    with person.client() as browser:
        assert browser.get("/v1/me").json()["csrf"] == person.csrf
        with place.control.database.write() as c:
            mine = t.sessions.c.user == person.id
            c.execute(sa.update(t.sessions).where(mine).values(expires=time.time() - 1))
        assert browser.get("/v1/me").status_code == 401


def test_secrets_are_kept_as_hashes(place: Serving) -> None:
    person = Person(place, Grant("shop", Role.VIEWER))
    with person.client() as browser:
        token = make(browser, project="shop").json()["token"]
    place.control.identity.begin_login("a-login-secret", "/", time.time())
    with place.control.database.read() as c:
        kept = str([c.execute(sa.select(table)).all() for table in t.metadata.tables.values()])
    for secret in (token, person.secret, "a-login-secret", TOKEN):
        assert secret not in kept


def test_a_token_lives_a_year_at_most(place: Serving) -> None:
    with place.client() as root:
        assert make(root, expires_in=LONGEST).status_code == 201
        for wrong in (LONGEST + 1, 0, -1, "soon"):
            assert make(root, expires_in=wrong).status_code == 422
        for body in ({"scopes": []}, {"scopes": ["all"]}, {"project": "No"}, {"name": ""}):
            assert make(root, **body).status_code == 422
        assert {"id": "root", "kind": "system", "owner": None}.items() <= root.get(
            "/v1/me"
        ).json().items()


def test_projects_are_those_of_the_caller(place: Serving) -> None:
    Person(place, Grant("depot", Role.VIEWER))
    with place.client() as root:
        assert {"default", "depot"} <= {one["name"] for one in root.get("/v1/projects").json()}
    with Person(place, Grant("depot", Role.APPROVER)).client() as browser:
        assert browser.get("/v1/projects").json() == [
            {
                "name": "depot",
                "workloads": 0,
                "migrations_active": 0,
                "permissions": ["read", "approve"],
            }
        ]
