"""The Azure stand-in as the contracts' bench."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from porter.lab.clouds.azure import AzureStandIn
from porter.providers.base import Instance, Provider
from porter.providers.registry import open_site


class AzureBench:
    instance_type = "Standard_D2s_v5"
    zone = "example.test"

    def __init__(self, directory: Path, actions: Sequence[str], **settings: str) -> None:
        self.cloud = AzureStandIn(actions)
        self.cloud.start(directory, "127.0.0.1")
        self.settings = settings

    def open(self, **settings: str) -> Provider:
        site = self.cloud.site()
        return open_site(replace(site, settings={**site.settings, **self.settings, **settings}))

    def user_data(self, instance: Instance) -> str:
        found = {one.id: one for one in self.cloud.machines()}
        return found[instance.id].user_data

    def count(self, key: str) -> int:
        return self.cloud.world.made[key]

    def address(self) -> str:
        return self.cloud.make_address()

    def group(self) -> str:
        return self.cloud.make_group(6379)

    def lacking(self) -> tuple[Provider, str]:
        name = "Microsoft.Compute/virtualMachines/write"
        self.cloud.arm.permissions = [{"actions": ["Microsoft.*"], "notActions": [name]}]
        return self.open(), name
