"""Machines of one region of a project.

A machine is found by its name, which derives from the key, with one read per zone of the region:
reads by name are exact at once, while lists may lag.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from porter.domain.errors import Conflict, Invalid, NotFound, Permanent
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
from porter.providers.gcp import operations
from porter.providers.gcp.errors import Taken
from porter.providers.gcp.machines import described, last, name_of, told
from porter.providers.gcp.operations import finished
from porter.providers.gcp.session import Session

ARCHES = {"ARM64": "aarch64", "X86_64": "x86_64"}


class GcpHosts:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings
        self._zones: list[str] = []

    # -- what there is ----------------------------------------------------------------------

    def types(self) -> Sequence[InstanceType]:
        from google.cloud import compute_v1 as c

        found: dict[str, InstanceType] = {}
        zones = [self._settings.zone] if self._settings.zone else self._all_zones()
        for zone in zones:
            request = c.ListMachineTypesRequest(project=self._settings.project, zone=zone)
            for one in self._session.all(
                "list machine types", "MachineTypesClient", "list", request
            ):
                allowed = self._settings.machine_types
                if (allowed and one.name not in allowed) or one.deprecated.state:
                    continue
                # Types from before there was a choice tell no architecture.
                arch = ARCHES.get(one.architecture, "x86_64")
                found[one.name] = InstanceType(one.name, arch, one.guest_cpus, one.memory_mb << 20)
        return list(found.values())

    def find(self, key: str) -> Instance | None:
        machine = self._machine(key)
        return told(machine) if machine is not None else None

    def managed(self, owner: str) -> Sequence[Instance]:
        from google.cloud import compute_v1 as c

        what = f"list the machines of {owner}"
        return [
            told(one)
            for zone in self._all_zones()
            for one in self._session.all(
                what, "InstancesClient", "list", self._labelled(c.ListInstancesRequest, zone, owner)
            )
        ]

    def strays(self, owner: str) -> Sequence[Stray]:
        from google.cloud import compute_v1 as c

        found = [
            Stray("instance", one.id, one.key, f"{one.instance_type}, {one.state}")
            for one in self.managed(owner)
        ]
        for zone in self._all_zones():
            request = self._labelled(c.ListDisksRequest, zone, owner)
            for disk in self._session.all("list disks", "DisksClient", "list", request):
                if not disk.users:  # one in use goes with its machine
                    told_as = f"{disk.size_gb} GB, used by no machine"
                    key = dict(disk.labels).get(TAG_KEY, "")
                    found.append(Stray("disk", f"{zone}/{disk.name}", key, told_as))
        return found

    # -- making -----------------------------------------------------------------------------

    def launch(self, spec: LaunchSpec, token: str = "") -> Instance | Pending:
        what = f"launch {spec.name}"
        busy = operations.poll(self._session, what, token)
        if busy is not None:
            return busy
        machine = self._machine(spec.key)
        if machine is None:
            if token:
                raise Permanent(f"cannot {what}: it was made, and is gone again")
            return self._insert(what, spec)
        found = told(machine)
        if found.key != spec.key or found.tags.get(TAG_MANAGED) != spec.owner:
            raise Conflict(f"cannot {what}: somebody else's machine is called {machine.name}")
        if found.state is InstanceState.RUNNING:
            return found
        if found.state is InstanceState.STARTING:
            return Pending(token)
        raise Permanent(f"cannot {what}: it is {machine.status}: {machine.status_message}")

    def _insert(self, what: str, spec: LaunchSpec) -> Pending:
        from google.cloud import compute_v1 as c

        zone = self._zone_for(spec)

        def make(request_id: str) -> Any:
            request = c.InsertInstanceRequest(
                project=self._settings.project,
                zone=zone,
                instance_resource=described(self._settings, spec, zone),
                request_id=request_id,
            )
            return self._session.call(what, "InstancesClient", "insert_unary", request)

        seed = (spec.key, zone, spec.instance_type, "insert")
        try:
            made = operations.begin(seed, make, lambda: self._get(zone, spec.key) is None)
        except Taken:
            if self._look(zone, name_of(spec.key), "Disk") and not self._get(zone, spec.key):
                raise
            return Pending("", 1.0)  # made meanwhile: the next call looks at it
        return operations.token(made)

    # -- ending -----------------------------------------------------------------------------

    def power_off(self, key: str, token: str = "") -> Pending | None:
        from google.cloud import compute_v1 as c

        what = f"power off the machine of {key}"
        busy = operations.poll(self._session, what, token)
        if busy is not None:
            return busy
        machine = self._machine(key)
        if machine is None:
            return Pending("") if self._coming(what, key) else None
        if told(machine).state is InstanceState.STOPPED:
            return None
        if told(machine).state is InstanceState.STOPPING and machine.status != "PENDING_STOP":
            return Pending("")

        def make(request_id: str) -> Any:
            request = c.StopInstanceRequest(
                project=self._settings.project,
                zone=last(machine.zone),
                instance=machine.name,
                no_graceful_shutdown=True,
                request_id=request_id,
            )
            return self._session.call(what, "InstancesClient", "stop_unary", request)

        # A machine that was started again since is stopped anew.
        seed = (key, str(machine.id), machine.last_start_timestamp, "stop")
        return operations.token(operations.begin(seed, make))

    def terminate(self, key: str, token: str = "") -> Pending | None:
        what = f"terminate the machine of {key}"
        busy = operations.poll(self._session, what, token)
        if busy is not None:
            return busy
        machine = self._machine(key)
        if machine is not None:
            return self._delete(what, key, "Instance", machine)
        if self._coming(what, key):
            return Pending("")
        for zone in self._all_zones():
            disk = self._look(zone, name_of(key), "Disk")
            if disk is not None and dict(disk.labels).get(TAG_KEY) == key:
                return self._delete(what, key, "Disk", disk)
        return None

    def _delete(self, what: str, key: str, kind: str, resource: Any) -> Pending | None:
        from google.cloud import compute_v1 as c

        if dict(resource.labels).get(TAG_KEY) != key:
            raise Conflict(f"cannot {what}: {resource.name} is somebody else's")

        def make(request_id: str) -> Any:
            request = getattr(c, f"Delete{kind}Request")(
                project=self._settings.project,
                zone=last(resource.zone),
                request_id=request_id,
                **{kind.lower(): resource.name},
            )
            return self._session.call(what, f"{kind}sClient", "delete_unary", request)

        try:
            begun = operations.begin((key, kind, str(resource.id), "delete"), make)
        except NotFound:
            return Pending("", 0.0)  # gone meanwhile: look for what else there is
        return operations.token(begun)

    # -- looking ----------------------------------------------------------------------------

    def _machine(self, key: str) -> Any:
        for zone in self._all_zones():
            found = self._get(zone, key)
            if found is not None:
                return found
        return None

    def _coming(self, what: str, key: str) -> bool:
        """Whether a launch is under way whose machine cannot be seen yet: it is not absent."""
        from google.cloud import compute_v1 as c

        for zone in self._all_zones():
            request = c.ListZoneOperationsRequest(
                project=self._settings.project,
                zone=zone,
                filter=f'targetLink eq ".*/zones/{zone}/instances/{name_of(key)}"',
            )
            found = self._session.all(what, "ZoneOperationsClient", "list", request)
            if any(one.operation_type == "insert" and not finished(one) for one in found):
                return True
        return False

    def _get(self, zone: str, key: str) -> Any:
        return self._look(zone, name_of(key), "Instance")

    def _look(self, zone: str, name: str, kind: str) -> Any:
        from google.cloud import compute_v1 as c

        request = getattr(c, f"Get{kind}Request")(
            project=self._settings.project, zone=zone, **{kind.lower(): name}
        )
        try:
            return self._session.call(f"look for {name}", f"{kind}sClient", "get", request)
        except NotFound:
            return None

    def _labelled(self, request: Any, zone: str, owner: str) -> Any:
        wanted = f'labels.{TAG_MANAGED} = "{owner}"'
        return request(project=self._settings.project, zone=zone, filter=wanted)

    def _zone_for(self, spec: LaunchSpec) -> str:
        zone = spec.zone or self._settings.zone
        if not zone:
            return self._all_zones()[0]
        if zone not in self._all_zones():
            raise Invalid(f"cannot launch {spec.name}: {self._settings.region} has no zone {zone}")
        return zone

    def _all_zones(self) -> list[str]:
        """Zones of the region, the settings' own first."""
        if not self._zones:
            self._zones = zones_of(self._session)
        return self._zones


def zones_of(session: Session) -> list[str]:
    """Zones of the site's region, that of its settings first."""
    from google.cloud import compute_v1 as c

    settings = session.settings
    request = c.GetRegionRequest(project=settings.project, region=settings.region)
    region = session.call(f"look at {settings.region}", "RegionsClient", "get", request)
    zones = sorted((last(one) for one in region.zones), key=lambda one: (one != settings.zone, one))
    if not zones:
        raise Invalid(f"cannot use {settings.region}: the project has no zone there")
    return zones
