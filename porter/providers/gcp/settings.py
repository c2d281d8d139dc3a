"""What a site of this kind may say about itself, read and checked once."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from porter.domain.errors import Invalid
from porter.providers.base import SiteConfig

COMPUTE = "https://compute.googleapis.com"
DNS = "https://dns.googleapis.com"
RESOURCE_MANAGER = "https://cloudresourcemanager.googleapis.com"
IAM = "https://iam.googleapis.com"
METADATA = "http://metadata.google.internal"


@dataclass(frozen=True)
class GcpSettings:
    """One project's region, and how to reach Google from here."""

    project: str
    region: str
    zone: str
    """Where machines are made that name no zone; "" for the first zone that is up."""
    network: str
    subnet: str
    image: str
    machine_types: tuple[str, ...]
    """Allow-list; empty for all."""
    disk_type: str
    service_account: str
    external_ip: bool
    """Whether machines get an ephemeral public address (needed without Cloud NAT)."""
    dns_zone: str
    """Name of one managed zone; "" for the one with the longest fitting name."""
    dns_project: str
    endpoint: str
    dns_endpoint: str
    resourcemanager_endpoint: str
    iam_endpoint: str
    metadata_endpoint: str
    anonymous: bool
    """Plain http to an address of a lab: no credential is ever sent there."""
    key: dict[str, Any] = field(repr=False)
    """A service account's key; empty for Application Default Credentials."""


def read(config: SiteConfig) -> GcpSettings:
    """The settings. Raises Invalid for what is missing or contradictory."""
    given = config.settings
    project, region, zone = given.get("project", ""), config.region, given.get("zone", "")
    if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", project):
        raise _invalid(config, f"{project!r} is no project id")
    if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]+", region):
        raise _invalid(config, f"{region!r} is no region")
    if zone and not zone.startswith(f"{region}-"):
        raise _invalid(config, f"the zone {zone} is not in {region}")
    external = given.get("external_ip", "yes")
    if external not in ("yes", "no"):
        raise _invalid(config, f"external_ip is {external!r}, neither yes nor no")
    endpoint, anonymous = _endpoint(config, given.get("endpoint", COMPUTE))

    def other(setting: str, default: str) -> str:
        # A stand-in serves every API at one origin; nothing meant for it may reach Google.
        found, open_ = _endpoint(config, given.get(setting, endpoint if anonymous else default))
        if open_ != anonymous:
            raise _invalid(config, f"endpoint and {setting} must both be a lab's or Google's")
        return found

    return GcpSettings(
        project=project,
        region=region,
        zone=zone,
        network=given.get("network", "default"),
        subnet=given.get("subnet", ""),
        image=given.get("image", "projects/debian-cloud/global/images/family/debian-12"),
        machine_types=tuple(given.get("machine_types", "").replace(",", " ").split()),
        disk_type=given.get("disk_type", ""),
        service_account=given.get("service_account", ""),
        external_ip=external == "yes",
        dns_zone=given.get("dns_zone", ""),
        dns_project=given.get("dns_project", project),
        endpoint=endpoint,
        dns_endpoint=other("dns_endpoint", DNS),
        resourcemanager_endpoint=other("resourcemanager_endpoint", RESOURCE_MANAGER),
        iam_endpoint=other("iam_endpoint", IAM),
        metadata_endpoint=given.get("metadata_endpoint", METADATA).rstrip("/"),
        anonymous=anonymous,
        key=_key(config),
    )


def _endpoint(config: SiteConfig, given: str) -> tuple[str, bool]:
    """The endpoint with its scheme, and whether it is a lab's."""
    url = given if "://" in given else f"https://{given}"
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url.rstrip("/"), False
    try:
        lab = ipaddress.ip_address(parts.hostname or "").is_private
    except ValueError:
        lab = parts.hostname == "localhost"
    if parts.scheme != "http" or not lab:
        raise _invalid(config, f"the endpoint {given} is neither https nor a lab's address")
    return url.rstrip("/"), True


def _key(config: SiteConfig) -> dict[str, Any]:
    text = config.secrets.get("service_account_json", "")
    if not text:
        return {}
    try:
        key = json.loads(text)
    except ValueError:
        key = None
    if not isinstance(key, dict) or key.get("type") != "service_account":
        # `from None` and no quoting: the text is a secret.
        raise _invalid(config, "service_account_json is no service account's key") from None
    return key


def _invalid(config: SiteConfig, why: str) -> Invalid:
    return Invalid(f"cannot open the site {config.name}: {why}", "see docs/sites/gcp.md")
