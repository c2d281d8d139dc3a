"""What every engine must do. On a lab host the same tests hold Podman to it."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porter.domain.errors import Conflict, NotFound, Permanent, PorterError, Unsupported
from porter.domain.workload import WorkloadSpec
from porter.protocol import codec
from tests.contracts.engines import ENGINES, Engine, Move


@pytest.fixture(params=ENGINES, ids=lambda make: make.__name__)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    make: Callable[[Path], Engine] = request.param
    made = make(tmp_path)
    yield made
    made.clear()


@pytest.fixture
def name() -> str:
    return f"c{uuid.uuid4().hex[:8]}"


def state_of(engine: Engine, name: str) -> str:
    return {one.container_name: one.state for one in engine.runtime.discover()}.get(name, "absent")


def test_it_says_what_it_is(engine: Engine) -> None:
    facts = engine.runtime.facts()
    assert facts.name
    assert facts.version
    assert facts.oci_runtime
    assert facts.storage.is_absolute()


def test_only_labelled_containers_are_found(engine: Engine, name: str) -> None:
    mine = engine.run(name)
    engine.run(f"{name}-other", label=False)
    found = {one.container: one for one in engine.runtime.discover()}
    assert set(found) == {mine}
    assert found[mine].name == f"{name}-work"
    assert found[mine].container_name == name
    assert found[mine].state == "running"
    assert found[mine].memory_bytes > 0


def test_a_workload_is_found_by_its_label_and_by_its_container(engine: Engine, name: str) -> None:
    container = engine.run(name)
    assert engine.runtime.inspect(f"{name}-work").container == container
    assert engine.runtime.inspect(name).container == container


def test_a_description_survives_the_wire(engine: Engine, name: str) -> None:
    engine.run(name, volume=f"{name}-data")
    spec = engine.runtime.inspect(name)
    assert codec.load(WorkloadSpec, codec.dump(spec)) == spec
    assert spec.running
    assert not spec.blockers
    assert [(one.name, one.mode) for one in spec.volumes] == [(f"{name}-data", "move")]


def test_an_unknown_workload_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFound, match="nobody"):
        engine.runtime.inspect("nobody")


def test_a_container_that_did_not_opt_in_is_blocked_not_hidden(engine: Engine, name: str) -> None:
    engine.run(name, label=False)
    blockers = engine.runtime.inspect(name).blockers
    assert [one.code for one in blockers] == ["not-labelled"]
    assert "porter.enable=true" in blockers[0].remedy


def test_freezing_stops_it_and_can_be_repeated(engine: Engine, name: str) -> None:
    container = engine.run(name)
    engine.remember(container, "kept")
    engine.runtime.freeze(container)
    engine.runtime.freeze(container)
    assert state_of(engine, name) == "paused"
    assert "paused" in [one.code for one in engine.runtime.inspect(name).blockers]
    engine.runtime.thaw(container)
    engine.runtime.thaw(container)
    assert state_of(engine, name) == "running"
    assert engine.recall(container) == "kept"


def test_what_is_absent_is_thawed_and_removed_already(engine: Engine) -> None:
    engine.runtime.thaw("0" * 64)
    engine.runtime.remove("0" * 64, ["no-such-volume"])
    engine.runtime.discard_twin("never")
    engine.runtime.release_twin("never")
    assert engine.runtime.find_twin("never") is None
    with pytest.raises(NotFound):
        engine.runtime.freeze("0" * 64)


@pytest.mark.parametrize("frozen", [False, True])
def test_removing_takes_volumes_along(engine: Engine, name: str, frozen: bool) -> None:
    container = engine.run(name, volume=f"{name}-data")
    if frozen:
        engine.runtime.freeze(container)
    for _ in range(2):
        engine.runtime.remove(container, [f"{name}-data"])
        assert not engine.exists(container)
        assert f"{name}-data" not in engine.volumes()


def test_a_dump_leaves_it_alive_and_frozen(engine: Engine, name: str) -> None:
    container = engine.run(name)
    engine.remember(container, "kept")
    engine.runtime.freeze(container)
    images = engine.directory / "images"
    engine.runtime.dump(container, images, engine.directory / "work")
    names = {path.name for path in images.iterdir()}
    assert "inventory.img" in names
    assert any(one.startswith("pages-") for one in names)
    assert state_of(engine, name) == "paused"
    engine.runtime.thaw(container)
    assert engine.recall(container) == "kept"


def test_what_does_not_run_cannot_be_dumped(engine: Engine) -> None:
    with pytest.raises(NotFound):
        engine.runtime.dump("0" * 64, engine.directory / "i", engine.directory / "w")


def test_a_whole_move_keeps_memory_names_and_volumes(engine: Engine, name: str) -> None:
    container = engine.run(name, volume=f"{name}-data")
    engine.remember(container, "kept")
    before = engine.runtime.inspect(name)
    moved = Move(engine, name).whole()
    assert moved != container
    assert not engine.exists(container)
    assert engine.recall(moved) == "kept"
    after = engine.runtime.inspect(f"{name}-work")
    assert after.container == moved
    assert not after.blockers
    same = ("name", "container_name", "hostname", "labels", "volumes", "address", "mac", "image")
    assert all(getattr(after, one) == getattr(before, one) for one in same)
    assert after.expect == before.expect


def test_moving_again_and_again_changes_nothing_more(engine: Engine, name: str) -> None:
    engine.remember(engine.run(name), "kept")
    Move(engine, name).whole()
    first = engine.runtime.inspect(name)
    moved = Move(engine, name).whole()
    second = engine.runtime.inspect(name)
    assert engine.recall(moved) == "kept"
    assert second.create == first.create
    assert second.expect == first.expect


def test_the_same_migration_finds_its_twin_again(engine: Engine, name: str) -> None:
    engine.run(name)
    move = Move(engine, name)
    move.leave()
    twin = engine.runtime.create_twin(move.spec, move.migration)
    assert engine.runtime.create_twin(move.spec, move.migration) == twin
    assert engine.runtime.find_twin(move.migration) == twin
    assert {tree.name for tree in twin.trees} >= {"rootfs", "shm"}
    assert all(tree.path.is_dir() for tree in twin.trees)
    assert twin.images.is_dir()
    assert state_of(engine, name) in ("created", "exited")


def test_a_discarded_twin_leaves_nothing(engine: Engine, name: str) -> None:
    engine.run(name, volume=f"{name}-data")
    move = Move(engine, name)
    move.leave()
    twin = move.arrive()
    for _ in range(2):
        engine.runtime.discard_twin(move.migration)
        assert not engine.exists(twin.container)
        assert f"{name}-data" not in engine.volumes()
        assert not twin.images.exists()
        assert engine.runtime.find_twin(move.migration) is None


def test_a_twin_can_be_made_again_after_a_discard(engine: Engine, name: str) -> None:
    engine.remember(engine.run(name), "kept")
    move = Move(engine, name)
    move.leave()
    move.arrive()
    engine.runtime.discard_twin(move.migration)
    twin = move.arrive()
    engine.runtime.restore(twin)
    assert engine.recall(twin.container) == "kept"
    engine.runtime.discard_twin(move.migration)
    assert not engine.exists(twin.container)


def test_a_name_in_use_is_a_conflict(engine: Engine, name: str) -> None:
    container = engine.run(name)
    spec = engine.runtime.inspect(name)
    with pytest.raises(Conflict, match=name):
        engine.runtime.create_twin(spec, "m1")
    assert engine.exists(container)
    assert engine.runtime.find_twin("m1") is None


def test_a_volume_in_use_is_a_conflict(engine: Engine, name: str) -> None:
    engine.run(name, volume=f"{name}-data")
    move = Move(engine, name)
    move.leave()
    engine.run(f"{name}-2", volume=f"{name}-data")
    with pytest.raises(Conflict, match=f"{name}-data"):
        engine.runtime.create_twin(move.spec, move.migration)
    assert f"{name}-data" in engine.volumes()


def test_a_twin_that_would_differ_is_refused(engine: Engine, name: str) -> None:
    engine.run(name)
    move = Move(engine, name)
    move.leave()
    wrong = dataclasses.replace(
        move.spec, expect={**move.spec.expect, "labels": {"colour": "other"}}
    )
    with pytest.raises(Unsupported, match="labels"):
        engine.runtime.create_twin(wrong, move.migration)
    assert engine.runtime.find_twin(move.migration) is None
    assert name not in engine.runtime.names()


def test_a_missing_image_is_refused(engine: Engine, name: str) -> None:
    engine.run(name)
    spec = engine.runtime.inspect(name)
    image = dataclasses.replace(spec.image, id="f" * 64)
    with pytest.raises(Unsupported, match="image"):
        engine.runtime.create_twin(
            dataclasses.replace(spec, image=image, container_name=f"{name}-2"), "m1"
        )


def test_damaged_images_do_not_restore(engine: Engine, name: str) -> None:
    engine.run(name)
    move = Move(engine, name)
    move.leave()
    twin = move.arrive()
    (twin.images / "inventory.img").write_bytes(b"nonsense")
    with pytest.raises(PorterError):
        engine.runtime.restore(twin)
    assert state_of(engine, name) != "running"
    engine.runtime.discard_twin(move.migration)
    assert not engine.exists(twin.container)


def test_an_image_that_is_here_lacks_nothing(engine: Engine, name: str) -> None:
    engine.run(name)
    image = engine.runtime.inspect(name).image
    assert image.layers
    assert engine.runtime.missing(image) == ()
    stranger = dataclasses.replace(image, id="e" * 64, layers=(*image.layers, "sha256:" + "e" * 64))
    assert engine.runtime.missing(stranger) == ("sha256:" + "e" * 64,)


def test_an_image_is_exported_without_layers_that_are_not_asked_for(
    engine: Engine, name: str
) -> None:
    engine.run(name)
    image = engine.runtime.inspect(name).image
    place = engine.directory / "image"
    engine.runtime.export(image, [], place)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    assert 0 < size < 100_000
    engine.runtime.load(image, place)
    assert engine.runtime.missing(image) == ()
    other = dataclasses.replace(image, id="d" * 64)
    with pytest.raises(Permanent):
        engine.runtime.load(other, place)
    with pytest.raises(Permanent):
        engine.runtime.export(other, [], engine.directory / "other")
    with pytest.raises(Permanent, match="empty"):
        engine.runtime.export(image, [], place)
