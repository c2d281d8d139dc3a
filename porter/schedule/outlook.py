"""How long moves and their pauses are expected to be: what past moves teach, site by site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from porter.db.base import HostRecord, WorkloadRecord
from porter.domain.estimate import Features, Range
from porter.domain.migration import Mode
from porter.domain.workload import WorkloadSpec
from porter.migrate.forecast import Forecaster
from porter.migrate.plan import choose


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
    """Of one move to some host of a site that is there; a machine that is to be made takes its
    time beside this."""

    downtime_s: Span
    total_s: Span
    wire: Span
    """Bytes."""
    fails: float
    """Probability that it does not succeed."""
    basis: str
    """Where this comes from, for people."""
    doubt: str = ""
    """Why it is no more than a guess; empty if it rests on measurements."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "downtime_s": self.downtime_s.as_dict(),
            "total_s": self.total_s.as_dict(),
            "wire": self.wire.as_dict(),
            "fails": self.fails,
            "basis": self.basis,
            "doubt": self.doubt,
        }


Foretell = Callable[[WorkloadRecord, HostRecord, str, WorkloadSpec | None], Outlook]
"""Takes a workload, its host, a site, and what its last move saw of it, if it ever moved."""


class Estimator(Protocol):
    def learn(self) -> Foretell:
        """Look at what is known now; the answer holds for one run."""
        ...


class Learned:
    """By what past moves came to."""

    def __init__(self, forecaster: Forecaster) -> None:
        self._forecaster = forecaster

    def learn(self) -> Foretell:
        model = self._forecaster.model()

        def foretell(
            workload: WorkloadRecord, source: HostRecord, site: str, spec: WorkloadSpec | None
        ) -> Outlook:
            ranges = model.predict(
                Features(
                    workload=workload.name,
                    source=source.id,
                    target="",
                    source_site=source.site,
                    target_site=site,
                    mode=str(choose(Mode.AUTO)),
                    memory=max(workload.memory_bytes, spec.memory_bytes if spec else 0),
                    files=None if spec is None else spec.file_bytes + spec.shm_bytes,
                    image=0 if spec is None else spec.image.size,
                )
            )
            sure = not ranges.doubt
            return Outlook(
                _span(ranges.downtime_ms, 1000, sure),
                _span(ranges.total_ms, 1000, sure),
                _span(ranges.wire, 1, sure),
                ranges.failure,
                ranges.basis,
                ranges.doubt,
            )

        return foretell


def _span(told: Range, per: float, sure: bool) -> Span:
    low, likely, high = (round(one / per, 4) for one in (told.low, told.likely, told.high))
    return Span(low, likely, high if sure else None)
