"""The role in docs/policies/gcp.json is what the calls at the wire need: no more and no less."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.lab.clouds.gcp import GcpCloud
from porter.providers.base import Destination, LaunchSpec, Provider, RecordSet
from porter.providers.gcp.rights import ACT_AS, PURPOSES
from porter.providers.registry import open_site
from tests.contracts.provider_contracts import finish

pytestmark = pytest.mark.integration
POLICY = Path(__file__).parents[3] / "docs/policies/gcp.json"
SPEC = LaunchSpec("p-key", "host-1", "e2-small", "#!/bin/sh\n", "o-1")


def everything(cloud: GcpCloud, provider: Provider) -> None:
    """Each thing that Porter ever does, once."""
    hosts, dns = provider.hosts, provider.dns
    addressing, balancing = provider.addressing, provider.balancing
    assert hosts is not None
    assert dns is not None
    assert addressing is not None
    assert balancing is not None
    hosts.types()
    made = finish(lambda token: hosts.launch(SPEC, token))
    hosts.managed(SPEC.owner)
    address = cloud.reserve()
    finish(lambda token: addressing.assign(address, made.id, token))
    # One whose health nobody checks: then it has to be known that no backend service does.
    cloud.google.groups.make(made.zone, "shop", served=False)
    for ends in ([Destination(made.private_address, made.id)], []):
        finish(lambda token, ends=ends: balancing.set_targets("shop", 80, ends, token))
    for value in ("10.0.0.1", "10.0.0.2", "10.0.0.2"):
        record = RecordSet("shop.gcp.porter.test", 60, {value: 1})
        finish(lambda token, record=record: dns.set_record(record, token))
    finish(lambda token: dns.remove_record("shop.gcp.porter.test", token))
    finish(lambda token: hosts.power_off(SPEC.key, token))
    for machine in cloud.google.world.instances.values():
        machine["disks"][0]["autoDelete"] = False  # the disk then has to be removed by itself
    finish(lambda token: hosts.terminate(SPEC.key, token))
    assert not hosts.strays(SPEC.owner)


def test_the_role_is_what_is_needed(tmp_path: Path) -> None:
    cloud = GcpCloud()
    cloud.google.world.slow = 0
    cloud.start(tmp_path, "127.0.0.1")
    try:
        everything(cloud, open_site(cloud.site()))
    finally:
        cloud.stop()
    included = json.loads(POLICY.read_text())["includedPermissions"]
    assert sorted(cloud.google.permissions) == included
    assert sorted(PURPOSES) == included
    assert ACT_AS not in included
    assert cloud.google.violations == []
