"""Workloads with all that their jobs are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from porter.db.base import HostRecord, WorkloadRecord
from porter.db.fleet import Fleet
from porter.db.policies import PolicyRecord
from porter.domain.scheduling import SchedulingRules, scheduling
from porter.domain.workload import WorkloadSpec
from porter.migrate.candidates import OVERHEAD, Need, need_of
from porter.protocol import codec
from porter.schedule.expected import Expectations


@dataclass(frozen=True)
class Subject:
    """A workload while its job is made."""

    workload: WorkloadRecord
    host: HostRecord
    kept: Sequence[PolicyRecord]
    rules: SchedulingRules
    memory: int
    """Room that is kept for it."""
    needs: str
    """What that rests on, where it was watched; else empty: it is what it takes now."""
    sized: int
    unsized: str
    cpus: float
    need: Need
    spec: WorkloadSpec | None
    """As its last move saw it."""


def subject_of(
    workload: WorkloadRecord,
    host: HostRecord,
    kept: Sequence[PolicyRecord],
    fleet: Fleet,
    expected: Expectations,
) -> Subject:
    assert host.facts is not None
    holding = [
        one for one in kept if one.policy.holds(workload.name, workload.project, workload.policies)
    ]
    look = fleet.looks.get(workload.name)
    memory, sized, unsized, cpus = workload.memory_bytes, workload.memory_bytes, "", 0.0
    spec = None if look is None or not look[1] else codec.load(WorkloadSpec, look[1])
    room = expected.room(workload, inf if spec is None else _limit(spec))
    if spec is None:
        unsized = "its files and image"
        memory = memory if room is None else room.memory
        features = frozenset(host.facts.cpu_features)
        need = Need(host.facts.arch, features, 2 * memory + OVERHEAD)
    else:
        taken = max(memory, spec.memory_bytes)
        sized = taken + spec.shm_bytes + spec.file_bytes + spec.image.size
        memory = (taken if room is None else room.memory) + spec.shm_bytes
        cpus = _cpus(spec)
        need = replace(need_of(spec, host.facts), memory_bytes=2 * memory + OVERHEAD)
    rules = scheduling(
        [one.policy for one in holding], workload.name, workload.project, workload.policies
    )
    needs = "" if room is None else room.why
    return Subject(workload, host, holding, rules, memory, needs, sized, unsized, cpus, need, spec)


def _cpus(spec: WorkloadSpec) -> float:
    """Its limit, where it was started with one; without any it takes what there is, and no share
    is set aside for it."""
    try:
        return float(_option(spec, "--cpus") or 0.0)
    except ValueError:
        return 0.0


def _limit(spec: WorkloadSpec) -> float:
    """Bytes of memory that it was started with at most; infinite without a limit."""
    told = (_option(spec, "--memory", "-m") or "").lower().removesuffix("b")
    power = "kmgt".find(told[-1:]) + 1 if told else 0
    try:
        most = float(told[:-1] if power else told) * 1024**power
    except ValueError:
        return inf
    return most if most > 0 else inf


def _option(spec: WorkloadSpec, *names: str) -> str | None:
    """What an option was given when it was started."""
    for word, following in zip(spec.create, (*spec.create[1:], ""), strict=True):
        name, _, value = word.partition("=")
        if name in names:
            return value or following
    return None
