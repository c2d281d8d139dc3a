"""Which of the actions that Porter needs are granted, by Azure's own list of permissions.

A permission grants what its `actions` match and its `notActions` do not; several add up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from porter.domain.errors import Denied
from porter.providers.azure.client import Clients
from porter.providers.azure.faults import ROLE, guard
from porter.providers.azure.place import Place
from porter.providers.base import Right

API_VERSION = "2022-04-01"


@dataclass(frozen=True)
class Need:
    """An action, where it is needed (`group`, `subnet`, `network`, `dns` or `subscription`) and
    what for."""

    action: str
    scope: str
    purpose: str


def _needs(scope: str, purpose: str, provider: str, *actions: str) -> tuple[Need, ...]:
    return tuple(Need(f"{provider}/{one}", scope, purpose) for one in actions)


_COMPUTE, _NETWORK = "Microsoft.Compute", "Microsoft.Network"
NEEDS: tuple[Need, ...] = (
    *_needs("group", "to tell what is missing", "Microsoft.Authorization", "permissions/read"),
    *_needs("subscription", "to know the sizes of machines", _COMPUTE, "skus/read"),
    *_needs("group", "to see machines", _COMPUTE, "virtualMachines/read", "disks/read"),
    *_needs("group", "to see machines", _NETWORK, "networkInterfaces/read"),
    *_needs("group", "to make machines", _COMPUTE, "virtualMachines/write", "disks/write"),
    *_needs("group", "to make machines", _NETWORK, "networkInterfaces/write"),
    *_needs("group", "to make machines", _NETWORK, "networkInterfaces/join/action"),
    *_needs("subnet", "to make machines", _NETWORK, "virtualNetworks/subnets/join/action"),
    *_needs("group", "to power off a lost host", _COMPUTE, "virtualMachines/powerOff/action"),
    *_needs("group", "to remove machines", _COMPUTE, "virtualMachines/delete", "disks/delete"),
    *_needs("group", "to remove machines", _NETWORK, "networkInterfaces/delete"),
    *_needs("group", "to move public addresses", _NETWORK, "publicIPAddresses/read"),
    *_needs("group", "to move public addresses", _NETWORK, "publicIPAddresses/join/action"),
    *_needs("group", "to move load balancers' targets", _NETWORK, "loadBalancers/read"),
    *_needs(
        "group",
        "to move load balancers' targets",
        _NETWORK,
        "loadBalancers/backendAddressPools/read",
        "loadBalancers/backendAddressPools/write",
        "loadBalancers/loadBalancingRules/health/action",
    ),
    *_needs(
        "network",
        "to move load balancers' targets",
        _NETWORK,
        "virtualNetworks/joinLoadBalancer/action",
    ),
    *_needs("dns", "to move DNS names", _NETWORK, "dnsZones/read", "dnsZones/A/read"),
    *_needs("dns", "to move DNS names", _NETWORK, "dnsZones/A/write", "dnsZones/A/delete"),
)


class AzureRights:
    def __init__(self, place: Place, clients: Clients) -> None:
        self._place, self._clients = place, clients

    def check(self) -> Sequence[Right]:
        """Raises Denied if the credentials themselves are refused."""
        scopes = self._scopes()
        told = {scope: self._permissions(id) for scope, id in scopes.items()}
        return [
            Right(
                one.action,
                None if (known := told[one.scope]) is None else granted(one.action, known),
                one.purpose,
                f"{ROLE}, on {scopes[one.scope]}",
            )
            for one in NEEDS
        ]

    def _scopes(self) -> dict[str, str]:
        place = self._place
        subscription = f"/subscriptions/{place.subscription}"
        dns = place.dns_resource_group or place.resource_group
        return {
            "subscription": subscription,
            "group": place.scope,
            "dns": f"{subscription}/resourceGroups/{dns}",
            "subnet": place.subnet,
            "network": place.network,
        }

    def _permissions(self, scope: str) -> list[Mapping[str, Any]] | None:
        """All pages; None where the identity may not even read its own permissions."""
        from azure.core.rest import HttpRequest

        path = f"{scope}/providers/Microsoft.Authorization/permissions?api-version={API_VERSION}"
        url = self._clients.base_url + path
        found: list[Mapping[str, Any]] = []
        with guard(f"read the permissions on {scope}"):
            while url:
                answer = self._clients.plain.send_request(HttpRequest("GET", url))
                if answer.status_code == 401:
                    raise Denied("cannot use Azure: the credentials are refused", "renew them")
                if answer.status_code in (403, 404):
                    return None
                answer.raise_for_status()
                page = answer.json()
                found += page.get("value", ())
                url = page.get("nextLink") or ""
        return found


def granted(action: str, permissions: Iterable[Mapping[str, Any]]) -> bool:
    return any(
        _matched(action, one.get("actions") or ())
        and not _matched(action, one.get("notActions") or ())
        for one in permissions
    )


def _matched(action: str, patterns: Iterable[str]) -> bool:
    """Case never counts; `*` stands for any text, slashes included."""
    return any(
        re.fullmatch(".*".join(map(re.escape, one.split("*"))), action, re.IGNORECASE)
        for one in patterns
    )
