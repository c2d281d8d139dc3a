"""Workloads with all that their jobs are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from porter.db.base import HostRecord, WorkloadRecord
from porter.db.fleet import Fleet
from porter.db.policies import PolicyRecord
from porter.domain.scheduling import SchedulingRules, scheduling
from porter.domain.workload import WorkloadSpec
from porter.migrate.candidates import OVERHEAD, Need, need_of
from porter.protocol import codec


@dataclass(frozen=True)
class Subject:
    """A workload while its job is made."""

    workload: WorkloadRecord
    host: HostRecord
    kept: Sequence[PolicyRecord]
    rules: SchedulingRules
    memory: int
    sized: int
    unsized: str
    cpus: float
    need: Need
    spec: WorkloadSpec | None
    """As its last move saw it."""


def subject_of(
    workload: WorkloadRecord, host: HostRecord, kept: Sequence[PolicyRecord], fleet: Fleet
) -> Subject:
    assert host.facts is not None
    holding = [
        one for one in kept if one.policy.holds(workload.name, workload.project, workload.policies)
    ]
    look = fleet.looks.get(workload.name)
    memory, sized, unsized, cpus = workload.memory_bytes, workload.memory_bytes, "", 0.0
    spec = None if look is None or not look[1] else codec.load(WorkloadSpec, look[1])
    if spec is None:
        unsized = "its files and image"
        features = frozenset(host.facts.cpu_features)
        need = Need(host.facts.arch, features, 2 * memory + OVERHEAD)
    else:
        memory = max(memory, spec.memory_bytes) + spec.shm_bytes
        sized = memory + spec.file_bytes + spec.image.size
        cpus = _cpus(spec)
        need = replace(need_of(spec, host.facts), memory_bytes=2 * memory + OVERHEAD)
    rules = scheduling(
        [one.policy for one in holding], workload.name, workload.project, workload.policies
    )
    return Subject(workload, host, holding, rules, memory, sized, unsized, cpus, need, spec)


def _cpus(spec: WorkloadSpec) -> float:
    """Its limit, where it was started with one; without any it takes what there is, and no share
    is set aside for it."""
    for word, following in zip(spec.create, (*spec.create[1:], ""), strict=True):
        name, _, value = word.partition("=")
        if name == "--cpus":
            try:
                return float(value or following)
            except ValueError:
                return 0.0
    return 0.0
