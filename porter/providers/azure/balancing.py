"""Backend pools of load balancers, by address.

A group is `LOAD-BALANCER/POOL`, or the load balancer's name if it has one pool. A pool has no port:
its load balancing rules have, so a target is told once for each rule's backend port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from porter.domain.errors import Invalid, NotFound, Unsupported
from porter.providers.azure import operations, views
from porter.providers.azure.client import Clients
from porter.providers.azure.faults import guard
from porter.providers.azure.hosts import AGAIN
from porter.providers.azure.place import Place
from porter.providers.base import Destination, Pending


class AzureBalancing:
    """One PUT of the pool changes all its targets at once. Health is asked of Azure's own probe,
    where the rule has one. Azure drains nothing: a target that left gets no new connections."""

    def __init__(self, place: Place, clients: Clients) -> None:
        self._place, self._clients = place, clients

    def targets(self, group: str) -> Mapping[str, int]:
        with guard(f"read the backend pool {group}"):
            balancer, pool = self._pool(group)
            ports = sorted({_port(one) for one in _rules(balancer, pool)})
            return {f"{one}:{port}": 1 for one in _addresses(pool) for port in ports}

    def set_targets(
        self, group: str, port: int, targets: Sequence[Destination], token: str = ""
    ) -> Pending | None:
        with guard(f"set the targets of the backend pool {group}"):
            balancer, pool = self._pool(group)
            rules = [one for one in _rules(balancer, pool) if _port(one) == port]
            if not rules:
                raise Invalid(
                    f"cannot set targets of {group}: no load balancing rule leads to port {port}",
                    f"add a rule with the backend port {port} to this pool",
                )
            stage, resume = operations.read(token)
            if stage == "health":
                return self._health(balancer, rules, targets, resume)
            if stage == "pool":
                pending = self._put(balancer, pool, {}, resume)
            elif sorted(_addresses(pool)) == sorted({one.address for one in targets}):
                pending = None
            else:
                pending = self._put(balancer, pool, self._body(group, pool, targets))
            return pending or self._health(balancer, rules, targets)

    def _put(self, balancer: Any, pool: Any, body: Any, resume: str = "") -> Pending | None:
        put = partial(
            self._clients.network.load_balancer_backend_address_pools.begin_create_or_update,
            self._place.resource_group,
            balancer["name"],
            pool["name"],
            body,
        )
        return operations.drive("pool", put, resume).pending

    def _body(self, group: str, pool: Any, targets: Sequence[Destination]) -> dict[str, Any]:
        if any("networkInterfaceIPConfiguration" in one for one in _members(pool)):
            raise Unsupported(
                f"cannot set targets of {group}: its members are NICs, not addresses",
                "empty the pool or migrate it: az network lb ... migrate to IP-based",
            )
        network = {"id": self._place.network}
        addresses = [
            {
                "name": f"porter-{one.replace('.', '-')}",
                "properties": {"ipAddress": one, "virtualNetwork": network},
            }
            for one in sorted({one.address for one in targets})
        ]
        return {"properties": {"loadBalancerBackendAddresses": addresses}}

    def _health(
        self, balancer: Any, rules: list[Any], targets: Sequence[Destination], resume: str = ""
    ) -> Pending | None:
        """None once Azure's probe finds all of them up, or where there is no probe."""
        probed = [one for one in rules if views.inner(one).get("probe")]
        if not probed or not targets:
            return None
        ask = partial(
            self._clients.network.load_balancer_load_balancing_rules.begin_health,
            self._place.resource_group,
            balancer["name"],
            probed[0]["name"],
        )
        outcome = operations.drive("health", ask, resume)
        if outcome.pending is not None:
            return outcome.pending
        told = (outcome.result or {}).get("loadBalancerBackendAddresses") or ()
        up = {one.get("ipAddress") for one in told if one.get("state") == "Up"}
        return None if up >= {one.address for one in targets} else AGAIN

    def _pool(self, group: str) -> tuple[Any, Any]:
        name, _, wanted = group.partition("/")
        balancer = self._clients.network.load_balancers.get(self._place.resource_group, name)
        pools = views.inner(balancer).get("backendAddressPools") or []
        found = [one for one in pools if one["name"] == wanted or not wanted]
        if len(found) != 1:
            names = ", ".join(f"{name}/{one['name']}" for one in pools)
            raise NotFound(f"cannot find the backend pool {group}", f"there are: {names or 'none'}")
        return balancer, found[0]


def _rules(balancer: Any, pool: Any) -> list[Any]:
    wanted = str(pool["id"]).lower()
    return [
        one
        for one in views.inner(balancer).get("loadBalancingRules") or []
        if str((views.inner(one).get("backendAddressPool") or {}).get("id", "")).lower() == wanted
    ]


def _port(rule: Any) -> int:
    return int(views.inner(rule)["backendPort"])


def _members(pool: Any) -> list[views.Json]:
    listed = views.inner(pool).get("loadBalancerBackendAddresses") or []
    return [views.inner(one) for one in listed]


def _addresses(pool: Any) -> list[str]:
    return [str(one["ipAddress"]) for one in _members(pool) if one.get("ipAddress")]
