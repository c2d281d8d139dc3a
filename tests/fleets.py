"""Made-up fleets for the optimiser, from nasty to tiny, and a brute force to hold it against.

Nothing of the optimiser is used here but the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

from porter.schedule.optimiser.model import HOUR, Bar, Job, Move, Node, Offer, Problem

SITES = ("here", "there", "far")
FLAGS = ("avx2", "avx512")
NO = Bar("test", "because", "nothing")


@dataclass(frozen=True)
class Size:
    """Bounds of a fleet."""

    jobs: int
    nodes: int
    offers: int
    most: int = 2
    """So many machines of an offer at most."""


@st.composite
def moves(draw: st.DrawFn) -> tuple[dict[str, Move], dict[str, Bar]]:
    allowed, barred = {}, {}
    price = draw(st.sampled_from((0.0, 0.1, 0.1, 1.0, 8.0)))
    for site in SITES:
        if draw(st.integers(0, 9)) == 0:
            barred[site] = NO
            continue
        allowed[site] = Move(
            egress=price * draw(st.integers(0, 3)),
            seconds=draw(st.sampled_from((0.0, 60.0, 1800.0))),
            downtime_s=1.0,
            downtime_cost=price * draw(st.integers(0, 2)),
            failure_cost=0.01 * price,
        )
    return allowed, barred


@st.composite
def jobs(draw: st.DrawFn, number: int, hosts: int, strict: bool) -> Job:
    allowed, barred = draw(moves())
    memory = draw(st.sampled_from((1, 2, 3, 4, 8)))
    rare = st.integers(0, 9)
    return Job(
        name=f"j{number}",
        host=f"n{draw(st.integers(0, hosts - 1))}",
        memory=memory,
        arriving=draw(st.sampled_from((0, 0, 1, memory))),
        cpus=draw(st.sampled_from((0.0, 0.5, 1.0, 1.1))),
        arch=draw(st.sampled_from(("x86",) * 7 + ("arm",))),
        features=draw(st.sampled_from((*(frozenset(),) * 4, frozenset(FLAGS[:1])))),
        moves=allowed,
        barred=barred,
        pinned=NO if draw(rare) == 0 else None,
        spot=NO if draw(st.booleans()) else None,
        near=draw(st.sampled_from((*("",) * 8, "db", "web"))),
        apart=draw(st.sampled_from((*("",) * 6, "twin", "shop"))),
        interruption_cost=draw(st.sampled_from((0.0, 0.5, 5.0))),
        min_saving=draw(st.sampled_from((0.0, 0.0, 2.0, 20.0))) if strict else 0.0,
        payback_s=draw(st.sampled_from((None, None, 3600.0, 200000.0))) if strict else None,
    )


@st.composite
def nodes(draw: st.DrawFn, number: int) -> Node:
    rare = st.integers(0, 9)
    removable = draw(st.integers(0, 3)) > 0
    spot = draw(rare) == 0
    return Node(
        name=f"n{number}",
        site=draw(st.sampled_from(SITES)),
        memory=draw(st.sampled_from((0, 4, 8, 9, 16, 24, 24))),
        cpus=draw(st.sampled_from((0.0, 2.2, 4.0, 4.0, 6.0))),
        arch=draw(st.sampled_from(("x86",) * 7 + ("arm",))),
        features=draw(st.sampled_from((frozenset(), frozenset(FLAGS)))),
        hourly=draw(st.sampled_from((0.05, 0.1, 0.1, 0.4, 1.0))) if removable else 0.0,
        removable=removable,
        closed=NO if draw(rare) == 0 else None,
        spot=spot,
        interruptions=0.01 if spot else 0.0,
        doomed=3.0 if draw(rare) == 0 else 0.0,
    )


@st.composite
def offers(draw: st.DrawFn, number: int, most: int) -> Offer:
    terms = draw(st.sampled_from(("on_demand", "spot")))
    site = draw(st.sampled_from(SITES))
    return Offer(
        key=f"{site}/t{number}/{terms}",
        site=site,
        type=f"t{number}",
        terms=terms,
        memory=draw(st.sampled_from((4, 8, 16))),
        cpus=draw(st.sampled_from((1.0, 2.0, 4.4))),
        arch=draw(st.sampled_from(("x86",) * 5 + ("arm",))),
        features=draw(st.sampled_from((frozenset(), frozenset(FLAGS)))),
        hourly=draw(st.sampled_from((0.02, 0.05, 0.1, 0.1))),
        most=draw(st.integers(0, most)),
        boot_s=draw(st.sampled_from((0.0, 120.0))),
        interruptions=0.01 if terms == "spot" else 0.0,
    )


@st.composite
def fleets(draw: st.DrawFn, size: Size, strict: bool = True) -> Problem:
    """A fleet with all that goes wrong in one: overbooked, barred, doomed, tied, of no size."""
    hosts = draw(st.integers(min(2, size.nodes), size.nodes))
    count = draw(st.integers(0, size.jobs) | st.just(size.jobs))
    return Problem(
        currency="EUR",
        horizon_s=draw(st.sampled_from((1.0, 24.0, 168.0, 168.0))) * HOUR,
        jobs=tuple(draw(jobs(i, hosts, strict)) for i in range(count)),
        nodes=tuple(draw(nodes(i)) for i in range(hosts)),
        offers=tuple(draw(offers(i, size.most)) for i in range(draw(st.integers(0, size.offers)))),
        most_moves=draw(st.sampled_from((1000, 1000, 1000, 1000, 5, 2, 1, 0))),
        hysteresis=draw(st.sampled_from((0.0, 0.0, 0.1))) if strict else 0.0,
    )


Place = Node | Offer
Target = tuple[str, int]
"""(node, 0), or (offer key, number)."""


class BruteForce:
    """Every assignment of jobs that could be carried out, and the cheapest of them."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.nodes = {node.name: node for node in problem.nodes}
        self.offers = {offer.key: offer for offer in problem.offers}
        self.hours = problem.horizon_s / HOUR

    def assignments(self) -> Iterator[list[Target]]:
        yield from self._rest([], {})

    def _rest(self, chosen: list[Target], made: dict[str, int]) -> Iterator[list[Target]]:
        if len(chosen) == len(self.problem.jobs):
            yield list(chosen)
            return
        job = self.problem.jobs[len(chosen)]
        yield from self._rest([*chosen, (job.host, 0)], made)
        if job.pinned is not None:
            return
        for node in self.problem.nodes:
            if node.name != job.host and node.closed is None and self._may(job, node):
                yield from self._rest([*chosen, (node.name, 0)], made)
        for offer in self.problem.offers:
            if not self._may(job, offer):
                continue
            count = made.get(offer.key, 0)
            for number in range(1, min(count + 1, offer.most) + 1):
                more = {**made, offer.key: max(count, number)}
                yield from self._rest([*chosen, (offer.key, number)], more)

    def place(self, target: Target) -> Place:
        return self.offers[target[0]] if target[1] else self.nodes[target[0]]

    def _may(self, job: Job, place: Place) -> bool:
        if place.site in job.barred or place.site not in job.moves or place.arch != job.arch:
            return False
        if place.spot and job.spot is not None:
            return False
        told = isinstance(place, Node) or place.features
        return not told or job.features <= place.features

    def cost(self, chosen: list[Target]) -> float:
        total = 0.0
        full = set(chosen)
        for job, target in zip(self.problem.jobs, chosen, strict=True):
            place = self.place(target)
            total += place.interruptions * self.hours * job.interruption_cost
            total += place.doomed if isinstance(place, Node) else 0.0
            if target != (job.host, 0):
                total += job.moves[place.site].cost
        for node in self.problem.nodes:
            if not node.removable:
                continue
            mine = [
                (job, target)
                for job, target in zip(self.problem.jobs, chosen, strict=True)
                if job.host == node.name
            ]
            if (node.name, 0) in full:
                total += node.hourly * self.hours
            elif mine:
                seconds = sum(job.moves[self.place(t).site].seconds for job, t in mine)
                boots = [self.offers[t[0]].boot_s for _, t in mine if t[1]]
                total += node.hourly * (seconds + max(boots, default=0.0)) / HOUR
        made = {target for target in chosen if target[1]}
        return total + sum(self.offers[key].hourly * self.hours for key, _ in made)

    def executable(self, chosen: list[Target]) -> bool:
        """At most so many moves, friends together, and an order of single moves that fits."""
        jobs = self.problem.jobs
        moved = [i for i, job in enumerate(jobs) if chosen[i] != (job.host, 0)]
        if len(moved) > self.problem.most_moves:
            return False
        for mark in {jobs[i].near for i in moved} - {""}:
            sites = {self.place(chosen[i]).site for i, job in enumerate(jobs) if job.near == mark}
            if len(sites) > 1:
                return False
        return self._orders([(job.host, 0) for job in jobs], chosen, frozenset(moved))

    def _orders(self, now: list[Target], chosen: list[Target], left: frozenset[int]) -> bool:
        if not left:
            return True
        for i in sorted(left):
            if self._fits(i, now, chosen[i]):
                after = [*now[:i], chosen[i], *now[i + 1 :]]
                if self._orders(after, chosen, left - {i}):
                    return True
        return False

    def _fits(self, i: int, now: list[Target], target: Target) -> bool:
        jobs, place = self.problem.jobs, self.place(target)
        there = [jobs[k] for k, at in enumerate(now) if at == target]
        memory = sum(job.memory for job in there) + jobs[i].memory + jobs[i].arriving
        cpus = sum(job.cpus for job in there) + jobs[i].cpus
        mark = jobs[i].apart
        if mark and any(job.apart == mark for job in there):
            return False
        return memory <= place.memory and cpus <= place.cpus + 1e-9

    def best(self) -> float:
        """What the cheapest one costs."""
        staying = [(job.host, 0) for job in self.problem.jobs]
        best = self.cost(staying)
        priced = [(self.cost(chosen), chosen) for chosen in self.assignments()]
        for cost, chosen in sorted(priced, key=lambda pair: pair[0]):
            if cost >= best or self.executable(chosen):
                return min(cost, best)
        return best
