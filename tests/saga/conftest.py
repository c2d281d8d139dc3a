"""A world of two hosts with one workload."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.saga.simulation import SimHost
from tests.saga.world import World, fresh_database


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    # In memory where that can be: what is tested is the order of writes, not the disk.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory)) if memory.is_dir() else tmp_path
    database = fresh_database(folder)
    yield World(database)
    database.close()
    shutil.rmtree(folder)


@pytest.fixture
def source(world: World) -> SimHost:
    return world.host("onprem")


@pytest.fixture
def target(world: World, source: SimHost) -> SimHost:
    sim = world.host("cloud")
    world.start("shop", source)

    def never_two() -> None:
        assert len(world.runners("shop")) <= 1, "it runs twice"

    world.watch.append(never_two)
    return sim
