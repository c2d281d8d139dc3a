"""Microsoft.Network: interfaces, public addresses, load balancers, and DNS zones."""

from __future__ import annotations

import copy
import ipaddress
import uuid
from collections.abc import Callable
from typing import Any

from porter.lab.clouds.azure.world import Answer, Json, Refusal, Request, World

PARTS = ("frontendIPConfigurations", "backendAddressPools", "loadBalancingRules", "probes")


class Network:
    def __init__(self, world: World, release: Callable[[str], None]) -> None:
        self.world, self.release = world, release
        self.down: set[str] = set()
        """Addresses whose health probes fail."""

    def answer(self, request: Request) -> Answer:
        kind = request.kind.lower().split("/", 1)[1]
        if not request.names:
            return self.world.listed(request, list(self.world.of(request.kind, request.base)))
        if kind == "dnszones/a":
            return self._record(request)
        if request.verb.lower() == "health" and request.method == "POST":
            return self._health(request)
        if kind == "loadbalancers/backendaddresspools":
            return self._pool(request)
        if request.method == "GET":
            found = self.world.known(request.id)
            return Answer(200, found, {"ETag": found["etag"]} if "etag" in found else {})
        if request.method == "DELETE":
            return self._delete(request)
        makers: dict[str, Callable[[Request], Json]] = {
            "networkinterfaces": self._nic,
            "publicipaddresses": self._public,
            "loadbalancers": self._balancer,
            "virtualnetworks": self._network,
            "virtualnetworks/subnets": self._subnet,
            "dnszones": self._zone,
        }
        if request.method != "PUT" or kind not in makers:
            raise Refusal(405, "MethodNotAllowed", f"the stand-in has no {request.method} {kind}")
        return self._put(request, makers[kind])

    def _put(self, request: Request, make: Callable[[Request], Json]) -> Answer:
        """Interfaces and balancers are ready at once but still name an operation; the others are
        `Updating` until it is done: as recorded."""
        there = self.world.get(request.id)
        wanted = request.headers.get("If-Match")
        if there is not None and wanted not in (None, "*", there.get("etag")):
            message = "The etag of the request does not match that of the resource."
            raise Refusal(412, "PreconditionFailed", message)
        made = make(request)
        self.world.put(request.id, made)
        status = 200 if there is not None else 201
        if request.types[-1].lower() == "dnszones":
            return Answer(status, made, {"ETag": made["etag"]})
        slow = request.types[-1].lower() in ("publicipaddresses", "virtualnetworks", "subnets")
        shown = copy.deepcopy(made)
        if slow:
            shown["properties"]["provisioningState"] = "Updating"
            shown["properties"].pop("ipAddress", None)
        left = None if slow or there is not None else 0
        operation = self.world.begin(request.id, slow=left)
        return Answer(status, shown, self.world.tracked(operation, request, location=False))

    def _base(self, request: Request, **properties: Any) -> Json:
        there = self.world.resources.get(request.id.lower())
        guid = there["properties"]["resourceGuid"] if there else str(uuid.uuid4())
        body = request.body
        names = zip(request.types[1:], request.names, strict=True)
        optional = {k: body[k] for k in ("location", "tags", "sku", "zones") if k in body}
        kind = "/".join([request.types[0], *(one for one, _ in names)])
        return {
            "name": request.names[-1],
            "id": request.id,
            "etag": self.world.etag(),
            "type": kind,
            **optional,
            "properties": {
                "provisioningState": "Succeeded",
                "resourceGuid": guid,
                **body.get("properties", {}),
                **properties,
            },
        }

    def _network(self, request: Request) -> Json:
        empty: Json = {"subnets": [], "virtualNetworkPeerings": []}
        return self._base(request, **empty, enableDdosProtection=False)

    def _subnet(self, request: Request) -> Json:
        policies = {"privateEndpointNetworkPolicies": "Enabled"}
        return self._base(
            request, delegations=[], **policies, privateLinkServiceNetworkPolicies="Enabled"
        )

    def _zone(self, request: Request) -> Json:
        made = self._base(request, nameServers=["ns1-04.azure-dns.com."], numberOfRecordSets=2)
        return {**made, "etag": str(uuid.uuid4()), "type": "Microsoft.Network/dnszones"}

    # -- interfaces and public addresses ----------------------------------------------------

    def _nic(self, request: Request) -> Json:
        there = self.world.resources.get(request.id.lower())
        before = {} if there is None else there["properties"]
        old = {one["name"]: one["properties"] for one in before.get("ipConfigurations", ())}
        made = self._base(
            request,
            enableAcceleratedNetworking=False,
            enableIPForwarding=False,
            hostedWorkloads=[],
            tapConfigurations=[],
            nicType="Standard",
            vnetEncryptionSupported=False,
            allowPort25Out=True,
            dnsSettings={
                "dnsServers": [],
                "appliedDnsServers": [],
                "internalDomainNameSuffix": "standin.bx.internal.cloudapp.net",
            },
        )
        made |= {"kind": "Regular"}
        configurations = [
            self._configuration(request.id, made["etag"], one, old.get(one["name"], {}))
            for one in request.body["properties"]["ipConfigurations"]
        ]
        made["properties"]["ipConfigurations"] = configurations
        if "virtualMachine" in before:
            made["properties"]["virtualMachine"] = before["virtualMachine"]
        for one in configurations:
            self._attach(one, old.get(one["name"], {}))
        return made

    def _configuration(self, nic: str, etag: str, asked: Json, old: Json) -> Json:
        given = asked["properties"]
        self._reference(nic, given["subnet"]["id"])
        address = old.get("privateIPAddress") or given.get("privateIPAddress")
        if address is None:
            address = f"10.0.0.{self.world.next_host}"
            self.world.next_host += 1
        properties = {
            "provisioningState": "Succeeded",
            "privateIPAddress": address,
            "privateIPAllocationMethod": "Dynamic",
            "subnet": given["subnet"],
            "primary": True,
            "privateIPAddressVersion": "IPv4",
        }
        if given.get("publicIPAddress"):
            properties["publicIPAddress"] = {"id": given["publicIPAddress"]["id"]}
        return {
            "name": asked["name"],
            "id": f"{nic}/ipConfigurations/{asked['name']}",
            "etag": etag,
            "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
            "properties": properties,
        }

    def _reference(self, by: str, id: str) -> Json:
        found = self.world.resources.get(id.lower())
        if found is None:
            message = f"Resource {id} referenced by resource {by} was not found. Please make sure "
            message += "that the referenced resource exists, and that both are in the same region."
            raise Refusal(400, "InvalidResourceReference", message)
        return found

    def _attach(self, configuration: Json, old: Json) -> None:
        wanted = configuration["properties"].get("publicIPAddress")
        had = old.get("publicIPAddress")
        if wanted is not None:
            public = self._reference(configuration["id"], wanted["id"])
            holder = public["properties"].get("ipConfiguration")
            if holder and holder["id"].lower() != configuration["id"].lower():
                message = f"Public ip address {wanted['id']} is referenced by multiple ip "
                message += f"configurations: {holder['id']}, {configuration['id']}."
                raise Refusal(400, "PublicIPReferencedByMultipleIPConfigs", message)
            public["properties"]["ipConfiguration"] = {"id": configuration["id"]}
        if had is not None and had != wanted:
            self.world.resources[had["id"].lower()]["properties"].pop("ipConfiguration", None)

    def _public(self, request: Request) -> Json:
        there = self.world.resources.get(request.id.lower())
        number = sum(1 for _ in self.world.of("Microsoft.Network/publicIPAddresses", ""))
        address = f"198.51.100.{number + 10}"
        made = self._base(
            request,
            ipAddress=there["properties"]["ipAddress"] if there else address,
            publicIPAddressVersion="IPv4",
            ipTags=[],
        )
        made["properties"].setdefault("publicIPAllocationMethod", "Dynamic")
        made["properties"].setdefault("idleTimeoutInMinutes", 4)
        made["sku"] = {"name": "Basic", "tier": "Regional", **made.get("sku", {})}
        return made

    def _delete(self, request: Request) -> Answer:
        found = self.world.get(request.id)
        if found is None:
            return Answer(204)
        machine = found["properties"].get("virtualMachine")
        if machine:
            message = (
                f"Network Interface {request.id} is used by existing resource {machine['id']}."
            )
            raise Refusal(400, "NicInUse", message)
        found["properties"]["provisioningState"] = "Deleting"
        operation = self.world.begin(request.id, lambda: self.release(request.id))
        return Answer(202, None, self.world.tracked(operation, request, location=True))

    # -- load balancers ---------------------------------------------------------------------

    def _balancer(self, request: Request) -> Json:
        made = self._base(request)
        made["sku"] = {"name": "Basic", "tier": "Regional", **made.get("sku", {})}
        for part in PARTS:
            for one in made["properties"].setdefault(part, []):
                one["id"] = f"{request.id}/{part}/{one['name']}"
                one["etag"] = made["etag"]
                one["type"] = f"Microsoft.Network/loadBalancers/{part}"
                one.setdefault("properties", {})["provisioningState"] = "Succeeded"
        for one in made["properties"]["backendAddressPools"]:
            one["properties"].setdefault("loadBalancerBackendAddresses", [])
        return made

    def _pool(self, request: Request) -> Answer:
        balancer = self.world.known(request.id.split("/backendAddressPools/")[0])
        pools = balancer["properties"]["backendAddressPools"]
        found = [one for one in pools if one["name"].lower() == request.names[-1].lower()]
        if not found:
            raise absent_part(request)
        if request.method == "GET":
            return Answer(200, found[0])
        if request.method != "PUT":
            raise Refusal(405, "MethodNotAllowed", f"the stand-in has no {request.method} here")
        given = request.body["properties"].get("loadBalancerBackendAddresses", [])
        for one in given:
            network = one["properties"].get("virtualNetwork", {}).get("id", "")
            self._reference(request.id, network)
            if not ipaddress.ip_address(one["properties"]["ipAddress"]).is_private:
                message = f"{one['properties']['ipAddress']} is not in the network {network}."
                raise Refusal(400, "BackendAddressNotInVirtualNetwork", message)
        found[0]["properties"]["loadBalancerBackendAddresses"] = copy.deepcopy(given)
        found[0]["etag"] = self.world.etag()
        operation = self.world.begin(request.id)
        headers = self.world.tracked(operation, request, location=False)
        return Answer(200, found[0], headers)

    def _health(self, request: Request) -> Answer:
        balancer = self.world.known(request.id.split("/loadBalancingRules/")[0])
        rules = balancer["properties"]["loadBalancingRules"]
        rule = next((one for one in rules if one["name"] == request.names[-1]), None)
        if rule is None:
            raise absent_part(request)
        wanted = rule["properties"]["backendAddressPool"]["id"].lower()
        pools = balancer["properties"]["backendAddressPools"]
        pool = next(one for one in pools if one["id"].lower() == wanted)
        told = [
            {"ipAddress": address, "state": "Up", "reason": "Up_Probe_Success"}
            if address not in self.down
            else {"ipAddress": address, "state": "Down", "reason": "Down_Probe_TimeOut"}
            for one in pool["properties"]["loadBalancerBackendAddresses"]
            for address in [one["properties"]["ipAddress"]]
        ]
        up = len([one for one in told if one["state"] == "Up"])
        result = {"up": up, "down": len(told) - up, "loadBalancerBackendAddresses": told}
        operation = self.world.begin(request.id, result=result)
        return Answer(202, None, self.world.tracked(operation, request, location=True))

    # -- names ------------------------------------------------------------------------------

    def _record(self, request: Request) -> Answer:
        zone = self.world.known("/".join(request.id.split("/")[:-2]))
        found = self.world.resources.get(request.id.lower())
        if request.method == "GET":
            if found is None:
                message = f"The resource record '{request.names[-1]}' does not exist in resource "
                raise Refusal(404, "NotFound", message + f"group '{request.group}' of this zone.")
            return Answer(200, found, {"ETag": found["etag"]})
        if request.method == "DELETE":
            self.world.drop(request.id)
            return Answer(200 if found else 204)
        name, etag = request.names[-1], str(uuid.uuid4())
        fqdn = f"{zone['name']}." if name == "@" else f"{name}.{zone['name']}."
        made = {
            "id": request.id,
            "name": name,
            "type": "Microsoft.Network/dnszones/A",
            "etag": etag,
            "properties": {
                "fqdn": fqdn,
                **request.body["properties"],
                "targetResource": {},
                "provisioningState": "Succeeded",
            },
        }
        self.world.put(request.id, made)
        return Answer(200 if found else 201, made, {"ETag": etag})


def absent_part(request: Request) -> Refusal:
    return Refusal(404, "NotFound", f"Resource {request.id} not found.")
