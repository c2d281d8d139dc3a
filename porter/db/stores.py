"""Object stores that people have added."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import StoreRecord
from porter.db.database import Database
from porter.domain.errors import Conflict, NotFound


class Stores:
    """Rows of stores. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self, name: str, url: str, settings: Mapping[str, str], sealed: str, now: float
    ) -> StoreRecord:
        """Raises Conflict if there is one of the name."""
        with self._db.write() as c:
            new = (
                self._db.insert(t.stores)
                .values(name=name, url=url, settings=dict(settings), sealed=sealed, created=now)
                .on_conflict_do_nothing(index_elements=["name"])
                .returning(t.stores.c.name)
            )
            if c.execute(new).first() is None:
                raise Conflict(
                    f"cannot add the store {name}: there is one of that name",
                    f"remove it first: porter store rm {name}",
                )
            rows.add_event(c, now, "store", f"store {name} added")
            return self._get(c, name)

    def _get(self, c: sa.Connection, name: str) -> StoreRecord:
        row = c.execute(sa.select(t.stores).where(t.stores.c.name == name)).first()
        if row is None:
            raise NotFound(
                f"cannot find the store {name!r}: none of that name was added",
                "`porter store ls` lists them, `porter store add` adds one",
            )
        return StoreRecord(**row._mapping)

    def get(self, name: str) -> StoreRecord:
        """Raises NotFound."""
        with self._db.read() as c:
            return self._get(c, name)

    def all(self) -> list[StoreRecord]:
        """The oldest first: the first is the one that is used unless another is named."""
        with self._db.read() as c:
            found = c.execute(sa.select(t.stores).order_by(t.stores.c.created, t.stores.c.name))
            return [StoreRecord(**row._mapping) for row in found]

    def remove(self, name: str, now: float) -> None:
        """Forget a store and its credentials. Raises Conflict while checkpoints are listed in it:
        nobody could restore or remove them then."""
        k = t.checkpoints
        with self._db.write() as c:
            self._get(c, name)
            kept = c.execute(sa.select(k.c.id).where(k.c.store == name).limit(1)).scalar()
            if kept is not None:
                raise Conflict(
                    f"cannot remove the store {name}: the checkpoint {kept} is in it",
                    f"remove it first: porter checkpoint rm {kept}",
                )
            c.execute(sa.delete(t.stores).where(t.stores.c.name == name))
            rows.add_event(c, now, "store", f"store {name} removed")
