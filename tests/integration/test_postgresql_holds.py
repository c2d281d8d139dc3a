"""Decisions about a held migration on PostgreSQL, where requests really are at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from porter.db.base import DecisionRecord
from porter.db.database import Database
from porter.db.decisions import Decisions
from porter.domain.migration import MigrationState
from tests.saga.test_holds import hold
from tests.saga.world import World
from tests.together import together

pytestmark = pytest.mark.integration


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    database = Database(postgresql_url)
    database.upgrade()
    yield database
    database.close()


def test_of_decisions_at_once_none_contradicts_the_source(database: Database) -> None:
    world = World(database)
    onprem, cloud = world.host("onprem"), world.host("cloud")
    world.start("shop", onprem)
    migration = hold(world, onprem, cloud)
    book = Decisions(database)

    def decide(number: int) -> None:
        run_on, proof = ("source", "declared") if number % 2 else ("target", "")
        book.decide(DecisionRecord(migration, run_on, "it burnt", proof, "u1", "Ada", world.now))

    together([partial(decide, number) for number in range(8)])
    stands = book.find(migration)
    assert stands is not None
    assert (stands.run_on, stands.proof) == ("source", "declared")
    # However many came before it, the source was decided for once.
    told = [event for event in world.moves.events(migration, 0) if event.kind == "decision"]
    assert [event.data["run_on"] for event in told].count("source") == 1
    world.enqueue(migration)
    assert world.run(migration).migration.state is MigrationState.ROLLED_BACK
    world.revive(cloud)
    for _ in range(10):
        world.tick()
    assert world.runners("shop") == ["onprem"]
