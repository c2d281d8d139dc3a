"""The plan of a move: which steps, in which order, hashed so that nobody changes it silently."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from porter.domain.migration import Mode, StepKind
from porter.migrate.ports import Machines
from porter.migrate.step import Step
from porter.migrate.steps.handover import HandoverStep
from porter.migrate.steps.preflight import Preflight
from porter.migrate.steps.provision import Provision
from porter.migrate.steps.publish import Publish
from porter.migrate.steps.reserve import Reservation
from porter.migrate.steps.rewire import Rewire
from porter.migrate.steps.settle import Settlement
from porter.migrate.steps.sync import Sync

ORDER = (
    StepKind.PROVISION,
    StepKind.PREFLIGHT,
    StepKind.RESERVE,
    StepKind.SYNC,
    StepKind.HANDOVER,
    StepKind.REWIRE,
    StepKind.PUBLISH,
    StepKind.SETTLE,
)
"""In which steps run."""

AFTER_PIVOT = (StepKind.REWIRE, StepKind.PUBLISH, StepKind.SETTLE)
"""Steps that are only ever done, never undone."""


def make_steps(machines: Machines) -> dict[StepKind, Step]:
    """Every step there is."""
    steps: tuple[Step, ...] = (
        Provision(machines),
        Preflight(machines),
        Reservation(machines),
        Sync(),
        HandoverStep(machines),
        Rewire(),
        Publish(machines),
        Settlement(machines),
    )
    return {step.kind: step for step in steps}


@dataclass(frozen=True)
class Options:
    """What else was asked for with a move."""

    provision: bool = False
    """The target host is to be made first."""
    release: bool = False
    """Afterwards the machine that was left is removed, if Porter made it and it stands empty."""
    max_price: str | None = None
    """Most that a new machine may cost an hour, in its site's currency."""
    via: str = ""
    """The store through which the hosts shall talk, though they may reach each other."""
    undoes: str = ""
    """The migration that this one moves back."""
    instance_type: str = ""
    """The one size that the new machine may be; empty: the cheapest that fits."""
    terms: str = ""
    """`on_demand` or `spot`, for the new machine; empty: on demand."""


def choose(mode: Mode) -> Mode:
    """The mode in which a request is carried out: `auto` picks the best there is."""
    return Mode.COLD if mode is Mode.AUTO else mode


def kinds(options: Options) -> tuple[StepKind, ...]:
    """The steps of a move."""
    return tuple(kind for kind in ORDER if options.provision or kind is not StepKind.PROVISION)


def plan(
    workload: str, source: str, target: str, mode: Mode, options: Options = Options()
) -> dict[str, object]:
    return {
        "workload": workload,
        "from": source,
        "to": target,
        "mode": str(mode),
        "steps": [str(kind) for kind in kinds(options)],
        **{key: value for key, value in vars(options).items() if value},
    }


def plan_hash(content: dict[str, object]) -> str:
    """SHA-256 over the canonical JSON form."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
