"""Each job that stays is told why, and what would change it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from porter.schedule.optimiser.model import Problem, Stay
from porter.schedule.optimiser.optimise import optimise
from tests.unit.schedule.small import NO, job, node, offer, problem

OWN = node("own", hourly=0.0)


def stay(of: Problem, name: str = "a") -> Stay:
    return {stay.job: stay for stay in optimise(of).stays}[name]


@pytest.mark.parametrize(
    ("change", "own", "rule", "remedy"),
    [
        ({"pinned": NO}, {}, "test", "do this"),
        ({"barred": {"here": NO}}, {}, "test", "do this"),
        ({"spot": NO}, {"spot": True}, "spot", "do this"),
        ({}, {"closed": NO}, "closed", "do this"),
        ({}, {"arch": "aarch64"}, "arch", "a place that runs x86_64"),
        ({"features": frozenset({"avx2"})}, {}, "features", "avx2"),
        ({"memory": 3 << 20}, {"memory": 1 << 20}, "memory", "2 MiB more memory on own"),
        ({"cpus": 9.5}, {}, "cpu", "1.50 more cpus on own"),
        ({"min_saving": 12.0}, {}, "min-saving", "more"),
        ({"payback_s": 60.0}, {}, "payback", "days in its policy"),
    ],
)
def test_the_rule_that_binds(
    change: dict[str, Any], own: dict[str, Any], rule: str, remedy: str
) -> None:
    home = node("n1", memory=16 << 20, cpus=16.0)
    told = stay(problem([job("a", "n1", **change)], [home, replace(OWN, **own)]))
    assert told.bar.rule == rule
    assert remedy in told.bar.remedy


def test_cheapest_says_how_much_is_missing() -> None:
    told = stay(problem([job("a", "n1")], [node("n1")], [offer("here/t/on_demand", hourly=0.097)]))
    assert told.bar.rule == "cheapest"
    assert told.runner_up == "here/t/on_demand"
    assert told.saving == pytest.approx(-(0.7 + 0.1 * 120 / 3600 - 0.3))
    assert "a saving of 0.40 EUR more, or a horizon of" in told.bar.remedy


def test_only_so_many_moves() -> None:
    jobs = [job("a", "n1"), job("b", "n2")]
    nodes = [node("n1", memory=4), node("n2", memory=4, hourly=0.2), OWN]
    told = stay(replace(problem(jobs, nodes), most_moves=1))
    assert told.bar.rule == "most-moves"
    assert told.saving is not None
    assert told.saving > 0


def test_a_node_that_another_job_holds() -> None:
    jobs = [job("a", "n1"), job("b", "n1", pinned=NO)]
    told = stay(problem(jobs, [node("n1"), OWN]))
    assert told.bar.rule == "shared-node"
    assert "b" in told.bar.why


def test_noise_is_told() -> None:
    told = stay(replace(problem([job("a", "n1")], [node("n1"), OWN]), hysteresis=0.99))
    assert told.bar.rule == "hysteresis"
    assert "more" in told.bar.remedy


def test_no_place_at_all() -> None:
    told = stay(problem([job("a", "n1")], [node("n1")]))
    assert told.bar.rule == "no-place"
    assert (told.runner_up, told.saving) == ("", None)
