"""The SDK's clients: made on first use, patient for a second or two only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from porter.providers.azure.place import Place

if TYPE_CHECKING:
    from azure.mgmt.compute import ComputeManagementClient
    from azure.mgmt.core import ARMPipelineClient
    from azure.mgmt.dns import DnsManagementClient
    from azure.mgmt.network import NetworkManagementClient

PATIENCE = 2.0
"""Seconds that a Retry-After may ask for within a call; beyond it the engine waits, not we."""
PUBLIC = "https://management.azure.com"
_SOVEREIGN = ("management.chinacloudapi.cn", "management.usgovcloudapi.net")


class Bearer:
    """A fixed token, for stand-ins: the place behind `base_url` knows no Entra ID."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **options: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, int(time.time()) + 3600)


class Clients:
    """One of each per provider. Raises Denied from the calls if there is no credential."""

    def __init__(self, place: Place, secrets: Mapping[str, str]) -> None:
        self._place, self._secrets = place, secrets

    @cached_property
    def compute(self) -> ComputeManagementClient:
        from azure.mgmt.compute import ComputeManagementClient

        return ComputeManagementClient(**self._options())

    @cached_property
    def network(self) -> NetworkManagementClient:
        from azure.mgmt.network import NetworkManagementClient

        return NetworkManagementClient(**self._options())

    @cached_property
    def dns(self) -> DnsManagementClient:
        from azure.mgmt.dns import DnsManagementClient

        return DnsManagementClient(**self._options())

    @property
    def base_url(self) -> str:
        return self._place.base_url or PUBLIC

    @property
    def audience(self) -> str:
        """What tokens are for. A private endpoint has another name, but is the same service."""
        own = self.base_url.removeprefix("https://") in _SOVEREIGN
        return f"{self.base_url if own else PUBLIC}/.default"

    @cached_property
    def plain(self) -> ARMPipelineClient:
        """For the one service whose own SDK would be a dependency for a single GET."""
        from azure.core.pipeline import policies
        from azure.mgmt.core import ARMPipelineClient
        from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy

        verify = self._place.connection_verify or True
        pipeline = [
            policies.RequestIdPolicy(),
            policies.HeadersPolicy(),
            bounded_retry(),
            ARMChallengeAuthenticationPolicy(self._credential, self.audience),
        ]
        return ARMPipelineClient(self.base_url, policies=pipeline, connection_verify=verify)

    def _options(self) -> dict[str, Any]:
        place = self._place
        options: dict[str, Any] = {
            "credential": self._credential,
            "subscription_id": place.subscription,
            "retry_policy": bounded_retry(),
            "connection_timeout": 5,
            "read_timeout": 30,
        }
        if place.base_url:
            options["base_url"] = place.base_url
            options["credential_scopes"] = [self.audience]
        if place.connection_verify:
            options["connection_verify"] = place.connection_verify
        return options

    @cached_property
    def _credential(self) -> Any:
        secrets = self._secrets
        if self._place.base_url and secrets.get("token"):
            return Bearer(secrets["token"])
        from azure.identity import ClientSecretCredential, DefaultAzureCredential

        if secrets.get("client_secret"):
            return ClientSecretCredential(
                secrets.get("tenant_id", ""), secrets.get("client_id", ""), secrets["client_secret"]
            )
        return DefaultAzureCredential()


def bounded_retry() -> Any:
    """The SDK's retries, cut where the service asks for more than `PATIENCE`: a call stays short,
    and its error is Transient, so that the caller tries again later."""
    from azure.core.pipeline.policies import RetryPolicy

    class BoundedRetry(RetryPolicy):
        def is_retry(self, settings: dict[str, Any], response: Any) -> bool:
            asked = self.get_retry_after(response)
            if asked is not None and asked > PATIENCE:
                return False
            return bool(super().is_retry(settings, response))

    return BoundedRetry(retry_total=3, retry_backoff_factor=0.1, retry_backoff_max=1)
