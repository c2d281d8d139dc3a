"""Back-tests over days with the real optimiser: what docs/economics.md promises, in small."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porter.schedule.backtest import volatility
from porter.schedule.backtest.backtest import Outcome, compare
from porter.schedule.backtest.contenders import Rules
from porter.schedule.backtest.starts import FOUND, PLACED
from porter.schedule.optimiser.optimise import optimise

SIZE = volatility.Size(days=4.0, history_d=7.0, workloads=16)
RULES = replace(Rules(), every_s=6 * 3600.0, think_s=0.3)


def outcome(seed: int, level: str, start: str) -> Outcome:
    trace = volatility.make(seed, volatility.LEVELS[level], start, SIZE)
    return compare(trace, optimise, RULES, seed=seed)


@pytest.mark.parametrize("seed", [11, 12])
def test_porter_saves_nearly_what_could_be_saved(seed: int) -> None:
    found = outcome(seed, "moderate", FOUND)
    porter = found.porter
    assert found.saving(porter) > 0
    share = found.share(porter)
    assert share is not None
    assert share >= 0.9
    assert porter.most_in_a_day <= 2, "a workload rests twelve hours after a move"
    assert porter.moves_per_day <= 1
    assert found.bound <= found.clairvoyant.tally.total


def test_porter_costs_no_more_than_never_moving_where_little_is_to_be_saved() -> None:
    found = outcome(13, "calm", PLACED)
    assert found.porter.tally.total <= found.never.tally.total + 1e-9
