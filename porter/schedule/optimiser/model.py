"""What the optimiser is asked and what it answers: plain values, no I/O.

All money is in one currency (`Problem.currency`), as floats: what people are shown is reckoned anew
from exact prices. Memory is in bytes, time in seconds, prices are per hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HOUR = 3600.0


@dataclass(frozen=True)
class Bar:
    """Why something cannot be, and what would change that."""

    rule: str
    """Stable, kebab-case: `residency`, `cool-down`, `memory`, `cpu`, `spot`, `max-downtime` …"""
    why: str
    remedy: str


@dataclass(frozen=True)
class Move:
    """What one move of a job to one site costs, and how long it takes."""

    egress: float
    seconds: float
    """From its beginning to its end, source and target both held."""
    downtime_s: float
    downtime_cost: float
    """What its policy says that the pause is worth."""
    failure_cost: float
    """Probability that it fails times what that costs."""

    @property
    def cost(self) -> float:
        return self.egress + self.downtime_cost + self.failure_cost


@dataclass(frozen=True)
class Job:
    """A workload."""

    name: str
    host: str
    """Name of the node where it is."""
    memory: int
    arriving: int
    """Further memory that it takes while it arrives at a node."""
    cpus: float
    arch: str
    features: frozenset[str]
    """CPU flags that its tasks may use."""
    moves: Mapping[str, Move]
    """By site; a site that is missing here must be in `barred`."""
    barred: Mapping[str, Bar] = field(default_factory=dict)
    """By site: why it may not go there (policies, unknown prices)."""
    pinned: Bar | None = None
    """Why it may not move at all now (cool-down, it is moving, closed window)."""
    spot: Bar | None = None
    """Why it may not run on spot machines; None if it may."""
    near: str = ""
    """Jobs of the same mark must be at one site."""
    apart: str = ""
    """No two jobs of the same mark may be on one node."""
    interruption_cost: float = 0.0
    """What one interruption of the machine under it costs."""
    min_saving: float = 0.0
    """A bundle with this job must save so much over the horizon at least."""
    payback_s: float | None = None
    """What such a bundle costs once must be earned back within so long; None: any time."""


@dataclass(frozen=True)
class Node:
    """A host that is there."""

    name: str
    site: str
    memory: int
    """What all jobs on it may take together: all of it less what others there use."""
    cpus: float
    arch: str
    features: frozenset[str]
    hourly: float
    """What is saved an hour when it ends; 0 for one that cannot be ended."""
    removable: bool
    """It can be ended when no job is on it."""
    closed: Bar | None = None
    """Why no job may be sent there."""
    spot: bool = False
    interruptions: float = 0.0
    """Expected an hour."""
    doomed: float = 0.0
    """What it costs to leave a job there: more than 0 when it is about to be taken away."""


@dataclass(frozen=True)
class Offer:
    """A kind of machine that can be made. `key` is `SITE/TYPE/TERMS`."""

    key: str
    site: str
    type: str
    terms: str
    """`on_demand`, `spot`, `reserved-1y`, `reserved-3y`."""
    memory: int
    """For jobs, less what the system takes."""
    cpus: float
    arch: str
    features: frozenset[str]
    """Empty where the provider does not tell: any job may go there."""
    hourly: float
    most: int
    """So many may be made at most."""
    boot_s: float
    interruptions: float = 0.0

    @property
    def spot(self) -> bool:
        return self.terms == "spot"


@dataclass(frozen=True)
class Problem:
    currency: str
    horizon_s: float
    """For so long what is decided now is expected to last."""
    jobs: tuple[Job, ...]
    nodes: tuple[Node, ...]
    offers: tuple[Offer, ...]
    most_moves: int
    hysteresis: float = 0.0
    """A bundle must save more than this fraction of what its nodes cost over the horizon before,
    so that noise moves nothing."""


@dataclass(frozen=True)
class Machine:
    """One that is to be made."""

    name: str
    """`OFFER_KEY#N`, N from 1."""
    offer: str


@dataclass(frozen=True)
class Step:
    """One move of an answer."""

    job: str
    source: str
    target: str
    """Name of a node or of a machine."""


@dataclass(frozen=True)
class Sums:
    """Expected money over the horizon. `total` is what is minimised."""

    machines: float
    """Removable nodes that stay, and machines that are made."""
    double: float
    """Nodes that end, until they are empty."""
    egress: float
    downtime: float
    failures: float
    interruptions: float

    @property
    def total(self) -> float:
        return (
            self.machines
            + self.double
            + self.egress
            + self.downtime
            + self.failures
            + self.interruptions
        )


@dataclass(frozen=True)
class Bundle:
    """Moves that pay only together. Carried out wave by wave; within a wave, all at once."""

    waves: tuple[tuple[Step, ...], ...]
    machines: tuple[Machine, ...]
    ended: tuple[str, ...]
    """Nodes that end when they are empty."""
    before: Sums
    after: Sums
    """Of the jobs and nodes that it touches, if it is not, and if it is, carried out."""
    once: float
    """What of `after` is paid once, for moving."""

    @property
    def saving(self) -> float:
        return self.before.total - self.after.total

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for wave in self.waves for step in wave)


@dataclass(frozen=True)
class Stay:
    """Why a job stays where it is: the constraint that binds, and the best that there was else."""

    job: str
    bar: Bar
    runner_up: str
    """Name of a node, or key of an offer; empty if nothing else could take it."""
    saving: float | None
    """What going there would save over the horizon (less than 0: cost); None: nothing there is."""


@dataclass(frozen=True)
class Answer:
    bundles: tuple[Bundle, ...]
    stays: tuple[Stay, ...]
    """One for each job that stays."""
    cost: float
    """Of everything over the horizon, if all bundles are carried out."""
    stay_cost: float
    """If nothing is."""
    bound: float
    """No plan that keeps to the constraints costs less than this; proven."""
    method: str
    """`exact`, `aggregated` or `greedy`."""
    seconds: float

    @property
    def gap(self) -> float:
        """(cost - bound) / cost, 0 if it is proven to be the best."""
        return 0.0 if self.cost <= 0 else max(0.0, (self.cost - self.bound) / self.cost)
