"""When EC2 ended a machine: it says so for about an hour after."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from porter.domain.errors import NotFound
from porter.providers.aws.session import Session

_WHEN = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")


class AwsLifetimes:
    def __init__(self, session: Session) -> None:
        self._session = session

    def ended(self, key: str, instance: str) -> str:
        """From the reason of its last change of state, which has the second in it."""
        doing = f"find out when the machine of {key} ended"
        try:
            answer = self._session.call("ec2", "describe_instances", doing, InstanceIds=[instance])
        except NotFound:
            return ""
        for reservation in answer["Reservations"]:
            for raw in reservation["Instances"]:
                found = _WHEN.search(str(raw.get("StateTransitionReason", "")))
                if raw["State"]["Name"] == "terminated" and found:
                    at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S")
                    return at.replace(tzinfo=UTC).isoformat()
        return ""
