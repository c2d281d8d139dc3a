"""Removes machines that Porter made and nobody needs any more. Nothing is left running unseen."""

from __future__ import annotations

import logging
from collections.abc import Callable

from porter.db.base import InstanceRecord
from porter.domain.errors import PorterError, Transient
from porter.migrate.places import Places, ended_at
from porter.migrate.ports import Clock, Ledger

log = logging.getLogger(__name__)

AGAIN = 20.0
"""Seconds until a removal that failed is tried again."""


class Reaper:
    """Looks at the ledger. Thread-safe; any number may work on one database."""

    def __init__(
        self,
        places: Places,
        ledger: Ledger,
        clock: Clock,
        idle: float,
        enqueue: Callable[[str], None],
    ) -> None:
        self._places = places
        self._ledger = ledger
        self._clock = clock
        self._idle = idle
        self._enqueue = enqueue

    def sweep(self) -> int:
        """Decide which machines go, and ask for their removal. Returns for how many."""
        now = self._clock()
        asked = 0
        for row in self._ledger.standing():
            if row.state == "draining":
                if row.wake_at <= now:
                    self._enqueue(row.key)
                    asked += 1
            else:
                self._judge(row, now)
        self._ledger.forget_hosts(now)
        return asked

    def _judge(self, row: InstanceRecord, now: float) -> None:
        needed = self._ledger.needed(row.host)
        if row.state == "launching":
            if not needed:
                self._ledger.drain(row.host, "the move that wanted it has ended", now)
        elif needed:
            if row.empty_since is not None:
                self._ledger.set_empty_since(row.key, None)
        elif row.empty_since is None:
            self._ledger.set_empty_since(row.key, now)
        elif 0 < self._idle <= now - row.empty_since:
            self._ledger.drain(row.host, f"idle for {now - row.empty_since:.0f} s", now)

    def reap(self, key: str) -> None:
        """Take the removal of one machine as far as it goes. Harmless at any time."""
        now = self._clock()
        row = self._ledger.get(key)
        if row.state != "draining":
            return
        needed = self._ledger.needed(row.host)
        if needed:
            self._ledger.removing(key, row.token, needed, now + AGAIN / 4)
            return
        try:
            place = self._places.open(row.site)
            hosts = place.hosts
            if hosts is None:
                raise Transient(f"the site {row.site} has no machines any more")
            pending = hosts.terminate(key, row.token)
        except PorterError as error:
            log.warning("cannot remove %s from %s: %s", row.host_name, row.site, error)
            self._ledger.removing(key, "", str(error), now + AGAIN)
            return
        if pending is None:
            self._ledger.gone(key, now, ended_at(place, row))
            self._ledger.forget_hosts(now)
        else:
            self._ledger.removing(key, pending.token, row.reason, now + pending.seconds)
