"""Targets of load balancers: zonal network endpoint groups.

A group's name stands for all zonal groups of that name in the region, as one load balancer's
backends usually are. `GCE_VM_IP_PORT` groups take machines of their zone, `NON_GCP_PRIVATE_IP_PORT`
(hybrid) groups any address that the network reaches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from porter.domain.errors import Invalid, NotFound
from porter.providers.base import Destination, Pending
from porter.providers.gcp import operations
from porter.providers.gcp.hosts import zones_of
from porter.providers.gcp.machines import last, split_identity
from porter.providers.gcp.session import Session

HYBRID = "NON_GCP_PRIVATE_IP_PORT"
VMS = "GCE_VM_IP_PORT"


@dataclass(frozen=True)
class _End:
    """One endpoint in one group."""

    address: str
    port: int
    instance: str = ""
    """Name of the machine; empty in hybrid groups."""

    def wire(self) -> Any:
        from google.cloud import compute_v1 as c

        end = c.NetworkEndpoint(ip_address=self.address, port=self.port)
        if self.instance:
            end.instance = self.instance
        return end


class GcpBalancing:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings

    def targets(self, group: str) -> Mapping[str, int]:
        return {
            f"{end.address}:{end.port}": 1
            for one in self._groups(group)
            for end, _ in self._ends(one, draining=False)
        }

    def set_targets(
        self, group: str, port: int, targets: Sequence[Destination], token: str = ""
    ) -> Pending | None:
        what = f"set the targets of {group}"
        busy = operations.poll(self._session, what, token)
        if busy is not None:
            return busy
        groups = self._groups(group)
        wish = self._placed(group, port, targets, groups)
        # First all that come, then all that go: the balancer is never left without a target.
        for verb in ("attach", "detach"):
            for one in groups:
                have = {end for end, _ in self._ends(one, draining=False)}
                want = wish[last(one.zone)]
                change = want - have if verb == "attach" else have - want
                if change:
                    return self._change(what, verb, one, change)
        return None if self._settled(what, groups) else Pending("", 2.0)

    def _placed(
        self, group: str, port: int, targets: Sequence[Destination], groups: Sequence[Any]
    ) -> dict[str, set[_End]]:
        """Which endpoint belongs into which zone's group."""
        wish: dict[str, set[_End]] = {last(one.zone): set() for one in groups}
        kinds = {last(one.zone): one.network_endpoint_type for one in groups}
        hybrid = next((zone for zone, kind in kinds.items() if kind == HYBRID), "")
        for target in targets:
            zone, name = split_identity(target.instance) if target.instance else ("", "")
            if kinds.get(zone) == VMS:
                wish[zone].add(_End(target.address, port, name))
            elif hybrid:
                wish[hybrid].add(_End(target.address, port))
            else:
                raise Invalid(
                    f"cannot set the targets of {group}: no group of it can hold {target.address}",
                    f"make a group {group} in {zone or 'a zone'}"
                    f" of the type {VMS if zone else HYBRID}",
                )
        return wish

    def _groups(self, group: str) -> list[Any]:
        from google.cloud import compute_v1 as c

        found = []
        for zone in zones_of(self._session):
            request = c.GetNetworkEndpointGroupRequest(
                project=self._settings.project, zone=zone, network_endpoint_group=group
            )
            try:
                what = f"find the group {group}"
                one = self._session.call(what, "NetworkEndpointGroupsClient", "get", request)
            except NotFound:
                continue
            if one.network_endpoint_type not in (VMS, HYBRID):
                raise Invalid(f"cannot use the group {group}: it is {one.network_endpoint_type}")
            found.append(one)
        if not found:
            raise NotFound(f"cannot find the network endpoint group {group}")
        return found

    def _ends(self, group: Any, draining: bool) -> list[tuple[_End, list[str]]]:
        """Endpoints and what health checks say of each; with those that drain, or without."""
        from google.cloud import compute_v1 as c

        request = c.ListNetworkEndpointsNetworkEndpointGroupsRequest(
            project=self._settings.project,
            zone=last(group.zone),
            network_endpoint_group=group.name,
            network_endpoint_groups_list_endpoints_request_resource=(
                c.NetworkEndpointGroupsListEndpointsRequest(health_status="SHOW")
            ),
        )
        what = f"list the targets of {group.name}"
        client, method = "NetworkEndpointGroupsClient", "list_network_endpoints"
        found = []
        for one in self._session.all(what, client, method, request):
            end = one.network_endpoint
            healths = [health.health_state for health in one.healths]
            if draining or "DRAINING" not in healths:
                found.append((_End(end.ip_address, end.port, last(end.instance)), healths))
        return found

    def _change(self, what: str, verb: str, group: Any, ends: Iterable[_End]) -> Pending:
        from google.cloud import compute_v1 as c

        body = getattr(c, f"NetworkEndpointGroups{verb.title()}EndpointsRequest")(
            network_endpoints=[one.wire() for one in sorted(ends, key=repr)]
        )
        request = getattr(c, f"{verb.title()}NetworkEndpointsNetworkEndpointGroupRequest")(
            project=self._settings.project,
            zone=last(group.zone),
            network_endpoint_group=group.name,
            request_id=operations.fresh_id(),
            **{f"network_endpoint_groups_{verb}_endpoints_request_resource": body},
        )
        method = f"{verb}_network_endpoints_unary"
        return operations.token(
            self._session.call(what, "NetworkEndpointGroupsClient", method, request)
        )

    def _settled(self, what: str, groups: Sequence[Any]) -> bool:
        """Whether all endpoints are healthy and none drains. One that no health check knows is
        fine if no backend service uses its group; else its first check is still to come."""
        for group in groups:
            healths = [states for _, states in self._ends(group, draining=True)]
            if any(state != "HEALTHY" for states in healths for state in states):
                return False
            if any(not states for states in healths) and self._used(what, group):
                return False
        return True

    def _used(self, what: str, group: Any) -> bool:
        from google.cloud import compute_v1 as c

        project, region = self._settings.project, self._settings.region
        path = f"/zones/{last(group.zone)}/networkEndpointGroups/{group.name}"
        everywhere = c.ListBackendServicesRequest(project=project)
        here = c.ListRegionBackendServicesRequest(project=project, region=region)
        services = [
            *self._session.all(what, "BackendServicesClient", "list", everywhere),
            *self._session.all(what, "RegionBackendServicesClient", "list", here),
        ]
        return any(
            backend.group.endswith(path) and service.health_checks
            for service in services
            for backend in service.backends
        )
