"""Microsoft.Compute: machines, their disks, and the sizes there are."""

from __future__ import annotations

import base64
import copy
import uuid

from porter.lab.clouds.azure.world import Answer, Json, Refusal, Request, World, now

SIZES = {  # vCPUs, GiB, CPU, further restrictions: as Azure tells them
    "Standard_B1s": (1, 1, "x64", []),
    "Standard_B2s": (2, 4, "x64", []),
    "Standard_D2s_v5": (2, 8, "x64", []),
    "Standard_D4s_v5": (4, 16, "x64", []),
    "Standard_D2ps_v5": (2, 8, "Arm64", []),
    "Standard_M8ms": (8, 218.75, "x64", ["Location"]),
    "Standard_E2s_v5": (2, 16, "x64", ["Zone"]),
}


class Compute:
    def __init__(self, world: World) -> None:
        self.world = world
        self.no_capacity: set[str] = set()
        """Sizes refused at once, with SkuNotAvailable."""
        self.no_room: set[str] = set()
        """Sizes whose machines fail while they are made, with AllocationFailed."""
        self.quota: int | None = None
        """Machines that may exist; None is no limit."""

    def answer(self, request: Request) -> Answer:
        kind = request.kind.lower()
        if kind.endswith("/skus"):
            return self.world.listed(request, self._skus())
        if not request.names:
            expand = "instanceview" in request.query.get("$expand", "").lower()
            found = [
                self.view(one, expand=expand) if kind.endswith("virtualmachines") else one
                for one in self.world.of(request.kind, request.base)
            ]
            return self.world.listed(request, found)
        handlers = {
            ("GET", "virtualmachines", ""): self._get,
            ("PUT", "virtualmachines", ""): self._put,
            ("DELETE", "virtualmachines", ""): self._delete,
            ("POST", "virtualmachines", "poweroff"): self._power_off,
            ("GET", "disks", ""): lambda r: Answer(200, self.world.known(r.id)),
            ("DELETE", "disks", ""): self._delete_disk,
        }
        key = (request.method, kind.split("/")[-1], request.verb.lower())
        handler = handlers.get(key)
        if handler is None:
            raise Refusal(405, "MethodNotAllowed", f"the stand-in has no {' '.join(key)}")
        return handler(request)

    # -- machines ---------------------------------------------------------------------------

    def _get(self, request: Request) -> Answer:
        vm = self.world.known(request.id)
        expand = "instanceview" in request.query.get("$expand", "").lower()
        return Answer(200, self.view(vm, expand=expand))

    def view(self, vm: Json, *, expand: bool) -> Json:
        found = copy.deepcopy(vm)
        failed = found["properties"].pop("failed", None)
        if expand:
            state = found["properties"]["provisioningState"].lower()
            codes = [f"ProvisioningState/{state}" + (f"/{failed['code']}" if failed else "")]
            power = self.world.power.get(vm["id"].lower())
            codes += [f"PowerState/{power}"] if power else []
            found["properties"]["instanceView"] = {
                "statuses": [
                    {"code": one, "level": "Info", "displayStatus": one, "time": now()}
                    | ({"message": failed["message"]} if failed and "/failed/" in one else {})
                    for one in codes
                ]
            }
        return found

    def _put(self, request: Request) -> Answer:
        there = self.world.get(request.id)
        if there is not None:
            if request.headers.get("If-None-Match") == "*":
                message = "The condition If-None-Match: * is not met: the resource exists."
                raise Refusal(412, "PreconditionFailed", message)
            return Answer(200, self.view(there, expand=False))
        properties = request.body["properties"]
        size = properties["hardwareProfile"]["vmSize"]
        self._check(request, size, properties)
        vm = self._created(request, properties)
        os_disk = vm["properties"]["storageProfile"]["osDisk"]
        failed = None
        if size in self.no_room:
            failed = {
                "code": "AllocationFailed",
                "message": "Allocation failed. We do not have sufficient capacity for the "
                "requested VM size in this region.",
            }

        def finish() -> None:
            vm["properties"]["provisioningState"] = "Failed" if failed else "Succeeded"
            if failed:
                vm["properties"]["failed"] = failed
            else:
                self.world.power[request.id.lower()] = "running"
            os_disk["managedDisk"]["id"] = self._make_disk(request, vm)["id"]

        operation = self.world.begin(request.id, finish, error=failed)
        headers = self.world.tracked(operation, request, location=False)
        return Answer(201, self.view(vm, expand=False), headers)

    def _check(self, request: Request, size: str, properties: Json) -> None:
        if size not in SIZES:
            message = f"The value {size} provided for the VM size is not valid. The valid sizes in "
            message += f"the current region are: {','.join(SIZES)}."
            raise Refusal(400, "InvalidParameter", message)
        if size in self.no_capacity or "Location" in SIZES[size][3]:
            message = f"The requested VM size for resource '{request.id}' is currently not "
            message += f"available in location '{self.world.location}'."
            raise Refusal(409, "SkuNotAvailable", message)
        machines = len(self.world.power)
        if self.quota is not None and machines >= self.quota:
            message = "Operation could not be completed as it results in exceeding approved Total "
            message += f"Regional Cores quota. Current Limit: {self.quota}."
            raise Refusal(409, "OperationNotAllowed", message)
        system = properties["osProfile"]
        linux = system.get("linuxConfiguration") or {}
        keys = (linux.get("ssh") or {}).get("publicKeys")
        if linux.get("disablePasswordAuthentication") and not keys:
            message = "Authentication using SSH is enabled, but no SSH key was given."
            raise Refusal(400, "InvalidParameter", message)
        for one in properties["networkProfile"]["networkInterfaces"]:
            nic = self.world.get(one["id"])
            if nic is None:
                message = f"Resource {one['id']} referenced by resource {request.id} was not found."
                raise Refusal(400, "InvalidResourceReference", message)
            if nic["properties"].get("virtualMachine"):
                raise Refusal(400, "NicInUse", f"Network Interface {one['id']} is used already.")

    def _created(self, request: Request, properties: Json) -> Json:
        given = copy.deepcopy(properties)
        data = given["osProfile"].pop("customData", "")
        self.world.user_data[request.id.lower()] = base64.b64decode(data).decode()
        given["osProfile"] |= {"secrets": [], "allowExtensionOperations": True}
        given["osProfile"]["requireGuestProvisionSignal"] = True
        disk = given["storageProfile"]["osDisk"]
        given["storageProfile"]["osDisk"] = {
            "osType": "Windows" if "windowsConfiguration" in given["osProfile"] else "Linux",
            "caching": "ReadWrite",
            "deleteOption": "Detach",
            "diskSizeGB": 30,
            **disk,
        }
        given["storageProfile"].setdefault("dataDisks", [])
        for one in given["networkProfile"]["networkInterfaces"]:
            self.world.known(one["id"])["properties"]["virtualMachine"] = {"id": request.id}
        self.world.made[request.names[-1]] += 1
        optional = {k: request.body[k] for k in ("tags", "zones") if k in request.body}
        return self.world.put(
            request.id,
            {
                "name": request.names[-1],
                "id": request.id,
                "type": "Microsoft.Compute/virtualMachines",
                "location": request.body["location"],
                **optional,
                "properties": {
                    "vmId": str(uuid.uuid4()),
                    **given,
                    "provisioningState": "Creating",
                    "timeCreated": now(),
                },
            },
        )

    def _make_disk(self, request: Request, vm: Json) -> Json:
        """The OS disk, with the VM's tags: it is from there that Azure takes them."""
        asked = vm["properties"]["storageProfile"]["osDisk"]
        name = asked.get("name") or f"{vm['name']}_OsDisk_1_{uuid.uuid4().hex}"
        id = f"{request.base}/providers/Microsoft.Compute/disks/{name}"
        size = asked["diskSizeGB"]
        properties = {
            "osType": asked["osType"],
            "creationData": {"createOption": "FromImage"},
            "diskSizeGB": size,
            "diskSizeBytes": size << 30,
            "timeCreated": now(),
            "provisioningState": "Succeeded",
            "diskState": "Attached",
            "uniqueId": str(uuid.uuid4()),
        }
        resource = {
            "name": name,
            "id": id,
            "type": "Microsoft.Compute/disks",
            "location": vm["location"],
            "tags": dict(vm.get("tags", {})),
            "managedBy": vm["id"],
            "sku": {"name": asked["managedDisk"]["storageAccountType"]},
            "properties": properties,
        }
        return self.world.put(id, resource)

    def _delete(self, request: Request) -> Answer:
        vm = self.world.get(request.id)
        if vm is None:
            return Answer(204)
        vm["properties"]["provisioningState"] = "Deleting"
        self.world.preempt(request.id)

        def finish() -> None:
            self.world.drop(request.id)
            self.world.power.pop(request.id.lower(), None)
            profile = vm["properties"]
            disk = profile["storageProfile"]["osDisk"]
            parts = [(disk, disk["managedDisk"].get("id", ""))]
            nics = profile["networkProfile"]["networkInterfaces"]
            parts += [(one.get("properties", {}), one["id"]) for one in nics]
            for options, id in [one for one in parts if one[1]]:
                found = self.world.resources.get(id.lower())
                if options.get("deleteOption") == "Delete":
                    self.release(id)
                elif found is not None:
                    found.pop("managedBy", None)
                    found["properties"].pop("virtualMachine", None)

        operation = self.world.begin(request.id, finish)
        return Answer(202, None, self.world.tracked(operation, request, location=True))

    def release(self, id: str) -> None:
        """Remove a part, and let go of the public address that it had."""
        self.world.drop(id)
        for one in self.world.resources.values():
            held = one["properties"].get("ipConfiguration") or {}
            if str(held.get("id", "")).lower().startswith(f"{id}/".lower()):
                del one["properties"]["ipConfiguration"]

    def _power_off(self, request: Request) -> Answer:
        vm = self.world.known(request.id)
        if vm["properties"]["provisioningState"] == "Deleting":
            message = f"Operation 'powerOff' is not allowed on VM '{vm['name']}' since the VM is "
            raise Refusal(409, "OperationNotAllowed", message + "marked for deletion.")
        if vm["properties"]["provisioningState"] == "Creating":
            message = f"The VM '{vm['name']}' is still being created."
            raise Refusal(409, "AnotherOperationInProgress", message)
        power = self.world.power
        if power.get(request.id.lower()) == "running":
            power[request.id.lower()] = "stopping"

        def finish() -> None:
            if request.id.lower() in self.world.resources:
                power[request.id.lower()] = "stopped"

        operation = self.world.begin(request.id, finish)
        return Answer(202, None, self.world.tracked(operation, request, location=True))

    def _delete_disk(self, request: Request) -> Answer:
        disk = self.world.get(request.id)
        if disk is None:
            return Answer(204)
        if disk.get("managedBy"):
            message = f"Disk {request.names[-1]} is attached to VM {disk['managedBy']}."
            raise Refusal(409, "OperationNotAllowed", message)
        operation = self.world.begin(request.id, lambda: self.world.drop(request.id))
        return Answer(202, None, self.world.tracked(operation, request, location=True))

    # -- sizes ------------------------------------------------------------------------------

    def _skus(self) -> list[Json]:
        location = self.world.location
        found: list[Json] = [
            {"resourceType": "disks", "name": "StandardSSD_LRS", "locations": [location]}
        ]
        for name, (cpus, memory, arch, restrictions) in SIZES.items():
            told = {"vCPUs": cpus, "MemoryGB": memory, "CpuArchitectureType": arch}
            info = {"locations": [location], "zones": ["1"]}
            found.append(
                {
                    "resourceType": "virtualMachines",
                    "name": name,
                    "tier": "Standard",
                    "size": name.removeprefix("Standard_"),
                    "family": "standardFamily",
                    "locations": [location],
                    "capabilities": [{"name": k, "value": str(v)} for k, v in told.items()],
                    "restrictions": [
                        {
                            "type": one,
                            "values": [location],
                            "restrictionInfo": info,
                            "reasonCode": "NotAvailableForSubscription",
                        }
                        for one in restrictions
                    ],
                }
            )
        return found
