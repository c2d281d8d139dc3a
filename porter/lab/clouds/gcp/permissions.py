"""Which permissions Google asks for, method by method, as its reference documents them."""

from __future__ import annotations

from typing import Any

PLAIN = {
    "compute.regions.get": ["compute.regions.get"],
    "compute.machineTypes.list": ["compute.machineTypes.list"],
    "compute.zoneOperations.get": ["compute.zoneOperations.get"],
    "compute.zoneOperations.list": ["compute.zoneOperations.list"],
    "compute.instances.get": ["compute.instances.get"],
    "compute.instances.list": ["compute.instances.list"],
    "compute.instances.delete": ["compute.instances.delete"],
    "compute.instances.stop": ["compute.instances.stop"],
    "compute.instances.deleteAccessConfig": ["compute.instances.deleteAccessConfig"],
    "compute.disks.get": ["compute.disks.get"],
    "compute.disks.list": ["compute.disks.list"],
    "compute.disks.delete": ["compute.disks.delete"],
    "compute.addresses.list": ["compute.addresses.list"],
    "compute.networkEndpointGroups.get": ["compute.networkEndpointGroups.get"],
    "compute.networkEndpointGroups.listNetworkEndpoints": ["compute.networkEndpointGroups.get"],
    "compute.networkEndpointGroups.detachNetworkEndpoints": [
        "compute.networkEndpointGroups.detachNetworkEndpoints"
    ],
    "compute.backendServices.list": ["compute.backendServices.list"],
    "compute.regionBackendServices.list": ["compute.regionBackendServices.list"],
    "dns.managedZones.list": ["dns.managedZones.list"],
    "dns.resourceRecordSets.list": ["dns.resourceRecordSets.list"],
    "dns.changes.get": ["dns.changes.get"],
    "dns.changes.list": ["dns.changes.list"],
    "cloudresourcemanager.projects.testIamPermissions": [],
    "iam.projects.serviceAccounts.testIamPermissions": [],
}


def needed(method: str, body: dict[str, Any] | None) -> list[str]:
    """What a call needs. Raises KeyError for a method that the stand-in does not serve."""
    body = body or {}
    if method == "compute.instances.insert":
        return _insert(body)
    if method == "compute.instances.addAccessConfig":
        found = [method, "compute.subnetworks.useExternalIp"]
        return [*found, "compute.addresses.use"] if body.get("natIP") else found
    if method == "compute.networkEndpointGroups.attachNetworkEndpoints":
        machines = any("instance" in one for one in body.get("networkEndpoints", []))
        return [method, "compute.instances.use"] if machines else [method]
    if method == "dns.changes.create":
        added, gone = "additions" in body, "deletions" in body
        sets = "dns.resourceRecordSets"
        verb = "update" if added and gone else "create" if added else "delete"
        return [method, f"{sets}.{verb}"]
    return PLAIN[method]


def _insert(body: dict[str, Any]) -> list[str]:
    found = ["compute.instances.create", "compute.subnetworks.use"]
    for disk in body.get("disks", []):
        made = disk.get("initializeParams", {})
        found.append("compute.disks.create")
        found += ["compute.disks.setLabels"] if made.get("labels") else []
        found += ["compute.images.useReadOnly"] if made.get("sourceImage") else []
    if any(one.get("accessConfigs") for one in body.get("networkInterfaces", [])):
        found.append("compute.subnetworks.useExternalIp")
    found += ["compute.instances.setLabels"] if body.get("labels") else []
    found += ["compute.instances.setMetadata"] if body.get("metadata") else []
    found += ["iam.serviceAccounts.actAs"] if body.get("serviceAccounts") else []
    return found
