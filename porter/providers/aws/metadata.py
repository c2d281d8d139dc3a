"""The instance metadata service, version 2 only. Needs neither boto3 nor credentials."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from porter.domain.errors import NotFound, Transient
from porter.providers.aws.settings import METADATA_URL
from porter.providers.base import Notice

SECONDS = 2
TOKEN_LIFE = 60
SPOT_KINDS = {"terminate": "terminate", "stop": "stop", "hibernate": "stop"}
EVENT_KINDS = {
    "instance-reboot": "restart",
    "system-reboot": "restart",
    "instance-stop": "stop",
    "instance-retirement": "terminate",
    "system-maintenance": "maintenance",
}


class AwsMetadata:
    def __init__(self, url: str = METADATA_URL) -> None:
        self._url = url.rstrip("/")
        # It is on the link: no proxy of the environment may come between.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def instance(self) -> str:
        """Other clouds imitate version 1, but not the token that is asked for here."""
        try:
            found = self._get("instance-id") or ""
        except Transient as error:
            raise NotFound("cannot tell the instance: this is no machine of EC2") from error
        if not re.fullmatch(r"i-[0-9a-f]{8,17}", found):
            raise NotFound("cannot tell the instance: this is no machine of EC2")
        return found

    def notices(self) -> Sequence[Notice]:
        """An interruption, scheduled events, and the advice to move away from a spot machine that
        is at risk: that one as `maintenance` without a time. Raises Transient."""
        found = []
        action = self._json("spot/instance-action")
        if action:
            kind = SPOT_KINDS.get(action.get("action", ""), "terminate")
            found.append(Notice(kind, _iso(action.get("time", ""))))
        for event in self._json("events/maintenance/scheduled") or ():
            if event.get("State", "active") == "active":
                kind = EVENT_KINDS.get(event.get("Code", ""), "maintenance")
                found.append(Notice(kind, _iso(event.get("NotBefore", ""))))
        if self._json("events/recommendations/rebalance"):
            found.append(Notice("maintenance", ""))
        return found

    def _json(self, path: str) -> Any:
        text = self._get(path)
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise Transient(f"cannot read {path} of the metadata service") from error

    def _get(self, path: str) -> str | None:
        """None if there is no such thing now."""
        life = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFE)}
        token = self._fetch("PUT", "/latest/api/token", life)
        try:
            return self._fetch(
                "GET", f"/latest/meta-data/{path}", {"X-aws-ec2-metadata-token": token}
            )
        except NotFound:
            return None

    def _fetch(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self._url + path, method=method, headers=headers)
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                return str(answer.read(1 << 16).decode())
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    raise NotFound(f"cannot find {path} in the metadata service") from error
                raise Transient(f"cannot ask the metadata service: HTTP {error.code}") from error
        except (OSError, ValueError) as error:
            raise Transient(f"cannot ask the metadata service: {type(error).__name__}") from error


def _iso(text: str) -> str:
    """EC2 writes ISO 8601 for spot machines, and `21 Jan 2026 09:00:43 GMT` for events."""
    try:
        return datetime.strptime(text, "%d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC).isoformat()
    except ValueError:
        return text
