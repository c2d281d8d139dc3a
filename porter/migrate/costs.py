"""What a move cost, and what the target costs: sums with their sources, never a guess."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from porter.db.base import HostRecord
from porter.domain.errors import PorterError
from porter.migrate.places import Places

GB = Decimal(10**9)


def egress(places: Places, source: HostRecord, target: HostRecord, wire: int) -> dict[str, Any]:
    """Price of the bytes that left the source's site. `amount` is None where nobody could tell."""
    told: dict[str, Any] = {"bytes": wire, "amount": None, "currency": "", "as_of": ""}
    if source.site == target.site:
        return {**told, "amount": "0", "source": "both hosts are at one site"}
    try:
        here, there = places.open(source.site), places.get(target.site)
        if here.egress is None:
            return {**told, "source": f"{source.site} has no tariff"}
        tariff = here.egress.tariff(there.kind, there.region)
    except PorterError as error:
        return {**told, "source": error.message}
    cost = tariff.cost(wire / GB)
    return {
        **told,
        "amount": None if cost is None else str(cost.quantize(Decimal("0.000001"))),
        "currency": tariff.currency,
        "as_of": tariff.as_of,
        "source": tariff.source,
    }
