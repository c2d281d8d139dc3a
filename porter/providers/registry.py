"""Opens a site with the adapter of its kind. Adapters are imported when first needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from porter.domain.errors import Unsupported
from porter.domain.site import SiteKind
from porter.providers.base import Provider, SiteConfig

ADAPTERS = {kind: f"porter.providers.{kind}" for kind in SiteKind}
"""Each module has `open_site(config: SiteConfig) -> Provider`."""


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
