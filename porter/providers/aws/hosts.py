"""EC2 instances."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from porter.domain.errors import Exhausted, NotFound, Permanent, PorterError, Transient
from porter.providers.aws.errors import code_of
from porter.providers.aws.launching import Launching
from porter.providers.aws.session import Session
from porter.providers.aws.settings import Settings
from porter.providers.base import (
    TAG_HOST,
    TAG_KEY,
    TAG_MANAGED,
    Instance,
    InstanceState,
    InstanceType,
    LaunchSpec,
    Pending,
    Stray,
)

ARCHITECTURES = {"x86_64": "x86_64", "arm64": "aarch64"}
STATES = {
    "pending": InstanceState.STARTING,
    "running": InstanceState.RUNNING,
    "shutting-down": InstanceState.STOPPING,
    "stopping": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPED,
    "terminated": InstanceState.GONE,
}
NO_ROOM = ("Insufficient", "LimitExceeded", "SpotInstanceTermination", "Capacity")
"""In the reason for which EC2 ended a machine: it had no room for it."""


class AwsHosts:
    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings
        self._launching = Launching(session, settings)

    def types(self) -> Sequence[InstanceType]:
        """By the allow-list, and only those that the site's image can run on."""
        doing = "list instance types"
        wanted = ""
        if self._settings.image:
            wanted = str(self._launching.image(doing).get("Architecture", ""))
        filters = []
        if self._settings.instance_types:
            filters = [_filter("instance-type", *self._settings.instance_types)]
        found = []
        for one in self._session.pages(
            "ec2", "describe_instance_types", "InstanceTypes", doing, Filters=filters
        ):
            offered = one.get("ProcessorInfo", {}).get("SupportedArchitectures", ())
            arch = next((a for a in ARCHITECTURES if a in offered and wanted in ("", a)), "")
            if arch:
                memory = one["MemoryInfo"]["SizeInMiB"] << 20
                cpus = one["VCpuInfo"]["DefaultVCpus"]
                found.append(InstanceType(one["InstanceType"], ARCHITECTURES[arch], cpus, memory))
        return sorted(found, key=lambda kind: kind.name)

    def launch(self, spec: LaunchSpec, token: str = "") -> Instance | Pending:
        """A key is good for one machine: once that is gone, launching again is an error, so that a
        late repetition cannot bring a machine back."""
        doing = f"launch {spec.name}"
        made = json.loads(token)["instance"] if token else ""
        raw = self._by_id(made, doing) if made else self._best(spec.key, doing)
        if raw is None and not made:
            made = self._run(spec, doing)
        if raw is None:
            # EC2 is eventually consistent: what was just made may not be described yet.
            return Pending(json.dumps({"instance": made}))
        state = STATES[raw["State"]["Name"]]
        if state is InstanceState.STARTING:
            return Pending(json.dumps({"instance": raw["InstanceId"]}))
        if state is not InstanceState.RUNNING:
            raise _ended(raw, doing)
        return _instance(raw)

    def _run(self, spec: LaunchSpec, doing: str) -> str:
        try:
            answer = self._session.call(
                "ec2", "run_instances", doing, **self._launching.request(spec)
            )
        except PorterError as error:
            if code_of(error) != "IdempotentParameterMismatch":
                raise
            # A machine was made under the key, with other settings: it is the one.
            raw = self._best(spec.key, doing)
            if raw is None:
                raise Transient(f"cannot {doing}: its machine is not described yet") from error
            return str(raw["InstanceId"])
        return str(answer["Instances"][0]["InstanceId"])

    def find(self, key: str) -> Instance | None:
        raw = self._best(key, f"find the machine of {key}")
        return None if raw is None or _is_gone(raw) else _instance(raw)

    def managed(self, owner: str) -> Sequence[Instance]:
        found = self._described("list machines", _tagged(TAG_MANAGED, owner))
        return [_instance(raw) for raw in found if not _is_gone(raw)]

    def power_off(self, key: str, token: str = "") -> Pending | None:
        """Skips the machine's own shutdown. A spot machine cannot be stopped and is terminated."""
        doing = f"power off the machine of {key}"
        found = self._of(key, doing)
        if not found:
            return self._settled(token)
        stop: list[str] = []
        end: list[str] = []
        # What another asked to stop may take its time over it: once, it is asked to hurry.
        states = ("pending", "running") if token else ("pending", "running", "stopping")
        for raw in found:
            if raw["State"]["Name"] in states:
                spot = raw.get("InstanceLifecycle") == "spot"
                (end if spot else stop).append(raw["InstanceId"])
        if end:
            self._session.call("ec2", "terminate_instances", doing, InstanceIds=end)
        if stop:
            self._session.call(
                "ec2", "stop_instances", doing, InstanceIds=stop, Force=True, SkipOsShutdown=True
            )
        off = all(raw["State"]["Name"] in ("stopped", "terminated") for raw in found)
        return None if off else Pending(json.dumps({"asked": True}))

    def terminate(self, key: str, token: str = "") -> Pending | None:
        doing = f"terminate the machine of {key}"
        found = self._of(key, doing)
        alive = [raw for raw in found if not _is_gone(raw)]
        doomed = [raw["InstanceId"] for raw in alive if raw["State"]["Name"] != "shutting-down"]
        if doomed:
            self._session.call("ec2", "terminate_instances", doing, InstanceIds=doomed)
        if alive:
            return Pending("")
        if self._remove_disks(key, doing):
            return Pending("")
        return None if found else self._settled(token)

    def _remove_disks(self, key: str, doing: str) -> bool:
        """Delete what disks the machine left. True if there was one."""
        found = list(self._disks(doing, _tagged(TAG_KEY, key)))
        for disk in found:
            if disk["State"] in ("available", "error"):
                try:
                    self._session.call("ec2", "delete_volume", doing, VolumeId=disk["VolumeId"])
                except NotFound:
                    pass  # EC2 deleted it with its machine
        return bool(found)

    def _settled(self, token: str) -> Pending | None:
        """None once nothing was seen for long enough that nothing can still turn up."""
        now = time.time()
        since = json.loads(token or "{}").get("unseen", now)
        if now - since >= self._settings.settle_seconds:
            return None
        return Pending(json.dumps({"unseen": since}))

    def strays(self, owner: str) -> Sequence[Stray]:
        doing, mine = "list what is left", _tagged(TAG_MANAGED, owner)
        found = [
            Stray("instance", raw["InstanceId"], _tag(raw, TAG_KEY), _about(raw))
            for raw in self._described(doing, mine)
            if not _is_gone(raw)
        ]
        for disk in self._disks(doing, mine):
            about = f"{disk['Size']} GB, {disk['State']}"
            found.append(Stray("disk", disk["VolumeId"], _tag(disk, TAG_KEY), about))
        answer = self._session.call("ec2", "describe_addresses", doing, Filters=[mine])
        for one in answer["Addresses"]:
            about = f"{one['PublicIp']}, {one.get('AssociationId', 'unused')}"
            found.append(Stray("address", one["AllocationId"], _tag(one, TAG_KEY), about))
        return found

    def _disks(self, doing: str, filter_: dict[str, Any]) -> Iterator[dict[str, Any]]:
        return self._session.pages("ec2", "describe_volumes", "Volumes", doing, Filters=[filter_])

    def _of(self, key: str, doing: str) -> list[dict[str, Any]]:
        """All machines ever made under a key, as long as EC2 lists them."""
        return list(self._described(doing, _tagged(TAG_KEY, key)))

    def _best(self, key: str, doing: str) -> dict[str, Any] | None:
        found = self._of(key, doing)
        return min(found, key=lambda raw: (_is_gone(raw), raw["LaunchTime"]), default=None)

    def _by_id(self, instance: str, doing: str) -> dict[str, Any] | None:
        return next(self._described(doing, _filter("instance-id", instance)), None)

    def _described(self, doing: str, filter_: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for reservation in self._session.pages(
            "ec2", "describe_instances", "Reservations", doing, Filters=[filter_]
        ):
            yield from reservation["Instances"]


def _filter(name: str, *values: str) -> dict[str, Any]:
    return {"Name": name, "Values": list(values)}


def _tagged(key: str, value: str) -> dict[str, Any]:
    """Stars and question marks are themselves here, not wildcards."""
    for special in "\\*?":
        value = value.replace(special, f"\\{special}")
    return _filter(f"tag:{key}", value)


def _tag(raw: dict[str, Any], key: str) -> str:
    return next((str(one["Value"]) for one in raw.get("Tags", ()) if one["Key"] == key), "")


def _is_gone(raw: dict[str, Any]) -> bool:
    return STATES[raw["State"]["Name"]] is InstanceState.GONE


def _why(raw: dict[str, Any]) -> str:
    reason = raw.get("StateReason", {})
    return str(reason.get("Message") or reason.get("Code") or raw.get("StateTransitionReason", ""))


def _about(raw: dict[str, Any]) -> str:
    return f"{raw['InstanceType']}, {raw['State']['Name']}"


def _ended(raw: dict[str, Any], doing: str) -> PorterError:
    text = f"cannot {doing}: {raw['InstanceId']} is {raw['State']['Name']}: {_why(raw)}"
    code = str(raw.get("StateReason", {}).get("Code", ""))
    if any(word in code for word in NO_ROOM):
        return Exhausted(text, "use another type or zone, or raise the quota")
    return Permanent(text, "launch under another key")


def _instance(raw: dict[str, Any]) -> Instance:
    state = STATES[raw["State"]["Name"]]
    return Instance(
        id=raw["InstanceId"],
        key=_tag(raw, TAG_KEY),
        name=_tag(raw, TAG_HOST) or _tag(raw, "Name"),
        state=state,
        instance_type=raw["InstanceType"],
        zone=raw.get("Placement", {}).get("AvailabilityZone", ""),
        private_address=raw.get("PrivateIpAddress", ""),
        public_address=raw.get("PublicIpAddress", ""),
        tags={one["Key"]: one["Value"] for one in raw.get("Tags", ())},
        launched_at=raw["LaunchTime"].isoformat() if "LaunchTime" in raw else "",
        problem="" if state in (InstanceState.STARTING, InstanceState.RUNNING) else _why(raw),
    )
