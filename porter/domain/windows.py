"""Change windows: when they open, by the wall clock of a time zone. Pure; times are seconds UTC.

A window opens whenever its cron expression says so and stays open for a length of real time, so a
clock that is put forward or back makes it neither longer nor shorter. What would open in an hour
that is left out opens right after it; in an hour that comes twice, at its first coming only, unless
the expression names no fixed hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from porter.domain.errors import Invalid

_HORIZON = 2 * 366 * 86400
_TURNS = 400


@dataclass(frozen=True)
class Window:
    cron: str
    """Five fields, as for cron."""
    zone: str
    """`Europe/Berlin`, `UTC` …"""
    seconds: int
    """How long it stays open."""

    def __str__(self) -> str:
        return f"{self.cron} {self.zone} for {self.seconds // 60} min"


def checked(window: Window) -> Window:
    """The window itself. Raises Invalid if it can never open."""
    try:
        zone = ZoneInfo(window.zone)
    except (KeyError, ValueError, OSError) as error:
        raise Invalid(
            f"cannot read the time zone {window.zone!r}", "write it like Europe/Berlin or UTC"
        ) from error
    if len(window.cron.split()) != 5:
        raise Invalid(
            f"cannot read the cron expression {window.cron!r}: it needs five fields",
            "write minute, hour, day of month, month and day of week, like `0 2 * * sat`",
        )
    try:
        first = next(CronSim(window.cron, datetime(2024, 1, 1, tzinfo=zone)), None)
    except (CronSimError, AssertionError) as error:
        why = str(error) or "it is malformed"
        raise Invalid(f"cannot read the cron expression {window.cron!r}: {why}") from error
    if first is None:
        raise Invalid(f"cannot use the cron expression {window.cron!r}: it never comes true")
    return window


def is_open(windows: Sequence[Window], now: float) -> bool:
    """Whether one of them is open."""
    return any(_first(window, now - window.seconds) <= now for window in windows)


def next_open(sets: Sequence[Sequence[Window]], now: float) -> float | None:
    """The next moment, `now` included, at which of every set one window is open; None if there is
    none within two years."""
    at = now
    for _ in range(_TURNS):
        later = max((_opens(windows, at) for windows in sets), default=at)
        if later == at:
            return at
        if later > now + _HORIZON:
            return None
        at = later
    return None


def last_opening(cron: str, zone: str, after: float, until: float) -> float | None:
    """The last time that an expression comes true after a moment and not after another; None if it
    does not."""
    found = None
    for at in _openings(Window(cron, zone, 60), after):
        if at > until:
            break
        found = at
    return found


def next_opening(cron: str, zone: str, after: float) -> float | None:
    """The first time that an expression comes true after a moment."""
    return next(_openings(Window(cron, zone, 60), after), None)


def _opens(windows: Sequence[Window], at: float) -> float:
    if is_open(windows, at):
        return at
    return min(_first(window, at) for window in windows)


def _first(window: Window, after: float) -> float:
    """When it opens for the first time after a moment."""
    return next(_openings(window, after), float("inf"))


def _openings(window: Window, after: float) -> Iterator[float]:
    # From the whole second: a moment just before a minute would be rounded up and pass it by.
    # In the hour that comes twice, the expression's next time by the wall clock may lie behind us.
    begin = datetime.fromtimestamp(floor(after), ZoneInfo(window.zone))
    for tick in CronSim(window.cron, begin):
        at = tick.timestamp()
        if at > after:
            yield at
