"""Static external addresses of one region, moved between machines' first network cards.

A card has at most one public address. The machine that loses the static one gets an ephemeral one
back (if the site gives any), else its agent could reach the control plane no more.
"""

from __future__ import annotations

from typing import Any

from porter.domain.errors import NotFound, Unsupported
from porter.providers.base import Pending
from porter.providers.gcp import operations
from porter.providers.gcp.machines import NAT, NIC, ephemeral, identity, split_identity
from porter.providers.gcp.session import Session


class GcpAddressing:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings

    def where(self, address: str) -> str:
        from google.cloud import compute_v1 as c

        request = c.ListAddressesRequest(
            project=self._settings.project,
            region=self._settings.region,
            filter=f'address = "{address}"',
        )
        what = f"find the address {address}"
        for one in self._session.all(what, "AddressesClient", "list", request):
            if one.address_type != "INTERNAL":
                return self._user(address, one)
        raise NotFound(f"cannot {what}: {self._settings.project} has reserved no such address")

    def assign(self, address: str, instance: str, token: str = "") -> Pending | None:
        what = f"lead {address} to {instance}"
        busy = operations.poll(self._session, what, token)
        if busy is not None:
            # An empty token begins anew, but still knows who lost the address.
            return busy if busy.token else Pending(self._since(token), busy.seconds)
        lost = operations.parse(token).get("lost", "")
        holder = self.where(address)
        if holder and holder != instance:
            access = self._access(what, holder)
            if access is None or access.nat_i_p != address:
                # The list lags behind what is done.
                return Pending(self._since(token) if lost else "", 1.0)
            return self._remove(what, holder, access, lost=holder)
        access = self._access(what, instance)
        if access is None:
            return self._add(what, instance, address, lost)
        if access.nat_i_p != address:
            return self._remove(what, instance, access, lost)
        if lost and lost != instance and self._settings.external_ip:
            return self._give_back(what, lost)
        return None

    def _give_back(self, what: str, lost: str) -> Pending | None:
        try:
            if self._access(what, lost) is not None:
                return None
            return self._add(what, lost, "", "")
        except NotFound:
            return None  # that machine is gone

    @staticmethod
    def _since(token: str) -> str:
        lost = operations.parse(token).get("lost", "")
        return f'{{"lost": "{lost}"}}' if lost else ""

    def _user(self, address: str, reserved: Any) -> str:
        for link in reserved.users:
            parts = link.split("/")
            if parts[-2] != "instances":
                raise Unsupported(
                    f"cannot move {address}: it belongs to {parts[-2]} {parts[-1]}",
                    "give the workload an lb= endpoint instead",
                )
            return identity(parts[-3], parts[-1])
        return ""

    def _access(self, what: str, instance: str) -> Any:
        """The first card's public address, if any."""
        from google.cloud import compute_v1 as c

        zone, name = split_identity(instance)
        request = c.GetInstanceRequest(project=self._settings.project, zone=zone, instance=name)
        machine = self._session.call(what, "InstancesClient", "get", request)
        return next(iter(machine.network_interfaces[0].access_configs), None)

    def _remove(self, what: str, instance: str, access: Any, lost: str) -> Pending:
        from google.cloud import compute_v1 as c

        zone, name = split_identity(instance)
        request = c.DeleteAccessConfigInstanceRequest(
            project=self._settings.project,
            zone=zone,
            instance=name,
            network_interface=NIC,
            access_config=access.name or NAT,
            request_id=operations.fresh_id(),
        )
        begun = self._session.call(what, "InstancesClient", "delete_access_config_unary", request)
        return operations.token(begun, lost=lost)

    def _add(self, what: str, instance: str, address: str, lost: str) -> Pending:
        from google.cloud import compute_v1 as c

        zone, name = split_identity(instance)
        access = ephemeral()
        access.nat_i_p = address or None
        request = c.AddAccessConfigInstanceRequest(
            project=self._settings.project,
            zone=zone,
            instance=name,
            network_interface=NIC,
            access_config_resource=access,
            request_id=operations.fresh_id(),
        )
        begun = self._session.call(what, "InstancesClient", "add_access_config_unary", request)
        return operations.token(begun, lost=lost)
