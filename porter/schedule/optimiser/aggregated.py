"""Large fleets: a bound from pools, and a plan from their prices.

While one thread proves a bound on the pooled program, this one decides which nodes stay and how
many machines are made, puts the jobs into them by a linear program, and searches on from there.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from porter.schedule.optimiser.assign import Prices, assign
from porter.schedule.optimiser.bundles import Sorted
from porter.schedule.optimiser.evaluate import Accountant
from porter.schedule.optimiser.exact import Found, look
from porter.schedule.optimiser.fleet import Fleet
from porter.schedule.optimiser.pools import Pooled
from porter.schedule.optimiser.search import Search
from porter.schedule.optimiser.skeleton import skeleton
from porter.schedule.optimiser.solver import INF, relaxed, run, solve

SPARE = 0.01
"""This part of every place is left empty when nodes are chosen."""
COLUMNS = 20_000
"""Up to so many the pooled program is solved with its whole numbers, for the bound."""
HEAT = 5e-5
"""This part of the cost may be lost in one try of the search at first."""
CLOSE = 1e-6
"""A plan that is so near to the bound is the best there is."""
SLICES = 4
"""The search is looked at so many times: what is best on paper may not be worth it bundle by
bundle."""


class Bound:
    """Proven in a thread of its own, until a deadline: first by the linear program, and when the
    plan needs the processors less, by the whole pooled one."""

    def __init__(self, fleet: Fleet, deadline: float) -> None:
        self.deadline = deadline
        self.value = -INF
        self._pooled = Pooled(fleet)
        self._pool = ThreadPoolExecutor(1)
        self._futures = [self._pool.submit(self._linear)]

    def go_on(self) -> None:
        # on large ones HiGHS does not look at the clock often enough
        if len(self._futures) == 1 and self._pooled.program.columns < COLUMNS:
            self._futures.append(self._pool.submit(self._whole))

    def _linear(self) -> None:
        highs = relaxed(self._pooled.program)
        if run(highs, self.deadline):
            objective = float(highs.getInfo().objective_function_value)
            self.value = max(self.value, objective + self._pooled.constant)

    def _whole(self) -> None:
        left = self.deadline - time.monotonic()
        if left > 0.05:
            solved = solve(self._pooled.program, left, gap=1e-4)
            if np.isfinite(solved.bound):
                self.value = max(self.value, solved.bound + self._pooled.constant)

    def wait(self) -> float:
        for future in self._futures:
            future.result()
        self._pool.shutdown()
        return self.value


def aggregate(fleet: Fleet, accountant: Accountant, deadline: float, best: Sorted) -> Found:
    """The best plan found until the deadline, and a proven bound."""
    found = Found(best, fleet.stay_total - best.saving, 0.0)
    bound = Bound(fleet, deadline)
    try:
        _plan(fleet, accountant, deadline, found, bound)
    finally:
        proven = bound.wait()
    found.bound = min(found.cost, max(0.0, proven))
    return found


def _plan(fleet: Fleet, accountant: Accountant, end: float, found: Found, bound: Bound) -> None:
    """One plan from its beginning, searched on until the time is up."""
    now = time.monotonic()
    frame = skeleton(Pooled(fleet, SPARE), now + 0.6 * (end - now))
    if frame is None:
        return
    prices = Prices(fleet, frame)
    now = time.monotonic()
    yard = assign(fleet, frame, prices, now + 0.4 * (end - now), now + 0.8 * (end - now))
    bound.go_on()
    look(fleet, accountant, yard.draft(), found)
    search = Search(yard, np.flatnonzero(prices.mobile))
    start = time.monotonic()
    for part in range(SLICES):
        if found.cost - bound.value <= CLOSE * found.cost:
            return
        until = start + (end - start) * (part + 1) / SLICES
        if until > time.monotonic():
            search.run(until, HEAT * found.cost * (SLICES - 1 - part) / SLICES)
            look(fleet, accountant, yard.draft(), found)
