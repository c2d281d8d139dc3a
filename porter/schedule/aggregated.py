"""Large fleets: a bound from pools, and a plan from their prices.

While one thread proves a bound on the pooled program, this one decides which nodes stay and how
many machines are made, puts the jobs into them by a linear program, and searches on from there.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from porter.schedule.assign import Prices, assign
from porter.schedule.bundles import Sorted
from porter.schedule.evaluate import Accountant
from porter.schedule.exact import Found, look
from porter.schedule.fleet import Fleet
from porter.schedule.pools import Pooled
from porter.schedule.search import Search
from porter.schedule.skeleton import skeleton
from porter.schedule.solver import INF, relaxed, run, solve

SPARE = (0.01,)
"""These parts of every place are left empty when nodes are chosen: little first."""
COLUMNS = 20_000
HEAT = 1e-3
"""This part of the cost may be lost in one try of the search at first."""
SLICES = 4
"""The search is looked at so many times: what is best on paper may not be worth it bundle by
bundle."""


@dataclass
class Bound:
    """Proven in a thread of its own, until a deadline."""

    fleet: Fleet
    deadline: float
    value: float = -INF
    _pool: ThreadPoolExecutor | None = field(default=None, repr=False)
    _future: Future[None] | None = field(default=None, repr=False)

    def start(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(self._run)

    def _run(self) -> None:
        pooled = Pooled(self.fleet)
        highs = relaxed(pooled.program)
        if run(highs, self.deadline):
            self.value = float(highs.getInfo().objective_function_value) + pooled.constant
        left = self.deadline - time.monotonic()
        # on large ones HiGHS does not look at the clock often enough
        if left > 0.05 and pooled.program.columns < COLUMNS:
            solved = solve(pooled.program, left, gap=1e-4)
            if np.isfinite(solved.bound):
                self.value = max(self.value, solved.bound + pooled.constant)

    def wait(self) -> float:
        if self._pool is not None and self._future is not None:
            self._future.result()
            self._pool.shutdown()
        return self.value


def aggregate(fleet: Fleet, accountant: Accountant, deadline: float, best: Sorted) -> Found:
    """The best plan found until the deadline, and a proven bound."""
    bound = Bound(fleet, deadline)
    bound.start()
    found = Found(best, fleet.stay_total - best.saving, 0.0)
    began = time.monotonic()
    span = deadline - began
    for number, spare in enumerate(SPARE):
        end = began + span * (number + 1) / len(SPARE)
        if time.monotonic() > end - 0.1 * span:
            break
        _plan(fleet, accountant, spare, end, found, number + 1)
    found.bound = min(found.cost, max(0.0, bound.wait()))
    return found


def _plan(
    fleet: Fleet, accountant: Accountant, spare: float, end: float, found: Found, seed: int
) -> None:
    """One plan from its beginning, searched on until the time is up."""
    now = time.monotonic()
    frame = skeleton(Pooled(fleet, spare), now + 0.6 * (end - now))
    if frame is None:
        return
    prices = Prices(fleet, frame)
    now = time.monotonic()
    yard = assign(fleet, frame, prices, now + 0.4 * (end - now))
    look(fleet, accountant, yard.draft(), found)
    search = Search(yard, np.flatnonzero(prices.mobile), seed)
    start = time.monotonic()
    for part in range(SLICES):
        until = start + (end - start) * (part + 1) / SLICES
        if until > time.monotonic():
            search.run(until, HEAT * found.cost * (SLICES - 1 - part) / SLICES)
            look(fleet, accountant, yard.draft(), found)
