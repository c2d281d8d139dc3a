"""Where the workloads of a made-up trace are when it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from porter.domain.errors import Invalid
from porter.schedule.backtest.traces import OWN, SPOT, Host, MachineType, Priced, Workload

FOUND = "found"
"""As fleets grow: each workload on a machine on demand where it was begun, as they came."""
PLACED = "placed"
"""By somebody who chose well at the first day's prices, wherever it is cheapest, spot included."""
SETTLED = "settled"
"""The same by somebody who knew how much memory each would really take; and nothing arrives or
leaves. The least is to be saved."""
STARTS = (FOUND, PLACED, SETTLED)
OWN_HOSTS = 1
OWN_MEMORY = 32 << 30
OWN_CPUS = 16.0


@dataclass
class _Bin:
    host: Host
    tight: bool
    memory: float
    cpus: float
    marks: set[str]

    def fits(self, load: Workload) -> bool:
        if load.apart and load.apart in self.marks:
            return False
        if self.host.terms == SPOT and not load.spot:
            return False
        return self.size(load) <= self.memory and load.cpus <= self.cpus

    def size(self, load: Workload) -> float:
        return max(load.memory.values) if self.tight else load.limit

    def take(self, load: Workload) -> Workload:
        self.memory -= self.size(load)
        self.cpus -= load.cpus
        self.marks.add(load.apart)
        return replace(load, host=self.host.name)


def place(
    start: str,
    types: Sequence[MachineType],
    prices: Mapping[str, Priced],
    loads: Sequence[Workload],
    time: float,
) -> tuple[tuple[Host, ...], tuple[Workload, ...]]:
    """Hosts, and the workloads with those that are there at `time` on a host. First fit by limits,
    so that a fleet which never moves never runs out of memory. Raises Invalid."""
    if start not in STARTS:
        raise Invalid(f"cannot begin with a fleet that is {start}", ", ".join(STARTS))
    racks = [
        Host(f"rack{n}", "onprem", "rack", OWN, OWN_MEMORY, OWN_CPUS)
        for n in range(1, OWN_HOSTS + 1)
    ]
    bins = [_Bin(host, start == SETTLED, host.memory, host.cpus, set()) for host in racks]
    here = [load for load in loads if load.arrives <= time]
    if start != FOUND:
        here.sort(key=lambda load: -load.limit)
    placed: dict[str, Workload] = {}
    for load in here:
        found = _first(start, bins, load)
        if found is None:
            found = _new(start, types, prices, load, time, len(bins))
            bins.append(found)
        placed[load.name] = found.take(load)
    used = {load.host for load in placed.values()}
    hosts = tuple(one.host for one in bins if one.host.terms == OWN or one.host.name in used)
    return hosts, tuple(placed.get(load.name, load) for load in loads)


def _first(start: str, bins: Sequence[_Bin], load: Workload) -> _Bin | None:
    near = (one for one in bins if start != FOUND or one.host.site == load.site)
    return next((one for one in near if one.fits(load)), None)


def _new(
    start: str,
    types: Sequence[MachineType],
    prices: Mapping[str, Priced],
    load: Workload,
    time: float,
    number: int,
) -> _Bin:
    sizes = {(one.site, one.type): one for one in types}
    best: tuple[float, Priced] | None = None
    for one in prices.values():
        kind = sizes[one.site, one.type]
        if one.terms == SPOT and (start == FOUND or not load.spot):
            continue
        home = start != FOUND or load.site in (one.site, "onprem")
        if not home or kind.memory < load.limit or kind.cpus < load.cpus:
            continue
        price = one.series.at(time)
        rank = price / kind.memory if start != FOUND else price
        if best is None or rank < best[0]:
            best = (rank, one)
    if best is None:
        raise Invalid(f"cannot place {load.name}: no machine holds it")
    one = best[1]
    kind = sizes[one.site, one.type]
    host = Host(f"h{number:02d}", one.site, one.type, one.terms, kind.memory, kind.cpus)
    return _Bin(host, start == SETTLED, kind.memory, kind.cpus, set())
