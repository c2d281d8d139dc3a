"""Generated fleets: no plan breaks a rule or costs more than staying; small ones are the best."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from porter.schedule.evaluate import violations
from porter.schedule.model import Problem
from porter.schedule.optimise import optimise
from tests.fleets import BruteForce, Size, fleets

CALM = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@settings(CALM, max_examples=500)
@given(fleets(Size(jobs=14, nodes=7, offers=5)))
def test_no_plan_breaks_a_rule_or_costs_more_than_staying(problem: Problem) -> None:
    answer = optimise(problem, seconds=0.2)
    assert violations(problem, answer.bundles) == []
    assert answer.cost <= answer.stay_cost + 1e-9
    saved = sum(bundle.saving for bundle in answer.bundles)
    assert answer.cost == pytest.approx(answer.stay_cost - saved, abs=1e-9)
    assert answer.bound <= answer.cost + 1e-9
    moved = {step.job for bundle in answer.bundles for step in bundle.steps}
    assert sorted(stay.job for stay in answer.stays) == sorted(
        job.name for job in problem.jobs if job.name not in moved
    )
    assert all(stay.bar.why for stay in answer.stays)


@settings(CALM, max_examples=150)
@given(fleets(Size(jobs=5, nodes=4, offers=3, most=1), strict=False))
def test_small_fleets_get_the_best_there_is(problem: Problem) -> None:
    answer = optimise(problem, seconds=20)
    best = BruteForce(problem).best()
    assert answer.cost == pytest.approx(best, rel=1e-6, abs=1e-9)
    assert answer.bound <= best * (1 + 1e-9) + 1e-9
