"""Whole nodes and whole numbers of machines, by a dive in the program over single places.

The dearest are decided first: what is cut off there finds room in smaller ones, which cost little
more for what they hold. The program is solved again after each few, until all are whole.
"""

from __future__ import annotations

import time

import numpy as np

from porter.schedule.optimiser.fleet import Ints
from porter.schedule.optimiser.placed import DUAL, PRIMAL, Placed
from porter.schedule.optimiser.solver import INF

ENOUGH = 2e-3
"""So near to its end the program is solved well enough."""
SHARE = 0.2
"""So many of those in parts are decided at once."""
MOST = 0.4
"""Of a machine there is a whole one if so much of it is needed, or if the rest costs next to
nothing: what is too large makes others needless, and what is too small leaves jobs over."""
LEFT = 0.2
"""The same for what is still in parts in the end."""
CHEAP = 1e-4
ROUNDS = 16


def solved(placed: Placed, deadline: float) -> bool:
    """Solve it nearly to the end; False if there was not time enough."""
    before = INF
    for _ in placed.bounds(deadline, ENOUGH):
        # what is missing to a proof may be much when next to nothing is won any more
        if before - placed.total <= ENOUGH * placed.total:
            return True
        before = placed.total
    return placed.missing <= ENOUGH


def whole(placed: Placed, deadline: float) -> Ints:
    """How many there are of each place; rounded where the time was too short."""
    highs, rent = placed.highs, placed.rent
    count, nodes = len(rent), placed.fleet.nodes
    most = np.where(placed.can_end, placed.most, 1.0)
    lower, upper = np.where(placed.can_end, 0.0, 1.0), most.copy()
    highs.setOptionValue("simplex_strategy", DUAL)
    for number in range(ROUNDS + 1):
        value = placed.solution[:count]
        floor = np.floor(value + 1e-5)
        part = value - floor
        parts = np.flatnonzero((part > 1e-4) & (lower < upper))
        up = (part > MOST) | ((1 - part) * rent < CHEAP * placed.total)
        up[:nodes] = part[:nodes] > 0.5
        if number == ROUNDS or not len(parts):
            break
        dearest = parts[np.argsort(-rent[parts])]
        picks = dearest[: max(1, int(len(parts) * SHARE))]
        lower[picks] = np.where(up[picks], floor[picks] + 1, lower[picks])
        upper[picks] = np.where(up[picks], most[picks], floor[picks])
        highs.changeColsBounds(len(picks), picks.astype(np.int32), lower[picks], upper[picks])
        if not placed.solve(deadline):
            if time.monotonic() >= deadline:
                break
            # there is not room enough: one more of each
            lower[picks], upper[picks] = floor[picks] + 1, most[picks]
            highs.changeColsBounds(len(picks), picks.astype(np.int32), lower[picks], upper[picks])
            if not placed.solve(deadline):
                break
        placed.price_in()
        # what was allowed still is with new columns; dual simplex takes ten times as long for them
        highs.setOptionValue("simplex_strategy", PRIMAL)
        if not placed.solve(deadline):
            break
        highs.setOptionValue("simplex_strategy", DUAL)
    # these are small ones: jobs that need more of them make more
    return np.where(part > LEFT, floor + 1, floor).astype(np.int64)
