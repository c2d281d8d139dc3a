"""A problem as arrays, so that a thousand jobs against a hundred places are reckoned at once.

Rows are jobs. A *place* is a node or an offer: nodes come first, offers after them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from porter.domain.errors import Invalid
from porter.schedule.optimiser.model import HOUR, Job, Node, Offer, Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SLACK = 1e-9
"""Cpus are floats: so much more than a node has is rounding."""


@dataclass
class Fleet:
    """Arrays of a problem. Money is over the horizon."""

    problem: Problem
    node_of: dict[str, int] = field(init=False)
    job_of: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        problem = self.problem
        self.node_of = {node.name: i for i, node in enumerate(problem.nodes)}
        self.job_of = {job.name: i for i, job in enumerate(problem.jobs)}
        for job in problem.jobs:
            if job.host not in self.node_of:
                raise Invalid(f"cannot optimise: {job.name} is on {job.host}, which is no node")
        self.hours = problem.horizon_s / HOUR
        self._jobs()
        self._places()
        self._rules()
        self._money()

    def _jobs(self) -> None:
        jobs = self.problem.jobs
        self.count = len(jobs)
        self.home: Ints = np.array([self.node_of[job.host] for job in jobs], dtype=np.int64)
        self.memory: Ints = np.array([job.memory for job in jobs], dtype=np.int64)
        self.arriving: Ints = np.array([job.arriving for job in jobs], dtype=np.int64)
        self.cpus: Floats = np.array([job.cpus for job in jobs], dtype=float)
        self.interruption_cost: Floats = np.array([job.interruption_cost for job in jobs], float)
        self.near = _marks([job.near for job in jobs])
        self.apart = _marks([job.apart for job in jobs])

        self.marks: dict[int, dict[int, int]] = {}
        """Of each node how many of each `apart` mark are on it."""
        for job in np.flatnonzero(self.apart >= 0).tolist():
            marks = self.marks.setdefault(int(self.home[job]), {})
            marks[int(self.apart[job])] = marks.get(int(self.apart[job]), 0) + 1

    def _places(self) -> None:
        nodes, offers = self.problem.nodes, self.problem.offers
        places: tuple[Node | Offer, ...] = (*nodes, *offers)
        self.nodes = len(nodes)
        self.places = len(places)
        self.sites = sorted({place.site for place in places})
        site_of = {site: i for i, site in enumerate(self.sites)}
        self.site: Ints = np.array([site_of[place.site] for place in places], dtype=np.int64)
        self.room: Ints = np.array([place.memory for place in places], dtype=np.int64)
        self.cores: Floats = np.array([place.cpus for place in places], dtype=float)
        self.hourly: Floats = np.array([place.hourly for place in places], dtype=float)
        self.rent: Floats = self.hourly * self.hours
        self.rent[: self.nodes][[not node.removable for node in nodes]] = 0.0
        self.removable: Bools = np.array([node.removable for node in nodes], dtype=bool)
        self.interruptions: Floats = np.array([place.interruptions for place in places], float)
        self.doomed: Floats = np.array([node.doomed for node in nodes] + [0.0] * len(offers), float)
        self.boot_s: Floats = np.array([0.0] * len(nodes) + [offer.boot_s for offer in offers])
        self.most: Ints = np.array([offer.most for offer in offers], dtype=np.int64)
        self.load: Ints = np.bincount(self.home, self.memory, self.nodes).astype(np.int64)
        self.load_cpus: Floats = np.bincount(self.home, self.cpus, self.nodes).astype(float)
        self.residents: Ints = np.bincount(self.home, minlength=self.nodes).astype(np.int64)
        self.overbooked: Bools = (self.load > self.room[: self.nodes]) | (
            self.load_cpus > self.cores[: self.nodes] + SLACK
        )

    def _rules(self) -> None:
        """`compatible`: the job's and the place's own rules allow it. `may`: it fits there too,
        alone, while it arrives, and it may move."""
        problem = self.problem
        nodes = problem.nodes
        sorts = [(job.arch, job.features) for job in problem.jobs]
        kinds = [(node.arch, node.features, True) for node in nodes]
        kinds += [(offer.arch, offer.features, bool(offer.features)) for offer in problem.offers]
        sort_of = {sort: i for i, sort in enumerate(dict.fromkeys(sorts))}
        kind_of = {kind: i for i, kind in enumerate(dict.fromkeys(kinds))}
        match = np.array(
            [
                [a == arch and (not known or need <= has) for arch, has, known in kind_of]
                for a, need in sort_of
            ],
            dtype=bool,
        ).reshape(len(sort_of), len(kind_of))
        sort = np.array([sort_of[item] for item in sorts], dtype=np.int64)
        kind = np.array([kind_of[item] for item in kinds], dtype=np.int64)
        self.runs: Bools = match[np.ix_(sort, kind)]
        no_spot = np.array([job.spot is not None for job in problem.jobs], dtype=bool)
        places: tuple[Node | Offer, ...] = (*nodes, *problem.offers)
        spot = np.array([place.spot for place in places], dtype=bool)
        closed = np.array([node.closed is not None for node in nodes], dtype=bool)
        self.pinned: Bools = np.array([job.pinned is not None for job in problem.jobs], dtype=bool)
        self.move_cost = self._by_site(lambda job, site: job.moves[site].cost)
        self.move_s = self._by_site(lambda job, site: job.moves[site].seconds)
        self.open: Bools = np.ones(self.places, dtype=bool)
        self.open[: self.nodes] = ~closed
        self.open[self.nodes :] = self.most > 0
        self.spot: Bools = spot
        self.no_spot: Bools = no_spot
        compatible = self.runs & np.isfinite(self.move_cost)[:, self.site]
        compatible &= ~(no_spot[:, None] & spot[None, :]) & self.open[None, :]
        compatible[np.arange(self.count), self.home] = False
        self.compatible: Bools = compatible
        fits = (self.memory + self.arriving)[:, None] <= self.room[None, :]
        fits &= self.cpus[:, None] <= self.cores[None, :] + SLACK
        self.may: Bools = compatible & fits & ~self.pinned[:, None]

    def _by_site(self, value: Callable[[Job, str], float]) -> Floats:
        """Something of a move for each job and site; infinite where it may not go."""
        table = np.full((self.count, len(self.sites)), np.inf)
        for i, job in enumerate(self.problem.jobs):
            for k, site in enumerate(self.sites):
                if site in job.moves and site not in job.barred:
                    table[i, k] = value(job, site)
        return table

    def _money(self) -> None:
        risk = self.interruptions * self.hours
        self.stay_cost: Floats = risk[self.home] * self.interruption_cost + self.doomed[self.home]
        self.standing: Bools = self.removable & (self.residents > 0)
        """Nodes that are paid if nothing moves."""
        self.rent_now = float(self.rent[: self.nodes][self.standing].sum())
        self.stay_total = self.rent_now + float(self.stay_cost.sum())

    def going(self, places: Ints | None = None, jobs: Ints | None = None) -> Floats:
        """What it costs each of these jobs to go to each of these places and be there (rent left
        out); infinite where it may not or cannot."""
        places = np.arange(self.places) if places is None else places
        jobs = np.arange(self.count) if jobs is None else jobs
        cost: Floats = self.move_cost[np.ix_(jobs, self.site[places])]
        risk = self.interruptions[places] * self.hours
        cost += self.interruption_cost[jobs][:, None] * risk[None, :]
        cost += self.doomed[places][None, :]
        cost[~self.may[np.ix_(jobs, places)]] = np.inf
        return cost

    def being(self) -> Floats:
        """What it costs each job to be at each place, going there included."""
        cost = self.going()
        cost[np.arange(self.count), self.home] = self.stay_cost
        return cost


def _marks(names: list[str]) -> Ints:
    """Marks as numbers; -1 for none."""
    number: dict[str, int] = {}
    return np.array(
        [number.setdefault(name, len(number)) if name else -1 for name in names], dtype=np.int64
    )


def useful(fleet: Fleet) -> list[int]:
    """Offers (as places) that none other beats: as large, as cheap, at the same site."""
    problem, first = fleet.problem, fleet.nodes
    offers = np.flatnonzero(fleet.most > 0) + first
    groups: dict[tuple[int, str, bool, frozenset[str]], list[int]] = {}
    for offer in offers.tolist():
        kind = problem.offers[offer - first]
        key = (int(fleet.site[offer]), kind.arch, kind.spot, kind.features)
        groups.setdefault(key, []).append(offer)
    kept = []
    for group in groups.values():
        index = np.array(group)
        room, cores, rent = fleet.room[index], fleet.cores[index], fleet.rent[index]
        risk = fleet.interruptions[index]
        beats = (room[:, None] >= room) & (cores[:, None] >= cores) & (rent[:, None] <= rent)
        beats &= risk[:, None] <= risk
        # of two that are alike the first stays
        alike = beats & beats.T
        beats &= ~alike | (np.arange(len(index))[:, None] < np.arange(len(index)))
        enough = fleet.most[index - first] >= 4
        kept += index[~(beats & enough[:, None]).any(axis=0)].tolist()
    return sorted(kept)


@dataclass
class Draft:
    """Where each job shall be: the number of a node, or `nodes` + the number of a new machine."""

    target: Ints
    machines: list[int] = field(default_factory=list)
    """Of each machine its place (an offer's)."""

    @classmethod
    def staying(cls, fleet: Fleet) -> Draft:
        return cls(fleet.home.copy())

    def copy(self) -> Draft:
        return Draft(self.target.copy(), list(self.machines))

    def place(self, fleet: Fleet) -> Ints:
        """Of each job the place (node or offer) where it shall be."""
        table = np.concatenate(
            [np.arange(fleet.nodes), np.array(self.machines, dtype=np.int64)]
        ).astype(np.int64)
        return table[self.target]


def cost_of(fleet: Fleet, draft: Draft) -> float:
    """What everything costs over the horizon if a draft is carried out."""
    target, place = draft.target, draft.place(fleet)
    moved = target != fleet.home
    movers = np.flatnonzero(moved)
    total = float(fleet.stay_cost[~moved].sum())
    site = fleet.site[place[movers]]
    total += float(fleet.move_cost[movers, site].sum())
    risk = fleet.interruptions[place[movers]] * fleet.hours * fleet.interruption_cost[movers]
    total += float(risk.sum() + fleet.doomed[place[movers]].sum())
    there = np.bincount(target, minlength=fleet.nodes + len(draft.machines))
    busy = there[: fleet.nodes] > 0
    total += float(fleet.rent[: fleet.nodes][busy].sum())
    used = [m for i, m in enumerate(draft.machines) if there[fleet.nodes + i]]
    total += float(fleet.rent[used].sum())
    ended = fleet.standing & ~busy
    if ended.any():
        seconds = np.zeros(fleet.nodes)
        np.add.at(seconds, fleet.home[movers], fleet.move_s[movers, site])
        boot = np.zeros(fleet.nodes)
        np.maximum.at(boot, fleet.home[movers], fleet.boot_s[place[movers]])
        double = fleet.hourly[: fleet.nodes] * (seconds + boot) / HOUR
        total += float(double[ended].sum())
    return total
