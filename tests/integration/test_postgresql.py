"""The same schema and the same saga on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from porter.db.database import Database
from porter.domain.errors import Conflict
from porter.domain.migration import MigrationState
from tests.saga.simulation import POINTS
from tests.saga.world import World
from tests.together import together
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
    ended = together([one.upgrade for one in databases])
    for one in databases:
        one.close()
    assert ended == [None] * 4


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
    asked = together([lambda: world.move("shop", "cloud")] * 8)
    [made] = [one for one in asked if not isinstance(one, Conflict)]
    world.run(str(made))
    same = together([lambda: world.move("shop", "onprem", key="k")] * 8)
    assert len(set(same)) == 1, same


def test_of_many_workers_one_leads(world: World) -> None:
    migration = world.move("shop", "cloud")
    claims = together([lambda: world.journal.claim(migration, world.now, 6.0)] * 6)
    assert sum(one is not None for one in claims) == 1


def test_hosts_at_once_get_ranges_of_their_own(world: World) -> None:
    def expect(number: int) -> object:
        return world.registry.expect(f"new-{number}", "aws", world.now)

    def join(number: int) -> object:
        return world.host(f"joining-{number}")

    calls = [partial(call, number) for number in range(8) for call in (expect, join)]
    given = together(calls)
    assert len(given) == len(calls)
    taken = [host.range for host in world.registry.hosts()]
    assert len(set(taken)) == len(taken) >= len(calls)
