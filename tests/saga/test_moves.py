"""A move from beginning to end, and what it leaves."""

from __future__ import annotations

from porter.domain.migration import MigrationState
from tests.saga.simulation import SimHost
from tests.saga.world import World


def test_a_move_succeeds(world: World, source: SimHost, target: SimHost) -> None:
    before = world.registry.network(source.id).version
    migration = world.move("shop", "cloud")
    story = world.run(migration)
    assert story.migration.state is MigrationState.SUCCEEDED
    assert world.runners("shop") == ["cloud"]
    workload = world.found.workload("shop")
    assert (workload.host, workload.generation) == (target.id, 2)
    receipt = world.receipt(migration)
    assert receipt["from"] == "onprem"
    assert receipt["to"] == "cloud"
    assert receipt["state"] == "succeeded"
    assert receipt["generation"] == 2
    assert receipt["downtime_ms"] == 120.0
    assert receipt["bytes"]["image"] == 1000
    assert receipt["bytes"]["wire"] == (1 << 19) + 600
    assert receipt["verified"] == "blake3:1234"
    names = [phase["name"] for phase in receipt["phases"]]
    assert names == [
        *("preflight", "reserve", "sync", "handover"),
        *("freeze", "restore", "rewire", "publish", "settle"),
    ]
    assert {source.id, target.id} == {h.id for h in world.hosts.values() if h.settled}
    # The address is out of its new host's range: every other host gets a route to it.
    after = world.registry.network(source.id)
    assert after.version > before
    assert "10.77.1.2/32" in {route.prefix for route in after.routes}
    assert "10.77.1.2/32" not in {r.prefix for r in world.registry.network(target.id).routes}


def test_there_and_back_five_times(world: World, source: SimHost, target: SimHost) -> None:
    for turn in range(5):
        to = ("cloud", "onprem")[turn % 2]
        assert world.run(world.move("shop", to)).migration.state is MigrationState.SUCCEEDED
        assert world.runners("shop") == [to]
        assert world.found.workload("shop").generation == turn + 2
