"""A place that exists in this process only: for tests of what stands above the providers.

`settings["world"]` names the world; opening it again finds the same machines, as another process
would. A test may have launches fail or take several calls: see `World`.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from porter.domain.errors import Exhausted, Invalid, NotFound, PorterError
from porter.domain.money import Quote, Tariff, Tier
from porter.domain.site import SiteKind
from porter.providers.base import (
    Destination,
    Instance,
    InstanceState,
    InstanceType,
    LaunchSpec,
    Pending,
    Provider,
    RecordSet,
    Right,
    SiteConfig,
    Stray,
)

GIB = 1 << 30
SOURCE = "fake"
AS_OF = "2026-01-01T00:00:00+00:00"


@dataclass
class World:
    """What exists. Tests may set `slow` (calls that answer Pending first), `empty` (types without
    capacity), `fail_next` (error of the next call), `after_effect` (raised once, when done)."""

    types: dict[str, tuple[InstanceType, Decimal | None]] = field(
        default_factory=lambda: {
            "small": (InstanceType("small", "x86_64", 2, 4 * GIB), Decimal("0.02")),
            "large": (InstanceType("large", "x86_64", 8, 32 * GIB), Decimal("0.16")),
            "unpriced": (InstanceType("unpriced", "x86_64", 2, 4 * GIB), None),
            "arm": (InstanceType("arm", "aarch64", 2, 4 * GIB), Decimal("0.01")),
        }
    )
    instances: dict[str, Instance] = field(default_factory=dict)
    user_data: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    """By instance id."""
    clock: Callable[[], float] = time.time
    launches: Counter[str] = field(default_factory=Counter)
    addresses: dict[str, str] = field(default_factory=dict)
    groups: dict[str, dict[str, int]] = field(default_factory=dict)
    zones: list[str] = field(default_factory=lambda: ["example.test"])
    records: dict[str, RecordSet] = field(default_factory=dict)
    lacking: set[str] = field(default_factory=set)
    slow: int = 0
    empty: set[str] = field(default_factory=set)
    fail_next: PorterError | None = None
    after_effect: PorterError | None = None

    def begin(self) -> None:
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error

    def end(self) -> None:
        error, self.after_effect = self.after_effect, None
        if error is not None:
            raise error

    def moment(self) -> str:
        return datetime.fromtimestamp(self.clock(), UTC).isoformat()

    def pending(self, token: str) -> Pending | None:
        count = int(token or 0)
        return Pending(str(count + 1), 0.01) if count < self.slow else None


WORLDS: dict[str, World] = {}


def open_site(config: SiteConfig) -> Provider:
    world = WORLDS.setdefault(config.settings.get("world", config.name), World())
    return Provider(
        config=config,
        hosts=FakeHosts(world),
        lifetimes=FakeLifetimes(world),
        pricing=FakePricing(world),
        egress=FakeEgress(config),
        addressing=FakeAddressing(world),
        balancing=FakeBalancing(world),
        dns=FakeDns(world),
        rights=FakeRights(world),
    )


class FakeHosts:
    def __init__(self, world: World) -> None:
        self._world = world

    def types(self) -> Sequence[InstanceType]:
        return [kind for kind, _ in self._world.types.values()]

    def launch(self, spec: LaunchSpec, token: str = "") -> Instance | Pending:
        world = self._world
        world.begin()
        if spec.instance_type not in world.types:
            raise Invalid(f"cannot launch {spec.name}: there is no type {spec.instance_type}")
        if spec.instance_type in world.empty:
            raise Exhausted(f"cannot launch {spec.name}: no capacity for {spec.instance_type}")
        if spec.key not in world.instances:
            number = sum(world.launches.values()) + 1
            world.launches[spec.key] += 1
            world.user_data[spec.key] = spec.user_data
            world.owners[spec.key] = spec.owner
            world.instances[spec.key] = Instance(
                id=f"i-{number}",
                key=spec.key,
                name=spec.name,
                state=InstanceState.STARTING,
                instance_type=spec.instance_type,
                zone=spec.zone,
                private_address=str(ipaddress.ip_address("10.9.0.0") + number),
                tags=dict(spec.tags),
                launched_at=world.moment(),
            )
        world.end()
        pending = world.pending(token)
        if pending is not None:
            return pending
        running = replace(world.instances[spec.key], state=InstanceState.RUNNING)
        world.instances[spec.key] = running
        return running

    def find(self, key: str) -> Instance | None:
        self._world.begin()
        return self._world.instances.get(key)

    def managed(self, owner: str) -> Sequence[Instance]:
        world = self._world
        world.begin()
        return [one for key, one in world.instances.items() if world.owners[key] == owner]

    def power_off(self, key: str, token: str = "") -> Pending | None:
        world = self._world
        world.begin()
        if key in world.instances:
            world.instances[key] = replace(world.instances[key], state=InstanceState.STOPPED)
            return world.pending(token)
        return None

    def terminate(self, key: str, token: str = "") -> Pending | None:
        world = self._world
        world.begin()
        pending = world.pending(token) if key in world.instances else None
        if pending is None:
            gone = world.instances.pop(key, None)
            if gone is not None:
                world.ended[gone.id] = world.moment()
        world.end()
        return pending

    def strays(self, owner: str) -> Sequence[Stray]:
        return [
            Stray("instance", one.id, one.key, f"{one.instance_type}, {one.state}")
            for one in self.managed(owner)
        ]


class FakeLifetimes:
    def __init__(self, world: World) -> None:
        self._world = world

    def ended(self, key: str, instance: str) -> str:
        return self._world.ended.get(instance, "")


class FakePricing:
    def __init__(self, world: World) -> None:
        self._world = world

    def quotes(
        self, instance_types: Sequence[str], terms: str = "on_demand"
    ) -> Mapping[str, Quote]:
        found = {}
        for name in instance_types:
            _, amount = self._world.types.get(name, (None, None))
            source = SOURCE if amount is not None else f"no price of {name} is known"
            found[name] = Quote(name, amount, "USD", "hour", AS_OF, source, terms)
        return found


class FakeEgress:
    def __init__(self, config: SiteConfig) -> None:
        self._config = config

    def tariff(self, to_kind: SiteKind, to_region: str) -> Tariff:
        near = to_kind is self._config.kind
        tiers = (Tier(Decimal(0), Decimal("0.01" if near else "0.09")),)
        return Tariff(tiers, "USD", AS_OF, SOURCE)


class FakeAddressing:
    def __init__(self, world: World) -> None:
        self._world = world

    def where(self, address: str) -> str:
        if address not in self._world.addresses:
            raise NotFound(f"cannot find the address {address}")
        return self._world.addresses[address]

    def assign(self, address: str, instance: str, token: str = "") -> Pending | None:
        self._world.begin()
        self.where(address)
        self._world.addresses[address] = instance
        self._world.end()
        return self._world.pending(token)


class FakeBalancing:
    def __init__(self, world: World) -> None:
        self._world = world

    def targets(self, group: str) -> Mapping[str, int]:
        if group not in self._world.groups:
            raise NotFound(f"cannot find the target group {group}")
        return dict(self._world.groups[group])

    def set_targets(
        self, group: str, port: int, targets: Sequence[Destination], token: str = ""
    ) -> Pending | None:
        self._world.begin()
        self.targets(group)
        self._world.groups[group] = {f"{one.address}:{port}": 1 for one in targets}
        self._world.end()
        return self._world.pending(token)


class FakeDns:
    def __init__(self, world: World) -> None:
        self._world = world

    def _check(self, name: str) -> None:
        if not any(name == zone or name.endswith(f".{zone}") for zone in self._world.zones):
            raise NotFound(f"cannot find a zone for {name}")

    def record(self, name: str) -> RecordSet | None:
        self._check(name)
        return self._world.records.get(name)

    def set_record(self, record: RecordSet, token: str = "") -> Pending | None:
        self._world.begin()
        self._check(record.name)
        self._world.records[record.name] = record
        self._world.end()
        return self._world.pending(token)

    def remove_record(self, name: str, token: str = "") -> Pending | None:
        self._check(name)
        self._world.records.pop(name, None)
        return self._world.pending(token)


class FakeRights:
    NAMES = ("fake:Launch", "fake:Terminate", "fake:SetRecord")

    def __init__(self, world: World) -> None:
        self._world = world

    def check(self) -> Sequence[Right]:
        return [
            Right(name, name not in self._world.lacking, "to manage hosts", f"grant {name}")
            for name in self.NAMES
        ]
