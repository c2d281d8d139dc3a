"""What a machine of ours looks like to Google, and what Google's machines look like to us."""

from __future__ import annotations

import base64
import re
from typing import Any

from porter.domain.errors import Invalid
from porter.providers.base import (
    TAG_HOST,
    TAG_KEY,
    TAG_MANAGED,
    Instance,
    InstanceState,
    LaunchSpec,
)
from porter.providers.gcp.settings import GcpSettings

NIC = "nic0"
NAT = "External NAT"
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")

STATES = {
    "PENDING": InstanceState.STARTING,
    "PROVISIONING": InstanceState.STARTING,
    "STAGING": InstanceState.STARTING,
    "RUNNING": InstanceState.RUNNING,
    "REPAIRING": InstanceState.STARTING,
    "PENDING_STOP": InstanceState.STOPPING,
    "STOPPING": InstanceState.STOPPING,
    "SUSPENDING": InstanceState.STOPPING,
    "DEPROVISIONING": InstanceState.STOPPING,
    # Google's TERMINATED is a machine that is powered off and can be started again.
    "TERMINATED": InstanceState.STOPPED,
    "STOPPED": InstanceState.STOPPED,
    "SUSPENDED": InstanceState.STOPPED,
}

FIRST_BOOT = """\
#!/bin/sh
# Google's guest agent runs this at every boot. Images with cloud-init run `user-data`, which is the
# same script, once by themselves.
set -eu
if command -v cloud-init >/dev/null 2>&1; then exit 0; fi
mkdir /var/lib/porter-first-boot 2>/dev/null || exit 0
base64 -d >/var/lib/porter-first-boot/script <<'END'
{script}
END
chmod 700 /var/lib/porter-first-boot/script
exec /var/lib/porter-first-boot/script
"""


def name_of(key: str) -> str:
    """The machine's and its disk's name: a key may end in a dash, a name may not."""
    return f"{key}-porter"


def last(link: str) -> str:
    """The name at the end of a resource's link."""
    return link.rpartition("/")[2]


def identity(zone: str, name: str) -> str:
    """`Instance.id`: what both the API and the machine itself can tell."""
    return f"{zone}/{name}"


def split_identity(instance: str) -> tuple[str, str]:
    """Zone and name. Raises Invalid for what is no id of ours."""
    zone, slash, name = instance.partition("/")
    if not (zone and slash and name) or "/" in name:
        raise Invalid(f"cannot use {instance!r}: an instance's id reads ZONE/NAME")
    return zone, name


def labels(spec: LaunchSpec) -> dict[str, str]:
    """Labels of machine and disk. Raises Invalid for what Google does not allow in a label."""
    found = {
        **spec.tags,
        TAG_MANAGED: spec.owner,
        TAG_KEY: spec.key,
        TAG_HOST: spec.name.lower(),
    }
    for key, value in found.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise Invalid(
                f"cannot launch {spec.name}: {key}={value} cannot be a label",
                "use lower-case letters, digits, dashes and underscores, at most 63",
            )
    return found


def first_boot(user_data: str) -> str:
    """A startup script that runs the user data at the first boot only, byte for byte."""
    return FIRST_BOOT.format(script=base64.encodebytes(user_data.encode()).decode().strip())


def described(settings: GcpSettings, spec: LaunchSpec, zone: str) -> Any:
    """The machine as Google is to make it."""
    from google.cloud import compute_v1 as c

    marks = labels(spec)
    disk = c.AttachedDiskInitializeParams(
        disk_name=name_of(spec.key),
        source_image=settings.image,
        disk_size_gb=spec.disk_gb,
        labels=marks,
    )
    if settings.disk_type:
        disk.disk_type = f"zones/{zone}/diskTypes/{settings.disk_type}"
    machine = c.Instance(
        name=name_of(spec.key),
        description=f"Porter host {spec.name}",
        machine_type=f"zones/{zone}/machineTypes/{spec.instance_type}",
        labels=marks,
        disks=[c.AttachedDisk(boot=True, auto_delete=True, initialize_params=disk)],
        network_interfaces=[_nic(settings)],
        metadata=c.Metadata(
            items=[
                # cloud-init reads `user-data`; images without it have Google's guest agent, which
                # reads `startup-script`.
                c.Items(key="user-data", value=spec.user_data),
                c.Items(key="startup-script", value=first_boot(spec.user_data)),
            ]
        ),
    )
    if settings.service_account:
        machine.service_accounts = [
            c.ServiceAccount(
                email=settings.service_account,
                scopes=["https://www.googleapis.com/auth/cloud-platform"],
            )
        ]
    if spec.spot:
        # STOP keeps the disk with whatever the workloads on it have written.
        machine.scheduling = c.Scheduling(
            provisioning_model="SPOT",
            instance_termination_action="STOP",
            on_host_maintenance="TERMINATE",
            automatic_restart=False,
        )
    return machine


def ephemeral() -> Any:
    """A public address that Google chooses."""
    from google.cloud import compute_v1 as c

    return c.AccessConfig(name=NAT, type_="ONE_TO_ONE_NAT")


def told(machine: Any) -> Instance:
    """A machine as Google describes it."""
    marks = dict(machine.labels)
    nic = machine.network_interfaces[0] if machine.network_interfaces else None
    public = [one.nat_i_p for one in nic.access_configs if one.nat_i_p] if nic else []
    return Instance(
        id=identity(last(machine.zone), machine.name),
        key=marks.get(TAG_KEY, ""),
        name=marks.get(TAG_HOST, machine.name),
        state=STATES.get(machine.status, InstanceState.STARTING),
        instance_type=last(machine.machine_type),
        zone=last(machine.zone),
        private_address=nic.network_i_p if nic else "",
        public_address=public[0] if public else "",
        tags=marks,
        launched_at=machine.creation_timestamp,
        problem=machine.status_message,
    )


def _nic(settings: GcpSettings) -> Any:
    from google.cloud import compute_v1 as c

    nic = c.NetworkInterface(network=_link(settings.network, "global/networks"))
    if settings.subnet:
        nic.subnetwork = _link(settings.subnet, f"regions/{settings.region}/subnetworks")
    if settings.external_ip:
        nic.access_configs = [ephemeral()]
    return nic


def _link(name: str, collection: str) -> str:
    """A plain name is of this project; a shared network is given by its whole path."""
    return name if "/" in name else f"{collection}/{name}"
