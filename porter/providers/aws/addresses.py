"""Elastic IP addresses."""

from __future__ import annotations

from typing import Any

from porter.domain.errors import Conflict, NotFound
from porter.providers.aws.session import Session
from porter.providers.base import Pending


class AwsAddressing:
    def __init__(self, session: Session) -> None:
        self._session = session

    def where(self, address: str) -> str:
        """A network interface's id where what has the address is no instance."""
        found = self._find(address)
        return str(found.get("InstanceId") or found.get("NetworkInterfaceId") or "")

    def assign(self, address: str, instance: str, token: str = "") -> Pending | None:
        """Raises Conflict if a NAT gateway or load balancer has the address."""
        found = self._find(address)
        if found.get("InstanceId") == instance:
            return None
        if found.get("AssociationId") and not found.get("InstanceId"):
            raise Conflict(
                f"cannot move {address}: {found.get('NetworkInterfaceId')} has it, no instance",
                "choose another address, or take it away there first",
            )
        self._session.call(
            "ec2",
            "associate_address",
            f"let {address} lead to {instance}",
            AllocationId=found["AllocationId"],
            InstanceId=instance,
            AllowReassociation=True,
        )
        return Pending("", 1.0)  # the next call sees whether it is described so already

    def _find(self, address: str) -> dict[str, Any]:
        answer = self._session.call(
            "ec2",
            "describe_addresses",
            f"find the address {address}",
            Filters=[{"Name": "public-ip", "Values": [address]}],
        )
        if not answer["Addresses"]:
            raise NotFound(f"cannot find the address {address} in this account and region")
        found: dict[str, Any] = answer["Addresses"][0]
        return found
