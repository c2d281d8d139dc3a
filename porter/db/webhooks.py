"""Webhooks as they are kept. What they are sent is in `deliveries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.database import Database
from porter.domain.errors import Conflict, NotFound
from porter.domain.identity import EVERYWHERE, FLEET, Projects
from porter.domain.webhook import DISABLED, DeliveryState, Health, takes

MOST = 50
"""Webhooks of one project, or of all (`*`)."""


@dataclass(frozen=True)
class WebhookRecord:
    id: str
    url: str
    sealed: str
    """Its secrets, which only the vault can read."""
    project: str
    """EVERYWHERE: it gets the events of all projects and of the fleet."""
    types: tuple[str, ...]
    """How the kinds begin that it gets; none: all."""
    created: float
    created_by: str
    disabled: float | None
    reason: str
    """Why it is disabled."""
    cursor: int
    """Number of the last event that was looked at for it."""
    health: Health
    paused_until: float | None
    rotated: float | None

    @property
    def place(self) -> str:
        """Of the URL what holds no secret: scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def takes(self, project: str, kind: str) -> bool:
        return takes(self.project, self.types, project, kind)


def webhook(row: sa.Row[Any]) -> WebhookRecord:
    return WebhookRecord(
        id=row.id,
        url=row.url,
        sealed=row.sealed,
        project=row.project,
        types=tuple(row.types),
        created=row.created,
        created_by=row.created_by,
        disabled=row.disabled,
        reason=row.reason,
        cursor=row.cursor,
        health=Health(row.failures, row.failing_since),
        paused_until=row.paused_until,
        rotated=row.rotated,
    )


def get_webhook(c: sa.Connection, identity: str, projects: Projects = None) -> WebhookRecord:
    """Raises NotFound, also for one of another project."""
    w = t.webhooks
    row = c.execute(
        sa.select(w).where(w.c.id == identity, rows.within(w.c.project, projects))
    ).first()
    if row is None:
        raise NotFound(f"cannot find the webhook {identity!r}", "`porter webhook ls` lists them")
    return webhook(row)


def cancel(c: sa.Connection, identity: str, why: str, now: float) -> None:
    """Nothing that waits for it is sent any more."""
    d = t.deliveries
    c.execute(
        sa.update(d)
        .where(d.c.webhook == identity, d.c.state == DeliveryState.PENDING)
        .values(state=DeliveryState.CANCELLED, next_at=None, ended=now, error=why)
    )


def switch_off(c: sa.Connection, hook: WebhookRecord, why: str, now: float) -> None:
    """Disable it in this transaction, and tell so. One that is disabled stays as it is."""
    w = t.webhooks
    done = c.execute(
        sa.update(w)
        .where(w.c.id == hook.id, w.c.disabled.is_(None))
        .values(disabled=now, reason=why, lease_token=None, lease_until=None, paused_until=None)
    )
    if done.rowcount == 0:
        return
    cancel(c, hook.id, "the webhook was disabled", now)
    text = f"webhook {hook.id} to {hook.place} was disabled: {why}"
    project = FLEET if hook.project == EVERYWHERE else hook.project
    data = {"webhook": hook.id, "reason": why}
    rows.add_event(c, now, DISABLED, text, data=data, project=project)


class Webhooks:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self, projects: Projects = None) -> list[WebhookRecord]:
        """Oldest first."""
        w = t.webhooks
        query = sa.select(w).where(rows.within(w.c.project, projects))
        with self._db.read() as c:
            return [webhook(row) for row in c.execute(query.order_by(w.c.created, w.c.id))]

    def get(self, identity: str, projects: Projects = None) -> WebhookRecord:
        """Raises NotFound, also for one of another project."""
        with self._db.read() as c:
            return get_webhook(c, identity, projects)

    def add(self, record: WebhookRecord) -> WebhookRecord:
        """Raises Conflict if its project has very many."""
        w = t.webhooks
        values = {**vars(record), "types": list(record.types)}
        del values["health"]
        with self._db.write() as c:
            mine = sa.select(sa.func.count()).where(w.c.project == record.project)
            if int(c.execute(mine).scalar_one()) >= MOST:
                raise Conflict(
                    f"cannot add a webhook: there are {MOST} of them already",
                    "remove one that is not needed",
                )
            c.execute(sa.insert(w).values(**values))
            return get_webhook(c, record.id)

    def remove(self, identity: str) -> None:
        """With its deliveries. One that is not there is fine."""
        with self._db.write() as c:
            c.execute(sa.delete(t.webhooks).where(t.webhooks.c.id == identity))

    def disable(self, identity: str, why: str, now: float) -> WebhookRecord:
        """Send it nothing more, also not what waits. Again is the same."""
        with self._db.write() as c:
            switch_off(c, get_webhook(c, identity), why, now)
            return get_webhook(c, identity)

    def enable(self, identity: str, newest: int) -> WebhookRecord:
        """Send it what follows that event. One that is not disabled goes on as it is."""
        w = t.webhooks
        with self._db.write() as c:
            c.execute(
                sa.update(w)
                .where(w.c.id == identity, w.c.disabled.is_not(None))
                .values(disabled=None, reason="", cursor=newest, failures=0, failing_since=None)
            )
            return get_webhook(c, identity)

    def rotate(self, known: WebhookRecord, sealed: str, now: float) -> WebhookRecord:
        """Keep other secrets. Raises Conflict if somebody else has done so since it was read."""
        w = t.webhooks
        with self._db.write() as c:
            mine = sa.update(w).where(w.c.id == known.id, w.c.sealed == known.sealed)
            if c.execute(mine.values(sealed=sealed, rotated=now)).rowcount == 0:
                raise Conflict(
                    f"cannot rotate the secret of {known.id}: somebody else just did",
                    "ask them for it, or try again",
                )
            return get_webhook(c, known.id)
