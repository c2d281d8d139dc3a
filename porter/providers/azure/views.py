"""What ARM tells of a machine, in Porter's words. Reads the SDK's models as the mappings they are:
keys are ARM's own, and what ARM leaves out is absent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from porter.providers.base import TAG_HOST, TAG_KEY, Instance, InstanceState

_POWER = {
    "starting": InstanceState.STARTING,
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.STOPPING,
    "deallocating": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPED,
    "deallocated": InstanceState.STOPPED,
}
Json = Mapping[str, Any]


def inner(resource: Json) -> Json:
    """`properties`, empty if absent."""
    return resource.get("properties") or {}


def provisioning(resource: Json) -> str:
    return str(inner(resource).get("provisioningState", ""))


def statuses(vm: Json) -> Iterable[Json]:
    return (inner(vm).get("instanceView") or {}).get("statuses") or ()


def power(vm: Json) -> str:
    """`running`, `stopped`, `deallocated` …; empty while the VM has none yet."""
    found = (str(one.get("code", "")) for one in statuses(vm))
    return next((code.split("/", 1)[1] for code in found if code.startswith("PowerState/")), "")


def failure(vm: Json) -> tuple[str, str]:
    """Code and message of a failed provisioning: `ProvisioningState/failed/CODE`."""
    for one in statuses(vm):
        parts = str(one.get("code", "")).split("/")
        if parts[:2] == ["ProvisioningState", "failed"]:
            return parts[2] if len(parts) > 2 else "Failed", str(one.get("message", ""))
    return "Failed", "provisioning failed"


def state(vm: Json) -> InstanceState:
    match provisioning(vm):
        case "Deleting":
            return InstanceState.STOPPING
        case "Failed" | "Canceled":
            return InstanceState.FAILED
        case "Creating":
            return InstanceState.STARTING
    return _POWER.get(power(vm), InstanceState.STARTING)


def configurations(nic: Json) -> Iterable[Json]:
    return inner(nic).get("ipConfigurations") or ()


def primary(nic: Json) -> Json:
    """The properties of its first IP configuration."""
    return inner(next(iter(configurations(nic)), {}))


def public_id(nic: Json) -> str:
    """Id of the NIC's public address, lower-case; empty if it has none."""
    return str((primary(nic).get("publicIPAddress") or {}).get("id", "")).lower()


def instance(id: str, vm: Json, nic: Json, addresses: Mapping[str, str]) -> Instance:
    """`addresses` are the public ones, by lower-case id."""
    labels = dict(vm.get("tags") or {})
    now = state(vm)
    problem = ": ".join(failure(vm)) if now is InstanceState.FAILED else ""
    return Instance(
        id=id,
        key=labels.get(TAG_KEY, ""),
        name=labels.get(TAG_HOST, str(vm.get("name", ""))),
        state=now,
        instance_type=str((inner(vm).get("hardwareProfile") or {}).get("vmSize", "")),
        zone=next(iter(vm.get("zones") or ()), ""),
        private_address=str(primary(nic).get("privateIPAddress", "")),
        public_address=addresses.get(public_id(nic), ""),
        tags=labels,
        launched_at=str(inner(vm).get("timeCreated", "")),
        problem=problem,
    )
