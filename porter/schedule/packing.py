"""Jobs into places, one by one: the dearest room first, each where it costs least and fits best."""

from __future__ import annotations

import numpy as np

from porter.schedule.fleet import SLACK, Bools, Draft, Fleet, Floats, Ints
from porter.schedule.skeleton import Skeleton


class Packing:
    """A draft that grows. Bins are nodes, then machines; a machine that is not in use is closed."""

    def __init__(self, fleet: Fleet, target: Ints, machines: list[int]) -> None:
        self.fleet = fleet
        self.target = target.copy()
        """-1 for a job that is nowhere yet."""
        self.place: list[int] = [*range(fleet.nodes), *machines]
        count = len(self.place)
        there = self.target >= 0
        at = self.target[there]
        room = fleet.room[self.place].astype(float)
        self.memory: Floats = room - np.bincount(at, fleet.memory[there], count)
        self.cpus: Floats = fleet.cores[self.place] - np.bincount(at, fleet.cpus[there], count)
        self.jobs: list[set[int]] = [set() for _ in self.place]
        for job in np.flatnonzero(there).tolist():
            self.jobs[int(self.target[job])].add(job)
        self.made = np.bincount(np.array(machines, dtype=np.int64), minlength=fleet.places)

    @classmethod
    def of(cls, fleet: Fleet, draft: Draft) -> Packing:
        return cls(fleet, draft.target, draft.machines)

    def draft(self) -> Draft:
        return Draft(self.target.copy(), self.place[self.fleet.nodes :])

    def copy(self) -> Packing:
        new = object.__new__(Packing)
        new.fleet, new.target, new.place = self.fleet, self.target.copy(), list(self.place)
        new.memory, new.cpus = self.memory.copy(), self.cpus.copy()
        new.jobs, new.made = [set(jobs) for jobs in self.jobs], self.made.copy()
        return new

    def open(self, offer: int) -> int:
        """A further machine, empty; its bin."""
        fleet = self.fleet
        self.place.append(offer)
        self.memory = np.append(self.memory, float(fleet.room[offer]))
        self.cpus = np.append(self.cpus, fleet.cores[offer])
        self.jobs.append(set())
        self.made[offer] += 1
        return len(self.place) - 1

    def take(self, job: int) -> None:
        """Out of where it is."""
        b = int(self.target[job])
        self.memory[b] += self.fleet.memory[job]
        self.cpus[b] += self.fleet.cpus[job]
        self.jobs[b].discard(job)
        self.target[job] = -1

    def put(self, job: int, b: int) -> None:
        self.memory[b] -= self.fleet.memory[job]
        self.cpus[b] -= self.fleet.cpus[job]
        self.jobs[b].add(job)
        self.target[job] = b

    def takes(self, job: int, b: int) -> bool:
        """It fits there in the end, no other of its mark is there, and what arrives there can do
        so in some order."""
        fleet = self.fleet
        if self.memory[b] < fleet.memory[job] or self.cpus[b] + SLACK < fleet.cpus[job]:
            return False
        mark = fleet.apart[job]
        if mark >= 0:
            if any(fleet.apart[other] == mark for other in self.jobs[b]):
                return False
            if b < fleet.nodes and mark in fleet.marks.get(b, {}):
                return False
        if b < fleet.nodes and fleet.home[job] == b:
            return True
        coming = [job, *(other for other in self.jobs[b] if fleet.home[other] != b)]
        return self.orderly(coming, float(self.memory[b] - fleet.memory[job]))

    def orderly(self, coming: list[int], left: float) -> bool:
        """What comes to one place can arrive greatest first, with so much left in the end."""
        fleet = self.fleet
        for arriving, memory in sorted((fleet.arriving[j], fleet.memory[j]) for j in coming):
            if arriving > left:
                return False
            left += memory
        return True


class Prices:
    """What it costs a job to be at a place, and what the room it takes there is worth."""

    def __init__(self, fleet: Fleet, skeleton: Skeleton) -> None:
        self.fleet = fleet
        self.cost: Floats = fleet.going()
        self.cost[np.arange(fleet.count), fleet.home] = fleet.stay_cost
        self.room = skeleton.price
        self.keep = skeleton.keep
        gathered = np.flatnonzero(skeleton.site != -1)
        elsewhere = fleet.site[None, :] != skeleton.site[gathered][:, None]
        home = np.arange(fleet.places)[None, :] == fleet.home[gathered][:, None]
        frozen = (skeleton.site[gathered] == -2)[:, None]
        self.cost[gathered] = np.where(elsewhere & ~(frozen & home), np.inf, self.cost[gathered])
        self.frozen = np.zeros(fleet.count, dtype=bool)
        self.frozen[gathered] = skeleton.site[gathered] == -2
        self.left = np.zeros(fleet.nodes, dtype=bool)
        """Nodes that stay although some of their jobs leave."""
        self.left[fleet.home[skeleton.leaves]] = True
        self.left &= skeleton.keep
        self.leaves = skeleton.leaves.copy()
        room = self.cost + self.room
        room[:, : fleet.nodes][:, ~skeleton.keep] = np.inf
        self.pays: Floats = np.min(room, axis=1, initial=np.inf)
        """What each job pays at the best place, room reckoned."""
        self.value: Floats = np.maximum(1e-6, np.median(self.room, axis=1))
        self.most: Floats = self.pays + 0.1 * self.value
        self.mobile: Bools = fleet.may.any(axis=1) & ~fleet.pinned & ~self.frozen
        """A place that is dearer than this is none."""

    def movable(self, packing: Packing, b: int) -> list[int]:
        """Jobs of a bin that may be put elsewhere. What stays on a node may leave it only if nothing
        came there that must not wait."""
        fleet = self.fleet
        came = [j for j in packing.jobs[b] if fleet.home[j] != b]
        if b >= fleet.nodes or any(self.leaves[j] for j in came):
            return came
        return came + [j for j in packing.jobs[b] if fleet.home[j] == b and self.mobile[j]]

    def leave(self, job: int) -> None:
        """A job leaves a node that stays."""
        self.leaves[job] = True
        self.left[self.fleet.home[job]] = True

    def open_to(self, packing: Packing, job: int) -> Bools:
        """Bins that may be filled with a job, room left aside."""
        fleet = self.fleet
        open_ = np.ones(len(packing.place), dtype=bool)
        open_[: fleet.nodes] = self.keep
        if self.leaves[job]:
            # it makes room for others: it must not wait for room itself
            open_[: fleet.nodes] &= ~self.left
        return open_


def pack(fleet: Fleet, skeleton: Skeleton, prices: Prices) -> Packing:
    """All jobs somewhere: into nodes that stay and machines that are made for sure as far as these
    reach, by swapping until they are full; for the rest further machines are made."""
    out = ~skeleton.keep[fleet.home] | skeleton.leaves
    out &= fleet.may.any(axis=1) & ~fleet.pinned & ~prices.frozen
    target = np.where(out, -1, fleet.home)
    packing = Packing(fleet, target, skeleton.made)
    jobs = by_size(fleet, np.flatnonzero(out))
    rest = [job for job in jobs if not place_job(packing, prices, job)]
    rest = fill(packing, prices, rest)
    while rest:
        b = open_best(packing, prices, rest)
        if b < 0:
            break
        rest = [job for job in rest if packing.target[job] < 0]
        rest = fill(packing, prices, rest)
    for job in by_size(fleet, np.array(rest, dtype=np.int64)):
        if not place_job(packing, prices, job, anywhere=True):
            send_home(packing, job)
    return packing


def send_home(packing: Packing, job: int) -> None:
    """Nothing takes a job: it stays, and what came in its stead stays where it was, too."""
    fleet = packing.fleet
    home = int(fleet.home[job])
    packing.put(job, home)
    for other in sorted(packing.jobs[home], key=lambda j: int(fleet.memory[j])):
        if packing.memory[home] >= 0 and packing.cpus[home] >= -SLACK:
            break
        if fleet.home[other] != home:
            packing.take(other)
            send_home(packing, other)


TRY = 16
"""So many of the offers that look best are tried for the next machine."""


def open_best(packing: Packing, prices: Prices, rest: list[int]) -> int:
    """Make the machine that loses least of its rent when it is filled with jobs that are left, and
    fill it; its bin, or -1 if no offer takes any."""
    fleet = packing.fleet
    jobs = np.array(by_size(fleet, np.array(rest, dtype=np.int64)), dtype=np.int64)
    offers = np.arange(fleet.nodes, fleet.places)
    offers = offers[packing.made[offers] < fleet.most]
    if not len(offers):
        return -1
    gain = prices.pays[jobs][:, None] - prices.cost[np.ix_(jobs, offers)]
    gain[~np.isfinite(gain)] = -np.inf
    worth = np.where(gain > 0, gain, 0.0)
    size = np.maximum(
        fleet.memory[jobs][:, None] / np.maximum(fleet.room[offers], 1)[None, :],
        fleet.cpus[jobs][:, None] / np.maximum(fleet.cores[offers], 1e-9)[None, :],
    )
    # filled with fractions, best first: what it could earn at most
    density = np.where(worth > 0, worth / np.maximum(size, 1e-12), 0.0)
    order = np.argsort(-density, axis=0)
    filled = np.cumsum(np.take_along_axis(np.where(worth > 0, size, 0.0), order, 0), axis=0)
    earned = np.where(filled <= 1.0, np.take_along_axis(worth, order, 0), 0.0).sum(axis=0)
    rent = np.maximum(fleet.rent[offers], 1e-9)
    picks = np.argsort((rent - earned) / rent, kind="stable")[:TRY]
    best, least = None, np.inf
    for pick in picks.tolist():
        chosen = _knapsack(fleet, jobs, worth[:, pick], int(offers[pick]))
        if not len(chosen):
            continue
        loss = (rent[pick] - worth[chosen, pick].sum()) / rent[pick]
        if loss < least - 1e-9:
            best, least = (int(offers[pick]), jobs[chosen]), loss
    if best is None:
        return -1
    b = packing.open(best[0])
    for job in best[1][np.argsort(-fleet.arriving[best[1]], kind="stable")].tolist():
        if packing.takes(job, b):
            packing.put(job, b)
    return b if packing.jobs[b] else -1


def _knapsack(fleet: Fleet, jobs: Ints, worth: Floats, offer: int) -> Ints:
    """Indices of jobs for one empty machine: greatest first while they fit, in the shape that is
    left."""
    memory, cpus = float(fleet.room[offer]), float(fleet.cores[offer])
    room, cores = max(memory, 1.0), max(cpus, 1e-9)
    left = worth > 0
    chosen: list[int] = []
    need, cores_needed = fleet.memory[jobs], fleet.cpus[jobs]
    arriving = fleet.arriving[jobs]
    while True:
        fits = left & (need + arriving <= memory) & (cores_needed <= cpus + SLACK)
        if not fits.any():
            return np.array(chosen, dtype=np.int64)
        index = np.flatnonzero(fits)
        shape = np.abs((memory - need[index]) / room - (cpus - cores_needed[index]) / cores)
        size = np.maximum(need[index] / room, cores_needed[index] / cores)
        pick = int(index[np.argmax(size - shape)])
        chosen.append(pick)
        left[pick] = False
        memory -= float(need[pick])
        cpus -= float(cores_needed[pick])


def by_size(fleet: Fleet, jobs: Ints) -> list[int]:
    size = np.maximum(
        fleet.memory[jobs] / max(1.0, float(np.median(fleet.room))),
        fleet.cpus[jobs] / max(1e-9, float(np.median(fleet.cores))),
    )
    ordered: list[int] = jobs[np.argsort(-size, kind="stable")].tolist()
    return ordered


def place_job(packing: Packing, prices: Prices, job: int, anywhere: bool = False) -> bool:
    """Put a job where it costs least, room reckoned; with `anywhere` on a new machine too, where
    that is better still. False if there is nothing."""
    fleet = packing.fleet
    places = np.array(packing.place)
    cost = prices.cost[job, places] + prices.room[job, places]
    cost[~prices.open_to(packing, job)] = np.inf
    memory_left = packing.memory - fleet.memory[job]
    cpus_left = packing.cpus - fleet.cpus[job]
    cost[(memory_left < 0) | (cpus_left < -SLACK)] = np.inf
    memory_left /= np.maximum(fleet.room[places], 1)
    cpus_left /= np.maximum(fleet.cores[places], 1e-9)
    shape = np.abs(memory_left - cpus_left) + 0.3 * (memory_left + cpus_left)
    best = cost + 0.1 * prices.value[job] * shape
    new, new_cost = _machine(packing, prices, job) if anywhere else (-1, prices.most[job])
    for b in np.argsort(best).tolist():
        if not np.isfinite(best[b]) or cost[b] > new_cost:
            break
        if packing.takes(job, b):
            packing.put(job, b)
            return True
    if new >= 0:
        packing.put(job, packing.open(new))
        return True
    return False


def fill(packing: Packing, prices: Prices, rest: list[int]) -> list[int]:
    """Swap what found no place into bins that are not full, for less that is there, as long as
    that makes what is outside worth less. What is left outside."""
    fleet = packing.fleet
    left = set(rest)
    again = True
    while left and again:
        again = False
        places = np.array(packing.place)
        free = np.minimum(
            packing.memory / np.maximum(fleet.room[places], 1),
            packing.cpus / np.maximum(fleet.cores[places], 1e-9),
        )
        for b in np.argsort(-free).tolist():
            while left and _swap(packing, prices, b, left):
                again = True
    return sorted(left)


def _swap(packing: Packing, prices: Prices, b: int, left: set[int]) -> bool:
    """The best change of one bin: one in, and perhaps one out."""
    fleet = packing.fleet
    if b < fleet.nodes and not prices.keep[b]:
        return False
    place = packing.place[b]
    into = np.array(sorted(left), dtype=np.int64)
    gain_in = prices.pays[into] - prices.cost[into, place]
    if b < fleet.nodes and prices.left[b]:
        gain_in[prices.leaves[into]] = -np.inf
    out = np.array(prices.movable(packing, b), dtype=np.int64)
    gain_out = np.append(prices.pays[out] - prices.cost[out, place], 0.0)
    memory = np.append(fleet.memory[out], 0) + packing.memory[b]
    cpus = np.append(fleet.cpus[out], 0.0) + packing.cpus[b] + SLACK
    gain = gain_in[:, None] - gain_out[None, :]
    gain[fleet.memory[into][:, None] > memory[None, :]] = -np.inf
    gain[fleet.cpus[into][:, None] > cpus[None, :]] = -np.inf
    order = np.argsort(-gain, axis=None)[:20]
    for flat in order.tolist():
        i, o = divmod(flat, gain.shape[1])
        if not gain[i, o] > 1e-6:
            return False
        gone = int(out[o]) if o < len(out) else -1
        if gone >= 0:
            packing.take(gone)
        if packing.takes(int(into[i]), b):
            packing.put(int(into[i]), b)
            left.discard(int(into[i]))
            if gone >= 0:
                left.add(gone)
                if fleet.home[gone] == b:
                    prices.leave(gone)
            return True
        if gone >= 0:
            packing.put(gone, b)
    return False


def _machine(packing: Packing, prices: Prices, job: int) -> tuple[int, float]:
    """The offer of which one more would be made for a job, and its share of the rent."""
    fleet = packing.fleet
    offers = slice(fleet.nodes, fleet.places)
    share = np.maximum(
        fleet.memory[job] / np.maximum(fleet.room[offers], 1),
        fleet.cpus[job] / np.maximum(fleet.cores[offers], 1e-9),
    )
    cost = prices.cost[job, offers] + fleet.rent[offers] * np.minimum(1.0, share * 1.1 + 0.02)
    cost = np.where(packing.made[offers] < fleet.most, cost, np.inf)
    if not len(cost):
        return -1, np.inf
    best = int(np.argmin(cost))
    if not np.isfinite(cost[best]):
        return -1, np.inf
    return fleet.nodes + best, float(cost[best])
