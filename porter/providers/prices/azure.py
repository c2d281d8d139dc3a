"""Azure's Retail Prices: a REST API that everybody may ask.

Consumption and spot meters are one price an hour; a reservation's price is for its whole term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from porter.domain.money import Quote
from porter.providers.prices.reading import TERM_HOURS, exact, now_iso, positive
from porter.providers.prices.web import Lists

ENDPOINT = "https://prices.azure.com"
API = "2023-01-01-preview"
NAME = "azure retail prices"
AT_ONCE = 15
"""So many types in one filter: longer URLs are refused."""
_TERMS = {"1 Year": "reserved-1y", "3 Years": "reserved-3y"}


class AzureRetail:
    """Linux prices in one region."""

    def __init__(self, region: str, endpoint: str = "", currency: str = "USD") -> None:
        self._region = region
        self._currency = currency
        self._endpoint = (endpoint or ENDPOINT).rstrip("/")
        self.scope = f"{endpoint}|{currency}"

    def fetch(self, types: Sequence[str], terms: str) -> Mapping[str, Quote]:
        """Known prices only, of the types asked for. Raises Transient, Denied."""
        found: dict[str, Quote] = {}
        wanted = {one.lower(): one for one in types}
        with Lists(NAME, self._endpoint, {}) as lists:
            for start in range(0, len(types), AT_ONCE):
                url: str = f"{self._endpoint}/api/retail/prices"
                parameters: dict[str, str] | None = {
                    "api-version": API,
                    "currencyCode": self._currency,
                    "$filter": self._filter(types[start : start + AT_ONCE], terms),
                }
                while url:
                    page = lists.page(url, parameters)
                    for quote in self._read(page.get("Items"), wanted, terms):
                        known = found.get(quote.item)
                        if known is None or exact(quote) < exact(known):
                            found[quote.item] = quote
                    url, parameters = str(page.get("NextPageLink") or ""), None
        return found

    def _filter(self, types: Sequence[str], terms: str) -> str:
        names = " or ".join(f"armSkuName eq {_quoted(one)}" for one in types)
        kind = "Reservation" if terms.startswith("reserved") else "Consumption"
        return (
            f"serviceName eq 'Virtual Machines' and armRegionName eq {_quoted(self._region)}"
            f" and priceType eq '{kind}' and ({names})"
        )

    def _read(self, items: Any, wanted: Mapping[str, str], terms: str) -> list[Quote]:
        found = []
        for item in items if isinstance(items, list) else ():
            name = wanted.get(str(item.get("armSkuName")).lower()) if _plain(item) else None
            if name is None or item.get("armRegionName") != self._region or _terms(item) != terms:
                continue
            amount = positive(item.get("retailPrice"))
            currency = item.get("currencyCode")
            hours = TERM_HOURS.get(terms)
            if hours is None and item.get("unitOfMeasure") != "1 Hour":
                continue
            if amount is None or not isinstance(currency, str):
                continue
            hourly = amount / hours if hours else amount
            found.append(Quote(name, hourly, currency, "hour", now_iso(), NAME, terms))
        return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _plain(item: Any) -> bool:
    """Whether it is a Linux machine's meter: no Windows, no cloud service, no dedicated host."""
    if not isinstance(item, dict):
        return False
    product = str(item.get("productName", ""))
    if any(word in product for word in ("Windows", "CloudServices", "Cloud Services", "Dedicated")):
        return False
    return positive(item.get("tierMinimumUnits")) is None


def _terms(item: Mapping[str, Any]) -> str:
    if item.get("type") == "Reservation":
        return _TERMS.get(str(item.get("reservationTerm")), "")
    if item.get("type") != "Consumption":
        return ""
    names = f"{item.get('skuName')} {item.get('meterName')}"
    if "Low Priority" in names:
        return ""
    return "spot" if "Spot" in names else "on_demand"
