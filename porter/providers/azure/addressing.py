"""Public IP addresses of the site's resource group, moved between the NICs of its machines."""

from __future__ import annotations

from functools import partial
from typing import Any

from porter.domain.errors import Invalid, NotFound
from porter.providers.azure import operations, views
from porter.providers.azure.client import Clients
from porter.providers.azure.faults import guard
from porter.providers.azure.hosts import AGAIN, VM
from porter.providers.azure.place import Place
from porter.providers.base import Pending


class AzureAddressing:
    """A public address belongs to one IP configuration of one NIC; to move it, it leaves the one
    and joins the other. In between it leads nowhere, for some seconds."""

    def __init__(self, place: Place, clients: Clients) -> None:
        self._place, self._clients = place, clients

    def where(self, address: str) -> str:
        with guard(f"find the address {address}"):
            nic = self._holder(self._public(address))
            return "" if nic is None else self._machine(nic)

    def assign(self, address: str, instance: str, token: str = "") -> Pending | None:
        with guard(f"let {address} lead to {instance}"):
            stage, resume = operations.read(token)
            if resume:
                pending = operations.drive(stage, self._put(stage, {}), resume).pending
                if pending is not None:
                    return pending
            for _ in range(3):  # off the one, onto the other, and a look
                public, target = self._public(address), self._nic_of(instance)
                holder = self._holder(public)
                if holder is None:
                    pending = self._change(target, {"id": str(public["id"])})
                elif holder["id"].lower() != target["id"].lower():
                    pending = self._change(holder, None)
                else:
                    return None if views.provisioning(holder) == "Succeeded" else AGAIN
                if pending is not None:
                    return pending
            return AGAIN

    def _change(self, nic: Any, public: Any) -> Pending | None:
        """Let the NIC's primary configuration have this public address, or none; only if nobody
        changed the NIC since it was read."""
        body = _writable(nic)
        properties = body["properties"]["ipConfigurations"][0]["properties"]
        properties.pop("publicIPAddress", None)
        if public is not None:
            properties["publicIPAddress"] = public
        put = partial(self._put(nic["name"], body), headers={"If-Match": nic["etag"]})
        return operations.drive(nic["name"], put).pending

    def _put(self, name: str, body: Any) -> Any:
        nics = self._clients.network.network_interfaces
        return partial(nics.begin_create_or_update, self._place.resource_group, name, body)

    def _public(self, address: str) -> views.Json:
        listed = self._clients.network.public_ip_addresses.list(self._place.resource_group)
        for one in listed:
            if views.inner(one).get("ipAddress") == address:
                found: views.Json = one
                return found
        raise NotFound(
            f"cannot find the address {address} in {self._place.resource_group}",
            "put the public IP address into the site's resource group",
        )

    def _holder(self, public: views.Json) -> Any:
        """The NIC that has it; None. Raises Invalid if something else has it."""
        configuration = str((views.inner(public).get("ipConfiguration") or {}).get("id", ""))
        if not configuration:
            return None
        owner = configuration.lower().rsplit("/ipconfigurations/", 1)[0]
        prefix = self._place.id("Microsoft.Network/networkInterfaces", "")
        if not owner.startswith(prefix):
            raise Invalid(
                f"cannot use the address {views.inner(public).get('ipAddress')}: "
                f"{configuration} has it",
                "use an address that no load balancer or gateway has",
            )
        name = owner.removeprefix(prefix)
        return self._clients.network.network_interfaces.get(self._place.resource_group, name)

    def _machine(self, nic: Any) -> str:
        owner = str((views.inner(nic).get("virtualMachine") or {}).get("id", ""))
        return self._place.id(VM, owner.rsplit("/", 1)[1]) if owner else ""

    def _nic_of(self, instance: str) -> Any:
        prefix = self._place.id(VM, "")
        if not instance.lower().startswith(prefix):
            raise NotFound(f"cannot find the machine {instance} in {self._place.resource_group}")
        group, name = self._place.resource_group, instance.lower().removeprefix(prefix)
        vm = self._clients.compute.virtual_machines.get(group, name)
        nic = str(views.inner(vm)["networkProfile"]["networkInterfaces"][0]["id"])
        return self._clients.network.network_interfaces.get(group, nic.rsplit("/", 1)[1])


def _writable(nic: Any) -> dict[str, Any]:
    """The NIC as a PUT may say it: Azure also tells what is read-only, or in no schema at all."""
    from azure.mgmt.network import types

    body = _listed(types.NetworkInterface, nic.as_dict(exclude_readonly=True))
    body["properties"] = _listed(types.NetworkInterfacePropertiesFormat, body["properties"])
    return body


def _listed(kind: Any, value: dict[str, Any]) -> dict[str, Any]:
    known = kind.__required_keys__ | kind.__optional_keys__
    return {key: one for key, one in value.items() if key in known}
