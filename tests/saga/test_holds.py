"""A move is held, and a person decides: whatever comes back, dies or is told twice, one runs."""

from __future__ import annotations

import pytest

from porter.db.base import DecisionRecord
from porter.db.decisions import Decisions
from porter.domain.errors import Conflict, Permanent, Transient
from porter.domain.handover import Source, Target
from porter.domain.migration import MigrationState
from porter.migrate.decisions import check, consequence
from porter.protocol.messages import Kind
from porter.providers.base import InstanceState
from tests.saga.simulation import POINTS, SimHost
from tests.saga.world import World

SUCCEEDED, ROLLED_BACK = MigrationState.SUCCEEDED, MigrationState.ROLLED_BACK
AFTER_COMMIT = ("source: handed over", "target: running")


def held(world: World, migration: str) -> bool:
    return world.moves.story(migration).migration.state is MigrationState.HELD


def hold(world: World, source: SimHost, target: SimHost, point: str = AFTER_COMMIT[0]) -> str:
    """A migration whose target loses its power at a point after the commit, and stays away."""
    source.hook = lambda now: target.power_cut() if now == point else None
    migration = world.move("shop", "cloud")
    world.until(lambda: held(world, migration))
    source.hook = None
    return migration


def decide(
    world: World, migration: str, run_on: str = "source", proof: str = "declared"
) -> DecisionRecord:
    """As the API does it."""
    decision = DecisionRecord(migration, run_on, "it burnt", proof, "u1", "Ada", world.now)
    story = world.moves.story(migration)
    hosts = [world.registry.host(key) for key in (story.migration.source, story.migration.target)]
    book = Decisions(world.database)
    if book.find(migration) is None:
        check(story, decision, *hosts, world.ledger.of_host(story.migration.target))
    stands = book.decide(decision)
    world.enqueue(migration)
    return stands


def one_runs(world: World, name: str) -> None:
    assert world.runners("shop") == [name]
    assert world.registry.host(str(world.found.workload("shop").host)).name == name


@pytest.mark.parametrize("point", AFTER_COMMIT)
def test_the_target_never_comes_back(
    world: World, source: SimHost, target: SimHost, point: str
) -> None:
    migration = hold(world, source, target, point)
    assert "porter migration resolve" in world.moves.story(migration).migration.reason
    decide(world, migration)
    story = world.run(migration)
    assert story.migration.state is ROLLED_BACK
    one_runs(world, "onprem")
    assert source.sources[migration] is Source.FENCED
    reason = world.receipt(migration)["reason"]
    assert "Ada decided that it runs on onprem: it burnt" in reason
    assert "Ada declares that cloud is powered off" in reason
    assert {"decision", "fenced"} <= set(world.events(migration))
    for _ in range(40):
        world.tick()
    one_runs(world, "onprem")


@pytest.mark.parametrize("point", AFTER_COMMIT)
def test_the_target_comes_back_after_the_decision_and_gives_its_copy_up(
    world: World, source: SimHost, target: SimHost, point: str
) -> None:
    migration = hold(world, source, target, point)
    decide(world, migration)
    world.run(migration)
    world.revive(target)
    world.until(lambda: target.targets[migration] is Target.REFUSED)
    one_runs(world, "onprem")
    # And the workload can move there again.
    target.lost = ""
    assert world.run(world.move("shop", "cloud")).migration.state is SUCCEEDED
    one_runs(world, "cloud")


@pytest.mark.parametrize("wait", [0, 3, 9])
@pytest.mark.parametrize("point", AFTER_COMMIT)
def test_the_target_comes_back_while_the_decision_is_carried_out(
    world: World, source: SimHost, target: SimHost, point: str, wait: int
) -> None:
    migration = hold(world, source, target, point)
    source.fail[Kind.RECLAIM] = Transient("cannot do it now")
    decide(world, migration)
    for _ in range(wait):
        world.tick()
    world.revive(target)
    for _ in range(6):
        world.tick()
    assert world.runners("shop") == []
    source.fail.clear()
    assert world.run(migration).migration.state is ROLLED_BACK
    world.until(lambda: target.targets[migration] is Target.REFUSED)
    one_runs(world, "onprem")


def test_the_source_has_let_go_just_before(world: World, source: SimHost, target: SimHost) -> None:
    """It heard that the target runs, and could not tell us before the decision."""
    migration = hold(world, source, target, AFTER_COMMIT[1])
    source.sources[migration] = Source.GONE
    decide(world, migration)
    assert world.run(migration).migration.state is ROLLED_BACK
    one_runs(world, "onprem")


@pytest.mark.parametrize("seed", range(2))
def test_decisions_are_doubled_and_everything_reordered(
    world: World, source: SimHost, target: SimHost, seed: int
) -> None:
    migration = hold(world, source, target)
    world.rng.seed(seed)
    world.loss, world.double = 0.4, 0.4
    first = decide(world, migration)
    for _ in range(3):
        assert decide(world, migration) == first
        world.tick()
    assert world.run(migration).migration.state is ROLLED_BACK
    assert decide(world, migration) == first
    assert world.events(migration).count("decision") == 1
    assert world.events(migration).count("fenced") == 1
    world.revive(target)
    world.until(lambda: target.targets[migration] is Target.REFUSED)
    one_runs(world, "onprem")


@pytest.mark.parametrize("where", ["before A", "after A", "before B", "after B"])
@pytest.mark.parametrize("call", range(3))
def test_a_worker_dies_over_the_decision(
    world: World, source: SimHost, target: SimHost, call: int, where: str
) -> None:
    migration = hold(world, source, target)
    world.journal.die_at = (world.journal.calls + call, where)
    decide(world, migration)
    assert world.run(migration).migration.state is ROLLED_BACK
    world.revive(target)
    world.until(lambda: target.targets[migration] is Target.REFUSED)
    one_runs(world, "onprem")


# -- Porter fences by itself ------------------------------------------------------------------


def test_the_provider_powers_the_target_off(world: World, source: SimHost, target: SimHost) -> None:
    cloud = world.cloud("fake:one")
    cloud.slow = 3
    migration = world.provision("shop", "fake:one")
    made: list[SimHost] = []

    def cut_off(now: str) -> None:
        if now == AFTER_COMMIT[1]:
            made.extend(host for host in world.hosts.values() if host.made)
            world.cut_off.add(made[0].id)
            world.parted.add(frozenset((source.id, made[0].id)))

    source.hook = cut_off
    world.until(lambda: held(world, migration))
    assert world.runners("shop") == [made[0].name]
    decide(world, migration, proof="provider")
    states = []
    world.watch.append(lambda: states.append([i.state for i in cloud.instances.values()]))
    story = world.run(migration)
    assert story.migration.state is ROLLED_BACK
    assert [InstanceState.STOPPED] in states
    assert not cloud.instances, "what was made for the move is removed"
    assert "fake:one has powered off" in world.receipt(migration)["reason"]
    one_runs(world, "onprem")


def test_what_the_provider_refuses_can_be_declared(
    world: World, source: SimHost, target: SimHost
) -> None:
    migration = hold(world, source, target)
    world.cloud("lab")
    world.ledger.begin("k1", world.registry.host("cloud"), None, "small", None, world.now)
    world.clouds["lab"].fail_next = Permanent("cannot power off: denied")
    decide(world, migration, proof="provider")
    world.until(lambda: "denied" in world.moves.story(migration).migration.reason)
    assert held(world, migration)
    assert world.runners("shop") == []
    world.clouds["lab"].fail_next = Permanent("cannot power off: denied")
    assert decide(world, migration, proof="declared").proof == "declared"
    assert world.run(migration).migration.state is ROLLED_BACK
    one_runs(world, "onprem")


# -- tasks that were lost on the target -------------------------------------------------------


def lose(world: World, source: SimHost, target: SimHost) -> str:
    """The target took over, and its tasks ended at once."""

    def leave_behind(_point: str) -> None:
        source.hook = None
        source._be_source(migration, Source.HANDED_OVER)
        target.targets[migration] = Target.RUNNING
        target.lost = "tasks lost: CRIU was killed"
        raise Permanent("cannot say how far it came")

    source.hook = leave_behind
    migration = world.move("shop", "cloud")
    world.until(lambda: "holds it frozen" in world.moves.story(migration).migration.reason)
    return migration


def test_lost_on_the_target_and_thawed_on_the_source(
    world: World, source: SimHost, target: SimHost
) -> None:
    migration = lose(world, source, target)
    decision = decide(world, migration, proof="")
    assert "as they were at the handover" in consequence(world.moves.story(migration), decision)
    assert world.run(migration).migration.state is ROLLED_BACK
    assert target.targets[migration] is Target.REFUSED
    assert "cloud discarded what was left there" in world.receipt(migration)["reason"]
    one_runs(world, "onprem")


def test_lost_on_the_target_and_given_up(world: World, source: SimHost, target: SimHost) -> None:
    migration = lose(world, source, target)
    decision = decide(world, migration, "target", "")
    assert "lost for good" in consequence(world.moves.story(migration), decision)
    story = world.run(migration)
    assert story.migration.state is SUCCEEDED
    assert "Ada decided that it runs on cloud" in world.receipt(migration)["reason"]
    assert source.sources[migration] is Source.GONE
    assert world.runners("shop") == []


def test_lost_in_a_power_cut_and_the_target_is_back(
    world: World, source: SimHost, target: SimHost
) -> None:
    """It never makes the source let go of the only good copy; a person decides."""
    migration = hold(world, source, target, AFTER_COMMIT[1])
    world.revive(target)
    world.until(lambda: "holds it frozen" in world.moves.story(migration).migration.reason)
    decide(world, migration, proof="")
    assert world.run(migration).migration.state is ROLLED_BACK
    one_runs(world, "onprem")


def test_the_target_dies_over_giving_up_and_is_then_declared_off(
    world: World, source: SimHost, target: SimHost
) -> None:
    migration = lose(world, source, target)
    decide(world, migration, proof="")
    world.kill(target)
    for _ in range(40):
        world.tick()
    assert held(world, migration)
    assert world.runners("shop") == []
    decide(world, migration, proof="declared")
    assert world.run(migration).migration.state is ROLLED_BACK
    one_runs(world, "onprem")


# -- the source is away -----------------------------------------------------------------------


def test_the_target_takes_over_from_a_source_that_is_away(
    world: World, source: SimHost, target: SimHost
) -> None:
    """It said that it handed over, so it cannot run again by itself."""
    pair = frozenset((source.id, target.id))
    source.hook = lambda now: world.parted.add(pair) if now == AFTER_COMMIT[0] else None
    target.fail[Kind.RESOLVE] = Transient("cannot do it now")
    migration = world.move("shop", "cloud")
    world.until(lambda: source.sources.get(migration) is Source.HANDED_OVER)
    for _ in range(8):
        world.tick()
    world.kill(source)
    target.fail.clear()
    for _ in range(60):
        world.tick()
    assert world.runners("shop") == []
    assert held(world, migration)
    decide(world, migration, "target", "")
    world.until(lambda: world.runners("shop") == ["cloud"])
    world.revive(source)
    assert world.run(migration).migration.state is SUCCEEDED
    one_runs(world, "cloud")


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run_on", "proof", "why"),
    [
        ("source", "", "nobody knows that cloud does not run it"),
        ("source", "provider", "Porter did not make cloud"),
        ("target", "", "it does not answer"),
    ],
)
def test_unsound_decisions_are_refused(
    world: World, source: SimHost, target: SimHost, run_on: str, proof: str, why: str
) -> None:
    migration = hold(world, source, target)
    with pytest.raises(Conflict, match=why):
        decide(world, migration, run_on, proof)
    assert held(world, migration)
    assert world.runners("shop") == []


def test_a_host_that_answers_is_not_off(world: World, source: SimHost, target: SimHost) -> None:
    migration = lose(world, source, target)
    with pytest.raises(Conflict, match="but it answers"):
        decide(world, migration)


def test_only_held_migrations_are_decided(world: World, source: SimHost, target: SimHost) -> None:
    migration = world.move("shop", "cloud")
    with pytest.raises(Conflict, match="it is not held"):
        decide(world, migration)
    world.run(migration)
    with pytest.raises(Conflict, match="it is not held"):
        decide(world, migration)


def test_a_decision_for_the_source_stands(world: World, source: SimHost, target: SimHost) -> None:
    migration = hold(world, source, target)
    decide(world, migration)
    with pytest.raises(Conflict, match="Ada decided that"):
        decide(world, migration, "target", "")


@pytest.mark.parametrize("point", POINTS[:3])
def test_before_the_commit_nobody_has_to_decide(
    world: World, source: SimHost, target: SimHost, point: str
) -> None:
    source.hook = lambda now: target.power_cut() if now == point else None
    migration = world.move("shop", "cloud")
    world.until(lambda: world.runners("shop") == ["onprem"] and not target.alive)
    source.hook = None
    world.revive(target)
    assert world.run(migration).migration.state is ROLLED_BACK
