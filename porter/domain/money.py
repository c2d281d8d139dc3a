"""Prices: exact amounts that say where and when they come from. Unknown is never zero."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Quote:
    """One price. `amount` is None where nobody could tell it: `source` then says why not."""

    item: str
    """What is priced: an instance type, `egress`, a host's name."""
    amount: Decimal | None
    currency: str
    """ISO 4217."""
    unit: str
    """`hour`, `GB` (10**9 bytes) or `month`."""
    as_of: str
    """When the price was true, ISO 8601; empty if unknown."""
    source: str
    """Who said so: `aws price list`, `snapshot 2026-09-06`, `/etc/porter/prices.toml` …"""
    terms: str = "on_demand"
    """`on_demand`, `spot`, `reserved-1y`, `reserved-3y` or `own`."""

    @property
    def known(self) -> bool:
        return self.amount is not None


@dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{self.amount.normalize():f} {self.currency}"


@dataclass(frozen=True)
class Told:
    """An amount as somebody told it, or why nobody could."""

    amount: Decimal | None
    currency: str
    source: str


@dataclass(frozen=True)
class Tier:
    """A price per GB that holds for traffic from `above_gb` in a month on."""

    above_gb: Decimal
    per_gb: Decimal


@dataclass(frozen=True)
class Tariff:
    """What moving bytes from one place to another costs. No tiers at all: unknown."""

    tiers: tuple[Tier, ...]
    """Ascending by `above_gb`; the first begins at 0."""
    currency: str
    as_of: str
    source: str

    @property
    def known(self) -> bool:
        return bool(self.tiers)

    def cost(self, gb: Decimal, already: Decimal = Decimal(0)) -> Decimal | None:
        """Price of `gb` more after `already` GB in the same month; None if unknown."""
        if not self.tiers:
            return None
        total, end = Decimal(0), already + gb
        for tier, following in zip(self.tiers, (*self.tiers[1:], None), strict=True):
            upper = end if following is None else min(end, following.above_gb)
            lower = max(already, tier.above_gb)
            if upper > lower:
                total += (upper - lower) * tier.per_gb
        return total
