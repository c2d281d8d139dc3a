"""Proposals are made, decided on, and carried out once, whatever dies."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest

from porter.db.proposals import ProposalRecord, ProposalState
from porter.domain.errors import ApprovalRequired, Conflict, Denied, Lapsed, Permanent
from porter.protocol.joining import HostNotice
from porter.protocol.messages import Kind
from porter.providers.base import Instance, LaunchSpec, Pending
from porter.providers.fake import FakeHosts
from porter.schedule.optimiser.model import Bundle, Problem
from porter.schedule.outlook import Foretell, Outlook, Span
from porter.schedule.snapshot import Scope
from tests.saga.port import ANN, BOB, Port, bundle, refused
from tests.saga.simulation import SimHost
from tests.saga.world import IDLE, World

WEST = "fake:west"
NEW = f"{WEST}/small/on_demand#1"
NAMES = ("shop", "cart")


@pytest.fixture
def port(world: World) -> Port:
    """Two workloads on one old host of a cloud; another cloud with machines for both."""
    world.cloud("fake:east")
    world.cloud(WEST)
    old = world.host("old", "fake:east")
    for name in NAMES:
        world.start(name, old)

    def never_two() -> None:
        for name in NAMES:
            assert len(world.runners(name)) <= 1, f"{name} runs twice"

    world.watch.append(never_two)
    return Port(world)


def to_new(problem: Problem) -> list[Bundle]:
    """Both to one new machine."""
    free = {job.name: job.host for job in problem.jobs if job.pinned is None}
    steps = [(name, free[name], NEW) for name in NAMES if name in free]
    return [bundle(steps[:1], steps[1:], machines=[NEW])] if len(steps) == 2 else []


def moved(port: Port) -> list[str]:
    return [port.where(name) for name in NAMES]


def test_two_workloads_go_to_one_new_machine(port: Port) -> None:
    [made] = port.rebalance(to_new)
    assert made.state == ProposalState.OPEN
    assert made.project == "default"
    done = port.execute(made.id)
    assert done.state == ProposalState.DONE, done.reason
    assert done.reason == "2 of 2 moves were made"
    [first, second] = moved(port)
    assert first == second
    assert first.startswith("fake-west")
    cloud = port.world.clouds[WEST]
    assert [one.instance_type for one in cloud.instances.values()] == ["small"]
    keys = [move.migration for move in port.proposals.moves(made.id)]
    assert len(set(keys)) == 2
    # Once: to ask again changes nothing.
    again = port.authority.execute(made.id, ANN, port.world.now)
    assert again.state == ProposalState.DONE
    assert port.proposals.due(port.world.now + 1000) == []


def to_one(problem: Problem) -> list[Bundle]:
    """From both machines to the first; the second ends."""
    jobs = sorted((job for job in problem.jobs if job.pinned is None), key=lambda one: one.host)
    if len(jobs) != 2 or jobs[0].host == jobs[1].host:
        return []
    return [bundle([(jobs[1].name, jobs[1].host, jobs[0].host)], ended=[jobs[1].host])]


@pytest.fixture
def apart(port: Port) -> Port:
    """Each workload on a machine of its own that Porter made."""
    for name in NAMES:
        port.world.run(port.world.provision(name, WEST))
    port.until(lambda: all(one.facts for one in port.world.registry.hosts()))
    return port


def test_the_machine_that_is_left_ends(apart: Port) -> None:
    [made] = apart.rebalance(to_one)
    assert len(made.content["ended"]) == 1
    assert [move["release"] for move in made.content["moves"]] == [True]
    done = apart.execute(made.id)
    assert done.state == ProposalState.DONE, done.reason
    assert len(set(moved(apart))) == 1
    apart.until(lambda: len(apart.world.clouds[WEST].instances) == 1)


def test_sums_are_exact_and_say_where_from(apart: Port) -> None:
    [made] = apart.rebalance(to_one, horizon_s=30 * 86400.0)
    sums = made.content["sums"]
    assert sums["currency"] == "USD"
    # Two machines at 0.02 an hour for 30 days; afterwards one.
    assert Decimal(sums["before"]) == Decimal("0.02") * 24 * 30 * 2
    lines = {(one["what"], one["of"]): one for one in sums["lines"]}
    ended = made.content["ended"][0]
    assert lines["machine", ended]["after"] == "0.000000"
    assert lines["machine", ended]["basis"]["source"] == "fake"
    assert lines["machine", ended]["basis"]["as_of"].startswith("2026-01-01")
    double = lines["double", ended]
    assert double["once"]
    seconds = made.content["moves"][0]["outlook"]["total_s"]["likely"]
    expected = Decimal("0.02") * Decimal(str(seconds)) / 3600
    assert Decimal(double["after"]) == expected.quantize(Decimal("0.000001"))
    assert Decimal(sums["saving"]) == Decimal(sums["before"]) - Decimal(sums["after"])
    assert Decimal(sums["once"]) == Decimal(double["after"])


def test_a_dry_run_proposes_nothing(port: Port) -> None:
    port.oracle.say = to_new
    run, outcome = port.authority.run(Scope(dry_run=True), ANN, port.world.now)
    assert len(outcome.proposals) == 1
    assert run.answer is not None
    assert len(run.answer["would"]) == 1
    assert port.proposals.all() == []


# -- what stops one


def test_a_failed_move_stops_it_and_says_what_was_done(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    old = world.hosts["h-old"]
    fails = Permanent("cannot inspect cart: it burnt")
    original = old._run

    def run(command: Any) -> object:
        if command.kind is Kind.INSPECT and command.payload["workload"] == "cart":
            raise fails
        return original(command)

    old._run = run  # type: ignore[method-assign]
    done = port.execute(made.id)
    assert done.state == ProposalState.STOPPED
    assert "1 of 2 moves were made" in done.reason
    assert "not made: cart" in done.reason
    assert "it burnt" in done.reason
    assert port.where("cart") == "old"
    assert port.where("shop") != "old"
    states = [move.state for move in port.proposals.moves(made.id)]
    assert states == ["done", "failed"]


def test_no_capacity_stops_it_cleanly(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    world.clouds[WEST].empty = {"small"}
    done = port.execute(made.id)
    assert done.state == ProposalState.STOPPED
    assert "capacity" in done.reason
    assert "0 of 2 moves" in done.reason
    assert moved(port) == ["old", "old"]
    assert not world.clouds[WEST].instances, "no other type is tried"
    states = [move.state for move in port.proposals.moves(made.id)]
    assert states == ["failed", "skipped"]


def test_a_machine_that_became_dearer_is_not_made(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    port.authority.execute(made.id, ANN, world.now)
    kind, _ = world.clouds[WEST].types["small"]
    world.clouds[WEST].types["small"] = (kind, Decimal("0.03"))
    done = port.finish(made.id)
    assert done.state == ProposalState.STOPPED
    assert "costs more than 0.0204 an hour now" in done.reason
    assert not world.clouds[WEST].launches
    assert moved(port) == ["old", "old"]


def test_a_spot_machine_is_made_where_policies_allow_it(
    port: Port, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(port, "placement: {spot: true}")
    spot = f"{WEST}/small/spot#1"
    wanted: list[bool] = []
    launch = FakeHosts.launch

    def seen(self: FakeHosts, spec: LaunchSpec, token: str = "") -> Instance | Pending:
        wanted.append(spec.spot)
        return launch(self, spec, token)

    monkeypatch.setattr(FakeHosts, "launch", seen)
    [made] = port.rebalance(lambda problem: [bundle([("shop", "old", spot)], machines=[spot])])
    done = port.execute(made.id)
    assert done.state == ProposalState.DONE, done.reason
    assert wanted
    assert all(wanted)
    snapshot = port.photographer.take(Scope(), world.now)
    node = next(one for one in snapshot.problem.nodes if one.site == WEST)
    assert (node.spot, node.removable, node.interruptions > 0) == (True, True, True)


def test_a_container_that_does_not_run_after_the_move_stops_it(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)

    def dies() -> None:
        for host in world.hosts.values():
            if host.made:
                host.running.pop("shop", None)

    def settled() -> bool:
        first = port.proposals.moves(made.id)[0].migration
        return first is not None and bool(world.receipt(first).get("finished_at"))

    port.authority.execute(made.id, ANN, world.now)
    port.until(settled)
    dies()
    done = port.finish(made.id)
    assert done.state == ProposalState.STOPPED
    assert "no longer runs on" in done.reason
    assert port.where("cart") == "old"


class Hasty:
    """Promises a pause of a twentieth of a second at most; the simulation takes 0.12 s."""

    def learn(self) -> Foretell:
        promise = Outlook(Span(0.01, 0.03, 0.05), Span(1, 5, 600), Span(1, 2, 3), 0.0, "a promise")
        return lambda workload, source, site, spec: promise


def test_a_move_beyond_its_forecast_stops_it(port: Port, world: World) -> None:
    hasty = Port(world, Hasty())
    [made] = hasty.rebalance(to_new)
    done = hasty.execute(made.id)
    assert done.state == ProposalState.STOPPED
    assert "paused longer than expected: 0.12 s, where at most 0.05 s were forecast" in done.reason
    assert "1 of 2 moves were made" in done.reason
    assert hasty.where("cart") == "old"


def test_a_person_stops_it(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    port.authority.execute(made.id, ANN, world.now)
    port.tick()
    port.proposals.stop(made.id, ANN, "not now", world.now)
    port.proposals.stop(made.id, ANN, "twice is once", world.now)
    done = port.finish(made.id)
    assert done.state == ProposalState.STOPPED
    assert "Ann stopped it: not now" in done.reason
    # What was begun came to its end, what was not did not begin.
    assert port.where("shop") != "old"
    assert port.where("cart") == "old"


def test_a_stopped_proposals_empty_machine_is_reaped(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    old = world.hosts["h-old"]
    old.fail[Kind.HANDOVER] = Permanent("cannot hand over")
    done = port.execute(made.id)
    assert done.state == ProposalState.STOPPED
    world.until(lambda: not world.clouds[WEST].instances, IDLE * 3)
    assert moved(port) == ["old", "old"]


# -- policies


def keep(port: Port, rest: str, name: str = "p") -> None:
    text = f"version: 1\nname: {name}\nproject: default\n{rest}\n"
    port.policies.put(name, "default", text, "root", port.world.now)


def test_approval_by_another_person_bound_to_the_hash(port: Port, world: World) -> None:
    keep(port, 'approval: {to: ["fake:west"]}')
    [made] = port.rebalance(to_new)
    assert made.state == ProposalState.WAITING
    assert {one["workload"] for one in made.demands} == set(NAMES)
    assert isinstance(refused(lambda: port.execute(made.id)), ApprovalRequired)
    now = world.now
    with pytest.raises(Denied):
        port.proposals.approve(made.id, made.hash, ANN, "", now)
    with pytest.raises(Conflict):
        port.proposals.approve(made.id, "0" * 64, BOB, "", now)
    assert port.proposals.approve(made.id, made.hash, BOB, "fine", now).state == "approved"
    done = port.execute(made.id)
    assert done.state == ProposalState.DONE, done.reason


def test_residency_bars_what_the_optimiser_would_do(port: Port) -> None:
    keep(port, 'residency: {allow: ["fake:east"]}')
    assert port.rebalance(lambda problem: []) == []
    [job, _] = port.oracle.asked[-1].jobs
    assert job.barred[WEST].rule == "residency"
    assert WEST not in job.moves


def test_a_refusal_at_a_wave_stops_it(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    port.authority.execute(made.id, ANN, world.now)
    port.tick()
    keep(port, 'workloads: [cart]\nresidency: {allow: ["fake:east"]}')
    done = port.finish(made.id)
    assert done.state == ProposalState.STOPPED
    assert "fake:west" in done.reason
    assert port.where("cart") == "old"


def test_moves_begin_in_open_windows_only(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    # The world's clock says 13:46 UTC; the window opens at 14:00.
    port.authority.execute(made.id, ANN, world.now)
    port.tick()
    opens = world.now // 3600 * 3600 + 3600
    keep(port, "workloads: [cart]\nwindows: [{cron: 0 * * * *, zone: UTC, length: 5m}]")
    port.until(lambda: port.proposals.moves(made.id)[0].state == "done")
    assert port.proposals.moves(made.id)[1].state == "pending"
    port.jump(opens - world.now - 30)
    done = port.finish(made.id)
    assert done.state == ProposalState.DONE, done.reason
    begun = port.proposals.moves(made.id)[1].begun
    assert begun is not None
    assert opens <= begun < opens + 300


def test_a_closed_window_pins(port: Port) -> None:
    keep(port, "windows: [{cron: 0 15 * * *, zone: UTC, length: 1h}]")
    assert port.rebalance(to_new) == []
    stays = port.rebalances.get(port.run_id).stays or {}
    assert stays["shop"]["rule"] == "window"
    assert "15:00" in stays["shop"]["remedy"]


def test_budgets_are_counted_from_what_was_begun(port: Port, world: World) -> None:
    keep(port, "budget: {per_hour: 1}")
    [made] = port.rebalance(to_new)
    port.authority.execute(made.id, ANN, world.now)
    port.until(lambda: port.proposals.moves(made.id)[0].state == "done")
    port.jump(1800)
    for _ in range(10):
        port.tick()
    assert port.proposals.moves(made.id)[1].state == "pending"
    port.jump(1800)
    done = port.finish(made.id)
    assert done.state == ProposalState.DONE, done.reason
    begun = [move.begun or 0.0 for move in port.proposals.moves(made.id)]
    assert begun[1] - begun[0] >= 3600


def test_cool_down_pins(port: Port) -> None:
    keep(port, "budget: {cool_down: 6h}")
    [made] = port.rebalance(to_new)
    port.execute(made.id)
    assert port.rebalance(to_new) == []
    assert port.oracle.asked[-1].jobs[0].pinned is not None
    assert port.oracle.asked[-1].jobs[0].pinned.rule == "cool-down"


# -- drift


def test_a_price_that_moved_a_little_is_no_drift(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    kind, _ = world.clouds[WEST].types["small"]
    world.clouds[WEST].types["small"] = (kind, Decimal("0.0203"))
    port.authority.execute(made.id, ANN, world.now)  # 1.5 % is no drift
    port.proposals.stop(made.id, ANN, "", world.now)
    port.finish(made.id)
    assert port.proposals.get(made.id).started is not None


def test_a_price_that_jumped_is_said(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    kind, _ = world.clouds[WEST].types["small"]
    world.clouds[WEST].types["small"] = (kind, Decimal("0.03"))
    error = refused(lambda: port.execute(made.id))
    assert isinstance(error, Lapsed)
    assert "0.03 USD an hour, not 0.02" in error.message
    assert port.proposals.get(made.id).state == ProposalState.LAPSED
    assert not world.moves.active()


def test_the_sweep_finds_drift(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    kind, _ = world.clouds[WEST].types["small"]
    world.clouds[WEST].types["small"] = (kind, None)
    port.authority.sweep()
    assert port.proposals.get(made.id).state == ProposalState.OPEN, "prices are read now and then"
    world.now += 301
    port.authority.sweep()
    assert "not known any more" in port.proposals.get(made.id).reason


def test_policies_and_moves_that_change_let_it_lapse(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    keep(port, "budget: {per_day: 5}")
    port.authority.sweep()
    assert "policies have changed" in port.proposals.get(made.id).reason
    [made] = port.rebalance(to_new)
    world.host("other", "fake:east")
    world.run(world.move("shop", "other"))
    port.authority.sweep()
    assert "has moved" in port.proposals.get(made.id).reason


def test_it_expires(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    world.now = made.expires
    world.beat()
    assert isinstance(refused(lambda: port.execute(made.id)), Lapsed)
    assert port.proposals.get(made.id).reason == "it expired"


def test_a_newer_run_supersedes(port: Port) -> None:
    [old] = port.rebalance(to_new)
    [new] = port.rebalance(to_new)
    assert port.proposals.get(old.id).state == ProposalState.LAPSED
    assert port.run_id in port.proposals.get(old.id).reason
    assert new.state == ProposalState.OPEN


def test_what_is_carried_out_is_left_alone_by_a_new_run(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    port.authority.execute(made.id, ANN, world.now)
    assert port.rebalance(to_new) == []
    pinned = [job.pinned for job in port.oracle.asked[-1].jobs]
    assert all(bar is not None and made.id in bar.why for bar in pinned)
    assert port.finish(made.id).state == ProposalState.DONE


def test_declined(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    port.proposals.decline(made.id, BOB, "no", world.now)
    assert isinstance(refused(lambda: port.execute(made.id)), Conflict)


def test_projects_keep_apart(port: Port) -> None:
    assert port.rebalance(to_new, project="other") == []
    assert all(job.pinned is not None for job in port.oracle.asked[-1].jobs)
    assert port.rebalances.get(port.run_id).stays == {}


# -- the executor dies


def proven(port: Port, made: ProposalRecord, deaths: int) -> None:
    done = port.finish(made.id, 600)
    assert done.state == ProposalState.DONE, done.reason
    assert port.deaths == deaths
    assert len(set(moved(port))) == 1
    cloud = port.world.clouds[WEST]
    assert sum(cloud.launches.values()) == 1
    moves = port.world.database
    with moves.read() as c:
        begun = c.exec_driver_sql("SELECT count(*) FROM migrations").scalar()
    assert begun == 2, "each move is begun once"


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("call", range(9))
def test_the_executor_dies_at_its_own_transactions(
    port: Port, world: World, call: int, where: str
) -> None:
    [made] = port.rebalance(to_new)
    port.authority.execute(made.id, ANN, world.now)
    port.mortal_proposals.die_at = (call, where)
    proven(port, made, 1)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("call", range(4))
def test_the_executor_dies_at_the_moves_transactions(
    port: Port, world: World, call: int, where: str
) -> None:
    [made] = port.rebalance(to_new)
    port.authority.execute(made.id, ANN, world.now)
    port.mortal_moves.die_at = (call, where)
    proven(port, made, 1)


def test_the_executor_dies_all_the_time(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    port.authority.execute(made.id, ANN, world.now)
    deaths = 0
    places = itertools.cycle(["before", "after"])
    for call, where in zip(range(0, 40, 2), places, strict=False):
        port.mortal_proposals.die_at = (call, where)
        before = port.deaths
        for _ in range(200):
            if port.deaths > before or port.proposals.get(made.id).state != "executing":
                break
            port.tick()
        deaths = port.deaths
    port.mortal_proposals.die_at = None
    proven(port, made, deaths)


def test_a_late_executor_writes_nothing(port: Port, world: World) -> None:
    [made] = port.rebalance(to_new)
    port.authority.execute(made.id, ANN, world.now)
    late = port.proposals.claim(made.id, world.now, 10)
    assert late is not None
    assert port.proposals.claim(made.id, world.now + 5, 10) is None
    newer = port.proposals.claim(made.id, world.now + 11, 10)
    assert newer is not None
    assert not port.proposals.note(late, late.moves[0], world.now)


def test_a_target_that_is_to_be_taken_away_is_not_gone_to(apart: Port, world: World) -> None:
    [made] = apart.rebalance(to_one)
    target = made.content["moves"][0]["to"]
    sims: list[SimHost] = [one for one in world.hosts.values() if one.name == target]
    sims[0].notices = (HostNotice("terminate", ""),)
    world.beat()
    apart.authority.execute(made.id, ANN, world.now)
    done = apart.finish(made.id)
    assert done.state == ProposalState.STOPPED
    assert "is about to be taken away (terminate)" in done.reason
    assert not world.moves.active()


def test_a_host_is_gone_before_its_move(apart: Port, world: World) -> None:
    [made] = apart.rebalance(to_one)
    target = made.content["moves"][0]["to"]
    sims: list[SimHost] = [one for one in world.hosts.values() if one.name == target]
    world.cut_off.add(sims[0].id)
    apart.jump(200)
    apart.authority.execute(made.id, ANN, world.now)
    done = apart.finish(made.id)
    assert done.state == ProposalState.STOPPED
    assert "has said nothing" in done.reason
