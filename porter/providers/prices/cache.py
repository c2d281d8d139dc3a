"""Prices that were fetched before, in one JSON file that many processes share.

Whatever is wrong with the file, moves go on: a broken one counts as empty and is written anew.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from porter.domain.money import Quote

log = logging.getLogger(__name__)

LOCK_PATIENCE = 2.0
FORGET_AFTER = 180 * 86400.0
"""Seconds after which an entry that nobody renewed is dropped."""
_FIELDS = ("currency", "as_of", "source", "terms")


@dataclass(frozen=True)
class Kept:
    """A price and when it was fetched, in seconds since 1970."""

    quote: Quote
    fetched: float


class Cache:
    """Reading takes no lock: the file is replaced as a whole. Writers take turns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Kept]:
        """All entries that can be read, by key."""
        found = {}
        for key, raw in self._raw().items():
            kept = _kept(raw)
            if kept is not None:
                found[key] = kept
        return found

    def write(self, quotes: Mapping[str, Quote], now: float) -> None:
        """Add or renew. Prices without an amount, a date or a source are not kept; where the file
        cannot be written, that is logged only."""
        new = {
            key: {
                "item": quote.item,
                "amount": str(quote.amount),
                "fetched": now,
                **{field: getattr(quote, field) for field in _FIELDS},
            }
            for key, quote in quotes.items()
            if quote.amount and quote.amount > 0 and quote.as_of and quote.source
        }
        if not new:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._turn():
                old = {key: raw for key, raw in self._raw().items() if _young(raw, now)}
                self._replace({**old, **new})
        except OSError as error:
            log.warning("cannot keep prices in %s: %s", self.path, error)

    def _raw(self) -> dict[str, Any]:
        try:
            parsed = json.loads(self.path.read_bytes())
            entries = parsed["prices"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("cannot read the prices in %s, doing without: %s", self.path, error)
            return {}
        return entries if isinstance(entries, dict) else {}

    def _replace(self, entries: Mapping[str, Any]) -> None:
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        try:
            with fresh.open("x") as file:
                json.dump({"prices": entries}, file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """A file of its own is locked, as the other one is replaced."""
        until = time.monotonic() + LOCK_PATIENCE
        with self.path.with_name(f"{self.path.name}.lock").open("a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.01)
            yield


def _young(raw: Any, now: float) -> bool:
    kept = _kept(raw)
    return kept is not None and kept.fetched > now - FORGET_AFTER


def _kept(raw: Any) -> Kept | None:
    """None for what is no price: a zero, or an entry without its date or source."""
    try:
        amount, fetched = Decimal(raw["amount"]), float(raw["fetched"])
        texts = {field: raw[field] for field in ("item", *_FIELDS)}
    except (KeyError, TypeError, ValueError, InvalidOperation):
        return None
    if not amount.is_finite() or amount <= 0 or not _all_text(texts.values()):
        return None
    return Kept(Quote(amount=amount, unit="hour", **texts), fetched)


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) and value for value in values)
