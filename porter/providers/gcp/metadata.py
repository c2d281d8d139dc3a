"""The metadata server, as a machine of Compute Engine sees it."""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Sequence

from porter.domain.errors import NotFound
from porter.providers.base import Notice
from porter.providers.gcp.machines import identity, last
from porter.providers.gcp.settings import METADATA

TIMEOUT = 2.0
FLAVOR = "Metadata-Flavor"
EVENTS = {
    "MIGRATE_ON_HOST_MAINTENANCE": "maintenance",
    "TERMINATE_ON_HOST_MAINTENANCE": "stop",
}


class GcpMetadata:
    def __init__(self, endpoint: str = METADATA) -> None:
        self._base = f"{endpoint.rstrip('/')}/computeMetadata/v1/instance/"
        # Link-local: never through a proxy of the environment.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def instance(self) -> str:
        return identity(last(self._get("zone")), self._get("name"))

    def notices(self) -> Sequence[Notice]:
        # Google tells what comes, not when: about 30 s for Spot, 60 s for maintenance.
        found = []
        if self._get("preempted") == "TRUE":
            found.append(Notice("terminate", ""))
        kind = EVENTS.get(self._get("maintenance-event"))
        if kind:
            found.append(Notice(kind, ""))
        return found

    def _get(self, path: str) -> str:
        request = urllib.request.Request(self._base + path, headers={FLAVOR: "Google"})
        try:
            with self._open(request, timeout=TIMEOUT) as answer:
                if answer.headers.get(FLAVOR) == "Google":
                    return str(answer.read(4096).decode()).strip()
                why = "somebody else answers"
        except (OSError, http.client.HTTPException) as error:
            why = str(error)
        raise NotFound(f"cannot read {path} of this machine: {why}", "this is no Google machine")
