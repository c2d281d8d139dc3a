"""The Instance Metadata Service, asked on the machine itself: no credential, never by a proxy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from porter.domain.errors import NotFound, Transient
from porter.providers.base import Notice

DEFAULT_URL = "http://169.254.169.254"
TIMEOUT = 2.0
"""Seconds. The very first question for events may take minutes: it switches them on."""
_KINDS = {
    "Freeze": "maintenance",
    "Reboot": "restart",
    "Redeploy": "restart",
    "Preempt": "terminate",
    "Terminate": "terminate",
}


class AzureMetadata:
    def __init__(self, url: str = "") -> None:
        self._url = (url or DEFAULT_URL).rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def instance(self) -> str:
        return str(self._compute()["resourceId"]).lower()

    def notices(self) -> Sequence[Notice]:
        """Scheduled Events that name this machine; those of its neighbours in an availability set
        are told too, and left out."""
        name = str(self._compute().get("name", "")).lower()
        told = self._get("/metadata/scheduledevents?api-version=2020-07-01")
        return [
            Notice(_KINDS.get(str(one.get("EventType")), "maintenance"), _when(one))
            for one in told.get("Events", ())
            if name in {str(other).lower().lstrip("_") for other in one.get("Resources", ())}
        ]

    def _compute(self) -> dict[str, Any]:
        found = self._get("/metadata/instance/compute?api-version=2021-02-01")
        if not found.get("resourceId"):
            raise NotFound("cannot tell the instance id: this is no Azure machine")
        return found

    def _get(self, path: str) -> dict[str, Any]:
        request = urllib.request.Request(self._url + path, headers={"Metadata": "true"})
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                found = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 429 or error.code >= 500:
                raise Transient(f"cannot ask Azure's metadata: HTTP {error.code}") from error
            raise NotFound("cannot ask Azure's metadata: this is no Azure machine") from error
        except ValueError as error:
            raise NotFound("cannot ask Azure's metadata: something else answers") from error
        except OSError as error:
            raise NotFound(f"cannot ask Azure's metadata: {error}") from error
        return found if isinstance(found, dict) else {}


def _when(event: dict[str, Any]) -> str:
    """ISO 8601; empty once the event has begun."""
    told = str(event.get("NotBefore", ""))
    try:
        return parsedate_to_datetime(told).astimezone(UTC).isoformat() if told else ""
    except ValueError:
        return ""
