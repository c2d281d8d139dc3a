"""Opens a site with the adapter of its kind. Adapters are imported when first needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from porter.domain.errors import Invalid, Unsupported
from porter.domain.site import SiteKind
from porter.providers.base import Metadata, Provider, SiteConfig

ADAPTERS = {kind: f"porter.providers.{kind}" for kind in SiteKind}
"""Each module has `open_site(config: SiteConfig) -> Provider`."""


METADATA = {
    SiteKind.AWS: ("porter.providers.aws.metadata", "AwsMetadata"),
    SiteKind.AZURE: ("porter.providers.azure.metadata", "AzureMetadata"),
    SiteKind.GCP: ("porter.providers.gcp.metadata", "GcpMetadata"),
    SiteKind.OPENSTACK: ("porter.providers.openstack.metadata", "OpenStackMetadata"),
}
"""Clouds whose machines can ask what is about to become of them."""


def open_metadata(cloud: str, url: str = "") -> Metadata:
    """The metadata service as a machine of that kind of site asks it; `url`: where that is, if not
    where it always is. Does not talk to it yet. Raises Invalid for another kind."""
    found = next((where for kind, where in METADATA.items() if kind == cloud), None)
    if found is None:
        kinds = ", ".join(sorted(METADATA))
        raise Invalid(f"cannot ask {cloud!r} for notices: it has no metadata service", f"{kinds}")
    module = importlib.import_module(found[0])
    made: Metadata = getattr(module, found[1])(*filter(None, [url]))
    return made


def open_site(config: SiteConfig) -> Provider:
    """The provider of a site. Does not talk to it yet. Raises Invalid for settings that cannot be
    right, Unsupported if the kind's SDK is not installed."""
    try:
        module = importlib.import_module(ADAPTERS[config.kind])
        opened: Callable[[SiteConfig], Provider] = module.open_site
        return opened(config)
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"cannot open the site {config.name}: {error.name} is not installed",
            "install Porter with its pinned requirements",
        ) from error
