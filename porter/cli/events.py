"""A migration's events as the command line reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from porter.client.sse import Frame


@dataclass(frozen=True)
class Event:
    """One thing that happened in a migration. `data` depends on `kind`."""

    id: str
    kind: str
    at: str
    message: str
    data: dict[str, Any]


def parse_events(stream: Iterable[Frame]) -> Iterator[Event]:
    """The events of a migration's stream."""
    for frame in stream:
        if not frame.data:
            continue
        raw = json.loads(frame.data)
        yield Event(
            id=frame.id or str(raw.get("id", "")),
            kind=str(raw.get("kind", "")),
            at=str(raw.get("at", "")),
            message=str(raw.get("message") or ""),
            data=raw.get("data") or {},
        )
