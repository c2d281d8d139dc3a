"""Large fleets: a plan from the prices of linear programs, and a bound.

By the prices of pools it is decided which nodes stay and how many machines are made; jobs are put
into them by a linear program, and a search goes on from there. Meanwhile another thread looks for a
better beginning, which is a rival as soon as it is there, and then proves a bound.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from porter.schedule.optimiser.assign import Prices, assign
from porter.schedule.optimiser.bundles import Sorted
from porter.schedule.optimiser.evaluate import Accountant
from porter.schedule.optimiser.exact import Found, look
from porter.schedule.optimiser.fleet import Fleet, cost_of
from porter.schedule.optimiser.placed import Placed
from porter.schedule.optimiser.pools import Pooled
from porter.schedule.optimiser.search import Search
from porter.schedule.optimiser.skeleton import Skeleton, framed, prices_of, skeleton
from porter.schedule.optimiser.solver import INF, relaxed, run

SPARE = 0.01
"""This part of every place is left empty when nodes are chosen."""
CELLS = 1_000_000
"""Up to so many jobs times places, the program over single places is worth its time."""
FRAME = 0.7
"""Part of the time that is left, at most, for a better beginning."""
LEAST = 0.2
"""A better beginning comes too late when less than this part of the search's time is left."""
HEAT = 1.5e-5
"""This part of the cost may be lost in one try of the search at first, and nothing in the end."""
CLOSE = 1e-6
"""A plan that is so near to the bound is the best there is."""
SLICES = 10
"""The search is looked at so many times: what is best on paper may not be worth it bundle by
bundle."""


class Aside:
    """What a thread of its own finds out until a deadline: a better beginning, by the program over
    single places, and the bound, by the pooled linear program and by that one."""

    def __init__(self, fleet: Fleet, deadline: float) -> None:
        self.bound = -INF
        self.frame: Skeleton | None = None
        self._fleet, self._deadline = fleet, deadline
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(self._find_out)

    def _find_out(self) -> None:
        fleet, pooled = self._fleet, Pooled(self._fleet)
        highs = relaxed(pooled.program)
        if not run(highs, self._deadline):
            return
        self.bound = float(highs.getInfo().objective_function_value) + pooled.constant
        if fleet.count * fleet.places <= CELLS:
            price = prices_of(pooled, np.array(highs.getSolution().row_dual))
            now = time.monotonic()
            until = now + FRAME * (self._deadline - now)
            self.frame = framed(pooled, highs, SPARE, until)
            price = price if self.frame is None else self.frame.price
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
    """One plan from its beginning. Once there is another beginning, both are searched on for a
    moment, and the better one until the time is up."""
    now = time.monotonic()
    frame = skeleton(Pooled(fleet, SPARE), now + 0.6 * (end - now))
    if frame is None:
        return
    now = time.monotonic()
    search = _begin(fleet, frame, now + 0.25 * (end - now), now + 0.8 * (end - now))
    look(fleet, accountant, search.draft(), found)
    start, waiting = time.monotonic(), True
    rivals = [search]
    for part in range(SLICES):
        if found.cost - aside.bound <= CLOSE * found.cost:
            return
        now = time.monotonic()
        if waiting and aside.frame is not None and end - now > LEAST * (end - start):
            waiting = False
            other = _begin(fleet, aside.frame, now + 0.3 * (end - now), now + 0.8 * (end - now))
            look(fleet, accountant, other.draft(), found)
            rivals.append(other)
        until = start + (end - start) * (part + 1) / SLICES
        left = until - time.monotonic()
        if left <= 0:
            continue
        rest = 1 - part / (SLICES - 1)
        heat = HEAT * found.cost * rest**2
        for search in rivals:
            search.run(time.monotonic() + left / len(rivals), rest, heat)
            look(fleet, accountant, search.draft(), found)
        # one slice shows which of two beginnings is the better one
        rivals = [min(rivals, key=lambda search: cost_of(fleet, search.draft()))]


def _begin(fleet: Fleet, frame: Skeleton, deadline: float, latest: float) -> Search:
    prices = Prices(fleet, frame)
    draft = assign(fleet, frame, prices, deadline, latest)
    return Search(fleet, draft, prices.cost, prices.room, np.flatnonzero(prices.mobile))
