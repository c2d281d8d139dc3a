"""Microsoft Azure, through azure-mgmt-compute, -network and -dns.

The settings are listed in `docs/sites/azure.md`. A site without `subscription` has only what needs
no credential: metadata, as the agents ask it, and prices.
"""

from __future__ import annotations

from porter.providers.azure.addressing import AzureAddressing
from porter.providers.azure.balancing import AzureBalancing
from porter.providers.azure.client import Clients
from porter.providers.azure.dns import AzureDns
from porter.providers.azure.hosts import AzureHosts
from porter.providers.azure.metadata import AzureMetadata
from porter.providers.azure.place import read
from porter.providers.azure.rights import AzureRights
from porter.providers.base import Provider, SiteConfig


def open_site(config: SiteConfig) -> Provider:
    """The provider of an Azure site; talks to nothing yet. Raises Invalid for settings that cannot
    be right."""
    from porter.providers import prices

    place = read(config)
    metadata = AzureMetadata(config.settings.get("metadata_url", ""))
    pricing, egress = prices.pricing(config), prices.egress(config)
    if place is None:
        return Provider(config=config, metadata=metadata, pricing=pricing, egress=egress)
    clients = Clients(place, config.secrets)
    return Provider(
        config=config,
        hosts=AzureHosts(place, clients),
        pricing=pricing,
        egress=egress,
        addressing=AzureAddressing(place, clients),
        balancing=AzureBalancing(place, clients),
        dns=AzureDns(place, clients),
        metadata=metadata,
        rights=AzureRights(place, clients),
    )
