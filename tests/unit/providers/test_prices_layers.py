"""Who tells a price: the order, what happens when somebody is away, and what nobody knows."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from porter.domain.errors import Invalid, PorterError, Transient
from porter.domain.money import Quote
from porter.domain.site import SiteKind
from porter.providers import prices
from porter.providers.base import SiteConfig
from porter.providers.prices import egress, layers, pricing
from porter.providers.prices.aws import AwsPrices
from porter.providers.prices.azure import AzureRetail
from porter.providers.prices.cache import Cache
from porter.providers.prices.files import PriceFile
from porter.providers.prices.gcp import GcpCatalog
from porter.providers.prices.layers import DAY, Layers, Remembered, Snapshot


@dataclass
class List:
    """A price list that may be away."""

    told: dict[str, str] = field(default_factory=dict)
    error: PorterError | None = None
    asked: list[tuple[str, ...]] = field(default_factory=list)
    scope: str = field(default_factory=lambda: uuid.uuid4().hex)

    def fetch(self, types: Sequence[str], terms: str) -> Mapping[str, Quote]:
        self.asked.append(tuple(types))
        if self.error is not None:
            raise self.error
        return {
            name: Quote(name, Decimal(amount), "USD", "hour", "2026-11-23", "list", terms)
            for name, amount in self.told.items()
        }


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(layers, "time", clock)
    return clock


def chain(live: List | None, path: Path, region: str = "eu-west-1") -> Layers:
    cache = Cache(path / "prices.json")
    sources = [Remembered(SiteKind.AWS, region, live, cache), Snapshot(SiteKind.AWS, region)]
    return Layers(region, "USD", sources)


def amounts(told: Mapping[str, Quote]) -> dict[str, str | None]:
    return {name: None if one.amount is None else str(one.amount) for name, one in told.items()}


def test_live_comes_first_and_is_asked_once_a_day(clock: Clock, tmp_path: Path) -> None:
    live = List({"t3.medium": "0.05"})
    assert amounts(chain(live, tmp_path).quotes(["t3.medium"])) == {"t3.medium": "0.05"}
    live.told = {"t3.medium": "0.06"}
    clock.now += DAY - 1
    assert amounts(chain(live, tmp_path).quotes(["t3.medium"])) == {"t3.medium": "0.05"}
    assert len(live.asked) == 1
    clock.now += 2
    assert amounts(chain(live, tmp_path).quotes(["t3.medium"])) == {"t3.medium": "0.06"}


def test_spot_is_asked_again_after_an_hour(clock: Clock, tmp_path: Path) -> None:
    live = List({"m5.large": "0.04"})
    chain(live, tmp_path).quotes(["m5.large"], "spot")
    clock.now += 3601
    told = chain(live, tmp_path).quotes(["m5.large"], "spot")
    assert len(live.asked) == 2
    assert told["m5.large"].terms == "spot"


def test_without_network_old_prices_count_with_their_date(clock: Clock, tmp_path: Path) -> None:
    live = List({"t3.medium": "0.05"})
    chain(live, tmp_path).quotes(["t3.medium"])
    clock.now += 30 * DAY
    live.error = Transient("cannot reach the list")
    quote = chain(live, tmp_path).quotes(["t3.medium"])["t3.medium"]
    assert (quote.amount, quote.as_of, quote.source) == (Decimal("0.05"), "2026-11-23", "list")


def test_without_network_and_cache_the_snapshot_counts(clock: Clock, tmp_path: Path) -> None:
    live = List(error=Transient("cannot reach the list"))
    told = chain(live, tmp_path).quotes(["t3.medium", "x9.huge"])
    assert told["t3.medium"].amount == Decimal("0.0456")
    assert told["t3.medium"].source.startswith("snapshot")
    unknown = told["x9.huge"]
    assert unknown.amount is None
    assert "no price of x9.huge in eu-west-1" in unknown.source
    assert "cannot reach the list" in unknown.source


def test_older_prices_do_not_hide_what_others_know(clock: Clock, tmp_path: Path) -> None:
    live = List({"t3.medium": "0.05"})
    chain(live, tmp_path).quotes(["t3.medium"])
    clock.now += 2 * DAY
    live.error = Transient("cannot reach the list")
    told = amounts(chain(live, tmp_path).quotes(["t3.medium", "m5.large"]))
    assert told == {"t3.medium": "0.05", "m5.large": "0.107"}


def test_a_list_that_is_away_is_left_alone_for_a_while(clock: Clock, tmp_path: Path) -> None:
    live = List(error=Transient("cannot reach the list"))
    for _ in range(3):
        chain(live, tmp_path).quotes(["t3.medium"])
    assert len(live.asked) == 1
    clock.now += layers.QUIET_AFTER_FAILURE + 1
    live.error, live.told = None, {"t3.medium": "0.05"}
    assert amounts(chain(live, tmp_path).quotes(["t3.medium"])) == {"t3.medium": "0.05"}


def test_what_a_list_does_not_have_is_not_asked_again_at_once(clock: Clock, tmp_path: Path) -> None:
    live = List({"t3.medium": "0.05"})
    for _ in range(2):
        chain(live, tmp_path).quotes(["t3.medium", "x9.huge"])
    assert live.asked == [("t3.medium", "x9.huge")]
    clock.now += layers.QUIET_AFTER_NO + 1
    chain(live, tmp_path).quotes(["t3.medium", "x9.huge"])
    assert live.asked[-1] == ("x9.huge",)


def test_what_a_list_tells_beside_is_remembered(clock: Clock, tmp_path: Path) -> None:
    live = List({"t3.medium": "0.05", "t3.large": "0.1"})
    chain(live, tmp_path).quotes(["t3.medium"])
    assert amounts(chain(live, tmp_path).quotes(["t3.large"])) == {"t3.large": "0.1"}
    assert len(live.asked) == 1


def test_prices_of_other_places_are_not_mixed_up(clock: Clock, tmp_path: Path) -> None:
    live = List({"t3.medium": "0.05"})
    chain(live, tmp_path).quotes(["t3.medium"])
    other = List(scope=live.scope)
    chain(other, tmp_path, "us-east-1").quotes(["t3.medium"])
    chain(other, tmp_path).quotes(["t3.medium"], "reserved-1y")
    chain(List(), tmp_path).quotes(["t3.medium"])
    assert len(other.asked) == 2


def test_a_broken_cache_is_no_obstacle(clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text("{")
    live = List({"t3.medium": "0.05"})
    assert amounts(chain(live, tmp_path).quotes(["t3.medium"])) == {"t3.medium": "0.05"}
    assert "t3.medium" in (tmp_path / "prices.json").read_text()


def test_nothing_asked_nothing_told(tmp_path: Path) -> None:
    live = List()
    assert chain(live, tmp_path).quotes([]) == {}
    assert live.asked == []


# -- price files --------------------------------------------------------------------------------

FILE = """
currency = "EUR"
as_of = 2026-11-01
[power]
price_kwh = 0.28
overhead = 1.4
[hosts.rack1]
watts = 180
purchase = 3200
months = 48
monthly = 25
[hosts.free]
[types."m1.small"]
hour = 0.02
spot = 0.005
[types.zero]
hour = 0.0
[egress]
internet = 0.05
zone = 0
"""


def onprem(tmp_path: Path, text: str = FILE, kind: SiteKind = SiteKind.ONPREM) -> SiteConfig:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return SiteConfig("home", kind, "", {"price_file": str(path)})


def test_a_host_is_priced_by_its_sum(tmp_path: Path) -> None:
    quote = pricing(onprem(tmp_path)).quotes(["rack1"])["rack1"]
    power = Decimal("0.18") * Decimal("1.4") * Decimal("0.28")
    wanted = power + Decimal(3200) / 48 / 730 + Decimal(25) / 730
    assert quote.amount == wanted.quantize(Decimal("1e-7"))
    assert (quote.currency, quote.as_of, quote.terms) == ("EUR", "2026-11-01", "own")
    for part in ("180 W × 1.4 × 0.28 EUR/kWh", "3200 EUR over 48 months", "25 EUR a month"):
        assert part in quote.source


def test_a_file_prices_types_and_zero_is_unknown(tmp_path: Path) -> None:
    prices = pricing(onprem(tmp_path))
    told = prices.quotes(["m1.small", "zero", "free", "none"])
    assert amounts(told) == {"m1.small": "0.02", "zero": None, "free": None, "none": None}
    assert all(one.source for one in told.values())
    assert amounts(prices.quotes(["m1.small", "rack1"], "spot")) == {
        "m1.small": "0.005",
        "rack1": None,
    }


def test_a_negotiated_price_comes_before_the_list(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('currency = "USD"\n[types."t3.medium"]\nhour = 0.01\n')
    settings = {"price_file": str(path), "prices": "offline", "price_cache": str(tmp_path / "c")}
    told = pricing(SiteConfig("a", SiteKind.AWS, "eu-west-1", settings)).quotes(
        ["t3.medium", "m5.large"]
    )
    assert amounts(told) == {"t3.medium": "0.01", "m5.large": "0.107"}
    assert told["t3.medium"].as_of[:2] == "20", "the file's own date"


def test_a_file_may_price_traffic(tmp_path: Path) -> None:
    tariffs = egress(onprem(tmp_path))
    out = tariffs.tariff(SiteKind.AWS, "eu-west-1")
    assert (out.cost(Decimal(10)), out.currency, out.as_of) == (
        Decimal("0.50"),
        "EUR",
        "2026-11-01",
    )
    assert tariffs.tariff(SiteKind.ONPREM, "").cost(Decimal(10)) == 0
    assert not tariffs.tariff(SiteKind.ONPREM, "other").known


@pytest.mark.parametrize(
    "text",
    [
        "",
        "currency = 3",
        "not toml",
        'currency = "EUR"\n[hosts.rack1]\nwatts = 180',
        'currency = "EUR"\n[hosts.rack1]\npurchase = 3200',
        'currency = "EUR"\n[hosts.rack1]\npurchase = 3200\nmonths = 0',
        'currency = "EUR"\n[hosts.rack1]\nmonthly = "much"\n[egress]\ninternet = "much"',
        'currency = "EUR"\n[hosts.rack1]\nmonthly = -1\n[egress]\ninternet = -1',
        'currency = "EUR"\nhosts = 7\negress = 7',
    ],
)
def test_a_broken_file_is_a_reason_not_a_failure(tmp_path: Path, text: str) -> None:
    config = onprem(tmp_path, text)
    quote = pricing(config).quotes(["rack1"])["rack1"]
    assert quote.amount is None
    assert quote.source.startswith("no price of rack1")
    tariff = egress(config).tariff(SiteKind.AWS, "eu-west-1")
    assert not tariff.known
    assert tariff.source


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    config = SiteConfig("home", SiteKind.ONPREM, "", {"price_file": str(tmp_path / "gone.toml")})
    assert "gone.toml" in pricing(config).quotes(["rack1"])["rack1"].source
    assert "gone.toml" in egress(config).tariff(SiteKind.AWS, "eu-west-1").source


def test_onprem_without_settings_has_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = SiteConfig("onprem", SiteKind.ONPREM, "")
    monkeypatch.delenv("PORTER_PRICE_FILE", raising=False)
    monkeypatch.setattr(prices, "ONPREM_FILE", tmp_path / "absent.toml")
    assert pricing(bare).quotes(["rack1"])["rack1"].amount is None
    (tmp_path / "absent.toml").write_text(FILE)
    assert pricing(bare).quotes(["rack1"])["rack1"].amount is not None
    other = tmp_path / "other.toml"
    other.write_text('currency = "CHF"\n[hosts.rack1]\nmonthly = 73\n')
    monkeypatch.setenv("PORTER_PRICE_FILE", str(other))
    quote = pricing(bare).quotes(["rack1"])["rack1"]
    assert (quote.amount, quote.currency) == (Decimal("0.1"), "CHF")


def test_a_file_is_read_anew(tmp_path: Path) -> None:
    file = PriceFile(tmp_path / "p.toml")
    for hour in ("0.1", "0.2"):
        file.path.write_text(f'currency = "EUR"\n[types.a]\nhour = {hour}\n')
        assert file.quotes(["a"], "on_demand")["a"].amount == Decimal(hour)


# -- flavours -----------------------------------------------------------------------------------


def test_flavours_say_what_they_cost() -> None:
    specs = {
        "m1.small": {"porter:price_hour": "0.05", "porter:currency": "EUR"},
        "m1.zero": {"porter:price_hour": "0.0", "porter:currency": "EUR"},
        "m1.bare": {"porter:price_hour": "0.05"},
        "m1.odd": {"porter:price_hour": "cheap", "porter:currency": "EUR"},
        "m1.none": {},
    }
    config = SiteConfig("os", SiteKind.OPENSTACK, "RegionOne")
    told = pricing(config, lambda: specs).quotes([*specs, "m1.gone"])
    assert amounts(told) == dict.fromkeys([*specs, "m1.gone"]) | {"m1.small": "0.05"}
    quote = told["m1.small"]
    assert (quote.currency, quote.source) == ("EUR", "flavour's extra specs")
    assert quote.as_of[:2] == "20"
    assert pricing(config, lambda: specs).quotes(["m1.small"], "spot")["m1.small"].amount is None


def test_nova_that_is_away_fails_nothing() -> None:
    def away() -> Mapping[str, Mapping[str, str]]:
        raise Transient("cannot ask Nova: it is away")

    config = SiteConfig("os", SiteKind.OPENSTACK, "RegionOne")
    quote = pricing(config, away).quotes(["m1.small"])["m1.small"]
    assert quote.amount is None
    assert "it is away" in quote.source


# -- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "region", "reader"),
    [
        (SiteKind.AWS, "eu-west-1", AwsPrices),
        (SiteKind.AZURE, "westeurope", AzureRetail),
        (SiteKind.GCP, "europe-west1", GcpCatalog),
    ],
)
def test_when_the_cloud_is_asked(
    kind: SiteKind, region: str, reader: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PORTER_PRICES", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)

    def live(**settings: str) -> object:
        return prices._live(SiteConfig("s", kind, region, settings))

    local = {"endpoint": "https://127.0.0.1:4566"}
    assert isinstance(live(), reader)
    assert isinstance(live(metadata_url="http://169.254.169.254"), reader)
    assert isinstance(live(endpoint="https://ec2.eu-west-1.amazonaws.com"), reader)
    assert live(**local) is None, "a stand-in is no public cloud"
    assert live(endpoint="http://localhost:1") is None
    assert live(endpoint="http://10.99.1.2:5000/v3") is None
    assert isinstance(live(**local, prices="live"), reader)
    assert isinstance(live(**local, pricing_endpoint="http://127.0.0.1:9"), reader)
    assert live(prices="offline", pricing_endpoint="http://127.0.0.1:9") is None
    monkeypatch.setenv("PORTER_PRICES", "offline")
    assert live() is None
    assert isinstance(live(prices="live"), reader)


def test_a_stand_in_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTER_PRICES", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5000")
    assert prices._live(SiteConfig("s", SiteKind.AWS, "eu-west-1")) is None
    assert prices._live(SiteConfig("s", SiteKind.AZURE, "westeurope")) is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"prices": "cheap"},
        {"currency": "euro"},
        {"pricing_endpoint": "prices.example"},
        {"pricing_endpoint": "file:///etc/passwd"},
    ],
)
def test_settings_that_cannot_be_right(settings: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        pricing(SiteConfig("a", SiteKind.AZURE, "westeurope", settings))


def test_the_cache_lies_in_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTER_STATE", str(tmp_path))
    cache = prices._cache(SiteConfig("a", SiteKind.AWS, "eu-west-1"))
    assert cache.path == tmp_path / "prices.json"
    quote = Quote("t", Decimal(1), "USD", "hour", "2026-11-23", "list")
    cache.write({"k": quote}, 1.0)
    assert json.loads((tmp_path / "prices.json").read_text())["prices"]["k"]["amount"] == "1"
