"""What no plan for a trace can undercut, even one that knows the future.

A relaxation: machines are shared by the byte, so that each workload pays for the memory it takes
and nothing for what stays empty. It moves at what moves cost, and dynamic programming finds its
cheapest way through time. Real machines are never that full, so nothing reaches the bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from porter.schedule.backtest.measured import GB
from porter.schedule.backtest.replay import Worth
from porter.schedule.backtest.traces import ON_DEMAND, OWN, SPOT, Outage, Trace, Workload, key
from porter.schedule.optimiser.model import HOUR

INF = float("inf")


@dataclass(frozen=True)
class _State:
    """A kind of machine that a workload may be on. Own machines are one state for each site."""

    site: str
    offer: str
    spot: bool


RENTS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
"""What own memory is rented out for, as fractions of the cheapest memory on demand."""


def shared(trace: Trace, worth: Worth) -> float:
    """Own machines are free, but there is only so much of them: their memory is rented out, and the
    rent of all of it is given back. Whatever the rent, that is a bound (it is the Lagrangian
    multiplier of their capacity), so the best of several rents counts. Moves never fail."""
    own = sum(host.memory for host in trace.hosts if host.terms == OWN)
    rents = RENTS if own else RENTS[:1]
    return max(0.0, *(_Shared(trace, worth, rent).run(own) for rent in rents))


class _Shared:
    def __init__(self, trace: Trace, worth: Worth, own_rent: float) -> None:
        self.trace = trace
        self.own_rent = own_rent
        self.worth = worth
        self.times = list(trace.steps())
        self.step_h = trace.step_s / HOUR
        own = sorted({host.site for host in trace.hosts if host.terms == OWN})
        self.states = [_State(site, "", False) for site in own]
        self.states += [_State(p.site, p.key, p.terms == SPOT) for p in trace.prices.values()]
        self.rent = [self._rents(time) for time in self.times]
        """By step and state: money for a byte."""
        spots = [(each, self._offer(each)) for each in trace.outages]
        self.begun = [{offer for each, offer in spots if each.at == time} for time in self.times]
        """By step: what is taken away in it."""
        self.out = [
            {offer for each, offer in spots if each.at < time < each.until} for time in self.times
        ]

    def _offer(self, outage: Outage) -> str:
        return key(outage.site, outage.type, SPOT)

    def _rents(self, time: float) -> list[float]:
        rents = {}
        for priced in self.trace.prices.values():
            memory = self.trace.by_type[priced.site, priced.type].memory
            mean = priced.series.mean(time, time + self.trace.step_s)
            rents[priced.key] = mean / memory * self.step_h
        demand = min(
            rent for offer, rent in rents.items() if self.trace.prices[offer].terms == ON_DEMAND
        )
        return [rents.get(state.offer, demand * self.own_rent) for state in self.states]

    def run(self, own: int) -> float:
        """`own`: bytes of own machines."""
        total = sum(self._cheapest(one) for one in self.trace.workloads)
        place = next((n for n, state in enumerate(self.states) if not state.offer), None)
        if place is None:
            return total
        return total - sum(rent[place] for rent in self.rent) * own

    def _cheapest(self, one: Workload) -> float:
        """Of one workload, through all steps in which it is there."""
        costs: list[float] | None = None
        for number, time in enumerate(self.times):
            if time < one.arrives or time >= one.departs:
                continue
            if costs is None:
                costs = [self._begin(one, state) for state in self.states]
            costs = self._step(one, costs, number, time)
        return 0.0 if costs is None else min(costs)

    def _begin(self, one: Workload, state: _State) -> float:
        """Where it may be at first; moved from there at what it costs then."""
        if not one.host:
            home = state.site == one.site or not self._holds(one, one.site)
            return 0.0 if home and self._may(one, state) else INF
        host = next(each for each in self.trace.hosts if each.name == one.host)
        offer = "" if host.terms == OWN else f"{host.site}/{host.type}/{host.terms}"
        return 0.0 if (state.site, state.offer) == (host.site, offer) else INF

    def _holds(self, one: Workload, site: str) -> bool:
        """Whether the site has machines on which it can begin anew."""
        return any(
            kind.site == site and kind.memory >= one.limit and kind.cpus >= one.cpus
            for kind in self.trace.types
        )

    def _may(self, one: Workload, state: _State) -> bool:
        return one.spot or not state.spot

    def _step(
        self, one: Workload, before: Sequence[float], number: int, time: float
    ) -> list[float]:
        """One step on. Whoever changes place in it may do so at any moment of it, so that only the
        cheaper of both places is sure to be paid for all of it."""
        memory = one.memory.at(time)
        rents = [rent * memory for rent in self.rent[number]]
        leave: dict[str, float] = {}
        paid: dict[str, float] = {}
        """By site: the cheapest way there up to now, without and with the rent of this step."""
        for cost, rent, state in zip(before, rents, self.states, strict=True):
            leave[state.site] = min(leave.get(state.site, INF), cost)
            paid[state.site] = min(paid.get(state.site, INF), cost + rent)
        late, early = self._arrive(one, leave, memory), self._arrive(one, paid, memory)
        out, begun = self.out[number], self.begun[number]
        moved = self._within(memory)
        after = []
        for place, state in enumerate(self.states):
            if not self._may(one, state) or state.offer in out:
                after.append(INF)
                continue
            stay = before[place] + rents[place] + (moved if state.offer in begun else 0.0)
            after.append(min(stay, late[state.site] + rents[place], early[state.site]))
        return after

    def _within(self, memory: float) -> float:
        """A move within a site, or beginning anew there."""
        pause = self.worth.pause(self.trace.moving.downtime(memory))
        return min(pause, self.worth.interruption)

    def _arrive(
        self, one: Workload, best: Mapping[str, float], memory: float
    ) -> Mapping[str, float]:
        """The cheapest way to be at each site after a move."""
        pause = self.worth.pause(self.trace.moving.downtime(memory))
        wire = (memory + one.files) * self.trace.moving.wire_per_byte / GB
        arrive = {}
        for site in best:
            ways = [self._within(memory) + best[site]]
            for source, cost in best.items():
                if source != site:
                    ways.append(cost + pause + self._traffic(source, site, wire))
                    if not self._holds(one, source):
                        ways.append(cost + self.worth.interruption)
            arrive[site] = min(ways)
        return arrive

    def _traffic(self, source: str, target: str, wire: float) -> float:
        if source == target:
            return 0.0
        rate = self.trace.egress.get((source, target))
        return INF if rate is None else rate.per_gb * wire
