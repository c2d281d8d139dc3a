"""What is asked of ARM for a machine, in ARM's own words."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from porter.providers.azure.place import Place, image_reference
from porter.providers.base import TAG_HOST, TAG_KEY, TAG_MANAGED, LaunchSpec

CONFIG = "primary"
"""Name of the only IP configuration of the NICs that Porter makes."""


def nic_name(key: str) -> str:
    return f"{key}-nic"


def disk_name(key: str) -> str:
    return f"{key}-os"


def tags(spec: LaunchSpec) -> dict[str, str]:
    own = {TAG_MANAGED: spec.owner, TAG_KEY: spec.key, TAG_HOST: spec.name}
    return {**spec.tags, **own}


def nic(place: Place, spec: LaunchSpec) -> dict[str, Any]:
    return {
        "location": place.region,
        "tags": tags(spec),
        "properties": {
            "ipConfigurations": [
                {"name": CONFIG, "properties": {"subnet": {"id": place.subnet}, "primary": True}}
            ]
        },
    }


def machine(place: Place, spec: LaunchSpec) -> dict[str, Any]:
    """The VM. Disk and NIC go when it goes; the OS disk inherits its tags at creation.

    `customData` is what cloud-init runs at the first boot; ARM never gives it back."""
    data = base64.b64encode(spec.user_data.encode()).decode()
    properties: dict[str, Any] = {
        "hardwareProfile": {"vmSize": spec.instance_type},
        "storageProfile": {
            "imageReference": dict(image_reference(place, spec.instance_type)),
            "osDisk": {
                "name": disk_name(spec.key),
                "createOption": "FromImage",
                "deleteOption": "Delete",
                "diskSizeGB": spec.disk_gb,
                "managedDisk": {"storageAccountType": "StandardSSD_LRS"},
            },
        },
        "osProfile": {
            "computerName": spec.name,
            "adminUsername": place.admin_user,
            "customData": data,
            "linuxConfiguration": {
                "disablePasswordAuthentication": True,
                "ssh": {"publicKeys": [_ssh_key(place)]},
            },
        },
        "networkProfile": {"networkInterfaces": [_nic_of(place, spec)]},
    }
    if spec.spot:
        properties |= {"priority": "Spot", "evictionPolicy": "Delete"}
        properties["billingProfile"] = {"maxPrice": -1}  # up to the price of an ordinary one
    body = {"location": place.region, "tags": tags(spec), "properties": properties}
    zone = spec.zone or place.zone
    return {**body, "zones": [zone]} if zone else body


def _ssh_key(place: Place) -> Mapping[str, str]:
    path = f"/home/{place.admin_user}/.ssh/authorized_keys"
    return {"path": path, "keyData": place.ssh_key}


def _nic_of(place: Place, spec: LaunchSpec) -> Mapping[str, Any]:
    kind = "Microsoft.Network/networkInterfaces"
    name = f"{place.scope}/providers/{kind}/{nic_name(spec.key)}"
    return {"id": name, "properties": {"primary": True, "deleteOption": "Delete"}}
