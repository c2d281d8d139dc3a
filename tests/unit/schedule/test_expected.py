"""What a run expects, from what was seen live: figures, and what each rests on."""

from __future__ import annotations

from decimal import Decimal
from math import exp, inf
from random import Random
from typing import Any

import pytest

from porter.db.base import WorkloadRecord
from porter.db.history import GAP, Course, Past, Span
from porter.domain.money import Quote
from porter.schedule import market
from porter.schedule.expected import Expectations
from porter.schedule.series import Series

HOUR, DAY = 3600.0, 86400.0
NOW = 1000 * DAY
EAST = "aws:east"
KIND = (EAST, "m5.large")
KEY = (EAST, "m5.large", "spot")


def expecting(**seen: Any) -> Expectations:
    return Expectations(Past(**seen), NOW, 2 * DAY)


def quote(amount: str, currency: str = "USD", terms: str = "spot") -> Quote:
    return Quote("m5.large", Decimal(amount), currency, "hour", "", "a test", terms)


def course(looked: float = NOW - HOUR, days: int = 13) -> Course:
    """Around 0.07, wandering, every hour another."""
    chance, value, points = Random(1), 0.0, []
    for hour in range(days * 24, 0, -1):
        value += -0.05 * value + chance.gauss(0, 0.02)
        points.append((NOW - hour * HOUR, Decimal(str(round(0.07 * exp(value), 6)))))
    return Course("USD", looked, tuple(points))


# -- prices


def test_a_price_is_expected_as_the_back_test_expects_it() -> None:
    known = course()
    found = expecting(prices={KEY: known}).price(EAST, quote("0.060"))
    assert found is not None
    times = (*(at for at, _ in known.points), NOW)
    values = (*(float(amount) for _, amount in known.points), 0.060)
    same = market.price(Series(times, values), NOW, 2 * DAY)
    assert float(found.amount) == pytest.approx(same.price, abs=1e-6)
    assert found.amount > Decimal("0.06"), "it is low, and drawn to its mean"
    assert found.why == (
        f"expected {found.amount:.3g} USD/h over 48 h (now 0.06), from 313 prices over 13 days"
    )


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({}, quote("0.06")),
        ({KEY: course()}, quote("0.06", "EUR")),
        ({KEY: course()}, quote("0.06", terms="on_demand")),
        ({KEY: course(NOW - GAP - 1)}, quote("0.06")),
        ({KEY: Course("USD", NOW, ((NOW - DAY, Decimal("0.06")),))}, quote("0.06")),
        ({KEY: Course("USD", NOW, ((NOW, Decimal("0.06")),))}, quote("0.06")),
        ({KEY: course()}, Quote("m5.large", None, "", "hour", "", "unknown", "spot")),
        ({KEY: course()}, quote("0")),
    ],
    ids=["unseen", "currency", "terms", "gap", "constant", "new", "unknown", "free"],
)
def test_where_nothing_was_seen_nothing_is_expected(seen: dict[Any, Course], told: Quote) -> None:
    assert expecting(prices=seen).price(EAST, told) is None


# -- interruptions


def test_the_assumption_is_told_as_one() -> None:
    risk = expecting().interruptions(*KIND)
    assert risk.rate == pytest.approx(market.ASSUMED)
    assert risk.why == "once in 203 days, as is assumed where none was seen"


def test_machines_that_went_together_are_one_interruption() -> None:
    times = (NOW - 9 * DAY, NOW - 9 * DAY + 60, NOW - 5 * DAY)
    spans = (Span(NOW - 12 * DAY, NOW - 5 * DAY), Span(NOW - 10 * DAY, NOW))
    found = expecting(interruptions={KIND: times}, spot={KIND: spans}).interruptions(*KIND)
    seen = market.Seen(2, 12 * DAY)
    assert found.rate == pytest.approx(market.interruptions(seen, seen))
    assert "seen 2 in 12 days of m5.large at aws:east, 2 in 12 days of all types" in found.why


def test_other_types_tell_of_one_that_was_never_seen() -> None:
    other = (EAST, "r5.large")
    spans = {other: (Span(NOW - 20 * DAY, NOW),)}
    found = expecting(
        interruptions={other: tuple(NOW - n * DAY for n in (16, 12, 8, 4))}, spot=spans
    ).interruptions(*KIND)
    assert found.rate > 10 * market.ASSUMED
    assert "seen 0 in 0 h of m5.large" in found.why


# -- memory


def workload(taken: int) -> WorkloadRecord:
    return WorkloadRecord("w1", "shop", "h", "c", "c", 1, "", "redis", taken, (), "running")


def peaks(hours: int, taken: int, last: float = NOW) -> dict[str, tuple[tuple[float, int], ...]]:
    return {"w1": tuple((last - hour * HOUR, taken) for hour in range(hours, 0, -1))}


def test_room_is_what_was_enough_and_a_margin() -> None:
    found = expecting(memory=peaks(8 * 24, 1000)).room(workload(800))
    assert found is not None
    assert found.memory == 1020
    assert found.why == "room for 1.02 kB: what was enough for 95% of 7 days, and 2% more"
    short = expecting(memory=peaks(48, 1000)).room(workload(800))
    assert short is not None
    assert (short.memory, "48 h" in short.why) == (1350, True)


def test_never_less_than_it_takes_now_and_never_above_its_limit() -> None:
    seen = expecting(memory=peaks(8 * 24, 1000))
    found = seen.room(workload(5000))
    assert found is not None
    assert found.memory == 5000
    assert "takes now" in found.why
    found = seen.room(workload(800), limit=1010)
    assert found is not None
    assert found.memory == 1010
    assert "its limit" in found.why
    found = seen.room(workload(2000), limit=1010)
    assert found is not None
    assert found.memory == 2000, "whatever it was started with, it takes that"


@pytest.mark.parametrize("seen", [{}, peaks(23, 1000), peaks(200, 1000, NOW - GAP)])
def test_who_was_not_watched_for_a_day_needs_nothing_in_particular(seen: dict[str, Any]) -> None:
    assert expecting(memory=seen).room(workload(800), inf) is None
