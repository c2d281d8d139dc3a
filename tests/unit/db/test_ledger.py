"""Sites, stores and the ledger of machines, on whatever database there is."""

from __future__ import annotations

import pytest

from porter.db.database import Database
from porter.db.ledger import UNUSED, Ledger
from porter.db.registry import Registry
from porter.db.sites import Sites
from porter.db.stores import Stores
from porter.domain.errors import Conflict, NotFound

NOW = 1_000_000.0


def test_a_machine_from_wish_to_end(database: Database) -> None:
    ledger, registry = Ledger(database), Registry(database)
    host = registry.expect("aws-1", "aws:eu-west-1", NOW)
    assert not host.alive(NOW)
    for _ in range(2):
        ledger.begin("k1", host, "m1", "small", {"amount": "0.02"}, NOW)
    [row] = ledger.standing()
    assert (row.state, row.host, row.quote) == ("launching", host.id, {"amount": "0.02"})
    ledger.running("k1", "i-1", "192.0.2.1", NOW + 1)
    assert ledger.get("k1").public_address == "192.0.2.1"
    assert ledger.of_host(host.id) == ledger.get("k1")
    assert ledger.of_migration("m1") == ledger.of_site("aws:eu-west-1") == [ledger.get("k1")]
    assert ledger.needed(host.id) == ""
    ledger.set_empty_since("k1", NOW + 2)
    assert ledger.drain(host.id, "idle", NOW + 3)
    ledger.running("k1", "i-2", "", NOW + 4)
    assert (ledger.get("k1").state, ledger.get("k1").instance) == ("draining", "i-1")
    ledger.removing("k1", "token", "going", NOW + 5)
    assert ledger.forget_hosts(NOW + 2 * UNUSED) == []
    for _ in range(2):
        ledger.gone("k1", NOW + 6)
    assert not ledger.standing()
    assert not ledger.drain(host.id, "again", NOW + 7)
    assert ledger.forget_hosts(NOW + 7) == ["aws-1"]
    assert registry.hosts() == []
    with pytest.raises(NotFound):
        ledger.get("other")


def test_a_host_that_never_came_is_forgotten_later(database: Database) -> None:
    ledger, registry = Ledger(database), Registry(database)
    registry.expect("gcp-1", "gcp:west", NOW)
    assert ledger.forget_hosts(NOW + UNUSED / 2) == []
    assert ledger.forget_hosts(NOW + UNUSED * 2) == ["gcp-1"]


def test_sites_and_stores_are_there_once(database: Database) -> None:
    sites, stores = Sites(database), Stores(database)
    sites.add("aws:x", "aws", "x", {"image": "i"}, "sealed", NOW)
    with pytest.raises(Conflict):
        sites.add("aws:x", "aws", "x", {}, "", NOW)
    sites.verified("aws:x", [{"name": "r", "granted": False}], NOW + 1)
    assert sites.get("aws:x").rights == [{"name": "r", "granted": False}]
    host = Registry(database).expect("h", "aws:x", NOW)
    Ledger(database).begin("k", host, None, "small", None, NOW)
    with pytest.raises(Conflict, match="h is there"):
        sites.remove("aws:x", NOW)
    Ledger(database).gone("k", NOW)
    sites.remove("aws:x", NOW)
    assert sites.all() == []
    stores.add("b", "file:///b", {}, "", NOW)
    stores.add("a", "file:///a", {}, "", NOW + 1)
    assert [one.name for one in stores.all()] == ["b", "a"]
    with pytest.raises(Conflict):
        stores.add("a", "file:///a", {}, "", NOW)
    stores.remove("a", NOW)
    with pytest.raises(NotFound):
        stores.get("a")
