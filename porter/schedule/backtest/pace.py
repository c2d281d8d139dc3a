"""How often the schedule may move: rest between two moves of a workload, and moves an hour and a
day. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from porter.domain.units import duration
from porter.schedule.optimiser.model import Bar

HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Pace:
    cool_down_s: float
    per_hour: int
    per_day: int

    def resting(self, moved: float | None, now: float) -> Bar | None:
        """Why a workload that was moved at a time may not move again yet."""
        left = 0.0 if moved is None else moved + self.cool_down_s - now
        if left <= 0:
            return None
        rest = duration(self.cool_down_s * 1000)
        return Bar(
            "cool-down",
            f"it rests for {rest} after a move",
            f"wait for {duration(left * 1000)}, or lower budget.cool_down of its policy",
        )

    def left(self, begun: Sequence[float], now: float) -> int:
        """So many moves may begin now, after those that the schedule began at these times."""
        hour = sum(now - HOUR < time <= now for time in begun)
        day = sum(now - DAY < time <= now for time in begun)
        return max(0, min(self.per_hour - hour, self.per_day - day))
