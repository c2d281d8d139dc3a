"""A record sets in the public Azure DNS zones of one resource group."""

from __future__ import annotations

from typing import Any

from porter.domain.errors import Conflict, NotFound, Unsupported
from porter.providers.azure.client import Clients
from porter.providers.azure.faults import guard
from porter.providers.azure.place import Place
from porter.providers.base import Pending, RecordSet


class AzureDns:
    """The zone is the longest of the group that the name ends with. Azure answers a write once it
    is stored; its name servers follow within seconds and tell nobody when."""

    def __init__(self, place: Place, clients: Clients) -> None:
        self._clients = clients
        self._group = place.dns_resource_group or place.resource_group

    def record(self, name: str) -> RecordSet | None:
        with guard(f"read the record {name}"):
            found = self._found(*self._split(name))
            if found is None:
                return None
            values = {one.ipv4_address or "": 1 for one in found.a_records or ()}
            return RecordSet(name, found.ttl or 0, values)

    def set_record(self, record: RecordSet, token: str = "") -> Pending | None:
        """Raises Unsupported for unequal weights: that would be Traffic Manager."""
        from azure.mgmt.dns.models import ARecord
        from azure.mgmt.dns.models import RecordSet as Body

        if len(set(record.weights.values())) > 1:
            raise Unsupported(
                f"cannot weigh the addresses of {record.name}: Azure DNS has no weights",
                "give all addresses the same weight",
            )
        with guard(f"set the record {record.name}"):
            zone, relative = self._split(record.name)
            self._check_plain(record.name, self._found(zone, relative))
            values = [ARecord(ipv4_address=one) for one in sorted(record.weights)]
            body = Body(ttl=record.ttl, a_records=values)
            self._clients.dns.record_sets.create_or_update(self._group, zone, relative, "A", body)
        return None

    def remove_record(self, name: str, token: str = "") -> Pending | None:
        with guard(f"remove the record {name}"):
            zone, relative = self._split(name)
            self._check_plain(name, self._found(zone, relative))
            self._clients.dns.record_sets.delete(self._group, zone, relative, "A")
        return None

    def _found(self, zone: str, relative: str) -> Any:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return self._clients.dns.record_sets.get(self._group, zone, relative, "A")
        except ResourceNotFoundError:
            return None

    @staticmethod
    def _check_plain(name: str, found: Any) -> None:
        if found is not None and found.target_resource and found.target_resource.id:
            raise Conflict(
                f"cannot change the record {name}: it is an alias of {found.target_resource.id}",
                "remove the alias, or use another name",
            )

    def _split(self, name: str) -> tuple[str, str]:
        wanted = name.rstrip(".").lower()
        zones = [
            one.name or "" for one in self._clients.dns.zones.list_by_resource_group(self._group)
        ]
        held = [one for one in zones if wanted == one.lower() or wanted.endswith(f".{one.lower()}")]
        if not held:
            raise NotFound(
                f"cannot find a zone for {name} in {self._group}",
                "set dns_resource_group to the resource group of its zone",
            )
        zone = max(held, key=len)
        return zone, wanted[: -len(zone) - 1] or "@"
