"""The whole problem as one mixed-integer program: for small fleets, and small parts of large ones.

Every node is a bin of its own, and so is every machine that could be made. What the program
cannot say in linear rows (the order of moves, and that each bundle pays by itself) is looked at
afterwards: an answer that fails there is excluded, and the program is solved again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from porter.schedule.optimiser.bundles import Sorted, sort_out
from porter.schedule.optimiser.evaluate import Accountant
from porter.schedule.optimiser.fleet import Draft, Fleet
from porter.schedule.optimiser.model import HOUR
from porter.schedule.optimiser.solver import INF, Floats, Ints, Program, solve

TINY = 1e-7
"""Relative: a difference in cost that is rounding."""


@dataclass
class Found:
    """The best bundles so far, and what no permitted plan can undercut."""

    best: Sorted
    cost: float
    bound: float


class Exact:
    """The program of one fleet. `bins` are nodes, then copies of offers."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.program = Program()
        self._bins()
        self._moves()
        self._keeps()
        self._capacity()
        self._doubles()
        self._near()
        self._apart()
        self._symmetry()
        self._worth()
        if len(self.x):
            most = float(fleet.problem.most_moves)
            self.program.row(self.x, np.ones(len(self.x)), -INF, most)

    def _bins(self) -> None:
        fleet = self.fleet
        could = fleet.may.sum(axis=0)
        self.place: list[int] = list(range(fleet.nodes))
        self.copies: list[list[int]] = []
        for offer in range(fleet.nodes, fleet.places):
            count = min(int(fleet.most[offer - fleet.nodes]), int(could[offer]))
            self.copies.append(list(range(len(self.place), len(self.place) + count)))
            self.place += [offer] * count
        self.machines = self.place[fleet.nodes :]

    def _moves(self) -> None:
        """x[k]: job `job[k]` moves to bin `bin[k]`."""
        fleet = self.fleet
        places = np.array(self.place, dtype=np.int64)
        self.job, self.bin = np.nonzero(fleet.may[:, places])
        going = fleet.going(places)[self.job, self.bin]
        self.x = self.program.add(going - fleet.stay_cost[self.job])
        self.constant = float(fleet.stay_cost.sum())
        self.of_job: list[Ints] = [self.x[self.job == j] for j in range(fleet.count)]
        self.into: list[Ints] = [self.x[self.bin == b] for b in range(len(self.place))]

    def _keeps(self) -> None:
        """keep[n]: a node that is paid now stays; used[b]: something arrives at a bin."""
        fleet, program = self.fleet, self.program
        standing = np.flatnonzero(fleet.standing)
        self.keep = dict(
            zip(standing.tolist(), program.add(fleet.rent[standing]).tolist(), strict=True)
        )
        rent = fleet.rent[np.array(self.place, dtype=np.int64)].copy()
        rent[standing] = 0.0
        self.used = program.add(rent)
        for b, columns in enumerate(self.into):
            if not len(columns):
                program.row([int(self.used[b])], [1.0], 0.0, 0.0)
                continue
            for column in columns:
                program.row([int(column), int(self.used[b])], [1.0, -1.0], -INF, 0.0)
            program.row([*columns, int(self.used[b])], [1.0] * len(columns) + [-1.0], 0.0, INF)
        for n, keep in self.keep.items():
            program.row([int(self.used[n]), keep], [1.0, -1.0], -INF, 0.0)
            leaving: list[int] = []
            residents = np.flatnonzero(fleet.home == n)
            for j in residents:
                columns = self.of_job[j]
                leaving += columns.tolist()
                program.row([*columns, keep], [1.0] * (len(columns) + 1), 1.0, INF)
            arriving = self.into[n].tolist()
            values = [1.0] + [1.0] * len(leaving) + [-1.0] * len(arriving)
            program.row([keep, *leaving, *arriving], values, -INF, float(len(residents)))

    def _capacity(self) -> None:
        fleet = self.fleet
        for b, place in enumerate(self.place):
            if not len(self.into[b]):
                continue
            arrivals = self.job[self.into[b]]
            least = float(fleet.arriving[arrivals].min())
            room = float(fleet.room[place])
            self._fit(b, fleet.memory.astype(float), room, least)
            self._fit(b, fleet.cpus, float(fleet.cores[place]), 0.0)

    def _fit(self, b: int, size: Floats, room: float, least: float) -> None:
        """What stays and what comes fits, and beside it the least that an arrival takes."""
        fleet = self.fleet
        into = self.into[b]
        out = [self.of_job[j] for j in np.flatnonzero(fleet.home == b)] if b < fleet.nodes else []
        load = float(size[fleet.home == b].sum()) if b < fleet.nodes else 0.0
        leaving = np.concatenate([*out, np.zeros(0, dtype=np.int64)]).astype(np.int64)
        columns = [*into, *leaving, int(self.used[b])]
        scale = max(room, load, 1e-9)
        values = [*size[self.job[into]], *(-size[self.job[leaving]])]
        if b >= fleet.nodes:
            values.append(least - room)
            upper = 0.0
        else:
            most = max(room, load)
            values.append(most - room + least)
            upper = most - load
        self.program.row(columns, np.array(values) / scale, -INF, upper / scale)

    def _doubles(self) -> None:
        """What a node that ends costs until it is empty, from the moves that its jobs make."""
        fleet, program = self.fleet, self.program
        places = np.array(self.place, dtype=np.int64)
        self.double: dict[int, int] = {}
        self.boot: dict[int, int] = {}
        for n, keep in self.keep.items():
            hourly = float(fleet.hourly[n]) / HOUR
            residents = np.flatnonzero(fleet.home == n)
            if hourly <= 0 or any(not len(self.of_job[j]) for j in residents):
                continue
            columns = np.concatenate([self.of_job[j] for j in residents])
            at = places[self.bin[columns]]
            seconds = fleet.move_s[self.job[columns], fleet.site[at]]
            boots = fleet.boot_s[at]
            longest = float(boots.max())
            most = sum(float(seconds[self.job[columns] == j].max()) for j in residents)
            double = int(program.add(np.ones(1), upper=INF, whole=False)[0])
            boot = int(program.add(np.zeros(1), upper=max(longest, 1e-9), whole=False)[0])
            self.double[n], self.boot[n] = double, boot
            big = hourly * (most + longest)
            program.row(
                [double, *columns, boot, keep],
                [1.0, *(-hourly * seconds), -hourly, big],
                0.0,
                INF,
            )
            for column, needs in zip(columns, boots, strict=True):
                if needs > 0:
                    program.row([boot, int(column)], [1.0, -float(needs)], 0.0, INF)
            least = sum(float(seconds[self.job[columns] == j].min()) for j in residents)
            program.row([double, keep], [1.0, hourly * least], hourly * least, INF)

    def _near(self) -> None:
        """A group that moves at all is at one site afterwards."""
        fleet, program = self.fleet, self.program
        site = fleet.site[np.array(self.place, dtype=np.int64)]
        self.sites: dict[int, Ints] = {}
        for mark in range(int(fleet.near.max(initial=-1)) + 1):
            members = np.flatnonzero(fleet.near == mark)
            chosen = program.add(np.zeros(len(fleet.sites)))
            self.sites[mark] = chosen
            for j in members:
                columns = self.of_job[j]
                at = site[self.bin[columns]]
                home = int(fleet.site[fleet.home[j]])
                for s, g in enumerate(chosen.tolist()):
                    # is j at s: the moves that end there, and if s is home, those that do not leave
                    if s == home:
                        away = columns[at != s]
                        program.row([*away, int(g)], [1.0] * (len(away) + 1), -INF, 1.0)
                    else:
                        there = columns[at == s]
                        program.row([*there, int(g)], [1.0] * len(there) + [-1.0], 0.0, INF)
                for column in columns:
                    program.row([*chosen, int(column)], [1.0] * len(chosen) + [-1.0], 0.0, INF)
            program.row(chosen, np.ones(len(chosen)), 0.0, 1.0)

    def _apart(self) -> None:
        fleet, program = self.fleet, self.program
        for b, columns in enumerate(self.into):
            marks = fleet.apart[self.job[columns]]
            for mark in set(marks.tolist()) - {-1}:
                coming = columns[marks == mark]
                program.row(coming, np.ones(len(coming)), 0.0, 1.0)
                if b >= fleet.nodes:
                    continue
                for j in np.flatnonzero((fleet.home == b) & (fleet.apart == mark)):
                    leaving = self.of_job[j]
                    values = [1.0] * len(coming) + [-1.0] * len(leaving)
                    program.row([*coming, *leaving], values, -INF, 0.0)

    def _symmetry(self) -> None:
        """Copies of one offer are alike: the first job of a later copy comes after that of an
        earlier one, so that each plan is written down in one way only."""
        program = self.program
        for copies in self.copies:
            for earlier, later in pairwise(copies):
                before = self.into[earlier]
                for column in self.into[later]:
                    lower = before[self.job[before] < self.job[column]]
                    values = [1.0] + [-1.0] * len(lower)
                    program.row([int(column), *lower], values, -INF, 0.0)

    def _worth(self) -> None:
        """Each bundle saves something, so all together save at least what each must."""
        fleet, program = self.fleet, self.program
        self.left: dict[int, int] = {}
        jobs = fleet.problem.jobs
        needing = [j for j, job in enumerate(jobs) if job.min_saving > 0 and len(self.of_job[j])]
        hysteresis = fleet.problem.hysteresis
        if not needing and hysteresis <= 0:
            return
        cost = np.concatenate(program.cost)
        columns = np.flatnonzero(cost)
        scale = max(1.0, fleet.stay_total)
        values = cost[columns] / scale
        room = (fleet.stay_total - self.constant) / scale + TINY
        for j in needing:
            mine = self.of_job[j]
            all_columns = np.concatenate([columns, mine])
            asked = np.full(len(mine), jobs[j].min_saving / scale)
            merged = np.zeros(program.columns)
            np.add.at(merged, all_columns, np.concatenate([values, asked]))
            used = np.flatnonzero(merged)
            program.row(used, merged[used], -INF, room)
        if hysteresis > 0:
            left = {n: int(program.add(np.zeros(1))[0]) for n in self.keep}
            self.left = left
            for n, mark in left.items():
                for j in np.flatnonzero(fleet.home == n).tolist():
                    moves = self.of_job[j]
                    program.row([mark, *moves], [1.0] + [-1.0] * len(moves), 0.0, INF)
            asked = np.array([hysteresis * fleet.rent[n] / scale for n in left])
            program.row(
                np.concatenate([columns, np.array(list(left.values()), dtype=np.int64)]),
                np.concatenate([values, asked]),
                -INF,
                room,
            )

    def draft(self, x: Floats) -> Draft:
        target = self.fleet.home.copy()
        chosen = np.flatnonzero(x[self.x] > 0.5)
        target[self.job[chosen]] = self.bin[chosen]
        return Draft(target, list(self.machines))

    def forbid(self, draft: Draft) -> None:
        """This very draft shall not come again."""
        moved = draft.target != self.fleet.home
        chosen = self.bin == draft.target[self.job]
        values = np.where(chosen, -1.0, 0.0)
        values[~moved[self.job]] = 1.0
        columns = np.flatnonzero(values)
        self.program.row(self.x[columns], values[columns], 1.0 - float(moved.sum()), INF)

    def start(self, draft: Draft) -> Floats | None:
        """A draft as values of all variables but the continuous ones, which HiGHS finds; None where
        a move of it is none here. Copies are numbered as the program wants: by their first job."""
        fleet = self.fleet
        values = np.zeros(self.program.columns)
        free = {offer + fleet.nodes: list(copies) for offer, copies in enumerate(self.copies)}
        target = draft.target.copy()
        named: dict[int, int] = {}
        for j in np.flatnonzero(draft.target >= fleet.nodes).tolist():
            machine = int(draft.target[j])
            if machine not in named:
                copies = free[draft.machines[machine - fleet.nodes]]
                if not copies:
                    return None
                named[machine] = copies.pop(0)
            target[j] = named[machine]
        moved = np.flatnonzero(target != fleet.home)
        chosen = self.bin == target[self.job]
        if int(chosen.sum()) != len(moved):
            return None
        values[self.x[chosen]] = 1.0
        values[self.used[self.bin[chosen]]] = 1.0
        for n, keep in self.keep.items():
            values[keep] = float((target == n).any())
        for n, column in self.left.items():
            values[column] = float((fleet.home[moved] == n).any())
        site = fleet.site[np.array(self.place, dtype=np.int64)]
        for mark, columns in self.sites.items():
            members = np.flatnonzero(fleet.near == mark)
            if (target[members] != fleet.home[members]).any():
                values[columns[site[target[members[0]]]]] = 1.0
        return values


def size(fleet: Fleet) -> int:
    """How many binaries the program would have."""
    could = fleet.may.sum(axis=0)
    most = np.ones(fleet.places, dtype=np.int64)
    most[fleet.nodes :] = np.minimum(fleet.most, could[fleet.nodes :])
    return int((could * most).sum())


def improve(
    fleet: Fleet, accountant: Accountant, deadline: float, best: Sorted, start: Draft
) -> Found:
    """Solve, look, exclude, again: until the best that is permitted is proven, or time is up."""
    found = Found(best, fleet.stay_total - best.saving, 0.0)
    model = Exact(fleet)
    tolerance = TINY * max(1.0, fleet.stay_total) * 0.01
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return found
        solved = solve(model.program, left, model.start(start))
        if solved.infeasible:
            # every plan but those looked at is excluded
            found.bound = found.cost
            return found
        found.bound = max(found.bound, min(found.cost, solved.bound + model.constant))
        if solved.x is None or not solved.optimal:
            if solved.x is not None:
                look(fleet, accountant, model.draft(solved.x), found)
            return found
        if solved.objective + model.constant >= found.cost - tolerance:
            found.bound = found.cost
            return found
        draft = model.draft(solved.x)
        look(fleet, accountant, draft, found)
        if solved.bound + model.constant >= found.cost - tolerance:
            found.bound = min(found.cost, max(found.bound, solved.bound + model.constant))
            return found
        model.forbid(draft)


def look(fleet: Fleet, accountant: Accountant, draft: Draft, found: Found) -> None:
    """Remember a draft if what is worth it of it is better than what was found."""
    result = sort_out(fleet, accountant, draft)
    cost = fleet.stay_total - result.saving
    if cost < found.cost - 1e-9:
        found.best, found.cost = result, cost
