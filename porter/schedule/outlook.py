"""How long a move is expected to take, and how long the pause: the seam for the forecasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from porter.db.base import WorkloadRecord

ASSUMED = 50e6
"""Bytes per second that the plain outlook takes for granted."""


@dataclass(frozen=True)
class Span:
    """`high` None: nobody knows how bad it can get."""

    low: float
    likely: float
    high: float | None

    def as_dict(self) -> dict[str, float | None]:
        return {"low": self.low, "likely": self.likely, "high": self.high}


@dataclass(frozen=True)
class Outlook:
    """Of one move."""

    downtime_s: Span
    total_s: Span
    fails: float
    """Probability that it does not succeed."""
    basis: str
    """Where this comes from, for people."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "downtime_s": self.downtime_s.as_dict(),
            "total_s": self.total_s.as_dict(),
            "fails": self.fails,
            "basis": self.basis,
        }


class Estimator(Protocol):
    def outlook(
        self, workload: WorkloadRecord, source: str, target: str, sized: int, now: float
    ) -> Outlook:
        """Of a move between two sites that sends at most `sized` bytes."""
        ...


class Assumed:
    """Without any experience: what the bytes alone say, and no word on how bad it can get."""

    def outlook(
        self, workload: WorkloadRecord, source: str, target: str, sized: int, now: float
    ) -> Outlook:
        pause = 0.2 + workload.memory_bytes / ASSUMED
        whole = 5.0 + sized / ASSUMED
        return Outlook(
            Span(pause / 2, pause, None),
            Span(whole / 2, whole, None),
            0.01,
            f"assumed: {ASSUMED / 1e6:.0f} MB/s; no move of it has been measured",
        )
