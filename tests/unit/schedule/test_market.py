"""What is expected of prices, machines and memory rests on the past alone."""

from __future__ import annotations

from math import exp
from random import Random

import pytest

from porter.schedule import market
from porter.schedule.backtest.pace import Pace
from porter.schedule.market import Room, Seen
from porter.schedule.series import Series, flat

HOUR, DAY = 3600.0, 86400.0


def walk(days: int, last: float, pull: float = 0.03, seed: int = 1) -> Series:
    """A price around 1 that ends at `last`."""
    chance, value, values = Random(seed), 0.0, []
    for _ in range(days * 24):
        value += -pull * value + chance.gauss(0, 0.02)
        values.append(exp(value))
    return Series(tuple(hour * HOUR for hour in range(len(values))), (*values[:-1], last))


def test_a_price_that_never_changed_is_expected_to_stay() -> None:
    found = market.price(flat(0.2), 10 * DAY, DAY)
    assert (found.price, found.error) == (0.2, 0.0)


@pytest.mark.parametrize(("last", "sign"), [(0.7, 1), (1.4, -1)])
def test_a_price_far_from_its_mean_is_expected_to_return_in_part(last: float, sign: int) -> None:
    past = walk(14, last)
    soon, later = (market.price(past, past.times[-1], span).price for span in (DAY, 5 * DAY))
    assert 0 < sign * (soon - last) < sign * (later - last) < sign * (1 - last)


def test_the_future_is_not_looked_at() -> None:
    past = walk(10, 0.8)
    now = past.times[-1]
    more = Series((*past.times, now + HOUR), (*past.values, 99.0))
    assert market.price(more, now, DAY) == market.price(past, now, DAY)


def test_a_price_that_was_hardly_watched_is_expected_to_stay() -> None:
    past = Series((0.0, HOUR, 2 * HOUR), (1.0, 1.0, 0.5))
    assert market.price(past, 2 * HOUR, DAY).price == pytest.approx(0.5, rel=0.1)


def test_it_is_told_how_many_prices_it_rests_on() -> None:
    past = walk(13, 1.0)
    found = market.price(past, past.times[-1], DAY)
    assert (found.count, found.span_s) == (13 * 24, 13 * DAY - HOUR)


def test_a_price_that_was_changed_for_good_does_not_return() -> None:
    """As lists on demand do: a step, and then nothing."""
    past = Series((0.0, 10 * DAY), (0.10, 0.08))
    assert market.price(past, 13 * DAY, 7 * DAY).price == pytest.approx(0.08, rel=0.01)


def test_noise_is_told_and_grows_with_the_horizon() -> None:
    past = walk(14, 1.0)
    near, far = (market.price(past, past.times[-1], span).error for span in (DAY, 4 * DAY))
    assert 0.02 < near < far == pytest.approx(2 * near)


def test_where_no_machine_was_seen_the_assumption_holds() -> None:
    assert market.interruptions(Seen(), Seen()) == pytest.approx(market.ASSUMED)


def test_interruptions_that_were_seen_count_the_more_the_longer() -> None:
    quiet = [market.interruptions(Seen(0, n * DAY), Seen(0, n * DAY)) for n in (1, 10, 100)]
    assert market.ASSUMED > quiet[0] > quiet[1] > quiet[2] > 0
    rough = Seen(20, 100 * DAY)
    assert market.interruptions(rough, rough) == pytest.approx(1 / 5 / 24, rel=0.1)


def test_a_type_that_was_hardly_seen_is_taken_to_be_like_the_others() -> None:
    others = Seen(20, 100 * DAY)
    usual = market.interruptions(Seen(), others)
    assert usual == pytest.approx(20.1 / (100 + 0.1 / market.ASSUMED / 24) / 24)
    assert market.interruptions(Seen(0, 5 * DAY), others) < usual
    assert market.interruptions(Seen(3, 5 * DAY), others) > usual


def memory(past: Series, now: float, limit: int) -> int | None:
    room = market.memory(past, now, limit)
    return None if room is None else room.memory


def test_memory_is_what_is_nearly_always_enough_and_never_above_the_limit() -> None:
    past = Series((0.0, 10 * HOUR, 30 * HOUR, 32 * HOUR), (100.0, 400.0, 800.0, 200.0))
    assert memory(past, 13 * HOUR, 1000) is None, "it was not watched for a day yet"
    assert memory(past, 31 * HOUR, 2000) == 800, "what it takes now is the least"
    assert memory(past, 40 * HOUR, 2000) == 1080, "it was not watched for a week yet"
    assert memory(past, 40 * HOUR, 900) == 900
    assert memory(past, 7 * DAY + HOUR, 2000) == 408, "two hours are left out"
    assert memory(past, 9 * DAY, 2000) == 204


def test_it_is_told_what_the_room_rests_on() -> None:
    past = Series((0.0, 10 * HOUR, 30 * HOUR, 32 * HOUR), (100.0, 400.0, 800.0, 200.0))
    assert market.memory(past, 31 * HOUR, 2000) == Room(800, 31 * HOUR, market.WIDE)
    assert market.memory(past, 9 * DAY, 2000) == Room(204, 7 * DAY, market.MARGIN)


def test_a_workload_rests_after_a_move() -> None:
    pace = Pace(6 * HOUR, 2, 5)
    bar = pace.resting(0.0, 2 * HOUR)
    assert bar is not None
    assert (bar.rule, "240 min" in bar.remedy) == ("cool-down", True)
    assert pace.resting(0.0, 6 * HOUR) is None
    assert pace.resting(None, 0.0) is None


def test_moves_are_counted_by_the_hour_and_by_the_day() -> None:
    pace = Pace(0.0, 2, 5)
    assert pace.left([], DAY) == 2
    assert pace.left([DAY - 60], DAY) == 1
    assert pace.left([DAY - 60, DAY], DAY) == 0
    assert pace.left([5 * HOUR + n for n in range(5)], DAY) == 0
    assert pace.left([5 * HOUR + n for n in range(5)], 2 * DAY) == 2
