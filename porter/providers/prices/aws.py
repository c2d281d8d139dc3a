"""AWS: the Price List for on-demand and reserved prices, EC2's own history for spot prices.

Rights: `pricing:GetProducts`, `ec2:DescribeSpotPriceHistory`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from porter import __version__
from porter.domain.errors import Denied, PorterError, Transient
from porter.domain.money import Quote
from porter.providers.base import SiteConfig
from porter.providers.prices.reading import TERM_HOURS, exact, now_iso, positive

LIST, HISTORY = "aws price list", "ec2 spot price history"
TOTAL_SECONDS = 25.0
ONE_BY_ONE = 8
"""More types than that are had faster from one listing of the whole region."""
_LENGTHS = {"reserved-1y": "1yr", "reserved-3y": "3yr"}
_DENIED = ("AccessDenied", "Unauthorized", "AuthFailure", "InvalidClientToken", "ExpiredToken")


def list_region(region: str) -> str:
    """Where the Price List is asked for a region: it answers in few places only."""
    if region.startswith("cn-"):
        return "cn-northwest-1"
    if region.startswith(("eu-", "af-", "me-", "il-")):
        return "eu-central-1"
    return "ap-south-1" if region.startswith("ap-") else "us-east-1"


@dataclass
class AwsPrices:
    """Linux prices in one region, shared tenancy. Clients are made when first needed."""

    config: SiteConfig
    endpoint: str = ""
    """Of the Price List; spot prices are asked of the site's own EC2."""
    zone: str = ""
    pricing: Any = None
    ec2: Any = None

    @property
    def scope(self) -> str:
        return f"{self.endpoint}|{self.zone}"

    def fetch(self, types: Sequence[str], terms: str) -> Mapping[str, Quote]:
        """Known prices only. Raises Transient, Denied."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if terms == "spot":
                return self._spot(types)
            return self._listed(types, terms)
        except (ClientError, BotoCoreError) as error:
            raise _translated(error, HISTORY if terms == "spot" else LIST) from None

    def _listed(self, types: Sequence[str], terms: str) -> dict[str, Quote]:
        until = time.monotonic() + TOTAL_SECONDS
        wanted: Sequence[str] = types if len(types) <= ONE_BY_ONE else [""]
        found: dict[str, Quote] = {}
        self.pricing = self.pricing or self._client("pricing", list_region(self.config.region))
        for name in wanted:
            pages = self.pricing.get_paginator("get_products").paginate(
                ServiceCode="AmazonEC2", FormatVersion="aws_v1", Filters=self._filters(name)
            )
            for page in pages:
                for quote in _products(page.get("PriceList", ()), self.config.region, terms):
                    known = found.get(quote.item)
                    if known is None or exact(quote) < exact(known):
                        found[quote.item] = quote
                if time.monotonic() > until:
                    return found  # what came in time is right
        return found

    def _filters(self, name: str) -> list[dict[str, str]]:
        fields = {
            "regionCode": self.config.region,
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
            **({"instanceType": name} if name else {}),
        }
        return [
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in fields.items()
        ]

    def _spot(self, types: Sequence[str]) -> dict[str, Quote]:
        """The newest price per zone; of the site's zone if it has one, else of the cheapest."""
        self.ec2 = self.ec2 or self._client("ec2", self.config.region, of_site=True)
        asked: dict[str, Any] = {"AvailabilityZone": self.zone} if self.zone else {}
        newest: dict[tuple[str, str], tuple[datetime, Decimal]] = {}
        pages = self.ec2.get_paginator("describe_spot_price_history").paginate(
            InstanceTypes=list(types),
            ProductDescriptions=["Linux/UNIX", "Linux/UNIX (Amazon VPC)"],
            StartTime=datetime.now(UTC),
            **asked,
        )
        for page in pages:
            for row in page.get("SpotPriceHistory", ()):
                amount, at = positive(row.get("SpotPrice")), row.get("Timestamp")
                key = (row.get("InstanceType", ""), row.get("AvailabilityZone", ""))
                if amount and at and (key not in newest or at > newest[key][0]):
                    newest[key] = (at, amount)
        found: dict[str, Quote] = {}
        for (name, zone), (at, amount) in sorted(newest.items(), key=lambda one: one[1][1]):
            source, as_of = f"{HISTORY} of {zone}", at.astimezone(UTC).isoformat(timespec="seconds")
            found.setdefault(name, Quote(name, amount, "USD", "hour", as_of, source, "spot"))
        return found

    def _client(self, service: str, region: str, of_site: bool = False) -> Any:
        import boto3
        from botocore.config import Config

        settings, secrets = self.config.settings, self.config.secrets
        options: dict[str, Any] = {
            "config": Config(
                connect_timeout=2,
                read_timeout=8,
                retries={"mode": "standard", "total_max_attempts": 2},
                user_agent_extra=f"porter/{__version__}",
            )
        }
        own = {**options, "endpoint_url": settings.get("endpoint_url") or None}
        session = boto3.Session(
            profile_name=settings.get("profile") or None,
            aws_access_key_id=secrets.get("access_key_id"),
            aws_secret_access_key=secrets.get("secret_access_key"),
            aws_session_token=secrets.get("session_token"),
            region_name=region,
        )
        if settings.get("role_arn"):
            extra = {"ExternalId": settings["external_id"]} if settings.get("external_id") else {}
            sts = session.client("sts", region_name=self.config.region, **own)
            given = sts.assume_role(
                RoleArn=settings["role_arn"], RoleSessionName="porter-prices", **extra
            )["Credentials"]
            session = boto3.Session(
                given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region
            )
        if of_site:
            return session.client(service, **own)
        return session.client(service, endpoint_url=self.endpoint or None, **options)


def _products(entries: Any, region: str, terms: str) -> Iterator[Quote]:
    for entry in entries:
        try:
            document = json.loads(entry) if isinstance(entry, str) else entry
            attributes = document["product"]["attributes"]
            if attributes.get("regionCode", region) != region:
                continue
            for amount, currency in _amounts(document["terms"], terms):
                name = attributes["instanceType"]
                yield Quote(name, amount, currency, "hour", now_iso(), LIST, terms)
        except (LookupError, TypeError, ValueError, AttributeError):
            continue  # one broken product says nothing of the others


def _amounts(offers: Mapping[str, Any], terms: str) -> Iterator[tuple[Decimal, str]]:
    """Prices an hour; of reservations the one that nothing is paid ahead for, if there is one."""
    if terms == "on_demand":
        for offer in offers.get("OnDemand", {}).values():
            yield from _hourly(offer).items_with_price()
        return
    found = []
    for offer in offers.get("Reserved", {}).values():
        kind = offer["termAttributes"]
        if kind.get("LeaseContractLength") == _LENGTHS.get(terms) and (
            kind.get("OfferingClass") == "standard"
        ):
            ahead = kind.get("PurchaseOption") != "No Upfront"
            for amount, currency in _hourly(offer).with_upfront(TERM_HOURS[terms]):
                found.append((ahead, amount, currency))
    if found:
        _, amount, currency = min(found)
        yield amount, currency


@dataclass
class _Offer:
    hourly: dict[str, Decimal]
    once: dict[str, Decimal]

    def items_with_price(self) -> Iterator[tuple[Decimal, str]]:
        for currency, amount in self.hourly.items():
            yield amount, currency

    def with_upfront(self, hours: Decimal) -> Iterator[tuple[Decimal, str]]:
        for currency in {**self.hourly, **self.once}:
            zero = Decimal(0)
            total = self.hourly.get(currency, zero) + self.once.get(currency, zero) / hours
            yield total.quantize(Decimal("0.0000001")), currency


def _hourly(offer: Mapping[str, Any]) -> _Offer:
    found = _Offer({}, {})
    for dimension in offer["priceDimensions"].values():
        into = {"Hrs": found.hourly, "Quantity": found.once}.get(dimension.get("unit"))
        for currency, text in dimension["pricePerUnit"].items():
            amount = positive(text)
            if into is not None and amount is not None:
                into[currency] = amount
    return found


def _translated(error: Exception, name: str) -> PorterError:
    code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
    if code.startswith(_DENIED) or "Credentials" in code:
        right = "ec2:DescribeSpotPriceHistory" if name == HISTORY else "pricing:GetProducts"
        return Denied(f"cannot read the {name}: {code}", f"grant {right}")
    return Transient(f"cannot read the {name}: {code}")
