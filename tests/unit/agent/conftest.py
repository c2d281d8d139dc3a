"""Fixtures of the agent's tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.agent.fakes import Crashed
from tests.unit.agent.nodes import Pair, new_pair


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Two agents and a workload; threads of killed agents end silently, all others may not fail."""
    failures: list[str] = []

    def hook(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, Crashed):
            failures.append(repr(args.exc_value))

    before = set(threading.enumerate())
    monkeypatch.setattr(threading, "excepthook", hook)
    made = new_pair(tmp_path)
    yield made
    made.a.close()
    made.b.close()
    # What killed agents left behind ends here, while the hook still knows what they died of.
    made.world.end()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive(), f"{thread.name} goes on after its test"
    assert failures == []
