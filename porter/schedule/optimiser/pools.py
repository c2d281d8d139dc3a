"""A relaxation of the whole problem that stays small: what can take jobs in is pooled by site.

A pool is all that is alike for a job: one site, architecture and risk. Within it only sums are kept
to (memory, cpus, and the same for large jobs in large machines only), whole nodes end or stay, and
whole machines are made. Every plan that keeps the rules is a solution of this program at no more
than its cost, so that no such plan costs less than the program's bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from porter.schedule.optimiser.fleet import Bools, Fleet, Floats, Ints
from porter.schedule.optimiser.model import HOUR
from porter.schedule.optimiser.solver import INF, Program

RATES = 4
"""So many levels of interruption are told apart; within a level the least is reckoned with."""
CPUS, ALL = -2, -1
TINY = 1e-6
LARGE = (0.6, 0.75, 0.85, 0.9, 0.95, 0.98, 0.99)
"""Jobs larger than these parts of all are counted, too."""
STEPS = 6
"""So many sizes of machines are told apart in each pool."""


@dataclass
class Pool:
    """Places that are alike. `nodes` are open ones; `offers` and empty nodes can be opened."""

    site: int
    places: Ints


class Pooled:
    """The program of one fleet."""

    def __init__(self, fleet: Fleet, spare: float = 0.0) -> None:
        """`spare`: this fraction of every place is left empty, and a small job's size besides: no
        relaxation then, but what a real packing may hope for."""
        self.fleet = fleet
        self.program = Program()
        self.room: Floats = fleet.room.astype(float)
        self.cores: Floats = fleet.cores.copy()
        if spare and fleet.count:
            small = np.quantile(fleet.memory + fleet.arriving, 0.1)
            self.room = np.maximum(self.room * (1 - spare) - small, 0.0)
            self.cores = np.maximum(self.cores * (1 - spare) - np.quantile(fleet.cpus, 0.1), 0.0)
        self.hole = fleet.room.copy()
        """What a job may need at most at each place while it arrives."""
        if spare:
            self.hole[: fleet.nodes] -= fleet.load
        self.fits: list[tuple[int, int, int]] = []
        """Of each row that keeps to room: its number, its pool, and `CPUS`, or the bytes above
        which jobs count."""
        self._pools()
        self._moves()
        self._machines()
        self._stays()
        self._capacity()
        self._counts()
        self._near()
        if len(self.x):
            most = float(fleet.problem.most_moves)
            self.program.row(self.x, np.ones(len(self.x)), -INF, most)

    def _pools(self) -> None:
        fleet = self.fleet
        kinds = [node.arch for node in fleet.problem.nodes]
        kinds += [offer.arch for offer in fleet.problem.offers]
        levels = np.zeros(fleet.places, dtype=np.int64)
        for site in range(len(fleet.sites)):
            here = fleet.site == site
            rates = np.unique(fleet.interruptions[here])
            edges = rates if len(rates) <= RATES else np.quantile(rates, np.arange(RATES) / RATES)
            levels[here] = np.searchsorted(edges, fleet.interruptions[here], side="right")
        usable = fleet.open & fleet.may.any(axis=0)
        keys: dict[tuple[int, str, bool, int, bool], list[int]] = {}
        for place in np.flatnonzero(usable).tolist():
            doomed = bool(fleet.doomed[place] > 0)
            spot = bool(fleet.spot[place])
            key = (int(fleet.site[place]), kinds[place], spot, int(levels[place]), doomed)
            keys.setdefault(key, []).append(place)
        self.pools = [Pool(key[0], np.array(places)) for key, places in keys.items()]

    def _moves(self) -> None:
        """x[k]: job `job[k]` goes to pool `pool[k]`, at what it costs at the best place there."""
        fleet = self.fleet
        best = np.full((fleet.count, len(self.pools)), np.inf)
        for p, pool in enumerate(self.pools):
            best[:, p] = fleet.going(pool.places).min(axis=1)
        self.job, self.pool = np.nonzero(np.isfinite(best))
        self.x = self.program.add(best[self.job, self.pool] - fleet.stay_cost[self.job])
        self.constant = float(fleet.stay_cost.sum())
        self.mobile: Bools = np.isfinite(best).any(axis=1)

    def _machines(self) -> None:
        fleet, program = self.fleet, self.program
        count = fleet.nodes
        self.made = np.array(
            [
                place
                for pool in self.pools
                for place in pool.places.tolist()
                if place >= count or (fleet.removable[place] and not fleet.residents[place])
            ],
            dtype=np.int64,
        )
        limit = np.ones(len(self.made))
        new = self.made >= count
        limit[new] = fleet.most[self.made[new] - count]
        self.limit: Floats = limit
        self.y = program.add(fleet.rent[self.made], upper=limit)
        self.y_of = dict(zip(self.made.tolist(), self.y.tolist(), strict=True))

    def _stays(self) -> None:
        """A node that is paid now stays if any of its jobs does; if not, it is paid until it is
        empty."""
        fleet, program = self.fleet, self.program
        self.standing = np.flatnonzero(fleet.standing)
        fixed = np.zeros(fleet.nodes, dtype=bool)
        fixed[fleet.home[~self.mobile]] = True
        least = np.where(self.mobile, fleet.move_s.min(axis=1, initial=np.inf), 0.0)
        double = np.bincount(fleet.home, least, fleet.nodes) * fleet.hourly[: fleet.nodes] / HOUR
        double = np.minimum(double, fleet.rent[: fleet.nodes])[self.standing]
        self.keep = program.add(fleet.rent[self.standing] - double)
        self.constant += float(double.sum())
        forced = self.keep[fixed[self.standing]]
        if len(forced):
            program.block(
                np.arange(len(forced)),
                forced,
                np.ones(len(forced)),
                np.ones(len(forced)),
                np.ones(len(forced)),
            )
        keep_of = np.full(fleet.nodes, -1, dtype=np.int64)
        keep_of[self.standing] = self.keep
        self.keep_of = keep_of
        # one row for each job: it moves once at most, and if not its node stays
        linked = self.mobile & (keep_of[fleet.home] >= 0) & ~fixed[fleet.home]
        number = np.cumsum(self.mobile) - 1
        rows = int(self.mobile.sum())
        program.block(
            number[self.job], self.x, np.ones(len(self.x)), np.full(rows, -INF), np.ones(rows)
        )
        number = np.cumsum(linked) - 1
        mine = linked[self.job]
        count = int(linked.sum())
        program.block(
            np.concatenate([number[self.job[mine]], np.arange(count)]),
            np.concatenate([self.x[mine], keep_of[fleet.home[linked]]]),
            np.ones(int(mine.sum()) + count),
            np.ones(count),
            np.full(count, INF),
        )

    def _capacity(self) -> None:
        fleet = self.fleet
        memory = fleet.memory.astype(float)
        for p, pool in enumerate(self.pools):
            self._fit(p, pool, fleet.cpus, self.cores, fleet.load_cpus, CPUS)
            self._fit(p, pool, memory, self.room, fleet.load, ALL)
            sizes = np.unique(np.maximum(self.hole[pool.places], 0))[:-1]
            if len(sizes) > STEPS:
                sizes = sizes[np.linspace(0, len(sizes) - 1, STEPS).round().astype(int)]
            for size in sizes:
                self._fit(p, pool, memory, self.room, fleet.load, int(size))

    def _counts(self) -> None:
        """Of large jobs only so many fit into a place, however much is left beside them; and while
        the last of them arrives at an empty place, it needs more."""
        fleet = self.fleet
        if not fleet.count:
            return
        memory = fleet.memory.astype(float)
        for part in LARGE:
            least = float(np.quantile(memory, part, method="higher"))
            cpus = float(np.quantile(fleet.cpus, part, method="higher"))
            for p, pool in enumerate(self.pools):
                if least > 0:
                    lag = float(fleet.arriving[memory >= least].min())
                    self._count(p, pool, memory, fleet.room, fleet.load, least, lag)
                if cpus > 0:
                    self._count(p, pool, fleet.cpus, fleet.cores, fleet.load_cpus, cpus, 0.0)

    def _count(
        self,
        p: int,
        pool: Pool,
        size: Floats,
        room: Floats | Ints,
        load: Floats | Ints,
        least: float,
        lag: float,
    ) -> None:
        fleet = self.fleet
        large = size >= least
        places = pool.places
        nodes = self._there(places)
        here = np.zeros(fleet.nodes, dtype=bool)
        here[nodes] = True
        top = np.floor(np.maximum(room[nodes], load[nodes]) / least + TINY)
        keep = self.keep_of[nodes]
        kept = keep >= 0
        arrivals = np.flatnonzero((self.pool == p) & large[self.job])
        leaving = np.flatnonzero(here[fleet.home[self.job]] & large[self.job])
        opened = places[[place in self.y_of for place in places.tolist()]]
        made = np.array([self.y_of[place] for place in opened.tolist()], dtype=np.int64)
        fit = np.floor(np.maximum(room[opened] - lag, 0.0) / least + TINY)
        columns = np.concatenate([self.x[arrivals], self.x[leaving], keep[kept], made])
        values = np.concatenate([np.ones(len(arrivals)), -np.ones(len(leaving)), -top[kept], -fit])
        stay = float((here[fleet.home] & large).sum())
        self._merged(columns, values, float(top[~kept].sum()) - stay, 1.0)

    def _there(self, places: Ints) -> Ints:
        """Those of the places that are there without being opened."""
        fleet = self.fleet
        nodes = places[places < fleet.nodes]
        return nodes[(fleet.residents[nodes] > 0) | ~fleet.removable[nodes]]

    def _fit(
        self, p: int, pool: Pool, size: Floats, room: Floats, load: Floats | Ints, above: int
    ) -> None:
        """Arrivals that need more than `above` bytes fit into what is larger: its room, less what
        stays there."""
        fleet = self.fleet
        large = fleet.memory + fleet.arriving > above
        places = pool.places
        if above >= 0:
            places = places[self.hole[places] > above]
        arrivals = np.flatnonzero((self.pool == p) & large[self.job])
        columns = [self.x[arrivals]]
        values = [size[self.job[arrivals]]]
        nodes = self._there(places)
        here = np.zeros(fleet.nodes, dtype=bool)
        here[nodes] = True
        top = np.maximum(room[nodes], load[nodes])
        keep = self.keep_of[nodes]
        kept = keep >= 0
        columns.append(keep[kept])
        values.append(-top[kept])
        upper = float(top[~kept].sum() - load[nodes].sum())
        leaving = np.flatnonzero(here[fleet.home[self.job]])
        columns.append(self.x[leaving])
        values.append(-size[self.job[leaving]])
        opened = places[[place in self.y_of for place in places.tolist()]]
        columns.append(np.array([self.y_of[place] for place in opened.tolist()], dtype=np.int64))
        values.append(-room[opened])
        self.fits.append((self.program.rows, p, above))
        self._merged(np.concatenate(columns), np.concatenate(values), upper, max(1e-9, room.max()))

    def _merged(self, columns: Ints, values: Floats, upper: float, scale: float) -> None:
        """A row in which a column may come twice (a job that leaves a node for the same pool)."""
        total = np.bincount(columns, values, self.program.columns)
        used = np.flatnonzero(total)
        self.program.row(used, total[used] / scale, -INF, upper / scale)

    def _near(self) -> None:
        fleet, program = self.fleet, self.program
        site = np.array([pool.site for pool in self.pools], dtype=np.int64)
        self.sites: dict[int, Ints] = {}
        """Of each `near` mark: which site it shall be at, as columns."""
        by_job: dict[int, Ints] = {}
        marked = np.flatnonzero(fleet.near[self.job] >= 0)
        for j in np.unique(self.job[marked]).tolist():
            by_job[j] = marked[self.job[marked] == j]
        for mark in range(int(fleet.near.max(initial=-1)) + 1):
            members = np.flatnonzero(fleet.near == mark)
            if len(members) < 2 or not any(j in by_job for j in members.tolist()):
                continue
            self.sites[mark] = chosen = program.add(np.zeros(len(fleet.sites)))
            for j in members.tolist():
                mine = by_job.get(j, np.zeros(0, dtype=np.int64))
                at = site[self.pool[mine]]
                home = int(fleet.site[fleet.home[j]])
                for s, g in enumerate(chosen.tolist()):
                    if s == home:
                        away = self.x[mine[at != s]]
                        program.row([*away, g], [1.0] * (len(away) + 1), -INF, 1.0)
                    else:
                        there = self.x[mine[at == s]]
                        program.row([*there, g], [1.0] * len(there) + [-1.0], 0.0, INF)
                if len(mine):
                    values = [1.0] * len(chosen) + [-1.0] * len(mine)
                    program.row([*chosen, *self.x[mine]], values, 0.0, INF)
            program.row(chosen, np.ones(len(chosen)), 0.0, 1.0)
