"""Readers of the clouds' price lists, against local servers that page as the real ones do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from porter.domain.errors import Denied, PorterError, Transient
from porter.providers.prices import web
from porter.providers.prices.azure import AzureRetail
from porter.providers.prices.gcp import GcpCatalog, authoriser

Answer = tuple[int, Any]


class Server:
    """Answers by `reply(path, query, headers)`; remembers what it was asked."""

    def __init__(self) -> None:
        self.reply: Callable[[str, dict[str, str], dict[str, str]], Answer] = lambda *_: (404, {})
        self.seen: list[tuple[str, dict[str, str], dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(length)
                parts = urlsplit(self.path)
                query = {key: one[-1] for key, one in parse_qs(parts.query).items()}
                outer.seen.append((parts.path, query, dict(self.headers)))
                status, body = outer.reply(*outer.seen[-1])
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_PAUSE", 0.0)


# -- Azure --------------------------------------------------------------------------------------


def meter(**other: Any) -> dict[str, Any]:
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": 0.115,
        "unitPrice": 0.115,
        "armRegionName": "westeurope",
        "location": "EU West",
        "effectiveStartDate": "2021-11-01T00:00:00Z",
        "meterName": "D2s v5",
        "productName": "Virtual Machines Dsv5 Series",
        "skuName": "Standard_D2s_v5",
        "serviceName": "Virtual Machines",
        "serviceFamily": "Compute",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": "Standard_D2s_v5",
        **other,
    }


METERS = [
    meter(productName="Virtual Machines Dsv5 Series Windows", retailPrice=0.02),
    meter(skuName="Standard_D2s_v5 Spot", meterName="D2s v5 Spot", retailPrice=0.0213),
    meter(skuName="D2s v5 Low Priority", meterName="D2s v5 Low Priority", retailPrice=0.023),
    meter(type="DevTestConsumption", retailPrice=0.01),
    meter(armRegionName="eastus", retailPrice=0.096),
    meter(productName="Dsv5 Series Cloud Services", retailPrice=0.02),
    meter(unitOfMeasure="1/Month", retailPrice=0.001),
    meter(retailPrice=0.0),
    meter(type="Reservation", reservationTerm="1 Year", retailPrice=595.0),
    meter(type="Reservation", reservationTerm="3 Years", retailPrice=1149.0),
    meter(),
]


def azure_pages(server: Server, items: list[Any], size: int = 3) -> None:
    def reply(path: str, query: dict[str, str], _: dict[str, str]) -> Answer:
        assert path == "/api/retail/prices"
        skip = int(query.get("$skip", 0))
        more = skip + size < len(items)
        following = f"{server.url}/api/retail/prices?$skip={skip + size}" if more else None
        page = items[skip : skip + size]
        return 200, {"BillingCurrency": "USD", "Items": page, "NextPageLink": following}

    server.reply = reply


@pytest.mark.parametrize(
    ("terms", "amount"),
    [
        ("on_demand", Decimal("0.115")),
        ("spot", Decimal("0.0213")),
        ("reserved-1y", Decimal(595) / 8760),
        ("reserved-3y", Decimal(1149) / 26280),
    ],
)
def test_azure_tells_meters_apart_over_all_pages(
    server: Server, terms: str, amount: Decimal
) -> None:
    azure_pages(server, METERS)
    told = AzureRetail("westeurope", server.url).fetch(["standard_d2s_v5", "no"], terms)
    (quote,) = told.values()
    assert (quote.item, quote.amount, quote.terms) == ("standard_d2s_v5", amount, terms)
    assert (quote.currency, quote.unit, quote.source) == ("USD", "hour", "azure retail prices")
    assert datetime.fromisoformat(quote.as_of).tzinfo is not None
    assert len(server.seen) == 4
    question = server.seen[0][1]
    assert question["currencyCode"] == "USD"
    kind = "Reservation" if terms.startswith("res") else "Consumption"
    assert f"priceType eq '{kind}'" in question["$filter"]
    assert "armRegionName eq 'westeurope'" in question["$filter"]


def test_azure_names_are_quoted_and_asked_for_in_batches(server: Server) -> None:
    azure_pages(server, [])
    names = [f"o'brien_{number}" for number in range(31)]
    assert AzureRetail("westeurope", server.url, "EUR").fetch(names, "on_demand") == {}
    assert len(server.seen) == 3
    assert "armSkuName eq 'o''brien_0'" in server.seen[0][1]["$filter"]
    assert server.seen[0][1]["currencyCode"] == "EUR"


@pytest.mark.parametrize(
    "items",
    [
        None,
        "text",
        [None, 3, "x", [], {}],
        [meter(retailPrice="dear"), meter(retailPrice=None), meter(retailPrice=True)],
        [meter(retailPrice=1e300), meter(retailPrice=-1), meter(currencyCode=None)],
    ],
)
def test_azure_ignores_what_is_no_meter(server: Server, items: Any) -> None:
    server.reply = lambda *_: (200, {"Items": items})
    fetch = AzureRetail("westeurope", server.url).fetch
    assert fetch(["Standard_D2s_v5"], "on_demand") == {}
    if isinstance(items, list):
        server.reply = lambda *_: (200, {"Items": [*items, meter()]})
        assert fetch(["Standard_D2s_v5"], "on_demand")["Standard_D2s_v5"].amount == Decimal("0.115")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((500, {}), Transient),
        ((503, {}), Transient),
        ((429, {}), Transient),
        ((302, {}), Transient),
        ((403, {}), Denied),
        ((200, b"<html>"), Transient),
        ((200, b"[]"), Transient),
        ((200, b'{"Items": [{'), Transient),
        ((200, {"Items": [], "NextPageLink": "http://169.254.169.254/latest"}), Transient),
        ((200, {"Items": [], "NextPageLink": "http://[broken"}), Transient),
    ],
)
def test_a_list_that_misbehaves_is_an_error(
    server: Server, answer: Answer, kind: type[PorterError]
) -> None:
    server.reply = lambda *_: answer
    with pytest.raises(kind, match="cannot read the azure retail prices"):
        AzureRetail("westeurope", server.url).fetch(["Standard_D2s_v5"], "on_demand")


def test_one_overload_is_waited_for(server: Server) -> None:
    answers = iter([(429, {}), (200, {"Items": [meter()]})])
    server.reply = lambda *_: next(answers)
    assert AzureRetail("westeurope", server.url).fetch(["Standard_D2s_v5"], "on_demand")


def test_pages_without_end_are_not_read_without_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_PAGES", 5)
    link = f"{server.url}/api/retail/prices?$skip=1"
    server.reply = lambda *_: (200, {"Items": [], "NextPageLink": link})
    with pytest.raises(Transient, match="more than 5 pages"):
        AzureRetail("westeurope", server.url).fetch(["x"], "on_demand")


def test_time_is_limited_over_all_pages(server: Server) -> None:
    with web.Lists("list", server.url, {}, seconds=-1) as lists:
        with pytest.raises(Transient, match="within"):
            lists.page(f"{server.url}/x")
    assert server.seen == []


def test_nobody_there_is_an_error_without_the_url() -> None:
    server = Server()
    server.close()
    with pytest.raises(Transient, match="cannot reach") as caught:
        AzureRetail("westeurope", server.url).fetch(["x"], "on_demand")
    assert "127.0.0.1" not in str(caught.value)


# -- Google -------------------------------------------------------------------------------------


def sku(description: str, usage: str, nanos: int, **other: Any) -> dict[str, Any]:
    unit = "GiBy.h" if "Ram" in description else "h"
    money = {"currencyCode": "USD", "units": "0", "nanos": nanos}
    rates = [{"startUsageAmount": 0, "unitPrice": money}]
    expression = {"usageUnit": unit, "tieredRates": rates, "displayQuantity": 1}
    return {
        "name": "services/6F81-5844-456A/skus/0000-0000-0000",
        "skuId": "0000-0000-0000",
        "description": description,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": "Compute",
            "resourceGroup": "RAM" if "Ram" in description else "CPU",
            "usageType": usage,
        },
        "serviceRegions": ["europe-west1"],
        "pricingInfo": [{"pricingExpression": expression, "effectiveTime": "2026-11-01T00:00:00Z"}],
        "serviceProviderName": "Google",
        **other,
    }


SKUS = [
    sku("E2 Instance Core running in Belgium", "OnDemand", 23_993_370),
    sku("E2 Instance Ram running in Belgium", "OnDemand", 3_216_090),
    sku("E2 Instance Core running in Iowa", "OnDemand", 1, serviceRegions=["us-central1"]),
    sku("E2 Custom Instance Core running in Belgium", "OnDemand", 1),
    {
        **sku("E2 Instance Core running in Belgium", "OnDemand", 1),
        "pricingInfo": sku("Ram", "OnDemand", 1)["pricingInfo"],  # a core, told in GiB
    },
    sku("N2 Sole Tenancy Instance Ram running in Belgium", "OnDemand", 1),
    sku("Spot Preemptible E2 Instance Core running in Belgium", "Preemptible", 7_198_000),
    sku("Spot Preemptible E2 Instance Ram running in Belgium", "Preemptible", 964_800),
    sku("Commitment v1: E2 Cpu in Belgium for 1 Year", "Commit1Yr", 15_116_000),
    sku("Commitment v1: E2 Ram in Belgium for 1 Year", "Commit1Yr", 2_026_000),
    sku("Commitment v1: E2 Cpu in Belgium for 3 Year", "Commit3Yr", 10_797_000),
    sku("Commitment v1: Cpu in Belgium for 1 Year", "Commit1Yr", 21_000_000),
    sku("Commitment v1: Ram in Belgium for 1 Year", "Commit1Yr", 2_800_000),
    sku("N2D AMD Instance Core running in Belgium", "OnDemand", 30_253_000),
    sku("N2D AMD Instance Ram running in Belgium", "OnDemand", 4_055_000),
    sku("Compute optimized Core running in Belgium", "OnDemand", 37_381_000),
    sku("Compute optimized Ram running in Belgium", "OnDemand", 5_011_000),
    sku("N1 Predefined Instance Core running in Belgium", "OnDemand", 34_773_000),
    sku("N2 Instance Core running in Belgium", "OnDemand", 34_773_000),
    sku("N2 Instance Ram running in Belgium", "OnDemand", 0),
]


def gcp_pages(server: Server, skus: list[Any], size: int = 5) -> None:
    def reply(path: str, query: dict[str, str], _: dict[str, str]) -> Answer:
        assert path == "/v1/services/6F81-5844-456A/skus"
        start = int(query.get("pageToken", 0))
        token = str(start + size) if start + size < len(skus) else ""
        return 200, {"skus": skus[start : start + size], "nextPageToken": token}

    server.reply = reply


def keyed(server: Server) -> GcpCatalog:
    return GcpCatalog("europe-west1", authoriser({"pricing_api_key": "s3cret"}), server.url)


@pytest.mark.parametrize(
    ("terms", "name", "amount"),
    [
        ("on_demand", "e2-standard-2", "0.0737155"),
        ("on_demand", "e2-medium", "0.0368577"),
        ("on_demand", "n2d-standard-4", "0.185892"),
        ("on_demand", "c2-standard-4", "0.2297"),
        ("spot", "e2-standard-2", "0.0221144"),
        ("reserved-1y", "e2-standard-2", "0.04644"),
        ("reserved-1y", "n1-standard-4", "0.126"),
    ],
)
def test_google_adds_cores_and_memory(server: Server, terms: str, name: str, amount: str) -> None:
    gcp_pages(server, SKUS)
    quote = keyed(server).fetch([name], terms)[name]
    assert quote.amount == Decimal(amount)
    assert (quote.currency, quote.terms) == ("USD", terms)
    assert quote.source == "google cloud billing catalog"
    assert len(server.seen) == 4
    for _, query, headers in server.seen:
        assert headers["X-Goog-Api-Key"] == "s3cret"
        assert "s3cret" not in str(query)


def test_google_types_with_a_part_missing_have_no_price(server: Server) -> None:
    gcp_pages(server, SKUS)
    told = keyed(server).fetch(["n1-standard-1", "n2-standard-2", "a2-highgpu-1g"], "on_demand")
    assert not {"n1-standard-1", "n2-standard-2", "a2-highgpu-1g"} & set(told)
    assert "e2-standard-8" in told, "one reading tells the common types too"
    assert "e2-standard-2" not in keyed(server).fetch(["e2-standard-2"], "reserved-3y")


def test_google_ignores_what_is_no_sku(server: Server) -> None:
    rates = {"pricingInfo": [{"pricingExpression": {"usageUnit": "h", "tieredRates": []}}]}
    broken = [
        None,
        {},
        "text",
        sku("E2 Instance Core running in Belgium", "OnDemand", 9, pricingInfo=[]),
        sku("E2 Instance Core running in Belgium", "OnDemand", 9, category=None),
        sku("E2 Instance Core running in Belgium", "OnDemand", 9, serviceRegions=None),
        {**SKUS[0], "description": None},
        {**SKUS[0], **rates},
    ]
    gcp_pages(server, [*broken, *SKUS])
    told = keyed(server).fetch(["e2-standard-2"], "on_demand")
    assert told["e2-standard-2"].amount == Decimal("0.0737155")
    server.reply = lambda *_: (200, {"skus": 7})
    assert keyed(server).fetch(["e2-standard-2"], "on_demand") == {}


def test_google_refuses_a_wrong_key(server: Server) -> None:
    server.reply = lambda *_: (403, {"error": {"status": "PERMISSION_DENIED"}})
    with pytest.raises(Denied) as caught:
        keyed(server).fetch(["e2-medium"], "on_demand")
    assert "s3cret" not in str(caught.value)


def service_account(url: str) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "client_email": "p@example.iam.gserviceaccount.com",
        "token_uri": f"{url}/token",
        "private_key": key.decode(),
    }
    return json.dumps(account)


@pytest.mark.parametrize("by", ["secret", "environment"])
def test_google_takes_a_service_account(
    server: Server, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, secrets = service_account(server.url), {}
    if by == "secret":
        secrets["service_account_json"] = account
    else:
        (tmp_path / "key.json").write_text(account)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    gcp_pages(server, SKUS, size=100)
    catalogue = server.reply

    def reply(path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
        if path == "/token":
            return 200, {"access_token": "t0ken", "expires_in": 3600, "token_type": "Bearer"}
        assert headers["Authorization"] == "Bearer t0ken"
        return catalogue(path, query, headers)

    server.reply = reply
    told = GcpCatalog("europe-west1", authoriser(secrets), server.url).fetch([], "on_demand")
    assert told["e2-standard-4"].amount == Decimal("0.1474309")


@pytest.mark.parametrize("key", ["{", "[]", "3", '{"type": "service_account"}'])
def test_google_with_a_broken_key_is_denied(server: Server, key: str) -> None:
    with pytest.raises(Denied) as caught:
        GcpCatalog("r", authoriser({"service_account_json": key}), server.url).fetch([], "spot")
    assert "credential" in str(caught.value) or "key is broken" in str(caught.value)
    assert server.seen == []
