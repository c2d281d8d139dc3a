"""Route 53."""

from __future__ import annotations

import json
import math
from typing import Any

from porter.domain.errors import Conflict, NotFound
from porter.providers.aws.session import Session
from porter.providers.base import Pending, RecordSet

MAX_WEIGHT = 255
PLAIN = {"Name", "Type", "TTL", "ResourceRecords", "SetIdentifier", "Weight"}
"""What a record has that Porter may replace. Others route by place, latency or health."""


class AwsDns:
    """Equal weights are one plain record; else there is a weighted record for each value."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def record(self, name: str) -> RecordSet | None:
        """Raises Conflict for an alias and for records that are chosen by place or health."""
        found = self._sets(self._zone(name), name)
        if not found:
            return None
        weights: dict[str, int] = {}
        for one in found:
            for value in one["ResourceRecords"]:
                weights[value["Value"]] = int(one.get("Weight", 1))
        return RecordSet(_plain(name), int(found[0]["TTL"]), weights)

    def set_record(self, record: RecordSet, token: str = "") -> Pending | None:
        """One atomic batch, the same for the same wish; it is repeated where no token tells of it,
        because only its answer leads to whether all name servers know it."""
        doing = f"let {record.name} lead to {', '.join(sorted(record.weights))}"
        if token:
            return self._wait(token, doing)
        zone = self._zone(record.name)
        wanted = _wanted(record)
        kept = {one.get("SetIdentifier", "") for one in wanted}
        changes = [
            {"Action": "DELETE", "ResourceRecordSet": one}
            for one in self._sets(zone, record.name)
            if one.get("SetIdentifier", "") not in kept
        ]
        changes += [{"Action": "UPSERT", "ResourceRecordSet": one} for one in wanted]
        return self._change(zone, changes, doing)

    def remove_record(self, name: str, token: str = "") -> Pending | None:
        doing = f"remove the record {name}"
        if token:
            return self._wait(token, doing)
        zone = self._zone(name)
        changes = [{"Action": "DELETE", "ResourceRecordSet": one} for one in self._sets(zone, name)]
        return self._change(zone, changes, doing) if changes else None

    def _change(self, zone: str, changes: list[dict[str, Any]], doing: str) -> Pending:
        answer = self._session.call(
            "route53",
            "change_resource_record_sets",
            doing,
            HostedZoneId=zone,
            ChangeBatch={"Changes": changes},
        )
        return Pending(json.dumps({"change": answer["ChangeInfo"]["Id"]}))

    def _wait(self, token: str, doing: str) -> Pending | None:
        change = json.loads(token)["change"]
        answer = self._session.call("route53", "get_change", doing, Id=change)
        return None if answer["ChangeInfo"]["Status"] == "INSYNC" else Pending(token)

    def _zone(self, name: str) -> str:
        """The zone that holds a name: the longest one, and the public one of two."""
        wish = _plain(name)
        found = []
        for zone in self._session.pages(
            "route53", "list_hosted_zones", "HostedZones", f"find the zone of {name}"
        ):
            apex = _plain(zone["Name"])
            if wish == apex or wish.endswith(f".{apex}"):
                private = bool(zone.get("Config", {}).get("PrivateZone"))
                found.append((-len(apex), private, zone["Id"]))
        if not found:
            raise NotFound(f"cannot find a zone of this account that holds {name}")
        return str(min(found)[2])

    def _sets(self, zone: str, name: str) -> list[dict[str, Any]]:
        """The name's A records. They are listed in order, so the first other one ends them."""
        found: list[dict[str, Any]] = []
        for one in self._session.pages(
            "route53",
            "list_resource_record_sets",
            "ResourceRecordSets",
            f"see the records of {name}",
            HostedZoneId=zone,
            StartRecordName=_plain(name),
            StartRecordType="A",
        ):
            if (_plain(one["Name"]), one["Type"]) != (_plain(name), "A"):
                break
            if set(one) - PLAIN:
                special = ", ".join(sorted(set(one) - PLAIN))
                raise Conflict(
                    f"cannot manage the record {name}: it has {special}",
                    "remove that record, or give the endpoint another name",
                )
            found.append(one)
        return found


def _plain(name: str) -> str:
    """As people write it: Route 53 ends names with a dot and writes a star as an octal number."""
    return name.rstrip(".").lower().replace("\\052", "*")


def _wanted(record: RecordSet) -> list[dict[str, Any]]:
    common = {"Name": _plain(record.name) + ".", "Type": "A", "TTL": record.ttl}
    if len(set(record.weights.values())) <= 1:
        values = [{"Value": value} for value in sorted(record.weights)]
        return [{**common, "ResourceRecords": values}]
    most = max(MAX_WEIGHT, *record.weights.values())
    return [
        {
            **common,
            "SetIdentifier": f"porter-{value}",
            "Weight": math.ceil(weight * MAX_WEIGHT / most),
            "ResourceRecords": [{"Value": value}],
        }
        for value, weight in sorted(record.weights.items())
    ]
