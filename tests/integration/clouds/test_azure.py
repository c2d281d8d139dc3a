"""Azure through its unmodified SDKs, held against the contracts and the schemas of Microsoft.

The stand-in grants exactly the rights of `docs/policies/azure.json`, and no test may send a body
that the schemas do not allow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core import MatchConditions

from porter.providers.azure.rights import NEEDS
from porter.providers.base import Destination, RecordSet
from tests.contracts.provider_contracts import (
    AddressingContract,
    DnsContract,
    HostLifecycleContract,
    LoadBalancingContract,
    PricingContract,
    RightsContract,
    finish,
    wanted,
)
from tests.integration.clouds.azure_bench import AzureBench

ROLE = json.loads((Path(__file__).parents[3] / "docs/policies/azure.json").read_text())


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureBench]:
    made = AzureBench(tmp_path_factory.mktemp("azure"), ROLE["Actions"])
    yield made
    made.cloud.stop()


@pytest.fixture(params=[0, 2], ids=["at-once", "slow"])
def bench(cloud: AzureBench, request: pytest.FixtureRequest) -> Iterator[AzureBench]:
    arm = cloud.cloud.arm
    cloud.cloud.world.slow = request.param
    yield cloud
    arm.permissions = [{"actions": ROLE["Actions"], "notActions": []}]
    wrong, arm.violations = arm.violations, []
    assert wrong == []


class TestHosts(HostLifecycleContract):
    pass


class TestAddressing(AddressingContract):
    pass


class TestBalancing(LoadBalancingContract):
    pass


class TestDns(DnsContract):
    pass


class TestPricing(PricingContract):
    pass


class TestRights(RightsContract):
    pass


def test_the_role_holds_exactly_what_is_used(bench: AzureBench) -> None:
    """Every action that the wire has seen while everything is done once, and nothing else."""
    arm = bench.cloud.arm
    arm.actions.clear()
    cloud = bench.open()
    hosts, addressing, balancing, dns = cloud.hosts, cloud.addressing, cloud.balancing, cloud.dns
    assert None not in (hosts, addressing, balancing, dns, cloud.rights)
    assert all(one.granted for one in cloud.rights.check())
    assert hosts.types()
    specs = [wanted(bench), wanted(bench)]
    made = [finish(lambda token, spec=spec: hosts.launch(spec, token)) for spec in specs]
    address, group, name = bench.address(), bench.group(), f"role.{bench.zone}"
    targets = [Destination(one.private_address, one.id) for one in made]
    for one in made:
        finish(lambda token, id=one.id: addressing.assign(address, id, token))
    assert hosts.find(specs[1].key).public_address == address  # type: ignore[union-attr]
    finish(lambda token: balancing.set_targets(group, 6379, targets, token))
    dns.set_record(RecordSet(name, 60, {"10.0.0.1": 1}))
    assert dns.record(name)
    dns.remove_record(name)
    assert hosts.managed(specs[0].owner)
    # Delete options that somebody changed, so that disk and NIC have to go by themselves.
    vm = bench.cloud.world.resources[made[0].id]["properties"]
    vm["storageProfile"]["osDisk"]["deleteOption"] = "Detach"
    vm["networkProfile"]["networkInterfaces"][0]["properties"]["deleteOption"] = "Detach"
    for spec in specs:
        finish(lambda token, key=spec.key: hosts.power_off(key, token))
        finish(lambda token, key=spec.key: hosts.terminate(key, token))
        assert not hosts.strays(spec.owner)
    assert {one.lower() for one in arm.actions} == {one.lower() for one in ROLE["Actions"]}
    assert {one.action for one in NEEDS} == set(ROLE["Actions"]), "what the rights check asks for"


def test_the_blob_store_answers_the_sdk_of_today(cloud: AzureBench) -> None:
    from azure.core.exceptions import ResourceModifiedError
    from azure.storage.blob import BlobServiceClient

    store = cloud.cloud.blob()
    assert store.key not in repr(store)
    with BlobServiceClient.from_connection_string(store.connection_string) as client:
        container = client.create_container("layers")
        container.upload_blob("one", b"x" * 100_000)
        assert container.download_blob("one").readall() == b"x" * 100_000
        with pytest.raises(ResourceModifiedError):
            container.get_blob_client("one").delete_blob(
                etag='"0x0"', match_condition=MatchConditions.IfNotModified
            )


def test_what_has_booted_is_reached_where_the_lab_says(bench: AzureBench) -> None:
    hosts = bench.open().hosts
    assert hosts is not None
    spec = wanted(bench)
    made = finish(lambda token: hosts.launch(spec, token))
    assert [one.running for one in bench.cloud.machines() if one.id == made.id] == [True]
    bench.cloud.booted(made.id, "10.99.0.7")
    found = hosts.find(spec.key)
    assert found is not None
    assert found.private_address == "10.99.0.7"
    finish(lambda token: hosts.power_off(spec.key, token))
    assert [one.running for one in bench.cloud.machines() if one.id == made.id] == [False]
    finish(lambda token: hosts.terminate(spec.key, token))
    assert made.id not in {one.id for one in bench.cloud.machines()}
