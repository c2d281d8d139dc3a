"""Every step failing: before the pivot all is undone, after it all goes forward."""

from __future__ import annotations

import pytest

from porter.domain.errors import Permanent, Transient, Unsupported
from porter.domain.handover import Target
from porter.domain.migration import MigrationState, Mode
from porter.domain.workload import Blocker
from porter.protocol.messages import Kind
from tests.saga.simulation import SimHost
from tests.saga.world import World


def test_preflight_says_all_blockers_and_touches_nothing(
    world: World, source: SimHost, target: SimHost
) -> None:
    target.blockers = (
        Blocker("no-memory", "cannot move shop: too little memory", "free some"),
        Blocker("criu-old", "cannot move shop: CRIU is too old", "update it"),
    )
    story = world.run(world.move("shop", "cloud"))
    assert story.migration.state is MigrationState.FAILED
    for word in ("too little memory", "free some", "CRIU is too old", "update it"):
        assert word in story.migration.reason
    assert not target.targets
    assert world.runners("shop") == ["onprem"]
    assert world.receipt(story.migration.id)["state"] == "failed"


@pytest.mark.parametrize("mode", [Mode.LIVE, Mode.RESTART])
def test_modes_of_the_future_are_refused(
    world: World, source: SimHost, target: SimHost, mode: Mode
) -> None:
    story = world.run(world.move("shop", "cloud", mode))
    assert story.migration.state is MigrationState.FAILED
    assert "not yet" in story.migration.reason
    assert "cold or auto" in story.migration.reason


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("source", Kind.INSPECT),
        ("target", Kind.CHECK),
        ("target", Kind.RESERVE),
        ("source", Kind.SHIP_IMAGE),
        ("target", Kind.PREPARE),
    ],
)
def test_a_step_that_cannot_work_is_undone(
    world: World, source: SimHost, target: SimHost, host: str, kind: Kind
) -> None:
    victim = {"source": source, "target": target}[host]
    victim.fail[kind] = Unsupported(f"cannot {kind}: it is broken", "mend it")
    migration = world.move("shop", "cloud")
    story = world.run(migration)
    expected = {
        Kind.INSPECT: MigrationState.FAILED,
        Kind.CHECK: MigrationState.FAILED,
    }.get(kind, MigrationState.ROLLED_BACK)
    assert story.migration.state is expected
    assert "it is broken" in story.migration.reason
    assert "mend it" in story.migration.reason
    assert world.runners("shop") == ["onprem"]
    assert set(target.targets.values()) <= {Target.REFUSED}
    # And the next one works.
    victim.fail.clear()
    assert world.run(world.move("shop", "cloud")).migration.state is MigrationState.SUCCEEDED


@pytest.mark.parametrize("kind", [Kind.INSPECT, Kind.CHECK, Kind.RESERVE, Kind.PREPARE])
def test_a_passing_failure_is_tried_again(
    world: World, source: SimHost, target: SimHost, kind: Kind
) -> None:
    victim = source if kind is Kind.INSPECT else target
    victim.fail[kind] = Transient("cannot do it now", "wait")
    migration = world.move("shop", "cloud")
    world.until(lambda: "retry" in world.events(migration))
    victim.fail.clear()
    assert world.run(migration).migration.state is MigrationState.SUCCEEDED


def test_trying_again_ends(world: World, source: SimHost, target: SimHost) -> None:
    target.fail[Kind.RESERVE] = Transient("cannot do it now", "wait")
    story = world.run(world.move("shop", "cloud"))
    assert story.migration.state is MigrationState.ROLLED_BACK
    assert "cannot do it now" in story.migration.reason


def test_a_handover_that_fails_at_once_is_taken_back(
    world: World, source: SimHost, target: SimHost
) -> None:
    source.fail[Kind.HANDOVER] = Permanent("cannot freeze: the cgroup is gone")
    story = world.run(world.move("shop", "cloud"))
    assert story.migration.state is MigrationState.ROLLED_BACK
    assert "the cgroup is gone" in story.migration.reason
    assert world.runners("shop") == ["onprem"]
    assert set(target.targets.values()) == {Target.REFUSED}


def test_undoing_repeats_until_it_works(world: World, source: SimHost, target: SimHost) -> None:
    target.fail[Kind.PREPARE] = Unsupported("cannot prepare: broken")
    target.fail[Kind.REFUSE] = Permanent("cannot refuse: a mount is busy")
    migration = world.move("shop", "cloud")
    world.until(lambda: "a mount is busy" in world.moves.story(migration).migration.reason)
    for _ in range(40):
        world.tick()
    assert world.moves.story(migration).migration.state is MigrationState.UNDOING
    target.fail.clear()
    story = world.run(migration)
    assert story.migration.state is MigrationState.ROLLED_BACK
    assert story.migration.reason == "cannot prepare: broken"


def test_a_host_that_cannot_clear_up_does_not_hold_the_move_for_ever(
    world: World, source: SimHost, target: SimHost
) -> None:
    source.fail[Kind.SETTLE] = Permanent("cannot remove the container: busy")
    story = world.run(world.move("shop", "cloud"))
    assert story.migration.state is MigrationState.SUCCEEDED
    assert "left behind on onprem" in world.receipt(story.migration.id)["reason"]
    assert "warning" in world.events(story.migration.id)


def test_an_unforeseen_error_ends_in_an_undone_move(
    world: World, source: SimHost, target: SimHost
) -> None:
    target.missing = ("sha256:b",)
    migration = world.move("shop", "cloud")
    world.until(lambda: bool(target.targets))
    # Something wrote nonsense where the spec should be.
    import sqlalchemy as sa

    from porter.db import tables as t

    with world.database.write() as c:
        c.execute(
            sa.update(t.steps)
            .where(t.steps.c.migration == migration, t.steps.c.kind == "preflight")
            .values(output={})
        )
    story = world.run(migration)
    assert story.migration.state is MigrationState.ROLLED_BACK
    assert "internal error" in story.migration.reason
    assert world.runners("shop") == ["onprem"]
