"""/v1/forecasts: how good past forecasts were."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from porter.domain.estimate import SHARE, Accuracy
from porter.migrate.predict import judged
from porter.web.access import Caller
from porter.web.api.common import PROBLEMS, SECURED, Control

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["forecasts"])


class FigureOut(BaseModel):
    count: int
    """Moves of which both the forecast and the figure are known and not 0."""
    median: float | None
    """Of |log ratio| of figure and forecast: half were off by less than the factor e**median."""
    p90: float | None
    inside: float | None
    """Share of figures that lay within the range."""

    @classmethod
    def of(cls, told: Accuracy) -> FigureOut:
        return cls(count=told.count, median=told.median, p90=told.p90, inside=told.inside)


class AccuracyOut(BaseModel):
    share: float = SHARE
    """Of figures that are meant to lie within a range."""
    moves: int
    """That succeeded and have a forecast."""
    downtime: FigureOut
    total: FigureOut
    wire: FigureOut
    cost: FigureOut


@router.get("/forecasts/accuracy")
def accuracy(
    control: Control,
    caller: Caller,
    workload: Annotated[str | None, Query(min_length=1, max_length=255)] = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> AccuracyOut:
    """How good the forecasts of the newest moves were, of those that the caller may see."""
    kept = control.forecasts.kept(caller.projects(), workload, limit)
    told = judged([(one.forecast, one.receipt) for one in kept])
    figures: dict[str, Any] = {name: FigureOut.of(one) for name, one in told.items()}
    return AccuracyOut(moves=len(kept), **figures)
