"""Which of the rights in `docs/policies/aws.json` the credentials have.

Asked in this order: a dry run, where EC2 has one and there is something to try it on; a call that
only reads; and IAM's policy simulator, if it may be asked. What none of them can tell is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from porter.domain.errors import Denied, PorterError, Transient
from porter.providers.aws.errors import POLICY, PREFIXES, code_of, right_of
from porter.providers.aws.launching import ALIAS, Launching
from porter.providers.aws.session import Session
from porter.providers.aws.settings import Settings
from porter.providers.base import TAG_MANAGED, LaunchSpec, Right

DOING = "check rights"
IDENTITY = "sts:GetCallerIdentity"


@dataclass(frozen=True)
class Need:
    name: str
    purpose: str
    resource: str = "*"
    """What the simulator is asked about: a pattern for `str.format`."""


_INSTANCE = "arn:{partition}:ec2:{region}:{account}:instance/i-00000000000000000"
_GROUP = (
    "arn:{partition}:elasticloadbalancing:{region}:{account}:targetgroup/porter/0000000000000000"
)
_ZONE = "arn:{partition}:route53:::hostedzone/Z00000000000000000000"
NEEDS = (
    Need("ec2:DescribeInstances", "to find machines"),
    Need("ec2:DescribeInstanceTypes", "to know the sizes of machines"),
    Need("ec2:DescribeImages", "to know the root disk of the image"),
    Need("ec2:DescribeSubnets", "to find the subnet of a zone"),
    Need("ec2:DescribeVolumes", "to find disks that are left over"),
    Need("ec2:DescribeAddresses", "to find elastic addresses"),
    Need("ec2:DescribeVpcs", "to tell a target group's own addresses from others"),
    Need("ec2:DescribeSpotPriceHistory", "to price spot machines"),
    Need("pricing:GetProducts", "to price machines by today's list, not by a dated snapshot"),
    Need("ec2:RunInstances", "to launch machines", _INSTANCE),
    Need("ec2:CreateTags", "to mark machines and disks as Porter's", _INSTANCE),
    Need("ec2:StopInstances", "to power off lost machines", _INSTANCE),
    Need("ec2:TerminateInstances", "to remove machines", _INSTANCE),
    Need(
        "ec2:DeleteVolume",
        "to remove disks that are left over",
        "arn:{partition}:ec2:{region}:{account}:volume/vol-00000000000000000",
    ),
    Need(
        "ec2:AssociateAddress",
        "to move elastic addresses",
        "arn:{partition}:ec2:{region}:{account}:elastic-ip/eipalloc-00000000000000000",
    ),
    Need("elasticloadbalancing:DescribeTargetGroups", "to find target groups"),
    Need("elasticloadbalancing:DescribeTargetHealth", "to wait for healthy targets"),
    Need("elasticloadbalancing:RegisterTargets", "to add targets", _GROUP),
    Need("elasticloadbalancing:DeregisterTargets", "to take targets away", _GROUP),
    Need("route53:ListHostedZones", "to find the zone of a name"),
    Need("route53:ListResourceRecordSets", "to see records", _ZONE),
    Need("route53:ChangeResourceRecordSets", "to set records", _ZONE),
    Need(
        "route53:GetChange",
        "to wait until all name servers know a record",
        "arn:{partition}:route53:::change/C00000000000000000000",
    ),
)
ALIAS_NEED = Need(
    "ssm:GetParameters",
    "to resolve the image's alias",
    "arn:{partition}:ssm:{region}:{account}:parameter/porter",
)
PROFILE_NEED = Need(
    "iam:PassRole",
    "to give machines their instance profile",
    "arn:{partition}:iam::{account}:role/porter-host",
)


@dataclass
class _Findings:
    """What is known of rights, by name."""

    granted: dict[str, bool] = field(default_factory=dict)

    def note(self, name: str, granted: bool) -> None:
        """A refusal stays: another call may have got further with the same right."""
        self.granted[name] = granted and self.granted.get(name, True)


class AwsRights:
    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings
        self._needs = list(NEEDS)
        if settings.image.startswith(ALIAS):
            self._needs.append(ALIAS_NEED)
        if settings.instance_profile:
            self._needs.append(PROFILE_NEED)

    def check(self) -> Sequence[Right]:
        """Raises Transient if AWS cannot be reached."""
        purpose = "to prove who is asking"
        try:
            caller = self._session.call("sts", "get_caller_identity", DOING)["Arn"]
        except Denied as error:
            refused = Right(IDENTITY, False, purpose, error.remedy)
            untold = "the credentials come first"
            return [refused, *(Right(n.name, None, n.purpose, untold) for n in self._needs)]
        findings = _Findings()
        self._dry_runs(findings)
        self._reads(findings)
        simulated = self._simulate(
            caller, [need for need in self._needs if need.name not in findings.granted]
        )
        granted = {**simulated, **findings.granted}
        return [
            Right(IDENTITY, True, purpose),
            *(self._right(need, granted.get(need.name)) for need in self._needs),
        ]

    @staticmethod
    def _right(need: Need, granted: bool | None) -> Right:
        remedy = f"allow {need.name}: see {POLICY}"
        if granted is None:
            remedy = f"allow iam:SimulatePrincipalPolicy to have this told, or trust {POLICY}"
        return Right(need.name, granted, need.purpose, "" if granted else remedy)

    def _dry_runs(self, findings: _Findings) -> None:
        describes = ("Instances", "InstanceTypes", "Images", "Subnets", "Volumes", "Addresses")
        if not all(self._dry(findings, f"Describe{what}") for what in (*describes, "Vpcs")):
            return  # this service does not know dry runs: what follows would not be harmless
        one = self._a_machine()
        if one:
            self._dry(findings, "StopInstances", InstanceIds=[one])
            self._dry(findings, "TerminateInstances", InstanceIds=[one])
        try:
            request = Launching(self._session, self._settings).request(self._sample())
        except Transient:
            raise
        except PorterError:
            return  # settings or rights forbid even that: the simulator is asked
        implied = ["ec2:CreateTags"]
        if self._settings.instance_profile:
            implied.append(PROFILE_NEED.name)
        self._dry(findings, "RunInstances", implied, **request)

    def _sample(self) -> LaunchSpec:
        image = Launching(self._session, self._settings).image(DOING)
        usual = "t4g.micro" if image.get("Architecture") == "arm64" else "t3.micro"
        exact = (one for one in self._settings.instance_types if "*" not in one)
        return LaunchSpec("p-rights", "rights", next(exact, usual), "", owner="porter")

    def _a_machine(self) -> str:
        """One that Porter made: only those may be stopped."""
        try:
            for one in self._session.pages(
                "ec2",
                "describe_instances",
                "Reservations",
                DOING,
                Filters=[
                    {"Name": "tag-key", "Values": [TAG_MANAGED]},
                    {"Name": "instance-state-name", "Values": ["running", "stopped"]},
                ],
            ):
                return str(one["Instances"][0]["InstanceId"])
        except Denied:
            pass  # what the dry run has told already
        return ""

    def _dry(
        self, findings: _Findings, action: str, implied: Sequence[str] = (), **parameters: Any
    ) -> bool:
        """False if the call was carried out all the same."""
        operation = re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower()
        try:
            self._session.call("ec2", operation, DOING, DryRun=True, **parameters)
        except Transient:
            raise
        except Denied as error:
            self._refused(findings, "ec2", error)
        except PorterError as error:
            if code_of(error) == "DryRunOperation":  # else it says nothing about rights
                for name in (f"ec2:{action}", *implied):
                    findings.note(name, True)
        else:
            return False
        return True

    def _reads(self, findings: _Findings) -> None:
        elb, dns = "elbv2", "route53"
        groups = self._read(findings, elb, "DescribeTargetGroups", PageSize=1)
        for group in groups.get("TargetGroups", ())[:1]:
            arn = group["TargetGroupArn"]
            self._read(findings, elb, "DescribeTargetHealth", TargetGroupArn=arn)
        zones = self._read(findings, dns, "ListHostedZones", MaxItems="1")
        for zone in zones.get("HostedZones", ())[:1]:
            self._read(
                findings, dns, "ListResourceRecordSets", HostedZoneId=zone["Id"], MaxItems="1"
            )
        if self._settings.image.startswith(ALIAS):
            name = self._settings.image.removeprefix(ALIAS)
            self._read(findings, "ssm", "GetParameters", Names=[name])

    def _read(
        self, findings: _Findings, service: str, action: str, **parameters: Any
    ) -> dict[str, Any]:
        operation = re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower()
        try:
            answer = self._session.call(service, operation, DOING, **parameters)
        except Transient:
            raise
        except Denied as error:
            self._refused(findings, service, error)
        except PorterError:
            pass  # it says nothing about rights
        else:
            findings.note(f"{PREFIXES.get(service, service)}:{action}", True)
            return answer
        return {}

    @staticmethod
    def _refused(findings: _Findings, service: str, error: Denied) -> None:
        if isinstance(error.__cause__, ClientError):
            findings.note(right_of(error.__cause__, service), False)

    def _simulate(self, caller: str, needs: Sequence[Need]) -> dict[str, bool]:
        source, fill = principal(caller, self._session.region)
        by_resource: dict[str, list[str]] = {}
        for need in needs:
            by_resource.setdefault(fill(need.resource), []).append(need.name)
        told: dict[str, bool] = {}
        try:
            for resource, names in by_resource.items():
                for result in self._session.pages(
                    "iam",
                    "simulate_principal_policy",
                    "EvaluationResults",
                    DOING,
                    PolicySourceArn=source,
                    ActionNames=names,
                    ResourceArns=[resource],
                    ContextEntries=_CONTEXT,
                ):
                    allowed = result["EvalDecision"] == "allowed"
                    if allowed or not result.get("MissingContextValues"):
                        told[result["EvalActionName"]] = allowed
        except Transient:
            raise
        except PorterError:
            pass  # it may not be asked, or does not know the caller: what is left stays untold
        return told


_CONTEXT = [
    {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
    for key, value in (
        (f"aws:RequestTag/{TAG_MANAGED}", "porter"),
        (f"aws:ResourceTag/{TAG_MANAGED}", "porter"),
        ("ec2:CreateAction", "RunInstances"),
        ("iam:PassedToService", "ec2.amazonaws.com"),
    )
]


def principal(caller: str, region: str) -> tuple[str, Callable[[str], str]]:
    """What the simulator calls the caller, and a way to fill in a resource's pattern."""
    _, partition, _, _, account, who = caller.split(":", 5)
    if who.startswith("assumed-role/"):
        caller = f"arn:{partition}:iam::{account}:role/{who.split('/')[1]}"

    def fill(pattern: str) -> str:
        return pattern.format(partition=partition, region=region, account=account)

    return caller, fill
