"""Joining, the network's layout, and workloads as heartbeats tell of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from porter.db import tables as t
from porter.db.base import HostRecord
from porter.db.database import Database
from porter.db.found import Found
from porter.db.policies import Policies
from porter.db.registry import Identity, Registry, TokenExpired, TokenUnknown, TokenUsed
from porter.domain.errors import Conflict, Denied, NotFound
from porter.protocol.joining import FoundWorkload, Heartbeat
from tests.saga.simulation import facts

NOW = 1000.0
NIGHT = "version: 1\nname: night\nproject: default\nworkloads: []\nbudget: {per_day: 1}\n"


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database)


@pytest.fixture
def found(database: Database) -> Found:
    return Found(database)


def join(registry: Registry, name: str, serial: str = "1") -> HostRecord:
    return registry.enrol(f"h-{name}", name, "lab", Identity(serial, "f"), facts(name), NOW)


def container(name: str, state: str = "running", address: str = "10.77.1.2") -> FoundWorkload:
    return FoundWorkload(name, f"c-{name}", name, state, address, "redis", 7)


def beat(host: HostRecord, *workloads: FoundWorkload) -> Heartbeat:
    return Heartbeat(facts(host.name), workloads)


def test_a_label_names_policies_that_may_not_exist(
    database: Database, registry: Registry, found: Found
) -> None:
    """Told when it is first seen, when it changes, and when the policy goes; not every beat."""
    policies, host = Policies(database), join(registry, "a")

    def warnings() -> list[str]:
        query = sa.select(t.events.c.message).where(t.events.c.kind == "warning")
        with database.read() as c:
            return list(c.execute(query.order_by(t.events.c.id)).scalars())

    policies.put("night", "default", NIGHT, "x", NOW)
    shop = replace(container("shop"), policies=("night", "typo"))
    for _ in range(3):
        found.heartbeat(host, beat(host, shop), NOW)
    (told,) = warnings()
    assert "no policy of the project default or of all: typo;" in told
    assert found.workload("shop").policies == ("night", "typo")
    found.heartbeat(host, beat(host, replace(shop, policies=("night",))), NOW)
    assert len(warnings()) == 1
    policies.put("night", "other", NIGHT.replace("default", "other"), "x", NOW)
    assert "of all: night;" in warnings()[1]
    policies.remove("night", "x", NOW)
    assert len(warnings()) == 3
    found.heartbeat(host, beat(host, replace(shop, policies=())), NOW)
    assert found.workload("shop").policies == ()
    assert len(warnings()) == 3


def test_a_token_is_good_once(registry: Registry) -> None:
    registry.add_token("s", NOW, 60, None, None)
    with pytest.raises(TokenUnknown):
        registry.spend_token("other", "k", "a", "lab", NOW)
    host = registry.spend_token("s", "k", "a", "lab", NOW)
    # The answer got lost: the same key may ask again, no other.
    assert registry.spend_token("s", "k", "a", "lab", NOW + 99) == host
    with pytest.raises(TokenUsed):
        registry.spend_token("s", "k2", "a", "lab", NOW)


def test_a_token_expires_and_may_be_for_one_host_only(registry: Registry) -> None:
    registry.add_token("old", NOW, 60, None, None)
    with pytest.raises(TokenExpired):
        registry.spend_token("old", "k", "a", "lab", NOW + 60)
    registry.add_token("named", NOW, 60, "a", "lab")
    with pytest.raises(Denied, match="host 'a'"):
        registry.spend_token("named", "k", "b", "lab", NOW)
    with pytest.raises(Denied, match="site 'lab'"):
        registry.spend_token("named", "k", "a", "elsewhere", NOW)
    registry.spend_token("named", "k", "a", "lab", NOW)


def test_tokens_are_kept_as_hashes(database: Database, registry: Registry) -> None:
    registry.add_token("secret", NOW, 60, None, None)
    with database.read() as c:
        row = c.execute(sa.select(t.join_tokens)).one()
    assert "secret" not in str(row)


def test_joining_again_keeps_id_and_range_and_replaces_the_certificate(registry: Registry) -> None:
    first = join(registry, "a")
    registry.add_token("s", NOW, 60, None, None)
    assert registry.spend_token("s", "k", "a", "lab", NOW) == first.id
    again = join(registry, "a", serial="2")
    assert (again.id, again.range) == (first.id, first.range)
    assert registry.holder(first.id, "2").name == "a"
    with pytest.raises(Denied, match="joined again"):
        registry.holder(first.id, "1")


def test_every_host_gets_a_range_of_its_own_and_freed_ones_are_used_again(
    registry: Registry,
) -> None:
    ranges = [join(registry, name).range for name in "abc"]
    assert ranges == ["10.77.1.0/24", "10.77.2.0/24", "10.77.3.0/24"]
    registry.remove("b", NOW)
    assert join(registry, "d").range == "10.77.2.0/24"
    with pytest.raises(NotFound):
        registry.host("b")


def test_a_needed_host_cannot_be_removed(registry: Registry, found: Found) -> None:
    host = join(registry, "a")
    found.heartbeat(host, beat(host, container("shop")), NOW)
    with pytest.raises(Conflict, match="shop"):
        registry.remove("a", NOW)
    found.heartbeat(host, beat(host), NOW)
    registry.remove("a", NOW)


def test_routes_lead_to_ranges_and_to_workloads_away_from_home(
    registry: Registry, found: Found
) -> None:
    a, b, c = (join(registry, name) for name in "abc")
    found.heartbeat(b, beat(b, container("guest", address="10.77.1.9")), NOW)
    found.heartbeat(a, beat(a, container("local", address="10.77.1.2")), NOW)
    routes = {
        host.name: {r.prefix: r.via for r in registry.network(host.id).routes} for host in (a, b, c)
    }
    via = {name: facts(name).underlay for name in "abc"}
    assert routes["a"] == {
        "10.77.2.0/24": via["b"],
        "10.77.3.0/24": via["c"],
        "10.77.1.9/32": via["b"],
    }
    assert routes["b"] == {"10.77.1.0/24": via["a"], "10.77.3.0/24": via["c"]}
    assert routes["c"]["10.77.1.9/32"] == via["b"]
    assert registry.network(a.id).range == "10.77.1.0/24"


def test_a_new_underlay_address_makes_everybody_fetch_routes(
    registry: Registry, found: Found
) -> None:
    host = join(registry, "a")
    version = registry.network(host.id).version
    found.heartbeat(host, beat(host), NOW)
    assert registry.network(host.id).version == version
    moved = Heartbeat(replace(facts("a"), underlay="10.99.9.9"), ())
    found.heartbeat(host, moved, NOW)
    assert registry.network(host.id).version == version + 1


def test_only_what_runs_becomes_a_workload(registry: Registry, found: Found) -> None:
    host = join(registry, "a")
    seen = [container("up"), container("still", "paused"), container("ended", "exited")]
    found.heartbeat(host, beat(host, *seen), NOW)
    assert [w.name for w in found.workloads()] == ["still", "up"]
    found.heartbeat(host, beat(host, container("up", "exited")), NOW)
    assert found.workload("up").state == "exited"
    with pytest.raises(NotFound):
        found.workload("still")


def test_the_first_of_two_with_one_name_counts(
    database: Database, registry: Registry, found: Found
) -> None:
    a, b = join(registry, "a"), join(registry, "b")
    found.heartbeat(a, beat(a, container("shop")), NOW)
    for _ in range(3):
        found.heartbeat(b, beat(b, container("shop")), NOW)
    assert found.workload("shop").host == a.id
    with database.read() as c:
        warnings = c.execute(sa.select(t.events).where(t.events.c.kind == "warning")).all()
    assert len(warnings) == 1, "said once, not with every heartbeat"
    assert "a" in warnings[0].message
    # The first one ends: now the other is the workload.
    found.heartbeat(a, beat(a), NOW)
    found.heartbeat(b, beat(b, container("shop")), NOW)
    moved = found.workload("shop")
    assert (moved.host, moved.generation) == (b.id, 2)


def test_signs_of_life(registry: Registry) -> None:
    join(registry, "a")
    registry.seen("h-a", NOW + 0.5)
    assert registry.host("a").last_seen == NOW
    registry.seen("h-a", NOW + 5)
    host = registry.host("a")
    assert host.last_seen == NOW + 5
    assert host.alive(NOW + 14)
    assert not host.alive(NOW + 15)
