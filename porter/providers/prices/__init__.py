"""Prices of instances and of traffic.

Asked in this order: a price file, the cloud's own list, what it said before (with its date), the
snapshot that comes with Porter; else unknown, with the reason. Nothing here ever fails a move.

Settings of a site, all optional: `prices` (`live` or `offline`), `price_file`, `price_cache`,
`pricing_endpoint`, `currency`, `egress_per_gb` with `egress_as_of`, `egress_free_gb`; the secret
`pricing_api_key`. See docs/prices.md.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from porter import settings
from porter.domain.errors import Invalid
from porter.domain.site import SiteKind
from porter.providers.base import Egress, Pricing, SiteConfig
from porter.providers.prices.aws import AwsPrices
from porter.providers.prices.azure import AzureRetail
from porter.providers.prices.cache import Cache
from porter.providers.prices.files import PriceFile
from porter.providers.prices.flavors import FlavorPrices, Specs
from porter.providers.prices.gcp import GcpCatalog, authoriser
from porter.providers.prices.layers import Layers, Live, Remembered, Snapshot, Source
from porter.providers.prices.tariffs import SiteEgress, currency

ONPREM_FILE = Path("/etc/porter/prices.toml")
"""Where on-prem prices are looked for unless the site or PORTER_PRICE_FILE names another file."""


def pricing(config: SiteConfig, specs: Specs | None = None) -> Pricing:
    """Prices in a site. `specs` gives OpenStack flavours' extra specs by name, asked of Nova.

    Talks to nobody yet. Raises Invalid for settings that cannot be right.
    """
    if not re.fullmatch(r"[A-Z]{3}", currency(config)):
        raise Invalid(f"cannot price {config.name}: currency is {currency(config)!r}", "say EUR")
    sources: list[Source] = [*_files(config)]
    if specs is not None:
        sources.append(FlavorPrices(specs))
    if config.kind in (SiteKind.AWS, SiteKind.AZURE, SiteKind.GCP):
        sources.append(Remembered(config.kind, config.region, _live(config), _cache(config)))
        sources.append(Snapshot(config.kind, config.region))
    return Layers(config.region or config.name, currency(config), sources)


def egress(config: SiteConfig) -> Egress:
    """Tariffs of traffic that leaves a site. Raises Invalid for settings that cannot be right."""
    return SiteEgress(config, _files(config))


def _files(config: SiteConfig) -> list[PriceFile]:
    named = config.settings.get("price_file")
    if not named and config.kind is SiteKind.ONPREM:
        named = os.environ.get("PORTER_PRICE_FILE")
        if not named and ONPREM_FILE.exists():
            named = str(ONPREM_FILE)
    return [PriceFile(Path(named))] if named else []


def _cache(config: SiteConfig) -> Cache:
    named = config.settings.get("price_cache")
    return Cache(Path(named) if named else settings.load().state / "prices.json")


def _live(config: SiteConfig) -> Live | None:
    """The cloud's own list; None if it is not to be asked."""
    given = config.settings
    wanted = given.get("prices") or os.environ.get("PORTER_PRICES") or ""
    if wanted not in ("", "live", "offline"):
        raise Invalid(f"cannot price {config.name}: prices is {wanted!r}", "live or offline")
    endpoint = given.get("pricing_endpoint", "")
    if endpoint and not re.fullmatch(r"https?://[\w.:\[\]-]+(/\S*)?", endpoint):
        raise Invalid(f"cannot price {config.name}: {endpoint!r} is no URL", "set pricing_endpoint")
    if wanted == "offline" or not (wanted or endpoint or not _stands_in(config)):
        return None
    if config.kind is SiteKind.AWS:
        return AwsPrices(config, endpoint, given.get("zone", ""))
    if config.kind is SiteKind.AZURE:
        return AzureRetail(config.region, endpoint, currency(config))
    return GcpCatalog(config.region, authoriser(config.secrets), endpoint, currency(config))


def _stands_in(config: SiteConfig) -> bool:
    """Whether the site's API is on this machine or a private network: then it is no public cloud,
    and the public price list is not asked unless `prices` is `live`."""
    found = [*config.settings.values()]
    if config.kind is SiteKind.AWS:
        found += [value for key, value in os.environ.items() if key.startswith("AWS_ENDPOINT_URL")]
    return any(_private(value) for value in found)


def _private(value: str) -> bool:
    if not value.startswith(("http://", "https://")):
        return False
    host = urlsplit(value).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_private and not address.is_link_local
