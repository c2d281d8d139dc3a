"""What was seen live decides live, as it does in a back-test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from math import exp
from random import Random
from typing import Any

import pytest

from porter.db.history import write_peaks
from porter.domain.money import Quote
from porter.protocol.joining import Heartbeat, HostNotice
from porter.providers import fake
from porter.schedule import stays
from porter.schedule.backtest.contenders import Past
from porter.schedule.backtest.traces import Priced
from porter.schedule.observer import EVERY, Observer
from porter.schedule.optimiser.model import Answer, Bar, Offer, Stay
from porter.schedule.optimiser.optimise import optimise
from porter.schedule.scope import Scope
from porter.schedule.series import Series
from porter.schedule.snapshot import Snapshot
from tests.saga.port import ANN, Port
from tests.saga.world import World
from tests.unit.schedule import mini

WEST = "fake:west"
SPOT = f"{WEST}/small/spot"
HOUR, DAY = 3600.0, 86400.0
USUAL, TODAY = 0.024, 0.0175
"""What a small machine costs on spot. On demand it costs 0.02."""
SCOPE = Scope(horizon_s=7 * DAY, seconds=1.0)


class Market:
    """Prices of small machines, spot as it is set."""

    def __init__(self) -> None:
        self.spot = USUAL

    def quotes(
        self, instance_types: Sequence[str], terms: str = "on_demand"
    ) -> Mapping[str, Quote]:
        amount = Decimal(str(round(self.spot, 6))) if terms == "spot" else Decimal("0.02")
        return {
            one: Quote(one, amount, "USD", "hour", fake.AS_OF, "a list", terms)
            for one in instance_types
            if one == "small"
        }


@pytest.fixture
def market(world: World, monkeypatch: pytest.MonkeyPatch) -> Market:
    told = Market()
    plain = world.places.open
    monkeypatch.setattr(world.places, "open", lambda name: replace(plain(name), pricing=told))
    return told


@pytest.fixture
def port(world: World, market: Market) -> Port:
    """Two workloads on a machine on demand; they may run on spot machines."""
    world.cloud(WEST)
    onprem = world.host("onprem", "onprem")
    world.start("shop", onprem)
    world.run(world.provision("shop", WEST))
    west = next(host for host in world.hosts.values() if host.made)
    world.start("cart", west)
    world.cut_off.add(onprem.id)
    port = Port(world, optimise=optimise)
    text = (
        "version: 1\nname: p\nproject: default\nplacement: {spot: true}\n"
        "saving: {downtime: {amount: 0.01, currency: USD}}\n"
    )
    port.policies.put("p", "default", text, "root", world.now)
    return port


def take(port: Port, scope: Scope = SCOPE) -> Snapshot:
    return port.photographer.take(scope, port.world.now)


def spot_of(snapshot: Snapshot) -> Offer:
    return next(one for one in snapshot.problem.offers if one.key == SPOT)


def watch(port: Port, market: Market, days: int) -> Series:
    """Prices go about around the usual one for some days; the control plane looks every hour. Then
    the price is unusually low."""
    world, chance, value = port.world, Random(1), 0.0
    observer = Observer(port.history, world.places, lambda: world.now)
    times, values = [world.now], [USUAL]
    take(port)  # which makes them watched
    for _ in range(days * 24):
        value += -0.1 * value + chance.gauss(0, 0.03)
        market.spot = USUAL * exp(value)
        world.now += EVERY
        assert observer.tick() == 2
        times.append(world.now)
        values.append(round(market.spot, 6))
    market.spot = TODAY
    port.jump(EVERY)
    return Series((*times, world.now), (*values, TODAY))


def test_a_price_that_nobody_watched_stays_and_is_gone_to(port: Port, market: Market) -> None:
    market.spot = TODAY
    port.jump(HOUR)
    assert spot_of(take(port)).hourly == TODAY
    _, outcome = port.authority.run(SCOPE, ANN, port.world.now)
    [made] = outcome.proposals
    assert [one["terms"] for one in made.content["machines"]] == ["spot"]
    [line] = [one for one in made.content["sums"]["lines"] if one["of"] == f"{SPOT}#1"]
    assert "expected" not in line["basis"]


def test_a_low_price_that_was_watched_is_expected_to_return(port: Port, market: Market) -> None:
    """The same prices as above at the same moment; but what was seen says that they will not last:
    the expectation is the back-test's, and the proposal is not made."""
    series = watch(port, market, days=13)
    snapshot = take(port)
    priced = Priced(WEST, "small", "spot", series, "a list", "")
    known = Past(mini.trace(), SCOPE.horizon_s).hourly(priced, port.world.now)
    assert known > 0.02 > TODAY
    assert spot_of(snapshot).hourly == pytest.approx(known, abs=1e-6)
    why = snapshot.ground.prices[SPOT].as_dict()["expected"]["why"]
    assert "USD/h over 7 days (now 0.0175), from 314 prices over 13 days" in why
    run, outcome = port.authority.run(SCOPE, ANN, port.world.now)
    assert outcome.proposals == []
    assert (run.stays or {})["shop"]["currency"] == "USD"
    kept = Stay("shop", Bar("no-saving", "it would cost more", ""), SPOT, -0.5)
    answer = Answer((), (kept,), 1.0, 1.0, 1.0, "exact", 0.1)
    assert stays.told(snapshot, answer)["shop"]["prices"] == f"{SPOT}: {why}"


def test_sums_rest_on_what_is_expected_and_say_so(port: Port, market: Market) -> None:
    """Where the price is expected to return only in part, it pays all the same."""
    watch(port, market, days=13)
    market.spot = 0.012
    port.jump(60)
    _, outcome = port.authority.run(replace(SCOPE, horizon_s=DAY), ANN, port.world.now)
    [made] = outcome.proposals
    [line] = [one for one in made.content["sums"]["lines"] if one["of"] == f"{SPOT}#1"]
    expected = Decimal(line["basis"]["expected"]["amount"])
    assert Decimal("0.012") < expected < Decimal("0.02")
    assert line["basis"]["amount"] == "0.012"
    assert Decimal(line["after"]) == expected * 24
    assert made.content["machines"][0]["price"]["expected"]["why"].startswith("expected 0.0")
    # What a price is expected to be is no drift: what it is, counts.
    assert port.proposer.recheck(port.proposals.get(made.id), port.world.now)


def test_prices_are_looked_at_by_one_and_once_an_hour(port: Port, market: Market) -> None:
    world = port.world
    both = [Observer(port.history, world.places, lambda: world.now) for _ in range(2)]
    assert [one.tick() for one in both] == [0, 0], "no run has asked for any"
    take(port)
    world.now += EVERY + 1
    assert [one.tick() for one in both] == [2, 0]
    world.now += EVERY / 2
    assert [one.tick() for one in both] == [0, 0]


def test_a_site_that_does_not_answer_tells_no_price(
    port: Port, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(port)
    monkeypatch.setattr(market, "quotes", lambda *_: {})
    observer = Observer(port.history, port.world.places, lambda: port.world.now)
    before = port.world.now
    port.world.now += EVERY + 1
    assert observer.tick() == 0
    assert {one.looked for one in port.history.read(port.world.now).prices.values()} == {before}


# -- memory


def remember(port: Port, name: str, peak: int, hours: int) -> None:
    world = port.world
    identity = world.found.workload(name).id
    now = int(world.now // HOUR)
    peaks = [
        {"workload": identity, "hour": now - hour, "bytes": peak} for hour in range(1, hours + 1)
    ]
    with world.database.write() as c:
        write_peaks(world.database, c, peaks)


def test_room_is_kept_for_what_it_took_nearly_always(port: Port, market: Market) -> None:
    def job(snapshot: Snapshot, name: str) -> Any:
        return next(one for one in snapshot.problem.jobs if one.name == name)

    before = take(port)
    assert job(before, "shop").memory == 1 << 20
    assert before.needs["shop"] == ""
    remember(port, "shop", 1 << 30, 8 * 24)
    after = take(port)
    assert job(after, "shop").memory == round(1.02 * (1 << 30))
    assert job(after, "cart").memory == 1 << 20
    assert after.needs["shop"].startswith("room for 1.1 GB: what was enough for 95% of 7 days")
    # It takes 1 MiB at the moment, and fits nowhere that has room for that alone.
    remember(port, "shop", 3 << 30, 8 * 24)
    assert not any(offer.type == "small" for offer in take(port, shop_only()).problem.offers)
    run, _ = port.authority.run(shop_only(), ANN, port.world.now)
    assert "what was enough for 95%" in (run.stays or {})["shop"]["needs"]


def shop_only() -> Scope:
    return replace(SCOPE, workloads=("shop",))


# -- interruptions


def test_interruptions_that_were_seen_are_reckoned_with(port: Port, market: Market) -> None:
    market.spot = 0.01
    port.jump(HOUR)
    _, outcome = port.authority.run(SCOPE, ANN, port.world.now)
    [made] = outcome.proposals
    [line] = [one for one in made.content["sums"]["lines"] if one["what"] == "interruptions"][:1]
    assert "once in 203 days, as is assumed where none was seen" in line["basis"]["source"]
    port.execute(made.id)
    calm = take(port).ground.risks[SPOT]
    for _ in range(3):
        port.jump(DAY)
        interrupt(port)
    rough = take(port).ground.risks[SPOT]
    assert rough.rate > 20 * calm.rate
    assert "seen 3 in 3 days of small at fake:west" in rough.why


def interrupt(port: Port) -> None:
    """The agent of the spot machine tells of a notice, and then of none."""
    world = port.world
    home = world.hosts[str(world.found.workload("shop").host)]
    beat = home.heartbeat()
    told = (HostNotice("terminate", f"at {world.now}"),)
    world.found.heartbeat(
        world.registry.host(home.id), Heartbeat(beat.facts, beat.workloads, (), told), world.now
    )
    world.beat()
