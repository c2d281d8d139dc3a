"""What traffic that leaves a site costs: as its settings say, else a price file, else the
snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from porter.domain.errors import Invalid, PorterError
from porter.domain.money import Tariff, Tier
from porter.domain.site import SiteKind
from porter.providers.base import SiteConfig
from porter.providers.prices import snapshot
from porter.providers.prices.files import PriceFile
from porter.providers.prices.reading import positive


class SiteEgress:
    """Never raises; unknown has no tiers, and its source says why."""

    def __init__(self, config: SiteConfig, files: Sequence[PriceFile]) -> None:
        self._config = config
        self._files = files
        self._own = own_rate(config.settings, config.name)
        self._free = positive(config.settings.get("egress_free_gb")) or Decimal(0)

    def tariff(self, to_kind: SiteKind, to_region: str) -> Tariff:
        kind, region = self._config.kind, self._config.region
        near = to_kind is kind
        wanted = ("zone" if to_region == region else "region") if near else "internet"
        if self._own is not None:
            return self._own
        reasons = []
        for file in self._files:
            try:
                written = file.tariff(wanted)
            except PorterError as error:
                reasons.append(str(error))
                continue
            if written is not None:
                return written
        known = snapshot.tariff(kind, region, to_kind, to_region)
        if known is not None:
            return with_free(known, self._free) if wanted == "internet" else known
        target = to_region or to_kind
        why = f"no price of traffic from {region or self._config.name} to {target} is known"
        return Tariff((), currency(self._config), "", "; ".join((why, *reasons)))


def own_rate(settings: Mapping[str, str], site: str) -> Tariff | None:
    """The rate in settings: `egress_per_gb`, `currency`, `egress_as_of`. Raises Invalid."""
    if not settings.get("egress_per_gb"):
        return None
    try:
        rate = Decimal(settings["egress_per_gb"])
        as_of = settings["egress_as_of"]
        money = settings["currency"]
    except (ArithmeticError, KeyError) as error:
        raise Invalid(
            f"cannot read what traffic from {site} costs",
            "set egress_per_gb to a number, currency as in EUR, and egress_as_of to a date",
        ) from error
    if not rate.is_finite() or rate < 0 or not as_of or not money:
        raise Invalid(f"cannot read what traffic from {site} costs", "write egress_per_gb=0.05")
    return Tariff((Tier(Decimal(0), rate),), money, as_of, f"settings of {site}")


def with_free(tariff: Tariff, free: Decimal) -> Tariff:
    """The same with the first `free` GB of a month at no charge."""
    if free <= 0:
        return tariff
    rate = [tier.per_gb for tier in tariff.tiers if tier.above_gb <= free][-1]
    later = [tier for tier in tariff.tiers if tier.above_gb > free]
    tiers = (Tier(Decimal(0), Decimal(0)), Tier(free, rate), *later)
    return replace(tariff, tiers=tiers, source=f"{tariff.source}, {free} GB free")


def currency(config: SiteConfig) -> str:
    return config.settings.get("currency") or "USD"
