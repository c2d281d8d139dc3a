"""Amazon Web Services, through boto3. `docs/sites/aws.md` lists settings and rights."""

from __future__ import annotations

from porter.providers.base import Provider, SiteConfig


def open_site(config: SiteConfig) -> Provider:
    """All that Porter can do in one region of an account. Sends nothing yet. Raises Invalid for
    settings that cannot be right."""
    from porter.providers import prices
    from porter.providers.aws.addresses import AwsAddressing
    from porter.providers.aws.balancing import AwsLoadBalancing
    from porter.providers.aws.dns import AwsDns
    from porter.providers.aws.hosts import AwsHosts
    from porter.providers.aws.lifetimes import AwsLifetimes
    from porter.providers.aws.metadata import AwsMetadata
    from porter.providers.aws.rights import AwsRights
    from porter.providers.aws.session import Session
    from porter.providers.aws.settings import parse

    settings = parse(config)
    session = Session(config, settings)
    return Provider(
        config=config,
        hosts=AwsHosts(session, settings),
        lifetimes=AwsLifetimes(session),
        pricing=prices.pricing(config),
        egress=prices.egress(config),
        addressing=AwsAddressing(session),
        balancing=AwsLoadBalancing(session),
        dns=AwsDns(session),
        metadata=AwsMetadata(settings.metadata_url),
        rights=AwsRights(session, settings),
    )
