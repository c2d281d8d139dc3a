"""A stand-in for Azure: an ARM server of our own, and Azurite for the Blob store.

There is no emulator of Azure's machines to install, so this one keeps machines, disks, interfaces,
public addresses, load balancers and DNS zones itself. What it says is held against Microsoft's own
recordings of the real Azure (`tests/integration/clouds/test_azure_replay.py`), what it is asked
against Microsoft's own schemas. Real: TLS, the SDK, paging, long-running operations, etags and
match conditions, rights by action with linked scopes, capacity and quota errors, Blob. Not checked:
Entra ID (a fixed bearer token), images, quotas by family, real boot times, name servers and health
probes. Nothing boots here: the lab does that with what `machines()` tells.
"""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Sequence
from pathlib import Path

from porter.domain.errors import Permanent
from porter.domain.site import SiteKind
from porter.lab.clouds.azure.blob import Azurite, BlobStore
from porter.lab.clouds.azure.checks import Checker
from porter.lab.clouds.azure.wire import Arm, Server
from porter.lab.clouds.azure.world import Answer, Json, Request, World
from porter.lab.clouds.base import Machine
from porter.providers.base import TAG_HOST, SiteConfig

CACHE = Path("/var/cache/porter/azure")
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
LOCATION = "westeurope"
GROUP = "porter-lab"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxhYi1vbmx5LW5vYm9keS1oYXMtdGhlLXNlY3JldA lab"


def cache() -> Path:
    """Where `setup/azure.sh` put what it fetched."""
    return Path(os.environ.get("PORTER_AZURE") or CACHE)


class AzureStandIn:
    kind = SiteKind.AZURE

    def __init__(self, actions: Sequence[str] = ("*",)) -> None:
        """`actions` are the rights of the only identity that it knows."""
        self._actions = list(actions)
        self._token = secrets.token_hex(16)
        self._server: Server | None = None
        self._azurite = Azurite(cache())
        self._blob: BlobStore | None = None
        self.world = World(SUBSCRIPTION, LOCATION)
        self._names = 0

    def start(self, directory: Path, address: str) -> None:
        schemas = cache() / "schemas"
        if not schemas.exists():
            raise Permanent(
                "cannot start Azure's stand-in: Microsoft's schemas are not here",
                "run porter/lab/clouds/setup/azure.sh",
            )
        self.arm = Arm(self.world, Checker(schemas), self._token)
        self.arm.permissions = [{"actions": self._actions, "notActions": []}]
        self._authority = directory / "authority.pem"
        self._server = Server(self.arm.answer, address, self._authority)
        self.world.base_url = self._server.url
        self._make("virtualNetworks/net", {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}})
        self._make("virtualNetworks/net/subnets/default", {"addressPrefix": "10.0.0.0/16"})
        self._make("dnsZones/example.test", {})
        self._blob = self._azurite.start(directory, address)

    def stop(self) -> None:
        self._azurite.stop()
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def site(self) -> SiteConfig:
        settings = {
            "subscription": SUBSCRIPTION,
            "resource_group": GROUP,
            "subnet": self._id("virtualNetworks/net/subnets/default"),
            "ssh_key": SSH_KEY,
            "base_url": self.world.base_url,
            "connection_verify": str(self._authority),
            "prices": "offline",
        }
        secrets = {"token": self._token}
        return SiteConfig(f"azure:{LOCATION}", SiteKind.AZURE, LOCATION, settings, secrets)

    def blob(self) -> BlobStore:
        """How the Blob store is reached; after `start`."""
        if self._blob is None:
            raise Permanent("cannot tell of the Blob store: the stand-in was not started")
        return self._blob

    # -- machines ---------------------------------------------------------------------------

    def machines(self) -> list[Machine]:
        with self.world.lock:
            base = f"/subscriptions/{SUBSCRIPTION}"
            return [
                Machine(
                    id=one["id"].lower(),
                    name=one.get("tags", {}).get(TAG_HOST, one["name"]),
                    running=self.world.power[one["id"].lower()] == "running",
                    user_data=self.world.user_data[one["id"].lower()],
                )
                for one in self.world.of("Microsoft.Compute/virtualMachines", base)
                if one["id"].lower() in self.world.power
                and one["properties"]["provisioningState"] != "Deleting"
            ]

    def booted(self, machine: str, address: str) -> None:
        with self.world.lock:
            vm = self.world.resources.get(machine.lower())
            if vm is None:
                return
            nic = vm["properties"]["networkProfile"]["networkInterfaces"][0]["id"]
            found = self.world.resources[nic.lower()]["properties"]["ipConfigurations"][0]
            found["properties"]["privateIPAddress"] = address

    # -- what a person would have made before -----------------------------------------------

    def make_address(self) -> str:
        """A public address that leads nowhere."""
        name = f"publicIPAddresses/{self._fresh('ip')}"
        static = {"publicIPAllocationMethod": "Static"}
        made = self._make(name, static, sku={"name": "Standard"})
        return str(made["properties"]["ipAddress"])

    def make_group(self, port: int, *, probe: bool = True) -> str:
        """A load balancer with an empty pool and a rule that leads to `port`: `BALANCER/POOL`."""
        name = f"loadBalancers/{self._fresh('lb')}"
        id = self._id(name)
        rule: Json = {
            "frontendIPConfiguration": {"id": f"{id}/frontendIPConfigurations/front"},
            "backendAddressPool": {"id": f"{id}/backendAddressPools/pool"},
            "protocol": "Tcp",
            "frontendPort": port,
            "backendPort": port,
        }
        probes = [{"name": "probe", "properties": {"protocol": "Tcp", "port": port}}]
        if probe:
            rule["probe"] = {"id": f"{id}/probes/probe"}
        subnet = {"id": self._id("virtualNetworks/net/subnets/default")}
        properties = {
            "frontendIPConfigurations": [{"name": "front", "properties": {"subnet": subnet}}],
            "backendAddressPools": [{"name": "pool"}],
            "loadBalancingRules": [{"name": "rule", "properties": rule}],
            "probes": probes if probe else [],
        }
        made = self._make(name, properties, sku={"name": "Standard"})
        return f"{made['name']}/pool"

    def _fresh(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}-{self._names}-{uuid.uuid4().hex[:6]}"

    def _id(self, name: str) -> str:
        group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
        return f"{group}/providers/Microsoft.Network/{name}"

    def _make(self, name: str, properties: Json, **other: object) -> Json:
        """PUT a resource of the network, as the wire would: not as the site's identity."""
        body = {"location": LOCATION, "properties": properties, **other}
        target = f"{self._id(name)}?api-version=2024-05-01"
        with self.world.lock:
            answer: Answer = self.arm.network.answer(Request("PUT", target, {}, body))
            assert answer.status in (200, 201), answer
            return self.world.known(self._id(name))
