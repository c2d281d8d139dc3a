"""What Porter must be allowed to do, asked of Google without doing any of it."""

from __future__ import annotations

from collections.abc import Sequence

from porter.domain.errors import Denied, Invalid
from porter.providers.base import Right
from porter.providers.gcp.errors import ROLE
from porter.providers.gcp.session import Session

HOSTS = "to make, find and remove hosts"
FENCE = "to power a lost host off before its workloads run elsewhere"
ADDRESS = "to move static addresses between hosts"
BALANCE = "to set the targets of load balancers"
NAMES = "to lead DNS names to hosts"

PURPOSES = {
    "compute.regions.get": "to know the region's zones",
    "compute.machineTypes.list": "to choose a machine type",
    "compute.zoneOperations.get": "to follow what it has begun",
    "compute.zoneOperations.list": "to see launches that are under way",
    "compute.instances.get": HOSTS,
    "compute.instances.list": HOSTS,
    "compute.instances.create": HOSTS,
    "compute.instances.setLabels": HOSTS,
    "compute.instances.setMetadata": HOSTS,
    "compute.instances.delete": HOSTS,
    "compute.disks.create": HOSTS,
    "compute.disks.setLabels": HOSTS,
    "compute.disks.get": "to find disks that were left behind",
    "compute.disks.list": "to find disks that were left behind",
    "compute.disks.delete": "to remove disks that were left behind",
    "compute.images.useReadOnly": HOSTS,
    "compute.subnetworks.use": HOSTS,
    "compute.subnetworks.useExternalIp": "to give hosts public addresses",
    "compute.instances.stop": FENCE,
    "compute.addresses.list": ADDRESS,
    "compute.addresses.use": ADDRESS,
    "compute.instances.addAccessConfig": ADDRESS,
    "compute.instances.deleteAccessConfig": ADDRESS,
    "compute.networkEndpointGroups.get": BALANCE,
    "compute.networkEndpointGroups.attachNetworkEndpoints": BALANCE,
    "compute.networkEndpointGroups.detachNetworkEndpoints": BALANCE,
    "compute.instances.use": BALANCE,
    "compute.backendServices.list": BALANCE,
    "compute.regionBackendServices.list": BALANCE,
    "dns.managedZones.list": NAMES,
    "dns.resourceRecordSets.list": NAMES,
    "dns.resourceRecordSets.create": NAMES,
    "dns.resourceRecordSets.update": NAMES,
    "dns.resourceRecordSets.delete": NAMES,
    "dns.changes.create": NAMES,
    "dns.changes.get": NAMES,
    "dns.changes.list": NAMES,
}
ACT_AS = "iam.serviceAccounts.actAs"
"""Given on one service account, not in the role of the project."""


class GcpRights:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings

    def check(self) -> Sequence[Right]:
        settings = self._settings
        path = f"{settings.resourcemanager_endpoint}/v1/projects"
        compute = [one for one in PURPOSES if not one.startswith("dns.")]
        names = [one for one in PURPOSES if one.startswith("dns.")]
        found = self._asked(f"{path}/{settings.project}", compute)
        if not found[0].granted:
            return found
        found += self._asked(f"{path}/{settings.dns_project}", names)[1:]
        if settings.service_account:
            account = f"{settings.iam_endpoint}/v1/projects/-/serviceAccounts"
            found += self._asked(f"{account}/{settings.service_account}", [ACT_AS])[1:]
        return found

    def _asked(self, resource: str, names: list[str]) -> list[Right]:
        """The credentials first, then each right."""
        why = "to speak to Google at all"
        try:
            granted = self._granted(resource, names)
        except Denied as error:
            first = Right("credentials", False, why, error.remedy or str(error))
            return [first, *(Right(one, None, _purpose(one), str(error)) for one in names)]
        rights = [
            Right(one, granted[one], _purpose(one), "" if granted[one] else self._remedy(one))
            for one in names
        ]
        return [Right("credentials", True, why), *rights]

    def _granted(self, resource: str, names: list[str]) -> dict[str, bool | None]:
        """Google refuses the whole question if one permission cannot be asked of this resource:
        then it is asked by halves, and that one stays unknown."""
        try:
            body = {"permissions": names}
            url = f"{resource}:testIamPermissions"
            answer = self._session.rest("ask for rights", "POST", url, body=body)
        except Invalid:
            if len(names) == 1:
                return {names[0]: None}
            half = len(names) // 2
            first = self._granted(resource, names[:half])
            return first | self._granted(resource, names[half:])
        granted = set(answer.get("permissions", []))
        return {name: name in granted for name in names}

    def _remedy(self, name: str) -> str:
        if name == ACT_AS:
            return f"give roles/iam.serviceAccountUser on {self._settings.service_account}"
        return ROLE


def _purpose(name: str) -> str:
    return PURPOSES.get(name, "to let hosts run as the service account")
