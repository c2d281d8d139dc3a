"""What somebody wants moved, and what that comes to now."""

from __future__ import annotations

from dataclasses import dataclass

from porter.db.base import HostRecord, WorkloadRecord
from porter.domain.migration import Mode
from porter.domain.policy import Verdict
from porter.migrate.forecast import Forecast
from porter.migrate.plan import Options, choose
from porter.migrate.predict import Prediction


@dataclass(frozen=True)
class Asked:
    """What somebody wants, as POST /v1/migrations takes it."""

    workload: str
    to: str
    mode: str = Mode.AUTO
    provision: str = "auto"
    release: bool = False
    max_price: str | None = None
    via: str | None = None
    undoes: str = ""
    """The migration that it moves back."""
    instance_type: str = ""
    """The one size that a new machine may be; empty: the cheapest that fits."""
    terms: str = ""
    """`on_demand` or `spot`, for a new machine; empty: on demand."""
    scheduled: bool = False
    """Nobody asked for it: policies refuse what is not known or not sure."""


@dataclass(frozen=True)
class Prospect:
    """A move that could be begun now."""

    asked: Asked
    workload: WorkloadRecord
    source: HostRecord
    target: HostRecord | None
    """None: a host that is to be made at `site`."""
    site: str
    mode: Mode
    options: Options

    @property
    def to(self) -> str:
        return self.site if self.target is None else self.target.name

    @property
    def names(self) -> tuple[str, str]:
        """Of the workload, and of where it would go."""
        return self.workload.name, self.to


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    forecast: Forecast
    expected: Prediction
    policies: dict[str, str]
    """Name -> digest of those that hold."""


def prospect_of(
    asked: Asked, workload: WorkloadRecord, source: HostRecord, target: HostRecord | None
) -> Prospect:
    options = Options(
        # A host that is still to be made has told no facts.
        provision=target is None or target.facts is None,
        release=asked.release,
        max_price=asked.max_price,
        via=asked.via or "",
        undoes=asked.undoes,
        instance_type=asked.instance_type,
        terms=asked.terms,
    )
    site = asked.to if target is None else target.site
    return Prospect(asked, workload, source, target, site, choose(Mode(asked.mode)), options)
