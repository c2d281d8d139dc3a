"""Network endpoint groups and the backend services that check their health."""

from __future__ import annotations

from porter.lab.clouds.gcp.compute import Compute, fingerprint
from porter.lab.clouds.gcp.faults import ApiError
from porter.lab.clouds.gcp.world import Json

VMS = "GCE_VM_IP_PORT"
CHECK = "global/healthChecks/porter"


class Groups:
    """Adds its handlers to those of Compute Engine."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._world = compute.world
        self.sick: set[str] = set()
        """Addresses that never become healthy."""
        prefix = "compute.networkEndpointGroups."
        compute.handlers |= {
            f"{prefix}get": self._get,
            f"{prefix}listNetworkEndpoints": self._ends,
            f"{prefix}attachNetworkEndpoints": self._attach,
            f"{prefix}detachNetworkEndpoints": self._detach,
            "compute.backendServices.list": self._services,
            "compute.regionBackendServices.list": lambda _path, query, _body: self._world.listed(
                "backendService", [], query
            ),
        }

    def make(self, zone: str, name: str, kind: str = VMS, served: bool = True) -> None:
        """A fresh group; `served`: a backend service checks its health."""
        world = self._world
        link = world.link(f"zones/{zone}/networkEndpointGroups/{name}")
        world.groups[(zone, name)] = {
            "kind": "compute#networkEndpointGroup",
            "id": str(world.number()),
            "name": name,
            "networkEndpointType": kind,
            "zone": world.link(f"zones/{zone}"),
            "selfLink": link,
        }
        world.ends[(zone, name)] = []
        if served:
            world.services.append(
                {
                    "kind": "compute#backendService",
                    "name": f"{name}-{zone}",
                    "backends": [{"group": link}],
                    "healthChecks": [world.link(CHECK)],
                    "fingerprint": fingerprint(world.number()),
                }
            )

    def _at(self, path: Json) -> tuple[str, str]:
        at = (self._compute.zone(path), path["networkEndpointGroup"])
        if at not in self._world.groups:
            where = f"zones/{at[0]}/networkEndpointGroups/{at[1]}"
            full = f"projects/{self._world.project}/{where}"
            raise ApiError(404, "notFound", f"The resource '{full}' was not found")
        return at

    def _get(self, path: Json, query: Json, body: Json) -> Json:
        return self._world.groups[self._at(path)]

    def _services(self, path: Json, query: Json, body: Json) -> Json:
        return self._world.listed("backendService", self._world.services, query)

    def _served(self, at: tuple[str, str]) -> bool:
        link = self._world.groups[at]["selfLink"]
        return any(link == one["backends"][0]["group"] for one in self._world.services)

    def _ends(self, path: Json, query: Json, body: Json) -> Json:
        at = self._at(path)
        show = body.get("healthStatus") == "SHOW" and self._served(at)
        found = []
        for one in self._world.ends[at]:
            if "until" in one and not show:
                continue
            told: Json = {"networkEndpoint": one["wire"]}
            state = self._health(one)
            if show and state:
                check = {"healthCheck": self._world.link(CHECK)}
                told["healths"] = [{"healthState": state, "healthCheck": check}]
            found.append(told)
        page = self._world.listed("networkEndpointGroupsListNetworkEndpoints", found, query)
        return {**page, "kind": "compute#networkEndpointGroupsListNetworkEndpoints"}

    def _health(self, one: Json) -> str:
        """Unknown at first, then unhealthy, then healthy."""
        if "until" in one:
            return "DRAINING"
        age = self._world.now - one["since"]
        if age < 2:
            return ""
        return "UNHEALTHY" if age < 4 or one["wire"]["ipAddress"] in self.sick else "HEALTHY"

    def _attach(self, path: Json, query: Json, body: Json) -> Json:
        at = self._at(path)
        wanted = body.get("networkEndpoints", [])
        for one in wanted:
            self._check(at, one)

        def end() -> None:
            ends = self._world.ends[at]
            for one in wanted:
                ends[:] = [old for old in ends if old["wire"] != one]
                ends.append({"wire": one, "since": self._world.now})

        return self._begin("attachNetworkEndpoints", at, end)

    def _check(self, at: tuple[str, str], one: Json) -> None:
        machine = self._world.instances.get((at[0], one.get("instance", "")))
        if self._world.groups[at]["networkEndpointType"] == VMS:
            address = machine["networkInterfaces"][0]["networkIP"] if machine else ""
            if address != one.get("ipAddress"):
                why = f"The instance {one.get('instance')} has no address {one.get('ipAddress')}."
                raise ApiError(400, "invalid", why)
        elif "instance" in one:
            raise ApiError(400, "invalid", "Instance must not be given in a hybrid group.")

    def _detach(self, path: Json, query: Json, body: Json) -> Json:
        at = self._at(path)
        wanted = body.get("networkEndpoints", [])
        have = [one["wire"] for one in self._world.ends[at] if "until" not in one]
        if any(one not in have for one in wanted):
            raise ApiError(400, "invalid", "The network endpoint is not in the group.")

        def end() -> None:
            served = self._served(at)
            ends = self._world.ends[at]
            for one in ends:
                if one["wire"] in wanted:
                    one["until"] = self._world.now + (self._world.drain if served else 0)

        return self._begin("detachNetworkEndpoints", at, end)

    def _begin(self, kind: str, at: tuple[str, str], end: object) -> Json:
        assert callable(end)
        where = f"zones/{at[0]}/networkEndpointGroups/{at[1]}"
        return self._world.begin(kind, at[0], where, self._compute.error, end)
