"""Generated fleets: no plan breaks a rule or costs more than staying; small ones are the best."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from porter.schedule.optimiser.aggregated import aggregate
from porter.schedule.optimiser.bundles import Sorted, sort_out
from porter.schedule.optimiser.evaluate import Accountant, violations
from porter.schedule.optimiser.fleet import Draft, Fleet
from porter.schedule.optimiser.model import Answer, Bundle, Problem
from porter.schedule.optimiser.optimise import optimise
from porter.schedule.optimiser.placed import Placed
from porter.schedule.optimiser.pools import Pooled
from porter.schedule.optimiser.solver import solve
from tests.fleets import BruteForce, Size, Target, fleets

CALM = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def check(problem: Problem, answer: Answer) -> None:
    """What must hold of any answer."""
    assert violations(problem, answer.bundles) == []
    assert answer.cost <= answer.stay_cost + 1e-9
    saved = sum(bundle.saving for bundle in answer.bundles)
    assert answer.cost == pytest.approx(answer.stay_cost - saved, abs=1e-9)
    assert answer.bound <= answer.cost + 1e-9
    moved = {step.job for bundle in answer.bundles for step in bundle.steps}
    stayed = [job.name for job in problem.jobs if job.name not in moved]
    assert [stay.job for stay in answer.stays] == stayed
    assert all(stay.bar.rule and stay.bar.why for stay in answer.stays)
    assert all(bool(stay.runner_up) == (stay.saving is not None) for stay in answer.stays)


def shuffled(bundles: tuple[Bundle, ...], seed: int) -> list[Bundle]:
    """Some of them, in another order."""
    rng = random.Random(seed)
    chosen = [bundle for bundle in bundles if rng.random() < 0.7]
    rng.shuffle(chosen)
    return chosen


@settings(CALM, max_examples=500)
@given(fleets(Size(jobs=14, nodes=7, offers=5)))
def test_no_plan_breaks_a_rule_or_costs_more_than_staying(problem: Problem) -> None:
    answer = optimise(problem, seconds=0.2)
    check(problem, answer)
    # any of the bundles may be left out, and the order is free
    assert violations(problem, shuffled(answer.bundles, len(answer.bundles))) == []


@settings(CALM, max_examples=60)
@given(fleets(Size(jobs=40, nodes=14, offers=8, most=4)), st.integers(0, 99))
def test_the_way_for_large_fleets_breaks_no_rule_either(problem: Problem, seed: int) -> None:
    fleet = Fleet(problem)
    found = aggregate(fleet, Accountant(problem), time.monotonic() + 0.2, Sorted())
    bundles = tuple(found.best.bundles)
    assert violations(problem, bundles) == []
    assert violations(problem, shuffled(bundles, seed)) == []
    assert found.bound <= found.cost <= fleet.stay_total + 1e-9


@settings(CALM, max_examples=150)
@given(fleets(Size(jobs=5, nodes=4, offers=3, most=1), strict=False))
def test_small_fleets_get_the_best_there_is(problem: Problem) -> None:
    answer = optimise(problem, seconds=20)
    best = BruteForce(problem).best()
    assert answer.cost == pytest.approx(best, rel=1e-6, abs=1e-9)
    assert answer.bound <= best * (1 + 1e-9) + 1e-9
    fleet = Fleet(problem)
    pooled = Pooled(fleet)
    assert solve(pooled.program, 20).bound + pooled.constant <= best + 1e-6
    free = np.zeros((fleet.count, fleet.places))
    placed = Placed(fleet, fleet.being(), free, fleet.room.astype(float), fleet.cores)
    proven = list(placed.bounds(time.monotonic() + 20))
    assert proven == sorted(proven)
    assert proven[-1] <= best + 1e-6


@settings(CALM, max_examples=60)
@given(fleets(Size(jobs=4, nodes=3, offers=2, most=2)))
def test_small_fleets_get_the_best_of_what_is_worth_it(problem: Problem) -> None:
    """The cheapest of all assignments whose bundles are all worth it, by trying each."""
    fleet, force = Fleet(problem), BruteForce(problem)
    accountant = Accountant(problem)
    best = fleet.stay_total
    for chosen in force.assignments():
        if force.cost(chosen) < best - 1e-9 and force.executable(chosen):
            result = sort_out(fleet, accountant, draft(fleet, chosen))
            best = min(best, fleet.stay_total - result.saving)
    answer = optimise(problem, seconds=20)
    assert answer.cost == pytest.approx(best, rel=1e-6, abs=1e-9)


def draft(fleet: Fleet, chosen: list[Target]) -> Draft:
    """An assignment of the brute force as the optimiser writes it down."""
    offers = {offer.key: fleet.nodes + i for i, offer in enumerate(fleet.problem.offers)}
    made = sorted({target for target in chosen if target[1]})
    number = {target: fleet.nodes + i for i, target in enumerate(made)}
    where = [number[t] if t[1] else fleet.node_of[t[0]] for t in chosen]
    return Draft(np.array(where, dtype=np.int64), [offers[key] for key, _ in made])
