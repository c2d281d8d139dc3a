"""What every provider must do, whatever cloud it stands for.

An adapter's tests derive a class from each contract it offers and give it a `bench`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol, TypeVar

import pytest

from porter.domain.errors import Exhausted, Invalid, NotFound
from porter.domain.site import SiteKind
from porter.providers.base import (
    Addressing,
    Destination,
    Dns,
    Instance,
    InstanceState,
    LaunchSpec,
    LoadBalancing,
    Pending,
    Provider,
    RecordSet,
)

T = TypeVar("T")
SCRIPT = "#!/bin/sh\n# ünïcode, 'quotes' and \"$dollars\"\nprintf '%s\\n' \"$0\" >/tmp/seen\n"


class Bench(Protocol):
    """A cloud, or what stands for it, with a provider opened on it."""

    instance_type: str
    """One that can be launched."""
    zone: str
    """A DNS zone of the account, without the last dot."""

    def open(self) -> Provider:
        """A fresh provider, as another process would have it."""
        ...

    def user_data(self, instance: Instance) -> str:
        """What the cloud would give the machine at its first boot."""
        ...

    def count(self, key: str) -> int:
        """How many machines under this key were ever made, asked of the cloud itself."""
        ...

    def address(self) -> str:
        """A fresh floating address, leading nowhere."""
        ...

    def group(self) -> str:
        """A fresh, empty target group."""
        ...

    def lacking(self) -> tuple[Provider, str]:
        """A provider whose credentials lack one right, and that right's name."""
        ...


def finish(call: Callable[[str], T | Pending], seconds: float = 60) -> T:
    """Call again with the token until it is done."""
    token, until, pause = "", time.monotonic() + seconds, 0.01
    while True:
        answer = call(token)
        if not isinstance(answer, Pending):
            return answer
        assert time.monotonic() < until, f"still pending: {answer}"
        token = answer.token
        time.sleep(min(answer.seconds, pause))
        pause = min(pause * 1.5, 0.2)


def wanted(bench: Bench, **other: str) -> LaunchSpec:
    key = other.pop("key", f"p-{uuid.uuid4().hex[:10]}")
    return LaunchSpec(
        key=key,
        name=f"host-{key}",
        instance_type=other.pop("instance_type", bench.instance_type),
        user_data=SCRIPT,
        owner=other.pop("owner", f"o-{key}"),
        tags={"purpose": "test"},
    )


class HostLifecycleContract:
    def launch(self, bench: Bench, spec: LaunchSpec) -> Instance:
        """Every call with a client of its own: nothing may live in the client."""

        def go(token: str) -> Instance | Pending:
            hosts = bench.open().hosts
            assert hosts is not None
            return hosts.launch(spec, token)

        return finish(go)

    def remove(self, bench: Bench, key: str) -> None:
        def go(token: str) -> Pending | None:
            hosts = bench.open().hosts
            assert hosts is not None
            return hosts.terminate(key, token)

        finish(go)

    def test_types_are_told(self, bench: Bench) -> None:
        hosts = bench.open().hosts
        assert hosts is not None
        types = {one.name: one for one in hosts.types()}
        known = types[bench.instance_type]
        assert known.arch in ("x86_64", "aarch64")
        assert known.cpus > 0
        assert known.memory_bytes > 1 << 28

    def test_a_machine_comes_and_goes(self, bench: Bench) -> None:
        spec = wanted(bench)
        hosts = bench.open().hosts
        assert hosts is not None
        assert hosts.find(spec.key) is None
        assert not hosts.managed(spec.owner)
        made = self.launch(bench, spec)
        assert made.state is InstanceState.RUNNING
        assert made.private_address
        assert made.instance_type == spec.instance_type
        assert bench.user_data(made) == SCRIPT
        found = hosts.find(spec.key)
        assert found is not None
        assert (found.id, found.key, found.state) == (made.id, spec.key, InstanceState.RUNNING)
        assert [one.id for one in hosts.managed(spec.owner)] == [made.id]
        assert not hosts.managed("another-owner")
        assert made.id in {one.id for one in hosts.strays(spec.owner)}
        self.remove(bench, spec.key)
        assert hosts.find(spec.key) is None
        assert not hosts.managed(spec.owner)
        assert not hosts.strays(spec.owner)
        self.remove(bench, spec.key)

    def test_a_lifetime_is_told(self, bench: Bench) -> None:
        """Where a place remembers when a machine ended, it is between the request and now."""
        spec = wanted(bench)
        made = self.launch(bench, spec)
        place = bench.open()
        if place.lifetimes is not None:
            assert place.lifetimes.ended(spec.key, made.id) == ""
        before = time.time()
        self.remove(bench, spec.key)
        if place.lifetimes is not None:
            told = datetime.fromisoformat(place.lifetimes.ended(spec.key, made.id))
            assert before - 1 <= told.timestamp() <= time.time()
        begun = datetime.fromisoformat(made.launched_at)
        if begun.tzinfo is None:
            begun = begun.replace(tzinfo=UTC)
        assert begun.timestamp() <= before

    def test_launching_again_makes_no_second_one(self, bench: Bench) -> None:
        spec = wanted(bench)
        first = self.launch(bench, spec)
        second = self.launch(bench, spec)
        assert first.id == second.id
        assert bench.count(spec.key) == 1
        self.remove(bench, spec.key)

    def test_two_keys_are_two_machines(self, bench: Bench) -> None:
        one = wanted(bench)
        other = wanted(bench, owner=one.owner)
        ids = {self.launch(bench, one).id, self.launch(bench, other).id}
        hosts = bench.open().hosts
        assert hosts is not None
        assert {found.id for found in hosts.managed(one.owner)} == ids
        self.remove(bench, one.key)
        assert [found.key for found in hosts.managed(one.owner)] == [other.key]
        self.remove(bench, other.key)

    def test_power_off_is_sure(self, bench: Bench) -> None:
        spec = wanted(bench)
        self.launch(bench, spec)
        hosts = bench.open().hosts
        assert hosts is not None
        finish(lambda token: hosts.power_off(spec.key, token))
        found = hosts.find(spec.key)
        assert found is None or found.state in (InstanceState.STOPPED, InstanceState.GONE)
        assert finish(lambda token: hosts.power_off(spec.key, token)) is None
        self.remove(bench, spec.key)
        assert finish(lambda token: hosts.power_off(spec.key, token)) is None

    def test_what_was_never_made_is_gone(self, bench: Bench) -> None:
        self.remove(bench, f"p-{uuid.uuid4().hex[:10]}")

    def test_an_unknown_type_is_refused(self, bench: Bench) -> None:
        spec = wanted(bench, instance_type="no-such-type")
        with pytest.raises((Invalid, NotFound, Exhausted)):
            self.launch(bench, spec)
        self.remove(bench, spec.key)
        hosts = bench.open().hosts
        assert hosts is not None
        assert not hosts.strays(spec.owner)


class AddressingContract:
    def test_an_address_moves(self, bench: Bench) -> None:
        machines = HostLifecycleContract()
        one, other = wanted(bench), wanted(bench)
        ids = [machines.launch(bench, spec).id for spec in (one, other)]
        address = bench.address()
        assert self.of(bench).where(address) == ""
        for wish in (ids[0], ids[1], ids[1], ids[0]):
            finish(lambda token, wish=wish: self.of(bench).assign(address, wish, token))
            assert self.of(bench).where(address) == wish
        for spec in (one, other):
            machines.remove(bench, spec.key)

    def test_anothers_address_is_not_found(self, bench: Bench) -> None:
        with pytest.raises(NotFound):
            self.of(bench).where("192.0.2.250")

    @staticmethod
    def of(bench: Bench) -> Addressing:
        found = bench.open().addressing
        assert found is not None
        return found


class LoadBalancingContract:
    def test_targets_are_replaced(self, bench: Bench) -> None:
        machines = HostLifecycleContract()
        specs = [wanted(bench), wanted(bench)]
        made = [machines.launch(bench, spec) for spec in specs]
        group = bench.group()
        assert not self.of(bench).targets(group)
        ends = [Destination(one.private_address, one.id) for one in made]
        for wish in (ends[:1], ends, ends[1:], ends[1:], ends[:1]):
            finish(lambda token, wish=wish: self.of(bench).set_targets(group, 6379, wish, token))
            assert set(self.of(bench).targets(group)) == {f"{one.address}:6379" for one in wish}
        for spec in specs:
            machines.remove(bench, spec.key)

    def test_an_unknown_group_is_not_found(self, bench: Bench) -> None:
        with pytest.raises(NotFound):
            self.of(bench).targets("no-such-group")

    @staticmethod
    def of(bench: Bench) -> LoadBalancing:
        found = bench.open().balancing
        assert found is not None
        return found


class DnsContract:
    def test_a_name_moves(self, bench: Bench) -> None:
        name = f"n{uuid.uuid4().hex[:8]}.{bench.zone}"
        assert self.of(bench).record(name) is None
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.2"):
            record = RecordSet(name, 60, {address: 1})
            finish(lambda token, record=record: self.of(bench).set_record(record, token))
            found = self.of(bench).record(name)
            assert found is not None
            assert (found.name, found.ttl, set(found.weights)) == (name, 60, {address})
        for _ in range(2):
            finish(lambda token: self.of(bench).remove_record(name, token))
            assert self.of(bench).record(name) is None

    def test_a_name_outside_of_our_zones_is_not_found(self, bench: Bench) -> None:
        with pytest.raises(NotFound):
            self.of(bench).record("shop.somebody-else.example")

    @staticmethod
    def of(bench: Bench) -> Dns:
        found = bench.open().dns
        assert found is not None
        return found


class PricingContract:
    def test_a_price_says_where_it_comes_from(self, bench: Bench) -> None:
        pricing = bench.open().pricing
        assert pricing is not None
        quotes = pricing.quotes([bench.instance_type, "no-such-type"])
        known = quotes[bench.instance_type]
        assert known.amount is not None
        assert known.amount > 0
        assert known.as_of[:2] == "20"
        assert known.source
        assert known.unit == "hour"
        unknown = quotes["no-such-type"]
        assert unknown.amount is None
        assert unknown.source

    def test_egress_says_where_it_comes_from(self, bench: Bench) -> None:
        egress = bench.open().egress
        assert egress is not None
        for kind in (SiteKind.ONPREM, SiteKind.AWS, SiteKind.GCP):
            tariff = egress.tariff(kind, "eu-west-1" if kind is SiteKind.AWS else "")
            assert tariff.source
            if tariff.known:
                cost = tariff.cost(Decimal(10), Decimal(200_000))
                assert cost is not None
                assert cost >= 0
                assert tariff.as_of[:2] == "20"


class RightsContract:
    def test_all_rights_are_there(self, bench: Bench) -> None:
        rights = bench.open().rights
        assert rights is not None
        found = rights.check()
        assert len(found) >= 3
        assert all(one.name and one.purpose for one in found)
        assert [one.name for one in found if one.granted is not True] == []

    def test_a_missing_right_is_named(self, bench: Bench) -> None:
        provider, name = bench.lacking()
        assert provider.rights is not None
        missing = [one for one in provider.rights.check() if one.granted is False]
        assert [one.name for one in missing] == [name]
        assert missing[0].remedy
