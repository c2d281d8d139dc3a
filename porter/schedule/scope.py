"""What a run of the optimiser is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from porter.db.base import WorkloadRecord
from porter.domain.identity import FLEET
from porter.domain.scheduling import HORIZON_S, HYSTERESIS


@dataclass(frozen=True)
class Scope:
    """What a run may move, and how far it looks."""

    project: str = FLEET
    """FLEET: workloads of all projects."""
    workloads: tuple[str, ...] = ("*",)
    horizon_s: float = HORIZON_S
    hysteresis: float = HYSTERESIS
    """What a proposal must save at least: a part of what the machines cost that it leaves."""
    most_moves: int = 20
    currency: str = ""
    """Empty: the one in which most prices are told."""
    seconds: float = 5.0
    """So long the optimiser may think."""
    dry_run: bool = False

    def covers(self, workload: WorkloadRecord) -> bool:
        mine = self.project in (FLEET, workload.project)
        return mine and any(fnmatchcase(workload.name, one) for one in self.workloads)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "workloads": list(self.workloads)}

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Scope:
        known = {name: spec[name] for name in cls.__dataclass_fields__ if name in spec}
        return cls(**{**known, "workloads": tuple(known.get("workloads", ("*",)))})
