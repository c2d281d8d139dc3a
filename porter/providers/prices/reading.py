"""What all readers of price lists share."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from porter.domain.money import Quote

TERM_HOURS = {"reserved-1y": Decimal(365 * 24), "reserved-3y": Decimal(3 * 365 * 24)}
"""Hours in a term, as the clouds count them."""
_ABSURD = Decimal(10) ** 9
MONTH_HOURS = Decimal(730)


def positive(value: Any) -> Decimal | None:
    """A price, exact; None for zero, for what is no number, and for what cannot be a price."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 < amount < _ABSURD else None


def exact(quote: Quote) -> Decimal:
    """The amount of a quote that is known."""
    assert quote.amount is not None
    return quote.amount


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
