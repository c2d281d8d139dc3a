"""Cloud DNS through its REST API.

google-cloud-dns does the same with more code and without weights (routing policies). A change is
one transaction: the old set goes and the new one comes at once, and it fails if the old set is not
what was read.
"""

from __future__ import annotations

import json
from typing import Any

from porter.domain.errors import Conflict, Invalid, NotFound, Transient
from porter.providers.base import Pending, RecordSet
from porter.providers.gcp.operations import parse
from porter.providers.gcp.session import Session

WAIT = 1.0


class GcpDns:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings = session.settings
        self._base = (
            f"{session.settings.dns_endpoint}/dns/v1/projects/{session.settings.dns_project}"
        )

    def record(self, name: str) -> RecordSet | None:
        found = self._read(self._zone(name), name)
        return RecordSet(name, found["ttl"], _weights(found)) if found else None

    def set_record(self, record: RecordSet, token: str = "") -> Pending | None:
        if not record.weights:
            raise Invalid(f"cannot set {record.name}: it would lead nowhere")
        return self._change(record.name, record, token)

    def remove_record(self, name: str, token: str = "") -> Pending | None:
        return self._change(name, None, token)

    def _change(self, name: str, wish: RecordSet | None, token: str) -> Pending | None:
        what = f"change the DNS name {name}"
        state = parse(token)
        if state.get("change"):
            return self._poll(what, state["zone"], state["change"])
        zone = self._zone(name)
        found = self._read(zone, name)
        same = found is not None and wish is not None and _means(found) == _means(_wire(wish))
        if same or (wish is None and found is None):
            # It reads so already, but an earlier call's change may still be on its way.
            return self._latest(what, zone)
        body: dict[str, Any] = {"kind": "dns#change"}
        if found is not None:
            body["deletions"] = [found]
        if wish is not None:
            body["additions"] = [_wire(wish)]
        try:
            made = self._session.rest(what, "POST", f"{self._zone_url(zone)}/changes", body=body)
        except (Conflict, NotFound) as error:
            # Somebody changed the name since it was read: read again.
            raise Transient(error.message) from error
        return _pending(zone, made["id"])

    def _poll(self, what: str, zone: str, change: str) -> Pending | None:
        made = self._session.rest(what, "GET", f"{self._zone_url(zone)}/changes/{change}")
        return None if made["status"] == "done" else _pending(zone, change)

    def _latest(self, what: str, zone: str) -> Pending | None:
        newest = {"sortBy": "changeSequence", "sortOrder": "descending", "maxResults": "1"}
        page = self._session.rest(what, "GET", f"{self._zone_url(zone)}/changes", newest)
        for made in page.get("changes", []):
            if made["status"] != "done":
                return _pending(zone, made["id"])
        return None

    def _read(self, zone: str, name: str) -> dict[str, Any] | None:
        wanted = {"name": f"{name}.", "type": "A"}
        url = f"{self._zone_url(zone)}/rrsets"
        found = self._session.pages(f"read the DNS name {name}", url, "rrsets", wanted)
        return found[0] if found else None

    def _zone(self, name: str) -> str:
        """The managed zone that holds a name: the settings' own, else the longest that fits."""
        url = f"{self._base}/managedZones"
        zones = self._session.pages("list DNS zones", url, "managedZones", {})
        fit = [
            zone
            for zone in zones
            if f".{name}.".endswith(f".{zone['dnsName']}")
            and self._settings.dns_zone in ("", zone["name"])
        ]
        if not fit:
            raise NotFound(
                f"cannot find a zone for {name}: {self._settings.dns_project} has none",
                "make a managed zone, or correct the setting dns_zone",
            )
        # A public zone before a private one of the same name.
        best = max(fit, key=lambda zone: (len(zone["dnsName"]), zone["visibility"] == "public"))
        return str(best["name"])

    def _zone_url(self, zone: str) -> str:
        return f"{self._base}/managedZones/{zone}"


def _pending(zone: str, change: str) -> Pending:
    return Pending(json.dumps({"change": change, "zone": zone}), WAIT)


def _wire(record: RecordSet) -> dict[str, Any]:
    """A plain record where all weights are equal, else a weighted round robin."""
    wire: dict[str, Any] = {
        "kind": "dns#resourceRecordSet",
        "name": f"{record.name}.",
        "type": "A",
        "ttl": record.ttl,
    }
    if len(set(record.weights.values())) == 1:
        wire["rrdatas"] = sorted(record.weights)
    else:
        items = [
            {"weight": weight, "rrdatas": [value]}
            for value, weight in sorted(record.weights.items())
        ]
        wire["routingPolicy"] = {"wrr": {"items": items}}
    return wire


def _means(wire: dict[str, Any]) -> tuple[int, dict[str, int]]:
    return wire["ttl"], _weights(wire)


def _weights(wire: dict[str, Any]) -> dict[str, int]:
    """Weights of a record set. Raises Invalid for policies that weights cannot tell."""
    policy = wire.get("routingPolicy")
    if not policy:
        return dict.fromkeys(wire.get("rrdatas", []), 1)
    if "wrr" not in policy:
        kinds = ", ".join(sorted(set(policy) - {"kind"}))
        raise Invalid(
            f"cannot use {wire['name']}: it is routed by {kinds}",
            "give the workload a name with a plain or weighted record",
        )
    return {
        value: int(item["weight"])
        for item in policy["wrr"]["items"]
        for value in item.get("rrdatas", [])
    }
