"""Which nodes stay, and what room costs where: from the pooled program, without its whole numbers.

The linear program is solved, nodes that are nearly whole are decided, and it is solved again, until
all are. Its dual prices tell what a byte and a cpu are worth in each pool.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from porter.schedule.optimiser.dive import solved, whole
from porter.schedule.optimiser.fleet import Bools, Fleet, Floats, Ints
from porter.schedule.optimiser.placed import Placed
from porter.schedule.optimiser.pools import CPUS, Pooled
from porter.schedule.optimiser.solver import Quiet, relaxed, run


@dataclass
class Skeleton:
    keep: Bools
    """Of each node: jobs may be on it in the end."""
    made: list[int]
    """Machines (their offers, as places) that are filled for sure."""
    site: Ints
    """For each job of a `near` group the site where the group shall be; -1 for others, -2 where
    none of the group may move."""
    price: Floats
    """For each job and place: what the room that it takes there is worth."""
    goes: Ints
    """Of each job the site where it shall be."""
    leaves: Bools
    """Jobs that had better leave their node although it stays."""


def skeleton(pooled: Pooled, deadline: float) -> Skeleton | None:
    """Decide on nodes, a few at a time. None if there was not even time to begin."""
    fleet = pooled.fleet
    highs = relaxed(pooled.program)
    if not run(highs, deadline):
        return None
    x = np.array(highs.getSolution().col_value)
    open_ = np.ones(len(pooled.keep), dtype=bool)
    while open_.any() and time.monotonic() < deadline:
        values = x[pooled.keep]
        distance = np.where(open_, np.minimum(values, 1 - values), np.inf)
        picks = np.flatnonzero(distance < 0.02)
        if not len(picks):
            order = np.argsort(distance)
            picks = order[: max(1, int(open_.sum()) // 20)]
        columns = pooled.keep[picks].astype(np.int32)
        whole = (values[picks] > 0.7).astype(float)
        highs.changeColsBounds(len(columns), columns, whole, whole)
        open_[picks] = False
        if not run(highs, deadline):
            break
        x = np.array(highs.getSolution().col_value)
    x = _gather(pooled, highs, x, deadline)
    prices = prices_of(pooled, np.array(highs.getSolution().row_dual))
    x = _machines_whole(pooled, highs, x, deadline)
    keep = np.ones(fleet.nodes, dtype=bool)
    keep[pooled.standing] = x[pooled.keep] > 0.5
    goes = _going(pooled, x, keep)
    moved = np.bincount(pooled.job, x[pooled.x], fleet.count) > 0.5
    leaves = np.asarray(moved & keep[fleet.home], dtype=bool)
    made = _machines(pooled, x)
    return Skeleton(keep, made, _sites(pooled, x), prices, goes, leaves)


def framed(pooled: Pooled, highs: Quiet, spare: float, deadline: float) -> Skeleton | None:
    """Another one, mostly better, from the program over single places; None if that is not solved
    before the deadline. `highs` has solved the pooled program."""
    fleet = pooled.fleet
    price = prices_of(pooled, np.array(highs.getSolution().row_dual))
    x = _gather(pooled, highs, np.array(highs.getSolution().col_value), deadline)
    site = _sites(pooled, x)
    room = fleet.room.astype(float) * (1 - spare)
    placed = Placed(fleet, costs_of(fleet, site), price, room, fleet.cores * (1 - spare))
    if not solved(placed, deadline):
        return None
    prices = placed.prices()
    many = whole(placed, deadline)
    keep = np.ones(fleet.nodes, dtype=bool)
    keep[fleet.standing] = many[: fleet.nodes][fleet.standing] > 0
    made = np.repeat(np.arange(fleet.nodes, fleet.places), many[fleet.nodes :]).tolist()
    leaves = placed.away() & keep[fleet.home]
    return Skeleton(keep, made, site, prices, fleet.site[fleet.home], leaves)


def _machines_whole(pooled: Pooled, highs: Quiet, x: Floats, deadline: float) -> Floats:
    """Whole numbers of machines, the nearest to whole first."""
    upper = pooled.limit
    rent = pooled.fleet.rent[pooled.made]
    small = float(np.quantile(rent, 0.15)) if len(rent) else 0.0
    open_ = np.ones(len(pooled.y), dtype=bool)
    while open_.any() and time.monotonic() < deadline:
        values = x[pooled.y]
        part = values - np.floor(values + 1e-6)
        whole = open_ & (part < 0.02)
        # what is whole may still grow: only its floor is fixed
        fractional = open_ & ~whole
        if not fractional.any():
            break
        picks = np.flatnonzero(fractional)
        # the dearest first: what is cut off there finds room in smaller ones
        nearest = picks[np.argmax(rent[picks])]
        target = np.floor(values[nearest] + 1e-6)
        if part[nearest] > 0.85 or rent[nearest] < small:
            target = min(target + 1, upper[nearest])
        columns = pooled.y[[nearest]].astype(np.int32)
        highs.changeColsBounds(1, columns, np.array([target]), np.array([target]))
        open_[nearest] = False
        if not run(highs, deadline):
            break
        x = np.array(highs.getSolution().col_value)
    return x


def _gather(pooled: Pooled, highs: Quiet, x: Floats, deadline: float) -> Floats:
    """Each `near` group at one site: where most of it goes, or, if it is at one, there."""
    if not pooled.sites:
        return x
    fleet = pooled.fleet
    for mark, columns in pooled.sites.items():
        whole = np.zeros(len(columns))
        homes = np.unique(fleet.site[fleet.home[fleet.near == mark]])
        if x[columns].sum() > 0.5:
            whole[np.argmax(x[columns])] = 1.0
        elif len(homes) == 1:
            whole[homes] = 1.0
        highs.changeColsBounds(len(columns), columns.astype(np.int32), whole, whole)
    if not run(highs, deadline):
        return x
    return np.array(highs.getSolution().col_value)


def _sites(pooled: Pooled, x: Floats) -> Ints:
    fleet = pooled.fleet
    site = np.full(fleet.count, -1, dtype=np.int64)
    for mark, columns in pooled.sites.items():
        chosen = int(np.argmax(x[columns])) if x[columns].sum() > 0.5 else -2
        site[fleet.near == mark] = chosen
    return site


def _machines(pooled: Pooled, x: Floats) -> list[int]:
    made: list[int] = []
    for place, value in zip(pooled.made.tolist(), x[pooled.y], strict=True):
        if place >= pooled.fleet.nodes:
            made += [place] * round(value)
    return made


def _going(pooled: Pooled, x: Floats, keep: Bools) -> Ints:
    """Where most of each job is; for one whose node ends, most of what leaves."""
    fleet = pooled.fleet
    share = np.zeros((fleet.count, len(fleet.sites)))
    site = np.array([pool.site for pool in pooled.pools], dtype=np.int64)
    if len(pooled.job):
        np.add.at(share, (pooled.job, site[pooled.pool]), x[pooled.x])
    home = fleet.site[fleet.home]
    stays = np.where(keep[fleet.home], 1.0 - share.sum(axis=1), 0.0)
    share[np.arange(fleet.count), home] += stays + 1e-6
    return np.asarray(np.argmax(share, axis=1), dtype=np.int64)


def costs_of(fleet: Fleet, site: Ints) -> Floats:
    """What it costs each job to be at each place, groups at their sites (as in a skeleton)."""
    cost = fleet.being()
    gathered = np.flatnonzero(site != -1)
    elsewhere = fleet.site[None, :] != site[gathered][:, None]
    home = np.arange(fleet.places)[None, :] == fleet.home[gathered][:, None]
    frozen = (site[gathered] == -2)[:, None]
    cost[gathered] = np.where(elsewhere & ~home, np.inf, cost[gathered])
    # a group that shall go elsewhere had better go whole: staying behind counts as a machine
    behind = (elsewhere & home & ~frozen).any(axis=1)
    left = gathered[behind]
    cost[left, fleet.home[left]] += float(fleet.rent.max(initial=1.0))
    return cost


def prices_of(pooled: Pooled, duals: Floats) -> Floats:
    """What the room that each job takes is worth at each place, by the duals of the rows."""
    fleet = pooled.fleet
    price = np.zeros((fleet.count, fleet.places))
    need = fleet.memory + fleet.arriving
    top_memory = max(1e-9, float(pooled.room.max(initial=0.0)))
    top_cpus = max(1e-9, float(pooled.cores.max(initial=0.0)))
    for row, p, above in pooled.fits:
        value = -float(duals[row])
        if value <= 0:
            continue
        places: Ints = pooled.pools[p].places
        if above == CPUS:
            price[:, places] += (fleet.cpus * (value / top_cpus))[:, None]
        else:
            counted = np.where(need > above, fleet.memory, 0) * (value / top_memory)
            price[:, places] += counted[:, None]
    return price
