"""Google Cloud, through google-cloud-compute and Google's own authorised HTTP session.

Settings and rights are listed in `docs/sites/gcp.md`.
"""

from __future__ import annotations

from porter.providers.base import Provider, SiteConfig


def open_site(config: SiteConfig) -> Provider:
    """A provider of one project and region. Talks to nobody yet. Raises Invalid for settings."""
    from porter.providers.gcp.addressing import GcpAddressing
    from porter.providers.gcp.balancing import GcpBalancing
    from porter.providers.gcp.dns import GcpDns
    from porter.providers.gcp.hosts import GcpHosts
    from porter.providers.gcp.lifetimes import GcpLifetimes
    from porter.providers.gcp.metadata import GcpMetadata
    from porter.providers.gcp.rights import GcpRights
    from porter.providers.gcp.session import Session
    from porter.providers.gcp.settings import read
    from porter.providers.prices import egress, pricing

    session = Session(read(config))
    return Provider(
        config=config,
        hosts=GcpHosts(session),
        lifetimes=GcpLifetimes(session),
        pricing=pricing(config),
        egress=egress(config),
        addressing=GcpAddressing(session),
        balancing=GcpBalancing(session),
        dns=GcpDns(session),
        metadata=GcpMetadata(session.settings.metadata_endpoint),
        rights=GcpRights(session),
    )
