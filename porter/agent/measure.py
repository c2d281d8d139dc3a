"""Times on this host's monotonic clock, in milliseconds."""

from __future__ import annotations

import time

from porter.domain.migration import Phase


def milliseconds_since(start: float) -> float:
    """From a time.monotonic() value to now."""
    return round((time.monotonic() - start) * 1000, 3)


class Stopwatch:
    """Consecutive phases; the total is from the first `begin` to `stop`."""

    def __init__(self) -> None:
        self._phases: list[Phase] = []
        self._started: float | None = None
        self._phase = ""
        self._phase_started = 0.0
        self._total: float | None = None

    def begin(self, phase: str) -> None:
        """End the running phase and begin the next."""
        self._end_phase()
        self._phase, self._phase_started = phase, time.monotonic()
        if self._started is None:
            self._started = self._phase_started

    def stop(self) -> None:
        """End the running phase and the whole. Does nothing if nothing began."""
        self._end_phase()
        if self._started is not None and self._total is None:
            self._total = milliseconds_since(self._started)

    def split(self, phase: str, part: str, ms: float) -> None:
        """Say that the first `ms` of the running phase were really another `part`."""
        if self._phase == phase:
            ms = max(0.0, min(ms, milliseconds_since(self._phase_started)))
            self._phases.append(Phase(part, ms))
            self._phase_started += ms / 1000

    @property
    def total_ms(self) -> float | None:
        """None if nothing was measured; so far, if it has not been stopped."""
        if self._total is None and self._started is not None:
            return milliseconds_since(self._started)
        return self._total

    def phases(self) -> tuple[Phase, ...]:
        return tuple(self._phases)

    def _end_phase(self) -> None:
        if self._phase:
            self._phases.append(Phase(self._phase, milliseconds_since(self._phase_started)))
            self._phase = ""
