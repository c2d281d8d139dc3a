"""Large neighbourhoods: a few bins and all that may move in them, packed anew by a small program."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from porter.schedule.fleet import Fleet, cost_of
from porter.schedule.packing import Packing, Prices
from porter.schedule.solver import INF, Ints, Program, solve


@dataclass
class Choice:
    """Bins that are packed anew, and offers of which machines may be made besides."""

    bins: list[int]
    offers: list[int]
    copies: int = 2


def repack(
    packing: Packing, prices: Prices, choice: Choice, seconds: float, gap: float = 0.002
) -> Packing | None:
    """The packing with these bins filled better; None if nothing better was found in time."""
    fleet = packing.fleet
    places = [packing.place[b] for b in choice.bins]
    fresh: list[int] = []
    for offer in choice.offers:
        room = int(fleet.most[offer - fleet.nodes] - packing.made[offer])
        fresh += [offer] * min(choice.copies, room)
    jobs = np.array(
        sorted(j for b in choice.bins for j in packing.jobs[b] if _loose(packing, j, b)), dtype=int
    )
    if not len(jobs):
        return None
    model = _Model(packing, prices, choice.bins, places + fresh, jobs)
    solved = solve(model.program, seconds, model.start(), gap, {"mip_heuristic_effort": 0.1})
    if solved.x is None:
        return None
    new = packing.copy()
    for job in jobs.tolist():
        new.take(job)
    bins = [*choice.bins, *(-1 for _ in fresh)]
    chosen = model.chosen(solved.x)
    for job, k in sorted(chosen.items(), key=lambda item: -int(fleet.arriving[item[0]])):
        if bins[k] < 0:
            bins[k] = new.open(fresh[k - len(choice.bins)])
        if not new.takes(job, bins[k]):
            return None
        new.put(job, bins[k])
    return new


def _loose(packing: Packing, job: int, b: int) -> bool:
    """Only what comes to a bin is packed anew; what stays there, stays."""
    return not (b < packing.fleet.nodes and packing.fleet.home[job] == b)


class _Model:
    def __init__(
        self, packing: Packing, prices: Prices, bins: list[int], places: list[int], jobs: Ints
    ) -> None:
        fleet = packing.fleet
        self.program = program = Program()
        self.jobs, self.places, self.bins = jobs, places, bins
        self.packing = packing
        cost = prices.cost[np.ix_(jobs, np.array(places))].copy()
        apart = fleet.apart[jobs]
        for k, b in enumerate(bins):
            marks = {int(fleet.apart[j]) for j in packing.jobs[b] if not _loose(packing, j, b)}
            marks |= set(fleet.marks.get(b, {})) if b < fleet.nodes else set()
            for mark in marks - {-1}:
                cost[apart == mark, k] = np.inf
            if b < fleet.nodes and prices.left[b]:
                cost[prices.leaves[jobs], k] = np.inf
        self.j, self.k = np.nonzero(np.isfinite(cost))
        self.x = program.add(cost[self.j, self.k])
        rent = np.array([fleet.rent[p] if p >= fleet.nodes else 0.0 for p in places])
        for k, b in enumerate(bins):
            if b < fleet.nodes and fleet.removable[b] and not fleet.residents[b]:
                rent[k] = fleet.rent[b]
        self.rent = rent
        self.u = program.add(rent)
        rows = len(jobs)
        program.block(self.j, self.x, np.ones(len(self.x)), np.ones(rows), np.ones(rows))
        self._capacity(fleet)
        self._apart(apart)
        self._same(bins, places)

    def _capacity(self, fleet: Fleet) -> None:
        program = self.program
        memory, arriving = fleet.memory[self.jobs], fleet.arriving[self.jobs]
        cpus = fleet.cpus[self.jobs]
        for k, place in enumerate(self.places):
            mine = np.flatnonzero(self.k == k)
            if not len(mine):
                continue
            room, cores = float(fleet.room[place]), float(fleet.cores[place])
            if k < len(self.bins):
                b = self.bins[k]
                loose = [j for j in self.packing.jobs[b] if _loose(self.packing, j, b)]
                room = float(self.packing.memory[b] + fleet.memory[loose].sum())
                cores = float(self.packing.cpus[b] + fleet.cpus[loose].sum())
            columns, inside = self.x[mine], self.j[mine]
            u = int(self.u[k])
            if cores <= 0 or room <= 0:
                program.row(columns, np.ones(len(columns)), 0.0, 0.0)
                continue
            program.row([*columns, u], [*(cpus[inside] / cores), -1.0], -INF, 0.0)
            order = np.argsort(arriving[inside], kind="stable")
            sizes = memory[inside][order] / room
            needs = arriving[inside][order] / room
            picks = np.unique(np.linspace(0, len(order) - 1, 12).round().astype(int))
            for i in picks.tolist():
                # while the i-th smallest arrives, all larger ones are there already
                values = sizes[i:].copy()
                values[0] += needs[i]
                if i == 0:
                    values[0] -= needs[0]
                    rest = [*values, needs[0] - 1.0]
                    program.row([*columns[order], u], rest, -INF, 0.0)
                else:
                    program.row([*columns[order][i:], u], [*values, -1.0], -INF, 0.0)
            for column in columns:
                program.row([int(column), u], [1.0, -1.0], -INF, 0.0)

    def _apart(self, apart: Ints) -> None:
        for mark in set(apart.tolist()) - {-1}:
            for k in range(len(self.places)):
                columns = self.x[(self.k == k) & (apart[self.j] == mark)]
                if len(columns) > 1:
                    self.program.row(columns, np.ones(len(columns)), 0.0, 1.0)

    def _same(self, bins: list[int], places: list[int]) -> None:
        """Of machines that are alike the earlier ones are used first."""
        for k in range(len(bins), len(places) - 1):
            if places[k] == places[k + 1]:
                self.program.row([int(self.u[k]), int(self.u[k + 1])], [1.0, -1.0], 0.0, INF)

    def start(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        values = np.zeros(self.program.columns)
        of = {b: k for k, b in enumerate(self.bins)}
        now = np.array([of[int(self.packing.target[j])] for j in self.jobs])
        chosen = self.k == now[self.j]
        values[self.x[chosen]] = 1.0
        values[self.u[np.unique(now)]] = 1.0
        return values

    def chosen(self, x: np.ndarray[tuple[int], np.dtype[np.float64]]) -> dict[int, int]:
        picked = np.flatnonzero(x[self.x] > 0.5)
        return {int(self.jobs[self.j[i]]): int(self.k[i]) for i in picked}


def search(packing: Packing, prices: Prices, deadline: float, seed: int = 1) -> Packing:
    """Repack neighbourhoods until the time is up."""
    fleet = packing.fleet
    rng = np.random.default_rng(seed)
    best, cost = packing, cost_of(fleet, packing.draft())
    while time.monotonic() < deadline:
        choice = pick(best, prices, rng)
        if choice is None:
            break
        new = repack(best, prices, choice, min(0.4, deadline - time.monotonic()))
        if new is None:
            continue
        now = cost_of(fleet, new.draft())
        if now < cost - 1e-9:
            best, cost = new, now
    return best


def pick(packing: Packing, prices: Prices, rng: np.random.Generator) -> Choice | None:
    """A few bins of one site that take jobs in, one of them badly filled."""
    fleet = packing.fleet
    places = np.array(packing.place)
    coming = np.array(
        [sum(_loose(packing, j, b) for j in jobs) for b, jobs in enumerate(packing.jobs)]
    )
    taking = np.flatnonzero(coming > 0)
    if not len(taking):
        return None
    value = fleet.rent[places] * np.minimum(
        packing.memory / np.maximum(fleet.room[places], 1),
        packing.cpus / np.maximum(fleet.cores[places], 1e-9),
    )
    weight = np.where(places[taking] >= fleet.nodes, np.maximum(value[taking], 0) + 1e-3, 1e-3)
    first = int(rng.choice(taking, p=weight / weight.sum()))
    site = fleet.site[places[first]]
    others = taking[(fleet.site[places[taking]] == site) & (taking != first)]
    rng.shuffle(others)
    bins, count = [first], int(coming[first])
    for b in others.tolist():
        if count + coming[b] > 45 or len(bins) >= 6:
            continue
        bins.append(b)
        count += int(coming[b])
    offers = np.flatnonzero(
        (np.arange(fleet.places) >= fleet.nodes) & (fleet.site == site) & fleet.open
    )
    rate = fleet.rent[offers] / np.maximum(
        1e-9,
        fleet.room[offers] / fleet.room[offers].mean()
        + fleet.cores[offers] / fleet.cores[offers].mean(),
    )
    offers = offers[np.argsort(rate)][:12]
    return Choice(bins, offers.tolist(), 1)
