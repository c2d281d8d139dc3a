"""Connections that end at a chosen message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from porter.agent.peer_wire import Wire

WORDS = {"hello", "welcome", "manifest", "state", "finished", "end", "probe", "probed", "error"}


class Breaks:
    """Counts what both agents say, and cuts the connection at the n-th word."""

    def __init__(self, at: int, after: bool) -> None:
        self.said = 0
        self._at = at
        self._after = after

    def note(self) -> bool:
        self.said += 1
        return self.said == self._at

    @contextmanager
    def installed(self) -> Iterator[None]:
        """For all connections in this process."""
        send, breaks = Wire.send, self

        def breaking(wire: Wire, header: dict[str, Any], payload: Any = b"") -> None:
            now = header.get("t") in WORDS and breaks.note()
            if now and not breaks._after:
                wire.cut()
            send(wire, header, payload)
            if now:
                wire.cut()

        Wire.send = breaking  # type: ignore[method-assign]
        try:
            yield
        finally:
            Wire.send = send  # type: ignore[method-assign]
