"""What moving costs, as receipts of past moves measured it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from porter.domain.errors import Invalid
from porter.domain.migration import FINAL, MigrationState

GB = 10**9
_FINAL = frozenset(map(str, FINAL))
LEAST = 3
"""Fewer receipts than that say nothing."""


@dataclass(frozen=True)
class MoveCosts:
    """Straight lines: a fixed part, and one for every GB of memory."""

    fixed_s: float
    s_per_gb: float
    downtime_s: float
    downtime_s_per_gb: float
    wire_per_byte: float
    """Bytes on the wire for each byte of memory and files."""
    failure_rate: float
    """Share of moves that are rolled back."""
    receipts: int
    """From so many."""
    source: str

    def seconds(self, memory: float) -> float:
        return self.fixed_s + self.s_per_gb * memory / GB

    def downtime(self, memory: float) -> float:
        """Seconds."""
        return self.downtime_s + self.downtime_s_per_gb * memory / GB


def documents(text: str) -> list[dict[str, Any]]:
    """JSON documents one after another, as `porter migration ls --json` and several
    `porter migration show ID --json` print them. Raises Invalid."""
    decoder, place, found = json.JSONDecoder(), 0, list[dict[str, Any]]()
    text = text.strip()
    while place < len(text):
        try:
            one, place = decoder.raw_decode(text, place)
        except ValueError as error:
            raise Invalid(f"cannot read receipts: {error}", "give what --json printed") from error
        many = one.get("items", [one]) if isinstance(one, dict) else one
        if not isinstance(many, list) or not all(isinstance(each, dict) for each in many):
            raise Invalid("cannot read receipts: this JSON holds none", "give what --json printed")
        found += many
        while place < len(text) and text[place].isspace():
            place += 1
    return found


def from_receipts(found: Sequence[Mapping[str, Any]], source: str) -> MoveCosts:
    """From receipts. Lists of migrations do not tell bytes and times: these count only for how
    often moves fail. Moves that were undone or lost count as failures, those that still run or are
    held not at all. The failure rate is (failures + 1) / (moves + 2): few receipts prove nothing.
    Raises Invalid."""
    final: dict[str, Mapping[str, Any]] = {}
    for number, one in enumerate(found):
        identity = str(one.get("id", number))
        if str(one.get("state")) in _FINAL and ("bytes" in one or identity not in final):
            final[identity] = one
    done = [one for one in final.values() if one["state"] == MigrationState.SUCCEEDED]
    try:
        rows = [_row(one) for one in done if one.get("downtime_ms") is not None]
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid(f"cannot read a receipt: {error} is missing or no number") from error
    if len(rows) < LEAST:
        raise Invalid(
            f"cannot tell what moves cost from {len(rows)} measured moves",
            f"at least {LEAST} receipts of moves that succeeded are needed",
        )
    sizes = [row.memory / GB for row in rows]
    fixed, slope = line(sizes, [row.seconds for row in rows])
    pause, pause_slope = line(sizes, [row.downtime for row in rows])
    sent = sum(row.memory + row.files for row in rows)
    wire = sum(row.wire for row in rows) / sent if sent else 1.0
    failed = (len(final) - len(done) + 1) / (len(final) + 2)
    return MoveCosts(fixed, slope, pause, pause_slope, wire, failed, len(rows), source)


@dataclass(frozen=True)
class _Row:
    seconds: float
    downtime: float
    memory: float
    files: float
    wire: float


def _row(receipt: Mapping[str, Any]) -> _Row:
    moved = receipt["bytes"]
    return _Row(
        float(receipt["total_ms"]) / 1000,
        float(receipt["downtime_ms"]) / 1000,
        float(moved["memory"]),
        float(moved.get("files") or 0) + float(moved.get("image") or 0),
        float(moved["wire"]),
    )


def line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Least squares; neither the fixed part nor the slope is below 0. If all sizes are alike, half
    of the median counts as fixed, as nothing tells the parts from each other."""
    mean_x, mean_y = fmean(xs), fmean(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    if spread < 1e-6 * len(xs):
        half = median(ys) / 2
        return half, (half / mean_x if mean_x > 0 else 0.0)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    if slope < 0:
        return mean_y, 0.0
    fixed = mean_y - slope * mean_x
    return (fixed, slope) if fixed >= 0 else (0.0, mean_y / mean_x)
