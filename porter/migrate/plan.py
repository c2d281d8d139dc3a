"""The plan of a move: which steps, in which order, hashed so that nobody changes it silently."""

from __future__ import annotations

import hashlib
import json

from porter.domain.migration import Mode, StepKind
from porter.migrate.step import Step
from porter.migrate.steps.handover import HandoverStep
from porter.migrate.steps.preflight import Preflight
from porter.migrate.steps.reserve import Reservation
from porter.migrate.steps.rewire import Rewire
from porter.migrate.steps.settle import Settlement
from porter.migrate.steps.sync import Sync

STEPS: dict[StepKind, Step] = {
    StepKind.PREFLIGHT: Preflight(),
    StepKind.RESERVE: Reservation(),
    StepKind.SYNC: Sync(),
    StepKind.HANDOVER: HandoverStep(),
    StepKind.REWIRE: Rewire(),
    StepKind.SETTLE: Settlement(),
}
"""In the order in which they run."""

AFTER_PIVOT = (StepKind.REWIRE, StepKind.SETTLE)
"""Steps that are only ever done, never undone."""


def choose(mode: Mode) -> Mode:
    """The mode in which a request is carried out: `auto` picks the best there is."""
    return Mode.COLD if mode is Mode.AUTO else mode


def plan(workload: str, source: str, target: str, mode: Mode) -> dict[str, object]:
    return {
        "workload": workload,
        "from": source,
        "to": target,
        "mode": str(mode),
        "steps": [str(kind) for kind in STEPS],
    }


def plan_hash(content: dict[str, object]) -> str:
    """SHA-256 over the canonical JSON form."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
