"""What a move is expected to come to, as the REST API gives it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class RangeOut(BaseModel):
    """Four of five lie between `low` and `high`."""

    low: float
    likely: float
    high: float


class CostOut(BaseModel):
    """Of the traffic, once. Amounts are null where nobody can tell: `source` then says why."""

    low: str | None
    likely: str | None
    high: str | None
    currency: str
    source: str
    as_of: str


class ForecastOut(BaseModel):
    """What a move will come to."""

    downtime_ms: RangeOut
    total_ms: RangeOut
    wire: RangeOut
    """Bytes."""
    cost: CostOut
    failure: float
    """Probability that it is undone or fails."""
    known: bool
    """It rests on moves that were measured; else it is no more than a guess."""
    basis: str

    @classmethod
    def of(cls, told: dict[str, Any] | None) -> ForecastOut | None:
        return None if told is None else cls.model_validate(told)
