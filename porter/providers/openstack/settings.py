"""Settings of an OpenStack site, read and checked once."""

from __future__ import annotations

from dataclasses import dataclass

from porter.domain.errors import Invalid
from porter.providers.base import SiteConfig

METADATA = "http://169.254.169.254"
ARCHITECTURES = ("x86_64", "aarch64")
SECRETS = ({"username", "password"}, {"application_credential_id", "application_credential_secret"})


@dataclass(frozen=True)
class Settings:
    """As `docs/sites/openstack.md` explains them; "" where the site says nothing."""

    cloud: str
    auth_url: str
    project: str
    user_domain: str
    project_domain: str
    interface: str
    cacert: str
    compute_endpoint: str
    network_endpoint: str
    image: str
    network: str
    floating_network: str
    flavors: tuple[str, ...]
    arch: str
    key_name: str
    security_groups: tuple[str, ...]
    zone: str
    config_drive: bool
    timeout: float
    """Seconds that one answer may take."""
    metadata_url: str


def parse(config: SiteConfig) -> Settings:
    """Raises Invalid with the setting that is wrong."""
    given = dict(config.settings)
    if config.secrets and set(config.secrets) not in SECRETS:
        raise Invalid(
            f"cannot open {config.name}: its secrets are {', '.join(sorted(config.secrets))}",
            "give username and password, or application_credential_id and"
            " application_credential_secret, or none of them to use clouds.yaml or OS_*",
        )
    if config.secrets and not given.get("auth_url"):
        raise Invalid(f"cannot open {config.name}: auth_url is missing", "say where Keystone is")
    if "password" in config.secrets and not given.get("project"):
        raise Invalid(f"cannot open {config.name}: project is missing", "name the project")
    arch = given.get("arch", ARCHITECTURES[0])
    if arch not in ARCHITECTURES:
        raise Invalid(f"cannot open {config.name}: arch is {arch!r}", "say x86_64 or aarch64")
    config_drive = given.get("config_drive", "false")
    if config_drive not in ("true", "false"):
        raise Invalid(f"cannot open {config.name}: config_drive is {config_drive!r}", "true, false")
    return Settings(
        cloud=given.get("cloud", ""),
        auth_url=given.get("auth_url", ""),
        project=given.get("project", ""),
        user_domain=given.get("user_domain", "Default"),
        project_domain=given.get("project_domain", "Default"),
        interface=given.get("interface", ""),
        cacert=given.get("cacert", ""),
        compute_endpoint=given.get("compute_endpoint", ""),
        network_endpoint=given.get("network_endpoint", ""),
        image=given.get("image", ""),
        network=given.get("network", ""),
        floating_network=given.get("floating_network", ""),
        flavors=_words(given.get("flavors", "")),
        arch=arch,
        key_name=given.get("key_name", ""),
        security_groups=_words(given.get("security_groups", "")),
        zone=given.get("zone", ""),
        config_drive=config_drive == "true",
        timeout=_seconds(config, given.get("timeout", "30")),
        metadata_url=given.get("metadata_url", METADATA),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _seconds(config: SiteConfig, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 300:
        raise Invalid(f"cannot open {config.name}: timeout is {text!r}", "say seconds, at most 300")
    return seconds
