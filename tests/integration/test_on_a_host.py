"""Runs the contracts of engines and networks, and Podman's own cases, on a real lab host."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.lab.lab import Lab

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
REPOSITORY = Path(__file__).resolve().parents[2]
HOST = "h1"
FILES = (
    "tests/contracts/test_network.py",
    "tests/contracts/test_runtimes.py",
    "tests/integration/on_host/podman_cases.py",
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(f"o{os.getpid()}")
    made.up([HOST])
    yield made
    made.down()


@pytest.mark.parametrize("file", FILES)
def test_on_a_host(lab: Lab, file: str) -> None:
    pytest_there = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
    done = lab.exec(
        HOST,
        ["env", "-C", str(REPOSITORY), *pytest_there, file],
        env={"PORTER_ON_HOST": lab.address(HOST)},
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
