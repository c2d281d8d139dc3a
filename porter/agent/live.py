"""What is going on right now, by migration: handovers on the source, sessions on the target."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from porter.domain.errors import Conflict


class Live:
    """At most one activity per migration; others can wait for its end or break it off."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._cancels: dict[str, Callable[[str], None]] = {}

    @contextmanager
    def activity(self, migration: str, cancel: Callable[[str], None]) -> Iterator[None]:
        """Hold the migration for the duration; `cancel(why)` must make the activity end soon.

        Raises Conflict if something is going on with the migration already.
        """
        with self._changed:
            if migration in self._cancels:
                raise Conflict(f"cannot begin: migration {migration} is at work on this host")
            self._cancels[migration] = cancel
        try:
            yield
        finally:
            with self._changed:
                del self._cancels[migration]
                self._changed.notify_all()

    def busy(self, migration: str) -> bool:
        with self._changed:
            return migration in self._cancels

    def any(self) -> bool:
        with self._changed:
            return bool(self._cancels)

    def cancel(self, migration: str, why: str) -> None:
        """Ask the activity, if there is one, to end."""
        with self._changed:
            cancel = self._cancels.get(migration)
        if cancel is not None:
            cancel(why)

    def cancel_all(self, why: str) -> None:
        with self._changed:
            cancels = list(self._cancels.values())
        for cancel in cancels:
            cancel(why)

    def wait(self, migration: str, timeout: float) -> bool:
        """Wait for the activity's end; False if it goes on after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: migration not in self._cancels, timeout)

    def wait_all(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._cancels, timeout)
