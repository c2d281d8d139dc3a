"""Google's Cloud Billing Catalog: cores and memory have prices, machine types are their sums.

Shared-core types are sold as a fraction of a core. Types with further parts (GPUs, local disks)
are not priced here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from porter.domain.errors import Denied, Transient
from porter.domain.money import Quote
from porter.providers.prices.reading import now_iso, positive
from porter.providers.prices.shapes import COMMON, gcp_shape
from porter.providers.prices.web import Lists

ENDPOINT = "https://cloudbilling.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/cloud-billing.readonly"
COMPUTE = "services/6F81-5844-456A"
NAME = "google cloud billing catalog"
_USAGE = {
    "OnDemand": "on_demand",
    "Preemptible": "spot",
    "Commit1Yr": "reserved-1y",
    "Commit3Yr": "reserved-3y",
}
_PART = re.compile(
    r"(?:Spot )?(?:Preemptible )?(?P<family>N1 Predefined|[A-Z]\d[A-Z]?|Compute optimized)"
    r"(?: AMD| Arm)?(?: Instance)? (?P<part>Core|Ram) running in .+"
)
_COMMITMENT = re.compile(
    r"Commitment(?: v1)?: (?P<family>[A-Z]\d[A-Z]? |Compute optimized )?(?:AMD |Arm )?"
    r"(?P<part>Cpu|Core|Ram) (?:running )?in .+ for \d Years?"
)
_UNITS = {"cpu": "h", "ram": "GiBy.h"}
Key = tuple[str, str, str]
"""Family, `cpu` or `ram`, terms."""


class GcpCatalog:
    """Prices in one region. `authorise` gives the headers that let us in; it may raise Denied or
    Transient."""

    def __init__(
        self,
        region: str,
        authorise: Callable[[], Mapping[str, str]],
        endpoint: str = "",
        currency: str = "USD",
    ) -> None:
        self._region = region
        self._authorise = authorise
        self._currency = currency
        self._endpoint = (endpoint or ENDPOINT).rstrip("/")
        self.scope = f"{endpoint}|{currency}"

    def fetch(self, types: Sequence[str], terms: str) -> Mapping[str, Quote]:
        """Known prices of the types asked for, and of common ones: reading the catalogue takes
        long, and tells them all. Raises Transient, Denied."""
        parts, currency = self._parts(terms)
        found = {}
        for name in dict.fromkeys((*types, *COMMON)):
            shape = gcp_shape(name)
            if shape is None:
                continue
            core = parts.get((shape.family, "cpu", terms))
            gib = parts.get((shape.family, "ram", terms))
            if core is not None and gib is not None:
                amount = (core * shape.cpus + gib * shape.gib).quantize(Decimal("0.0000001"))
                found[name] = Quote(name, amount, currency, "hour", now_iso(), NAME, terms)
        return found

    def _parts(self, terms: str) -> tuple[dict[Key, Decimal], str]:
        found: dict[Key, Decimal] = {}
        currency = self._currency
        parameters = {"currencyCode": self._currency, "pageSize": "5000"}
        with Lists(NAME, self._endpoint, self._authorise()) as lists:
            while True:
                page = lists.page(f"{self._endpoint}/v1/{COMPUTE}/skus", parameters)
                for sku in _list(page.get("skus")):
                    read = self._sku(sku)
                    if read is not None and read[0][2] == terms:
                        key, amount, currency = read
                        found[key] = min(amount, found.get(key, amount))
                token = page.get("nextPageToken")
                if not token:
                    return found, currency
                parameters["pageToken"] = str(token)

    def _sku(self, sku: Any) -> tuple[Key, Decimal, str] | None:
        """None for whatever is not the price of cores or memory in our region."""
        try:
            if self._region not in sku["serviceRegions"]:
                return None
            terms = _USAGE.get(sku["category"]["usageType"])
            part = _part(sku["description"])
            if terms is None or part is None:
                return None
            expression = sku["pricingInfo"][-1]["pricingExpression"]
            (rate,) = [one for one in expression["tieredRates"] if _amount(one["unitPrice"])]
            amount = _amount(rate["unitPrice"])
            if amount is None or expression["usageUnit"] != _UNITS[part[1]]:
                return None
            return (*part, terms), amount, str(rate["unitPrice"]["currencyCode"])
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            return None  # a SKU of another shape says nothing of the others


def _part(description: str) -> tuple[str, str] | None:
    """Family and part, `("e2", "cpu")`. Custom, sole-tenant and premium parts match nothing."""
    found = _PART.fullmatch(description) or _COMMITMENT.fullmatch(description)
    if found is None:
        return None
    family = (found["family"] or "N1").strip()
    slug = "c2" if family == "Compute optimized" else family.split()[0].lower()
    return slug, "ram" if found["part"] == "Ram" else "cpu"


def _amount(money: Mapping[str, Any]) -> Decimal | None:
    units, nanos = Decimal(str(money.get("units") or 0)), Decimal(str(money.get("nanos") or 0))
    return positive(units + nanos / 10**9)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def authoriser(secrets: Mapping[str, str]) -> Callable[[], Mapping[str, str]]:
    """By the secret `pricing_api_key`, else by `service_account_json`, else by Application
    Default Credentials."""

    def authorise() -> Mapping[str, str]:
        if secrets.get("pricing_api_key"):
            return {"X-Goog-Api-Key": secrets["pricing_api_key"]}
        return {"Authorization": f"Bearer {_token(secrets.get('service_account_json', ''))}"}

    return authorise


def _token(key: str) -> str:
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    try:
        if key:
            made = service_account.Credentials.from_service_account_info(
                json.loads(key), scopes=[SCOPE]
            )
        else:
            made, _ = google.auth.default(scopes=[SCOPE])
        made.refresh(Request())
    except GoogleAuthError as error:
        kind = Transient if getattr(error, "retryable", False) else Denied
        raise kind(f"cannot read the {NAME}: no credential works") from None
    except (ValueError, TypeError, AttributeError):
        raise Denied(f"cannot read the {NAME}: the service account's key is broken") from None
    return str(made.token)
