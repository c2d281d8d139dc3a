"""OpenStack flavours that say themselves what they cost, in extra specs.

openstack flavor set --property porter:price_hour=0.05 --property porter:currency=EUR m1.small
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from porter.domain.money import Quote
from porter.providers.prices.reading import now_iso, positive

AMOUNT, CURRENCY = "porter:price_hour", "porter:currency"
SOURCE = "flavour's extra specs"

Specs = Callable[[], Mapping[str, Mapping[str, str]]]
"""Extra specs by flavour name, asked of Nova. Raises PorterError."""


@dataclass(frozen=True)
class FlavorPrices:
    specs: Specs

    def quotes(self, types: Sequence[str], terms: str) -> Mapping[str, Quote]:
        """Known prices only: an amount needs its currency. What Nova says counts now."""
        if terms != "on_demand":
            return {}
        found = {}
        told = self.specs()
        for name in types:
            spec = told.get(name, {})
            amount, currency = positive(spec.get(AMOUNT)), spec.get(CURRENCY, "")
            if amount is not None and currency:
                found[name] = Quote(name, amount, currency, "hour", now_iso(), SOURCE, terms)
        return found
