"""Sums by hand, and a checker that sees each broken rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porter.schedule.optimiser.evaluate import Accountant, refused, stay_sums, violations
from porter.schedule.optimiser.model import Bundle, Machine, Move, Problem, Step
from tests.unit.schedule.small import NO, job, node, offer, problem


def bundle(of: Problem, *waves: list[Step], machines: tuple[Machine, ...] = ()) -> Bundle:
    steps = [step for wave in waves for step in wave]
    account = Accountant(of).account(steps, machines)
    rows = tuple(tuple(wave) for wave in waves)
    return Bundle(rows, machines, account.ended, account.before, account.after, account.once)


def rules(of: Problem, *bundles: Bundle) -> set[str]:
    return {bar.rule for bar in violations(of, bundles)}


def test_sums_of_a_node_that_ends() -> None:
    of = problem([job("a", "old"), job("b", "old")], [node("old"), node("big", hourly=0.3)])
    steps = [Step("a", "old", "big"), Step("b", "old", "big")]
    account = Accountant(of).account(steps, ())
    assert account.ended == ("old",)
    assert account.before.machines == pytest.approx(10.0)
    # `big` was empty and would have gone: it is paid because something comes
    assert account.after.machines == pytest.approx(30.0)
    assert account.after.double == pytest.approx(0.1 * 120 / 3600)
    assert account.after.egress == pytest.approx(1.0)
    assert account.once == pytest.approx(account.after.total - 30.0)


def test_a_machine_boots_while_the_node_that_ends_is_paid() -> None:
    of = problem([job("a", "old")], [node("old")], [offer("here/t/on_demand")])
    machine = Machine("here/t/on_demand#1", "here/t/on_demand")
    account = Accountant(of).account([Step("a", "old", machine.name)], [machine])
    assert account.after.machines == pytest.approx(5.0)
    assert account.after.double == pytest.approx(0.1 * (60 + 60) / 3600)


def test_spot_and_doomed_nodes_cost_their_risk() -> None:
    spot = node("spot", spot=True, interruptions=0.01, doomed=2.0)
    of = problem([job("a", "spot", interruption_cost=3.0)], [spot, node("safe", hourly=0.0)])
    assert stay_sums(of).interruptions == pytest.approx(100 * 0.01 * 3.0 + 2.0)
    account = Accountant(of).account([Step("a", "spot", "safe")], ())
    assert account.after.interruptions == 0.0


def test_an_empty_node_that_can_be_ended_counts_nothing() -> None:
    of = problem([job("a", "busy")], [node("busy"), node("idle")])
    assert stay_sums(of).machines == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"pinned": NO}, "pinned"),
        ({"moves": {"here": Move(0, 0, 0, 0, 0)}}, "barred"),
        ({"barred": {"there": NO}}, "barred"),
        ({"spot": NO}, "spot"),
        ({"arch": "aarch64"}, "arch"),
        ({"features": frozenset({"avx2"})}, "features"),
        ({"memory": 99}, "memory"),
        ({"arriving": 13}, "memory"),
        ({"cpus": 9.0}, "cpu"),
        ({"min_saving": 99.0}, "min-saving"),
        ({"payback_s": 1.0}, "payback"),
    ],
)
def test_a_broken_rule_is_seen(change: dict[str, object], rule: str) -> None:
    spot = node("spot", site="there", spot=True, hourly=0.0)
    of = problem([job("a", "old", **change)], [node("old"), spot])
    if rule in ("barred", "arch", "features", "memory", "cpu", "pinned", "spot"):
        good = problem([job("a", "old")], list(of.nodes))
        plan = bundle(good, [Step("a", "old", "spot")])
    else:
        plan = bundle(of, [Step("a", "old", "spot")])
    found = violations(of, [plan]) if rule != "barred" else _without_sums(of, plan)
    assert rule in {bar.rule for bar in found}


def _without_sums(of: Problem, plan: Bundle) -> list[object]:
    """Where no price of a move is known, nothing can be summed: only the rules are looked at."""
    allowed = problem([job("a", "old", barred={"there": NO})], list(of.nodes))
    return list(violations(allowed, [plan]))


def test_near_apart_closed_most_and_once() -> None:
    nodes = [node("n1"), node("n2", hourly=0.0), node("far", site="there", hourly=0.0)]
    near = problem([job("a", "n1", near="x"), job("b", "n2", near="x")], nodes)
    assert "near" in rules(near, bundle(near, [Step("a", "n1", "far")]))
    apart = problem([job("a", "n1", apart="x"), job("b", "n2", apart="x")], nodes)
    assert "apart" in rules(apart, bundle(apart, [Step("a", "n1", "n2")]))
    closed = problem([job("a", "n1")], [nodes[0], replace(nodes[1], closed=NO)])
    assert "closed" in rules(closed, bundle(closed, [Step("a", "n1", "n2")]))
    few = replace(problem([job("a", "n1")], nodes), most_moves=0)
    assert "most-moves" in rules(few, bundle(few, [Step("a", "n1", "n2")]))
    twice = problem([job("a", "n1")], nodes)
    first, again = [Step("a", "n1", "n2")], [Step("a", "n2", "far")]
    assert "once" in rules(twice, bundle(twice, first), bundle(twice, again))


def test_apart_holds_in_every_moment() -> None:
    nodes = [node("n1"), node("n2", hourly=0.0), node("n3", hourly=0.0)]
    of = problem([job("a", "n1", apart="x"), job("b", "n2", apart="x")], nodes)
    moves = Step("b", "n2", "n3"), Step("a", "n1", "n2")
    assert "apart" in rules(of, bundle(of, list(moves)))
    assert rules(of, bundle(of, [moves[0]], [moves[1]])) == set()


def test_a_source_holds_its_job_until_the_wave_ends() -> None:
    nodes = [node("n1"), node("full", memory=4, hourly=0.0), node("n3", hourly=0.0)]
    of = problem([job("a", "n1"), job("b", "full")], nodes)
    moves = Step("b", "full", "n3"), Step("a", "n1", "full")
    assert rules(of, bundle(of, list(moves))) == {"memory"}
    assert rules(of, bundle(of, [moves[0]], [moves[1]])) == set()


def test_what_is_told_must_be_true() -> None:
    of = problem([job("a", "n1")], [node("n1"), node("n2", hourly=0.0)])
    plan = bundle(of, [Step("a", "n1", "n2")])
    assert rules(of, replace(plan, once=0.0)) == {"sums"}
    assert rules(of, replace(plan, ended=())) == {"ended"}
    assert rules(of, replace(plan, ended=("n1", "n2"))) >= {"ended", "removable", "empty"}


def test_noise_is_refused() -> None:
    of = replace(problem([job("a", "n1")], [node("n1"), node("n2", hourly=0.0)]), hysteresis=0.95)
    account = Accountant(of).account([Step("a", "n1", "n2")], ())
    bar = refused(of, account, of.jobs)
    assert bar is not None
    assert bar.rule == "hysteresis"
    assert refused(replace(of, hysteresis=0.5), account, of.jobs) is None
