"""`porter token` and `porter user` against a real API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.cli.app import App
from porter.cli.client import Api
from porter.cli.main import main
from porter.cli.people import lifetime
from porter.domain.errors import Invalid
from tests.unit.web.conftest import TOKEN, Serving, served

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with served(tmp_path) as one:
        yield one


@pytest.fixture
def run(
    serving: Serving,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Run]:
    made: list[Api] = []

    def connect(app: App) -> Api:
        made.append(Api(app.url, app.token_file))
        return made[-1]

    def run(*argv: str, token: str = TOKEN, as_json: bool = True) -> tuple[int, Any]:
        file = tmp_path / "token"
        file.write_text(token)
        flags = ["--json"] if as_json else []
        code = main(["--api", serving.url, "--token-file", str(file), *argv, *flags])
        out, err = capsys.readouterr()
        return (code, json.loads(out)) if as_json and code == 0 else (code, out + err)

    monkeypatch.setattr(App, "api", property(connect))
    yield run
    for api in made:
        api.close()  # as the end of the process does


def test_tokens_are_made_listed_and_revoked(run: Run) -> None:
    code, made = run(
        *("token", "create", "ci", "--scope", "operate", "--project", "shop", "--expires", "2d")
    )
    assert code == 0
    assert (made["scopes"], made["project"]) == (["operate", "read"], "shop")
    assert run("host", "ls", token=made["token"]) == (0, [])
    code, out = run("host", "token", token=made["token"])
    assert code == 2
    assert "lacks the permission admin" in out
    code, listed = run("token", "ls")
    assert [one["id"] for one in listed] == [made["id"]]
    assert made["token"] not in json.dumps(listed)
    _, table = run("token", "ls", as_json=False)
    assert "good" in table
    assert "shop" in table

    assert run("token", "revoke", made["id"])[0] == 0
    code, out = run("host", "ls", token=made["token"])
    assert code == 2
    assert "token is missing or wrong" in out
    assert "revoked" in run("token", "ls", as_json=False)[1]
    assert run("token", "revoke", "t-none")[0] == 2


def test_roles_are_given_and_taken(run: Run, serving: Serving) -> None:
    identity = serving.control.identity
    ann = identity.login("i", "ann", "Ann", "ann@example.org", 1.0)
    identity.login("i", "ann2", "Ann", "ann2@example.org", 1.0)
    assert run("user", "grant", "Ann", "viewer", "--project", "shop")[0] == 2
    code, given = run("user", "grant", "ann@example.org", "operator", "--project", "shop")
    assert (code, given["grants"]) == (0, [{"project": "shop", "role": "operator"}])
    assert run("user", "grant", ann.id, "admin", "--project", "*")[0] == 0
    code, table = run("user", "ls", as_json=False)
    assert "admin in all, operator in shop" in table
    assert run("user", "withdraw", ann.id, "admin", "--project", "*")[0] == 0
    assert [str(one.role) for one in identity.user(ann.id).grants] == ["operator"]
    assert run("user", "disable", ann.id)[1]["disabled_at"]
    assert "disabled" in run("user", "ls", as_json=False)[1]
    assert run("user", "enable", ann.id)[1]["disabled_at"] is None
    code, out = run("user", "grant", "nobody", "viewer", "--project", "shop")
    assert code == 2
    assert "cannot find the user" in out
    assert run("user", "grant", ann.id, "viewer", "--project", "No Such")[0] == 2


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("12h", 43200), ("4w", 2419200)])
def test_lifetimes(text: str, seconds: float) -> None:
    assert lifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "d", "-1d", "1y", "1.5h"])
def test_lifetimes_that_are_none(text: str) -> None:
    with pytest.raises(Invalid):
        lifetime(text)
