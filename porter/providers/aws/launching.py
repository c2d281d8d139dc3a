"""What is asked of RunInstances for a machine."""

from __future__ import annotations

import fnmatch
import hashlib
from typing import Any

from porter.domain.errors import Invalid, NotFound
from porter.providers.aws.session import Session
from porter.providers.aws.settings import Settings
from porter.providers.base import TAG_HOST, TAG_KEY, TAG_MANAGED, LaunchSpec

USER_DATA_BYTES = 16 << 10
ALIAS = "resolve:ssm:"


def client_token(key: str) -> str:
    """EC2's idempotency token: the same in every attempt, and by nothing but the key."""
    return "porter-" + hashlib.sha256(key.encode()).hexdigest()[:48]


class Launching:
    """Puts requests together. Only reads."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings

    def allows(self, instance_type: str) -> bool:
        allowed = self._settings.instance_types
        return not allowed or any(fnmatch.fnmatchcase(instance_type, one) for one in allowed)

    def image(self, doing: str) -> dict[str, Any]:
        """The image's description. An alias is resolved here, but passed on as it is, so that a
        launch that is repeated has the same parameters wherever the alias leads by then."""
        if not self._settings.image:
            raise Invalid(f"cannot {doing}: the site has no image", "set image to an AMI's id")
        found: list[dict[str, Any]] = []
        try:
            name = self._resolve(self._settings.image, doing)
            found = self._session.call("ec2", "describe_images", doing, ImageIds=[name])["Images"]
        except NotFound as error:
            raise Invalid(error.message, "correct the site's image") from error
        if not found:
            raise Invalid(f"cannot {doing}: there is no image {name}", "correct the site's image")
        return found[0]

    def _resolve(self, image: str, doing: str) -> str:
        if not image.startswith(ALIAS):
            return image
        parameter = image.removeprefix(ALIAS)
        answer = self._session.call("ssm", "get_parameters", doing, Names=[parameter])
        if not answer["Parameters"]:
            raise NotFound(f"cannot {doing}: there is no parameter {parameter}")
        return str(answer["Parameters"][0]["Value"])

    def request(self, spec: LaunchSpec) -> dict[str, Any]:
        """Arguments of `run_instances`. Raises Invalid if the spec cannot be met."""
        doing = f"launch {spec.name}"
        if not self.allows(spec.instance_type):
            raise Invalid(f"cannot {doing}: the site's instance_types omit {spec.instance_type}")
        if len(spec.user_data.encode()) > USER_DATA_BYTES:
            raise Invalid(f"cannot {doing}: its user data is larger than {USER_DATA_BYTES} bytes")
        tags = [{"Key": key, "Value": value} for key, value in sorted(_tags(spec).items())]
        request: dict[str, Any] = {
            "ClientToken": client_token(spec.key),
            "MinCount": 1,
            "MaxCount": 1,
            "ImageId": self._settings.image,
            "InstanceType": spec.instance_type,
            "UserData": spec.user_data,
            "BlockDeviceMappings": [self._disk(spec, doing)],
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")
            ],
            # One hop: workloads, which are a hop away, cannot get at the host's role.
            "MetadataOptions": {
                "HttpTokens": "required",
                "HttpEndpoint": "enabled",
                "HttpPutResponseHopLimit": 1,
            },
        }
        request |= self._place(spec, doing)
        if self._settings.security_groups:
            request["SecurityGroupIds"] = list(self._settings.security_groups)
        if self._settings.instance_profile:
            profile = self._settings.instance_profile
            request["IamInstanceProfile"] = {"Arn" if ":" in profile else "Name": profile}
        if spec.spot:
            request["InstanceMarketOptions"] = {
                "MarketType": "spot",
                "SpotOptions": {"SpotInstanceType": "one-time"},
            }
        return request

    def _disk(self, spec: LaunchSpec, doing: str) -> dict[str, Any]:
        image = self.image(doing)
        root = image["RootDeviceName"]
        sizes = [
            one.get("Ebs", {}).get("VolumeSize", 0)
            for one in image.get("BlockDeviceMappings", ())
            if one.get("DeviceName") == root
        ]
        size = max([spec.disk_gb, *sizes])
        volume = {"VolumeSize": size, "VolumeType": "gp3", "DeleteOnTermination": True}
        return {"DeviceName": root, "Ebs": volume}

    def _place(self, spec: LaunchSpec, doing: str) -> dict[str, Any]:
        subnets = self._settings.subnets
        if not subnets:
            return {"Placement": {"AvailabilityZone": spec.zone}} if spec.zone else {}
        if not spec.zone:
            return {"SubnetId": subnets[0]}
        answer = self._session.call("ec2", "describe_subnets", doing, SubnetIds=list(subnets))
        zones = {one["SubnetId"]: one["AvailabilityZone"] for one in answer["Subnets"]}
        for subnet in subnets:
            if zones.get(subnet) == spec.zone:
                return {"SubnetId": subnet}
        raise Invalid(f"cannot {doing}: no subnet of the site is in {spec.zone}")


def _tags(spec: LaunchSpec) -> dict[str, str]:
    return {
        **spec.tags,
        "Name": spec.name,
        TAG_MANAGED: spec.owner,
        TAG_KEY: spec.key,
        TAG_HOST: spec.name,
    }
