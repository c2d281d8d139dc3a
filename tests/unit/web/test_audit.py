"""Every change leaves one row, also a refused one; and the trail is shown to administrators."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from limits import parse

from porter.cli.app import App
from porter.cli.audit import audit as audit_command
from porter.cli.client import Api
from porter.db.audit import Audit, Query
from porter.domain.audit import Check, Entry
from porter.domain.errors import Transient
from porter.domain.identity import Grant, Permission, Role
from porter.web import auditing
from porter.web.app import public_app
from porter.web.templates import places_of
from tests.unit.web.conftest import TOKEN, Serving
from tests.unit.web.test_api import refused

WORDS = re.compile(r"\{[a-z_]+(:path)?\}")


@pytest.fixture
def api(serving: Serving) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


class Trail:
    def __init__(self, serving: Serving) -> None:
        self.audit = Audit(serving.control.database)

    def all(self) -> list[Entry]:
        return list(reversed(self.audit.list(Query(), None, None, 1000)))

    def last(self) -> Entry:
        return self.all()[-1]


@pytest.fixture
def trail(serving: Serving) -> Trail:
    return Trail(serving)


def changing(serving: Serving) -> list[tuple[str, str]]:
    """Method and template of every route that is not only read."""
    app = public_app(serving.control, serving.authority, None, TOKEN)  # type: ignore[arg-type]
    return sorted(
        (method, place.template)
        for place in places_of(app)
        for method in place.methods - {"GET", "HEAD", "OPTIONS"}
    )


def test_each_changing_route_leaves_one_row_whatever_the_outcome(
    serving: Serving, api: httpx.Client, trail: Trail
) -> None:
    routes = changing(serving)
    assert len(routes) > 15
    with serving.client(None) as stranger:
        for client, actor in ((api, "root"), (stranger, "anonymous")):
            for method, template in routes:
                before = len(trail.all())
                path = WORDS.sub("unheard-of", template)
                answer = client.request(method, path, headers={"X-Request-Id": "r-42"})
                fresh = trail.all()[before:]
                assert len(fresh) == 1, (method, template, fresh)
                row = fresh[0]
                assert row.action == f"{method} {template}"
                assert row.outcome == str(answer.status_code)
                assert (row.actor, row.request, row.origin) == (actor, "r-42", "127.0.0.1")
                values = len(WORDS.findall(template))
                assert row.target.split("/").count("unheard-of") == values
    assert list(Check().read(trail.all())) == []


def test_what_a_row_says_and_what_not(serving: Serving, api: httpx.Client, trail: Trail) -> None:
    token = api.post("/v1/join-tokens", json={"ttl": 60}).json()["token"]
    made = trail.last()
    assert (made.outcome, made.actor_kind, made.details["name"]) == ("201", "system", "root")
    body = {"name": "s3", "url": "s3://b/p", "settings": {}, "secrets": {"secret_key": "hush-hush"}}
    api.post("/v1/stores", json=body)
    api.delete("/v1/hosts/%00evil%0a", headers={"Authorization": f"Bearer {TOKEN}"})
    assert trail.last().target == "�evil�"
    api.post("/v1/join-tokens", json={}, params={"dry_run": "true"})
    assert trail.last().details["dry_run"] is True
    for _ in range(2):
        api.post("/v1/join-tokens", json={}, headers={"Idempotency-Key": "k"})
    first, again = trail.all()[-2:]
    assert "replayed" not in first.details
    assert again.details["replayed"] is True
    api.post("/nowhere/at/all")
    assert trail.last().action == "POST (no such route)"
    before = len(trail.all())
    api.get("/v1/hosts")
    assert len(trail.all()) == before, "reading is not written down"
    told = json.dumps([str(entry) for entry in trail.all()])
    for secret in (token, "hush-hush", TOKEN):
        assert secret not in told


def test_without_the_trail_nothing_is_acknowledged(
    serving: Serving, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Entry:
        raise Transient("cannot use the database: it is full")

    monkeypatch.setattr(Audit, "append", away)
    refused(api.post("/v1/join-tokens", json={}), 503, "audit trail")
    refused(api.get("/v1/audit/export"), 503, "audit trail")
    assert api.get("/v1/hosts").status_code == 200


def test_strangers_do_not_flood_the_trail(
    serving: Serving, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "REFUSED", parse("3/minute"))
    with serving.client(None) as stranger, serving.client() as api:
        for _ in range(5):
            assert stranger.delete("/v1/stores/a").status_code == 401
            assert api.delete("/v1/stores/a").status_code == 404
    actors = [entry.actor for entry in trail.all()]
    assert (actors.count("anonymous"), actors.count("root")) == (3, 5)


def test_log_ins(serving: Serving, trail: Trail) -> None:
    with serving.client(None) as browser:
        page = browser.get("/login").text
        (form,) = set(re.findall(r'name="form" value="([^"]+)"', page))
        for token, outcome, actor in (("wrong", "403", "anonymous"), (TOKEN, "303", "root")):
            browser.post("/login/token", data={"form": form, "token": token})
            row = trail.last()
            assert (row.action, row.outcome, row.actor) == ("POST /login/token", outcome, actor)
        browser.get("/login/callback")
        assert trail.last().action == "GET /login/callback"
        browser.post("/logout")
        assert (trail.last().action, trail.last().outcome) == ("POST /logout", "403")
        assert form not in str(trail.all())


def test_lists_and_export(api: httpx.Client, trail: Trail) -> None:
    for name in ("a", "b", "c"):
        api.delete(f"/v1/stores/{name}")
    answer = api.get("/v1/audit", params={"limit": 2, "action": "DELETE"})
    assert [one["target"] for one in answer.json()] == ["c", "b"]
    rest = api.get(answer.links["next"]["url"])
    assert [one["target"] for one in rest.json()] == ["a"]
    assert "next" not in rest.links
    newest = api.get("/v1/audit", params={"limit": 1}).json()[0]
    assert newest["action"] == "GET /v1/audit", "who looked is written down, too"
    later = {"since": "2999-01-01T00:00:00Z"}
    assert api.get("/v1/audit", params=later).json() == []
    export = api.get("/v1/audit/export")
    entries = [Entry(**json.loads(line)) for line in export.text.splitlines()]
    check = Check()
    assert list(check.read(entries)) == []
    assert str(check.head) == export.headers["audit-head"]
    assert trail.last().action == "GET /v1/audit/export"


def test_projects_administrators_see_theirs(serving: Serving, trail: Trail) -> None:
    identity = serving.control.identity
    plain = Entry(1.0, "u1", "user", "::1", "POST /v1/x", "t", "", "200", "r")
    for project in ("shop", "", "other"):
        trail.audit.append(Entry(**{**plain.__dict__, "project": project}))
    for role, seen in ((("shop", "admin"), ["shop"]), (("shop", "viewer"), None)):
        secret = token_for(identity, *role)
        with serving.client(secret) as client:
            answer = client.get("/v1/audit")
            if seen is None:
                refused(answer, 403, "administrator")
            else:
                assert [one["project"] for one in answer.json()] == seen
            refused(client.get("/v1/audit/export"), 403, "admin")
            refused(client.get("/v1/audit/head"), 403, "admin")


def token_for(identity: Any, project: str, role: str) -> str:
    now = time.time()
    user = identity.login("https://issuer", f"{project}-{role}", role, "", now)
    identity.grant(user.id, Grant(project, Role(role)), "root", now)
    secret, _ = identity.add_token("t", user.id, "*", list(Permission), now + 60, now)
    return str(secret)


@pytest.fixture
def app(serving: Serving, tmp_path: Path) -> Iterator[App]:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    app = App(True, serving.url, tmp_path, file, Api)
    yield app
    app.api.close()


def run(app: App, *words: str) -> tuple[int, Any]:
    done = CliRunner().invoke(audit_command, words, obj=app, standalone_mode=False)
    assert done.exception is None, done.exception
    return int(done.return_value or 0), json.loads(done.stdout)


def test_the_command_line(app: App, api: httpx.Client, trail: Trail, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        api.delete(f"/v1/stores/{name}")
    assert run(app, "verify")[0] == 0
    anchor = run(app, "head")[1]["anchor"]
    file = tmp_path / "trail.ndjson"
    assert run(app, "export", "-o", str(file))[1]["head"] == anchor
    assert run(app, "verify", str(file), "--head", anchor)[1]["findings"] == []
    shown = run(app, "ls", "--action", "DELETE", "--limit", "2")[1]
    assert [one["target"] for one in shown] == ["c", "b"]
    lines = file.read_text().splitlines(keepends=True)
    for spoilt, fault in (
        ([lines[0].replace('"a"', '"x"'), *lines[1:]], "changed"),
        ([lines[0], *lines[2:]], "missing"),
        ([lines[1], lines[0], *lines[2:]], "reordered"),
        (lines[:-1], "cut"),
    ):
        file.write_text("".join(spoilt))
        code, told = run(app, "verify", str(file), "--head", anchor)
        assert code == 1
        assert fault in {one["fault"] for one in told["findings"]}
