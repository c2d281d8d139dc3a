"""Target groups of Elastic Load Balancing (application, network and gateway)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from porter.domain.errors import Invalid, NotFound
from porter.providers.aws.session import Session
from porter.providers.base import Destination, Pending

LEAVING = ("draining", "unhealthy.draining")


class AwsLoadBalancing:
    """A group is named by its name or ARN. Its targets are instances or addresses, by its type."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def targets(self, group: str) -> Mapping[str, int]:
        found = self._group(group)
        ends = [
            (one["Target"]["Id"], one["Target"]["Port"])
            for one in self._health(found, group)
            if one["TargetHealth"]["State"] not in LEAVING
        ]
        addresses = {}
        if found["TargetType"] == "instance":
            addresses = self._addresses([name for name, _ in ends], group)
        return {f"{addresses.get(name, name)}:{port}": 1 for name, port in ends}

    def set_targets(
        self, group: str, port: int, targets: Sequence[Destination], token: str = ""
    ) -> Pending | None:
        """Targets of a group that no balancer uses are never healthy; they are not waited for."""
        doing = f"set the targets of {group}"
        found = self._group(group)
        arn = found["TargetGroupArn"]
        wanted = {(one["Id"], one["Port"]): one for one in self._wanted(found, port, targets)}
        states = {
            (one["Target"]["Id"], one["Target"]["Port"]): one["TargetHealth"]
            for one in self._health(found, group)
        }
        here = {end for end, health in states.items() if health["State"] not in LEAVING}
        coming = [wanted[end] for end in sorted(wanted.keys() - here)]
        going = [{"Id": name, "Port": port} for name, port in sorted(here - wanted.keys())]
        if coming:
            self._session.call(
                "elbv2", "register_targets", doing, TargetGroupArn=arn, Targets=coming
            )
        if going:
            self._session.call(
                "elbv2", "deregister_targets", doing, TargetGroupArn=arn, Targets=going
            )
        settled = not coming and not going and states.keys() == wanted.keys()
        return None if settled and all(map(_ready, states.values())) else Pending("")

    def _group(self, group: str) -> dict[str, Any]:
        which = "TargetGroupArns" if group.startswith("arn:") else "Names"
        doing = f"find the target group {group}"
        answer = self._session.call("elbv2", "describe_target_groups", doing, **{which: [group]})
        if not answer["TargetGroups"]:
            raise NotFound(f"cannot {doing}")
        found: dict[str, Any] = answer["TargetGroups"][0]
        if found.get("TargetType") not in ("instance", "ip"):
            raise Invalid(
                f"cannot use the target group {group}: its targets are {found.get('TargetType')}",
                "use one whose target type is instance or ip",
            )
        return found

    def _health(self, found: dict[str, Any], group: str) -> list[dict[str, Any]]:
        answer = self._session.call(
            "elbv2",
            "describe_target_health",
            f"see the targets of {group}",
            TargetGroupArn=found["TargetGroupArn"],
        )
        entries: list[dict[str, Any]] = answer["TargetHealthDescriptions"]
        return entries

    def _wanted(
        self, found: dict[str, Any], port: int, targets: Sequence[Destination]
    ) -> list[dict[str, Any]]:
        name = found["TargetGroupName"]
        if found["TargetType"] == "instance":
            for one in targets:
                if not one.instance:
                    raise Invalid(
                        f"cannot make {one.address} a target of {name}: it is no instance of this"
                        " account",
                        "use a target group whose target type is ip",
                    )
            return [{"Id": one.instance, "Port": port} for one in targets]
        if not targets:
            return []
        nets = self._networks(found["VpcId"], name)
        return [{"Id": one.address, "Port": port, **_zone(one.address, nets)} for one in targets]

    def _networks(self, vpc: str, group: str) -> list[str]:
        answer = self._session.call(
            "ec2", "describe_vpcs", f"see the network of {group}", VpcIds=[vpc]
        )
        return [
            entry["CidrBlock"]
            for one in answer["Vpcs"]
            for entry in one.get("CidrBlockAssociationSet", ())
        ]

    def _addresses(self, instances: list[str], group: str) -> dict[str, str]:
        if not instances:
            return {}
        found = self._session.pages(
            "ec2",
            "describe_instances",
            "Reservations",
            f"see the targets of {group}",
            Filters=[{"Name": "instance-id", "Values": instances}],
        )
        return {
            raw["InstanceId"]: raw["PrivateIpAddress"]
            for reservation in found
            for raw in reservation["Instances"]
            if raw.get("PrivateIpAddress")
        }


def _zone(address: str, nets: Sequence[str]) -> dict[str, str]:
    """What lies outside of the network is reached from every zone: AWS wants to be told."""
    ip = ipaddress.ip_address(address)
    return (
        {} if any(ip in ipaddress.ip_network(net) for net in nets) else {"AvailabilityZone": "all"}
    )


def _ready(health: Mapping[str, str]) -> bool:
    if health["State"] == "healthy":
        return True
    return health["State"] == "unused" and health.get("Reason") == "Target.NotInUse"
