"""Sites that people have added, and object stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import SiteRecord
from porter.db.database import Database
from porter.domain.errors import Conflict, NotFound


class Sites:
    """Rows of sites. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self,
        name: str,
        kind: str,
        region: str,
        settings: Mapping[str, str],
        sealed: str,
        now: float,
    ) -> SiteRecord:
        """Raises Conflict if there is one of the name."""
        with self._db.write() as c:
            new = (
                self._db.insert(t.sites)
                .values(
                    name=name,
                    kind=kind,
                    region=region,
                    settings=dict(settings),
                    sealed=sealed,
                    created=now,
                )
                .on_conflict_do_nothing(index_elements=["name"])
                .returning(t.sites.c.name)
            )
            if c.execute(new).first() is None:
                raise Conflict(
                    f"cannot add the site {name}: there is one of that name",
                    f"remove it first: porter site rm {name}",
                )
            rows.add_event(c, now, "site", f"site {name} added")
            return self._get(c, name)

    def _get(self, c: sa.Connection, name: str) -> SiteRecord:
        row = c.execute(sa.select(t.sites).where(t.sites.c.name == name)).first()
        if row is None:
            raise NotFound(
                f"cannot find the site {name!r}: none of that name was added",
                "`porter site ls` lists them, `porter site add` adds one",
            )
        return rows.site(row)

    def get(self, name: str) -> SiteRecord:
        """Raises NotFound."""
        with self._db.read() as c:
            return self._get(c, name)

    def all(self) -> list[SiteRecord]:
        with self._db.read() as c:
            return [rows.site(row) for row in c.execute(sa.select(t.sites).order_by("name"))]

    def verified(self, name: str, rights: list[dict[str, Any]], now: float) -> None:
        """Keep what a verification found."""
        with self._db.write() as c:
            c.execute(
                sa.update(t.sites).where(t.sites.c.name == name).values(verified=now, rights=rights)
            )

    def remove(self, name: str, now: float) -> None:
        """Forget a site and its credentials. Raises Conflict while a machine of ours is there."""
        i = t.instances
        with self._db.write() as c:
            self._get(c, name)
            alive = c.execute(
                sa.select(i.c.host_name).where(i.c.site == name, i.c.state != "gone").limit(1)
            ).scalar()
            if alive is not None:
                raise Conflict(
                    f"cannot remove the site {name}: Porter's machine {alive} is there",
                    f"remove it first: porter host rm {alive}",
                )
            c.execute(sa.delete(t.sites).where(t.sites.c.name == name))
            rows.add_event(c, now, "site", f"site {name} removed")
