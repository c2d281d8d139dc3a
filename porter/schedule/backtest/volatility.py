"""Made-up traces: dated prices, spot prices that fluctuate, loads that breathe; all from a seed.

Prices of machines and traffic are those of the snapshot that comes with Porter. No list of spot
prices comes with it, so they are made up: the logarithm of each follows a process that is drawn to
a mean and jumps at times. The mean itself drifts, so that no forecast knows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import exp, inf, log, pi, sin
from random import Random

from porter.domain.errors import Invalid
from porter.domain.site import SiteKind
from porter.providers.prices import snapshot
from porter.schedule.backtest import starts
from porter.schedule.backtest.measured import MoveCosts
from porter.schedule.backtest.traces import (
    ON_DEMAND,
    SPOT,
    MachineType,
    Outage,
    Priced,
    Rate,
    Trace,
    Workload,
    check,
)
from porter.schedule.series import Series, flat

GIB = 1 << 30
HOUR, DAY = 3600.0, 86400.0
START = datetime(2026, 11, 2, tzinfo=UTC).timestamp()
"""A Monday."""
SYSTEM = GIB
"""Memory of a machine that workloads do not get."""


@dataclass(frozen=True)
class Level:
    """How restless a market is. Rates are a day, for each type of machine at each site."""

    name: str
    sigma: float
    """Standard deviation of a spot price's logarithm after one day, if nothing drew it back."""
    drift: float
    """The same of the mean that it is drawn to."""
    half_life_d: float
    """Days after which half of a deviation from the mean is gone."""
    jumps: float
    jump: float
    """Standard deviation of a jump, in the logarithm; three of four go up."""
    outages: float
    """How often a provider takes all spot machines of a type back."""


CALM = Level("calm", 0.004, 0.002, 4.0, 0.0, 0.0, 0.005)
MODERATE = Level("moderate", 0.04, 0.015, 3.0, 0.05, 0.2, 0.03)
ROUGH = Level("rough", 0.15, 0.05, 1.5, 0.3, 0.4, 0.2)
LEVELS = {one.name: one for one in (CALM, MODERATE, ROUGH)}

REGIONAL = 0.5
"""Share of the variance that all types of one site have in common."""
SPOT_SHARE = (0.28, 0.48)
"""A spot price's mean, as a fraction of on demand."""
MEASURED = MoveCosts(
    15.0,
    8.0,
    0.6,
    5.5,
    1.0,
    0.02,
    8,
    "README: make demo-clouds and make bench-cold; all cold moves",
)
"""A cold move, as the README tells it was measured, with bytes that do not compress (those measured
shrank to a quarter), and a failure rate that is assumed."""

_SITES = (
    (
        SiteKind.AWS,
        "us-east-1",
        120.0,
        60.0,
        (("m5.xlarge", 4, 16), ("m5.2xlarge", 8, 32), ("r5.xlarge", 4, 32)),
    ),
    (
        SiteKind.AZURE,
        "eastus",
        30.0,
        90.0,
        (("Standard_D4s_v5", 4, 16), ("Standard_D8s_v5", 8, 32), ("Standard_E4s_v5", 4, 32)),
    ),
    (
        SiteKind.GCP,
        "us-east1",
        30.0,
        45.0,
        (("n2-standard-4", 4, 16), ("e2-standard-4", 4, 16), ("e2-highmem-4", 4, 32)),
    ),
)
"""Kind, region, how long before an interruption it is told, how long a machine boots (both in
seconds), and types: name, cores, GiB. Around Virginia and South Carolina."""
OWN_SITE = "onprem"
SITES = tuple(f"{kind}:{region}" for kind, region, *_ in _SITES)


@dataclass(frozen=True)
class Size:
    """Of what is made up."""

    days: float = 7.0
    history_d: float = 14.0
    """Of prices, before the trace begins."""
    step_s: float = HOUR
    workloads: int = 40
    turnover: float = 0.25
    """Share of the workloads that arrive after the beginning; as many leave before the end."""
    spot: float = 0.5
    """Share of the workloads that may run on spot machines."""


def make(seed: int, level: Level, start: str = starts.FOUND, size: Size | None = None) -> Trace:
    """A trace. The same arguments make the same trace. `start`: one of `starts.STARTS`."""
    size = size or Size()
    if start == starts.SETTLED:
        size = replace(size, turnover=0.0)
    end = START + size.days * DAY
    outages = tuple(_outages(seed, level, size))
    prices = {one.key: one for one in _prices(seed, level, size, outages)}
    types = tuple(_types())
    loads = tuple(_workload(seed, number, size) for number in range(size.workloads))
    hosts, loads = starts.place(start, types, prices, loads, START)
    note = f"generated: seed {seed}, {level.name}, fleet {start}"
    notices = {f"{kind}:{region}": notice for kind, region, notice, *_ in _SITES} | {OWN_SITE: 0.0}
    return check(
        Trace(
            "USD",
            START,
            end,
            size.step_s,
            note,
            notices,
            types,
            prices,
            dict(_egress()),
            hosts,
            loads,
            outages,
            MEASURED,
        )
    )


def level_named(name: str) -> Level:
    """Raises Invalid."""
    if name not in LEVELS:
        raise Invalid(f"cannot make prices up: no volatility is called {name}", ", ".join(LEVELS))
    return LEVELS[name]


def _types() -> Iterable[MachineType]:
    for kind, region, _, boot, types in _SITES:
        for name, cpus, gib in types:
            memory = gib * GIB - SYSTEM
            yield MachineType(f"{kind}:{region}", name, memory, float(cpus), boot, 3)


def _outages(seed: int, level: Level, size: Size) -> Iterable[Outage]:
    """Aligned to the trace's steps; also in its history, where a forecast may count them."""
    for kind, region, *_, types in _SITES:
        for name, *_ in types:
            chance = Random(f"{seed}/outage/{region}/{name}")
            time = START - size.history_d * DAY
            while True:
                time += size.step_s * max(
                    1, round(chance.expovariate(level.outages / DAY) / size.step_s)
                )
                if time >= START + size.days * DAY:
                    break
                until = time + size.step_s * chance.randint(1, 6)
                yield Outage(f"{kind}:{region}", name, time, until)
                time = until


def _prices(seed: int, level: Level, size: Size, outages: Iterable[Outage]) -> Iterable[Priced]:
    begin = START - size.history_d * DAY
    steps = round((size.history_d + size.days) * DAY / size.step_s)
    times = tuple(begin + number * size.step_s for number in range(steps))
    for kind, region, *_, types in _SITES:
        site = f"{kind}:{region}"
        common = Random(f"{seed}/site/{site}")
        shocks = [common.gauss(0, 1) for _ in times]
        for name, *_ in types:
            told = snapshot.quote(kind, region, name, ON_DEMAND)
            if told is None or told.amount is None:
                raise Invalid(f"cannot make prices up: the snapshot has none of {name} in {region}")
            full = float(told.amount)
            yield Priced(site, name, ON_DEMAND, flat(full, begin), told.source, told.as_of)
            taken = {one.at for one in outages if (one.site, one.type) == (site, name)}
            chance = Random(f"{seed}/price/{site}/{name}")
            short = [time in taken for time in times]
            walk = _walk(chance, shocks, level, size.step_s, short)
            base = full * chance.uniform(*SPOT_SHARE)
            values = tuple(round(min(full, base * exp(x)), 5) for x in walk)
            source = f"made up from {told.source}, seed {seed}, {level.name}"
            yield Priced(site, name, SPOT, Series(times, values), source, told.as_of)


def _walk(
    chance: Random, shocks: list[float], level: Level, step_s: float, short: list[bool]
) -> Iterable[float]:
    """Logarithms. When capacity runs short the price jumps too."""
    days = step_s / DAY
    back = 1 - 0.5 ** (days / level.half_life_d)
    own, shared = (1 - REGIONAL) ** 0.5, REGIONAL**0.5
    value = mean = 0.0
    for shock, out in zip(shocks, short, strict=True):
        mean += level.drift * days**0.5 * chance.gauss(0, 1)
        noise = shared * shock + own * chance.gauss(0, 1)
        value += back * (mean - value) + level.sigma * days**0.5 * noise
        if chance.random() < level.jumps * days or out:
            size = abs(chance.gauss(0, level.jump))
            value += size if chance.random() < 0.75 else -size
        yield value


def _workload(seed: int, number: int, size: Size) -> Workload:
    chance = Random(f"{seed}/load/{number}")
    peak = min(10.0, max(0.4, exp(chance.gauss(log(2.0), 0.7)))) * GIB
    late = number < size.workloads * size.turnover
    leaves = number >= size.workloads * (1 - size.turnover)
    end = START + size.days * DAY
    steps = round(size.days * DAY / size.step_s)
    arrives = START + size.step_s * chance.randrange(1, steps) if late else START
    departs = START + size.step_s * chance.randrange(1, steps) if leaves else inf
    memory = _memory(chance, peak, arrives, min(end, departs), size.step_s)
    return Workload(
        name=f"w{number:02d}",
        site=chance.choice((*SITES, *SITES, OWN_SITE)) if not late else chance.choice(SITES),
        host="",
        limit=round(1.15 * max(memory.values)),
        cpus=round(max(0.1, peak / GIB / 8 * chance.uniform(0.5, 1.2)), 2),
        files=round(chance.uniform(0.1, 1.5) * GIB),
        spot=chance.random() < size.spot,
        near="",
        apart=f"pair-{number // 2}" if number % 8 < 2 else "",
        arrives=arrives,
        departs=departs,
        memory=memory,
    )


def _memory(chance: Random, peak: float, arrives: float, end: float, step_s: float) -> Series:
    """Day and night, quieter weekends, and noise that lasts some hours. Those that are there at the
    beginning have a week of history."""
    depth = chance.choice((0.1, 0.25, 0.45))
    """What it takes less at night."""
    phase = chance.uniform(-3, 3) * HOUR
    begin = arrives - (7 * DAY if arrives == START else 0.0)
    times, values, noise = [], [], 0.0
    for number in range(round((end - begin) / step_s)):
        time = begin + number * step_s
        noise += 0.3 * -noise + 0.03 * chance.gauss(0, 1)
        day = 0.5 + 0.5 * sin(2 * pi * ((time + phase) % DAY - 8 * HOUR) / DAY)
        weekend = 0.5 if datetime.fromtimestamp(time, UTC).weekday() >= 5 else 1.0
        share = 1 - depth + depth * day * weekend + noise
        times.append(time)
        values.append(float(round(peak * max(0.2, share))))
    return Series(tuple(times), tuple(values))


def _egress() -> Iterable[tuple[tuple[str, str], Rate]]:
    """The first tier: nobody knows what else the account has sent in the month."""
    for kind, region, *_ in _SITES:
        for to_kind, to_region, *_ in _SITES:
            told = snapshot.tariff(kind, region, to_kind, to_region)
            if told is not None and kind is not to_kind:
                rate = Rate(float(told.tiers[0].per_gb), told.source, told.as_of)
                yield (f"{kind}:{region}", f"{to_kind}:{to_region}"), rate
        told = snapshot.tariff(kind, region, SiteKind.ONPREM, "")
        if told is not None:
            rate = Rate(float(told.tiers[0].per_gb), told.source, told.as_of)
            yield (f"{kind}:{region}", OWN_SITE), rate
        yield (OWN_SITE, f"{kind}:{region}"), Rate(0.0, "assumed: a line that is paid flat", "")
