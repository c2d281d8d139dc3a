"""Keeps what was opened for as long as what it was opened with stays the same."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Opened(Generic[T]):
    """By name. Thread-safe; two that open the same at once may both do it, and one is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[object, T]] = {}

    def get(self, name: str, with_what: object, make: Callable[[], T]) -> T:
        """What was opened under a name with this; else it is made anew."""
        with self._lock:
            known = self._known.get(name)
        if known is not None and known[0] == with_what:
            return known[1]
        made = make()
        with self._lock:
            self._known[name] = (with_what, made)
        return made
