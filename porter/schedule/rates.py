"""Exchange rates as the operator wrote them down: without them nothing is ever converted.

The file (`PORTER_RATES`) is TOML:

    as_of = 2026-09-01
    source = "our bank"

    [rates]
    EUR_USD = 1.08      # one EUR is 1.08 USD; the other way round follows from it
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

from porter.domain.errors import Invalid

_PAIR = re.compile(r"([A-Z]{3})_([A-Z]{3})")


@dataclass(frozen=True)
class Rate:
    """One unit of `base` is `per` of `to`."""

    base: str
    to: str
    per: Decimal
    as_of: str
    source: str

    def as_dict(self) -> dict[str, str]:
        return {
            "from": self.base,
            "to": self.to,
            "rate": format(self.per, "f"),
            "as_of": self.as_of,
            "source": self.source,
        }


@dataclass(frozen=True)
class Rates:
    """Those that are known. None at all: only amounts of one currency can be compared."""

    known: Mapping[tuple[str, str], Rate] = field(default_factory=dict)

    def rate(self, base: str, to: str) -> Rate | None:
        """How to reckon one currency in another; None: nobody said."""
        if base == to:
            return Rate(base, to, Decimal(1), "", "the same currency")
        return self.known.get((base, to))


def load(path: Path | None) -> Rates:
    """Raises Invalid for a file that is missing or cannot be read."""
    if path is None:
        return Rates()
    what = f"cannot read the exchange rates in {path}"
    try:
        document = tomllib.loads(path.read_text(), parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise Invalid(f"{what}: {error}", "mend the file, or unset PORTER_RATES") from error
    as_of, rates = document.get("as_of"), document.get("rates")
    if not isinstance(as_of, date | str) or not as_of or not isinstance(rates, dict):
        raise Invalid(f"{what}: it needs as_of, a date, and a table [rates]")
    source = str(document.get("source", path))
    known: dict[tuple[str, str], Rate] = {}
    for name, value in rates.items():
        pair = _PAIR.fullmatch(name)
        good = isinstance(value, Decimal | int) and not isinstance(value, bool)
        if pair is None or not good or not 0 < Decimal(value) < 10**9:
            raise Invalid(f"{what}: {name} = {value}", "write it like EUR_USD = 1.08")
        base, to = pair[1], pair[2]
        per = Decimal(value)
        known[base, to] = Rate(base, to, per, str(as_of), source)
        known.setdefault((to, base), Rate(to, base, 1 / per, str(as_of), source))
    return Rates(known)
