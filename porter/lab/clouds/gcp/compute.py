"""Compute Engine's methods, as far as Porter uses them, with the rules that shapes cannot tell."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable
from typing import Any

from porter.lab.clouds.gcp.faults import ApiError
from porter.lab.clouds.gcp.world import Json, World, stamp

NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
TYPES = {
    # cores, memory in MiB, architecture
    "e2-small": (2, 2048, "X86_64"),
    "e2-medium": (2, 4096, "X86_64"),
    "e2-standard-2": (2, 8192, "X86_64"),
    "n2-standard-4": (4, 16384, "X86_64"),
    "t2a-standard-1": (1, 4096, "ARM64"),
}
METADATA_MAX = 256 << 10


class Compute:
    """Handlers by method id: parameters of the path, of the query, and the body, to an answer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.error = ""
        """Error code with which the operation of this call is to end."""
        self.handlers: dict[str, Callable[[Json, Json, Json], Json]] = {
            "compute.regions.get": self._region,
            "compute.machineTypes.list": self._types,
            "compute.zoneOperations.get": self._operation,
            "compute.zoneOperations.list": self._operations,
            "compute.instances.insert": self._insert,
            "compute.instances.get": self._get,
            "compute.instances.list": self._list,
            "compute.instances.stop": self._stop,
            "compute.instances.delete": self._delete,
            "compute.instances.addAccessConfig": self._add_access,
            "compute.instances.deleteAccessConfig": self._delete_access,
            "compute.disks.get": self._disk,
            "compute.disks.list": self._disks,
            "compute.disks.delete": self._delete_disk,
            "compute.addresses.list": self._addresses,
        }

    def mutate(self, method: str, path: Json, query: Json, body: Json) -> Json:
        """Carry out a call; one whose request id is known gets the operation of that time."""
        request = query.get("requestId", "")
        if request:
            self._check_uuid(request)
            known = self.world.by_request.get(request)
            if known is not None:
                return dict(self.world.operations[known].wire)
        answer = self.handlers[method](path, query, body)
        if request:
            self.world.by_request[request] = answer["name"]
        return dict(answer)

    @staticmethod
    def _check_uuid(request: str) -> None:
        try:
            valid = uuid.UUID(request).int != 0
        except ValueError:
            valid = False
        if not valid:
            raise ApiError(400, "invalid", f"Invalid value for field 'requestId': '{request}'.")

    def _missing(self, path: str) -> ApiError:
        resource = f"projects/{self.world.project}/{path}"
        return ApiError(404, "notFound", f"The resource '{resource}' was not found")

    # -- places -----------------------------------------------------------------------------

    def _region(self, path: Json, query: Json, body: Json) -> Json:
        if path["region"] != self.world.region:
            raise self._missing(f"regions/{path['region']}")
        zones = [self.world.link(f"zones/{zone}") for zone in self.world.zones]
        told = {"kind": "compute#region", "id": "1100", "name": path["region"], "status": "UP"}
        return {**told, "zones": zones}

    def zone(self, path: Json) -> str:
        zone = str(path["zone"])
        if zone not in self.world.zones:
            raise self._missing(f"zones/{zone}")
        return zone

    def _types(self, path: Json, query: Json, body: Json) -> Json:
        zone = self.zone(path)
        found = [
            {
                "kind": "compute#machineType",
                "id": str(3000 + number),
                "name": name,
                "guestCpus": cpus,
                "memoryMb": memory,
                "architecture": arch,
                "zone": zone,
                "selfLink": self.world.link(f"zones/{zone}/machineTypes/{name}"),
            }
            for number, (name, (cpus, memory, arch)) in enumerate(TYPES.items())
        ]
        return self.world.listed("machineType", found, query)

    def _operation(self, path: Json, query: Json, body: Json) -> Json:
        found = self.world.operations.get(path["operation"])
        if found is None or not found.wire["zone"].endswith(f"/{path['zone']}"):
            raise self._missing(f"zones/{path['zone']}/operations/{path['operation']}")
        return dict(found.wire)

    def _operations(self, path: Json, query: Json, body: Json) -> Json:
        zone = self.zone(path)
        found = [one.wire for one in self.world.operations.values()]
        here = [one for one in found if one["zone"].endswith(f"/{zone}")]
        return self.world.listed("operation", here, query)

    # -- machines ---------------------------------------------------------------------------

    def _insert(self, path: Json, query: Json, body: Json) -> Json:
        zone = self.zone(path)
        name, kind = self._check(body, zone)
        at = (zone, name)
        where = f"zones/{zone}/instances/{name}"
        disk = body["disks"][0]["initializeParams"]
        taken = where if at in self.world.instances else ""
        if (zone, disk.get("diskName", name)) in self.world.disks:
            taken = taken or f"zones/{zone}/disks/{disk.get('diskName', name)}"
        if taken:
            full = f"projects/{self.world.project}/{taken}"
            raise ApiError(409, "alreadyExists", f"The resource '{full}' already exists")
        machine = self._machine(body, zone, name, kind)
        # The name is taken at once, but the machine is seen only when the operation has started.
        self.world.instances[at] = machine
        self.world.made.append(name)

        def begin() -> None:
            machine["status"] = "STAGING"
            self.world.appeared(machine)

        def end() -> None:
            machine.update(status="RUNNING", lastStartTimestamp=stamp())

        def undo() -> None:
            self.world.instances.pop(at, None)
            self._drop_disks(machine)

        return self.world.begin("insert", zone, where, self.error, end, begin, undo)

    def _check(self, body: Json, zone: str) -> tuple[str, str]:
        def invalid(field: str, why: str) -> ApiError:
            return ApiError(400, "invalid", f"Invalid value for field 'resource.{field}': {why}")

        name = body.get("name", "")
        if not NAME.fullmatch(name):
            raise invalid("name", f"'{name}'. Must be a match of regex '{NAME.pattern}'")
        found = re.fullmatch(r"zones/([^/]+)/machineTypes/([^/]+)", body.get("machineType", ""))
        if not found or found[1] != zone or found[2] not in TYPES:
            raise invalid("machineType", "The referenced machineType resource cannot be found.")
        disks = body.get("disks") or [{}]
        made = disks[0].get("initializeParams", {})
        if not disks[0].get("boot") or not re.fullmatch(
            r"projects/[^/]+/global/images/(family/)?[^/]+", made.get("sourceImage", "")
        ):
            raise invalid("disks[0]", "The boot disk needs a source image.")
        for labels in (body.get("labels", {}), made.get("labels", {})):
            for key, value in labels.items():
                if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
                    raise invalid("labels", f"'{key}': '{value}'")
        cards = body.get("networkInterfaces") or []
        if len(cards) != 1 or not (cards[0].get("network") or cards[0].get("subnetwork")):
            raise invalid("networkInterfaces", "At least one network interface is required.")
        items = body.get("metadata", {}).get("items", [])
        if sum(len(one["value"].encode()) for one in items) > METADATA_MAX:
            raise invalid("metadata", "The total size is too large.")
        plan = body.get("scheduling", {})
        if plan.get("provisioningModel") == "SPOT" and plan.get("automaticRestart") is not False:
            raise invalid("scheduling", "Automatic restart must be false for Spot.")
        return name, found[2]

    def _machine(self, body: Json, zone: str, name: str, kind: str) -> Json:
        number = self.world.number()
        made = body["disks"][0]["initializeParams"]
        disk = {
            "kind": "compute#disk",
            "id": str(self.world.number()),
            "name": made.get("diskName", name),
            "sizeGb": made.get("diskSizeGb", "10"),
            "labels": made.get("labels", {}),
            "zone": self.world.link(f"zones/{zone}"),
            "status": "READY",
            "users": [self.world.link(f"zones/{zone}/instances/{name}")],
            "selfLink": self.world.link(f"zones/{zone}/disks/{made.get('diskName', name)}"),
        }
        self.world.disks[(zone, disk["name"])] = disk
        nic = body["networkInterfaces"][0]
        card = {
            "kind": "compute#networkInterface",
            "name": "nic0",
            "network": nic.get("network", "global/networks/default"),
            "networkIP": f"10.132.{number >> 8 & 255}.{number & 255}",
            "fingerprint": fingerprint(number),
            "accessConfigs": [
                {**one, "kind": "compute#accessConfig", "natIP": self.ephemeral()}
                for one in nic.get("accessConfigs", [])
            ],
        }
        return {
            **body,
            "kind": "compute#instance",
            "id": str(number),
            "status": "PROVISIONING",
            "creationTimestamp": stamp(),
            "zone": self.world.link(f"zones/{zone}"),
            "machineType": self.world.link(f"zones/{zone}/machineTypes/{kind}"),
            "selfLink": self.world.link(f"zones/{zone}/instances/{name}"),
            "labelFingerprint": fingerprint(number),
            "networkInterfaces": [card],
            "disks": [
                {
                    "kind": "compute#attachedDisk",
                    "boot": True,
                    "autoDelete": body["disks"][0].get("autoDelete", False),
                    "index": 0,
                    "deviceName": "persistent-disk-0",
                    "source": disk["selfLink"],
                }
            ],
        }

    def ephemeral(self) -> str:
        return f"203.0.113.{self.world.number() % 250 + 1}"

    def machine(self, path: Json) -> Json:
        zone = self.zone(path)
        found = self.world.instances.get((zone, path["instance"]))
        if found is None or found["status"] == "PROVISIONING":
            raise self._missing(f"zones/{zone}/instances/{path['instance']}")
        return found

    def _get(self, path: Json, query: Json, body: Json) -> Json:
        return self.machine(path)

    def _list(self, path: Json, query: Json, body: Json) -> Json:
        zone = self.zone(path)
        seen = [
            one
            for (at, _), one in self.world.instances.items()
            if at == zone and one["status"] != "PROVISIONING"
        ]
        return self.world.listed("instance", seen, query, zone)

    def _stop(self, path: Json, query: Json, body: Json) -> Json:
        zone, machine = self.zone(path), self.machine(path)
        machine["status"] = "STOPPING"

        def end() -> None:
            machine.update(status="TERMINATED", lastStopTimestamp=stamp())

        def undo() -> None:
            machine["status"] = "RUNNING"

        where = f"zones/{zone}/instances/{path['instance']}"
        return self.world.begin("stop", zone, where, self.error, end, undo=undo)

    def _delete(self, path: Json, query: Json, body: Json) -> Json:
        zone, machine = self.zone(path), self.machine(path)
        before, machine["status"] = machine["status"], "STOPPING"

        def end() -> None:
            if self.world.instances.pop((zone, machine["name"]), None) is not None:
                self.world.vanished("instance", machine)
                self._drop_disks(machine)

        def undo() -> None:
            machine["status"] = before

        where = f"zones/{zone}/instances/{path['instance']}"
        return self.world.begin("delete", zone, where, self.error, end, undo=undo)

    # -- disks ------------------------------------------------------------------------------

    def _drop_disks(self, machine: Json) -> None:
        zone = machine["zone"].rpartition("/")[2]
        for attached in machine["disks"]:
            name = attached["source"].rpartition("/")[2]
            if attached["autoDelete"]:
                self.world.disks.pop((zone, name), None)
            else:
                self.world.disks[(zone, name)]["users"] = []

    def _disk(self, path: Json, query: Json, body: Json) -> Json:
        found = self.world.disks.get((self.zone(path), path["disk"]))
        if found is None:
            raise self._missing(f"zones/{path['zone']}/disks/{path['disk']}")
        return found

    def _disks(self, path: Json, query: Json, body: Json) -> Json:
        zone = self.zone(path)
        found = [one for (at, _), one in self.world.disks.items() if at == zone]
        return self.world.listed("disk", found, query, zone)

    def _delete_disk(self, path: Json, query: Json, body: Json) -> Json:
        disk = self._disk(path, query, body)
        if disk["users"]:
            why = f"The disk resource '{disk['selfLink']}' is already being used"
            raise ApiError(400, "resourceInUseByAnotherResource", why)
        at = (path["zone"], path["disk"])
        where = f"zones/{at[0]}/disks/{at[1]}"

        def end() -> None:
            self.world.disks.pop(at, None)

        return self.world.begin("delete", at[0], where, self.error, end)

    # -- addresses --------------------------------------------------------------------------

    def _addresses(self, path: Json, query: Json, body: Json) -> Json:
        if path["region"] != self.world.region:
            raise self._missing(f"regions/{path['region']}")
        return self.world.listed("address", list(self.world.addresses.values()), query)

    def reserve(self) -> str:
        """A fresh static address."""
        name, region = f"static-{self.world.number()}", self.world.region
        address = f"198.51.100.{len(self.world.addresses) + 1}"
        self.world.addresses[address] = {
            "kind": "compute#address",
            "id": str(self.world.number()),
            "name": name,
            "address": address,
            "addressType": "EXTERNAL",
            "status": "RESERVED",
            "region": self.world.link(f"regions/{region}"),
            "selfLink": self.world.link(f"regions/{region}/addresses/{name}"),
        }
        return address

    def _add_access(self, path: Json, query: Json, body: Json) -> Json:
        zone, machine, card = self.zone(path), self.machine(path), self._card(path, query)
        wanted = body.get("natIP", "")
        if card["accessConfigs"]:
            why = "At most one access config currently supported."
            raise ApiError(400, "invalid", f"Invalid value for field 'accessConfigs': {why}")
        reserved = self.world.addresses.get(wanted)
        if wanted and reserved is None:
            raise ApiError(400, "invalid", f"The address {wanted} is not reserved here.")
        if reserved is not None and reserved.get("users"):
            why = f"External IP address: {wanted} is already in-use."
            raise ApiError(400, "resourceInUseByAnotherResource", why)

        def end() -> None:
            access = {**body, "kind": "compute#accessConfig", "natIP": wanted or self.ephemeral()}
            card["accessConfigs"] = [access]
            if reserved is not None:
                reserved.update(users=[machine["selfLink"]], status="IN_USE")

        where = f"zones/{zone}/instances/{path['instance']}"
        return self.world.begin("addAccessConfig", zone, where, self.error, end)

    def _delete_access(self, path: Json, query: Json, body: Json) -> Json:
        zone, card = self.zone(path), self._card(path, query)
        found = [one for one in card["accessConfigs"] if one["name"] == query.get("accessConfig")]
        if not found:
            why = f"Invalid value for field 'accessConfig': '{query.get('accessConfig')}'."
            raise ApiError(400, "invalid", why)

        def end() -> None:
            card["accessConfigs"] = []
            reserved = self.world.addresses.get(found[0]["natIP"])
            if reserved is not None:
                reserved.update(users=[], status="RESERVED")

        where = f"zones/{zone}/instances/{path['instance']}"
        return self.world.begin("deleteAccessConfig", zone, where, self.error, end)

    def _card(self, path: Json, query: Json) -> Json:
        card: Json = self.machine(path)["networkInterfaces"][0]
        if query.get("networkInterface") != card["name"]:
            raise ApiError(400, "invalid", "Invalid value for field 'networkInterface'.")
        return card


def fingerprint(number: Any) -> str:
    return base64.b64encode(int(number).to_bytes(8, "big")).decode()
