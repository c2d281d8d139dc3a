"""Quick plans: empty one node after the other, where that pays. Needs no solver."""

from __future__ import annotations

import time

import numpy as np

from porter.schedule.optimiser.fleet import SLACK, Draft, Fleet, Floats, Ints
from porter.schedule.optimiser.model import HOUR


class Room:
    """What is left in the places of a draft: nodes, then its machines."""

    def __init__(self, fleet: Fleet, draft: Draft) -> None:
        self.fleet = fleet
        self.draft = draft
        places = np.concatenate([np.arange(fleet.nodes), np.array(draft.machines, dtype=int)])
        self.place: Ints = places.astype(np.int64)
        count = len(self.place)
        load = np.bincount(draft.target, fleet.memory, count)
        cpus = np.bincount(draft.target, fleet.cpus, count)
        # what has left a node is not counted on: so that no order of moves is needed
        stays = np.bincount(fleet.home, fleet.memory, count)
        came = np.bincount(
            draft.target, np.where(draft.target != fleet.home, fleet.memory, 0), count
        )
        came_cpus = np.bincount(
            draft.target, np.where(draft.target != fleet.home, fleet.cpus, 0.0), count
        )
        stay_cpus = np.bincount(fleet.home, fleet.cpus, count)
        self.memory: Floats = fleet.room[self.place] - np.maximum(load, stays + came)
        self.cpus: Floats = fleet.cores[self.place] - np.maximum(cpus, stay_cpus + came_cpus)


def greedy(fleet: Fleet, draft: Draft, deadline: float) -> Draft:
    """Empty nodes that can be ended into room elsewhere, the dearest for what is on them first."""
    best = draft.copy()
    moves = int((best.target != fleet.home).sum())
    standing = np.flatnonzero(fleet.standing)
    load = np.maximum(fleet.load[standing], 1)
    for node in standing[np.argsort(-fleet.rent[standing] / load, kind="stable")].tolist():
        if time.monotonic() > deadline:
            break
        jobs = np.flatnonzero(fleet.home == node)
        busy = (best.target == node).any()
        if (
            not busy
            or (best.target[jobs] != node).any()
            or len(jobs) != (best.target == node).sum()
        ):
            continue
        if moves + len(jobs) > fleet.problem.most_moves:
            continue
        found = _empty(fleet, best, node, jobs)
        if found is not None:
            best = found
            moves += len(jobs)
    return _singles(fleet, best, fleet.problem.most_moves - moves)


def _singles(fleet: Fleet, draft: Draft, most: int) -> Draft:
    """Further jobs that save something each by itself, where there is room."""
    best = draft.copy()
    room = Room(fleet, draft)
    cost = fleet.going(room.place) - fleet.stay_cost[:, None]
    occupied = np.bincount(draft.target, minlength=len(room.place)) > 0
    cost += np.where(occupied, 0.0, fleet.rent[room.place])[None, :]
    cost[(draft.target != fleet.home) | (fleet.near >= 0) | (fleet.apart >= 0)] = np.inf
    for job in np.argsort(cost.min(axis=1, initial=np.inf), kind="stable")[: max(0, most)].tolist():
        fits = room.memory >= fleet.memory[job] + fleet.arriving[job]
        fits &= room.cpus + SLACK >= fleet.cpus[job]
        price = np.where(fits, cost[job], np.inf)
        target = int(np.argmin(price))
        if price[target] >= -1e-6:
            if cost[job].min() >= -1e-6:
                break
            continue
        best.target[job] = target
        room.memory[target] -= fleet.memory[job]
        room.cpus[target] -= fleet.cpus[job]
    return best


def _empty(fleet: Fleet, draft: Draft, node: int, jobs: Ints) -> Draft | None:
    """The draft with all jobs of a node elsewhere; None if that does not pay."""
    if (fleet.near[jobs] >= 0).any() or not fleet.may[jobs].any(axis=1).all():
        return None
    new = draft.copy()
    room = Room(fleet, draft)
    memory, cpus = room.memory.copy(), room.cpus.copy()
    occupied = np.bincount(draft.target, minlength=len(room.place)) > 0
    cost = fleet.going(room.place, jobs) - fleet.stay_cost[jobs][:, None]
    row = {job: i for i, job in enumerate(jobs.tolist())}
    spare = fleet.rent[node]
    hourly = fleet.hourly[node] / HOUR
    for job in sorted(jobs.tolist(), key=lambda job: -int(fleet.memory[job])):
        price = cost[row[job]] + np.where(occupied, 0.0, fleet.rent[room.place])
        price += hourly * fleet.move_s[job, fleet.site[room.place]]
        fits = memory >= fleet.memory[job] + fleet.arriving[job]
        fits &= cpus + SLACK >= fleet.cpus[job]
        if fleet.apart[job] >= 0:
            marked = fleet.apart == fleet.apart[job]
            fits[new.target[marked]] = False
            fits[fleet.home[marked]] = False
        price[~fits] = np.inf
        price[node] = np.inf
        target = int(np.argmin(price))
        if not np.isfinite(price[target]):
            return None
        spare -= float(price[target])
        if spare <= 0:
            return None
        new.target[job] = target
        memory[target] -= fleet.memory[job]
        cpus[target] -= fleet.cpus[job]
        occupied[target] = True
    return new
