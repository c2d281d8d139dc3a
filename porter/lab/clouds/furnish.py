"""What people have in their accounts before Porter comes: made through the clouds' own SDKs."""

from __future__ import annotations

from porter.domain.site import SiteKind
from porter.providers.base import Provider, SiteConfig

ZONES = {"aws": "aws.porter.test", "gcp": "gcp.porter.test", "azure": "example.test"}


def zone(place: Provider) -> str:
    """The DNS zone that the site's stand-in is born with; "" if it has none.

    Raises NotFound if it is not there after all.
    """
    name = ZONES.get(place.config.kind, "")
    if name and place.dns:
        place.dns.record(f"any.{name}")
    return name


def balancer(site: SiteConfig, name: str, port: int) -> str:
    """A load balancer on this TCP port, its targets addresses; the name of its group of targets.

    "" for clouds other than AWS. Safe to repeat.
    """
    if site.kind is not SiteKind.AWS:
        return ""
    import boto3

    keys = {"access_key_id": "aws_access_key_id", "secret_access_key": "aws_secret_access_key"}
    session = boto3.Session(
        region_name=site.region, **{keys[k]: v for k, v in site.secrets.items() if k in keys}
    )
    where = {"endpoint_url": site.settings["endpoint_url"]}
    ec2, elb = session.client("ec2", **where), session.client("elbv2", **where)
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0][
        "VpcId"
    ]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    group = elb.create_target_group(
        Name=name, Protocol="TCP", Port=port, VpcId=vpc, TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    made = elb.create_load_balancer(
        Name=name, Type="network", Subnets=[one["SubnetId"] for one in subnets]
    )["LoadBalancers"][0]["LoadBalancerArn"]
    forward = [{"Type": "forward", "TargetGroupArn": group}]
    elb.create_listener(LoadBalancerArn=made, Protocol="TCP", Port=port, DefaultActions=forward)
    return name
