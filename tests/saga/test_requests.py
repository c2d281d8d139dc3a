"""Cancelling at every point, and asking twice."""

from __future__ import annotations

import pytest

from porter.domain.errors import Conflict, NotFound
from porter.domain.handover import Target
from porter.domain.migration import MigrationState
from porter.protocol.messages import Kind
from tests.saga.simulation import POINTS, SimHost
from tests.saga.world import World

SUCCEEDED, ROLLED_BACK = MigrationState.SUCCEEDED, MigrationState.ROLLED_BACK


@pytest.mark.parametrize("ticks", range(8))
def test_cancel_after_some_time(world: World, source: SimHost, target: SimHost, ticks: int) -> None:
    migration = world.move("shop", "cloud")
    for _ in range(ticks):
        world.tick()
    try:
        world.cancel(migration)
    except Conflict:
        assert world.run(migration).migration.state is SUCCEEDED
        assert world.runners("shop") == ["cloud"]
        return
    story = world.run(migration)
    if story.migration.state is ROLLED_BACK:
        assert world.runners("shop") == ["onprem"]
        assert set(target.targets.values()) <= {Target.REFUSED}
        assert "cancelled" in story.migration.reason
    else:
        assert story.migration.state is SUCCEEDED
        assert world.runners("shop") == ["cloud"]


def test_cancel_before_anything(world: World, source: SimHost, target: SimHost) -> None:
    migration = world.move("shop", "cloud")
    world.cancel(migration)
    world.cancel(migration)
    story = world.run(migration)
    assert story.migration.state is ROLLED_BACK
    assert not target.targets


@pytest.mark.parametrize("point", POINTS)
def test_cancel_in_the_middle_of_the_handover(
    world: World, source: SimHost, target: SimHost, point: str
) -> None:
    """Our request is recorded while the two are at it: it comes too late, or the abort counts."""
    migration = world.move("shop", "cloud")
    refused: list[str] = []

    def ask(now: str) -> None:
        if now != point:
            return
        try:
            world.cancel(migration)
        except Conflict:
            refused.append(now)

    source.hook = ask
    story = world.run(migration)
    assert story.migration.state is SUCCEEDED
    assert world.runners("shop") == ["cloud"]


def test_cancel_in_doubt_before_the_pivot(world: World, source: SimHost, target: SimHost) -> None:
    """Frozen here and accepted there, but the two cannot talk: cancelled, it runs here again."""
    migration = world.move("shop", "cloud")

    def part(point: str) -> None:
        if point == "target: accepted":
            world.parted.add(frozenset((source.id, target.id)))
            world.cancel(migration)

    source.hook = part
    story = world.run(migration)
    assert story.migration.state is ROLLED_BACK
    assert "cancelled" in story.migration.reason
    assert world.runners("shop") == ["onprem"]
    assert set(target.targets.values()) == {Target.REFUSED}


def test_cancel_too_late(world: World, source: SimHost, target: SimHost) -> None:
    source.hook = lambda point: world.kill(target) if point == "source: handed over" else None
    migration = world.move("shop", "cloud")
    world.until(lambda: world.moves.story(migration).migration.state is MigrationState.HELD)
    with pytest.raises(Conflict, match="handed over"):
        world.cancel(migration)
    source.hook = None
    world.revive(target)
    assert world.run(migration).migration.state is SUCCEEDED
    with pytest.raises(Conflict, match="has ended"):
        world.cancel(migration)


def test_one_move_at_a_time(world: World, source: SimHost, target: SimHost) -> None:
    migration = world.move("shop", "cloud")
    with pytest.raises(Conflict, match=migration):
        world.move("shop", "cloud")
    world.run(migration)
    assert world.run(world.move("shop", "onprem")).migration.state is SUCCEEDED


def test_the_same_key_is_the_same_move(world: World, source: SimHost, target: SimHost) -> None:
    first = world.move("shop", "cloud", key="k1")
    assert world.move("shop", "cloud", key="k1") == first
    with pytest.raises(Conflict, match="another request"):
        world.move("shop", "onprem", key="k1")
    world.run(first)


def test_unknown_names(world: World, source: SimHost, target: SimHost) -> None:
    with pytest.raises(NotFound, match="nope"):
        world.move("nope", "cloud")
    with pytest.raises(NotFound, match="mars"):
        world.move("shop", "mars")


def test_a_site_is_any_living_host_of_it(world: World, source: SimHost, target: SimHost) -> None:
    other = world.host("cloud2", "gcp:europe-west1")
    world.beat()
    migration = world.move("shop", "gcp:europe-west1")
    assert world.run(migration).migration.target == other.id
    world.kill(other)
    for _ in range(30):
        world.tick()
    with pytest.raises(Conflict, match="no other host there is alive"):
        world.move("shop", "gcp:europe-west1")


def test_a_dead_target_is_refused_at_preflight(
    world: World, source: SimHost, target: SimHost
) -> None:
    world.kill(target)
    for _ in range(30):
        world.tick()
    story = world.run(world.move("shop", "cloud"))
    assert story.migration.state is MigrationState.FAILED
    assert "porter agent" in story.migration.reason
    assert not target.seen


def test_a_target_that_goes_away_before_the_freeze_gives_its_reservation_back_later(
    world: World, source: SimHost, target: SimHost
) -> None:
    migration = world.move("shop", "cloud")
    world.until(lambda: Target.RESERVED in target.targets.values())
    world.kill(target)
    world.until(lambda: world.moves.story(migration).migration.state is MigrationState.UNDOING)
    assert "went away" in world.moves.story(migration).steps[1].error
    assert world.runners("shop") == ["onprem"]
    for _ in range(60):
        world.tick()
    assert world.moves.story(migration).migration.state is MigrationState.UNDOING
    world.revive(target)
    story = world.run(migration)
    assert story.migration.state is ROLLED_BACK
    assert "went away" in story.migration.reason
    assert set(target.targets.values()) == {Target.REFUSED}


def test_a_result_comes_while_the_engine_works(
    world: World, source: SimHost, target: SimHost
) -> None:
    """News that arrives between transactions A and B is not overlooked."""
    migration = world.move("shop", "cloud")
    world.engine.advance(migration)
    claim = world.journal.claim(migration, world.now, 6.0)
    assert claim is not None
    (command,) = world.desk.fetch(source.id, world.now, False)
    assert command.kind is Kind.INSPECT
    result = source.handle(command)
    assert result is not None
    assert world.desk.finish(source.id, command.id, result, world.now) == migration
    change, _ = world.engine._work(claim)
    assert world.journal.apply(claim, change) is True
    assert world.run(migration).migration.state is SUCCEEDED


def test_a_lost_lease_changes_nothing(world: World, source: SimHost, target: SimHost) -> None:
    migration = world.move("shop", "cloud")
    stale = world.journal.claim(migration, world.now, 6.0)
    assert stale is not None
    assert world.journal.claim(migration, world.now + 1, 6.0) is None
    world.now += 7
    fresh = world.journal.claim(migration, world.now, 6.0)
    assert fresh is not None
    change, _ = world.engine._work(stale)
    before = world.moves.story(migration, commands=True)
    assert world.journal.apply(stale, change) is None
    assert world.moves.story(migration, commands=True) == before
    assert not world.journal.renew(migration, stale.token, world.now + 99)
    assert world.journal.renew(migration, fresh.token, world.now + 1)
