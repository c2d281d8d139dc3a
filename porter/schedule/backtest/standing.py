"""Plans made with the whole future known: where each workload is to stand, once and for all.

Looking some hours ahead again and again (`contenders.Future`) is not the best that can be done with
foresight. These plans pack the whole trace at once: own machines first, then whichever kinds of
machines cost least over all of it. The best of many is replayed like any other contender.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from porter.schedule.backtest.contenders import HOUR, Rules, Waves
from porter.schedule.backtest.replay import Fleet, Load, Worth
from porter.schedule.backtest.traces import ON_DEMAND, OWN, SPOT, Priced, Trace, Workload
from porter.schedule.optimiser.model import Step

SHORT = 12 * HOUR
"""A workload that stays no longer than that is left where it begins."""
BEST = 3
"""So many of the plans that look best are replayed."""


@dataclass
class _Bin:
    """A machine of a plan. Its memory is looked at in every step of the trace."""

    name: str
    offer: str
    memory: int
    cpus: float
    spot: bool
    marks: set[str] = field(default_factory=set)
    taken: dict[float, float] = field(default_factory=dict)

    def fits(self, one: Workload, times: Sequence[float]) -> bool:
        if self.cpus < one.cpus or (self.spot and not one.spot) or one.apart in self.marks:
            return False
        return all(self.taken.get(time, 0.0) + one.memory.at(time) <= self.memory for time in times)

    def take(self, one: Workload, times: Sequence[float]) -> None:
        self.cpus -= one.cpus
        if one.apart:
            self.marks.add(one.apart)
        for time in times:
            self.taken[time] = self.taken.get(time, 0.0) + one.memory.at(time)


class Standing:
    """Brings each workload to its place as fast as the pace allows, and back there if need be."""

    name = "clairvoyant"

    def __init__(self, rules: Rules, plan: Mapping[str, str]) -> None:
        self._rules = rules
        self._plan = plan

    def decide(self, fleet: Fleet) -> Waves:
        left = self._rules.pace.left(fleet.tally.begun, fleet.now)
        moving = sorted(fleet.loads.values(), key=lambda one: -one.workload.limit)
        steps = []
        for load in moving:
            box = self._target(fleet, load)
            if left > 0 and box and not self._rules.pace.resting(load.moved, fleet.now):
                steps.append(Step(load.workload.name, load.box, box))
                left -= 1
        return [(step,) for step in steps]

    def _target(self, fleet: Fleet, load: Load) -> str:
        """Empty if it is there, or cannot go there now."""
        plan = self._plan.get(load.workload.name, "")
        place = fleet.made.get(plan, plan)
        box = fleet.boxes.get(place)
        if box is not None:
            return place if place != load.box and box.dies == inf else ""
        offer = plan.rpartition("#")[0]
        if not offer:
            return ""
        priced = fleet.trace.prices[offer]
        out = fleet.trace.out(priced.site, priced.type, fleet.now, fleet.now + SHORT)
        return "" if priced.terms == SPOT and out else plan


def plans(trace: Trace, worth: Worth) -> Iterator[Mapping[str, str]]:
    """The best that could be found, the most promising first."""
    demand = [one for one in trace.prices.values() if one.terms == ON_DEMAND]
    spot = [one for one in trace.prices.values() if one.terms == SPOT]
    found = []
    for first in demand:
        for second in [*spot, first]:
            for picky in (True, False):
                plan = _pack(trace, first, second, picky)
                found.append((_cost(trace, worth, plan), sorted(plan.items())))
    found.sort(key=lambda one: one[0])
    return (dict(items) for _, items in found[:BEST])


def _pack(trace: Trace, demand: Priced, spot: Priced, picky: bool) -> dict[str, str]:
    """First fit, the largest first. `picky`: those that may run on spot machines come last, so that
    own machines serve those that may not."""
    steps = list(trace.steps())
    own = [host for host in trace.hosts if host.terms == OWN]
    bins = [_Bin(host.name, "", host.memory, host.cpus, False) for host in own]
    plan: dict[str, str] = {}
    loads = [
        one
        for one in trace.workloads
        if min(trace.end, one.departs) - max(trace.start, one.arrives) > SHORT
    ]
    loads.sort(key=lambda one: (picky and one.spot, -max(one.memory.values)))
    for one in loads:
        times = [time for time in steps if one.arrives <= time < one.departs]
        found = next((each for each in bins if each.fits(one, times)), None)
        if found is None:
            priced = spot if one.spot else demand
            kind = trace.by_type[priced.site, priced.type]
            name = f"{priced.key}#plan{len(bins)}"
            found = _Bin(name, priced.key, kind.memory, kind.cpus, priced.terms == SPOT)
            if not found.fits(one, times):
                continue
            bins.append(found)
        found.take(one, times)
        plan[one.name] = found.name
    return plan


def _cost(trace: Trace, worth: Worth, plan: Mapping[str, str]) -> float:
    """Roughly: machines from the first to the last step they are used in, and a move for each."""
    spans: dict[str, list[float]] = {}
    hosts = {host.name: host.site for host in trace.hosts}
    once = 0.0
    for one in trace.workloads:
        name = plan.get(one.name, "")
        begin, end = max(trace.start, one.arrives), min(trace.end, one.departs)
        if name.rpartition("#")[0]:
            span = spans.setdefault(name, [begin, end])
            span[:] = [min(span[0], begin), max(span[1], end)]
        if not name or name == one.host:
            continue
        memory = one.memory.at(begin)
        once += worth.pause(trace.moving.downtime(memory))
        source = hosts.get(one.host, one.site)
        target = hosts.get(name, name.split("/")[0])
        if source != target:
            rate = trace.egress.get((source, target))
            once += inf if rate is None else rate.per_gb * (memory + one.files) / 1e9
    for name, (begin, end) in spans.items():
        series = trace.prices[name.rpartition("#")[0]].series
        once += series.mean(begin, end) * (end - begin) / HOUR
    return once
