"""Prices that somebody wrote down: a TOML file with types, hosts and traffic.

currency = "EUR"
as_of = 2026-11-01
[power]
price_kwh = 0.28            # per kWh
overhead = 1.4              # cooling and losses: what is paid for per watt used
[hosts.rack1]
watts = 180
purchase = 3200             # paid off in
months = 48
monthly = 25                # space, support
[types."m1.small"]
hour = 0.02
[egress]
internet = 0.05             # per GB; region and zone likewise
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from porter.domain.errors import Invalid, NotFound
from porter.domain.money import Quote, Tariff, Tier
from porter.providers.prices.reading import MONTH_HOURS, positive

_EXACT = Decimal("0.0000001")


@dataclass(frozen=True)
class PriceFile:
    """Read anew at every question: whoever edits it need not restart anything."""

    path: Path

    def quotes(self, types: Sequence[str], terms: str) -> Mapping[str, Quote]:
        """Known prices only. Raises NotFound, Invalid."""
        document = self._read()
        found = {}
        for name in types:
            quote = self._type(document, name, terms) or self._host(document, name, terms)
            if quote is not None:
                found[name] = quote
        return found

    def tariff(self, wanted: str) -> Tariff | None:
        """`wanted` is internet, region or zone; None if it says nothing. Raises NotFound,
        Invalid."""
        document = self._read()
        amount = _table(document, "egress").get(wanted)
        if amount is None:
            return None
        tiers = (Tier(Decimal(0), _number(amount, f"egress.{wanted}")),)
        return Tariff(tiers, document["currency"], document["as_of"], str(self.path))

    def _type(self, document: Mapping[str, Any], name: str, terms: str) -> Quote | None:
        key = "hour" if terms == "on_demand" else terms
        amount = positive(_table(_table(document, "types"), name).get(key))
        return None if amount is None else self._quote(document, name, amount, terms, "")

    def _host(self, document: Mapping[str, Any], name: str, terms: str) -> Quote | None:
        """Power, purchase and the rest, an hour; what it is made of is told in the source."""
        host = _table(_table(document, "hosts"), name)
        if not host or terms not in ("on_demand", "own"):
            return None
        total, parts, money = Decimal(0), [], document["currency"]
        if "watts" in host:
            power = _table(document, "power")
            watts = _number(host["watts"], f"hosts.{name}.watts")
            kwh = _number(power.get("price_kwh"), "power.price_kwh")
            overhead = _number(power.get("overhead", 1), "power.overhead")
            total += watts / 1000 * overhead * kwh
            parts.append(f"{watts} W × {overhead} × {kwh} {money}/kWh")
        if "purchase" in host:
            purchase = _number(host["purchase"], f"hosts.{name}.purchase")
            months = _number(host.get("months"), f"hosts.{name}.months")
            if not months:
                raise Invalid(f"cannot read {self.path}: hosts.{name}.months is 0")
            total += purchase / months / MONTH_HOURS
            parts.append(f"{purchase} {money} over {months} months")
        if "monthly" in host:
            monthly = _number(host["monthly"], f"hosts.{name}.monthly")
            total += monthly / MONTH_HOURS
            parts.append(f"{monthly} {money} a month")
        if total <= 0:
            return None
        return self._quote(document, name, total.quantize(_EXACT), "own", " + ".join(parts))

    def _quote(
        self, document: Mapping[str, Any], name: str, amount: Decimal, terms: str, sum_: str
    ) -> Quote:
        source = f"{self.path}: {sum_}" if sum_ else str(self.path)
        return Quote(name, amount, document["currency"], "hour", document["as_of"], source, terms)

    def _read(self) -> dict[str, Any]:
        try:
            document = tomllib.loads(self.path.read_text(), parse_float=Decimal)
            changed = datetime.fromtimestamp(self.path.stat().st_mtime, UTC).date()
        except FileNotFoundError:
            raise NotFound(f"cannot find the price file {self.path}") from None
        except (OSError, ValueError) as error:
            raise Invalid(f"cannot read the price file {self.path}: {error}") from error
        as_of = document.get("as_of", changed)
        currency = document.get("currency")
        if not isinstance(currency, str) or not currency:
            raise Invalid(f"cannot read {self.path}: no currency", 'write currency = "EUR"')
        text = as_of.isoformat() if isinstance(as_of, date) else str(as_of)
        return {**document, "currency": currency, "as_of": text}


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def _number(value: Any, what: str) -> Decimal:
    """Zero or more. Raises Invalid."""
    known = isinstance(value, int | Decimal) and not isinstance(value, bool)
    amount = Decimal(value) if known else None
    if amount is None or not amount.is_finite() or amount < 0:
        raise Invalid(f"cannot read the price file: {what} is {value!r}", "write a number")
    return amount
