# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Local search: empty some bins, put what was in them where it costs least, keep what is better.

Bins are nodes, machines that are made, and one machine of each offer that is not made yet. What a
draft may not do is never tried: nothing is overbooked, and no ring of nodes waits for one another,
so that the moves can always be ordered.

Cython makes machine code of this file when Porter is installed, and that holds no interpreter's
lock while it searches. Without it the file is run as it stands, some hundred times slower.
"""

from __future__ import annotations

import time

import cython
import numpy as np
from cython.cimports.libc.math import exp, fabs, log

from porter.schedule.optimiser.fleet import SLACK, Draft, Fleet, Floats, Ints, useful

MOST = cython.declare(cython.int, 60)
"""So many jobs are taken out at once, at most."""
BINS = cython.declare(cython.int, 6)
"""From so many bins, at most."""
MADE = cython.declare(cython.double, 0.4)
"""So many tries begin at a machine that is made, and not at a node."""
PRICED = 1.0
"""At first this part of what room is worth counts beside what a plan costs, and nothing of it in
the end."""
HOLES = 0.6
"""At first this part of what free room costs is forgiven, times the part of the bin that is free,
and nothing of it in the end: a large hole is worth more than many small ones, and a bin that is
nearly empty can soon be spared."""
COSTLY = cython.declare(cython.double, 0.5)
"""So many tries begin at a job that is far from where it is best, and not at a bin."""
CHAIN = cython.declare(cython.double, 0.5)
"""So often a job of the bin that was opened last says which one is opened next."""
EPSILON = cython.declare(cython.double, 1e-9)
INF = cython.declare(cython.double, float("inf"))
COMPILED = cython.compiled
MASK = cython.declare(cython.ulonglong, 0xFFFFFFFFFFFFFFFF)
FACTOR = cython.declare(cython.ulonglong, 0x2545F4914F6CDD1D)
CHUNK = 64
"""So many tries between two looks at the clock."""


@cython.cclass
class Yard:
    """A draft that changes."""

    fleet = cython.declare(object, visibility="readonly")
    nodes: cython.int
    bins: cython.int
    # of each job
    need: cython.double[::1]
    need_cpus: cython.double[::1]
    arriving: cython.double[::1]
    rank: cython.int[::1]
    home: cython.int[::1]
    mark: cython.int[::1]
    target: cython.int[::1]
    after: cython.int[::1]
    """The next in its bin; those that need less to arrive come first."""
    # of each job and place
    cost: cython.double[:, ::1]
    price: cython.double[:, ::1]
    # of each place
    room: cython.double[::1]
    cores: cython.double[::1]
    rents: cython.double[::1]
    most: cython.int[::1]
    slots: cython.int[::1]
    # of each bin
    place: cython.int[::1]
    memory: cython.double[::1]
    cpus: cython.double[::1]
    rent: cython.double[::1]
    whole: cython.double[::1]
    whole_cpus: cython.double[::1]
    """What one byte, and one cpu, is of all that there is."""
    count: cython.int[::1]
    guests: cython.int[::1]
    first: cython.int[::1]
    paid: cython.char[::1]
    """Its rent counts as paid although nothing is in it yet."""
    fits: cython.int[::1]
    score: cython.double[::1]
    """Of the bins in `fits`."""
    # of each node
    began: cython.int[::1]
    own: cython.int[::1]
    """Its jobs, as it is: own[began[node]] to own[began[node + 1]]."""
    marks: cython.int[:, ::1]
    """By mark and node: how many of a mark are there as it is."""
    seen: cython.int[::1]
    queue: cython.int[::1]
    look: cython.int
    holes: cython.double
    """Of all bins in use, the rent times the square of the part that is free."""

    def __init__(self, fleet: Fleet, draft: Draft, cost: Floats, price: Floats) -> None:
        """`cost`: of each job at each place, infinite where it may not be. `price`: what the room
        that it takes there is worth."""
        self.fleet = fleet
        self.nodes = fleet.nodes
        self.need = fleet.memory.astype(float)
        self.need_cpus = fleet.cpus.astype(float)
        self.arriving = fleet.arriving.astype(float)
        rank = np.empty(fleet.count, dtype=np.int32)
        rank[np.argsort(fleet.arriving, kind="stable")] = np.arange(fleet.count)
        self.rank = rank
        self.home = fleet.home.astype(np.int32)
        self.mark = fleet.apart.astype(np.int32)
        self.room = fleet.room.astype(float)
        self.cores = fleet.cores + SLACK
        self.rents = fleet.rent.astype(float)
        most = np.minimum(fleet.most, fleet.count)
        self.most = np.concatenate([np.ones(fleet.nodes), most]).astype(np.int32)
        self.own = np.argsort(fleet.home, kind="stable").astype(np.int32)
        self.began = np.concatenate([[0], np.cumsum(fleet.residents)]).astype(np.int32)
        marks = np.zeros((int(fleet.apart.max(initial=-1)) + 1, fleet.nodes), dtype=np.int32)
        for node, found in fleet.marks.items():
            for mark, number in found.items():
                marks[mark, node] = number
        self.marks = marks
        self.cost = np.ascontiguousarray(cost)
        self.price = np.ascontiguousarray(price)
        self._furnish(draft, cost)
        for job, b in enumerate(draft.target.tolist()):
            self._put(job, b)

    def _furnish(self, draft: Draft, cost: Floats) -> None:
        """All bins, with nothing in them, and room for as many more as there are jobs."""
        fleet: Fleet = self.fleet
        made = np.array(draft.machines, dtype=np.int64)
        spare = [
            offer
            for offer in useful(fleet)
            if (made == offer).sum() < fleet.most[offer - fleet.nodes]
            and np.isfinite(cost[:, offer]).any()
        ]
        places = [*range(fleet.nodes), *made.tolist(), *spare]
        top = len(places) + fleet.count
        self.target = np.full(fleet.count, -1, dtype=np.int32)
        self.after = np.full(fleet.count, -1, dtype=np.int32)
        self.slots = np.zeros(fleet.places, dtype=np.int32)
        self.place = np.zeros(top, dtype=np.int32)
        self.memory, self.cpus = np.zeros(top), np.zeros(top)
        self.whole, self.whole_cpus = np.zeros(top), np.zeros(top)
        self.rent, self.score = np.zeros(top), np.zeros(top)
        self.fits = np.zeros(top, dtype=np.int32)
        self.count = np.zeros(top, dtype=np.int32)
        self.guests = np.zeros(top, dtype=np.int32)
        self.first = np.full(top, -1, dtype=np.int32)
        self.paid = np.zeros(top, dtype=np.int8)
        self.seen = np.zeros(fleet.nodes, dtype=np.int32)
        self.queue = np.zeros(fleet.nodes + 1, dtype=np.int32)
        self.look = self.bins = 0
        self.holes = 0.0
        for place in places:
            self._open(place)

    def draft(self) -> Draft:
        machines = np.asarray(self.place)[self.nodes : self.bins].tolist()
        return Draft(np.asarray(self.target).astype(np.int64), machines)

    def pay(self, machines: cython.int) -> None:
        """The rent of so many machines, the first ones, counts as paid; of none: nothing does."""
        self.paid[:] = 0
        self.paid[self.nodes : self.nodes + machines] = 1

    def take(self, job: cython.int) -> None:
        """Out of its bin."""
        self._take(job)

    def put(self, job: cython.int, b: cython.int) -> None:
        """Into a bin, whatever is there."""
        self._put(job, b)

    def into(self, job: cython.int, b: cython.int) -> bool:
        """Into a bin if it may be there; whether it is."""
        if self.memory[b] < self.need[job] or self.cpus[b] < self.need_cpus[job]:
            return False
        if not self._takes(job, b):
            return False
        self._enter(job, b)
        return True

    def insert(
        self, job: cython.int, weight: cython.double, shape: cython.double, fresh: cython.double
    ) -> bool:
        """Put a job where it costs least: `weight` says how much the worth of room counts, `shape`
        what a bad fit counts, `fresh` what share of a new machine's rent. False if nowhere."""
        return bool(self._insert(job, weight, shape, fresh))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _open(self, place: cython.int) -> cython.void:
        b: cython.int = self.bins
        self.bins += 1
        self.place[b] = place
        self.memory[b] = self.room[place]
        self.cpus[b] = self.cores[place]
        self.whole[b] = 1.0 / max(1.0, self.room[place])
        self.whole_cpus[b] = 1.0 / max(1e-9, self.cores[place])
        self.rent[b] = self.rents[place]
        self.count[b] = self.guests[b] = self.paid[b] = 0
        self.first[b] = -1
        self.slots[place] += 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _take(self, job: cython.int) -> cython.void:
        b: cython.int = self.target[job]
        self.holes -= self._hole(b)
        before: cython.int = -1
        here: cython.int = self.first[b]
        while here != job:
            before = here
            here = self.after[here]
        if before < 0:
            self.first[b] = self.after[job]
        else:
            self.after[before] = self.after[job]
        self.memory[b] += self.need[job]
        self.cpus[b] += self.need_cpus[job]
        self.count[b] -= 1
        if self.home[job] != b:
            self.guests[b] -= 1
        self.target[job] = -1
        self.holes += self._hole(b)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _put(self, job: cython.int, b: cython.int) -> cython.void:
        self.holes -= self._hole(b)
        before: cython.int = -1
        here: cython.int = self.first[b]
        while here >= 0 and self.rank[here] < self.rank[job]:
            before = here
            here = self.after[here]
        self.after[job] = here
        if before < 0:
            self.first[b] = job
        else:
            self.after[before] = job
        self.memory[b] -= self.need[job]
        self.cpus[b] -= self.need_cpus[job]
        self.count[b] += 1
        if self.home[job] != b:
            self.guests[b] += 1
        self.target[job] = b
        self.holes += self._hole(b)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _hole(self, b: cython.int) -> cython.double:
        free: cython.double = self.memory[b] * self.whole[b] + self.cpus[b] * self.whole_cpus[b]
        return 0.25 * self.rent[b] * free * free if self.count[b] else 0.0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _enter(self, job: cython.int, b: cython.int) -> cython.void:
        """Put, and if a machine comes into use there may be another of its offer."""
        self._put(job, b)
        place: cython.int = self.place[b]
        if b < self.nodes or self.count[b] > 1 or self.bins == self.place.shape[0]:
            return
        if self.slots[place] >= self.most[place]:
            return
        other: cython.int
        for other in range(self.nodes, self.bins):
            if self.place[other] == place and not self.count[other]:
                return
        self._open(place)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _takes(self, job: cython.int, b: cython.int) -> cython.bint:
        """What the sums do not tell: marks, room while jobs arrive (those that need most first),
        and the order of moves."""
        mark: cython.int = self.mark[job]
        home: cython.int = self.home[job]
        here: cython.int = self.first[b]
        if mark >= 0:
            if b < self.nodes and b != home and self.marks[mark, b]:
                return False
            while here >= 0:
                if self.mark[here] == mark:
                    return False
                here = self.after[here]
        left: cython.double = self.memory[b] - self.need[job]
        there: cython.bint = b == home
        if there and not self.guests[b]:
            return True
        here = self.first[b]
        while here >= 0:
            if not there and self.rank[job] < self.rank[here]:
                if self.arriving[job] > left:
                    return False
                left += self.need[job]
                there = True
            if self.home[here] != b:
                if self.arriving[here] > left:
                    return False
                left += self.need[here]
            here = self.after[here]
        if not there and self.arriving[job] > left:
            return False
        return b == home or b >= self.nodes or self._flows(home, b)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _flows(self, home: cython.int, b: cython.int) -> cython.bint:
        """The new move closes no ring of nodes that wait for each other: jobs come to a node when
        those that leave it are gone."""
        if not self.guests[home]:
            return True
        self.look += 1
        self.seen[b] = self.look
        self.queue[0] = b
        waiting: cython.int = 1
        node: cython.int
        at: cython.int
        i: cython.int
        while waiting:
            waiting -= 1
            node = self.queue[waiting]
            for i in range(self.began[node], self.began[node + 1]):
                at = self.target[self.own[i]]
                if at == home:
                    return False
                if at >= 0 and at < self.nodes and at != node and self.seen[at] != self.look:
                    self.seen[at] = self.look
                    self.queue[waiting] = at
                    waiting += 1
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _insert(
        self, job: cython.int, weight: cython.double, shape: cython.double, fresh: cython.double
    ) -> cython.bint:
        need: cython.double = self.need[job]
        cpus: cython.double = self.need_cpus[job]
        b: cython.int
        i: cython.int
        fit: cython.int = 0
        best: cython.int = -1
        least: cython.double = INF
        score: cython.double
        left: cython.double
        left_cpus: cython.double
        # most bins are too full, and are sorted out quickest without a branch
        for b in range(self.bins):
            self.fits[fit] = b
            fit += (self.memory[b] >= need) & (self.cpus[b] >= cpus)
        for i in range(fit):
            b = self.fits[i]
            score = self.cost[job, self.place[b]]
            if self.count[b] or self.paid[b]:
                left = (self.memory[b] - need) * self.whole[b]
                left_cpus = (self.cpus[b] - cpus) * self.whole_cpus[b]
                score += self.price[job, self.place[b]] * (
                    weight + shape * (fabs(left - left_cpus) + 0.3 * (left + left_cpus))
                )
            else:
                left = max(need * self.whole[b], cpus * self.whole_cpus[b]) * fresh
                score += self.rent[b] * min(1.0, left + 0.01)
            self.score[i] = score
            if score < least:
                least = score
                best = i
        while best >= 0:
            if self._takes(job, self.fits[best]):
                self._enter(job, self.fits[best])
                return True
            self.score[best] = INF
            best = -1
            least = INF
            for i in range(fit):
                if self.score[i] < least:
                    least = self.score[i]
                    best = i
        return False


@cython.cclass
class Search(Yard):
    """Ruin and recreate."""

    tries = cython.declare(cython.long, visibility="readonly")
    wins = cython.declare(cython.long, visibility="readonly")
    now: cython.double
    """What was won up to now, below 0."""
    best: cython.double
    random: cython.ulonglong
    can: cython.char[::1]
    """Of each job: it may move."""
    size: cython.double[::1]
    worth: cython.double[:, ::1]
    """What it costs each job to be at each place, and part of what the room there is worth: a plan
    that costs the same is better if its jobs are where the prices want them."""
    least: cython.double[::1]
    forgiven: cython.double
    """This part of `holes`."""
    kept: cython.int[::1]
    kept_bins: cython.int
    # of the jobs that are out
    out: cython.int[::1]
    was: cython.int[::1]
    order: cython.int[::1]
    key: cython.double[::1]
    number: cython.int
    weight: cython.double[::1]
    """Of each bin: what by chance speaks against opening it; below 0 where that is no question."""

    def __init__(
        self,
        fleet: Fleet,
        draft: Draft,
        cost: Floats,
        price: Floats,
        mobile: Ints,
        seed: int = 1,
    ) -> None:
        super().__init__(fleet, draft, cost, price)
        self.random = seed * 0x9E3779B97F4A7C15 % (1 << 64) or 1
        can = np.zeros(fleet.count, dtype=np.int8)
        can[mobile] = 1
        self.can = can
        self.size = np.maximum(
            fleet.memory / max(1.0, float(np.median(fleet.room))),
            fleet.cpus / max(1e-9, float(np.median(fleet.cores))),
        )
        self.tries = self.wins = 0
        self.kept = np.zeros(fleet.count, dtype=np.int32)
        self.out, self.was = np.zeros(MOST, dtype=np.int32), np.zeros(MOST, dtype=np.int32)
        self.order, self.key = np.zeros(MOST, dtype=np.int32), np.zeros(MOST)
        self.weight = np.zeros(len(self.place))
        self.now = self.best = 0.0
        self._keep()
        self.weigh(1.0)

    def run(self, deadline: float, left: float, heat: float) -> None:
        """Until the deadline. `left`: what part of the search is still to come, from 1 to 0.
        `heat`: so much may be lost in one try."""
        self.weigh(left)
        while time.monotonic() < deadline and np.asarray(self.can).any():
            self.go(CHUNK, heat)

    def weigh(self, left: float) -> None:
        """How much counts besides what a plan costs: all of it at 1, nothing at 0."""
        worth = np.asarray(self.cost) + PRICED * left * np.asarray(self.price)
        self.worth, self.least = worth, worth.min(axis=1)
        self.forgiven = HOLES * left

    def go(self, tries: cython.int, heat: cython.double) -> None:
        """So many tries."""
        _: cython.int
        with cython.nogil:
            for _ in range(tries):
                self._try(heat * self._exponential())

    def draft(self) -> Draft:
        """The cheapest that there was."""
        machines = np.asarray(self.place)[self.nodes : self.kept_bins].tolist()
        return Draft(np.asarray(self.kept).astype(np.int64), machines)

    def won(self) -> float:
        """What it costs more than at the beginning: 0 or less."""
        return self.best

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _keep(self) -> cython.void:
        self.kept[:] = self.target
        self.kept_bins = self.bins

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _uniform(self) -> cython.double:
        """From 0 to 1, both left out (xorshift64*, Vigna 2016)."""
        x: cython.ulonglong = self.random
        x ^= x >> 12
        x ^= (x << 25) & MASK
        x ^= x >> 27
        self.random = x
        x = (x * FACTOR) & MASK
        return ((x >> 11) + 0.5) * (1.0 / 9007199254740992.0)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _exponential(self) -> cython.double:
        return -log(self._uniform())

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _try(self, limit: cython.double) -> cython.void:
        """Kept if it is worse by less than the limit."""
        i: cython.int
        job: cython.int
        at: cython.int
        self.tries += 1
        self._ruin()
        if not self.number:
            return
        cost: cython.double = 0.0
        rent: cython.double = 0.0
        # how much worse it is at least: with those that are still out where they are worth least
        more: cython.double = self.forgiven * self.holes
        for i in range(self.number):
            job = self.out[i]
            at = self.target[job]
            self.was[i] = at
            cost -= self.cost[job, self.place[at]]
            more += self.least[job] - self.worth[job, self.place[at]]
            self._take(job)
            if not self.count[at]:
                rent -= self.rent[at]
        self._shuffle()
        weight: cython.double = 0.6 + 0.5 * self._uniform()
        fresh: cython.double = exp(1.6 * self._uniform())
        shape: cython.double = 0.6 * self._uniform()
        for i in range(self.number):
            job = self.order[i]
            # the rest cannot make it less: where a hole grows, rent does so more
            if more + rent - self.forgiven * self.holes >= limit:
                self._back()
                return
            if not self._insert(job, weight, shape, fresh):
                self._back()
                return
            at = self.target[job]
            more += self.worth[job, self.place[at]] - self.least[job]
            cost += self.cost[job, self.place[at]]
            if self.count[at] == 1:
                rent += self.rent[at]
        more += rent - self.forgiven * self.holes
        if more >= limit or fabs(more) <= EPSILON:
            self._back()
            return
        self.wins += 1
        self.now += cost + rent
        if self.now <= self.best + EPSILON:
            self.best = self.now
            self._keep()

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _back(self) -> cython.void:
        i: cython.int
        for i in range(self.number):
            if self.target[self.out[i]] >= 0:
                self._take(self.out[i])
        for i in range(self.number):
            self._put(self.out[i], self.was[i])

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _shuffle(self) -> cython.void:
        """The order in which they are put back: the largest first, more or less."""
        i: cython.int
        k: cython.int
        job: cython.int
        key: cython.double
        for i in range(self.number):
            job = self.out[i]
            key = self.size[job] * (0.6 + 0.8 * self._uniform())
            k = i
            while k > 0 and self.key[k - 1] < key:
                self.key[k] = self.key[k - 1]
                self.order[k] = self.order[k - 1]
                k -= 1
            self.key[k] = key
            self.order[k] = job

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _ruin(self) -> cython.void:
        """Choose jobs: one that is at a bad place, or all or most of a badly filled bin's, and some
        of bins where one of them would be as well."""
        seed: cython.int = -1
        b: cython.int
        self.number = 0
        if self._uniform() < COSTLY:
            seed = self._misplaced()
        if seed >= 0:
            b = self.target[seed]
            self.out[0] = seed
            self.number = 1
            self._pick(b, 0.3 * self._uniform(), seed)
        else:
            b = self._worst()
            if b < 0:
                return
            if self._uniform() < 0.2:
                self._pick(b, 0.2 + 0.6 * self._uniform(), -1)
            else:
                self._pick(b, 1.0 if self.count[b] <= MOST else 0.5 * MOST / self.count[b], -1)
            seed = self._large(b)
            if seed < 0:
                return
        self._open_others(b, seed)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _open_others(self, b: cython.int, seed: cython.int) -> cython.void:
        """Some jobs of other bins: of those where the seed would be as well."""
        other: cython.int
        least: cython.double
        score: cython.double
        scale: cython.double
        for other in range(self.bins):
            self.weight[other] = self._exponential() if self.count[other] else -1.0
        self.weight[b] = -1.0
        number: cython.int = 1
        while number < BINS - 1 and self._uniform() > 0.8:
            number += 1
        while number > 0 and self.number < MOST:
            number -= 1
            scale = 0.3 * self.price[seed, self.place[self.target[seed]]] + 1e-6
            b = -1
            least = INF
            for other in range(self.bins):
                if self.weight[other] >= 0:
                    score = (
                        self.cost[seed, self.place[other]]
                        + self.price[seed, self.place[other]]
                        + scale * self.weight[other]
                    )
                    if score < least:
                        b = other
                        least = score
            if b < 0:
                return
            self.weight[b] = -1.0
            self._pick(b, 1.0 if self._uniform() < 0.3 else 0.1 + 0.8 * self._uniform(), -1)
            if self._uniform() < CHAIN:
                other = self._large(b)
                if other >= 0:
                    seed = other

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _misplaced(self) -> cython.int:
        """A job that would be worth more elsewhere, more or less; -1 if there is none."""
        chosen: cython.int = -1
        sum_: cython.double = 0.0
        more: cython.double
        job: cython.int
        for job in range(self.can.shape[0]):
            if self.can[job]:
                more = self.worth[job, self.place[self.target[job]]] - self.least[job]
                sum_ += more
                if self._uniform() * sum_ < more:
                    chosen = job
        return chosen

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _large(self, b: cython.int) -> cython.int:
        """A large job of a bin, more or less; -1 if there is none that may move."""
        chosen: cython.int = -1
        sum_: cython.double = 0.0
        job: cython.int = self.first[b]
        while job >= 0:
            if self.can[job]:
                sum_ += self.size[job]
                if self._uniform() * sum_ < self.size[job]:
                    chosen = job
            job = self.after[job]
        return chosen

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _worst(self) -> cython.int:
        """A bin whose free room costs much, more or less; -1 if there is none."""
        # there are few machines beside many nodes, and more is won by emptying them
        made: cython.bint = self._uniform() < MADE
        sum_: cython.double = 0.0
        free: cython.double
        chosen: cython.int = -1
        again: cython.int
        b: cython.int
        for again in range(2):
            for b in range(self.bins):
                if self.count[b] and (again or (b >= self.nodes) == made):
                    free = max(self.memory[b] * self.whole[b], self.cpus[b] * self.whole_cpus[b])
                    free = max(self.rent[b], 0.0) * max(free, 0.01) + 1e-3
                    sum_ += free
                    if self._uniform() * sum_ < free:
                        chosen = b
            if chosen >= 0:
                break
        return chosen

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _pick(self, b: cython.int, share: cython.double, but: cython.int) -> cython.void:
        """This share of its jobs, but one."""
        job: cython.int = self.first[b]
        while job >= 0 and self.number < MOST:
            if self.can[job] and job != but and self._uniform() < share:
                self.out[self.number] = job
                self.number += 1
            job = self.after[job]
