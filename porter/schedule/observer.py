"""Looks at prices every hour, so that it is known how they go. Spot prices above all: which of them
is high at the moment, only the past tells."""

from __future__ import annotations

import logging
from collections.abc import Callable

from porter.db.history import History
from porter.migrate.places import Places
from porter.schedule.priced import PriceBook
from porter.schedule.rates import Rates

log = logging.getLogger(__name__)

EVERY = 3600.0


class Observer:
    """Thread-safe; any number may work on one database."""

    def __init__(self, history: History, places: Places, clock: Callable[[], float]) -> None:
        self._history = history
        self._places = places
        self._clock = clock

    def tick(self) -> int:
        """Look at the prices that runs have asked for lately, if nobody did within the hour, and
        forget what is too old. Returns how many were known. May block for as long as sites take to
        answer. Raises Transient if the database is away."""
        now = self._clock()
        due = self._history.due(now, EVERY)
        if due is None:
            return 0
        book = PriceBook(self._places, Rates())
        for site, terms in sorted({(site, terms) for site, _, terms in due}):
            book.ask(site, [item for at, item, on in due if (at, on) == (site, terms)], terms)
        told = [(site, quote) for site, quote in book.read() if quote.amount is not None]
        self._history.note(told, now, asked=False)
        self._history.prune(now)
        return len(told)
