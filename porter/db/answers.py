"""Answers that are kept for a while, so that a request with the same key is answered once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from porter.db import tables as t
from porter.db.database import Database

KEPT_S = 24 * 3600.0
LEASE_S = 30.0
"""A request that has not renewed its mark for so long counts as crashed: its key is free again."""


@dataclass(frozen=True)
class Kept:
    """The request was there before. Without `status` it is still being worked on."""

    request_hash: str
    status: int | None = None
    headers: dict[str, str] | None = None
    body: bytes = b""


class Answers:
    """Every method is one transaction. `mark` tells one worker on a request from another: it is
    the time at which it began or last renewed."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(self, principal: str, key: str, request_hash: str, now: float) -> Kept | None:
        """Take a key, with `now` as mark. None: it is ours; else what is there already."""
        a, m = t.answers, t.migrations
        with self._db.write() as c:
            old = now - KEPT_S
            c.execute(sa.delete(a).where(a.c.created < old))
            c.execute(
                sa.update(m)
                .where(m.c.idempotency_key.is_not(None), m.c.created < old)
                .values(idempotency_key=None)
            )
            crashed = sa.and_(a.c.status.is_(None), a.c.created < now - LEASE_S)
            fresh = {"request_hash": request_hash, "created": now}
            took = c.execute(
                self._db.insert(a)
                .values(principal=principal, key=key, **fresh)
                .on_conflict_do_update(
                    index_elements=["principal", "key"], set_=fresh, where=crashed
                )
                .returning(a.c.key)
            ).first()
            if took is not None:
                return None
            row = c.execute(sa.select(a).where(a.c.principal == principal, a.c.key == key)).one()
            return Kept(row.request_hash, row.status, row.headers, row.body or b"")

    def renew(self, principal: str, key: str, mark: float, now: float) -> bool:
        """Go on owning it, with `now` as mark. False: somebody took it over."""
        return self._mine(principal, key, mark, {"created": now})

    def keep(
        self,
        principal: str,
        key: str,
        mark: float,
        status: int,
        headers: dict[str, str],
        body: bytes,
    ) -> bool:
        """Keep the answer. False: somebody took it over, theirs counts."""
        values = {"status": status, "headers": headers, "body": body}
        return self._mine(principal, key, mark, values)

    def drop(self, principal: str, key: str, mark: float) -> None:
        """Free the key: the request may be tried again."""
        a = t.answers
        with self._db.write() as c:
            c.execute(sa.delete(a).where(self._is(principal, key, mark)))

    def _mine(self, principal: str, key: str, mark: float, values: dict[str, Any]) -> bool:
        a = t.answers
        with self._db.write() as c:
            mine = sa.update(a).where(self._is(principal, key, mark)).values(**values)
            return c.execute(mine.returning(a.c.key)).first() is not None

    def _is(self, principal: str, key: str, mark: float) -> sa.ColumnElement[bool]:
        a = t.answers
        mine = sa.and_(a.c.principal == principal, a.c.key == key)
        return sa.and_(mine, a.c.created == mark, a.c.status.is_(None))
