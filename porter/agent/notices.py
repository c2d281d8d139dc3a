"""Asks the place, every few seconds, whether it is about to take this machine away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from porter.domain.errors import PorterError
from porter.protocol.joining import HostNotice

log = logging.getLogger(__name__)
EVERY_S = 5.0
"""Clouds give 30 to 120 seconds; their documents ask for no more than a look each five."""


class Listener(threading.Thread):
    """`heard` is what it was told last. `changed` is called when that is another."""

    def __init__(
        self,
        ask: Callable[[], tuple[HostNotice, ...]],
        changed: Callable[[], None],
        stop: threading.Event,
    ) -> None:
        super().__init__(name="notices", daemon=True)
        self.heard: tuple[HostNotice, ...] = ()
        self._ask = ask
        self._changed = changed
        self._stopping = stop
        self._deaf = False

    def run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(EVERY_S)

    def look(self) -> None:
        """What cannot be asked now has not changed."""
        try:
            told = self._ask()
        except PorterError as error:
            if not self._deaf:
                log.warning("cannot hear whether this machine is to be taken away: %s", error)
            self._deaf = True
            return
        self._deaf = False
        if told != self.heard:
            self.heard = told
            self._changed()
