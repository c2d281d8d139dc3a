"""Values that hold from one time until the next: prices, memory."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from porter.domain.errors import Invalid


@dataclass(frozen=True)
class Series:
    """Piecewise constant; times are seconds since 1970, ascending. Before its first time it has the
    first value, after its last time the last."""

    times: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.times or len(self.times) != len(self.values):
            raise Invalid("cannot use a series without values", "give each time one value")
        if any(b <= a for a, b in pairwise(self.times)):
            raise Invalid("cannot use a series whose times do not ascend", "sort its points")

    def at(self, time: float) -> float:
        return self.values[max(0, bisect_right(self.times, time) - 1)]

    def mean(self, begin: float, end: float) -> float:
        """Over time; at `begin` if no time passes."""
        if end <= begin:
            return self.at(begin)
        return (self._sum(end) - self._sum(begin)) / (end - begin)

    def top(self, begin: float, end: float) -> float:
        """The highest value that holds at some moment of begin ≤ t < end."""
        first = max(0, bisect_right(self.times, begin) - 1)
        last = max(first, bisect_right(self.times, end) - 1)
        if last > first and self.times[last] == end:
            last -= 1
        return max(self.values[first : last + 1])

    def until(self, time: float) -> Series:
        """What was known at `time`."""
        end = max(1, bisect_right(self.times, time))
        return self if end == len(self.times) else Series(self.times[:end], self.values[:end])

    @cached_property
    def _sums(self) -> tuple[float, ...]:
        gaps = (b - a for a, b in pairwise(self.times))
        parts = (value * gap for value, gap in zip(self.values, gaps, strict=False))
        return tuple(accumulate(parts, initial=0.0))

    def _sum(self, time: float) -> float:
        """Value times seconds since the first time."""
        place = max(0, bisect_right(self.times, time) - 1)
        return self._sums[place] + self.values[place] * (time - self.times[place])


def flat(value: float, since: float = 0.0) -> Series:
    return Series((since,), (value,))
