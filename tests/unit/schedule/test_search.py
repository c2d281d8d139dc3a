"""The local search: what it may do, and that machine code and source do the same."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks.fleets import KINDS, fleet
from porter.schedule.optimiser import search
from porter.schedule.optimiser.fleet import Draft, Fleet, cost_of
from porter.schedule.optimiser.search import Search, Yard
from tests.unit.schedule.small import job, node, offer, problem


def made_up(kind: str) -> Fleet:
    return Fleet(fleet(kind, 1, 120, 16, 30))


def searched(module: ModuleType, of: Fleet, tries: int, heat: float) -> tuple[list[int], float]:
    """Where the jobs are in the end, and what was won."""
    draft, cost = Draft.staying(of), of.being()
    price = np.zeros(cost.shape) + 0.1 * of.rent.max() * (of.memory / of.room.max())[:, None]
    run = module.Search(of, draft, cost, price, np.arange(of.count))
    for left in (1.0, 0.5, 0.0):
        run.weigh(left)
        run.go(tries // 3, heat * left)
    return run.draft().target.tolist(), run.won()


def interpreted() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "search_as_it_stands", Path(search.__file__).with_name("search.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", KINDS)
def test_machine_code_does_what_the_source_says(kind: str) -> None:
    assert search.COMPILED, "run porter/lab/setup.sh venv: it compiles the search"
    source = interpreted()
    assert not source.COMPILED
    of = made_up(kind)
    by_code = searched(search, of, 300, 1.0)
    assert by_code == searched(source, of, 300, 1.0)
    assert by_code[1] < 0


def test_what_was_won_is_what_the_plan_costs_less() -> None:
    of = made_up("tight")
    # what a node costs while it is emptied is left out of a search
    of.hourly[: of.nodes] = 0.0
    before = cost_of(of, Draft.staying(of))
    price = np.zeros((of.count, of.places))
    run = Search(of, Draft.staying(of), of.being(), price, np.arange(of.count))
    won = 0.0
    for left in (1.0, 0.0):
        run.run(time.monotonic() + 0.1, left, 0.1 * left)
        assert run.won() <= won, "the best that there was is never lost"
        won = run.won()
        assert cost_of(of, run.draft()) == pytest.approx(before + won)
    assert won < -0.05 * before


def test_it_takes_chains_of_nodes_that_wait_and_no_rings() -> None:
    nodes = [node(f"n{i}", memory=16) for i in range(4)]
    jobs = [job(f"j{i}", f"n{i}") for i in range(4)]
    fleet = Fleet(problem(jobs, nodes))
    yard = Yard(fleet, Draft.staying(fleet), fleet.being(), np.zeros((4, 4)))
    for moved, target in ((2, 3), (1, 2), (0, 1)):
        yard.take(moved)
        assert yard.into(moved, target)
    yard.take(3)
    assert not yard.into(3, 0)
    assert yard.into(3, 3)


def test_marked_apart_they_are_never_on_one_node() -> None:
    nodes = [node(f"n{i}", memory=64) for i in range(3)]
    jobs = [job(f"j{i}", f"n{i}", apart="a") for i in range(2)]
    fleet = Fleet(problem(jobs, nodes))
    yard = Yard(fleet, Draft.staying(fleet), fleet.being(), np.zeros((2, 3)))
    yard.take(0)
    # also where one is that has left, as it may still be there
    yard.take(1)
    assert not yard.into(0, 1)
    assert yard.into(0, 2)
    assert not yard.into(1, 2)
    assert yard.into(1, 1)


def test_there_is_room_for_a_copy_while_it_arrives() -> None:
    jobs = [job("a", "n1", 4, arriving=1), job("b", "n1", 4, arriving=4)]
    fleet = Fleet(problem(jobs, [node("n1"), node("n2", memory=9), node("n3", memory=8)]))
    yard = Yard(fleet, Draft.staying(fleet), fleet.being(), np.zeros((2, 3)))
    yard.take(0)
    yard.take(1)
    assert yard.into(0, 1)
    assert yard.into(1, 1), "the one that needs most arrives first"
    yard.take(0)
    yard.take(1)
    assert yard.into(0, 2)
    assert not yard.into(1, 2)


def test_there_are_no_more_bins_than_there_is_room_for() -> None:
    jobs = [job(f"j{i}", "n1") for i in range(2)]
    offers = [offer(f"here/kind{i}/on_demand") for i in range(40)]
    of = Fleet(problem(jobs, [node("n1")], offers))
    yard = Yard(of, Draft.staying(of), of.being(), np.zeros((2, 41)))
    # each that comes into use asks for another of its kind
    for b in range(1, 1 + len(offers)):
        yard.take(0)
        assert yard.into(0, b)
    assert len(yard.draft().machines) == len(offers) + len(jobs)
