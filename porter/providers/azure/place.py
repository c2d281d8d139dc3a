"""A site's settings, checked, and the ARM ids that follow from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from porter.domain.errors import Invalid
from porter.providers.base import SiteConfig

OWN = frozenset(("subscription", "resource_group", "subnet"))
"""Settings that a site has if it is more than a place for agents and prices."""
DEFAULT_IMAGE = "Debian:debian-13:13-gen2:latest"
_SUBSCRIPTION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SUBNET = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network"
    r"/virtualNetworks/[^/]+/subnets/[^/]+",
    re.IGNORECASE,
)
_ARM_SIZE = re.compile(r"[A-Za-z]+_[A-Z]+\d+(-\d+)?[a-z]*p[a-z]*(_.*)?")


@dataclass(frozen=True)
class Place:
    """Where and how machines are made. Names are as the settings give them; ids that Porter tells
    are lower-case, because ARM compares without case and does not keep it."""

    site: str
    region: str
    subscription: str
    resource_group: str
    subnet: str
    image: str
    image_arm64: str
    instance_types: tuple[str, ...]
    ssh_key: str
    admin_user: str
    zone: str
    dns_resource_group: str
    base_url: str
    connection_verify: str

    @property
    def scope(self) -> str:
        """ARM id of the resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"

    @property
    def network(self) -> str:
        """ARM id of the virtual network of the subnet."""
        return self.subnet.rsplit("/subnets/", 1)[0]

    def id(self, kind: str, name: str) -> str:
        """Id of a resource of the group, lower-case; `kind` is `Microsoft.X/things`."""
        return f"{self.scope}/providers/{kind}/{name}".lower()


def read(config: SiteConfig) -> Place | None:
    """The place; None if the settings tell of none. Raises Invalid naming the setting."""
    settings = config.settings
    if not OWN & set(settings):
        return None
    if not re.fullmatch(r"[a-z0-9]+", config.region):
        raise Invalid(
            f"cannot open the site {config.name}: the region is {config.region!r}",
            "write it as Azure does: westeurope",
        )
    return Place(
        site=config.name,
        region=config.region,
        subscription=_checked(config, "subscription", _SUBSCRIPTION),
        resource_group=_checked(config, "resource_group", re.compile(r"[\w.()-]{1,90}")),
        subnet=_checked(config, "subnet", _SUBNET),
        image=_image(config, "image", DEFAULT_IMAGE),
        image_arm64=_image(config, "image_arm64", ""),
        instance_types=tuple(settings.get("instance_types", "").replace(",", " ").split()),
        ssh_key=_checked(config, "ssh_key", re.compile(r"(ssh|ecdsa)-\S+ \S+.*")),
        admin_user=settings.get("admin_user", "porter"),
        zone=settings.get("zone", ""),
        dns_resource_group=settings.get("dns_resource_group", ""),
        base_url=_checked(config, "base_url", re.compile(r"|https://[^/]+/?")).rstrip("/"),
        connection_verify=settings.get("connection_verify", ""),
    )


def _checked(config: SiteConfig, name: str, pattern: re.Pattern[str]) -> str:
    value = config.settings.get(name, "").strip()
    if not pattern.fullmatch(value):
        raise Invalid(
            f"cannot open the site {config.name}: the setting {name} is {value!r}",
            "see docs/sites/azure.md for what it should be",
        )
    return value


def _image(config: SiteConfig, name: str, default: str) -> str:
    value = config.settings.get(name, default)
    if value and not value.startswith("/") and value.count(":") != 3:
        raise Invalid(
            f"cannot open the site {config.name}: the setting {name} is {value!r}",
            "write PUBLISHER:OFFER:SKU:VERSION or an image's id",
        )
    return value


def arch_of(size: str) -> str:
    """By Azure's naming convention: a `p` among the features says Arm, as in Standard_D2ps_v5."""
    return "aarch64" if _ARM_SIZE.fullmatch(size) else "x86_64"


def image_reference(place: Place, size: str) -> Mapping[str, Any]:
    """The `imageReference` for a size. Raises Invalid if there is no image for its CPU."""
    image = place.image_arm64 if arch_of(size) == "aarch64" else place.image
    if not image:
        raise Invalid(
            f"cannot launch a {size} in {place.site}: it has Arm CPUs",
            "set image_arm64, or choose a size without `p`",
        )
    if image.startswith("/"):
        kinds = {"/communitygalleries/": "communityGalleryImageId"}
        kinds["/sharedgalleries/"] = "sharedGalleryImageId"
        found = [kind for prefix, kind in kinds.items() if image.lower().startswith(prefix)]
        return {found[0] if found else "id": image}
    names = ("publisher", "offer", "sku", "version")
    return dict(zip(names, image.split(":"), strict=True))
