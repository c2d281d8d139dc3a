"""A closer relaxation, for the bound: each node and each offer for itself, jobs in parts.

It has a column for each job at each place, most of which are worth nothing. So it begins with a few
of each job, and those are added whose reduced cost asks for them, until none does (column
generation). What is proven is known at any time: each job is somewhere once, so that the program
with all its columns costs at most the least reduced cost of each job less.

That there is at least as much of a place as of any job on it is added where a solution breaks it.

A job that arrives needs more memory than it does afterwards. So if any arrives at a place, not all
of its room is filled in the end: what the last one needs besides is left over. If none does, there
is no more than was before.

A node that ends is paid until its jobs are gone, so that they had better go where they are soon.
What that costs more than the quickest way counts as far as a node does not stay.

As the pooled program this one leaves rules out (`near`, `apart`, the order of moves else, what a
bundle must save), and no plan that keeps them costs less than its bound.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from porter.schedule.optimiser.fleet import Bools, Fleet, Floats, Ints
from porter.schedule.optimiser.model import HOUR
from porter.schedule.optimiser.solver import INF, Program, relaxed, run

FIRST = 24
"""So many places of each job are looked at first."""
MORE = 12
"""So many are added at once, at most."""
LINKS = 200
"""So many rows are added at once, at most, once nothing is won by columns but this part."""
CLOSE = 5e-4
PATIENCE = 3
"""So often in a row rows may be added in vain."""
VIOLATED = 1e-4
TINY = 1e-6
DUAL, PRIMAL = 1, 4
"""HiGHS's numbers for its two simplex algorithms."""


class Placed:
    """The program of one fleet. `cost`: of each job at each place, infinite where it may not be.
    `price`: what the room it takes there may be worth, to begin with. `room`, `cores`: of each
    place, the least that it is reckoned to have."""

    def __init__(
        self, fleet: Fleet, cost: Floats, price: Floats, room: Floats, cores: Floats
    ) -> None:
        self.fleet = fleet
        others = np.isfinite(cost)
        others[np.arange(fleet.count), fleet.home] = False
        self.mobile = np.flatnonzero(others.any(axis=1))
        left_over = np.where(others, fleet.arriving[:, None], np.inf).min(axis=0, initial=np.inf)
        room = np.maximum(room - np.where(np.isfinite(left_over), left_over, 0.0), 0.0)
        self.home: Ints = fleet.home[self.mobile]
        self.every = np.arange(len(self.mobile))
        self._rents(np.isfinite(cost[self.mobile]))
        self.sizes = [
            self._parts(fleet.memory.astype(float), room, fleet.load),
            self._parts(fleet.cpus, cores, fleet.load_cpus),
        ]
        """Of each resource: what part of each place each job takes."""
        self.cost: Floats = (cost - fleet.stay_cost[:, None])[self.mobile]
        at_home = self.cost[self.every, self.home]
        for parts in self.sizes:
            self.cost[parts > 1 + TINY] = np.inf
        self.cost[self.every, self.home] = at_home
        self.has: Bools = np.zeros(self.cost.shape, dtype=bool)
        self.links: Ints = np.zeros((0, 2), dtype=np.int64)
        """Of each row that was added: a job, and the place of which there is at least as much."""
        self.total = self.missing = INF
        """What it costs by the last solution, and what part of that is not proven yet."""
        self.solution: Floats = np.zeros(0)
        self.dual: Floats = np.zeros(0)
        self._begin(price)

    def _rents(self, allowed: Bools) -> None:
        """What each place costs if anything is there, and what is paid in any case."""
        fleet, nodes = self.fleet, self.fleet.nodes
        staying = np.ones(fleet.count, dtype=bool)
        staying[self.mobile] = False
        held = np.zeros(nodes, dtype=bool)
        held[fleet.home[staying]] = True
        seconds = fleet.move_s[self.mobile]
        quickest = seconds.min(axis=1, initial=INF)
        # a node that ends is paid until all its jobs are gone
        second = np.where(fleet.standing, fleet.hourly[:nodes] / HOUR, 0.0)
        double = np.minimum(np.bincount(self.home, quickest, nodes) * second, fleet.rent[:nodes])
        self.rent: Floats = fleet.rent.copy()
        self.rent[:nodes] -= double
        self.can_end: Bools = np.ones(fleet.places, dtype=bool)
        self.can_end[:nodes] = fleet.removable & ~held
        kept = ~self.can_end
        self.paid = float(fleet.stay_cost.sum() + double.sum() + self.rent[kept].sum())
        self.rent[kept] = 0.0
        self.most: Floats = np.concatenate([np.ones(nodes), fleet.most]).astype(float)
        self.staying = staying
        away = allowed & (np.arange(fleet.places)[None, :] != self.home[:, None])
        longer = np.where(away, seconds[:, fleet.site] - quickest[:, None], 0.0)
        longer *= (second * self.can_end[:nodes])[self.home][:, None]
        worst = np.bincount(self.home, longer.max(axis=1, initial=0.0), nodes)
        self.slowest: Floats = worst.astype(float)
        """Of each node that ends: what it costs at most that jobs take longer than they must."""
        self.longer: Floats = longer / np.where(worst > 0, worst, 1.0)[self.home][:, None]
        """Of each job at each place, its part of that."""

    def _parts(self, size: Floats, room: Floats, load: Floats | Ints) -> Floats:
        fleet, nodes = self.fleet, self.fleet.nodes
        top = room.copy()
        top[:nodes] = np.maximum(top[:nodes], load)
        there = np.where(self.staying, size, 0.0)
        top[:nodes] -= np.bincount(fleet.home, there, nodes)
        parts: Floats = size[self.mobile][:, None] / np.maximum(top, 1e-9)[None, :]
        return parts

    def _begin(self, price: Floats) -> None:
        fleet, program = self.fleet, Program()
        count, places = self.cost.shape
        y = program.add(self.rent, upper=np.where(self.can_end, self.most, 1.0))
        score = self.cost + price[self.mobile]
        score[self.every, self.home] = -np.inf
        few = min(FIRST, places)
        nearest = np.argpartition(score, few - 1, axis=1)[:, :few] if count else np.zeros((0, few))
        chosen = np.zeros(self.cost.shape, dtype=bool)
        np.put_along_axis(chosen, nearest.astype(np.int64), True, axis=1)
        self.job, self.place = np.nonzero(chosen & np.isfinite(self.cost))
        self.has[self.job, self.place] = True
        late = program.add(self.slowest, upper=INF)
        x = program.add(self.cost[self.job, self.place], upper=INF)
        self.first = int(places) + fleet.nodes
        """x[0] is this column; before it there are one for each place, and one for each node."""
        there = np.flatnonzero(~self.can_end)
        ones = np.ones(len(there))
        program.block(np.arange(len(there)), y[there], ones, ones, ones)
        self.once = program.rows
        program.block(self.job, x, np.ones(len(x)), np.ones(count), np.ones(count))
        self.full = []
        for parts in self.sizes:
            self.full.append(program.rows)
            program.block(
                np.concatenate([self.place, np.arange(places)]),
                np.concatenate([x, y]),
                np.concatenate([parts[self.job, self.place], -np.ones(places)]),
                np.full(places, -INF),
                np.zeros(places),
            )
        self.limit = program.rows
        away = x[self.place != self.home[self.job]] if fleet.problem.most_moves < count else x[:0]
        program.row(away, np.ones(len(away)), -INF, float(fleet.problem.most_moves))
        # a node that can end stays if any of its jobs does
        at_home = np.flatnonzero(self.place == self.home[self.job])
        stays = np.zeros(count, dtype=np.int64)
        stays[self.job[at_home]] = x[at_home]
        self.tied = np.flatnonzero(self.can_end[self.home])
        self.tie = program.rows
        rows, ones = np.arange(len(self.tied)), np.ones(len(self.tied))
        program.block(
            np.concatenate([rows, rows]),
            np.concatenate([stays[self.tied], y[self.home[self.tied]]]),
            np.concatenate([ones, -ones]),
            -INF * ones,
            0.0 * ones,
        )
        # what a node that ends costs more, or it stays
        self.late = program.rows
        every, ones = np.arange(fleet.nodes), np.ones(fleet.nodes)
        program.block(
            np.concatenate([self.home[self.job], every, every]),
            np.concatenate([x, late, y[: fleet.nodes]]),
            np.concatenate([self.longer[self.job, self.place], -ones, -ones]),
            -INF * ones,
            0.0 * ones,
        )
        self.cut = program.rows
        self.highs = relaxed(program, interior=True)

    def solve(self, deadline: float) -> bool:
        """With the columns that there are; True if to the end. The last solution stays else."""
        if not run(self.highs, deadline):
            return False
        found = self.highs.getSolution()
        self.solution, self.dual = np.array(found.col_value), np.array(found.row_dual)
        objective = float(self.highs.getInfo().objective_function_value)
        self.total = self.paid + objective
        return True

    def bounds(self, deadline: float, enough: float = 0.0) -> Iterator[float]:
        """What is proven, each time a little more, until the deadline (`time.monotonic()`), or
        until no more than this part is missing."""
        best, in_vain = -INF, 0
        while in_vain < PATIENCE and self.solve(deadline):
            reduced = self._reduced()
            least = np.minimum(reduced.min(axis=1, initial=0.0), 0.0)
            proven = self.total + float(least.sum())
            more = proven > best + TINY * abs(proven)
            if more:
                best = proven
                yield best
            self.missing = (self.total - best) / max(TINY, abs(self.total))
            if self.missing <= enough:
                return
            wanted = (reduced < -TINY) & ~self.has
            close = self.missing < CLOSE
            links = self._link() if close else 0
            in_vain = in_vain + 1 if close and not more else 0
            self._add(np.where(wanted, reduced, 0.0))
            if not links and not wanted.any():
                return
            # what was the best is still allowed with new columns, and still as cheap with new rows
            self.highs.setOptionValue("simplex_strategy", DUAL if links else PRIMAL)

    def price_in(self) -> None:
        """Add columns that the last solution asks for."""
        reduced = self._reduced()
        self._add(np.where((reduced < -TINY) & ~self.has, reduced, 0.0))

    def prices(self) -> Floats:
        """For each job and place what the room that it takes there is worth."""
        found = np.zeros((self.fleet.count, self.fleet.places))
        for parts, row in zip(self.sizes, self.full, strict=True):
            worth = np.maximum(-self.dual[row : row + self.fleet.places], 0.0)
            found[self.mobile] += parts * worth[None, :]
        # a node that stays for a job's sake is paid by that job
        tied = self.mobile[self.tied]
        worth = np.maximum(-self.dual[self.tie : self.tie + len(tied)], 0.0)
        found[tied, self.fleet.home[tied]] += worth
        return found

    def away(self) -> Bools:
        """Jobs of which most is not at home."""
        share = self.solution[self.first :]
        job, place = self.job[: len(share)], self.place[: len(share)]
        gone = place != self.home[job]
        found = np.zeros(self.fleet.count, dtype=bool)
        moved = np.bincount(job[gone], share[gone], len(self.mobile))
        found[self.mobile] = moved > 0.5
        return found

    def _reduced(self) -> Floats:
        """Reduced costs of all columns, also of those that are not there."""
        dual = self.dual
        count, places = self.cost.shape
        reduced: Floats = self.cost - dual[self.once : self.once + count][:, None]
        for parts, row in zip(self.sizes, self.full, strict=True):
            reduced -= parts * dual[row : row + places][None, :]
        reduced -= dual[self.limit]
        reduced[self.every, self.home] += dual[self.limit]
        tied = self.home[self.tied]
        reduced[self.tied, tied] -= dual[self.tie : self.tie + len(tied)]
        reduced -= self.longer * dual[self.late : self.cut][self.home][:, None]
        job, place = self.links[: len(dual) - self.cut].T
        reduced[job, place] -= dual[self.cut :]
        return reduced

    def _add(self, wanted: Floats) -> None:
        """Columns, of each job those that are wanted (below 0) most."""
        few = min(MORE, wanted.shape[1])
        if not wanted.size:
            return
        best = np.argpartition(wanted, few - 1, axis=1)[:, :few]
        job, place = np.repeat(self.every, few), best.ravel()
        new = wanted[job, place] < 0
        job, place = job[new], place[new]
        count = len(job)
        rows = [self.once + job, *(row + place for row in self.full), self.late + self.home[job]]
        parts = [part[job, place] for part in self.sizes]
        values = [np.ones(count), *parts, self.longer[job, place]]
        if self.fleet.problem.most_moves < len(self.mobile):
            rows.append(np.full(count, self.limit))
            values.append(np.ones(count))
        index = np.stack(rows, axis=1).astype(np.int32)
        value = np.stack(values, axis=1)
        starts = (np.arange(count) * len(rows)).astype(np.int32)
        free = np.full(count, INF)
        self.highs.addCols(
            count,
            self.cost[job, place],
            np.zeros(count),
            free,
            index.size,
            starts,
            index.ravel(),
            value.ravel(),
        )
        self.job = np.concatenate([self.job, job])
        self.place = np.concatenate([self.place, place])
        self.has[job, place] = True

    def _link(self) -> int:
        """Rows for jobs of which there is more than of the place. Returns how many."""
        more = self.solution[self.first :] - self.solution[self.place]
        more[self.place == self.home[self.job]] = 0.0
        chosen = np.argsort(-more)[:LINKS]
        chosen = chosen[more[chosen] > VIOLATED]
        count = len(chosen)
        index = np.stack([self.first + chosen, self.place[chosen]], axis=1).astype(np.int32)
        self.highs.addRows(
            count,
            np.full(count, -INF),
            np.zeros(count),
            index.size,
            (np.arange(count) * 2).astype(np.int32),
            index.ravel(),
            np.tile([1.0, -1.0], count),
        )
        new = np.stack([self.job[chosen], self.place[chosen]], axis=1)
        self.links = np.concatenate([self.links, new])
        return count
