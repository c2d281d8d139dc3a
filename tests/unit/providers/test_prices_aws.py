"""AWS's price list and spot history, in the shapes that botocore's own model allows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from porter.domain.errors import Denied, PorterError, Transient
from porter.domain.site import SiteKind
from porter.providers.base import SiteConfig
from porter.providers.prices.aws import AwsPrices, list_region


def offer(unit: str, amount: str, **attributes: str) -> dict[str, Any]:
    return {
        "priceDimensions": {
            "A.B.C": {"unit": unit, "pricePerUnit": {"USD": amount}, "description": "…"}
        },
        "sku": "A",
        "effectiveDate": "2026-11-01T00:00:00Z",
        "termAttributes": attributes,
    }


def reserved(
    length: str, option: str, once: str = "", hourly: str = "", kind: str = "standard"
) -> dict[str, Any]:
    made = offer(
        "Hrs",
        hourly or "0.0000000000",
        LeaseContractLength=length,
        PurchaseOption=option,
        OfferingClass=kind,
    )
    if once:
        made["priceDimensions"]["A.B.D"] = {"unit": "Quantity", "pricePerUnit": {"USD": once}}
    return made


def product(name: str, on_demand: str, region: str = "eu-west-1") -> str:
    document = {
        "product": {
            "productFamily": "Compute Instance",
            "attributes": {"instanceType": name, "regionCode": region, "tenancy": "Shared"},
            "sku": "A",
        },
        "serviceCode": "AmazonEC2",
        "terms": {
            "OnDemand": {"A.B": offer("Hrs", on_demand)},
            "Reserved": {
                "1": reserved("1yr", "No Upfront", hourly="0.0674"),
                "2": reserved("1yr", "All Upfront", once="550"),
                "3": reserved("1yr", "No Upfront", hourly="0.0770", kind="convertible"),
                "4": reserved("3yr", "Partial Upfront", once="526", hourly="0.02"),
            },
        },
        "version": "20261101",
        "publicationDate": "2026-11-01T00:00:00Z",
    }
    return json.dumps(document)


def client(service: str) -> Any:
    return boto3.client(
        service, region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


def asked(name: str, **other: str) -> dict[str, Any]:
    fields = {
        "regionCode": "eu-west-1",
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        **({"instanceType": name} if name else {}),
    }
    filters = [{"Type": "TERM_MATCH", "Field": key, "Value": one} for key, one in fields.items()]
    return {"ServiceCode": "AmazonEC2", "FormatVersion": "aws_v1", "Filters": filters, **other}


CONFIG = SiteConfig("aws", SiteKind.AWS, "eu-west-1")


@pytest.mark.parametrize(
    ("terms", "amount"),
    [
        ("on_demand", Decimal("0.1070000000")),
        ("reserved-1y", Decimal("0.0674")),
        ("reserved-3y", (Decimal(526) / 26280 + Decimal("0.02")).quantize(Decimal("1e-7"))),
    ],
)
def test_aws_price_list(terms: str, amount: Decimal) -> None:
    pricing = client("pricing")
    pages = [
        ({"PriceList": ["{", "[]", "{}"], "NextToken": "n"}, {}),
        ({"PriceList": [product("m5.large", "0.1070000000")]}, {"NextToken": "n"}),
    ]
    with Stubber(pricing) as stub:
        for page, more in pages:
            stub.add_response("get_products", page, asked("m5.large", **more))
        told = AwsPrices(CONFIG, pricing=pricing).fetch(["m5.large"], terms)
        stub.assert_no_pending_responses()
    quote = told["m5.large"]
    assert (quote.amount, quote.currency, quote.terms) == (amount, "USD", terms)
    assert (quote.source, quote.as_of[:2]) == ("aws price list", "20")


def test_aws_zero_and_other_regions_are_no_prices() -> None:
    pricing = client("pricing")
    entries = [product("m5.large", "0.0"), product("m5.large", "0.096", "us-east-1")]
    with Stubber(pricing) as stub:
        stub.add_response("get_products", {"PriceList": entries}, asked("m5.large"))
        assert AwsPrices(CONFIG, pricing=pricing).fetch(["m5.large"], "on_demand") == {}


def test_aws_lists_the_region_when_many_types_are_asked_for() -> None:
    pricing = client("pricing")
    names = [f"m5.{number}xlarge" for number in range(2, 30)]
    with Stubber(pricing) as stub:
        entries = [product(name, "0.5") for name in names]
        stub.add_response("get_products", {"PriceList": entries}, asked(""))
        assert set(AwsPrices(CONFIG, pricing=pricing).fetch(names, "on_demand")) == set(names)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDeniedException", Denied),
        ("UnauthorizedOperation", Denied),
        ("ThrottlingException", Transient),
        ("InternalError", Transient),
    ],
)
def test_aws_errors(code: str, kind: type[PorterError]) -> None:
    pricing = client("pricing")
    with Stubber(pricing) as stub:
        stub.add_client_error("get_products", code)
        with pytest.raises(kind, match=code) as caught:
            AwsPrices(CONFIG, pricing=pricing).fetch(["m5.large"], "on_demand")
    if kind is Denied:
        assert "pricing:GetProducts" in caught.value.remedy


def test_aws_without_credentials_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(Denied, match="NoCredentialsError"):
        AwsPrices(CONFIG, "http://127.0.0.1:9").fetch(["m5.large"], "on_demand")


def row(name: str, zone: str, price: str, day: int) -> dict[str, Any]:
    return {
        "InstanceType": name,
        "AvailabilityZone": zone,
        "SpotPrice": price,
        "ProductDescription": "Linux/UNIX",
        "Timestamp": datetime(2026, 11, day, tzinfo=UTC),
    }


def test_aws_spot_takes_the_newest_price_of_each_zone() -> None:
    ec2 = client("ec2")
    rows = [
        row("m5.large", "eu-west-1a", "0.0300", 3),
        row("m5.large", "eu-west-1a", "0.0450", 9),
        row("m5.large", "eu-west-1b", "0.0410", 8),
        row("m5.large", "eu-west-1b", "0.0100", 1),
        row("c5.large", "eu-west-1c", "0.0", 9),
    ]
    with Stubber(ec2) as stub:
        history = {"SpotPriceHistory": rows[:2], "NextToken": "n"}
        stub.add_response("describe_spot_price_history", history)
        stub.add_response("describe_spot_price_history", {"SpotPriceHistory": rows[2:]})
        told = AwsPrices(CONFIG, ec2=ec2).fetch(["m5.large", "c5.large"], "spot")
    (quote,) = told.values()
    assert (quote.amount, quote.terms) == (Decimal("0.0410"), "spot")
    assert quote.as_of == "2026-11-08T00:00:00+00:00"
    assert "eu-west-1b" in quote.source


def test_where_the_price_list_is_asked() -> None:
    regions = {
        "eu-west-1": "eu-central-1",
        "ap-northeast-1": "ap-south-1",
        "sa-east-1": "us-east-1",
    }
    for region, at in {**regions, "cn-north-1": "cn-northwest-1", "us-west-2": "us-east-1"}.items():
        assert list_region(region) == at
