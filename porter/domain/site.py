"""A place with a provider account, a region and prices of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from porter.domain.errors import Invalid


class SiteKind(StrEnum):
    ONPREM = "onprem"
    AWS = "aws"
    AZURE = "azure"
    GCP = "gcp"
    OPENSTACK = "openstack"
    FAKE = "fake"


_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}(:[A-Za-z0-9][A-Za-z0-9-]{0,62})?")


@dataclass(frozen=True)
class Site:
    """A place as Porter knows it. Holds no secret; `providers.base.SiteConfig` adds those."""

    name: str
    """`onprem` or `KIND:REGION`; further sites of the same region have names of their own."""
    kind: SiteKind
    region: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    """The kind's own settings, as `docs/sites.md` lists them: image, subnet, project, zone …"""


def check_name(name: str) -> str:
    """The name itself. Raises Invalid if it is none."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"cannot call a site {name!r}",
            "use lower-case letters, digits and dashes, and perhaps `:REGION`",
        )
    return name
