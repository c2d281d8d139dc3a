"""Traces: what prices, loads and machines did over some days. Plain values, no I/O.

`tracefile` reads and writes them, `volatility` makes them up from a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from porter.domain.errors import Invalid
from porter.schedule.backtest.measured import MoveCosts
from porter.schedule.series import Series

ON_DEMAND, SPOT, OWN = "on_demand", "spot", "own"


def key(site: str, kind: str, terms: str) -> str:
    """As offers are named: SITE/TYPE/TERMS."""
    return f"{site}/{kind}/{terms}"


@dataclass(frozen=True)
class MachineType:
    site: str
    type: str
    memory: int
    """Bytes, for workloads: less what the system takes."""
    cpus: float
    boot_s: float
    most: int
    """So many of each terms at most."""


@dataclass(frozen=True)
class Priced:
    """What one kind of machine cost an hour."""

    site: str
    type: str
    terms: str
    series: Series
    source: str
    as_of: str

    @property
    def key(self) -> str:
        return key(self.site, self.type, self.terms)


@dataclass(frozen=True)
class Rate:
    """Traffic between two sites, per GB (10**9 bytes)."""

    per_gb: float
    source: str
    as_of: str


@dataclass(frozen=True)
class Host:
    """A machine that is there when the trace begins."""

    name: str
    site: str
    type: str
    terms: str
    """`own`: it costs the same whatever is decided, so nothing is reckoned for it."""
    memory: int
    cpus: float


@dataclass(frozen=True)
class Workload:
    name: str
    site: str
    """Where it is begun."""
    host: str
    """Where it is when the trace begins; empty if it arrives later."""
    limit: int
    """It never takes more memory than that, in bytes."""
    cpus: float
    files: int
    """Bytes that go along besides its memory."""
    spot: bool
    """It may run on spot machines."""
    near: str
    apart: str
    arrives: float
    departs: float
    """Seconds since 1970; infinity if it stays."""
    memory: Series


@dataclass(frozen=True)
class Outage:
    """A provider takes all spot machines of one type back, and makes no new ones until it ends."""

    site: str
    type: str
    at: float
    until: float


@dataclass(frozen=True)
class Trace:
    """What happened. What is before `start` is history that a forecast may use."""

    currency: str
    start: float
    end: float
    step_s: float
    note: str
    """What it is: recorded where and when, or generated how."""
    notices: Mapping[str, float]
    """By site: how long before it takes a spot machine back it says so, in seconds."""
    types: tuple[MachineType, ...]
    prices: Mapping[str, Priced]
    egress: Mapping[tuple[str, str], Rate]
    hosts: tuple[Host, ...]
    workloads: tuple[Workload, ...]
    outages: tuple[Outage, ...]
    moving: MoveCosts

    @property
    def days(self) -> float:
        return (self.end - self.start) / 86400

    @cached_property
    def by_type(self) -> Mapping[tuple[str, str], MachineType]:
        return {(one.site, one.type): one for one in self.types}

    def steps(self) -> Iterator[float]:
        """Times at which something may be decided."""
        count = round((self.end - self.start) / self.step_s)
        return (self.start + number * self.step_s for number in range(count))

    def out(self, site: str, kind: str, begin: float, end: float) -> bool:
        """Whether spot machines of a type are not to be had at some moment of begin ≤ t < end."""
        return any(
            one.site == site and one.type == kind and one.at < end and one.until > begin
            for one in self.outages
        )

    def workload_days(self) -> float:
        spans = (
            min(self.end, one.departs) - max(self.start, one.arrives) for one in self.workloads
        )
        return sum(max(0.0, span) for span in spans) / 86400

    def cut(self, start: float | None, end: float | None) -> Trace:
        """The part between two times, as if the fleet stood at `start` as the trace begins, and
        what arrived since arrived then. Raises Invalid."""
        begin = self.start if start is None else start
        stop = self.end if end is None else end
        if not self.start <= begin < stop <= self.end or (begin - self.start) % self.step_s:
            raise Invalid(
                "cannot replay this part of the trace",
                f"let it lie within the trace, and begin a multiple of {self.step_s:g} s after it",
            )
        there = (
            replace(one, arrives=max(begin, one.arrives))
            for one in self.workloads
            if one.departs > begin
        )
        return replace(self, start=begin, end=stop, workloads=tuple(there))


def check(trace: Trace) -> Trace:
    """The trace itself. Raises Invalid if it names what it does not have."""
    _require(trace.start < trace.end and trace.step_s > 0, "it has no time", "from, to, step_s")
    for one in trace.types:
        _require(one.memory > 0 and one.cpus > 0, f"{one.type} at {one.site} is empty", "memory")
    for priced in trace.prices.values():
        _require((priced.site, priced.type) in trace.by_type, f"no machine {priced.key}", "offer")
        _require(min(priced.series.values) > 0, f"a price of {priced.key} is not above 0", "price")
    hosts = {host.name: host for host in trace.hosts}
    for host in trace.hosts:
        known = host.terms == OWN or key(host.site, host.type, host.terms) in trace.prices
        _require(known, f"no price of host {host.name}", "price")
    _require(len(hosts) == len(trace.hosts), "two hosts have one name", "host")
    names = {one.name for one in trace.workloads}
    _require(len(names) == len(trace.workloads), "two workloads have one name", "workload")
    for load in trace.workloads:
        here = load.arrives <= trace.start
        _require(here == (load.host in hosts), f"{load.name} is on no host at first", "host")
        _require(max(load.memory.values) <= load.limit, f"{load.name} takes too much", "limit")
        held = any(
            one.terms == ON_DEMAND and trace.by_type[one.site, one.type].memory >= load.limit
            for one in trace.prices.values()
        )
        _require(held, f"no machine on demand holds {load.name}", "price")
    return trace


def _require(holds: bool, what: str, where: str) -> None:
    if not holds:
        raise Invalid(f"cannot use this trace: {what}", f"look at its {where} records")
