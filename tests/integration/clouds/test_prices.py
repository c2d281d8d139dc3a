"""The contract of prices, on price lists over the wire, files and flavours; and lists that go away.

The servers here answer in the shapes that the clouds document. They prove the reading, the paging
and what happens without a network; what the real lists say today they cannot prove.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from porter.domain.site import SiteKind
from porter.providers.base import Provider, SiteConfig
from porter.providers.prices import egress, layers, pricing
from porter.providers.prices.layers import DAY
from tests.contracts.provider_contracts import PricingContract

REGIONS = {
    SiteKind.AWS: ("eu-west-1", "m5.large"),
    SiteKind.AZURE: ("westeurope", "Standard_D2s_v5"),
    SiteKind.GCP: ("europe-west1", "e2-standard-2"),
    SiteKind.OPENSTACK: ("RegionOne", "m1.small"),
    SiteKind.ONPREM: ("", "rack1"),
}
FILE = """
currency = "EUR"
as_of = 2026-11-01
[hosts.rack1]
monthly = 73
[egress]
internet = 0.05
"""
SECRETS = {
    SiteKind.AWS: {"access_key_id": "a", "secret_access_key": "b"},
    SiteKind.AZURE: {},
    SiteKind.GCP: {"pricing_api_key": "k"},
}


def aws() -> dict[str, Any]:
    price = {"unit": "Hrs", "pricePerUnit": {"USD": "0.1234"}}
    product = {
        "product": {"attributes": {"instanceType": "m5.large", "regionCode": "eu-west-1"}},
        "terms": {"OnDemand": {"A": {"priceDimensions": {"B": price}}}},
    }
    return {"FormatVersion": "aws_v1", "PriceList": [json.dumps(product)]}


def azure() -> dict[str, Any]:
    meter = {
        "armSkuName": "Standard_D2s_v5",
        "armRegionName": "westeurope",
        "skuName": "Standard_D2s_v5",
        "meterName": "D2s v5",
        "productName": "Virtual Machines Dsv5 Series",
        "retailPrice": 0.1234,
        "currencyCode": "USD",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
    }
    return {"Items": [meter], "NextPageLink": None, "Count": 1}


def gcp() -> dict[str, Any]:
    def sku(part: str, unit: str, nanos: int) -> dict[str, Any]:
        rate = {"unitPrice": {"currencyCode": "USD", "units": "0", "nanos": nanos}}
        expression = {"usageUnit": unit, "tieredRates": [rate]}
        return {
            "description": f"E2 Instance {part} running in Belgium",
            "category": {"usageType": "OnDemand"},
            "serviceRegions": ["europe-west1"],
            "pricingInfo": [{"pricingExpression": expression}],
        }

    return {"skus": [sku("Core", "h", 21_700_000), sku("Ram", "GiBy.h", 10_000_000)]}


class Lists:
    """All three price lists behind one port; told apart by what they are asked."""

    def __init__(self) -> None:
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                found = azure() if "retail" in self.path else gcp()
                if "GetProducts" in self.headers.get("X-Amz-Target", ""):
                    assert "/eu-central-1/pricing/" in self.headers["Authorization"]
                    found = aws()
                raw = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        self.open = True

    def close(self) -> None:
        if self.open:
            self._http.shutdown()
            self._http.server_close()
            self.open = False


@pytest.fixture
def lists() -> Iterator[Lists]:
    made = Lists()
    yield made
    made.close()


def config(kind: SiteKind, lists: Lists, folder: Path) -> SiteConfig:
    region, _ = REGIONS[kind]
    settings = {"price_cache": str(folder / "prices.json")}
    if kind in SECRETS:
        settings["pricing_endpoint"] = lists.url
    if kind is SiteKind.ONPREM:
        (folder / "prices.toml").write_text(FILE)
        settings["price_file"] = str(folder / "prices.toml")
    return SiteConfig("site", kind, region, settings, SECRETS.get(kind, {}))


class PriceBench:
    zone = ""

    def __init__(self, config: SiteConfig) -> None:
        self.instance_type = REGIONS[config.kind][1]
        self._config = config

    def open(self) -> Provider:
        specs = {"m1.small": {"porter:price_hour": "0.05", "porter:currency": "EUR"}}
        told = (lambda: specs) if self._config.kind is SiteKind.OPENSTACK else None
        return Provider(
            config=self._config, pricing=pricing(self._config, told), egress=egress(self._config)
        )


@pytest.fixture(params=list(REGIONS), ids=str)
def bench(request: pytest.FixtureRequest, lists: Lists, tmp_path: Path) -> PriceBench:
    return PriceBench(config(request.param, lists, tmp_path))


class TestPricing(PricingContract):
    pass


@pytest.mark.parametrize("kind", SECRETS, ids=str)
def test_a_list_that_goes_away(
    kind: SiteKind, lists: Lists, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live, then kept, then kept for longer than a day, then the snapshot; never an error."""
    site = config(kind, lists, tmp_path)
    name = REGIONS[kind][1]
    live = pricing(site).quotes([name])[name]
    assert live.amount == Decimal("0.1234")
    assert live.source in ("aws price list", "azure retail prices", "google cloud billing catalog")
    asked = lists.asked
    assert pricing(site).quotes([name])[name] == live
    assert lists.asked == asked, "it was kept"
    lists.close()

    later = time.time() + 3 * DAY
    monkeypatch.setattr(
        layers, "time", SimpleNamespace(time=lambda: later, monotonic=time.monotonic)
    )
    assert pricing(site).quotes([name])[name] == live
    (tmp_path / "prices.json").unlink()
    offline = pricing(site).quotes([name, "no-such-type"])
    assert offline[name].amount not in (None, live.amount)
    assert offline[name].source.startswith("snapshot")
    assert "cannot re" in offline["no-such-type"].source


def test_many_sites_share_one_file(lists: Lists, tmp_path: Path) -> None:
    """Threads of one process, as the workers' are, on lists of all kinds."""
    wrong: list[object] = []

    def ask(kind: SiteKind) -> None:
        name = REGIONS[kind][1]
        for _ in range(5):
            quote = pricing(config(kind, lists, tmp_path)).quotes([name])[name]
            if quote.amount != Decimal("0.1234"):
                wrong.append(quote)

    threads = [threading.Thread(target=ask, args=(kind,)) for kind in SECRETS for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    kept = json.loads((tmp_path / "prices.json").read_text())["prices"]
    assert {entry["item"] for entry in kept.values()} >= {"m5.large", "Standard_D2s_v5"}
