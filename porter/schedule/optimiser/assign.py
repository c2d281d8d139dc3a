"""From pools to places: a linear program over the nodes that stay and the machines that are made,
and its rounding. Machines of one offer are one place here; rounding tells them apart."""

from __future__ import annotations

import time
from dataclasses import dataclass

import highspy
import numpy as np

from porter.schedule.optimiser.fleet import Bools, Draft, Fleet, Floats, Ints
from porter.schedule.optimiser.model import HOUR
from porter.schedule.optimiser.search import Yard
from porter.schedule.optimiser.skeleton import Skeleton, costs_of
from porter.schedule.optimiser.solver import INF, Program, relaxed, run

AT_ONCE = 2500
NOISE = 0.4
NEAREST = 24
"""So many of the places that look best are looked at for each job."""


class Prices:
    """What it costs a job to be at a place, and what the room it takes there is worth."""

    def __init__(self, fleet: Fleet, skeleton: Skeleton) -> None:
        self.cost = cost = costs_of(fleet, skeleton.site)
        self.room = skeleton.price
        others = np.isfinite(cost)
        others[np.arange(fleet.count), fleet.home] = False
        self.mobile = others.any(axis=1)
        # a node that ends is paid until its jobs are gone
        ends = fleet.standing & ~skeleton.keep
        second = np.where(ends, fleet.hourly[: fleet.nodes] / HOUR, 0.0)[fleet.home]
        cost += np.where(others, fleet.move_s[:, fleet.site], 0.0) * second[:, None]


def assign(
    fleet: Fleet, skeleton: Skeleton, prices: Prices, deadline: float, latest: float
) -> Draft:
    """All jobs somewhere: where the linear program puts them whole, and the rest one by one. From
    the deadline on it is not solved again; its first solution is waited for until the latest."""
    ended = ~skeleton.keep[fleet.home] & prices.mobile
    shares = _shares(fleet, skeleton, prices, deadline, latest)
    draft = Draft(fleet.home.copy(), list(skeleton.made))
    cost = prices.cost.copy()
    cost[ended, fleet.home[ended]] = np.inf
    closed = np.flatnonzero(~skeleton.keep)
    foreign = fleet.home[:, None] != closed[None, :]
    cost[:, closed] = np.where(foreign, np.inf, cost[:, closed])
    yard = Yard(fleet, draft, cost, prices.room)
    size = size_of(fleet)
    rest = []
    yard.pay(len(skeleton.made))
    out = np.flatnonzero(ended | (shares.place != fleet.home))
    for job in out.tolist():
        yard.take(job)
    for job in out[np.argsort(-size[out], kind="stable")].tolist():
        if not (shares.whole[job] and yard.into(job, int(shares.place[job]))):
            rest.append(job)
    for job in rest:
        if not yard.insert(job, 1.0, 0.1, 4.0):
            yard.put(job, int(fleet.home[job]))
    return yard.draft()


@dataclass
class _Shares:
    place: Ints
    """Of each job the bin that gets most of it."""
    whole: Bools
    """It gets all of it."""


def _shares(
    fleet: Fleet, skeleton: Skeleton, prices: Prices, deadline: float, latest: float
) -> _Shares:
    """All in one program, or, of a large fleet, site by site: the pooled program has decided who
    goes where."""
    shares = _Shares(fleet.home.copy(), np.zeros(fleet.count, dtype=bool))
    made = np.array(skeleton.made, dtype=np.int64)
    places = np.concatenate([np.flatnonzero(skeleton.keep), made])
    bins = np.concatenate([np.flatnonzero(skeleton.keep), fleet.nodes + np.arange(len(made))])
    began = time.monotonic()
    done = 0
    whole = fleet.count <= AT_ONCE
    for site in range(1 if whole else len(fleet.sites)):
        here = np.flatnonzero((fleet.site[places] == site) | whole)
        jobs = np.flatnonzero((skeleton.goes == site) | whole)
        done += len(jobs)
        until = began + (deadline - began) * done / max(1, fleet.count)
        if len(here) and len(jobs):
            _site(fleet, skeleton, prices, shares, jobs, bins[here], places[here], until, latest)
    return shares


def _site(
    fleet: Fleet,
    skeleton: Skeleton,
    prices: Prices,
    shares: _Shares,
    jobs: Ints,
    bins: Ints,
    places: Ints,
    deadline: float,
    latest: float,
) -> None:
    cost = _costs(fleet, skeleton, prices, jobs, bins, places)
    score = cost + prices.room[np.ix_(jobs, places)]
    # many places are as good: each job looks at others of them, so that all of them are looked at
    spread = np.random.default_rng(1).uniform(0.0, NOISE, score.shape)
    score += spread * np.median(np.where(np.isfinite(score), score, 0.0), axis=1)[:, None]
    score[bins[None, :] == fleet.home[jobs][:, None]] = -np.inf
    take = min(NEAREST, len(bins))
    near = np.argpartition(score, take - 1, axis=1)[:, :take]
    rows, columns = np.repeat(np.arange(len(jobs)), take), near.ravel()
    finite = np.isfinite(cost[rows, columns])
    rows, columns = rows[finite], columns[finite]
    program = Program()
    x = program.add(cost[rows, columns], upper=INF, whole=False)
    dear = np.where(np.isfinite(score), np.abs(score), 0.0).max(axis=1, initial=0.0)
    outside = program.add(2.0 * dear + fleet.rent.max(), upper=INF, whole=False)
    every = np.arange(len(jobs))
    one = np.ones(len(jobs))
    program.block(
        np.concatenate([rows, every]),
        np.concatenate([x, outside]),
        np.ones(len(x) + len(jobs)),
        one,
        one,
    )
    small = float(np.quantile(fleet.arriving, 0.1))
    memory = (fleet.memory[jobs].astype(float), fleet.room - small, fleet.load)
    for size, room, load in (memory, (fleet.cpus[jobs], fleet.cores, fleet.load_cpus)):
        # the last that arrives, a small one, needs memory besides
        top = room[places].astype(float)
        nodes = bins < fleet.nodes
        top[nodes] = np.maximum(top[nodes], load[places[nodes]])
        scale = np.maximum(top, 1e-9)
        program.block(
            columns, x, size[rows] / scale[columns], np.full(len(bins), -INF), np.ones(len(bins))
        )
    value = _Dive(program, x, rows, size_of(fleet)[jobs]).run(deadline, latest)
    order = np.argsort(value, kind="stable")
    shares.place[jobs[rows[order]]] = bins[columns[order]]
    shares.whole[jobs[rows[order]]] = value[order] > 0.95


def _costs(
    fleet: Fleet, skeleton: Skeleton, prices: Prices, jobs: Ints, bins: Ints, places: Ints
) -> Floats:
    cost: Floats = prices.cost[np.ix_(jobs, places)]
    nodes = bins < fleet.nodes
    home = bins[None, :] == fleet.home[jobs][:, None]
    stays = skeleton.keep[fleet.home[jobs]]
    # what stays on a node that stays may leave it for a machine only: it is in nobody's way there
    cost[(stays[:, None] & nodes[None, :]) & ~home] = np.inf
    # a large job needs a hole: what there is, and what those leave who had better go
    leave = np.bincount(fleet.home, np.where(skeleton.leaves, fleet.memory, 0), fleet.nodes)
    hole = fleet.room[places].astype(float)
    hole[nodes] -= (fleet.load - leave)[places[nodes]]
    needs = (fleet.memory + fleet.arriving)[jobs][:, None] > hole[None, :]
    cost[needs & ~home] = np.inf
    return cost


def size_of(fleet: Fleet) -> Floats:
    """How large each job is, by what is scarcer for it."""
    size: Floats = np.maximum(
        fleet.memory / max(1.0, float(np.median(fleet.room))),
        fleet.cpus / max(1e-9, float(np.median(fleet.cores))),
    )
    return size


class _Dive:
    """The linear program, solved again and again: the largest jobs that are in parts are put where
    most of them is, until all are whole. Small ones fill what is left."""

    def __init__(self, program: Program, x: Ints, rows: Ints, size: Floats) -> None:
        self.x, self.rows, self.size = x, rows, size
        self.highs = relaxed(program, interior=True)

    def run(self, deadline: float, latest: float) -> Floats:
        """Of each column its share in the end."""
        highs, count = self.highs, len(self.size)
        open_ = np.ones(count, dtype=bool)
        value = np.zeros(len(self.x))
        batch: Ints = np.zeros(0, dtype=np.int64)
        part = 6
        first = True
        while first or time.monotonic() < deadline:
            solved = run(highs, latest if first else deadline)
            first = False
            if solved:
                solution = np.array(highs.getSolution().col_value)
                value = solution[self.x]
                most = np.zeros(count)
                np.maximum.at(most, self.rows, value)
                parts = np.flatnonzero((most < 0.999) & open_)
                if not len(parts):
                    return value
                parts = parts[np.argsort(-self.size[parts], kind="stable")]
                batch = self._fix(parts[: max(1, len(parts) // part)], value)
                part = max(6, part // 2)
            elif highs.getModelStatus() == highspy.HighsModelStatus.kTimeLimit:
                return value
            else:
                # together they do not fit: fewer at a time
                self._free(batch)
                if len(batch) > 1:
                    open_[batch] = True
                    part *= 4
                    continue
            open_[batch] = False
        return value

    def _free(self, jobs: Ints) -> None:
        mine = np.flatnonzero(np.isin(self.rows, jobs))
        columns = self.x[mine].astype(np.int32)
        zero = np.zeros(len(columns))
        self.highs.changeColsBounds(len(columns), columns, zero, np.full(len(columns), INF))

    def _fix(self, jobs: Ints, value: Floats) -> Ints:
        best = np.full(len(self.size), -1, dtype=np.int64)
        order = np.argsort(value, kind="stable")
        best[self.rows[order]] = order
        chosen = best[jobs]
        # a job that is mostly outside is left to the end
        chosen = chosen[chosen >= 0]
        columns = self.x[chosen].astype(np.int32)
        one = np.ones(len(columns))
        if len(columns):
            self.highs.changeColsBounds(len(columns), columns, one, one)
        return jobs
