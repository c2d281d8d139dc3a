"""From pools to places: a linear program over the nodes that stay and the machines that are made,
and its rounding. Machines of one offer are one place here; rounding tells them apart."""

from __future__ import annotations

import time

import highspy
import numpy as np

from porter.schedule.fleet import Draft, Fleet, Floats, Ints
from porter.schedule.search import Yard
from porter.schedule.skeleton import Skeleton
from porter.schedule.solver import INF, THREADS, Program, Quiet

NEAREST = 14
"""So many of the places that look best are looked at for each job."""


class Prices:
    """What it costs a job to be at a place, and what the room it takes there is worth."""

    def __init__(self, fleet: Fleet, skeleton: Skeleton) -> None:
        cost: Floats = fleet.going()
        every = np.arange(fleet.count)
        cost[every, fleet.home] = fleet.stay_cost
        gathered = np.flatnonzero(skeleton.site != -1)
        elsewhere = fleet.site[None, :] != skeleton.site[gathered][:, None]
        home = np.arange(fleet.places)[None, :] == fleet.home[gathered][:, None]
        frozen = (skeleton.site[gathered] == -2)[:, None]
        cost[gathered] = np.where(elsewhere & ~home, np.inf, cost[gathered])
        # a group that shall go elsewhere had better go whole: staying behind counts as a machine
        behind = (elsewhere & home & ~frozen).any(axis=1)
        left = gathered[behind]
        cost[left, fleet.home[left]] += float(fleet.rent.max(initial=1.0))
        self.cost = cost
        self.room = skeleton.price
        others = np.isfinite(cost)
        others[every, fleet.home] = False
        self.mobile = others.any(axis=1)


def assign(fleet: Fleet, skeleton: Skeleton, prices: Prices, deadline: float) -> Yard:
    """All jobs somewhere: where the linear program puts them whole, and the rest one by one."""
    ended = ~skeleton.keep[fleet.home] & prices.mobile
    shares = _shares(fleet, skeleton, prices, deadline)
    draft = Draft(fleet.home.copy(), list(skeleton.made))
    cost = prices.cost.copy()
    cost[ended, fleet.home[ended]] = np.inf
    closed = np.flatnonzero(~skeleton.keep)
    foreign = fleet.home[:, None] != closed[None, :]
    cost[:, closed] = np.where(foreign, np.inf, cost[:, closed])
    yard = Yard(fleet, draft, cost, prices.room)
    size = np.maximum(
        fleet.memory / max(1.0, float(np.median(fleet.room))),
        fleet.cpus / max(1e-9, float(np.median(fleet.cores))),
    )
    rest = []
    out = np.flatnonzero(ended | (shares.place != fleet.home))
    for job in out.tolist():
        yard.take(job)
    for job in out[np.argsort(-size[out], kind="stable")].tolist():
        if not (shares.whole[job] and _into(yard, job, int(shares.place[job]))):
            rest.append(job)
    for job in rest:
        if not yard.insert(job, 1.0, 0.1, 1.1):
            yard.put(job, int(fleet.home[job]))
    yard.cost = prices.cost
    return yard


def _into(yard: Yard, job: int, b: int) -> bool:
    fleet = yard.fleet
    if yard.memory[b] < fleet.memory[job] or yard.cpus[b] < fleet.cpus[job]:
        return False
    if not yard.takes(job, b):
        return False
    new = not yard.count[b]
    yard.put(job, b)
    if new and b >= fleet.nodes:
        yard.more(b)
    return True


class _Shares:
    def __init__(self, place: Ints, whole: Floats) -> None:
        self.place, self.whole = place, whole > 0.95


def _shares(fleet: Fleet, skeleton: Skeleton, prices: Prices, deadline: float) -> _Shares:
    """Of each job the place that gets most of it, and how much."""
    made = np.array(skeleton.made, dtype=np.int64)
    places = np.concatenate([np.flatnonzero(skeleton.keep), made])
    bins = np.concatenate([np.flatnonzero(skeleton.keep), fleet.nodes + np.arange(len(made))])
    cost = prices.cost[:, places]
    home = bins[None, :] == fleet.home[:, None]
    stays = skeleton.keep[fleet.home]
    # what stays on a node that stays may leave it for a machine only: it is in nobody's way there
    cost = np.where((stays[:, None] & (bins < fleet.nodes)[None, :]) & ~home, np.inf, cost)
    # nothing is counted on to leave before a large job arrives
    hole = fleet.room[places].astype(float)
    nodes = bins < fleet.nodes
    hole[nodes] -= fleet.load[places[nodes]]
    needs = (fleet.memory + fleet.arriving)[:, None] > hole[None, :]
    cost = np.where(needs & ~home, np.inf, cost)
    score = cost + prices.room[:, places]
    score[home] = -np.inf
    take = min(NEAREST, len(bins))
    near = np.argpartition(score, take - 1, axis=1)[:, :take] if take else np.zeros((0, 0), int)
    rows = np.repeat(np.arange(fleet.count), take)
    columns = near.ravel()
    finite = np.isfinite(cost[rows, columns])
    rows, columns = rows[finite], columns[finite]
    program = Program()
    x = program.add(cost[rows, columns], upper=INF, whole=False)
    best = np.where(np.isfinite(prices.cost + prices.room), prices.cost + prices.room, np.inf)
    outside = program.add(2.0 * np.minimum(best.min(axis=1), 1e9) + 1.0, upper=INF, whole=False)
    every = np.arange(fleet.count)
    program.block(
        np.concatenate([rows, every]),
        np.concatenate([x, outside]),
        np.ones(len(x) + fleet.count),
        np.ones(fleet.count),
        np.ones(fleet.count),
    )
    memory = fleet.memory.astype(float)
    small = float(np.quantile(fleet.arriving, 0.1)) if fleet.count else 0.0
    for size, room, load in (
        (memory, fleet.room.astype(float), fleet.load),
        (fleet.cpus, fleet.cores, fleet.load_cpus),
    ):
        # the last that arrives, a small one, needs room besides
        top = room[places] - (small if size is memory else 0.0)
        top[nodes] = np.maximum(top[nodes], load[places[nodes]])
        scale = np.maximum(top, 1e-9)
        program.block(
            columns, x, size[rows] / scale[columns], np.full(len(bins), -INF), np.ones(len(bins))
        )
    model = _Dive(fleet, program, x, outside, rows, columns)
    value = model.run(deadline)
    place = fleet.home.copy()
    whole = np.zeros(fleet.count)
    order = np.argsort(value, kind="stable")
    place[rows[order]] = bins[columns[order]]
    whole[rows[order]] = value[order]
    return _Shares(place, whole)


class _Dive:
    """The linear program, solved again and again: the largest jobs that are in parts are put where
    most of them is, until all are whole. Small ones fill what is left."""

    def __init__(
        self,
        fleet: Fleet,
        program: Program,
        x: Ints,
        outside: Ints,
        rows: Ints,
        columns: Ints,
    ) -> None:
        self.fleet, self.x, self.outside = fleet, x, outside
        self.rows, self.columns = rows, columns
        self.highs = Quiet()
        self.highs.setOptionValue("threads", THREADS)
        self.highs.passModel(program.model(relaxed=True))
        self.size = np.maximum(
            fleet.memory / max(1.0, float(np.median(fleet.room))),
            fleet.cpus / max(1e-9, float(np.median(fleet.cores))),
        )

    def run(self, deadline: float) -> Floats:
        """Of each column its share in the end."""
        highs, count = self.highs, self.fleet.count
        open_ = np.ones(count, dtype=bool)
        value = np.zeros(len(self.x))
        batch: Ints = np.zeros(0, dtype=np.int64)
        part = 6
        while time.monotonic() < deadline:
            highs.run()
            if highs.getModelStatus() == highspy.HighsModelStatus.kOptimal:
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
        best = np.full(self.fleet.count, -1, dtype=np.int64)
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
