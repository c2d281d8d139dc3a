"""A trace so small that its sums can be reckoned by hand: two sites, one type of machine each."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from porter.schedule.backtest.measured import GB, MoveCosts
from porter.schedule.backtest.traces import (
    ON_DEMAND,
    SPOT,
    Host,
    MachineType,
    Priced,
    Rate,
    Trace,
    Workload,
    key,
)
from porter.schedule.series import Series, flat

HOUR = 3600.0
NORTH, SOUTH = "aws:north", "gcp:south"
SOUTH_SPOT = key(SOUTH, "small", SPOT)
SOUTH_OWN = key(SOUTH, "small", ON_DEMAND)
NORTH_OWN = key(NORTH, "big", ON_DEMAND)
MOVING = MoveCosts(60.0, 30.0, 1.0, 2.0, 1.0, 0.0, 3, "a test")
"""A workload of 2 GB moves in 120 s and pauses for 5 s."""


def priced(site: str, kind: str, terms: str, series: Series) -> tuple[str, Priced]:
    return key(site, kind, terms), Priced(site, kind, terms, series, "a test", "2026-11-01")


def load(name: str = "shop", **changes: Any) -> Workload:
    one = Workload(
        name, NORTH, "n1", 4 * GB, 1.0, GB, True, "", "", 0.0, inf, flat(2.0 * GB, -100 * HOUR)
    )
    return replace(one, **changes)


def trace(*loads: Workload, hours: float = 10, **changes: Any) -> Trace:
    """Ten hours: 1 an hour in the north; 0.4 in the south on demand and 0.1 on spot. A GB between
    them is 0.02."""
    types = (
        MachineType(NORTH, "big", 16 * GB, 8.0, 60.0, 4),
        MachineType(SOUTH, "small", 8 * GB, 4.0, 60.0, 4),
    )
    prices = dict(
        (
            priced(NORTH, "big", ON_DEMAND, flat(1.0, -48 * HOUR)),
            priced(SOUTH, "small", ON_DEMAND, flat(0.4, -48 * HOUR)),
            priced(SOUTH, "small", SPOT, flat(0.1, -48 * HOUR)),
        )
    )
    made = Trace(
        currency="USD",
        start=0.0,
        end=hours * HOUR,
        step_s=HOUR,
        note="by hand",
        notices={NORTH: 120.0, SOUTH: 120.0},
        types=types,
        prices=prices,
        egress={(a, b): Rate(0.02, "a test", "") for a, b in ((NORTH, SOUTH), (SOUTH, NORTH))},
        hosts=(Host("n1", NORTH, "big", ON_DEMAND, 16 * GB, 8.0),),
        workloads=loads or (load(),),
        outages=(),
        moving=MOVING,
    )
    return replace(made, **changes)
