"""Marks, exchange rates and drift: what the port authority reckons by itself."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from porter.domain.errors import Invalid
from porter.domain.money import Quote
from porter.migrate.places import Places
from porter.schedule.priced import PriceBook
from porter.schedule.rates import Rates, load
from porter.schedule.rules import marks


class Empty:
    """A book without any site."""

    def get(self, name: str) -> object:
        raise AssertionError(name)

    def all(self) -> list[object]:
        return []


def book(rates: Rates = Rates()) -> PriceBook:
    return PriceBook(Places(Empty(), lambda a, b: {}, lambda c: None), rates)  # type: ignore[arg-type,return-value]


def test_marks_join_what_names_each_other() -> None:
    wishes = {
        "shop-1": ["db-*"],
        "shop-2": [],
        "db-a": [],
        "db-b": ["cache"],
        "cache": [],
        "alone": ["nobody-*"],
        "self": ["self"],
    }
    found = marks(wishes)
    assert found["shop-1"] == found["db-a"] == found["db-b"] == found["cache"] != ""
    assert found["shop-2"] == found["alone"] == found["self"] == ""


def test_groups_that_meet_later_become_one() -> None:
    found = marks({"a": ["b"], "c": ["d"], "b": [], "d": [], "z": ["a", "d"]})
    assert len(set(found.values())) == 1


RATES = 'as_of = 2026-09-01\nsource = "our bank"\n[rates]\nEUR_USD = 1.08\n'


def test_rates_lead_both_ways_and_say_where_from(tmp_path: Path) -> None:
    file = tmp_path / "rates.toml"
    file.write_text(RATES)
    rates = load(file)
    there = rates.rate("EUR", "USD")
    assert there is not None
    assert (there.per, there.as_of, there.source) == (Decimal("1.08"), "2026-09-01", "our bank")
    back = rates.rate("USD", "EUR")
    assert back is not None
    assert back.per * there.per == pytest.approx(Decimal(1))
    assert rates.rate("EUR", "GBP") is None
    assert load(None).known == {}


def test_rates_of_both_ways_stay_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "rates.toml"
    file.write_text(RATES + "USD_EUR = 0.9\n")
    back = load(file).rate("USD", "EUR")
    assert back is not None
    assert back.per == Decimal("0.9")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[rates]\nEUR_USD = 1.08\n",
        "as_of = 2026-09-01\n",
        "as_of = 2026-09-01\n[rates]\nEURUSD = 1.08\n",
        "as_of = 2026-09-01\n[rates]\nEUR_USD = 0\n",
        "as_of = 2026-09-01\n[rates]\nEUR_USD = true\n",
        'as_of = 2026-09-01\n[rates]\nEUR_USD = "1.08"\n',
        "as_of = ",
    ],
)
def test_wrong_rates_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rates.toml"
    file.write_text(text)
    with pytest.raises(Invalid, match="cannot read the exchange rates"):
        load(file)


def test_missing_rates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="PORTER_RATES"):
        load(tmp_path / "nothing.toml")


def quote(amount: str | None, currency: str) -> Quote:
    told = None if amount is None else Decimal(amount)
    return Quote("small", told, currency, "hour", "2026-01-01", "a list")


def test_nothing_is_converted_without_a_rate(tmp_path: Path) -> None:
    priced = book().reckon(quote("1.00", "EUR"), "USD")
    assert priced.amount is None
    assert "EUR" in priced.why
    assert book().reckon(quote(None, ""), "USD").why == "a list"
    assert book().reckon(quote("0", "EUR"), "USD").amount == 0
    file = tmp_path / "rates.toml"
    file.write_text(RATES)
    rated = book(load(file)).reckon(quote("2.00", "EUR"), "USD")
    assert rated.amount == Decimal("2.16")
    assert rated.as_dict()["amount"] == "2.00"
    assert rated.as_dict()["rate"]["rate"] == "1.08"
