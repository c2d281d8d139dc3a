"""Prices of one run in one currency, each with the quote that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from porter.domain.errors import PorterError
from porter.domain.money import Quote, Tariff
from porter.migrate.costs import GB
from porter.migrate.places import Places
from porter.schedule.expected import PriceForecast
from porter.schedule.rates import Rate, Rates

FINE = Decimal("0.000001")
ON_DEMAND, SPOT = "on_demand", "spot"


@dataclass(frozen=True)
class Priced:
    """`amount` in the run's currency; None where that is not known: `why` then says why not."""

    quote: Quote
    amount: Decimal | None
    rate: Rate | None
    """How it was reckoned from the quote's currency; None where that is the same."""
    why: str = ""
    forecast: PriceForecast | None = None
    """In the quote's currency. None where nothing was seen that says it changes: it stays."""

    @property
    def likely(self) -> Decimal | None:
        """What it is expected to be on average over the horizon, in the run's currency."""
        if self.forecast is None or self.amount is None:
            return self.amount
        return self.forecast.amount * (Decimal(1) if self.rate is None else self.rate.per)

    def as_dict(self) -> dict[str, Any]:
        quote = self.quote
        told: dict[str, Any] = {
            "item": quote.item,
            "amount": plain(quote.amount),
            "currency": quote.currency,
            "unit": quote.unit,
            "terms": quote.terms,
            "as_of": quote.as_of,
            "source": quote.source,
        }
        if self.rate is not None:
            told["rate"] = self.rate.as_dict()
        if self.forecast is not None:
            told["expected"] = self.forecast.as_dict()
        return told


def plain(amount: Decimal | None) -> str | None:
    """An exact amount as JSON takes it."""
    return None if amount is None else format(amount, "f")


Expect = Callable[[str, Quote], PriceForecast | None]
"""Takes a site and what it tells now."""


def _stays(_site: str, _quote: Quote) -> PriceForecast | None:
    return None


class PriceBook:
    """Asks each site once for each price. Prices may take long to be read. Raises nothing."""

    def __init__(self, places: Places, rates: Rates, expect: Expect = _stays) -> None:
        self._places = places
        self._rates = rates
        self._expect = expect
        self._quotes: dict[tuple[str, str, str], Quote] = {}
        self._tariffs: dict[tuple[str, str], Tariff] = {}

    def ask(self, site: str, items: Sequence[str], terms: str = ON_DEMAND) -> None:
        """Read several prices with one call."""
        new = [item for item in items if (site, item, terms) not in self._quotes]
        if not new:
            return
        try:
            pricing = self._places.open(site).pricing
            found = {} if pricing is None else dict(pricing.quotes(new, terms))
            why = f"no prices of {site} are known"
        except PorterError as error:
            found, why = {}, str(error)
        for item in new:
            unknown = Quote(item, None, "", "hour", "", why, terms)
            self._quotes[site, item, terms] = found.get(item, unknown)

    def quote(self, site: str, item: str, terms: str = ON_DEMAND) -> Quote:
        self.ask(site, [item], terms)
        return self._quotes[site, item, terms]

    def currencies(self) -> list[str]:
        """Of the quotes that were read."""
        return [one.currency for one in self._quotes.values() if one.amount is not None]

    def read(self) -> Iterator[tuple[str, Quote]]:
        """All quotes that were read, with their sites."""
        return ((site, quote) for (site, _, _), quote in self._quotes.items())

    def price(self, site: str, item: str, terms: str, currency: str) -> Priced:
        """With what it is expected to be."""
        quote = self.quote(site, item, terms)
        return replace(self.reckon(quote, currency), forecast=self._expect(site, quote))

    def reckon(self, quote: Quote, currency: str) -> Priced:
        if quote.amount is None:
            return Priced(quote, None, None, quote.source)
        if quote.amount == 0 or quote.currency == currency:
            return Priced(quote, quote.amount, None)
        rate = self._rates.rate(quote.currency, currency)
        if rate is None:
            why = f"it is told in {quote.currency}, and no rate to {currency} is set"
            return Priced(quote, None, None, why)
        return Priced(quote, quote.amount * rate.per, rate)

    def traffic(self, source: str, target: str, size: int, currency: str) -> Priced:
        """What so many bytes cost once that leave one site for another."""
        if source == target:
            free = Quote("egress", Decimal(0), currency, "move", "", "both hosts are at one site")
            return Priced(free, Decimal(0), None)
        tariff = self._tariff(source, target)
        cost = tariff.cost(size / GB)
        amount = None if cost is None else cost.quantize(FINE)
        quote = Quote("egress", amount, tariff.currency, "move", tariff.as_of, tariff.source)
        return self.reckon(quote, currency)

    def _tariff(self, source: str, target: str) -> Tariff:
        key = (source, target)
        if key not in self._tariffs:
            try:
                to, egress = self._places.get(target), self._places.open(source).egress
                self._tariffs[key] = (
                    Tariff((), "", "", f"{source} has no tariff")
                    if egress is None
                    else egress.tariff(to.kind, to.region)
                )
            except PorterError as error:
                self._tariffs[key] = Tariff((), "", "", str(error))
        return self._tariffs[key]
