"""Cloud DNS: managed zones, record sets, and changes that are served some requests later."""

from __future__ import annotations

from typing import Any

from porter.lab.clouds.gcp.faults import ApiError
from porter.lab.clouds.gcp.world import Json, World, stamp


class Dns:
    def __init__(self, world: World) -> None:
        self._world = world
        self.zones: dict[str, Json] = {}
        self.sets: dict[str, dict[tuple[str, str], Json]] = {}
        self.changes: dict[str, list[Json]] = {}
        self.handlers = {
            "dns.managedZones.list": self._list_zones,
            "dns.resourceRecordSets.list": self._list_sets,
            "dns.changes.create": self._change,
            "dns.changes.get": self._get,
            "dns.changes.list": self._list_changes,
        }

    def make(self, name: str, domain: str, visibility: str = "public") -> None:
        """A managed zone; `domain` without the last dot."""
        self.zones[name] = {
            "kind": "dns#managedZone",
            "name": name,
            "id": str(self._world.number()),
            "dnsName": f"{domain}.",
            "visibility": visibility,
        }
        self.sets[name], self.changes[name] = {}, []

    def _page(self, kind: str, items: str, found: list[Any], query: Json) -> Json:
        start = int(query.get("pageToken", 0))
        end = start + min(self._world.page, int(query.get("maxResults", 100)))
        page: Json = {"kind": f"dns#{kind}ListResponse", items: found[start:end]}
        if end < len(found):
            page["nextPageToken"] = str(end)
        return page

    def _zone(self, path: Json) -> str:
        name = str(path["managedZone"])
        if name not in self.zones:
            why = f"The 'parameters.managedZone' resource named '{name}' does not exist."
            raise ApiError(404, "notFound", why)
        return name

    def _list_zones(self, path: Json, query: Json, body: Json) -> Json:
        return self._page("managedZones", "managedZones", list(self.zones.values()), query)

    def _list_sets(self, path: Json, query: Json, body: Json) -> Json:
        found = [
            one
            for (name, kind), one in self.sets[self._zone(path)].items()
            if query.get("name", name) == name and query.get("type", kind) == kind
        ]
        return self._page("resourceRecordSets", "rrsets", found, query)

    def _change(self, path: Json, query: Json, body: Json) -> Json:
        zone = self._zone(path)
        sets = dict(self.sets[zone])
        for one in body.get("deletions", []):
            held = sets.pop(self._key(one), None)
            if held is None:
                raise ApiError(404, "notFound", "The 'entity.change.deletions[0]' does not exist.")
            if _plain(held) != _plain(one):
                why = "Precondition not met for 'entity.change.deletions[0]'"
                raise ApiError(412, "conditionNotMet", why)
        for one in body.get("additions", []):
            self._check(zone, one)
            if self._key(one) in sets:
                why = "The resource 'entity.change.additions[0]' already exists"
                raise ApiError(409, "alreadyExists", why)
            sets[self._key(one)] = {**one, "signatureRrdatas": []}
        if not body.get("additions") and not body.get("deletions"):
            raise ApiError(400, "required", "Required field 'entity.change' is empty.")
        self.sets[zone] = sets
        made: Json = {
            "kind": "dns#change",
            "id": str(len(self.changes[zone]) + 1),
            "startTime": stamp(),
            "status": "pending",
        }
        made |= {key: body[key] for key in ("additions", "deletions") if key in body}
        self.changes[zone].append({"wire": made, "at": self._world.now})
        return made

    def _check(self, zone: str, one: Json) -> None:
        name, values = one.get("name", ""), one.get("rrdatas", [])
        items = one.get("routingPolicy", {}).get("wrr", {}).get("items", [])
        if not f".{name}".endswith(f".{self.zones[zone]['dnsName']}"):
            raise ApiError(400, "invalid", f"Invalid value for 'entity.change.name': '{name}'")
        if not isinstance(one.get("ttl"), int) or bool(values) == bool(items):
            raise ApiError(400, "invalid", "Invalid value for 'entity.change.additions[0]'")

    @staticmethod
    def _key(one: Json) -> tuple[str, str]:
        return one.get("name", ""), one.get("type", "")

    def _told(self, change: Json) -> Json:
        if self._world.now - change["at"] > self._world.slow:
            change["wire"]["status"] = "done"
        wire: Json = change["wire"]
        return wire

    def _get(self, path: Json, query: Json, body: Json) -> Json:
        for one in self.changes[self._zone(path)]:
            if one["wire"]["id"] == path["changeId"]:
                return self._told(one)
        raise ApiError(404, "notFound", "The 'parameters.changeId' resource does not exist.")

    def _list_changes(self, path: Json, query: Json, body: Json) -> Json:
        found = [self._told(one) for one in self.changes[self._zone(path)]]
        if query.get("sortOrder") == "descending":
            found.reverse()
        return self._page("changes", "changes", found, query)


def _plain(one: Json) -> tuple[Any, ...]:
    return one.get("ttl"), one.get("rrdatas", []), one.get("routingPolicy")
