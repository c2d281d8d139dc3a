"""Local search: empty some bins, put what was in them where it costs least, keep what is better.

Bins are nodes, machines that are made, and one machine of each offer that is not made yet. What a
draft may not do is never tried: nothing is overbooked, and no ring of nodes waits for one another,
so that the moves can always be ordered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from porter.schedule.optimiser.fleet import SLACK, Bools, Draft, Fleet, Floats, Ints

MOST = 60
"""So many jobs are taken out at once, at most."""
MADE = 0.4
"""So many tries begin at a machine that is made, and not at a node."""
PRICED = 0.3
"""This part of what room is worth counts beside what a plan costs."""
EPSILON = 1e-9


class Yard:
    """A draft that changes."""

    def __init__(self, fleet: Fleet, draft: Draft, cost: Floats, price: Floats) -> None:
        """`cost`: of each job at each place, infinite where it may not be. `price`: what the room
        that it takes there is worth."""
        self.fleet = fleet
        self.cost, self.price = cost, price
        self.target: Ints = draft.target.copy()
        made = np.array(draft.machines, dtype=np.int64)
        spare = [
            offer
            for offer in useful(fleet)
            if (made == offer).sum() < fleet.most[offer - fleet.nodes]
            and np.isfinite(cost[:, offer]).any()
        ]
        self.place: Ints = np.concatenate([np.arange(fleet.nodes), made, spare]).astype(np.int64)
        self._measure()

    def _measure(self) -> None:
        fleet, count = self.fleet, len(self.place)
        self.slots = np.bincount(self.place, minlength=fleet.places)
        self.memory: Floats = fleet.room[self.place].astype(float)
        self.memory -= np.bincount(self.target, fleet.memory, count)
        self.cpus: Floats = fleet.cores[self.place] + SLACK
        self.cpus -= np.bincount(self.target, fleet.cpus, count)
        self.rent: Floats = fleet.rent[self.place]
        self.room: Floats = np.maximum(fleet.room[self.place].astype(float), 1.0)
        self.cores: Floats = np.maximum(fleet.cores[self.place], 1e-9)
        self.count: Ints = np.bincount(self.target, minlength=count)
        self.paid: Bools = np.zeros(count, dtype=bool)
        """Bins whose rent counts as paid although nothing is in them yet."""
        self.jobs: list[set[int]] = [set() for _ in range(count)]
        self.away: list[set[int]] = [set() for _ in range(fleet.nodes)]
        """Of each node the jobs that are elsewhere now."""
        self.guests: list[int] = [0] * fleet.nodes
        for job, b in enumerate(self.target.tolist()):
            self.jobs[b].add(job)
            home = int(fleet.home[job])
            if b != home:
                self.away[home].add(job)
                if b < fleet.nodes:
                    self.guests[b] += 1

    def draft(self) -> Draft:
        return Draft(self.target.copy(), self.place[self.fleet.nodes :].tolist())

    def take(self, job: int) -> int:
        """Out of its bin, which is returned."""
        fleet, b = self.fleet, int(self.target[job])
        self.memory[b] += fleet.memory[job]
        self.cpus[b] += fleet.cpus[job]
        self.count[b] -= 1
        self.jobs[b].discard(job)
        home = int(fleet.home[job])
        if b == home:
            self.away[home].add(job)
        elif b < fleet.nodes:
            self.guests[b] -= 1
        self.target[job] = -1
        return b

    def put(self, job: int, b: int) -> None:
        fleet = self.fleet
        self.memory[b] -= fleet.memory[job]
        self.cpus[b] -= fleet.cpus[job]
        self.count[b] += 1
        self.jobs[b].add(job)
        home = int(fleet.home[job])
        if b == home:
            self.away[home].discard(job)
        elif b < fleet.nodes:
            self.guests[b] += 1
        self.target[job] = b

    def takes(self, job: int, b: int) -> bool:
        """What the sums do not tell: marks, room while jobs arrive, and the order of moves."""
        fleet = self.fleet
        mark, home = int(fleet.apart[job]), int(fleet.home[job])
        if mark >= 0:
            if any(fleet.apart[other] == mark for other in self.jobs[b]):
                return False
            if b < fleet.nodes and b != home and mark in fleet.marks.get(b, {}):
                return False
        if b == home:
            coming = [j for j in self.jobs[b] if fleet.home[j] != b]
            return not coming or self._arrive(coming, float(self.memory[b] - fleet.memory[job]))
        coming = [j for j in self.jobs[b] if fleet.home[j] != b]
        coming.append(job)
        if not self._arrive(coming, float(self.memory[b] - fleet.memory[job])):
            return False
        return b >= fleet.nodes or self._flows(home, b)

    def _arrive(self, coming: list[int], left: float) -> bool:
        """Greatest first, with so much left in the end."""
        fleet = self.fleet
        if len(coming) == 1:
            return bool(fleet.arriving[coming[0]] <= left)
        index = np.array(coming)
        needs = fleet.arriving[index]
        order = np.argsort(needs)
        room = left + np.cumsum(fleet.memory[index][order]) - fleet.memory[index][order]
        return bool((needs[order] <= room).all())

    def _flows(self, home: int, b: int) -> bool:
        """The new move closes no ring of nodes that wait for each other: jobs come to a node when
        those that leave it are gone."""
        if not self.guests[home] or not self.away[b]:
            return True
        seen, queue = {b}, [b]
        while queue:
            for other in self.away[queue.pop()]:
                t = int(self.target[other])
                if t == home:
                    return False
                if 0 <= t < self.fleet.nodes and t not in seen and self.away[t]:
                    seen.add(t)
                    queue.append(t)
        return True

    def more(self, b: int) -> None:
        """A machine comes into use: there may be another of its offer."""
        offer = int(self.place[b])
        if self.slots[offer] >= self.fleet.most[offer - self.fleet.nodes]:
            return
        same = self.place == offer
        if (self.count[same] == 0).any():
            return
        self.place = np.append(self.place, offer)
        self.memory = np.append(self.memory, float(self.fleet.room[offer]))
        self.cpus = np.append(self.cpus, self.fleet.cores[offer] + SLACK)
        self.rent = np.append(self.rent, self.fleet.rent[offer])
        self.room = np.append(self.room, max(1.0, float(self.fleet.room[offer])))
        self.cores = np.append(self.cores, max(1e-9, float(self.fleet.cores[offer])))
        self.count = np.append(self.count, 0)
        self.paid = np.append(self.paid, False)
        self.jobs.append(set())
        self.slots[offer] += 1

    def insert(self, job: int, weight: float, shape: float, fresh: float) -> bool:
        """Put a job where it costs least: `weight` says how much the worth of room counts, `shape`
        what a bad fit counts, `fresh` what share of a new machine's rent."""
        fleet = self.fleet
        left = self.memory - float(fleet.memory[job])
        cpus_left = self.cpus - float(fleet.cpus[job])
        fits = ((left >= 0) & (cpus_left >= 0)).nonzero()[0]
        if not len(fits):
            return False
        at = self.place[fits]
        worth = self.price[job].take(at)
        room, cores = self.room.take(fits), self.cores.take(fits)
        free, free_cpus = left.take(fits) / room, cpus_left.take(fits) / cores
        used = worth * (weight + shape * (np.abs(free - free_cpus) + 0.3 * (free + free_cpus)))
        share = np.maximum(float(fleet.memory[job]) / room, float(fleet.cpus[job]) / cores)
        rent = self.rent.take(fits) * np.minimum(1.0, share * fresh + 0.01)
        unpaid = (self.count.take(fits) == 0) & ~self.paid.take(fits)
        score = self.cost[job].take(at) + np.where(unpaid, rent, used)
        for i in self._ranked(score):
            b = int(fits[i])
            if self.takes(job, b):
                new = not self.count[b]
                self.put(job, b)
                if new and b >= fleet.nodes:
                    self.more(b)
                return True
        return False

    @staticmethod
    def _ranked(score: Floats) -> Iterator[int]:
        """The least first: a few are sorted at once, the rest only if need be."""
        few = 8
        first = score.argpartition(few)[:few] if len(score) > few + 1 else np.arange(len(score))
        for i in first[score[first].argsort()].tolist():
            if score[i] == np.inf:
                return
            yield i
        if len(first) < len(score):
            for i in score.argsort()[len(first) :].tolist():
                if score[i] == np.inf:
                    return
                yield i


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


class Search:
    """Ruin and recreate."""

    def __init__(self, yard: Yard, mobile: Ints, seed: int = 1) -> None:
        self.yard = yard
        self.rng = np.random.default_rng(seed)
        self.mobile = np.zeros(yard.fleet.count, dtype=bool)
        self.mobile[mobile] = True
        fleet = yard.fleet
        self.size = np.maximum(
            fleet.memory / max(1.0, float(np.median(fleet.room))),
            fleet.cpus / max(1e-9, float(np.median(fleet.cores))),
        )
        self.worth: Floats = yard.cost + PRICED * yard.price
        """What it costs each job to be at each place, and part of what the room there is worth: a
        plan that costs the same is better if its jobs are where the prices want them."""
        self.least: Floats = self.worth.min(axis=1)
        self.tries = self.wins = 0

    def run(self, deadline: float, heat: float) -> float:
        """Until the deadline; what was won. `heat`: so much may be lost in one try at first."""
        began = time.monotonic()
        span = max(1e-6, deadline - began)
        now = best = 0.0
        if not self.mobile.any():
            return 0.0
        kept = self.yard.target.copy(), self.yard.place.copy()
        while True:
            done = (time.monotonic() - began) / span
            if done >= 1:
                break
            limit = heat * (1 - done) ** 2 * self.rng.exponential()
            self.tries += 1
            delta = self._try(limit)
            if delta is None:
                continue
            self.wins += 1
            now += delta
            if now <= best + EPSILON:
                best = now
                kept = self.yard.target.copy(), self.yard.place.copy()
        self.yard.target, self.yard.place = kept
        self.yard._measure()
        return best

    def _try(self, limit: float) -> float | None:
        yard, rng = self.yard, self.rng
        out: list[int] = []
        for b, share in self._ruin():
            jobs = [j for j in yard.jobs[b] if self.mobile[j]]
            if share < 1.0:
                jobs = [j for j in jobs if rng.random() < share]
            out += jobs
        if not out:
            return None
        out = out[:MOST]
        index = np.array(out)
        cost, worth = self._sums(index)
        was = {job: yard.take(job) for job in out}
        rent = -sum(float(yard.rent[b]) for b in set(was.values()) if not yard.count[b])
        order = index[np.argsort(-self.size[index] * rng.uniform(0.6, 1.4, len(index)))]
        weight, fresh = rng.uniform(0.3, 1.1), float(np.exp(rng.uniform(0.0, 1.6)))
        shape = rng.uniform(0.0, 0.6)
        # how much worse it is at least: with those that are still out where they are worth least
        more = float(self.least[index].sum()) - worth
        for job in order.tolist():
            if more + rent >= limit or not yard.insert(job, weight, shape, fresh):
                self._back(was)
                return None
            b = int(yard.target[job])
            more += float(self.worth[job, yard.place[b]] - self.least[job])
            if yard.count[b] == 1:
                rent += float(yard.rent[b])
        if more + rent < limit and abs(more + rent) > EPSILON:
            return self._sums(index)[0] - cost + rent
        self._back(was)
        return None

    def _sums(self, jobs: Ints) -> tuple[float, float]:
        """What these jobs cost where they are, and the same with the worth of their room."""
        place = self.yard.place[self.yard.target[jobs]]
        cost = float(self.yard.cost[jobs, place].sum())
        return cost, float(self.worth[jobs, place].sum())

    def _back(self, was: dict[int, int]) -> None:
        yard = self.yard
        for job in was:
            if yard.target[job] >= 0:
                yard.take(job)
        for job, b in was.items():
            yard.put(job, b)

    def _ruin(self) -> list[tuple[int, float]]:
        """Which bins are emptied, and by how much."""
        yard, fleet, rng = self.yard, self.yard.fleet, self.rng
        used = np.flatnonzero(yard.count > 0)
        made = used >= fleet.nodes
        # there are few machines beside many nodes, and more is won by emptying them
        some = used[made if rng.random() < MADE else ~made]
        if not len(some):
            some = used
        room = np.maximum(fleet.room[yard.place[some]], 1)
        cores = np.maximum(fleet.cores[yard.place[some]], 1e-9)
        free = np.maximum(yard.memory[some] / room, yard.cpus[some] / cores)
        weight = np.maximum(yard.rent[some], 0.0) * np.maximum(free, 0.01) + 1e-3
        first = int(rng.choice(some, p=weight / weight.sum()))
        count = int(yard.count[first])
        bins = [(first, 1.0 if count <= MOST else MOST / 2 / count)]
        if rng.random() < 0.2:
            bins = [(first, float(rng.uniform(0.2, 0.8)))]
        jobs = [j for j in yard.jobs[first] if self.mobile[j]]
        if not jobs:
            return bins
        # bins where one of its jobs would be as well
        seed = int(rng.choice(jobs))
        at = yard.place[used]
        near = yard.cost[seed, at] + yard.price[seed, at]
        near = near - near.min() if np.isfinite(near.min()) else near
        near += rng.exponential(0.3 * float(yard.price[seed, yard.place[first]]) + 1e-6, len(used))
        near[used == first] = np.inf
        number = min(5, int(rng.geometric(0.6)))
        for i in np.argsort(near)[:number].tolist():
            if np.isfinite(near[i]):
                bins.append((int(used[i]), float(rng.uniform(0.1, 0.9))))
        return bins
