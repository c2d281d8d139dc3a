"""The contracts of providers, on the place that exists in memory only."""

from __future__ import annotations

import uuid

import pytest

from porter.domain.site import SiteKind
from porter.providers.base import Instance, Provider, SiteConfig
from porter.providers.fake import WORLDS
from porter.providers.registry import open_site
from tests.contracts.provider_contracts import (
    AddressingContract,
    DnsContract,
    HostLifecycleContract,
    LoadBalancingContract,
    PricingContract,
    RightsContract,
)


class FakeBench:
    instance_type = "small"
    zone = "example.test"

    def __init__(self, slow: int) -> None:
        self._name = uuid.uuid4().hex
        self.open()
        self.world = WORLDS[self._name]
        self.world.slow = slow

    def open(self) -> Provider:
        settings = {"world": self._name}
        return open_site(SiteConfig("fake", SiteKind.FAKE, "", settings))

    def user_data(self, instance: Instance) -> str:
        return self.world.user_data[instance.key]

    def count(self, key: str) -> int:
        return self.world.launches[key]

    def address(self) -> str:
        self.world.addresses["198.51.100.7"] = ""
        return "198.51.100.7"

    def group(self) -> str:
        self.world.groups["g"] = {}
        return "g"

    def lacking(self) -> tuple[Provider, str]:
        self.world.lacking.add("fake:SetRecord")
        return self.open(), "fake:SetRecord"


@pytest.fixture(params=[0, 3], ids=["at-once", "slow"])
def bench(request: pytest.FixtureRequest) -> FakeBench:
    return FakeBench(request.param)


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
