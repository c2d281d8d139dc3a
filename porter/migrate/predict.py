"""A move's forecast as it is kept, shown and held against its receipt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from porter.domain.estimate import Accuracy, Features, Range, Ranges, accuracy
from porter.domain.money import Tariff
from porter.domain.rules import SECONDS, Expected
from porter.migrate.costs import GB

_FINE = Decimal("0.000001")
FIGURES = ("downtime", "total", "wire", "cost")
"""What is forecast and measured, as `forecast_error` names it."""
_KEYS = {"downtime": "downtime_ms", "total": "total_ms"}


@dataclass(frozen=True)
class Cost:
    """Of the traffic, once. Amounts are None where nobody can tell: `source` then says why."""

    low: Decimal | None
    likely: Decimal | None
    high: Decimal | None
    currency: str
    source: str
    as_of: str = ""

    @classmethod
    def of(cls, tariff: Tariff, wire: Range) -> Cost:
        ends = [tariff.cost(Decimal(round(one)) / GB) for one in asdict(wire).values()]
        low, likely, high = (None if one is None else one.quantize(_FINE) for one in ends)
        return cls(low, likely, high, tariff.currency, tariff.source, tariff.as_of)

    @classmethod
    def unknown(cls, why: str) -> Cost:
        return cls(None, None, None, "", why)

    def as_dict(self) -> dict[str, str | None]:
        raw = asdict(self)
        for key in ("low", "likely", "high"):
            raw[key] = None if raw[key] is None else format(raw[key], "f")
        return raw


@dataclass(frozen=True)
class Prediction:
    """What is expected of one move, and what that rests on."""

    features: Features
    ranges: Ranges
    cost: Cost

    def downtime(self) -> Expected:
        """For policies; in seconds."""
        told = (self.ranges.downtime_ms.low, self.ranges.downtime_ms.likely)
        low, likely, high = (
            Decimal(str(round(one / 1000, 4))) for one in (*told, self.ranges.downtime_ms.high)
        )
        return Expected(low, likely, high, SECONDS, self.ranges.doubt)

    def once(self) -> Expected:
        """For policies: what the move costs once. Nothing is known to be free of doubt only where
        the bytes are."""
        cost = self.cost
        if cost.likely is None:
            return Expected(None, None, None, cost.currency, cost.source or "nobody could tell")
        doubt = self.ranges.doubt if cost.high else ""
        return Expected(cost.low, cost.likely, cost.high, cost.currency, doubt)

    def public(self) -> dict[str, Any]:
        """As people and programs see it."""
        ranges = self.ranges
        return {
            "downtime_ms": _rounded(ranges.downtime_ms, 1),
            "total_ms": _rounded(ranges.total_ms, 1),
            "wire": _rounded(ranges.wire, 0),
            "cost": self.cost.as_dict(),
            "failure": round(ranges.failure, 4),
            "known": not ranges.doubt,
            "basis": ranges.basis,
        }

    def as_dict(self) -> dict[str, Any]:
        """As it is kept with a migration."""
        known = {"memory": self.features.memory, "files": self.features.files}
        return {**self.public(), "features": {**known, "image": self.features.image}}


def _rounded(told: Range, digits: int) -> dict[str, float]:
    return {key: round(value, digits) for key, value in asdict(told).items()}


def shown(kept: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What is kept with a migration, without what only the model needs."""
    return None if kept is None else {k: v for k, v in kept.items() if k != "features"}


def compared(
    forecast: Mapping[str, Any], receipt: Mapping[str, Any]
) -> Iterator[tuple[str, Range, float]]:
    """Figure, forecast and what it came to, of all that both know and that is not 0."""
    for name, real in _real(receipt).items():
        said = _range(forecast.get(_KEYS.get(name, name)))
        if said is None or real is None or min(said.likely, real) <= 0:
            continue
        if name == "cost" and _currency(forecast.get("cost")) != _currency(_egress(receipt)):
            continue
        yield name, said, real


def errors(forecast: Mapping[str, Any] | None, receipt: Mapping[str, Any]) -> dict[str, float]:
    """What it came to over what was likely: 1 is exact, 2 twice as much."""
    told = compared(forecast or {}, receipt)
    return {name: float(f"{real / said.likely:.4g}") for name, said, real in told}


def judged(kept: list[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Accuracy]:
    """How good forecasts were, figure by figure."""
    found: dict[str, list[tuple[Range, float]]] = {name: [] for name in FIGURES}
    for forecast, receipt in kept:
        for name, said, real in compared(forecast, receipt):
            found[name].append((said, real))
    return {name: accuracy(told) for name, told in found.items()}


def _real(receipt: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        "downtime": _number(receipt.get("downtime_ms")),
        "total": _number(receipt.get("total_ms")),
        "wire": _number((receipt.get("bytes") or {}).get("wire")),
        "cost": _number(_egress(receipt).get("amount")),
    }


def _egress(receipt: Mapping[str, Any]) -> Mapping[str, Any]:
    return (receipt.get("cost") or {}).get("egress") or {}


def _currency(told: Mapping[str, Any] | None) -> str:
    return str((told or {}).get("currency") or "")


def _range(told: Any) -> Range | None:
    ends = [_number((told or {}).get(key)) for key in ("low", "likely", "high")]
    low, likely, high = ends
    if low is None or likely is None or high is None:
        return None
    return Range(low, likely, high)


def _number(told: Any) -> float | None:
    try:
        return None if told is None else float(Decimal(str(told)))
    except InvalidOperation:
        return None
