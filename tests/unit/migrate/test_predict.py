"""Forecasts as documents, held against receipts."""

from __future__ import annotations

import json
from decimal import Decimal
from math import log
from typing import Any

import pytest

from porter.domain.estimate import Features, Past, Range, predict
from porter.domain.money import Tariff, Tier
from porter.migrate.predict import Cost, Prediction, errors, judged, shown

FEATURES = Features("shop", "h1", "h2", "a", "b", "cold", 10**9, 10**6)
PAST = [Past(FEATURES, True, 2000.0, 9000.0, 3e8, 3e8, 1500.0)] * 9
TARIFF = Tariff((Tier(Decimal(0), Decimal("0.09")),), "USD", "2026-09-06", "list")
RANGE = {"low": 1.0, "likely": 2.0, "high": 4.0}


def prediction(cost: Cost, past: list[Past] = PAST) -> Prediction:
    return Prediction(FEATURES, predict(FEATURES, past), cost)


def test_costs_follow_the_bytes_on_the_wire() -> None:
    cost = Cost.of(TARIFF, Range(1e9, 2e9, 4e9))
    assert (cost.low, cost.likely, cost.high) == (
        Decimal("0.090000"),
        Decimal("0.180000"),
        Decimal("0.360000"),
    )
    assert cost.as_dict()["likely"] == "0.180000"
    unknown = Cost.of(Tariff((), "USD", "", "nobody"), Range(1, 2, 3))
    assert (unknown.low, unknown.source) == (None, "nobody")


def test_what_policies_are_told() -> None:
    told = prediction(Cost.of(TARIFF, Range(1e9, 2e9, 4e9)))
    assert told.downtime().known
    assert told.downtime().likely == pytest.approx(Decimal(2), abs=Decimal("0.2"))
    assert (told.once().high, told.once().unit) == (Decimal("0.36"), "USD")
    guessed = prediction(Cost.of(TARIFF, Range(1e9, 2e9, 4e9)), [])
    assert not guessed.downtime().known
    assert "no cold move was ever measured" in guessed.once().doubt
    nothing = Decimal(0)
    free = prediction(Cost(nothing, nothing, nothing, "", "one site"), [])
    assert free.once().known, "what costs nothing costs nothing however many bytes it is"
    assert prediction(Cost.unknown("no tariff")).once().doubt == "no tariff"


def test_what_is_kept_can_be_written_and_is_shown_without_the_models_part() -> None:
    kept = prediction(Cost.unknown("no tariff")).as_dict()
    assert json.loads(json.dumps(kept)) == kept
    assert kept["features"] == {"memory": 10**9, "files": 10**6, "image": 0}
    public = shown(kept)
    assert public is not None
    assert set(kept) - set(public) == {"features"}
    assert shown(None) is None


def receipt(**changes: Any) -> dict[str, Any]:
    whole = {
        "downtime_ms": 3.0,
        "total_ms": 8.0,
        "bytes": {"wire": 1},
        "cost": {"egress": {"amount": "2.5", "currency": "USD"}},
    }
    return {**whole, **changes}


FORECAST = {
    "downtime_ms": RANGE,
    "total_ms": RANGE,
    "wire": RANGE,
    "cost": {"low": "1", "likely": "2", "high": "4", "currency": "USD"},
}


def test_errors_are_ratios_of_what_is_known() -> None:
    assert errors(FORECAST, receipt()) == {
        "downtime": 1.5,
        "total": 4.0,
        "wire": 0.5,
        "cost": 1.25,
    }
    less = receipt(downtime_ms=None, bytes={}, cost={"egress": {"amount": None}})
    assert errors(FORECAST, less) == {"total": 4.0}
    other = {"egress": {"amount": "2.5", "currency": "EUR"}}
    assert "cost" not in errors(FORECAST, receipt(cost=other)), "currencies are never compared"
    free = FORECAST | {"cost": {"low": "0", "likely": "0", "high": "0", "currency": ""}}
    assert "cost" not in errors(free, receipt())
    assert errors(None, receipt()) == {}


def test_how_good_they_were_figure_by_figure() -> None:
    found = judged([(FORECAST, receipt()), (FORECAST, receipt(downtime_ms=None)), ({}, receipt())])
    assert found["downtime"].count == 1
    assert found["downtime"].inside == 1.0
    assert found["total"].count == 2
    assert found["total"].inside == 0.0
    assert found["total"].median == pytest.approx(log(4))
