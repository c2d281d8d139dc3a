"""What a new machine fetches and runs: who gets it, what is in it, what it will not contain."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import httpx
import pytest

from porter import __version__
from porter.bootstrap import LARGEST, user_data
from porter.domain.errors import Invalid
from porter.web import bootstrap
from tests.unit.web.conftest import Agent, Serving

PIN = "0f" * 32


def fetch(serving: Serving, token: str | None) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with httpx.Client(verify=False, trust_env=False, timeout=20) as client:
        return client.get(f"{serving.agents_url}/agent/v1/bootstrap", headers=headers)


def test_only_an_unspent_token_fetches_it(serving: Serving, tmp_path: Path) -> None:
    token = serving.join_token()
    assert fetch(serving, token).content[:2] == b"\x1f\x8b"
    assert fetch(serving, token).status_code == 200, "fetching spends nothing"
    assert fetch(serving, None).status_code == 401
    assert fetch(serving, f"{token.partition('.')[0]}.{PIN}").status_code == 401
    assert fetch(serving, f"other.{serving.authority.pin}").status_code == 401
    agent = Agent(serving, tmp_path)
    assert agent.ask_to_join(token).status_code == 201
    agent.http.close()
    assert fetch(serving, token).status_code == 403


def test_the_tree_runs_by_itself(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(bootstrap.bundle())) as tar:
        tar.extractall(tmp_path, filter="data")
    assert (tmp_path / "porter" / "bootstrap.sh").stat().st_mode & 0o100
    assert not list(tmp_path.rglob("__pycache__"))
    argv = [sys.executable, "-m", "porter.cli.main", "--version"]
    where = "import porter; print(porter.__file__)"
    for line, wanted in ((argv, __version__), ([sys.executable, "-c", where], str(tmp_path))):
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert wanted in done.stdout, done.stderr


def test_requirements_are_pinned_with_and_without_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "--hash=sha256:" in bootstrap.requirements()
    monkeypatch.setattr(bootstrap, "_REQUIREMENTS", tmp_path / "none")
    lines = bootstrap.requirements().splitlines()
    assert f"httpx=={httpx.__version__}" in lines
    assert all(line.count("==") == 1 for line in lines)


def test_the_script_is_short_plain_shell(tmp_path: Path) -> None:
    script = user_data("https://192.0.2.1:8461", f"s-e_c.{PIN}", "n" * 63, "aws:eu-west-1")
    assert len(script.encode()) <= LARGEST
    (tmp_path / "script").write_text(script)
    subprocess.run(["dash", "-n", str(tmp_path / "script")], check=True, timeout=20)
    lines = [line for line in script.splitlines() if "$token" in line]
    assert all(line.strip().startswith(("printf", "PORTER_JOIN_TOKEN=")) for line in lines)


@pytest.mark.parametrize(
    ("url", "token", "name", "site"),
    [
        ("http://192.0.2.1:8461", f"s.{PIN}", "n", "s"),
        ("https://192.0.2.1:8461/$(id)", f"s.{PIN}", "n", "s"),
        ("https://192.0.2.1:8461", "s", "n", "s"),
        ("https://192.0.2.1:8461", f"s'.{PIN}", "n", "s"),
        ("https://192.0.2.1:8461", f"s.{PIN}", 'n"; id; "', "s"),
        ("https://192.0.2.1:8461", f"s.{PIN}", "n", "$(id)"),
        ("https://192.0.2.1:8461", f"s.{PIN}", "n", "s" * 9000),
    ],
)
def test_nothing_else_gets_into_the_script(url: str, token: str, name: str, site: str) -> None:
    with pytest.raises(Invalid):
        user_data(url, token, name, site)
