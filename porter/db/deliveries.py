"""What webhooks are sent: one row for each webhook and event, and the lease under which it is sent.

The lease is the webhook's, not the row's: one worker sends a webhook's events, one after the
other. A worker that dies leaves its lease to run out; the attempt that it had begun is made again,
under the same id, so that the receiver can tell.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.database import Database
from porter.db.happenings import Happenings, told
from porter.db.listing import Page
from porter.db.webhooks import WebhookRecord, get_webhook, switch_off, webhook
from porter.domain.errors import Conflict, Invalid, NotFound
from porter.domain.identity import EVERYWHERE, FLEET
from porter.domain.webhook import KEPT, TEST, DeliveryState, Outcome, Verdict, message_id

CHUNK = 500
"""Events that are looked at for one webhook in one transaction."""
MOST_REPLAYED = 10_000
OPEN = (DeliveryState.FAILED, DeliveryState.CANCELLED)


@dataclass(frozen=True)
class DeliveryRecord:
    id: str
    """The webhook-id that the receiver sees."""
    webhook: str
    event: int
    kind: str
    state: DeliveryState
    attempts: int
    """In all."""
    tries: int
    """Since it was made or replayed."""
    next_at: float | None
    attempted: float | None
    status: int | None
    error: str
    created: float
    ended: float | None


@dataclass(frozen=True)
class Errand:
    """One attempt that is to be made now, by whoever holds the token."""

    token: str
    webhook: WebhookRecord
    delivery: DeliveryRecord
    body: str
    """The CloudEvent, the same text at every attempt."""


def _delivery(row: sa.Row[Any]) -> DeliveryRecord:
    return DeliveryRecord(
        id=row.id,
        webhook=row.webhook,
        event=row.event,
        kind=row.kind or "",
        state=DeliveryState(row.state),
        attempts=row.attempts,
        tries=row.tries,
        next_at=row.next_at,
        attempted=row.attempted,
        status=row.status,
        error=row.error,
        created=row.created,
        ended=row.ended,
    )


def _select() -> Any:
    d, e = t.deliveries, t.events
    return sa.select(d, e.c.kind).join(e, e.c.id == d.c.event, isouter=True)


class Deliveries:
    """Every method is one transaction, or a few short ones."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._happenings = Happenings(database)

    # -- the log

    def page(
        self, hook: str, limit: int, after: int | None = None, state: str | None = None
    ) -> Page[DeliveryRecord]:
        """Of one webhook, newest events first, before the event `after`."""
        d = t.deliveries
        query = _select().where(d.c.webhook == hook).order_by(d.c.event.desc())
        if after is not None:
            query = query.where(d.c.event < after)
        if state is not None:
            query = query.where(d.c.state == state)
        with self._db.read() as c:
            found = [_delivery(row) for row in c.execute(query.limit(limit + 1))]
        more = len(found) > limit
        return Page(found[:limit], (found[limit - 1].event,) if more else None)

    def get(self, hook: str, event: int) -> DeliveryRecord:
        """Raises NotFound."""
        with self._db.read() as c:
            return _get(c, hook, event)

    def prune(self, now: float) -> int:
        """Forget what ended long ago. Returns how many."""
        d = t.deliveries
        with self._db.write() as c:
            return c.execute(sa.delete(d).where(d.c.ended < now - KEPT)).rowcount

    # -- making deliveries of events

    def collect(self, now: float) -> int:
        """Make what webhooks are to be sent of the events that are new to them. Returns how many
        events were looked at. Harmless at any time, also several at once."""
        w, e = t.webhooks, t.events
        with self._db.read() as c:
            newest = c.execute(sa.select(sa.func.max(e.c.id))).scalar() or 0
            behind = sa.select(w).where(w.c.disabled.is_(None), w.c.cursor < newest)
            hooks = [webhook(row) for row in c.execute(behind.order_by(w.c.cursor))]
        return sum(self._collect(hook, now) for hook in hooks)

    def _collect(self, hook: WebhookRecord, now: float) -> int:
        w = t.webhooks
        found = self._happenings.settled(hook.cursor, now, CHUNK)
        if not found:
            return 0
        wanted = [one.id for one in found if hook.takes(one.project, one.kind)]
        with self._db.write() as c:
            # Whoever was quicker has made them already.
            mine = sa.update(w).where(
                w.c.id == hook.id, w.c.cursor == hook.cursor, w.c.disabled.is_(None)
            )
            if c.execute(mine.values(cursor=found[-1].id)).rowcount:
                self._make(c, hook.id, wanted, now)
        return len(found)

    def _make(
        self, c: sa.Connection, hook: str, events: Sequence[int], now: float, again: bool = False
    ) -> None:
        """Rows that are to be sent at once; `again`: also where there is one already."""
        if not events:
            return
        fresh = {
            "state": DeliveryState.PENDING,
            "tries": 0,
            "next_at": now,
            "status": None,
            "error": "",
            "ended": None,
        }
        new = self._db.insert(t.deliveries)
        statement = (
            new.on_conflict_do_update(index_elements=["id"], set_=fresh)
            if again
            else new.on_conflict_do_nothing()
        )
        same = {"webhook": hook, "attempts": 0, "created": now, **fresh}
        c.execute(
            statement, [{"id": message_id(hook, one), "event": one, **same} for one in events]
        )

    # -- sending again, and trying out

    def replay_event(self, hook: str, event: int, now: float) -> int:
        """Send one event again, or for the first time. Raises NotFound for one that is none of this
        webhook's."""
        e = t.events
        with self._db.write() as c:
            known = _must_be_on(c, hook)
            row = c.execute(sa.select(e).where(e.c.id == event)).first()
            there = row is not None and known.takes(row.project, row.kind)
            if not there and not _sent(c, hook, event):
                raise NotFound(
                    f"cannot replay the event {event}: it is none of this webhook's",
                    f"`porter webhook deliveries {hook}` lists what it got",
                )
            self._make(c, hook, [event], now, again=True)
            return 1

    def replay_since(self, hook: str, since: float, now: float) -> int:
        """Send again what happened from then on, as far as it was looked at already: the rest is
        sent anyway. Raises Invalid if that is very much."""
        e = t.events
        with self._db.write() as c:
            known = _must_be_on(c, hook)
            query = sa.select(e.c.id, e.c.project, e.c.kind).where(
                e.c.at >= since, e.c.id <= known.cursor
            )
            if known.project != EVERYWHERE:
                query = query.where(e.c.project == known.project)
            found = [row.id for row in c.execute(query) if known.takes(row.project, row.kind)]
            if len(found) > MOST_REPLAYED:
                raise Invalid(
                    f"cannot replay {len(found)} events at once", "name a later time as since"
                )
            self._make(c, hook, found, now, again=True)
            return len(found)

    def replay_missed(self, hook: str, now: float) -> int:
        """Send again what was given up or cancelled."""
        d = t.deliveries
        with self._db.write() as c:
            _must_be_on(c, hook)
            missed = sa.select(d.c.event).where(d.c.webhook == hook, d.c.state.in_(OPEN))
            found = list(c.execute(missed.order_by(d.c.event).limit(MOST_REPLAYED)).scalars())
            self._make(c, hook, found, now, again=True)
            return len(found)

    def test(self, hook: str, by: str, now: float) -> DeliveryRecord:
        """An event for this webhook only, to be sent at once."""
        with self._db.write() as c:
            known = _must_be_on(c, hook)
            project = FLEET if known.project == EVERYWHERE else known.project
            message, data = f"a test of webhook {hook} by {by}", {"webhook": hook}
            event = rows.add_event(c, now, TEST, message, data=data, project=project)
            self._make(c, hook, [event], now)
            return _get(c, hook, event)

    # -- sending

    def due(self, now: float, limit: int) -> list[str]:
        """Webhooks that have something to be sent now and are nobody's; those that do well first,
        lest one that is down keeps others waiting."""
        w = t.webhooks
        query = sa.select(w.c.id).where(_ready(now), _waiting(now)).order_by(w.c.failures, w.c.id)
        with self._db.read() as c:
            return list(c.execute(query.limit(limit)).scalars())

    def claim(self, hook: str, now: float, lease: float) -> Errand | None:
        """Take the webhook's lease for its next event that is due. None: somebody else has it, or
        nothing is due."""
        token = secrets.token_hex(8)
        w, d = t.webhooks, t.deliveries
        with self._db.write() as c:
            mine = sa.update(w).where(w.c.id == hook, _ready(now), _waiting(now))
            taken = c.execute(mine.values(lease_token=token, lease_until=now + lease))
            if taken.rowcount == 0:
                return None
            due = sa.and_(
                d.c.webhook == hook, d.c.state == DeliveryState.PENDING, d.c.next_at <= now
            )
            first = c.execute(sa.select(d.c.event).where(due).order_by(d.c.event).limit(1)).scalar()
            if first is None:
                # Cancelled between the two statements.
                c.execute(sa.update(w).where(w.c.id == hook).values(lease_until=None))
                return None
            begun = {"attempts": d.c.attempts + 1, "tries": d.c.tries + 1, "attempted": now}
            c.execute(sa.update(d).where(d.c.id == message_id(hook, first)).values(**begun))
            event = c.execute(sa.select(t.events).where(t.events.c.id == first)).one()
            body = json.dumps(told(rows.event(event)), separators=(",", ":"))
            return Errand(token, get_webhook(c, hook), _get(c, hook, first), body)

    def settle(self, errand: Errand, outcome: Outcome, verdict: Verdict, now: float) -> bool:
        """Record an attempt's outcome and give the lease back. False: the lease was lost, nothing
        is written."""
        w, d = t.webhooks, t.deliveries
        known = errand.delivery
        with self._db.write() as c:
            mine = c.execute(
                sa.update(w)
                .where(w.c.id == known.webhook, w.c.lease_token == errand.token)
                .values(
                    lease_token=None,
                    lease_until=None,
                    failures=verdict.health.failures,
                    failing_since=verdict.health.failing_since,
                    paused_until=verdict.paused_until,
                )
            )
            if mine.rowcount == 0:
                return False
            # Unless it was replayed or cancelled meanwhile: then that counts.
            same = sa.and_(
                d.c.id == known.id,
                d.c.state == DeliveryState.PENDING,
                d.c.tries == known.tries,
            )
            over = verdict.state is not DeliveryState.PENDING
            c.execute(
                sa.update(d)
                .where(same)
                .values(
                    state=verdict.state,
                    next_at=verdict.next_at,
                    status=outcome.status,
                    error=outcome.error[:500],
                    ended=now if over else None,
                )
            )
            if verdict.disable:
                switch_off(c, errand.webhook, verdict.disable, now)
            return True


def _ready(now: float) -> sa.ColumnElement[bool]:
    w = t.webhooks
    return sa.and_(
        w.c.disabled.is_(None),
        sa.or_(w.c.lease_until.is_(None), w.c.lease_until < now),
        sa.or_(w.c.paused_until.is_(None), w.c.paused_until <= now),
    )


def _waiting(now: float) -> sa.ColumnElement[bool]:
    w, d = t.webhooks, t.deliveries
    return sa.exists().where(
        d.c.webhook == w.c.id, d.c.state == DeliveryState.PENDING, d.c.next_at <= now
    )


def _get(c: sa.Connection, hook: str, event: int) -> DeliveryRecord:
    d = t.deliveries
    row = c.execute(_select().where(d.c.webhook == hook, d.c.event == event)).first()
    if row is None:
        raise NotFound(
            f"cannot find the delivery of event {event}",
            f"`porter webhook deliveries {hook}` lists them",
        )
    return _delivery(row)


def _sent(c: sa.Connection, hook: str, event: int) -> bool:
    d = t.deliveries
    return c.execute(sa.select(d.c.id).where(d.c.id == message_id(hook, event))).first() is not None


def _must_be_on(c: sa.Connection, hook: str) -> WebhookRecord:
    """For what a person asks for: it is tried at once, however the receiver did before."""
    w = t.webhooks
    known = get_webhook(c, hook)
    c.execute(sa.update(w).where(w.c.id == hook).values(paused_until=None))
    if known.disabled is not None:
        raise Conflict(
            f"cannot send to {hook}: it is disabled ({known.reason})",
            f"`porter webhook enable {hook}` first",
        )
    return known
