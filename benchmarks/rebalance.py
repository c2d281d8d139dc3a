"""`make bench-rebalance`: how good the optimiser's plans are, how far from proven, and how slow.

Fleets are made up from fixed seeds (`benchmarks/fleets.py`). The time is all of it, wall clock:
arrays, programs, search, order of moves, and why each job stays. The gap is between the plan's
cost and the proven bound, over the plan's cost; nodes that nobody can end count in neither. Every
plan is held against the independent checker, outside the time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.fleets import KINDS, fleet
from porter.schedule.optimiser.evaluate import violations
from porter.schedule.optimiser.optimise import optimise

SEEDS = (1, 2, 3, 4, 5)
GOAL = 0.01


@dataclass(frozen=True)
class Row:
    kind: str
    seed: int
    jobs: int
    hosts: int
    seconds: float
    stay: float
    cost: float
    bound: float
    gap: float
    bundles: int
    moves: int
    waves: int
    broken: int
    load: float
    """Of the machine, before: what else it had to do."""


@dataclass(frozen=True)
class Size:
    name: str
    jobs: int
    hosts: int
    types: int
    seconds: float
    """All of it must be done within so long."""


SMALL = Size("1,000 x 100 x 100", 1000, 100, 100, 5.0)
LARGE = Size("10,000 x 1,000 x 200", 10_000, 1000, 200, 60.0)


def measure(size: Size, kind: str, seed: int) -> Row:
    problem = fleet(kind, seed, size.jobs, size.hosts, size.types)
    load = os.getloadavg()[0]
    began = time.perf_counter()
    answer = optimise(problem, seconds=size.seconds * 0.98)
    seconds = time.perf_counter() - began
    return Row(
        kind,
        seed,
        size.jobs,
        size.hosts,
        seconds,
        answer.stay_cost,
        answer.cost,
        answer.bound,
        answer.gap,
        len(answer.bundles),
        sum(len(bundle.steps) for bundle in answer.bundles),
        max((len(bundle.waves) for bundle in answer.bundles), default=0),
        len(violations(problem, answer.bundles)),
        load,
    )


def show(size: Size, rows: list[Row]) -> None:
    table = Table(title=f"{size.name} (jobs, hosts, kinds of machines), {len(rows)} fleets")
    for column in ("fleet", "seconds", "worst", "stay", "plan", "saved", "gap", "worst", "moves"):
        table.add_column(column, justify="left" if column == "fleet" else "right")
    kinds = dict.fromkeys(row.kind for row in rows)
    for kind in [*kinds, "all"]:
        some = [row for row in rows if kind in (row.kind, "all")]
        stay, cost = (
            statistics.median(row.stay for row in some),
            statistics.median(row.cost for row in some),
        )
        table.add_row(
            kind,
            f"{statistics.median(row.seconds for row in some):.2f}",
            f"{max(row.seconds for row in some):.2f}",
            f"{stay:.0f}",
            f"{cost:.0f}",
            f"{100 * statistics.median(1 - row.cost / row.stay for row in some):.0f} %",
            f"{100 * statistics.median(row.gap for row in some):.2f} %",
            f"{100 * max(row.gap for row in some):.2f} %",
            f"{statistics.median(row.moves for row in some):.0f}",
        )
    Console().print(table)


def main() -> None:
    """Run it; exit code 1 if a plan breaks a rule or took too long. The gap is only told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="so many of the seeds")
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of fleets")
    parser.add_argument("--size", choices=("small", "large", "both"), default="both")
    parser.add_argument("--seconds", type=float, help="time for each, instead of 5 and 60")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    done: list[Row] = []
    failed = False
    for name, size, seeds in (
        ("small", SMALL, SEEDS[: options.seeds]),
        ("large", LARGE, SEEDS[:1]),
    ):
        if options.size not in (name, "both"):
            continue
        size = replace(size, seconds=options.seconds or size.seconds)
        rows = []
        for kind in kinds:
            for seed in seeds:
                rows.append(measure(size, kind, seed))
                Console().print(rows[-1])
        show(size, rows)
        late = [row for row in rows if row.seconds > size.seconds]
        broken = [row for row in rows if row.broken]
        close = sum(row.gap <= GOAL for row in rows)
        print(f"{close} of {len(rows)} are proven to be within {100 * GOAL:.0f} % (the goal: all)")
        print(f"{len(late)} took longer than {size.seconds:.0f} s, {len(broken)} break a rule")
        failed = failed or bool(late or broken)
        done += rows
    if options.out:
        options.out.write_text(json.dumps([asdict(row) for row in done], indent=1))
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
