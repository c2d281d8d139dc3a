"""Object stores as the engine and the API see them: names in, opened stores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from porter.db.base import StoreRecord
from porter.migrate.opened import Opened
from porter.store.base import Blobs, StoreConfig, Tickets

TUNNELS = "tunnels"


class Store(Blobs, Tickets, Protocol):
    """What the control plane can do with a store: all, and let agents in for one blob."""


class StoreBook(Protocol):
    def get(self, name: str) -> StoreRecord: ...

    def all(self) -> list[StoreRecord]: ...


def tunnel_of(migration: str) -> str:
    """Where the agents of a migration talk to each other in a store."""
    return f"{TUNNELS}/{migration}"


class Depots:
    """Opens stores and keeps them open. Thread-safe."""

    def __init__(
        self,
        book: StoreBook,
        unseal: Callable[[str, str], Mapping[str, str]],
        opener: Callable[[StoreConfig], Store],
    ) -> None:
        self._book = book
        self._unseal = unseal
        self._opener = opener
        self._opened = Opened[Store]()

    def first(self) -> str:
        """The store that is used unless another is named; "" without any."""
        return next((record.name for record in self._book.all()), "")

    def open(self, name: str) -> Store:
        """The store; opened once for as long as its settings stay. Raises NotFound."""
        record = self._book.get(name)

        def make() -> Store:
            secrets = self._unseal(f"store {name}", record.sealed)
            return self._opener(StoreConfig(name, record.url, record.settings, secrets))

        return self._opened.get(name, record, make)

    def clear(self, name: str, prefix: str) -> int:
        """Remove what lies below a prefix. Returns how many blobs. Raises Transient and such."""
        store, count = self.open(name), 0
        for blob in list(store.list(f"{prefix}/")):
            store.remove(blob.key)
            count += 1
        return count
