"""`porter dashboard` leads to the login and never prints the token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.cli.main import main


def run(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    token = folder / "api-token"
    token.write_text("very-secret")
    assert not main(["--api", "http://127.0.0.1:9", "--token-file", str(token), *words])
    out = capsys.readouterr().out
    assert "very-secret" not in out
    assert str(token) in out
    return out


def test_says_where_and_how(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "http://127.0.0.1:9/login" in run(capsys, tmp_path, "dashboard")


def test_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told = json.loads(run(capsys, tmp_path, "dashboard", "--json"))
    assert told["url"] == "http://127.0.0.1:9/login"
