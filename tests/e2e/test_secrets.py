"""Secrets that are planted never appear anywhere in clear."""

from __future__ import annotations

import secrets
from pathlib import Path

import psutil
import pytest

from porter.lab.fleet import Fleet
from tests.e2e.conftest import FAMILY, only_on

pytestmark = pytest.mark.e2e


def in_files(top: Path, planted: list[bytes]) -> list[str]:
    """Files below `top` that hold one of them, the database's own files and logs included."""
    found = []
    for path in top.rglob("*"):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError:
            continue  # it went while we looked
        found += [str(path) for secret in planted if secret in content]
    return found


def test_planted_secrets_are_nowhere(fleet: Fleet, name: str, tmp_path: Path) -> None:
    planted = [secrets.token_urlsafe(24) for _ in range(3)]
    words = []
    for secret, key in zip(planted[:2], ("access_key_id", "secret_access_key"), strict=True):
        (tmp_path / key).write_text(secret)
        words += ["--secret", f"{key}={tmp_path / key}"]
    (tmp_path / "token").write_text(planted[2])
    shelf = fleet.lab.directory / "planted-shelf"
    # The site cannot be reached: what it is asked fails, and the failures are told.
    away = ["--set", "endpoint_url=http://127.0.0.1:9", "--set", "image=ami-0123456789abcdef0"]
    fleet.porter("site", "add", "aws:eu-west-1", *away, *words)
    fleet.porter(
        "store", "add", "planted", f"file://{shelf}", "--secret", f"t={tmp_path / 'token'}"
    )
    try:
        words = ["python3", "-u", "-c", FAMILY]
        fleet.run("onprem", name, *words, options=("-v", f"{name}:/data"))
        said = []
        for failing in (
            ("site", "verify", "aws:eu-west-1"),
            ("migrate", name, "--to", "aws:eu-west-1", "--dry-run"),
            ("migrate", name, "--to", "aws:eu-west-1"),
        ):
            done = fleet.try_porter("--json", *failing, timeout=200)
            assert done.returncode != 0
            said += [done.stdout, done.stderr]
        receipt = fleet.migrate(name, "cloud")
        assert receipt["state"] == "succeeded", receipt["reason"]
        only_on(fleet, name, "cloud")
        for asked in (
            ("site", "ls"),
            ("site", "show", "aws:eu-west-1"),
            ("store", "ls"),
            ("migration", "show", receipt["id"]),
        ):
            said += [fleet.porter("--json", *asked), fleet.porter(*asked)]
        text = "\n".join([*said, str(receipt)])
        commands = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
        for secret in planted:
            assert secret not in text
            assert not [line for line in commands if secret in line]
        raw = [secret.encode() for secret in planted]
        assert in_files(fleet.lab.directory, raw) == []
        assert in_files(tmp_path, raw) != []  # the search itself works
    finally:
        fleet.try_porter("site", "rm", "aws:eu-west-1")
        fleet.try_porter("store", "rm", "planted")
