"""OpenStack, through openstacksdk. `docs/sites/openstack.md` lists settings and rights.

Load balancers (Octavia) and DNS zones (Designate) are left out: nothing here could prove them.
"""

from __future__ import annotations

from porter.providers.base import Provider, SiteConfig


def open_site(config: SiteConfig) -> Provider:
    """All that Porter can do in one region of a project. Sends nothing yet. Raises Invalid for
    settings that cannot be right."""
    from porter.providers import prices
    from porter.providers.openstack.addressing import OpenStackAddressing
    from porter.providers.openstack.hosts import OpenStackHosts
    from porter.providers.openstack.metadata import OpenStackMetadata
    from porter.providers.openstack.rights import OpenStackRights
    from porter.providers.openstack.session import Session
    from porter.providers.openstack.settings import parse

    settings = parse(config)
    session = Session(config, settings)
    hosts = OpenStackHosts(session, settings)
    return Provider(
        config=config,
        hosts=hosts,
        pricing=prices.pricing(config, hosts.extra_specs),
        egress=prices.egress(config),
        addressing=OpenStackAddressing(session, settings),
        metadata=OpenStackMetadata(settings.metadata_url),
        rights=OpenStackRights(session),
    )
