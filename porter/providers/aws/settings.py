"""The settings of an AWS site."""

from __future__ import annotations

import re
from dataclasses import dataclass

from porter.domain.errors import Invalid
from porter.providers.base import SiteConfig

METADATA_URL = "http://169.254.169.254"
_PATTERNS = {
    "image": r"ami-[0-9a-f]{8,17}|resolve:ssm:/\S+",
    "subnet": r"subnet-[0-9a-f]{8,17}(,subnet-[0-9a-f]{8,17})*",
    "security_groups": r"sg-[0-9a-f]{8,17}(,sg-[0-9a-f]{8,17})*",
    "instance_types": r"[a-z0-9.*-]+(,[a-z0-9.*-]+)*",
    "role_arn": r"arn:aws[a-z-]*:iam::\d{12}:role/\S+",
    "endpoint_url": r"https?://\S+",
    "metadata_url": r"https?://\S+",
    "settle_seconds": r"\d{1,3}(\.\d+)?",
}
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


@dataclass(frozen=True)
class Settings:
    image: str = ""
    """An AMI's id, or `resolve:ssm:/NAME` for a parameter that holds one."""
    subnets: tuple[str, ...] = ()
    """The first is used unless a zone is asked for; empty for the default VPC's."""
    security_groups: tuple[str, ...] = ()
    instance_profile: str = ""
    """Name or ARN."""
    instance_types: tuple[str, ...] = ()
    """Allow-list, `*` permitted; empty for all."""
    profile: str = ""
    role_arn: str = ""
    external_id: str = ""
    endpoint_url: str = ""
    metadata_url: str = METADATA_URL
    settle_seconds: float = 15.0
    """How long something must stay unseen until it counts as never made: EC2 may describe a new
    machine only a while after it was launched."""


def parse(config: SiteConfig) -> Settings:
    """Raises Invalid, naming the setting."""
    given = {key: _clean(value) for key, value in config.settings.items() if value.strip()}
    for key, pattern in _PATTERNS.items():
        if key in given and not re.fullmatch(pattern, given[key]):
            raise Invalid(
                f"cannot open the site {config.name}: {key} cannot be {given[key]!r}",
                "docs/sites/aws.md describes the settings",
            )
    if not _REGION.fullmatch(config.region):
        raise Invalid(
            f"cannot open the site {config.name}: {config.region!r} is no region",
            "name one as in eu-west-1",
        )
    return Settings(
        image=given.get("image", ""),
        subnets=_list(given.get("subnet", "")),
        security_groups=_list(given.get("security_groups", "")),
        instance_profile=given.get("instance_profile", ""),
        instance_types=_list(given.get("instance_types", "")),
        profile=given.get("profile", ""),
        role_arn=given.get("role_arn", ""),
        external_id=given.get("external_id", ""),
        endpoint_url=given.get("endpoint_url", ""),
        metadata_url=given.get("metadata_url", METADATA_URL),
        settle_seconds=float(given.get("settle_seconds", "15")),
    )


def _clean(value: str) -> str:
    return re.sub(r"\s*,\s*", ",", value.strip())


def _list(value: str) -> tuple[str, ...]:
    return tuple(one for one in value.split(",") if one)
