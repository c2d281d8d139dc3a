"""Server-sent events as the command line reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """One thing that happened in a migration. `data` depends on `kind`."""

    id: str
    kind: str
    at: str
    message: str
    data: dict[str, Any]


def parse_events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events from their lines. Comments (heartbeats) are passed over."""
    identity, data = "", []
    for line in lines:
        if line.startswith("id:"):
            identity = line[3:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            raw = json.loads("\n".join(data))
            data = []
            yield Event(
                id=identity or str(raw.get("id", "")),
                kind=str(raw.get("kind", "")),
                at=str(raw.get("at", "")),
                message=str(raw.get("message") or ""),
                data=raw.get("data") or {},
            )
