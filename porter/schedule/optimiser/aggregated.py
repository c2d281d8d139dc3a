"""Large fleets: a plan from the prices of linear programs, and a bound.

By the prices of one program it is decided which nodes stay and how many machines are made; jobs are
put into them by another, and a search goes on from there. Meanwhile another thread proves a bound.
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
from porter.schedule.optimiser.placed import Placed
from porter.schedule.optimiser.pools import Pooled
from porter.schedule.optimiser.search import Search
from porter.schedule.optimiser.skeleton import Skeleton, framed, prices_of, skeleton
from porter.schedule.optimiser.solver import INF, relaxed, run

SPARE = 0.01
"""This part of every place is left empty when nodes are chosen."""
CELLS = 1_000_000
"""Up to so many jobs times places, the program over single places is worth its time."""
FRAME = 0.5
"""Part of the time, at most, for a beginning by that one."""
HEAT = 1.5e-5
"""This part of the cost may be lost in one try of the search at first, and nothing in the end."""
CLOSE = 1e-6
"""A plan that is so near to the bound is the best there is."""
SLICES = 10
"""The search is looked at so many times: what is best on paper may not be worth it bundle by
bundle."""


class Aside:
    """A thread of its own that proves a bound until a deadline: by the pooled linear program, and
    by the one over single places."""

    def __init__(self, fleet: Fleet, deadline: float) -> None:
        self.bound = -INF
        self._fleet, self._deadline = fleet, deadline
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(self._prove)

    def _prove(self) -> None:
        fleet, pooled = self._fleet, Pooled(self._fleet)
        highs = relaxed(pooled.program)
        if not run(highs, self._deadline):
            return
        self.bound = float(highs.getInfo().objective_function_value) + pooled.constant
        if fleet.count * fleet.places <= CELLS:
            price = prices_of(pooled, np.array(highs.getSolution().row_dual))
            placed = Placed(fleet, fleet.being(), price, fleet.room.astype(float), fleet.cores)
            for proven in placed.bounds(self._deadline):
                self.bound = max(self.bound, proven)

    def wait(self) -> float:
        self._future.result()
        self._pool.shutdown()
        return self.bound


def aggregate(fleet: Fleet, accountant: Accountant, deadline: float, best: Sorted) -> Found:
    """The best plan found until the deadline, and a proven bound."""
    found = Found(best, fleet.stay_total - best.saving, 0.0)
    aside = Aside(fleet, deadline)
    try:
        _plan(fleet, accountant, deadline, found, aside)
    finally:
        proven = aside.wait()
    found.bound = min(found.cost, max(0.0, proven))
    return found


def _plan(fleet: Fleet, accountant: Accountant, end: float, found: Found, aside: Aside) -> None:
    frame = _frame(fleet, end)
    if frame is None:
        return
    prices = Prices(fleet, frame)
    start = time.monotonic()
    left = end - start
    draft = assign(fleet, frame, prices, start + 0.3 * left, start + 0.8 * left)
    look(fleet, accountant, draft, found)
    search = Search(fleet, draft, prices.cost, prices.room, np.flatnonzero(prices.mobile))
    start = time.monotonic()
    for part in range(SLICES):
        if found.cost - aside.bound <= CLOSE * found.cost:
            return
        rest = 1 - part / (SLICES - 1)
        search.run(start + (end - start) * (part + 1) / SLICES, rest, HEAT * found.cost * rest**2)
        look(fleet, accountant, search.draft(), found)


def _frame(fleet: Fleet, end: float) -> Skeleton | None:
    """Which nodes stay and what machines are made: by the program over single places, or, where
    that is too large or not solved in time, by the pooled one."""
    now = time.monotonic()
    if fleet.count * fleet.places <= CELLS:
        until = now + FRAME * (end - now)
        pooled = Pooled(fleet)
        highs = relaxed(pooled.program)
        frame = framed(pooled, highs, SPARE, until) if run(highs, until) else None
        if frame is not None:
            return frame
        now = time.monotonic()
    return skeleton(Pooled(fleet, SPARE), now + 0.6 * (end - now))
