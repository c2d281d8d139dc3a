"""Which size of machine a workload could run on, cheapest first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from porter.domain.host import HostFacts
from porter.domain.money import Quote
from porter.domain.workload import WorkloadSpec
from porter.providers.base import InstanceType

OVERHEAD = 1 << 30
"""Bytes for the system, the engine and the agent."""
LOOK_AT = 80
"""So many of the smallest fitting types are priced: asking for thousands would take minutes."""


@dataclass(frozen=True)
class Need:
    """What a machine must have to take a workload in."""

    arch: str
    features: frozenset[str]
    """CPU flags of the source: tasks that have seen them may use them."""
    memory_bytes: int


@dataclass(frozen=True)
class Candidate:
    kind: InstanceType
    quote: Quote


def need_of(spec: WorkloadSpec, source: HostFacts) -> Need:
    """Images lie in memory beside the restored tasks for a moment: hence twice."""
    memory = 2 * (spec.memory_bytes + spec.shm_bytes) + OVERHEAD
    return Need(source.arch, frozenset(source.cpu_features), memory)


def misfit(kind: InstanceType, need: Need) -> str:
    """Why a type does not do; empty if it does, as far as its provider tells."""
    if kind.arch != need.arch:
        return f"is {kind.arch}, not {need.arch}"
    if kind.memory_bytes < need.memory_bytes:
        return f"has {kind.memory_bytes >> 20} MiB of memory, not {need.memory_bytes >> 20}"
    missing = need.features - kind.features if kind.features else frozenset[str]()
    return f"lacks the CPU features {', '.join(sorted(missing)[:5])}" if missing else ""


def fitting(types: Sequence[InstanceType], need: Need) -> list[InstanceType]:
    """Those that do, the smallest first, at most LOOK_AT."""
    found = [kind for kind in types if not misfit(kind, need)]
    return sorted(found, key=lambda kind: (kind.memory_bytes, kind.cpus, kind.name))[:LOOK_AT]


def ranked(
    types: Sequence[InstanceType], quotes: Mapping[str, Quote], limit: Decimal | None = None
) -> list[Candidate]:
    """Cheapest first; those of unknown price last, and not at all where a limit is set."""
    found = []
    for kind in types:
        quote = quotes[kind.name]
        if limit is not None and (quote.amount is None or quote.amount > limit):
            continue
        found.append(Candidate(kind, quote))
    return sorted(
        found,
        key=lambda one: (
            one.quote.amount is None,
            one.quote.amount or Decimal(0),
            one.kind.memory_bytes,
            one.kind.name,
        ),
    )
