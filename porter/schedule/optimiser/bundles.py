"""From a draft to bundles: moves that pay only together, each bundle independent of the others.

Any of the bundles may be left out, and they may be carried out in any order, one after another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from porter.schedule.optimiser.evaluate import Accountant, refused
from porter.schedule.optimiser.fleet import SLACK, Draft, Fleet, Ints
from porter.schedule.optimiser.model import Bar, Bundle, Machine, Problem, Step
from porter.schedule.optimiser.waves import order


@dataclass
class Sorted:
    """What became of a draft."""

    bundles: list[Bundle] = field(default_factory=list)
    kept: list[list[int]] = field(default_factory=list)
    """The jobs of each bundle."""
    dropped: dict[int, Bar] = field(default_factory=dict)
    """Jobs that the draft would have moved, and why they stay."""

    @property
    def saving(self) -> float:
        return sum(bundle.saving for bundle in self.bundles)


UNORDERED = Bar(
    "order",
    "no order of moves gets there: at some moment a node would be overbooked",
    "free memory on one of the nodes, or one more node",
)


def sort_out(fleet: Fleet, accountant: Accountant, draft: Draft) -> Sorted:
    """Drop what cannot be ordered, split the rest, and keep the bundles that are worth it."""
    result = Sorted()
    draft = permitted(fleet, draft)
    groups = _ordered(fleet, draft, result)
    names = _names(fleet, draft, groups)
    for moves, waves in groups:
        bundle, bar = _bundle(fleet, accountant, draft, names, waves)
        if bar is None:
            result.bundles.append(bundle)
            result.kept.append(moves)
        else:
            result.dropped.update(dict.fromkeys(moves, bar))
    _limit(fleet, result)
    result.bundles = _renumbered(result.bundles)
    return result


def permitted(fleet: Fleet, draft: Draft) -> Draft:
    """The draft without moves that the rules forbid, whatever their order: jobs go home."""
    draft = draft.copy()
    moved = np.flatnonzero(draft.target != fleet.home)
    bad = moved[~fleet.may[moved, draft.place(fleet)[moved]]]
    draft.target[bad] = fleet.home[bad]
    counts: dict[int, int] = defaultdict(int)
    for i, offer in enumerate(draft.machines):
        mine = np.flatnonzero(draft.target == fleet.nodes + i)
        if len(mine):
            counts[offer] += 1
            if counts[offer] > fleet.most[offer - fleet.nodes]:
                draft.target[mine] = fleet.home[mine]
    site = fleet.site[draft.place(fleet)]
    for mark in set(fleet.near[draft.target != fleet.home].tolist()) - {-1}:
        members = np.flatnonzero(fleet.near == mark)
        if len(set(site[members].tolist())) > 1:
            draft.target[members] = fleet.home[members]
    return draft


def _limit(fleet: Fleet, result: Sorted) -> None:
    """Only so many moves: those bundles that save most for each."""
    most = fleet.problem.most_moves
    if sum(len(jobs) for jobs in result.kept) <= most:
        return
    bar = Bar("most-moves", f"only {most} moves are allowed at a time", "allow more moves")
    pairs = sorted(
        zip(result.bundles, result.kept, strict=True),
        key=lambda pair: -pair[0].saving / len(pair[1]),
    )
    result.bundles, result.kept = [], []
    for bundle, jobs in pairs:
        if len(jobs) <= most:
            most -= len(jobs)
            result.bundles.append(bundle)
            result.kept.append(jobs)
        else:
            result.dropped.update(dict.fromkeys(jobs, bar))


def _ordered(fleet: Fleet, draft: Draft, result: Sorted) -> list[tuple[list[int], list[list[int]]]]:
    """Groups of moves with their waves; jobs that no wave takes go home in `draft`."""
    while True:
        movers = np.flatnonzero(draft.target != fleet.home)
        groups = split(fleet, draft, movers)
        coming: dict[int, list[int]] = defaultdict(list)
        for job in movers.tolist():
            coming[int(draft.target[job])].append(job)
        done = []
        stuck: list[int] = []
        for moves in groups:
            waves, left = order(fleet, draft, moves, coming)
            stuck += left
            done.append((moves, waves))
        if not stuck:
            return done
        marks = {int(fleet.near[job]) for job in stuck if fleet.near[job] >= 0}
        stuck += [int(job) for job in movers if int(fleet.near[job]) in marks]
        for job in stuck:
            draft.target[job] = fleet.home[job]
            result.dropped[job] = UNORDERED


class _Union:
    """Groups that grow together."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def find(self, item: int) -> int:
        root = item
        while self._parent.setdefault(root, root) != root:
            root = self._parent[root]
        while item != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def join(self, items: Iterable[int]) -> None:
        first: int | None = None
        for item in items:
            if first is None:
                first = self.find(item)
            else:
                self._parent[self.find(item)] = first


def split(fleet: Fleet, draft: Draft, movers: Ints) -> list[list[int]]:
    """The moves, grouped so that no group needs another."""
    union = _Union()
    leaving: dict[int, list[int]] = defaultdict(list)
    coming: dict[int, list[int]] = defaultdict(list)
    near: dict[int, list[int]] = defaultdict(list)
    for job in movers.tolist():
        union.find(job)
        leaving[int(fleet.home[job])].append(job)
        coming[int(draft.target[job])].append(job)
        if fleet.near[job] >= 0:
            near[int(fleet.near[job])].append(job)
    for jobs in near.values():
        union.join(jobs)
    for node, jobs in leaving.items():
        if fleet.removable[node] and len(jobs) == fleet.residents[node]:
            union.join(jobs + coming.get(node, []))
    for place, jobs in coming.items():
        if place >= fleet.nodes or (fleet.removable[place] and not fleet.residents[place]):
            union.join(jobs)
        elif not _all_fit(fleet, place, jobs):
            union.join(jobs + leaving.get(place, []))
        else:
            _join_apart(fleet, union, jobs, leaving.get(place, []))
    groups: dict[int, list[int]] = defaultdict(list)
    for job in movers.tolist():
        groups[union.find(job)].append(job)
    return sorted(groups.values())


def _all_fit(fleet: Fleet, node: int, coming: list[int]) -> bool:
    """All arrivals find room at a node in any order, even if nothing leaves it."""
    jobs = np.array(coming)
    memory = fleet.load[node] + fleet.memory[jobs].sum() + fleet.arriving[jobs].max()
    cpus = fleet.load_cpus[node] + fleet.cpus[jobs].sum()
    return bool(memory <= fleet.room[node] and cpus <= fleet.cores[node] + SLACK)


def _join_apart(fleet: Fleet, union: _Union, coming: list[int], leaving: list[int]) -> None:
    by_mark: dict[int, list[int]] = defaultdict(list)
    marks = {int(fleet.apart[job]) for job in coming} - {-1}
    for job in coming + leaving:
        if int(fleet.apart[job]) in marks:
            by_mark[int(fleet.apart[job])].append(job)
    for jobs in by_mark.values():
        union.join(jobs)


def _names(
    fleet: Fleet, draft: Draft, groups: list[tuple[list[int], list[list[int]]]]
) -> dict[int, str]:
    """A name for each target in use."""
    names = {i: node.name for i, node in enumerate(fleet.problem.nodes)}
    counts: dict[int, int] = defaultdict(int)
    for moves, _ in groups:
        for target in dict.fromkeys(int(draft.target[job]) for job in moves):
            if target not in names:
                offer = draft.machines[target - fleet.nodes]
                counts[offer] += 1
                key = fleet.problem.offers[offer - fleet.nodes].key
                names[target] = f"{key}#{counts[offer]}"
    return names


def _bundle(
    fleet: Fleet,
    accountant: Accountant,
    draft: Draft,
    names: dict[int, str],
    waves: list[list[int]],
) -> tuple[Bundle, Bar | None]:
    problem: Problem = fleet.problem

    def step(job: int) -> Step:
        item = problem.jobs[job]
        return Step(item.name, item.host, names[int(draft.target[job])])

    rows = tuple(tuple(step(job) for job in wave) for wave in waves)
    made = dict.fromkeys(
        int(draft.target[job]) for wave in waves for job in wave if draft.target[job] >= fleet.nodes
    )
    machines = tuple(
        Machine(
            names[target], problem.offers[draft.machines[target - fleet.nodes] - fleet.nodes].key
        )
        for target in made
    )
    steps = [step for wave in rows for step in wave]
    account = accountant.account(steps, machines)
    jobs = [problem.jobs[job] for wave in waves for job in wave]
    bar = refused(problem, account, jobs)
    bundle = Bundle(rows, machines, account.ended, account.before, account.after, account.once)
    return bundle, bar


def _renumbered(bundles: list[Bundle]) -> list[Bundle]:
    """Names of machines without gaps, after some bundles were dropped."""
    counts: dict[str, int] = defaultdict(int)
    out = []
    for bundle in bundles:
        new: dict[str, Machine] = {}
        for machine in bundle.machines:
            counts[machine.offer] += 1
            new[machine.name] = Machine(f"{machine.offer}#{counts[machine.offer]}", machine.offer)
        waves = tuple(
            tuple(
                Step(
                    step.job,
                    step.source,
                    new[step.target].name if step.target in new else step.target,
                )
                for step in wave
            )
            for wave in bundle.waves
        )
        out.append(
            Bundle(
                waves, tuple(new.values()), bundle.ended, bundle.before, bundle.after, bundle.once
            )
        )
    return out
