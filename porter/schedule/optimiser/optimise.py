"""Which workloads should move where: the cheapest plan that keeps every rule, and a proof."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from porter.schedule.optimiser import exact
from porter.schedule.optimiser.aggregated import aggregate
from porter.schedule.optimiser.bundles import Sorted, sort_out
from porter.schedule.optimiser.evaluate import Accountant
from porter.schedule.optimiser.explain import explain
from porter.schedule.optimiser.fleet import Draft, Fleet
from porter.schedule.optimiser.greedy import greedy
from porter.schedule.optimiser.model import Answer, Problem

TINY = 1000
SMALL = 3000
"""Up to so many possible moves the whole problem is one program; up to the lesser number, that
alone."""
LEAST = 0.05
"""With less time than this, seconds, only the quick way is gone."""
QUICK = 0.05
"""Of the time: for the quick way, which always comes first."""
RESERVED = 0.05
"""Of the time: for sorting out and for explaining."""


def optimise(
    problem: Problem, seconds: float = 5.0, start: Mapping[str, str] | None = None
) -> Answer:
    """The best plan found in about so many seconds (wall), its bundles, why each other job stays,
    and a bound that no permitted plan undercuts. Pure; uses two threads. `start`: by job, the name
    of a node or `OFFER_KEY#N`, from an earlier answer. Staying is always among what is compared.
    Raises Invalid for a job on a node that is not in the problem."""
    began = time.monotonic()
    deadline = began + seconds * (1 - RESERVED)
    fleet = Fleet(problem)
    accountant = Accountant(problem)
    best = Sorted()
    for candidate in _first(fleet, start, deadline):
        result = sort_out(fleet, accountant, candidate)
        if result.saving > best.saving:
            best = result
    method, bound = "greedy", _floor(fleet)
    binaries = exact.size(fleet)
    small = binaries <= SMALL
    if binaries > TINY and deadline - time.monotonic() > LEAST:
        until = time.monotonic() + (deadline - time.monotonic()) * (0.25 if small else 1.0)
        found = aggregate(fleet, accountant, until, best)
        best, bound, method = found.best, max(bound, found.bound), "aggregated"
    if small:
        found = exact.improve(fleet, accountant, deadline, best, drafted(fleet, best))
        best, bound, method = found.best, max(bound, found.bound), "exact"
    cost = float(fleet.stay_total - best.saving)
    stays = explain(fleet, best)
    spent = time.monotonic() - began
    bundles = tuple(best.bundles)
    return Answer(bundles, stays, cost, fleet.stay_total, float(min(bound, cost)), method, spent)


def _first(fleet: Fleet, start: Mapping[str, str] | None, deadline: float) -> list[Draft]:
    staying = Draft.staying(fleet)
    now = time.monotonic()
    drafts = [greedy(fleet, staying, now + QUICK * (deadline - now))]
    if start:
        drafts.append(named(fleet, start))
    return drafts


def drafted(fleet: Fleet, best: Sorted) -> Draft:
    """What was found, as a draft."""
    steps = (step for bundle in best.bundles for step in bundle.steps)
    return named(fleet, {step.job: step.target for step in steps})


def named(fleet: Fleet, start: Mapping[str, str]) -> Draft:
    """A draft from names; what is not known, or not allowed, stays."""
    draft = Draft.staying(fleet)
    offers = {offer.key: fleet.nodes + i for i, offer in enumerate(fleet.problem.offers)}
    machines: dict[str, int] = {}
    for name, target in start.items():
        job = fleet.job_of.get(name)
        if job is None:
            continue
        node = fleet.node_of.get(target)
        if node is not None:
            if fleet.may[job, node]:
                draft.target[job] = node
            continue
        offer = offers.get(target.rpartition("#")[0])
        if offer is None or not fleet.may[job, offer]:
            continue
        if target not in machines:
            machines[target] = fleet.nodes + len(draft.machines)
            draft.machines.append(offer)
        draft.target[job] = machines[target]
    return draft


def _floor(fleet: Fleet) -> float:
    """A bound without any solver: each job where its risk is least, all nodes that can be empty
    ended."""
    going = np.min(fleet.going(), axis=1, initial=np.inf) if fleet.places else np.zeros(0)
    jobs = float(np.minimum(fleet.stay_cost, going).sum())
    fixed = np.zeros(fleet.nodes, dtype=bool)
    fixed[fleet.home[~fleet.may.any(axis=1)]] = True
    return jobs + float(fleet.rent[: fleet.nodes][fixed & fleet.standing].sum())
