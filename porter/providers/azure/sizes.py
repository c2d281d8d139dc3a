"""Which sizes can be launched here: the SKUs of the region without those restricted for the
subscription."""

from __future__ import annotations

from typing import Any

from porter.providers.azure.client import Clients
from porter.providers.azure.place import Place
from porter.providers.base import InstanceType

GIB = 1 << 30
_ARCH = {"x64": "x86_64", "Arm64": "aarch64"}


def launchable(place: Place, clients: Clients) -> list[InstanceType]:
    """By the allow-list, and only what there is an image for. Azure tells no CPU flags."""
    skus = clients.compute.resource_skus.list(filter=f"location eq '{place.region}'")
    allowed = set(place.instance_types)
    found = (
        _instance_type(one)
        for one in skus
        if one.get("resourceType") == "virtualMachines"
        and (not allowed or one["name"] in allowed)
        and not _restricted(one, place.zone)
    )
    return [one for one in found if one.arch == "x86_64" or place.image_arm64]


def _instance_type(sku: Any) -> InstanceType:
    told = {one["name"]: one["value"] for one in sku.get("capabilities") or ()}
    return InstanceType(
        name=sku["name"],
        arch=_ARCH.get(told.get("CpuArchitectureType", "x64"), "x86_64"),
        cpus=int(told.get("vCPUsAvailable") or told.get("vCPUs") or 0),
        memory_bytes=int(float(told.get("MemoryGB") or 0) * GIB),
    )


def _restricted(sku: Any, zone: str) -> bool:
    """For the whole region, or for the site's own zone."""
    for one in sku.get("restrictions") or ():
        info = one.get("restrictionInfo") or {}
        if one.get("type") == "Location" or (zone and zone in (info.get("zones") or ())):
            return True
    return False
