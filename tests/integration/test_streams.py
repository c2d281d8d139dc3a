"""A slice of `make bench-events`: nothing is lost, doubled or out of order when a replica dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.events import Load, prove

pytestmark = pytest.mark.integration
LOAD = Load(streams=100, seconds=10, requests=10, events=20, given_up=70, hosts=10, workloads=50)


@pytest.mark.parametrize("database", ["postgresql", "sqlite"])
def test_every_stream_hears_every_event_once(database: str, tmp_path: Path) -> None:
    proof = prove(LOAD, database, tmp_path)
    assert proof.wrong == []
    assert proof.events == 200 - 2
    assert proof.heard == proof.events * LOAD.streams
    assert proof.reconnected == LOAD.streams / 2
