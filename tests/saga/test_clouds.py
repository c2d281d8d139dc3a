"""Machines are made for a move, endpoints follow it, and nothing is left running unseen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porter.domain.errors import Denied, Permanent, Transient
from porter.domain.migration import MigrationState
from porter.migrate import strays
from porter.migrate.plan import Options
from porter.providers.base import InstanceState
from porter.providers.fake import World as Cloud
from tests.saga.simulation import SimHost
from tests.saga.world import IDLE, World

SITE = "fake:west"


@pytest.fixture
def cloud(world: World, source: SimHost) -> Cloud:
    world.start("shop", source)

    def never_two() -> None:
        assert len(world.runners("shop")) <= 1, "it runs twice"

    world.watch.append(never_two)
    return world.cloud(SITE)


def standing(cloud: Cloud) -> list[str]:
    return [one.instance_type for one in cloud.instances.values()]


def test_the_cheapest_fitting_machine_is_made(world: World, cloud: Cloud) -> None:
    migration = world.provision("shop", SITE)
    story = world.run(migration)
    assert story.migration.state is MigrationState.SUCCEEDED, story.migration.reason
    # The ARM machine is cheaper, and the unpriced one may be: neither is chosen.
    assert standing(cloud) == ["small"]
    [runner] = world.runners("shop")
    assert runner == story.migration.target_name
    assert runner.startswith(SITE)
    receipt = world.receipt(migration)
    assert receipt["phases"][0]["name"] == "provision"
    assert receipt["cost"]["target"]["amount"] == "0.02"
    assert receipt["cost"]["target"]["as_of"]
    # Nobody added the site "lab", so what its traffic costs is unknown, not nothing.
    assert receipt["cost"]["egress"]["amount"] is None
    assert "lab" in receipt["cost"]["egress"]["source"]


def test_a_machine_that_was_left_is_removed(world: World, source: SimHost, cloud: Cloud) -> None:
    world.run(world.provision("shop", SITE))
    back = world.move("shop", source.name, options=Options(release=True))
    assert world.run(back).migration.state is MigrationState.SUCCEEDED
    world.until(lambda: not cloud.instances)
    world.until(lambda: [host.name for host in world.registry.hosts()] == ["onprem"])


def test_without_release_it_is_removed_when_idle(
    world: World, source: SimHost, cloud: Cloud
) -> None:
    world.run(world.provision("shop", SITE))
    world.run(world.move("shop", source.name))
    left = world.now
    world.until(lambda: not cloud.instances, IDLE * 2)
    assert world.now - left >= IDLE - 1


def test_a_machine_with_a_workload_stays(world: World, cloud: Cloud) -> None:
    world.run(world.provision("shop", SITE))
    later = world.now + 4 * IDLE
    world.until(lambda: world.now > later, 5 * IDLE)
    assert standing(cloud) == ["small"]


def test_no_capacity_leads_to_the_next_candidate(world: World, cloud: Cloud) -> None:
    cloud.empty = {"small"}
    migration = world.provision("shop", SITE)
    assert world.run(migration).migration.state is MigrationState.SUCCEEDED
    assert standing(cloud) == ["large"]
    assert sum(cloud.launches.values()) == 1


def test_nothing_to_be_had_is_a_clean_undo(world: World, source: SimHost, cloud: Cloud) -> None:
    cloud.empty = set(cloud.types)
    story = world.run(world.provision("shop", SITE))
    assert story.migration.state is MigrationState.ROLLED_BACK
    assert "capacity" in story.migration.reason
    assert not cloud.instances
    assert world.runners("shop") == ["onprem"]
    world.until(lambda: len(world.registry.hosts()) == 1)


def test_too_dear_is_refused_before_anything_is_made(world: World, cloud: Cloud) -> None:
    story = world.run(world.provision("shop", SITE, max_price="0.001"))
    assert story.migration.state is MigrationState.ROLLED_BACK
    assert "0.001" in story.migration.reason
    assert not cloud.launches


def test_a_machine_whose_agent_never_joins_is_removed(world: World, cloud: Cloud) -> None:
    world.deaf = {"small"}
    story = world.run(world.provision("shop", SITE), 300)
    assert story.migration.state is MigrationState.ROLLED_BACK
    assert "has not joined" in story.migration.reason
    assert not cloud.instances
    assert world.runners("shop") == ["onprem"]


def test_an_agent_that_joins_before_its_machine_is_said_to_run(world: World, cloud: Cloud) -> None:
    cloud.slow, world.hasty = 3, True
    story = world.run(world.provision("shop", SITE))
    assert story.migration.state is MigrationState.SUCCEEDED
    (row,) = world.ledger.standing()
    (machine,) = cloud.instances.values()
    assert (row.state, row.instance) == ("running", machine.id)
    assert row.launched_at is not None


def test_a_machine_that_vanishes_is_replaced(world: World, cloud: Cloud) -> None:
    world.deaf = {"small"}
    migration = world.provision("shop", SITE)
    world.until(lambda: any(i.state is InstanceState.RUNNING for i in cloud.instances.values()))
    cloud.instances.clear()
    assert world.run(migration, 300).migration.state is MigrationState.SUCCEEDED
    assert standing(cloud) == ["large"]


def test_a_cancelled_provision_leaves_nothing(world: World, cloud: Cloud) -> None:
    cloud.slow = 1000
    migration = world.provision("shop", SITE)
    world.until(lambda: bool(cloud.instances))
    cloud.slow = 2
    world.cancel(migration)
    assert world.run(migration).migration.state is MigrationState.ROLLED_BACK
    assert not cloud.instances


def test_a_missing_right_is_named(world: World, cloud: Cloud) -> None:
    migration = world.provision("shop", SITE)
    cloud.fail_next = Denied("cannot launch: fake:Launch is missing", "grant fake:Launch")
    story = world.run(migration)
    assert story.migration.state is MigrationState.ROLLED_BACK
    assert "fake:Launch" in story.migration.reason
    assert not cloud.instances


@pytest.mark.parametrize("effect", ["before", "after"])
def test_a_lost_answer_makes_no_second_machine(world: World, cloud: Cloud, effect: str) -> None:
    migration = world.provision("shop", SITE)
    error = Transient("cannot reach the cloud: timed out")
    if effect == "before":
        cloud.fail_next = error
    else:
        cloud.after_effect = error
    assert world.run(migration).migration.state is MigrationState.SUCCEEDED
    assert sum(cloud.launches.values()) == 1
    assert len(cloud.instances) == 1


@pytest.mark.parametrize("where", ["after A", "before B", "after B"])
@pytest.mark.parametrize("call", range(10))
def test_a_worker_killed_anywhere_leaves_one_machine(
    world: World, cloud: Cloud, where: str, call: int
) -> None:
    cloud.slow = 2
    world.journal.die_at = (call, where)
    story = world.run(world.provision("shop", SITE), 300)
    assert story.migration.state is MigrationState.SUCCEEDED, story.migration.reason
    assert world.deaths == 1
    assert sum(cloud.launches.values()) == 1
    assert len(cloud.instances) == 1
    assert len(world.runners("shop")) == 1


@pytest.mark.parametrize("call", range(3, 12))
def test_a_worker_killed_while_undoing_leaves_none(world: World, cloud: Cloud, call: int) -> None:
    cloud.slow = 2
    world.journal.die_at = (call, "before B")
    world.deaf = {"small"}
    story = world.run(world.provision("shop", SITE), 400)
    assert story.migration.state is MigrationState.ROLLED_BACK
    assert not cloud.instances
    assert all(row.state == "gone" for row in world.ledger.of_site(SITE))


# -- endpoints ------------------------------------------------------------------------------


def test_endpoints_follow(world: World, source: SimHost, cloud: Cloud) -> None:
    cloud.groups["shop"] = {"10.0.0.1:80": 1}
    cloud.addresses["203.0.113.7"] = ""
    source.labels["porter.endpoint"] = f"dns=shop.example.test@{SITE}?ttl=30,lb=shop:80@{SITE}"
    world.found.declare("shop", [f"ip=203.0.113.7@{SITE}"], world.now)
    cloud.slow = 2
    migration = world.provision("shop", SITE)
    assert world.run(migration).migration.state is MigrationState.SUCCEEDED
    [machine] = cloud.instances.values()
    [target] = [host for host in world.registry.hosts() if host.name == machine.name]
    assert target.facts is not None
    record = cloud.records["shop.example.test"]
    assert (record.ttl, dict(record.weights)) == (30, {target.facts.underlay: 1})
    assert cloud.groups["shop"] == {f"{target.facts.underlay}:80": 1}
    assert cloud.addresses["203.0.113.7"] == machine.id
    assert len(world.receipt(migration)["endpoints"]) == 3


def test_an_endpoint_that_cannot_follow_is_told(
    world: World, source: SimHost, cloud: Cloud
) -> None:
    source.labels["porter.endpoint"] = f"lb=missing:80@{SITE},dns=shop.example.test@{SITE}"
    migration = world.provision("shop", SITE)
    assert world.run(migration).migration.state is MigrationState.SUCCEEDED
    receipt = world.receipt(migration)
    assert "missing" in receipt["reason"]
    assert receipt["endpoints"] == [f"dns=shop.example.test@{SITE}"]


def test_a_label_that_cannot_be_read_stops_nothing(
    world: World, source: SimHost, cloud: Cloud
) -> None:
    source.labels["porter.endpoint"] = "nonsense"
    migration = world.provision("shop", SITE)
    assert world.run(migration).migration.state is MigrationState.SUCCEEDED
    assert "nonsense" in world.receipt(migration)["reason"]


def test_a_failing_name_server_is_tried_again(world: World, source: SimHost, cloud: Cloud) -> None:
    world.found.declare("shop", [f"dns=shop.example.test@{SITE}"], world.now)
    world.run(world.provision("shop", SITE))
    cloud.fail_next = Permanent("cannot set the record: the service is away")
    back = world.move("shop", source.name)
    assert world.run(back).migration.state is MigrationState.SUCCEEDED
    home = world.registry.host(source.id)
    assert home.facts is not None
    assert dict(cloud.records["shop.example.test"].weights) == {home.facts.underlay: 1}


# -- strays ---------------------------------------------------------------------------------


def test_strays_are_found_explained_and_removed(world: World, cloud: Cloud) -> None:
    world.run(world.provision("shop", SITE))
    [known] = strays.find(world.machines, SITE)
    assert known.verdict == "known"
    key = next(iter(cloud.instances))
    cloud.owners["p-old"] = world.machines.owner
    cloud.instances["p-old"] = replace(cloud.instances[key], key="p-old", id="i-old")
    cloud.owners["theirs"] = "somebody-else"
    cloud.instances["theirs"] = replace(cloud.instances[key], key="theirs", id="i-theirs")
    found = strays.find(world.machines, SITE)
    assert [(one.id, one.verdict) for one in found if one.verdict != "known"] == [
        ("i-old", "stray")
    ]
    assert strays.remove(world.machines, SITE, found, world.now) == []
    assert set(cloud.instances) == {key, "theirs"}


def test_a_machine_removed_by_hand_is_written_off(world: World, cloud: Cloud) -> None:
    world.run(world.provision("shop", SITE))
    cloud.instances.clear()
    [lost] = strays.find(world.machines, SITE)
    assert lost.verdict == "lost"
    strays.remove(world.machines, SITE, [lost], world.now)
    assert strays.find(world.machines, SITE) == []
