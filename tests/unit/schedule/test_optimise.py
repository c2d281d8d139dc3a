"""Plans that a person can work out."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from porter.domain.errors import Invalid
from porter.schedule.optimiser.aggregated import aggregate
from porter.schedule.optimiser.bundles import Sorted
from porter.schedule.optimiser.evaluate import Accountant, violations
from porter.schedule.optimiser.fleet import Draft, Fleet
from porter.schedule.optimiser.model import Answer, Problem
from porter.schedule.optimiser.optimise import optimise
from porter.schedule.optimiser.placed import Placed
from porter.schedule.optimiser.pools import Pooled
from porter.schedule.optimiser.solver import solve
from porter.schedule.optimiser.waves import order
from tests.unit.schedule.small import NO, job, node, offer, problem


def plan(of: Problem, **more: object) -> tuple[Answer, dict[str, str]]:
    answer = optimise(of, 5.0, **more)  # type: ignore[arg-type]
    assert violations(of, answer.bundles) == []
    return answer, {s.job: s.target for b in answer.bundles for s in b.steps}


def test_two_half_empty_nodes_become_one() -> None:
    answer, moved = plan(problem([job("a", "n1"), job("b", "n2")], [node("n1"), node("n2")]))
    assert len(moved) == 1
    assert len(answer.bundles[0].ended) == 1
    assert answer.method == "exact"
    assert answer.gap == 0.0
    assert answer.cost == pytest.approx(10.0 + 0.7 + 0.1 * 60 / 3600)


def test_a_cheaper_machine_is_made() -> None:
    answer, moved = plan(problem([job("a", "n1")], [node("n1")], [offer("there/t/on_demand")]))
    assert moved == {"a": "there/t/on_demand#1"}
    assert [machine.offer for machine in answer.bundles[0].machines] == ["there/t/on_demand"]


def test_an_idle_host_of_ones_own_is_used_by_the_way_for_large_fleets_too() -> None:
    nodes = [node("n1"), node("n2"), node("own", hourly=0.0)]
    of = problem([job("a", "n1"), job("b", "n2")], nodes)
    fleet = Fleet(of)
    found = aggregate(fleet, Accountant(of), time.monotonic() + 1.0, Sorted())
    moved = [step for bundle in found.best.bundles for step in bundle.steps]
    assert sorted((step.job, step.target) for step in moved) == [("a", "own"), ("b", "own")]
    pooled = Pooled(fleet)
    assert solve(pooled.program, 5.0).bound + pooled.constant <= found.cost + 1e-9


def test_rounding_of_processors_makes_no_bound_too_high() -> None:
    """3.3 - 2.2 is a little less than 1.1: the job fits all the same."""
    jobs = [job("a", "n1", cpus=1.1), job("p", "n2", cpus=2.2, pinned=NO)]
    of = problem(jobs, [node("n1"), node("n2", cpus=3.3)])
    answer, moved = plan(of)
    assert moved == {"a": "n2"}
    fleet = Fleet(of)
    free = np.zeros((fleet.count, fleet.places))
    placed = Placed(fleet, fleet.being(), free, fleet.room.astype(float), fleet.cores)
    assert max(placed.bounds(time.monotonic() + 5.0)) <= answer.cost + 1e-6


def test_independent_moves_are_bundles_of_their_own() -> None:
    jobs = [job("a", "n1"), job("b", "n2")]
    roomy = node("own", memory=64, hourly=0.0)
    answer, _ = plan(problem(jobs, [node("n1"), node("n2"), roomy]))
    assert [len(bundle.steps) for bundle in answer.bundles] == [1, 1]
    tight = node("own", memory=8, hourly=0.0)
    jobs = [replace(one, arriving=2) for one in jobs]
    answer, moved = plan(problem(jobs, [node("n1"), node("n2"), tight]))
    # both would fit, but the second could not arrive
    assert len(moved) == 1


def test_friends_move_together_or_not_at_all() -> None:
    jobs = [job("a", "n1", near="x"), job("b", "n1", near="x", moves={})]
    answer, moved = plan(problem(jobs, [node("n1"), node("own", site="there", hourly=0.0)]))
    assert moved == {}
    jobs = [job("a", "n1", near="x"), job("b", "n1", near="x")]
    answer, moved = plan(problem(jobs, [node("n1"), node("own", site="there", hourly=0.0)]))
    assert set(moved.values()) == {"own"}
    assert len(answer.bundles) == 1


def test_a_doomed_node_is_left_although_that_costs() -> None:
    doomed = node("n1", hourly=0.0, doomed=9.0, closed=NO)
    _, moved = plan(problem([job("a", "n1")], [doomed], [offer("here/t/on_demand")]))
    assert moved == {"a": "here/t/on_demand#1"}


def test_what_is_not_worth_it_stays_and_the_next_best_is_found() -> None:
    jobs = [job("a", "n1", min_saving=12.0), job("b", "n2")]
    nodes = [node("n1"), node("n2"), node("own", memory=4, hourly=0.0)]
    _, moved = plan(problem(jobs, nodes))
    # a alone would not save 12, so b gets the room, or goes beside a
    assert list(moved) == ["b"]


def test_an_earlier_answer_is_a_start() -> None:
    of = problem([job("a", "n1"), job("b", "n2")], [node("n1"), node("n2")])
    _, moved = plan(of)
    again, same = plan(
        of, start={**moved, "gone": "n1", "b": "unknown#1"} if "a" in moved else moved
    )
    assert len(same) == 1
    assert again.gap == 0.0


def test_without_time_the_quick_way_is_gone() -> None:
    of = problem([job("a", "n1"), job("b", "n2")], [node("n1"), node("n2")])
    answer = optimise(of, 0.0)
    assert answer.cost <= answer.stay_cost
    assert violations(of, answer.bundles) == []


def test_nothing_at_all() -> None:
    answer = optimise(problem([], [], []))
    assert (answer.cost, answer.bundles, answer.stays, answer.gap) == (0.0, (), (), 0.0)


def test_a_job_on_a_host_that_is_not_there() -> None:
    with pytest.raises(Invalid, match="is no node"):
        optimise(problem([job("a", "nowhere")], [node("n1")]))


def test_a_ring_has_no_order_but_a_chain_has() -> None:
    nodes = [node("n1", memory=4), node("n2", memory=4), node("n3", memory=4)]
    fleet = Fleet(problem([job("a", "n1"), job("b", "n2")], nodes))
    ring, chain = Draft.staying(fleet), Draft.staying(fleet)
    ring.target[:] = [1, 0]
    assert order(fleet, ring, [0, 1], {1: [0], 0: [1]}) == ([], [0, 1])
    chain.target[:] = [1, 2]
    assert order(fleet, chain, [0, 1], {1: [0], 2: [1]}) == ([[1], [0]], [])


def test_who_needs_most_while_arriving_goes_first() -> None:
    jobs = [job("a", "n1", 4, arriving=1), job("b", "n1", 4, arriving=4)]
    fleet = Fleet(problem(jobs, [node("n1"), node("n2", memory=9)]))
    draft = Draft.staying(fleet)
    draft.target[:] = 1
    assert order(fleet, draft, [0, 1], {1: [0, 1]}) == ([[1], [0]], [])
