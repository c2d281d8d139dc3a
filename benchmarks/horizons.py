"""How far a run should look ahead: back-tests of Porter alone over horizons and hystereses.

    python -m benchmarks.horizons [--seeds 101 102] [--days 2 7 30] [--json FILE]

Prints the table of docs/economics.md. Half a minute and less for each run of a week.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from porter.schedule.backtest import starts, volatility
from porter.schedule.backtest.backtest import PORTER, play
from porter.schedule.backtest.contenders import DAY, Never, Past, Porter, Rules
from porter.schedule.backtest.replay import Worth
from porter.schedule.optimiser.optimise import optimise

FLEETS = ((volatility.CALM, starts.FOUND), (volatility.MODERATE, starts.PLACED))
MINUTES = (0.5, 5.0)
"""What a minute of pause is worth: as in the other back-tests; and ten times as much, so that
moves off steady machines take days to pay."""
PAYBACK = 3 * DAY


@dataclass(frozen=True)
class Choice:
    days: float
    hysteresis: float
    payback_s: float | None

    @property
    def rules(self) -> Rules:
        horizon_s = self.days * DAY
        plain = replace(Rules(), hysteresis=self.hysteresis, payback_s=self.payback_s)
        return replace(plain, horizon_s=horizon_s)

    @property
    def name(self) -> str:
        pay = "none" if self.payback_s is None else f"{self.payback_s / DAY:.0f} d"
        return f"| {self.days:g} d | {self.hysteresis:.0%} | {pay} "


def choices(days: list[float]) -> Iterator[Choice]:
    for horizon in days:
        yield Choice(horizon, 0.05, PAYBACK)
        yield Choice(horizon, 0.05, None)
        yield Choice(horizon, 0.01, None)


def saving(choice: Choice, level: volatility.Level, fleet: str, minute: float, seed: int) -> float:
    """As a part of what never moving costs."""
    trace, worth, rules = volatility.make(seed, level, fleet), Worth(minute=minute), choice.rules
    never = play(trace, Never(), rules, worth, seed).tally.total
    porter = Porter(rules, optimise, Past(trace, rules.horizon_s), PORTER)
    return 1 - play(trace, porter, rules, worth, seed).tally.total / never


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102])
    parser.add_argument("--days", type=float, nargs="+", default=[2, 7, 30])
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    cells = [(level, fleet, minute) for level, fleet in FLEETS for minute in MINUTES]
    heads = [f"{level.name}, {fleet}, {minute:g} a minute" for level, fleet, minute in cells]
    print(f"| horizon | hysteresis | pay-back | {' | '.join(heads)} |")
    print("|" + "---|" * (3 + len(cells)))
    found: dict[str, list[list[float]]] = {}
    for choice in choices(told.days):
        rows = [
            [saving(choice, level, fleet, minute, seed) for seed in told.seeds]
            for level, fleet, minute in cells
        ]
        found[choice.name] = rows
        print(f"{choice.name}| {' | '.join(f'{mean(row):.0%}' for row in rows)} |", flush=True)
        if told.json:
            told.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
