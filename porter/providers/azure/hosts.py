"""Virtual machines: one VM, one NIC and one OS disk per key, all in the site's resource group.

What exists is read from ARM at each call, by name; a token only tells which operation to ask. So a
lost token costs nothing but the reason of a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from porter.domain.errors import Conflict, Invalid, Permanent
from porter.providers.azure import bodies, operations, sizes, views
from porter.providers.azure.client import Clients
from porter.providers.azure.faults import guard, of_code
from porter.providers.azure.place import Place
from porter.providers.base import (
    TAG_KEY,
    TAG_MANAGED,
    Instance,
    InstanceState,
    InstanceType,
    LaunchSpec,
    Pending,
    Stray,
)

VM = "Microsoft.Compute/virtualMachines"
AGAIN = Pending("", 2.0)


class AzureHosts:
    def __init__(self, place: Place, clients: Clients) -> None:
        self._place, self._clients = place, clients

    def types(self) -> Sequence[InstanceType]:
        with guard(f"list the sizes of {self._place.region}"):
            return sizes.launchable(self._place, self._clients)

    # -- launching --------------------------------------------------------------------------

    def launch(self, spec: LaunchSpec, token: str = "") -> Instance | Pending:
        allowed = self._place.instance_types
        if allowed and spec.instance_type not in allowed:
            raise Invalid(
                f"cannot launch {spec.name}: the site's instance_types omit {spec.instance_type}"
            )
        with guard(f"launch {spec.name}"):
            pending = self._resumed(token, spec.key)
            if pending is not None:
                return pending
            vm = self._vm(spec.key)
            if vm is None:
                made = self._make_nic(spec) or self._make_vm(spec)
                if made is not None:
                    return made
                vm = self._vm(spec.key)
            return AGAIN if vm is None else self._launched(spec, vm)

    def _launched(self, spec: LaunchSpec, vm: views.Json) -> Instance | Pending:
        now = views.state(vm)
        if now is InstanceState.FAILED:
            raise of_code(f"launch {spec.name}", *views.failure(vm))
        if now is InstanceState.STARTING:
            return AGAIN
        if now is not InstanceState.RUNNING:
            raise Permanent(
                f"cannot launch {spec.name}: its machine is {now}", "terminate it first"
            )
        return self._described(spec.key, vm)

    def _make_nic(self, spec: LaunchSpec) -> Pending | None:
        name = bodies.nic_name(spec.key)
        nic = self._nic(spec.key)
        if nic is not None:
            return None if views.provisioning(nic) == "Succeeded" else AGAIN
        return operations.drive("nic", self._put_nic(name, bodies.nic(self._place, spec))).pending

    def _make_vm(self, spec: LaunchSpec) -> Pending | None:
        """Create-only: a second attempt under way cannot change what a first one made."""
        from azure.core import MatchConditions
        from azure.core.exceptions import HttpResponseError

        body = bodies.machine(self._place, spec)
        begin = partial(self._put_vm(spec.key, body), match_condition=MatchConditions.IfMissing)
        try:
            return operations.drive("vm", begin).pending
        except HttpResponseError as error:
            if error.status_code != 412:
                raise
            return None  # it is there by now: another attempt, or one whose answer was lost

    # -- looking ----------------------------------------------------------------------------

    def find(self, key: str) -> Instance | None:
        with guard(f"find the machine {key}"):
            vm = self._vm(key)
            return None if vm is None else self._described(key, vm)

    def managed(self, owner: str) -> Sequence[Instance]:
        with guard("list machines"):
            vms = self._clients.compute.virtual_machines
            ours = self._owned(vms.list(self._place.resource_group, expand="instanceView"), owner)
            found = list(ours)
            if not found:
                return []
            network, group = self._clients.network, self._place.resource_group
            nics = {str(one["id"]).lower(): one for one in network.network_interfaces.list(group)}
            addresses = {
                str(one["id"]).lower(): str(views.inner(one).get("ipAddress", ""))
                for one in network.public_ip_addresses.list(group)
            }
        return [
            views.instance(
                self._place.id(VM, vm["name"]), vm, nics.get(_first_nic(vm), {}), addresses
            )
            for vm in found
        ]

    def strays(self, owner: str) -> Sequence[Stray]:
        compute, network = self._clients.compute, self._clients.network
        group = self._place.resource_group
        lists: dict[str, Callable[[], Any]] = {
            "instance": lambda: compute.virtual_machines.list(group),
            "nic": lambda: network.network_interfaces.list(group),
            "disk": lambda: compute.disks.list_by_resource_group(group),
            "address": lambda: network.public_ip_addresses.list(group),
        }
        with guard("list what Porter made"):
            return [
                Stray(
                    kind,
                    str(one["id"]).lower(),
                    one["tags"].get(TAG_KEY, ""),
                    f"{one['name']}, {views.provisioning(one)}",
                )
                for kind, listed in lists.items()
                for one in self._owned(listed(), owner)
            ]

    # -- ending -----------------------------------------------------------------------------

    def power_off(self, key: str, token: str = "") -> Pending | None:
        with guard(f"power the machine {key} off"):
            pending = self._resumed(token, key)
            if pending is not None:
                return pending
            vm = self._vm(key)
            if vm is None or views.power(vm) in ("stopped", "deallocated"):
                return None
            if views.provisioning(vm) in ("Creating", "Deleting"):
                return AGAIN  # Azure refuses until that is over
            if token and views.power(vm) in ("stopping", "deallocating"):
                return AGAIN
            outcome = operations.drive("off", self._off(key))
            return outcome.pending or AGAIN  # only a look at the machine makes it sure

    def terminate(self, key: str, token: str = "") -> Pending | None:
        with guard(f"terminate the machine {key}"):
            pending = self._resumed(token, key)
            if pending is not None:
                return pending
            return (
                self._delete("no vm", self._vm(key), key)
                or self._delete("no nic", self._nic(key), key)
                or self._delete("no disk", self._disk(key), key)
            )

    def _delete(self, stage: str, found: views.Json | None, key: str) -> Pending | None:
        if found is None:
            return None
        if views.provisioning(found) == "Deleting":
            return AGAIN
        outcome = operations.drive(stage, self._calls(key)[stage])
        return outcome.pending or AGAIN  # gone only when a look says so

    # -- ARM --------------------------------------------------------------------------------

    def _resumed(self, token: str, key: str) -> Pending | None:
        stage, resume = operations.read(token)
        if not resume:
            return None
        try:
            call = self._calls(key)[stage]
        except KeyError as error:
            raise Invalid(f"cannot go on with the machine {key}: no stage {stage}") from error
        return operations.drive(stage, call, resume).pending

    def _calls(self, key: str) -> dict[str, Callable[..., Any]]:
        compute, network = self._clients.compute, self._clients.network
        group, nic, disk = self._place.resource_group, bodies.nic_name(key), bodies.disk_name(key)
        return {
            "nic": self._put_nic(nic, {}),
            "vm": self._put_vm(key, {}),
            "off": self._off(key),
            "no vm": partial(compute.virtual_machines.begin_delete, group, key),
            "no nic": partial(network.network_interfaces.begin_delete, group, nic),
            "no disk": partial(compute.disks.begin_delete, group, disk),
        }

    def _put_nic(self, name: str, body: Any) -> Callable[..., Any]:
        nics = self._clients.network.network_interfaces
        return partial(nics.begin_create_or_update, self._place.resource_group, name, body)

    def _put_vm(self, key: str, body: Any) -> Callable[..., Any]:
        vms = self._clients.compute.virtual_machines
        return partial(vms.begin_create_or_update, self._place.resource_group, key, body)

    def _off(self, key: str) -> Callable[..., Any]:
        off = self._clients.compute.virtual_machines.begin_power_off
        return partial(off, self._place.resource_group, key, skip_shutdown=True)

    def _vm(self, key: str) -> views.Json | None:
        get = partial(self._clients.compute.virtual_machines.get, expand="instanceView")
        return self._ours(get, key, key)

    def _nic(self, key: str) -> views.Json | None:
        return self._ours(self._clients.network.network_interfaces.get, bodies.nic_name(key), key)

    def _disk(self, key: str) -> views.Json | None:
        return self._ours(self._clients.compute.disks.get, bodies.disk_name(key), key)

    def _ours(self, get: Callable[..., Any], name: str, key: str) -> views.Json | None:
        """None if it is absent. Raises Conflict if the name belongs to something of others."""
        from azure.core.exceptions import ResourceNotFoundError

        try:
            found: views.Json = get(self._place.resource_group, name)
        except ResourceNotFoundError:
            return None
        if (found.get("tags") or {}).get(TAG_KEY) != key:
            raise Conflict(
                f"cannot use the name {name}: {self._place.resource_group} has one without the "
                f"tag {TAG_KEY}={key}",
                "rename or remove it, or give Porter a resource group of its own",
            )
        return found

    @staticmethod
    def _owned(listed: Any, owner: str) -> Iterator[Any]:
        return (one for one in listed if (one.get("tags") or {}).get(TAG_MANAGED) == owner)

    def _described(self, key: str, vm: views.Json) -> Instance:
        from azure.core.exceptions import ResourceNotFoundError

        group, network = self._place.resource_group, self._clients.network
        nic: views.Json = self._nic(key) or {}
        public = views.public_id(nic)
        addresses = {}
        if public:
            try:
                found = network.public_ip_addresses.get(group, public.rsplit("/", 1)[1])
                addresses[public] = str(views.inner(found).get("ipAddress", ""))
            except ResourceNotFoundError:
                pass  # of another group, or gone since: it is for show only
        return views.instance(self._place.id(VM, key), vm, nic, addresses)


def _first_nic(vm: views.Json) -> str:
    nics = (views.inner(vm).get("networkProfile") or {}).get("networkInterfaces") or [{}]
    return str(nics[0].get("id", "")).lower()
