"""The audit trail and the figures of monitoring on PostgreSQL."""

from __future__ import annotations

import pytest

from porter.db.database import Database
from porter.db.figures import figures
from tests.saga.world import World
from tests.unit.db.test_audit import prove_append_only, prove_one_chain

pytestmark = pytest.mark.integration


def test_one_chain_that_nobody_changes(postgresql_url: str) -> None:
    databases = [Database(postgresql_url) for _ in range(4)]
    databases[0].upgrade()
    prove_append_only(databases[0])
    databases[0].downgrade("base")
    databases[0].upgrade()
    prove_one_chain(databases, 20)
    for database in databases:
        database.close()


def test_figures(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    database.upgrade()
    world = World(database)
    onprem = world.host("onprem")
    world.host("cloud")
    world.start("shop", onprem)
    moved = world.run(world.move("shop", "cloud")).migration
    found = figures(database, world.now)
    assert found.active == {}
    assert found.ended == {("succeeded", moved.mode): 1}
    for spreads in (found.downtime, found.total, found.wire):
        assert [(one.labels, one.count) for one in spreads] == [((moved.mode,), 1)]
    assert {one.labels[0] for one in found.steps} >= {"preflight", "handover", "settle"}
    assert [host.name for host in found.hosts] == ["cloud", "onprem"]
    database.close()
