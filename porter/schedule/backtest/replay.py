"""A fleet in a trace: what happens to it whether or not anybody decides, and what moves cost.

The same for all contenders. Money is reckoned as it would be billed: machines by the second (a
minute at least) at the price of the moment, source and target both while a move lasts, traffic by
what leaves. A provider's notice, a full machine and a move that fails cost what they cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random

from porter.domain.errors import Exhausted
from porter.schedule.backtest.measured import GB
from porter.schedule.backtest.traces import ON_DEMAND, OWN, SPOT, Priced, Trace, Workload, key
from porter.schedule.market import INTERRUPTED_S
from porter.schedule.optimiser.model import Step

LEAST_BILLED_S = 60.0


@dataclass(frozen=True)
class Worth:
    """What pauses are worth, in the trace's currency."""

    minute: float = 0.5
    """Of pause of one workload."""
    restart_s: float = INTERRUPTED_S
    """A workload whose machine was taken away pauses so long: it begins anew elsewhere."""

    def pause(self, seconds: float) -> float:
        return seconds / 60 * self.minute

    @property
    def interruption(self) -> float:
        return self.pause(self.restart_s)


@dataclass
class Box:
    """A machine."""

    name: str
    site: str
    type: str
    terms: str
    memory: int
    cpus: float
    since: float
    until: float = inf
    """When it is given back."""
    dies: float = inf
    """When its provider takes it away, as far as it has said so."""

    @property
    def offer(self) -> str:
        return key(self.site, self.type, self.terms)

    @property
    def removable(self) -> bool:
        return self.terms != OWN


@dataclass
class Load:
    """A workload that is there."""

    workload: Workload
    box: str
    moved: float | None = None
    """When its last move began."""
    busy: float = -inf
    """Until then it is being moved."""
    moves: int = 0


@dataclass
class Tally:
    """What it came to."""

    machines: float = 0.0
    egress: float = 0.0
    downtime: float = 0.0
    interruptions: float = 0.0
    """What pauses of these two kinds are worth."""
    moves: int = 0
    failed: int = 0
    interrupted: int = 0
    pause_s: float = 0.0
    begun: list[float] = field(default_factory=list)
    spent: list[tuple[float, float]] = field(default_factory=list)
    """Time and cost of all that is paid once."""

    @property
    def total(self) -> float:
        return self.machines + self.egress + self.downtime + self.interruptions


class Fleet:
    """Where everything is at one moment of the trace. `seed` decides which moves fail: the n-th
    move of a workload fails for all contenders or for none."""

    def __init__(self, trace: Trace, worth: Worth, seed: int) -> None:
        self.trace = trace
        self.worth = worth
        self.now = trace.start
        self.tally = Tally()
        self.boxes: dict[str, Box] = {}
        self.gone: list[Box] = []
        self.loads: dict[str, Load] = {}
        self._seed = seed
        self._number = 0
        self.made: dict[str, str] = {}
        """Names that those who decide gave machines -> what these are called here, the latest."""
        self.moved: dict[str, list[float]] = {}
        """By workload: when moves of it began."""
        self._waiting = sorted(
            (one for one in trace.workloads if not one.host), key=lambda one: -one.arrives
        )
        for host in trace.hosts:
            place = (host.name, host.site, host.type, host.terms, host.memory, host.cpus)
            self.boxes[host.name] = Box(*place, since=trace.start)
        for one in trace.workloads:
            if one.host:
                self.loads[one.name] = Load(one, one.host)

    # -- looking

    def on(self, box: str) -> list[Load]:
        return [load for load in self.loads.values() if load.box == box]

    def taken(self, box: str) -> float:
        """Memory that its workloads take at this moment."""
        return sum(load.workload.memory.at(self.now) for load in self.on(box))

    def promised(self, box: str) -> int:
        """Memory up to the limits of its workloads."""
        return sum(load.workload.limit for load in self.on(box))

    def may(self, load: Workload, box: Box, memory: float) -> bool:
        """Whether it may be sent to, or begun on, a machine, with that much memory still free."""
        here = self.on(box.name)
        cpus = sum(one.workload.cpus for one in here)
        return (
            box.dies == inf
            and memory >= load.limit
            and cpus + load.cpus <= box.cpus
            and (box.terms != SPOT or load.spot)
            and not (load.apart and any(load.apart == one.workload.apart for one in here))
        )

    # -- what happens by itself

    def advance(self, now: float) -> None:
        """Take the fleet to a step of the trace: what left, what is told, what ran full, what
        came."""
        self.now = now
        for name in [n for n, one in self.loads.items() if one.workload.departs <= now]:
            del self.loads[name]
        self.give_back(now)
        for box in self.boxes.values():
            if box.terms == SPOT and box.dies == inf and self._called_back(box):
                box.dies = now + self.trace.notices[box.site]
        for box in list(self.boxes.values()):
            self._spill(box)
        while self._waiting and self._waiting[-1].arrives <= now:
            one = self._waiting.pop()
            self.loads[one.name] = Load(one, self._settle(one, one.site, now))

    def reap(self) -> None:
        """Machines that their provider takes away go; what is still there begins anew."""
        for box in [one for one in self.boxes.values() if one.dies < inf]:
            box.until = min(box.until, box.dies)
            for load in self.on(box.name):
                self._interrupt(load, box.dies)
            self._drop(box)

    def give_back(self, at: float) -> None:
        """Machines on which nothing is."""
        used = {load.box for load in self.loads.values()}
        for box in list(self.boxes.values()):
            if box.removable and box.name not in used:
                box.until = max(at, box.since)
                self._drop(box)

    def close(self) -> Tally:
        """The end: what machines came to."""
        self.gone += self.boxes.values()
        self.boxes.clear()
        self.tally.machines = sum(self._rent(box, self.trace.end) for box in self.gone)
        return self.tally

    def costs(self, times: Iterable[float]) -> Iterator[tuple[float, float]]:
        """What it had come to by these times, after `close`."""
        for time in times:
            once = sum(cost for at, cost in self.tally.spent if at <= time)
            yield time, once + sum(self._rent(box, time) for box in self.gone)

    def _rent(self, box: Box, by: float) -> float:
        """What a machine came to by a time."""
        if box.terms == OWN:
            return 0.0
        end = min(by, self.trace.end, max(box.until, box.since + LEAST_BILLED_S))
        series = self.trace.prices[box.offer].series
        return series.mean(box.since, end) * max(0.0, end - box.since) / 3600

    def _called_back(self, box: Box) -> bool:
        out = self.trace.outages
        return any((o.site, o.type, o.at) == (box.site, box.type, self.now) for o in out)

    def _drop(self, box: Box) -> None:
        del self.boxes[box.name]
        self.gone.append(box)

    def _spill(self, box: Box) -> None:
        """Too little memory: the smallest that makes room is killed, and begins anew elsewhere."""
        while (over := self.taken(box.name) - box.memory) > 0:
            here = sorted(self.on(box.name), key=lambda one: one.workload.memory.at(self.now))
            enough = [one for one in here if one.workload.memory.at(self.now) >= over]
            self._interrupt((enough or here[::-1])[0], self.now, box.name)

    def _interrupt(self, load: Load, at: float, avoid: str = "") -> None:
        site = self.boxes[load.box].site
        load.box = ""
        load.box = self._settle(load.workload, site, at, avoid)
        self.tally.interrupted += 1
        self.tally.pause_s += self.worth.restart_s
        self.tally.interruptions += self.worth.interruption
        self.tally.spent.append((at, self.worth.interruption))

    def _settle(self, one: Workload, site: str, at: float, avoid: str = "") -> str:
        """Where a workload begins: where there is room up to its limit at the site, else on a new
        machine on demand, the cheapest there that holds it, else the cheapest anywhere."""
        for box in self.boxes.values():
            room = box.memory - self.promised(box.name)
            if box.site == site and box.name != avoid and self.may(one, box, room):
                return box.name
        best: tuple[bool, float, Priced] | None = None
        for priced in self.trace.prices.values():
            kind = self.trace.by_type[priced.site, priced.type]
            if priced.terms != ON_DEMAND or kind.memory < one.limit or kind.cpus < one.cpus:
                continue
            rank = (priced.site != site, priced.series.at(at), priced)
            if best is None or rank[:2] < best[:2]:
                best = rank
        if best is None:
            raise Exhausted(f"cannot place {one.name}: no machine on demand holds it")
        return self._make(best[2], at).name

    def _make(self, priced: Priced, at: float) -> Box:
        self._number += 1
        kind = self.trace.by_type[priced.site, priced.type]
        name = f"m{self._number}"  # unlike any name that those who decide may give
        place = (name, priced.site, priced.type, priced.terms, kind.memory, kind.cpus)
        self.boxes[name] = Box(*place, since=at)
        return self.boxes[name]

    # -- moves

    def carry_out(self, waves: Iterable[Sequence[Step]], within_s: float) -> None:
        """Move: wave after wave, all of one at once. Waves that would begin after `within_s` are
        left out. Targets are names of boxes, or `OFFER_KEY#N` of machines to be made."""
        made: dict[str, Box] = {}
        clock = self.now
        for wave in waves:
            if clock - self.now >= within_s:
                break
            clock += self._wave(wave, clock, made)
            self.give_back(clock)

    def _wave(self, wave: Sequence[Step], clock: float, made: dict[str, Box]) -> float:
        """Returns how long it lasts."""
        room = {name: box.memory - self.taken(name) for name, box in self.boxes.items()}
        length, leaving = 0.0, list[tuple[Load, str]]()
        for step in wave:
            load = self.loads.get(step.job)
            if load is None or load.box != step.source or load.busy > clock:
                continue
            boot = 0.0
            target = self.boxes.get(step.target) or made.get(step.target)
            if target is None:
                target = self._make(self.trace.prices[step.target.rpartition("#")[0]], clock)
                made[step.target] = target
                self.made[step.target] = target.name
                room[target.name] = target.memory
            if target.since == clock and step.target in made:
                boot = self.trace.by_type[target.site, target.type].boot_s
            needs = 2 * load.workload.memory.at(self.now)
            if target.name not in self.boxes or room[target.name] < needs:
                continue  # refused before anything is sent
            room[target.name] -= needs
            length = max(length, self._move(load, target, clock + boot, leaving) - clock)
        for load, name in leaving:
            load.box = name
        return length

    def _move(
        self, load: Load, target: Box, begin: float, leaving: list[tuple[Load, str]]
    ) -> float:
        """One move. Returns when it ends."""
        source, moving = self.boxes[load.box], self.trace.moving
        memory = load.workload.memory.at(self.now)
        end = begin + moving.seconds(memory)
        if end > source.dies:
            return begin  # too late: there is nothing to be saved any more
        load.moves += 1
        load.moved, load.busy = self.now, end
        self.moved.setdefault(load.workload.name, []).append(self.now)
        pause = moving.downtime(memory)
        traffic = self.traffic(load.workload, source.site, target.site)
        once = self.worth.pause(pause) + traffic
        tally = self.tally
        tally.moves += 1
        tally.begun.append(self.now)
        tally.egress += traffic
        tally.pause_s += pause
        tally.downtime += self.worth.pause(pause)
        tally.spent.append((begin, once))
        if Random(f"{self._seed}/{load.workload.name}/{load.moves}").random() < moving.failure_rate:
            tally.failed += 1  # rolled back: it goes on where it was, and all has been paid
        else:
            leaving.append((load, target.name))
        return end

    def traffic(self, one: Workload, source: str, target: str) -> float:
        """What a move costs for its bytes."""
        if source == target:
            return 0.0
        memory = one.memory.at(self.now)
        wire = (memory + one.files) * self.trace.moving.wire_per_byte
        return wire / GB * self.trace.egress[source, target].per_gb
