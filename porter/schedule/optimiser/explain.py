"""Why each job that stays, stays: the rule that binds, and what would change the answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from porter.schedule.optimiser.bundles import Sorted
from porter.schedule.optimiser.fleet import SLACK, Fleet, Floats, Ints
from porter.schedule.optimiser.model import HOUR, Bar, Job, Node, Offer, Stay

CHUNK = 2000
"""So many jobs are looked at together: a row has all places."""
TINY = 1e-6
MIB = 1 << 20
DAY = 24 * HOUR


class Block(IntEnum):
    """What keeps a job from a place: the first that holds, in this order."""

    NONE = 0
    ARCH = 1
    FEATURES = 2
    SITE = 3
    SPOT = 4
    CLOSED = 5
    NEAR = 6
    APART = 7
    MEMORY = 8
    CPU = 9
    HOME = 10


@dataclass
class _End:
    """How things stand when the plan is carried out."""

    memory: Floats
    cpus: Floats
    on: Ints
    """Of each place: how many jobs (machines that are made are new each)."""
    marks: dict[int, set[int]]
    moves: int


def explain(fleet: Fleet, best: Sorted) -> tuple[Stay, ...]:
    """One for each job that stays."""
    end = _end(fleet, best)
    moved = np.zeros(fleet.count, dtype=bool)
    moved[[job for jobs in best.kept for job in jobs]] = True
    staying = np.flatnonzero(~moved)
    stays: list[Stay] = []
    group = _Group(fleet, end)
    for first in range(0, len(staying), CHUNK):
        chunk = _Chunk(fleet, end, staying[first : first + CHUNK])
        group.add(chunk)
    for first in range(0, len(staying), CHUNK):
        chunk = _Chunk(fleet, end, staying[first : first + CHUNK])
        stays += [_stay(fleet, best, end, group, chunk, row) for row in range(len(chunk.jobs))]
    return tuple(stays)


def _end(fleet: Fleet, best: Sorted) -> _End:
    target = fleet.home.copy()
    for bundle in best.bundles:
        for step in bundle.steps:
            target[fleet.job_of[step.job]] = fleet.node_of.get(step.target, -1)
    here = target >= 0
    at = target[here]
    memory, cpus = fleet.room.astype(float), fleet.cores.copy()
    memory[: fleet.nodes] -= np.bincount(at, fleet.memory[here], fleet.nodes)
    cpus[: fleet.nodes] -= np.bincount(at, fleet.cpus[here], fleet.nodes)
    on = np.bincount(at, minlength=fleet.places)
    marks: dict[int, set[int]] = {}
    for job in np.flatnonzero(here & (fleet.apart >= 0)).tolist():
        marks.setdefault(int(fleet.apart[job]), set()).add(int(target[job]))
    return _End(memory, cpus, on, marks, int((target != fleet.home).sum()))


class _Chunk:
    """Some jobs against all places."""

    def __init__(self, fleet: Fleet, end: _End, jobs: Ints) -> None:
        self.fleet, self.jobs = fleet, jobs
        self.block = self._blocks(end)
        move = fleet.move_cost[np.ix_(jobs, fleet.site)]
        risk = fleet.interruption_cost[jobs][:, None] * (fleet.interruptions * fleet.hours)[None, :]
        self.there = risk + fleet.doomed[None, :] - fleet.stay_cost[jobs][:, None]
        room, cores = np.maximum(fleet.room, 1), np.maximum(fleet.cores, 1e-9)
        share = np.maximum(
            fleet.memory[jobs][:, None] / room[None, :], fleet.cpus[jobs][:, None] / cores[None, :]
        )
        empty = end.on == 0
        rent = np.where(empty, fleet.rent, 0.0)
        self.rent = rent
        home = fleet.home[jobs]
        alone = (end.on[home] == 1) & fleet.standing[home]
        self.freed = np.where(alone, fleet.rent[home], 0.0)
        """Rent that ends with this move alone."""
        mine = np.minimum(1.0, share[np.arange(len(jobs)), home])
        every = np.bincount(fleet.home, _own_share(fleet), fleet.nodes)
        part = mine / np.maximum(every[home], 1e-12)
        self.due = np.where(fleet.standing[home], fleet.rent[home] * part, 0.0)
        """Its share of its node's rent."""
        until = fleet.move_s[np.ix_(jobs, fleet.site)] + fleet.boot_s[None, :]
        until = np.where(alone[:, None] & np.isfinite(until), until, 0.0)
        move = move + fleet.hourly[home][:, None] * until / HOUR
        self.once = move
        self.single = self.once + self.there + rent[None, :] - self.freed[:, None]
        """What going there alone costs more than staying."""
        self.shared = move + self.there + rent[None, :] * np.minimum(1.0, share)
        """The same, if a new machine were filled with others, without what ends at home."""

    def _blocks(self, end: _End) -> Ints:
        fleet, jobs = self.fleet, self.jobs
        block = np.zeros((len(jobs), fleet.places), dtype=np.int64)
        need = (fleet.memory + fleet.arriving)[jobs]
        block[fleet.cpus[jobs][:, None] > end.cpus[None, :] + SLACK] = Block.CPU
        block[need[:, None] > end.memory[None, :]] = Block.MEMORY
        for row in np.flatnonzero(fleet.apart[jobs] >= 0).tolist():
            there = end.marks.get(int(fleet.apart[jobs[row]]), set())
            block[row, [place for place in there if place >= 0]] = Block.APART
        near = fleet.near[jobs] >= 0
        other = fleet.site[None, :] != fleet.site[fleet.home[jobs]][:, None]
        many = np.bincount(fleet.near[fleet.near >= 0], minlength=1) > 1
        tied = near & many[np.maximum(fleet.near[jobs], 0)] if near.any() else near
        block[tied[:, None] & other] = Block.NEAR
        block[:, ~fleet.open] = Block.CLOSED
        block[fleet.no_spot[jobs][:, None] & fleet.spot[None, :]] = Block.SPOT
        block[~np.isfinite(fleet.move_cost[np.ix_(jobs, fleet.site)])] = Block.SITE
        wrong = ~fleet.runs[jobs]
        block[wrong] = Block.FEATURES
        block[wrong & ~self._arch()] = Block.ARCH
        block[np.arange(len(jobs)), fleet.home[jobs]] = Block.HOME
        return block

    def _arch(self) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        problem = self.fleet.problem
        places: tuple[Node | Offer, ...] = (*problem.nodes, *problem.offers)
        kinds = np.array([place.arch for place in places], dtype=object)
        mine = np.array([problem.jobs[j].arch for j in self.jobs], dtype=object)
        return np.asarray(mine[:, None] == kinds[None, :], dtype=bool)


def _own_share(fleet: Fleet) -> Floats:
    home = fleet.home
    memory = fleet.memory / np.maximum(fleet.room[home], 1)
    share: Floats = np.minimum(
        1.0, np.maximum(memory, fleet.cpus / np.maximum(fleet.cores[home], 1e-9))
    )
    return share


class _Group:
    """Of each node: what it would cost to empty it, every job where it costs least."""

    def __init__(self, fleet: Fleet, end: _End) -> None:
        self.fleet = fleet
        self.cost: Floats = np.zeros(fleet.nodes)
        self.holds: dict[int, int] = {}
        """A job of a node that nothing can take."""
        self.size = end.on[: fleet.nodes]

    def add(self, chunk: _Chunk) -> None:
        fleet = self.fleet
        cost = np.where(chunk.block == Block.NONE, chunk.shared, np.inf).min(axis=1, initial=np.inf)
        cost[fleet.pinned[chunk.jobs]] = np.inf
        home = fleet.home[chunk.jobs]
        for row in np.flatnonzero(~np.isfinite(cost)).tolist():
            self.holds.setdefault(int(home[row]), int(chunk.jobs[row]))
        np.add.at(self.cost, home, cost)


def _stay(fleet: Fleet, best: Sorted, end: _End, group: _Group, chunk: _Chunk, row: int) -> Stay:
    index = int(chunk.jobs[row])
    job = fleet.problem.jobs[index]
    free = chunk.block[row] == Block.NONE
    place = -1
    saving: float | None = None
    if free.any():
        single = np.where(free, chunk.single[row], np.inf)
        place = int(np.argmin(single))
        saving = -float(single[place])
    runner = _name(fleet, place)
    bar = _bar(fleet, best, end, group, chunk, row, place, saving)
    return Stay(job.name, bar, runner, saving)


def _bar(
    fleet: Fleet,
    best: Sorted,
    end: _End,
    group: _Group,
    chunk: _Chunk,
    row: int,
    place: int,
    saving: float | None,
) -> Bar:
    index = int(chunk.jobs[row])
    job = fleet.problem.jobs[index]
    if job.pinned is not None:
        return job.pinned
    if index in best.dropped:
        return best.dropped[index]
    blocked = _blocked(fleet, chunk, row)
    if saving is None:
        return _why_blocked(fleet, end, job, *blocked) if blocked[1] >= 0 else _alone()
    if saving > TINY:
        return _not_done(fleet, end, job, place, saving, float(chunk.once[row, place]))
    home = int(fleet.home[index])
    holder = group.holds.get(home)
    due = float(chunk.due[row])
    # is there a place, barred by one rule, where it would cost less than its share of its node?
    gain = due - blocked[2]
    freed = due - float(np.where(chunk.block[row] == Block.NONE, chunk.shared[row], np.inf).min())
    if gain > TINY and gain > freed:
        return _why_blocked(fleet, end, job, *blocked)
    if freed > TINY and holder is not None and holder != index:
        other = fleet.problem.jobs[holder]
        why = f"its node is paid as long as {other.name} is on it, and nothing can take that in"
        return Bar("shared-node", why, f"a place for {other.name}")
    if freed > TINY and group.size[home] > 1:
        return _together(fleet, group, home)
    return _cheapest(fleet, chunk, row, place, saving)


def _blocked(fleet: Fleet, chunk: _Chunk, row: int) -> tuple[Block, int, float]:
    """The place that would be best but for one rule: the rule, the place, and what it would cost
    more than staying, the node's rent aside. Where no price is known, the move counts nothing."""
    block = chunk.block[row]
    cost = np.where(np.isfinite(chunk.shared[row]), chunk.shared[row], chunk.there[row])
    cost = np.where((block == Block.NONE) | (block == Block.HOME), np.inf, cost)
    # hardware is no rule that a person would change: only if there is nothing else
    cost = cost + np.where(block <= Block.FEATURES, 1e12, 0.0)
    if not np.isfinite(cost).any():
        return Block.NONE, -1, float("inf")
    place = int(np.argmin(cost))
    return Block(int(block[place])), place, float(cost[place])


def _name(fleet: Fleet, place: int) -> str:
    if place < 0:
        return ""
    problem = fleet.problem
    return (
        problem.nodes[place].name
        if place < fleet.nodes
        else problem.offers[place - fleet.nodes].key
    )


def _alone() -> Bar:
    return Bar(
        "no-place", "there is no other place", "another host, or a site that offers machines"
    )


def _why_blocked(fleet: Fleet, end: _End, job: Job, block: Block, place: int, cost: float) -> Bar:
    name = _name(fleet, place)
    site = fleet.sites[int(fleet.site[place])]
    problem = fleet.problem
    if block == Block.ARCH:
        return Bar("arch", f"{name} cannot run {job.arch}", f"a place that runs {job.arch}")
    if block == Block.FEATURES:
        flags = ", ".join(sorted(job.features))
        return Bar("features", f"{name} lacks CPU flags that it may use", f"a place with {flags}")
    if block == Block.SITE:
        known = job.barred.get(site)
        return known or Bar(
            "unknown", f"what a move to {site} costs is not known", "a price for it"
        )
    if block == Block.SPOT:
        told = job.spot or Bar("spot", "", "allow spot in its policy")
        return Bar("spot", f"{name} is a spot machine: {told.why}", told.remedy)
    if block == Block.CLOSED:
        closed = problem.nodes[place].closed if place < fleet.nodes else None
        if closed is None:
            return Bar("closed", f"no machine of {name} can be made", "more quota there")
        return Bar("closed", f"{name}: {closed.why}", closed.remedy)
    if block == Block.NEAR:
        return Bar("near", f"{job.near} stays together, and not at {site}", "move all of them")
    if block == Block.APART:
        return Bar("apart", f"another of {job.apart} is on {name}", "another node, or a new rule")
    if block == Block.MEMORY:
        lacks = (job.memory + job.arriving - end.memory[place]) / MIB
        why = f"{name} has too little memory for it while it arrives"
        return Bar("memory", why, f"{np.ceil(lacks):.0f} MiB more memory on {name}")
    lacks = job.cpus - end.cpus[place]
    return Bar("cpu", f"{name} has too few cpus left", f"{lacks:.2f} more cpus on {name}")


def _not_done(fleet: Fleet, end: _End, job: Job, place: int, saving: float, once: float) -> Bar:
    """It would save something by itself, and is not moved."""
    problem, unit, name = fleet.problem, fleet.problem.currency, _name(fleet, place)
    text = f"going to {name} would save {saving:.2f} {unit}"
    if end.moves >= problem.most_moves:
        why = f"{text}, but only {problem.most_moves} moves are allowed at a time"
        return Bar("most-moves", why, f"allow {end.moves + 1} moves, or wait for the next run")
    if saving < job.min_saving:
        lacks = job.min_saving - saving
        why = f"{text}, and its policy asks for {job.min_saving:.2f}"
        return Bar("min-saving", why, f"a saving of {lacks:.2f} {unit} more")
    index = fleet.job_of[job.name]
    home = int(fleet.home[index])
    noise = problem.hysteresis * float(fleet.rent[home] if fleet.standing[home] else 0.0)
    if saving <= noise:
        why = f"{text}, and less than {noise:.2f} counts as noise"
        return Bar("hysteresis", why, f"a saving of {noise - saving:.2f} {unit} more")
    earned = (saving + once) / problem.horizon_s
    if job.payback_s is not None and once > earned * job.payback_s:
        days = once / earned / DAY
        why = f"{text}, but earn back what it costs in {days:.1f} days only"
        return Bar("payback", why, f"a pay-back of {days:.1f} days in its policy")
    why = f"{text} by itself, but not with the moves that it belongs to, or the time was too short"
    return Bar("not-found", why, "more seconds for the optimiser")


def _together(fleet: Fleet, group: _Group, home: int) -> Bar:
    unit = fleet.problem.currency
    rent, cost, count = float(fleet.rent[home]), float(group.cost[home]), int(group.size[home])
    name = fleet.problem.nodes[home].name
    why = (
        f"{name} costs {rent:.2f} {unit} over the horizon and ends only if all {count} jobs leave "
        f"it, which would cost {cost:.2f} and more"
    )
    return Bar("together", why, f"a saving of {max(cost - rent, 0.01):.2f} {unit} more")


def _cheapest(fleet: Fleet, chunk: _Chunk, row: int, place: int, saving: float) -> Bar:
    """It is where it costs least: what is missing, in money and, if it helps, in time."""
    unit = fleet.problem.currency
    name = _name(fleet, place)
    what = "save nothing" if saving > -0.005 else f"cost {-saving:.2f} {unit} more"
    why = f"it is where it costs least: going to {name} would {what}"
    remedy = f"a saving of {max(-saving, 0.01):.2f} {unit} more"
    once = float(chunk.once[row, place])
    later = saving + once
    if later > TINY:
        days = fleet.problem.horizon_s / DAY * once / later
        remedy += (
            f", or a horizon of {days:.1f} days instead of {fleet.problem.horizon_s / DAY:.1f}"
        )
    return Bar("cheapest", why, remedy)
