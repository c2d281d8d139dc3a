"""Hosts that do not reach each other talk through a store."""

from __future__ import annotations

from pathlib import Path

from porter.domain.migration import MigrationState
from porter.migrate.depots import tunnel_of
from porter.migrate.plan import Options
from tests.saga.simulation import SimHost
from tests.saga.world import World


def add_store(world: World, path: Path) -> None:
    world.machines.depots._book.add(  # type: ignore[attr-defined]
        "shelf", f"file://{path}", {"durable": "no"}, "", world.now
    )


def test_without_a_store_it_is_said_before_anything_is_touched(
    world: World, source: SimHost, target: SimHost
) -> None:
    source.walled = True
    story = world.run(world.move("shop", "cloud"))
    assert story.migration.state is MigrationState.FAILED
    assert "does not reach" in story.migration.reason
    assert "porter store add" in story.migration.reason
    assert not target.vias


def test_a_store_is_used_where_it_must_be(
    world: World, source: SimHost, target: SimHost, tmp_path: Path
) -> None:
    add_store(world, tmp_path)
    source.walled = True
    migration = world.move("shop", "cloud")
    leftover = f"{tunnel_of(migration)}/1/rest"
    world.machines.depots.open("shelf").put(leftover, b"left by a killed agent")
    assert world.run(migration).migration.state is MigrationState.SUCCEEDED
    route = tunnel_of(migration)
    assert set(target.vias) == {route}
    assert set(source.vias) == {route}
    assert list(world.machines.depots.open("shelf").list("")) == []
    source.walled = False
    back = world.move("shop", "onprem")
    assert world.run(back).migration.state is MigrationState.SUCCEEDED
    assert set(source.vias) == {route, ""}


def test_a_store_is_used_where_it_is_asked_for(
    world: World, source: SimHost, target: SimHost, tmp_path: Path
) -> None:
    add_store(world, tmp_path)
    migration = world.move("shop", "cloud", options=Options(via="shelf"))
    assert world.run(migration).migration.state is MigrationState.SUCCEEDED
    assert set(target.vias) == {tunnel_of(migration)}
