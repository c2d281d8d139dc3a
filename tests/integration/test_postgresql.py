"""The same schema and the same saga on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from porter.db.database import Database
from porter.domain.errors import Conflict, PorterError
from porter.domain.migration import MigrationState
from tests.saga.simulation import POINTS
from tests.saga.world import World
from tests.unit.db.test_schema import prove_old_notices_are_kept, prove_up_and_down

pytestmark = pytest.mark.integration


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    database = Database(postgresql_url)
    yield database
    database.close()


def test_schema_up_and_down(database: Database) -> None:
    prove_up_and_down(database)
    database.downgrade("base")
    prove_old_notices_are_kept(database)


def test_schema_from_several_processes_at_once(postgresql_url: str) -> None:
    databases = [Database(postgresql_url) for _ in range(4)]
    problems: list[PorterError] = []

    def upgrade(database: Database) -> None:
        try:
            database.upgrade()
        except PorterError as error:
            problems.append(error)

    threads = [threading.Thread(target=upgrade, args=(one,)) for one in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in databases:
        one.close()
    assert problems == []


@pytest.fixture
def world(database: Database) -> World:
    database.upgrade()
    world = World(database)
    onprem = world.host("onprem")
    world.host("cloud")
    world.start("shop", onprem)
    return world


def test_moves_with_lost_messages_and_dying_workers(world: World) -> None:
    world.loss = world.double = 0.3
    for turn in range(4):
        world.journal.die_at = (world.journal.calls + turn, ("after A", "before B")[turn % 2])
        migration = world.move("shop", ("cloud", "onprem")[turn % 2])
        assert world.run(migration).migration.state is MigrationState.SUCCEEDED
    assert world.runners("shop") == ["onprem"]
    assert world.found.workload("shop").generation == 5


@pytest.mark.parametrize("point", POINTS)
def test_the_source_dies(world: World, point: str) -> None:
    source = world.hosts["h-onprem"]
    source.crash_at.add(point)
    migration = world.move("shop", "cloud")
    world.until(lambda: not source.alive)
    for _ in range(30):
        world.tick()
    world.revive(source)
    state = world.run(migration).migration.state
    expected = "cloud" if state is MigrationState.SUCCEEDED else "onprem"
    assert world.runners("shop") == [expected]


def test_of_many_requests_at_once_one_wins(world: World) -> None:
    made: list[str] = []
    refused: list[str] = []
    barrier = threading.Barrier(8)

    def ask(key: str | None) -> None:
        barrier.wait()
        try:
            made.append(world.move("shop", "cloud", key=key))
        except Conflict as error:
            refused.append(str(error))

    threads = [threading.Thread(target=ask, args=(None,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(refused) == 7
    world.run(made[0])
    made.clear()
    refused.clear()

    def ask_back() -> None:
        barrier.wait()
        try:
            made.append(world.move("shop", "onprem", key="k"))
        except Conflict as error:
            refused.append(str(error))

    threads = [threading.Thread(target=ask_back) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert len(made) == 8, refused


def test_of_many_workers_one_leads(world: World) -> None:
    migration = world.move("shop", "cloud")
    claims: list[object] = []
    barrier = threading.Barrier(6)

    def claim() -> None:
        barrier.wait()
        claims.append(world.journal.claim(migration, world.now, 6.0))

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in claims) == 1
