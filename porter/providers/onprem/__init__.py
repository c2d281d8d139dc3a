"""Hosts that somebody else looks after: joined by hand, priced from a file."""

from __future__ import annotations

from porter.providers.base import Provider, SiteConfig
from porter.providers.prices import egress, pricing


def open_site(config: SiteConfig) -> Provider:
    """A site whose hosts Porter neither makes nor removes."""
    return Provider(config=config, pricing=pricing(config), egress=egress(config))
