"""How far a run should look ahead: back-tests of Porter alone over horizons and hystereses.

    python -m benchmarks.horizons [--seeds 101 …] [--levels moderate …] [--fleets found …]
                                  [--days 2 7 30] [--weeks 1] [--minute 0.5] [--think 0.5]

Prints a line for each choice: what it saves of what never moving costs, on average and at worst.
Takes up to half a minute for each choice, seed, level and fleet.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from statistics import mean

from porter.schedule.backtest import starts, volatility
from porter.schedule.backtest.backtest import PORTER, Run, play
from porter.schedule.backtest.contenders import DAY, Never, Past, Porter, Rules
from porter.schedule.backtest.replay import Worth
from porter.schedule.backtest.traces import Trace
from porter.schedule.optimiser.optimise import optimise

OTHERS = ((0.05, 3 * DAY), (0.05, None), (0.01, None))
"""Hysteresis, and within how many seconds a move must pay back."""


def choices(days: Iterable[float], think_s: float) -> Iterator[Rules]:
    for horizon, (hysteresis, payback_s) in product(days, OTHERS):
        yield replace(
            Rules(),
            horizon_s=horizon * DAY,
            hysteresis=hysteresis,
            payback_s=payback_s,
            think_s=think_s,
        )


def saving(trace: Trace, rules: Rules, worth: Worth, seed: int) -> tuple[float, Run]:
    """As a part of what never moving costs."""
    never = play(trace, Never(), rules, worth, seed).tally.total
    porter = Porter(rules, optimise, Past(trace, rules.horizon_s), PORTER)
    run = play(trace, porter, rules, worth, seed)
    return 1 - run.tally.total / never, run


def line(rules: Rules, found: list[tuple[float, Run]]) -> str:
    pay = "none" if rules.payback_s is None else f"{rules.payback_s / DAY:.0f} d"
    shares = [share for share, _ in found]
    moves = mean(run.tally.moves for _, run in found)
    told = f"{rules.horizon_s / DAY:g} d | {rules.hysteresis:.0%} | {pay}"
    return f"| {told} | {mean(shares):.0%} | {min(shares):.0%} | {moves:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--levels", nargs="+", default=["moderate", "rough"])
    parser.add_argument("--fleets", nargs="+", default=[starts.FOUND, starts.PLACED])
    parser.add_argument("--days", type=float, nargs="+", default=[2, 7, 30])
    parser.add_argument("--weeks", type=int, default=1)
    parser.add_argument("--minute", type=float, default=Worth().minute)
    parser.add_argument("--think", type=float, default=0.5)
    told = parser.parse_args()
    worth, size = Worth(minute=told.minute), volatility.Size(days=7.0 * told.weeks)
    print("| horizon | hysteresis | pay-back | saves | worst | moves |\n|---|---|---|---|---|---|")
    for rules in choices(told.days, told.think):
        found = [
            saving(
                volatility.make(seed, volatility.level_named(level), fleet, size),
                *(rules, worth, seed),
            )
            for fleet, level, seed in product(told.fleets, told.levels, told.seeds)
        ]
        print(line(rules, found), flush=True)


if __name__ == "__main__":
    main()
