"""Machine types of Google Cloud are sold by core and GiB: what a type consists of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

_SHARED = {"e2-micro": ("0.25", "1"), "e2-small": ("0.5", "2"), "e2-medium": ("1", "4")}
_HIGHCPU_TWO = ("c2d", "c3", "c3d", "c4", "n4")
_PER_CORE = {"standard": "4", "highmem": "8", "highcpu": "1"}
_N1 = {"standard": "3.75", "highmem": "6.5", "highcpu": "0.9"}
_PLAIN = frozenset(("n1", "e2", "n2", "n2d", "t2d", "c2", "c2d", "c3", "c3d", "n4"))
"""Families whose price is that of cores and memory alone."""
COMMON = (
    *_SHARED,
    *(f"e2-{size}-{cpus}" for size in _PER_CORE for cpus in (2, 4, 8, 16)),
    *(f"n2-{size}-{cpus}" for size in _PER_CORE for cpus in (2, 4, 8, 16, 32)),
    *(f"n2d-standard-{cpus}" for cpus in (2, 4, 8, 16)),
    *(f"c3-standard-{cpus}" for cpus in (4, 8, 22)),
    *(f"n4-standard-{cpus}" for cpus in (2, 4, 8, 16)),
)
"""Types that are worth knowing whenever prices are read at all."""
_NAME = re.compile(r"([a-z]\d[a-z]?)-(standard|highmem|highcpu)-(\d+)")


@dataclass(frozen=True)
class Shape:
    family: str
    cpus: Decimal
    """Billed cores: a fraction for shared-core types."""
    gib: Decimal


def gcp_shape(name: str) -> Shape | None:
    """None for a type whose price has further parts (GPUs, local disks), or that is not known."""
    if name in _SHARED:
        cpus, gib = _SHARED[name]
        return Shape("e2", Decimal(cpus), Decimal(gib))
    found = _NAME.fullmatch(name)
    if found is None or found[1] not in _PLAIN:
        return None
    family, size, cpus = found.groups()
    per_core = (_N1 if family == "n1" else _PER_CORE)[size]
    if size == "highcpu" and family in _HIGHCPU_TWO:
        per_core = "2"
    return Shape(family, Decimal(cpus), Decimal(cpus) * Decimal(per_core))
