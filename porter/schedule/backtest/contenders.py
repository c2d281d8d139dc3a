"""Who decides in a back-test: nobody, a greedy rule, Porter, and one who knows the future."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from porter.schedule import market
from porter.schedule.backtest.pace import Pace
from porter.schedule.backtest.replay import Box, Fleet, Load
from porter.schedule.backtest.traces import OWN, SPOT, Priced, Trace, Workload
from porter.schedule.optimiser.model import Answer, Bar, Job, Move, Node, Offer, Problem, Step

HOUR, DAY = 3600.0, 86400.0
Waves = Iterable[Sequence[Step]]
Optimise = Callable[[Problem, float, Mapping[str, str] | None], Answer]
ARCH = "x86_64"
"""Of all machines in a trace."""
TOO_DEAR = Bar("price", "no price of traffic to there is known", "add an egress record")
BUSY = Bar("moving", "it is being moved", "wait until that has ended")
CALLED_BACK = Bar("notice", "its provider takes it away", "none")
NOT_ALLOWED = Bar("spot", "it may not run on spot machines", "placement.spot of its policy")


@dataclass(frozen=True)
class Rules:
    """Policies of the whole fleet, and how the schedule runs. Times in seconds."""

    every_s: float = 6 * HOUR
    horizon_s: float = 2 * DAY
    pace: Pace = field(default_factory=lambda: Pace(12 * HOUR, 30, 60))
    payback_s: float | None = 3 * DAY
    min_saving: float = 0.0
    hysteresis: float = 0.05
    think_s: float = 1.0
    """Wall time for one decision."""


class Contender(Protocol):
    name: str

    def decide(self, fleet: Fleet) -> Waves:
        """Moves to be made now, wave by wave."""
        ...


class Outlook(Protocol):
    """What is expected of the time to come."""

    def hourly(self, priced: Priced, now: float) -> float: ...

    def memory(self, one: Workload, now: float) -> int: ...

    def interruptions(self, site: str, kind: str, now: float) -> float:
        """Of all spot machines of a type, expected an hour."""
        ...

    def shunned(self, site: str, kind: str, now: float) -> bool:
        """Whether its spot machines are sure to be taken away before the next decision."""
        ...


class Past:
    """What can be expected from what was seen."""

    def __init__(self, trace: Trace, horizon_s: float) -> None:
        self._trace = trace
        self._horizon_s = horizon_s
        self._since = min(
            (one.series.times[0] for one in trace.prices.values() if one.terms == SPOT),
            default=trace.start,
        )

    def hourly(self, priced: Priced, now: float) -> float:
        return market.price(priced.series.until(now), now, self._horizon_s).price

    def memory(self, one: Workload, now: float) -> int:
        """As live: what it takes now, as long as nobody has watched it for a day."""
        room = market.memory(one.memory.until(now), now, one.limit)
        return round(one.memory.at(now)) if room is None else room.memory

    def interruptions(self, site: str, kind: str, now: float) -> float:
        past = [(one.site, one.type) for one in self._trace.outages if one.at <= now]
        span_s = now - self._since
        all_types = market.Seen(len(past), span_s * len(self._trace.types))
        return market.interruptions(market.Seen(past.count((site, kind)), span_s), all_types)

    def shunned(self, site: str, kind: str, now: float) -> bool:
        return False


class Future:
    """What will be. Nobody can know that: it tells how much there was to be saved."""

    def __init__(self, trace: Trace, horizon_s: float, every_s: float) -> None:
        self._trace = trace
        self._horizon_s = horizon_s
        self._every_s = every_s

    def hourly(self, priced: Priced, now: float) -> float:
        return priced.series.mean(now, self._end(now))

    def memory(self, one: Workload, now: float) -> int:
        return round(one.memory.top(now, self._end(now)))

    def interruptions(self, site: str, kind: str, now: float) -> float:
        return 0.0

    def shunned(self, site: str, kind: str, now: float) -> bool:
        return self._trace.out(site, kind, now, now + 2 * self._every_s)

    def _end(self, now: float) -> float:
        return min(self._trace.end, now + self._horizon_s)


class Never:
    """What nobody moves stays."""

    name = "never moving"

    def decide(self, fleet: Fleet) -> Waves:
        return ()


class Greedy:
    """Each workload goes to what costs least per byte of memory at this moment, if that is less
    than where it is: first fit, and a new machine where nothing fits. It reckons neither traffic
    nor pauses nor what it leaves half empty, but keeps to the same pace and limits."""

    name = "greedy rule"

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def decide(self, fleet: Fleet) -> Waves:
        left = self._rules.pace.left(fleet.tally.begun, fleet.now)
        yard = _Yard(fleet)
        steps = []
        for load in sorted(fleet.loads.values(), key=lambda one: one.workload.name):
            doomed = fleet.boxes[load.box].dies < inf
            if not doomed and (left <= 0 or self._rules.pace.resting(load.moved, fleet.now)):
                continue
            target = yard.target(load, doomed)
            if target:
                steps.append(Step(load.workload.name, load.box, target))
                left -= 0 if doomed else 1
        return [(step,) for step in steps]


@dataclass
class _Slot:
    """A machine that is there, or will be, as the greedy rule fills it."""

    name: str
    site: str
    offer: str
    spot: bool
    memory: float
    cpus: float
    marks: set[str]

    def fits(self, one: Workload) -> bool:
        """With the memory that it takes twice while it arrives."""
        kept = one.apart and one.apart in self.marks
        allowed = one.spot or not self.spot
        return bool(allowed and not kept and self.memory >= 2 * one.limit and self.cpus >= one.cpus)


class _Yard:
    """What the greedy rule sees at one moment."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        trace = fleet.trace
        self.rates = {
            one.key: one.series.at(fleet.now) / trace.by_type[one.site, one.type].memory
            for one in trace.prices.values()
        }
        self.slots = [self._there(box) for box in fleet.boxes.values() if box.dies == inf]

    def target(self, load: Load, doomed: bool) -> str:
        """Empty where nothing is cheaper."""
        fleet, one = self.fleet, load.workload
        here = fleet.boxes[load.box]
        if here.terms == OWN:
            return ""
        now = inf if doomed else self.rates[here.offer]
        known = {here.site} | {to for source, to in fleet.trace.egress if source == here.site}
        for rate, offer in [(0.0, ""), *sorted((rate, key) for key, rate in self.rates.items())]:
            if rate >= now:
                break
            priced = fleet.trace.prices.get(offer)
            if priced is not None and priced.site not in known:
                continue
            for slot in self.slots:
                near = slot.offer == offer and slot.site in known
                if near and slot.name != here.name and slot.fits(one):
                    return self._fill(slot, one)
            fresh = None if priced is None else self._new(priced)
            if fresh is not None and fresh.fits(one):
                self.slots.append(fresh)
                return self._fill(fresh, one)
        return ""

    def _there(self, box: Box) -> _Slot:
        here = [load.workload for load in self.fleet.on(box.name)]
        offer = "" if box.terms == OWN else box.offer
        memory = box.memory - sum(one.limit for one in here)
        cpus = box.cpus - sum(one.cpus for one in here)
        marks = {one.apart for one in here}
        return _Slot(box.name, box.site, offer, box.terms == SPOT, memory, cpus, marks)

    def _new(self, priced: Priced) -> _Slot | None:
        trace, now = self.fleet.trace, self.fleet.now
        kind, spot = trace.by_type[priced.site, priced.type], priced.terms == SPOT
        if spot and trace.out(priced.site, priced.type, now, now + 1):
            return None
        name = f"{priced.key}#new{len(self.slots)}"
        return _Slot(name, priced.site, priced.key, spot, kind.memory, kind.cpus, set())

    def _fill(self, slot: _Slot, one: Workload) -> str:
        slot.memory -= one.limit
        slot.cpus -= one.cpus
        if one.apart:
            slot.marks.add(one.apart)
        return slot.name


class Porter:
    """What runs live: the problem as it is known at the moment, the optimiser, its acceptance."""

    def __init__(self, rules: Rules, optimise: Optimise, outlook: Outlook, name: str) -> None:
        self.name = name
        self._rules = rules
        self._optimise = optimise
        self._outlook = outlook

    def decide(self, fleet: Fleet) -> Waves:
        problem = build(fleet, self._rules, self._outlook)
        if problem.most_moves == 0:
            return ()
        answer = self._optimise(problem, self._rules.think_s, None)
        return [wave for bundle in answer.bundles for wave in bundle.waves]


def build(fleet: Fleet, rules: Rules, outlook: Outlook) -> Problem:
    """What the optimiser is asked at the fleet's moment."""
    trace, now = fleet.trace, fleet.now
    dear = {one.key: outlook.hourly(one, now) for one in trace.prices.values()}
    doomed = sum(fleet.boxes[load.box].dies < inf for load in fleet.loads.values())
    return Problem(
        currency=trace.currency,
        horizon_s=rules.horizon_s,
        jobs=tuple(_job(fleet, load, rules, outlook) for load in fleet.loads.values()),
        nodes=tuple(_node(fleet, box, dear, outlook) for box in fleet.boxes.values()),
        offers=tuple(_offer(fleet, one, dear, outlook) for one in trace.prices.values()),
        most_moves=rules.pace.left(fleet.tally.begun, now) + doomed,
        hysteresis=rules.hysteresis,
    )


def _job(fleet: Fleet, load: Load, rules: Rules, outlook: Outlook) -> Job:
    one, here = load.workload, fleet.boxes[load.box]
    pinned = None if here.dies < inf else rules.pace.resting(load.moved, fleet.now)
    if load.busy > fleet.now:
        pinned = BUSY
    sites = fleet.trace.notices
    known = [to for to in sites if to == here.site or (here.site, to) in fleet.trace.egress]
    memory = outlook.memory(one, fleet.now)
    return Job(
        name=one.name,
        host=load.box,
        memory=memory,
        arriving=memory,
        cpus=one.cpus,
        arch=ARCH,
        features=frozenset(),
        moves={to: _move(fleet, one, here.site, to) for to in known},
        barred={to: TOO_DEAR for to in sites if to not in known},
        pinned=pinned,
        spot=None if one.spot else NOT_ALLOWED,
        near=one.near,
        apart=one.apart,
        interruption_cost=fleet.worth.interruption + _aftermath(fleet, one),
        min_saving=rules.min_saving,
        payback_s=rules.payback_s,
    )


def _aftermath(fleet: Fleet, one: Workload) -> float:
    """What was begun anew wherever there was room is moved once more."""
    return fleet.worth.pause(fleet.trace.moving.downtime(one.memory.at(fleet.now)))


def _move(fleet: Fleet, one: Workload, source: str, target: str) -> Move:
    moving, memory = fleet.trace.moving, one.memory.at(fleet.now)
    traffic = fleet.traffic(one, source, target)
    pause = moving.downtime(memory)
    wasted = moving.failure_rate * (traffic + fleet.worth.pause(pause))
    return Move(traffic, moving.seconds(memory), pause, fleet.worth.pause(pause), wasted)


def _node(fleet: Fleet, box: Box, dear: Mapping[str, float], outlook: Outlook) -> Node:
    spot, now = box.terms == SPOT, fleet.now
    shunned = spot and outlook.shunned(box.site, box.type, now)
    away = box.dies < inf or shunned
    return Node(
        name=box.name,
        site=box.site,
        memory=box.memory,
        cpus=box.cpus,
        arch=ARCH,
        features=frozenset(),
        hourly=dear[box.offer] if box.removable else 0.0,
        removable=box.removable,
        closed=CALLED_BACK if away else None,
        spot=spot,
        interruptions=outlook.interruptions(box.site, box.type, now) if spot else 0.0,
        doomed=fleet.worth.interruption if away else 0.0,
    )


def _offer(fleet: Fleet, one: Priced, dear: Mapping[str, float], outlook: Outlook) -> Offer:
    kind, spot, now = fleet.trace.by_type[one.site, one.type], one.terms == SPOT, fleet.now
    shut = spot and (
        fleet.trace.out(one.site, one.type, now, now + 1)
        or outlook.shunned(one.site, one.type, now)
    )
    return Offer(
        key=one.key,
        site=one.site,
        type=one.type,
        terms=one.terms,
        memory=kind.memory,
        cpus=kind.cpus,
        arch=ARCH,
        features=frozenset(),
        hourly=dear[one.key],
        most=0 if shut else kind.most,
        boot_s=kind.boot_s,
        interruptions=outlook.interruptions(one.site, one.type, now) if spot else 0.0,
    )
