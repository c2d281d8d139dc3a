"""Where a workload has been, from its migrations. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from porter.domain.migration import FINAL


@dataclass(frozen=True)
class Stay:
    """Time on one host. `since` and `until` are as the API writes times; None: not known, or it
    is still there."""

    host: str
    since: str | None
    until: str | None
    arrived_by: str | None
    """The migration that brought it."""


def stays(migrations: list[dict[str, Any]], host: str | None) -> list[Stay]:
    """Newest first. `migrations` newest first, as the API lists them; `host` is where it is."""
    moved = [one for one in migrations if one.get("state") == "succeeded"]
    found: list[Stay] = []
    until: str | None = None
    here = host
    for one in moved:
        if here is not None and one["to"] != here:
            # It came here otherwise: it was made anew, or restored from a checkpoint.
            found.append(Stay(here, None, until, None))
            until = None
        found.append(Stay(str(one["to"]), one.get("finished_at"), until, str(one["id"])))
        here, until = str(one["from"]), one.get("finished_at")
    if here is not None:
        found.append(Stay(here, None, until, None))
    return found


def active(migrations: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The one that is under way."""
    return next((one for one in migrations if one.get("state") not in FINAL), None)
