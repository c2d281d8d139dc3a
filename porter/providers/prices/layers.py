"""Who is asked for a price, in which order; and what is said when nobody knows it."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from porter.domain.errors import PorterError
from porter.domain.money import Quote
from porter.domain.site import SiteKind
from porter.providers.prices import snapshot
from porter.providers.prices.cache import Cache

log = logging.getLogger(__name__)

DAY = 86400.0
FRESH = {"spot": 3600.0}
"""Seconds for which a fetched price needs no second look; a day unless said otherwise."""
QUIET_AFTER_FAILURE = 60.0
QUIET_AFTER_NO = DAY / 24


class Source(Protocol):
    def quotes(self, types: Sequence[str], terms: str) -> Mapping[str, Quote]:
        """Known prices; and unknown ones whose `source` says why it cannot tell now. Raises
        PorterError if it can tell none."""
        ...


class Live(Protocol):
    @property
    def scope(self) -> str:
        """What the prices depend on beside kind and region."""
        ...

    def fetch(self, types: Sequence[str], terms: str) -> Mapping[str, Quote]:
        """Known prices, perhaps of further types too. Raises PorterError."""
        ...


class Layers:
    """The first source that knows a price tells it. Never raises."""

    def __init__(self, place: str, currency: str, sources: Sequence[Source]) -> None:
        self._place = place
        self._currency = currency
        self._sources = sources

    def quotes(
        self, instance_types: Sequence[str], terms: str = "on_demand"
    ) -> Mapping[str, Quote]:
        found: dict[str, Quote] = {}
        reasons: dict[str, list[str]] = defaultdict(list)
        for source in self._sources:
            missing = [name for name in dict.fromkeys(instance_types) if name not in found]
            if not missing:
                break
            try:
                told = source.quotes(missing, terms)
            except PorterError as error:
                log.info("prices of %s: %s", self._place, error)
                told = {name: unknown(name, terms, str(error)) for name in missing}
            for name in missing:
                if name in told and told[name].known:
                    found[name] = told[name]
                elif name in told:
                    reasons[name].append(told[name].source)
        return {name: found.get(name) or self._no(name, terms, reasons) for name in instance_types}

    def _no(self, name: str, terms: str, reasons: Mapping[str, Sequence[str]]) -> Quote:
        kind = "" if terms == "on_demand" else f" {terms}"
        first = f"no{kind} price of {name} in {self._place} is known"
        return unknown(name, terms, "; ".join((first, *reasons.get(name, ()))), self._currency)


def unknown(name: str, terms: str, why: str, currency: str = "") -> Quote:
    return Quote(name, None, currency, "hour", "", why, terms)


@dataclass(frozen=True)
class Snapshot:
    kind: SiteKind
    region: str

    def quotes(self, types: Sequence[str], terms: str) -> Mapping[str, Quote]:
        told = {name: snapshot.quote(self.kind, self.region, name, terms) for name in types}
        return {name: quote for name, quote in told.items() if quote is not None}


@dataclass
class _Quiet:
    """Whom not to ask again for a while, per process: a list that is away costs a time-out."""

    until: dict[tuple[str, ...], tuple[float, str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def why(self, key: tuple[str, ...]) -> str | None:
        """None when it may be asked."""
        with self.lock:
            until, why = self.until.get(key, (0.0, ""))
            return why if until > time.monotonic() else None

    def keep(self, key: tuple[str, ...], seconds: float, why: str = "") -> None:
        with self.lock:
            self.until[key] = (time.monotonic() + seconds, why)


_QUIET = _Quiet()


class Remembered:
    """A price list, and what it said before. Asked at most once a day for a price; if it is away,
    what it said last counts, whatever its age."""

    def __init__(self, kind: SiteKind, region: str, live: Live | None, cache: Cache) -> None:
        self._key = (str(kind), region, "" if live is None else live.scope)
        self._live = live
        self._cache = cache

    def quotes(self, types: Sequence[str], terms: str) -> Mapping[str, Quote]:
        kept = self._cache.read()
        old = {name: kept[key] for name in types if (key := self._entry(name, terms)) in kept}
        fresh = time.time() - FRESH.get(terms, DAY)
        stale = [name for name in types if name not in old or old[name].fetched < fresh]
        new = self._fetch(stale, terms) if stale and self._live is not None else {}
        # What could not be fetched is not hidden: what was said last counts.
        known = {name: one.quote for name, one in old.items()}
        return {**new, **known, **{name: one for name, one in new.items() if one.known}}

    def _entry(self, name: str, terms: str) -> str:
        return "|".join((*self._key, name, terms))

    def _fetch(self, names: Sequence[str], terms: str) -> dict[str, Quote]:
        assert self._live is not None
        names = [name for name in names if _QUIET.why((*self._key, terms, name)) is None]
        why = _QUIET.why((*self._key, terms))
        if names and why is None:
            try:
                told = self._live.fetch(names, terms)
            except PorterError as error:
                log.info("doing without: %s", error)
                why = str(error)
                _QUIET.keep((*self._key, terms), QUIET_AFTER_FAILURE, why)
        if not names or why is not None:
            return {name: unknown(name, terms, why or "") for name in names}
        for name in names:
            if name not in told:
                _QUIET.keep((*self._key, terms, name), QUIET_AFTER_NO)
        self._cache.write({self._entry(n, terms): quote for n, quote in told.items()}, time.time())
        return dict(told)
