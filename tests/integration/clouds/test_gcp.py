"""The contracts of providers, on Google's unmodified client and a stand-in that is checked by
Google's own discovery documents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.lab.clouds.gcp import GcpCloud, user_data
from porter.providers.base import Instance, Provider
from porter.providers.registry import open_site
from tests.contracts.provider_contracts import (
    AddressingContract,
    DnsContract,
    HostLifecycleContract,
    LoadBalancingContract,
    PricingContract,
    RightsContract,
)

pytestmark = pytest.mark.integration
LACKING = "compute.instances.stop"


class GcpBench:
    instance_type = "e2-small"
    zone = "gcp.porter.test"

    def __init__(self, cloud: GcpCloud) -> None:
        self.cloud = cloud
        self.world = cloud.google.world
        self._numbers = itertools.count(1)

    def open(self) -> Provider:
        return open_site(self.cloud.site())

    def user_data(self, instance: Instance) -> str:
        zone, _, name = instance.id.partition("/")
        return user_data(self.world.instances[(zone, name)])

    def count(self, key: str) -> int:
        return self.world.made.count(f"{key}-porter")

    def address(self) -> str:
        return self.cloud.reserve()

    def group(self) -> str:
        name = f"g{next(self._numbers)}"
        for zone in self.world.zones:
            self.cloud.google.groups.make(zone, name)
        return name

    def lacking(self) -> tuple[Provider, str]:
        self.world.lacking.add(LACKING)
        return self.open(), LACKING


@pytest.fixture(params=[0, 2], ids=["quick", "slow"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GcpBench]:
    cloud = GcpCloud()
    cloud.google.world.slow = request.param
    cloud.start(tmp_path, "127.0.0.1")
    yield GcpBench(cloud)
    cloud.stop()
    assert cloud.google.violations == []


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
