"""Back-tests: a trace replayed for several contenders under the same rules, and what it came to.

Porter decides by the optimiser and the acceptance that run live. What it is told is what could be
known at that moment: `market` says what is expected, `pace` how often may be moved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from porter.schedule.backtest import bound
from porter.schedule.backtest.contenders import (
    Contender,
    Future,
    Greedy,
    Never,
    Optimise,
    Past,
    Porter,
    Rules,
)
from porter.schedule.backtest.replay import Fleet, Tally, Worth
from porter.schedule.backtest.standing import Standing, plans
from porter.schedule.backtest.traces import Trace
from porter.schedule.optimiser.model import HOUR

FORESIGHTS = (48 * HOUR,)
"""How far those look who know the future."""
NEVER, GREEDY, PORTER, CLAIRVOYANT = "never moving", "greedy rule", "Porter", "clairvoyant"


@dataclass(frozen=True)
class Run:
    """One contender on one trace."""

    name: str
    tally: Tally
    moves_per_day: float
    """Of one workload, on average."""
    most_in_a_day: int
    """Moves of one workload in 24 hours, at most."""
    costs: tuple[tuple[float, float], ...]
    """Time, and what it had come to by then."""


@dataclass(frozen=True)
class Outcome:
    """All contenders on one trace."""

    trace: Trace
    never: Run
    greedy: Run
    porter: Run
    clairvoyant: Run
    """The cheapest plan found by somebody who knows the future; Porter's, if nothing else is
    cheaper."""
    bound: float
    """Nothing can cost less."""

    @property
    def runs(self) -> tuple[Run, ...]:
        return (self.never, self.greedy, self.porter, self.clairvoyant)

    def saving(self, run: Run) -> float:
        return self.never.tally.total - run.tally.total

    def share(self, run: Run) -> float | None:
        """Of what the clairvoyant saves; None if there is next to nothing to be saved."""
        return self._share(run, self.saving(self.clairvoyant))

    def share_of_bound(self, run: Run) -> float | None:
        """Of what is left when the bound is taken off."""
        return self._share(run, self.never.tally.total - self.bound)

    def _share(self, run: Run, most: float) -> float | None:
        return None if most < 0.001 * self.never.tally.total else self.saving(run) / most

    def as_dict(self) -> dict[str, Any]:
        return {
            "trace": self.trace.note,
            "currency": self.trace.currency,
            "days": self.trace.days,
            "bound": round(self.bound, 4),
            "contenders": [self._row(run) for run in self.runs],
        }

    def _row(self, run: Run) -> dict[str, Any]:
        tally, share, of_bound = run.tally, self.share(run), self.share_of_bound(run)
        return {
            "name": run.name,
            "cost": round(tally.total, 4),
            "machines": round(tally.machines, 4),
            "egress": round(tally.egress, 4),
            "downtime": round(tally.downtime, 4),
            "interruptions": round(tally.interruptions, 4),
            "saving": round(self.saving(run), 4),
            "share_of_clairvoyant": None if share is None else round(share, 4),
            "share_of_bound": None if of_bound is None else round(of_bound, 4),
            "moves": tally.moves,
            "failed": tally.failed,
            "moves_per_workload_day": round(run.moves_per_day, 4),
            "most_moves_of_one_in_a_day": run.most_in_a_day,
            "pause_minutes": round(tally.pause_s / 60, 2),
            "interrupted": tally.interrupted,
        }


Progress = Callable[[str, float], None]
"""Told who runs, and which fraction of all is done."""


def compare(
    trace: Trace,
    optimise: Optimise,
    rules: Rules | None = None,
    worth: Worth | None = None,
    seed: int = 0,
    progress: Progress = lambda _name, _done: None,
) -> Outcome:
    """All contenders on one trace. `seed` decides which moves fail. Takes minutes."""
    rules, worth = rules or Rules(), worth or Worth()
    seers = [_seer(trace, optimise, rules, horizon_s) for horizon_s in FORESIGHTS]
    porter = Porter(rules, optimise, Past(trace, rules.horizon_s), PORTER)
    contenders: list[Contender] = [Never(), Greedy(rules), porter, *seers]
    contenders += [Standing(rules, plan) for plan in plans(trace, worth)]
    runs = []
    for number, one in enumerate(contenders):

        def told(fraction: float, number: int = number, name: str = one.name) -> None:
            progress(name, (number + fraction) / len(contenders))

        runs.append(play(trace, one, rules, worth, seed, told))
    best = min(runs, key=lambda run: run.tally.total)
    return Outcome(
        trace,
        never=runs[0],
        greedy=runs[1],
        porter=runs[2],
        clairvoyant=replace(best, name=CLAIRVOYANT),
        bound=bound.shared(trace, worth),
    )


def _seer(trace: Trace, optimise: Optimise, rules: Rules, horizon_s: float) -> Porter:
    """It trusts what it sees: no hysteresis, no pay-back."""
    sure = replace(rules, horizon_s=horizon_s, hysteresis=0.0, payback_s=None, min_saving=0.0)
    return Porter(sure, optimise, Future(trace, horizon_s, rules.every_s), CLAIRVOYANT)


def play(
    trace: Trace,
    contender: Contender,
    rules: Rules,
    worth: Worth,
    seed: int,
    told: Callable[[float], None] = lambda _fraction: None,
) -> Run:
    """One contender from the trace's beginning to its end."""
    fleet = Fleet(trace, worth, seed)
    steps = list(trace.steps())
    unrest = 0
    """Interruptions when it was decided last: after some, it is decided anew in the next step."""
    for number, now in enumerate(steps):
        fleet.advance(now)
        due = (now - trace.start) % rules.every_s == 0 or fleet.tally.interrupted > unrest
        if due or any(box.dies < inf for box in fleet.boxes.values()):
            unrest = fleet.tally.interrupted
            fleet.carry_out(contender.decide(fleet), trace.step_s)
        fleet.reap()
        told((number + 1) / len(steps))
    tally = fleet.close()
    days = trace.workload_days()
    return Run(
        contender.name,
        tally,
        tally.moves / days if days else 0.0,
        max((_densest(times) for times in fleet.moved.values()), default=0),
        tuple(fleet.costs(steps)),
    )


def _densest(times: Sequence[float]) -> int:
    """Most of them within 24 hours."""
    return max(sum(0 <= other - time < 24 * HOUR for other in times) for time in times)
