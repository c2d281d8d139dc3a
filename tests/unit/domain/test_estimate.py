"""Forecasts of moves: ordered, narrower with experience, and right as often as they say."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from math import exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.domain.estimate import (
    NONE,
    SHARE,
    Features,
    Model,
    Past,
    Range,
    Ranges,
    accuracy,
    predict,
)

MB, GB = 10**6, 10**9
SHOP = Features("shop", "h1", "h2", "onprem", "aws", "cold", GB, 100 * MB)


def simulated(seed: int, noise: float = 0.25) -> Callable[[], Past]:
    """A fleet whose moves follow other laws than the rough model, with noise on each."""
    rng = random.Random(seed)
    workloads = {f"w{n}": (rng.randint(10 * MB, 4 * GB), rng.gauss(0, 0.4)) for n in range(8)}
    links = [(f"h{n}", f"h{n + 1}", f"s{n}", f"s{n + 1}", rng.uniform(1e7, 2e8)) for n in range(4)]

    def blur(spread: float) -> float:
        return exp(rng.gauss(0, spread))

    def move() -> Past:
        name = rng.choice(list(workloads))
        memory, habit = workloads[name]
        here, there, site, other, rate = rng.choice(links)
        memory = int(memory * blur(0.1))
        known = Features(name, here, there, site, other, "cold", memory, memory // 10)
        wire = 0.33 * memory * exp(habit / 2) * blur(noise / 2)
        sent = wire / rate * blur(noise / 2)
        pause = (0.4 + memory / 6e8 + sent) * exp(habit / 2) * blur(noise)
        total = pause + 6 * blur(noise)
        return Past(known, True, pause * 1000, total * 1000, wire, wire, sent * 1000)

    return move


def figures(told: Ranges) -> tuple[Range, Range, Range]:
    return told.downtime_ms, told.total_ms, told.wire


def width(told: Range) -> float:
    return log(told.high / told.low)


sizes = st.integers(0, 2**40)
features = st.builds(
    Features,
    st.sampled_from(["shop", "card"]),
    st.sampled_from(["h1", "h2"]),
    st.sampled_from(["", "h3"]),
    st.sampled_from(["onprem", "aws"]),
    st.sampled_from(["onprem", "aws"]),
    st.sampled_from(["cold", "live", "restart"]),
    sizes,
    st.none() | sizes,
    sizes,
    st.booleans(),
)
measured = st.none() | st.floats(0, 1e12)
pasts = st.builds(
    Past,
    features,
    st.booleans(),
    measured,
    measured,
    measured,
    st.floats(0, 1e12),
    st.floats(0, 1e9),
)


@settings(max_examples=60, deadline=None)
@given(features, st.lists(pasts, max_size=8))
def test_ranges_are_ordered_whatever_was_measured(move: Features, history: list[Past]) -> None:
    told = predict(move, history)
    for one in figures(told):
        assert 0 < one.low <= one.likely <= one.high < float("inf")
    assert 0 < told.failure < 1
    assert told.basis
    assert sum(told.counts.values()) <= len(history)


@pytest.mark.parametrize("experience", [5, 40, 200])
def test_a_range_of_80_percent_holds_70_to_95(experience: int) -> None:
    """Over many fleets, as one fleet's own luck says little."""
    inside, asked = [0, 0, 0], 0
    for seed in range(30):
        move = simulated(seed)
        model = Model([move() for _ in range(experience)])
        for _ in range(10):
            real = move()
            told = figures(model.predict(real.features))
            came = (real.downtime_ms, real.total_ms, real.wire)
            for which, (said, figure) in enumerate(zip(told, came, strict=True)):
                assert figure is not None
                inside[which] += said.low <= figure <= said.high
            asked += 1
    shares = [count / asked for count in inside]
    assert all(0.70 <= share <= 0.95 for share in shares), shares


def widths(seed: int) -> list[float]:
    """How wide the ranges of one move are without, with some and with much history."""
    move = simulated(seed, noise=0.15)
    history = [move() for _ in range(160)]
    return [
        sum(width(one) for one in figures(predict(history[0].features, history[:count])))
        for count in (0, 20, 160)
    ]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_history_narrows(seed: int) -> None:
    none, some, many = widths(seed)
    assert max(some, many) < none


def test_more_history_narrows_more() -> None:
    """Over many fleets: the first moves of a single one may by chance have been all alike."""
    _, some, many = map(sum, zip(*map(widths, range(30)), strict=True))
    assert many < 0.7 * some


def test_what_was_never_measured_is_a_guess_and_says_so() -> None:
    told = predict(SHOP, [])
    assert told.doubt == "no cold move was ever measured here"
    assert told.doubt in told.basis
    assert "never measured, and so is assumed" in told.basis
    assert told.downtime_ms.high / told.downtime_ms.likely > 3
    moved = Past(SHOP, True, 900.0, 9000.0, 1e8, 1e8, 500.0)
    other = replace(SHOP, workload="card", files=None)
    known = predict(other, [moved])
    assert known.doubt == "how much its files take is guessed: no move has looked at them yet"
    assert "1 move between the same places" in known.basis
    assert "the two hosts, measured by 1 move" in known.basis
    assert predict(replace(SHOP, target="h9"), [moved]).basis.count("the two sites") == 1
    assert predict(SHOP, [moved]).doubt == ""


def test_the_nearest_moves_count_most() -> None:
    def moved(features: Features, ms: float) -> Past:
        return Past(features, True, ms, ms * 4, 1e8)

    fleet = [moved(replace(SHOP, workload=f"x{n}", source="a", source_site="b"), 900) for n in "12"]
    pair = [moved(replace(SHOP, workload=f"y{n}"), 9000) for n in "1234"]
    own = [moved(SHOP, 90_000) for _ in range(4)]
    likely = [predict(SHOP, past).downtime_ms.likely for past in (fleet, pair + fleet)]
    likely.append(predict(SHOP, own + pair + fleet).downtime_ms.likely)
    assert likely[0] < 2000 < likely[1] < 10_000 < 60_000 < likely[2] < 90_000
    assert predict(SHOP, own + pair + fleet).counts == {"workload": 4, "pair": 4, "fleet": 2}


def test_a_slow_link_is_reckoned_with_for_other_sizes_too() -> None:
    """Small moves teach the rate of the link; a large one takes its time accordingly."""

    def sent(rate: float) -> list[Past]:
        small = replace(SHOP, workload="small", memory=50 * MB, files=0)
        wire = 0.35 * small.memory
        ms = wire / rate * 1000
        return [Past(small, True, 375 + ms, 4000 + ms, wire, wire, ms) for _ in range(20)]

    slow, fast = (predict(SHOP, sent(rate)).downtime_ms.likely for rate in (2e6, 2e8))
    assert slow > 20 * fast
    assert 100_000 < slow < 300_000  # 385 MB at 2 MB/s, and some more


def test_other_modes_and_failures_say_nothing_of_the_pause() -> None:
    live = Past(replace(SHOP, mode="live"), True, 20.0, 9000.0, 1e8)
    broken = Past(SHOP, False, 1.0, 1.0, 1.0)
    for history in ([live], [broken]):
        assert figures(predict(SHOP, history)) == figures(predict(SHOP, []))
    often = predict(SHOP, [broken] * 5).failure
    assert predict(SHOP, []).failure < 0.05 < often
    elsewhere = replace(SHOP, workload="z", source="q", source_site="q")
    assert predict(elsewhere, [broken] * 5).failure < often


def test_how_good_forecasts_were() -> None:
    assert accuracy([]) == NONE
    said = Range(5.0, 10.0, 20.0)
    told = accuracy([(said, 10.0), (said, 20.0), (said, 40.0), (said, 5.0)])
    assert told.count == 4
    assert told.median == pytest.approx(log(2))
    assert told.p90 == pytest.approx(log(4))
    assert told.inside == 0.75
    assert SHARE == 0.8
