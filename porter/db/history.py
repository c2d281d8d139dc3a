"""What was seen over time: prices as they changed, memory that workloads took, spot machines that
were taken away. What is expected of the time to come rests on it; without it, nothing is expected
to change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from porter.db import tables as t
from porter.db.base import HostRecord
from porter.db.database import Database
from porter.db.tables import history as h
from porter.domain.money import Quote

HOUR, DAY = 3600, 86400.0
GAP = DAY
"""A price that nobody looked at for longer is watched anew: what it was meanwhile is not known."""
ASKED_FOR = 14 * DAY
"""So long prices are watched after a run last needed them."""
PRICES_KEPT = 30 * DAY
MEMORY_READ, MEMORY_KEPT = 8 * DAY, 14 * DAY
"""What is expected rests on a week and a little."""
NOTICES_KEPT = 60 * DAY
WATCHED = "prices_watched"
SPOT = "spot"
TAKEN = ("terminate", "stop")
"""Kinds of notices after which a machine is gone."""

Key = tuple[str, str, str]
"""Site, item, terms."""


@dataclass(frozen=True)
class Course:
    """How a price went since it is watched without a gap. Each amount holds until the next."""

    currency: str
    looked: float
    """When it was last looked at."""
    points: tuple[tuple[float, Decimal], ...]


@dataclass(frozen=True)
class Span:
    """A time in which a spot machine stood."""

    begin: float
    end: float


@dataclass(frozen=True)
class Past:
    """All that was seen, at one moment."""

    prices: Mapping[Key, Course] = field(default_factory=dict)
    memory: Mapping[str, tuple[tuple[float, int], ...]] = field(default_factory=dict)
    """By workload's id: hours, and the most that was seen in each, in bytes."""
    spot: Mapping[tuple[str, str], tuple[Span, ...]] = field(default_factory=dict)
    """By site and type."""
    interruptions: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)
    """By site and type: when we heard that one was to be taken away."""


class History:
    """Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def note(self, quotes: Iterable[tuple[str, Quote]], now: float, asked: bool = True) -> None:
        """Prices of sites as they are now. Those that are not known are left out: nothing was
        seen, and neither is anything expected of what is free. `asked`: a run needed them, so they
        are to be watched. Repeated, it changes nothing but when we looked."""
        seen = {(site, one.item, one.terms): one for site, one in quotes if one.amount}
        if not seen:
            return
        with self._db.write() as c:
            known = {_key(row): row for row in c.execute(sa.select(h.price_watches))}
            heads, points, anew = [], [], []
            for key in sorted(seen):
                quote, row = seen[key], known.get(key)
                if row is not None and row.looked > now:
                    continue  # the clock was put back, or somebody was quicker
                fresh = row is None or row.currency != quote.currency or now - row.looked > GAP
                if fresh and row is not None:
                    anew.append(key)
                amount = format(quote.amount or Decimal(0), "f")
                if fresh or row is None or Decimal(row.amount) != quote.amount:
                    points.append({**_named(key), "at": now, "amount": amount})
                heads.append(
                    {
                        **_named(key),
                        "amount": amount,
                        "currency": quote.currency,
                        "looked": now,
                        "asked": now if asked or row is None else row.asked,
                    }
                )
            self._write(c, heads, points, anew)

    def _write(
        self,
        c: sa.Connection,
        heads: list[dict[str, Any]],
        points: list[dict[str, Any]],
        anew: list[Key],
    ) -> None:
        w, p = h.price_watches, h.price_points
        for key in anew:
            c.execute(sa.delete(p).where(*_is(p, key)))
        if heads:
            new = self._db.insert(w)
            changes = {
                name: new.excluded[name]
                for name in heads[0]
                if name not in ("site", "item", "terms")
            }
            index = ["site", "item", "terms"]
            c.execute(new.on_conflict_do_update(index_elements=index, set_=changes), heads)
        if points:
            c.execute(self._db.insert(p).on_conflict_do_nothing(), points)

    def due(self, now: float, every: float) -> list[Key] | None:
        """Prices that are ours to look at now: all that are watched, once in so many seconds, for
        one of all who ask. None: it is not our turn."""
        s, w = t.settings, h.price_watches
        old = sa.or_(s.c.value <= now - every, s.c.value > now)
        with self._db.read() as c:
            last = c.execute(sa.select(s.c.value).where(s.c.key == WATCHED)).scalar()
            if last is not None and now - every < last <= now:
                return None
        with self._db.write() as c:
            if last is None:
                first = self._db.insert(s).values(key=WATCHED, value=0)
                c.execute(first.on_conflict_do_nothing(index_elements=["key"]))
            mine = sa.update(s).where(s.c.key == WATCHED, old).values(value=int(now))
            if c.execute(mine.returning(s.c.key)).first() is None:
                return None
            wanted = sa.select(w).where(w.c.asked > now - ASKED_FOR)
            return sorted(_key(row) for row in c.execute(wanted))

    def read(self, now: float, window: float = ASKED_FOR) -> Past:
        """What was seen in the last `window` seconds; interruptions for longer."""
        with self._db.read() as c:
            return Past(
                prices=_prices(c, now - window),
                memory=_memory(c, now - MEMORY_READ),
                spot=_spot(c, now),
                interruptions=_interruptions(c, now),
            )

    def prune(self, now: float) -> None:
        """Forget what is too old to be of use, and what workloads took that are gone."""
        w, p, m, i = h.price_watches, h.price_points, h.memory_peaks, h.interruptions
        later = p.alias()
        same = sa.and_(*(later.c[name] == p.c[name] for name in ("site", "item", "terms")))
        old = now - PRICES_KEPT
        # What holds at that time stays, whenever it began.
        superseded = sa.select(later.c.at).where(same, later.c.at > p.c.at, later.c.at <= old)
        gone = sa.select(t.workloads.c.id).where(t.workloads.c.state == "gone")
        with self._db.write() as c:
            c.execute(sa.delete(p).where(p.c.at < old, superseded.exists()))
            for row in c.execute(sa.select(w).where(w.c.looked < old)).all():
                c.execute(sa.delete(p).where(*_is(p, _key(row))))
                c.execute(sa.delete(w).where(*_is(w, _key(row))))
            hour = int((now - MEMORY_KEPT) // HOUR)
            c.execute(sa.delete(m).where(sa.or_(m.c.hour < hour, m.c.workload.in_(gone))))
            c.execute(sa.delete(i).where(i.c.at < now - NOTICES_KEPT))


class Peaks:
    """The most memory that each workload took within an hour, kept in this process until the hour
    is over: so heartbeats write it once an hour. Thread-safe as far as it matters: of two who see
    an hour end at once, both write the same."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, int]] = {}

    def see(self, workload: str, taken: int, now: float) -> dict[str, Any] | None:
        """What is to be written of an hour that is over."""
        if taken <= 0:
            return None  # nobody could tell
        hour = int(now // HOUR)
        before, peak = self._kept.get(workload, (hour, 0))
        self._kept[workload] = (hour, max(peak, taken) if before == hour else taken)
        if before == hour:
            return None
        return {"workload": workload, "hour": before, "bytes": peak}


def write_peaks(database: Database, c: sa.Connection, peaks: Sequence[dict[str, Any]]) -> None:
    """Within a transaction. Of what several processes saw in an hour the highest stays."""
    if not peaks:
        return
    m = h.memory_peaks
    new = database.insert(m)
    higher = sa.case((new.excluded.bytes > m.c.bytes, new.excluded.bytes), else_=m.c.bytes)
    keep = new.on_conflict_do_update(index_elements=["workload", "hour"], set_={"bytes": higher})
    c.execute(keep, sorted(peaks, key=lambda one: str(one["workload"])))


def write_interruption(
    database: Database, c: sa.Connection, host: HostRecord, kind: str, told: str, now: float
) -> None:
    """Within a transaction, when a notice is first heard. Only of spot machines."""
    i = t.instances
    if kind not in TAKEN:
        return
    row = c.execute(
        sa.select(i.c.site, i.c.instance_type, i.c.quote)
        .where(i.c.host == host.id, i.c.state != "gone")
        .limit(1)
    ).first()
    if row is None or (row.quote or {}).get("terms") != SPOT:
        return
    new = database.insert(h.interruptions).values(
        host=host.id,
        kind=kind,
        told=told[:64],
        site=row.site,
        instance_type=row.instance_type,
        at=now,
    )
    c.execute(new.on_conflict_do_nothing())


def _key(row: sa.Row[Any]) -> Key:
    return row.site, row.item, row.terms


def _named(key: Key) -> dict[str, Any]:
    return dict(zip(("site", "item", "terms"), key, strict=True))


def _is(table: sa.Table, key: Key) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in _named(key).items()]


def _prices(c: sa.Connection, begin: float) -> dict[Key, Course]:
    """Each begins with what held at `begin`, or when it began to be watched."""
    w, p = h.price_watches, h.price_points
    found: dict[Key, list[tuple[float, Decimal]]] = {}
    for row in c.execute(sa.select(p).order_by(p.c.at)):
        points = found.setdefault(_key(row), [])
        if points and row.at <= begin:
            points.clear()
        points.append((max(row.at, begin), Decimal(row.amount)))
    return {
        _key(row): Course(row.currency, row.looked, tuple(found[_key(row)]))
        for row in c.execute(sa.select(w))
        if _key(row) in found
    }


def _memory(c: sa.Connection, begin: float) -> dict[str, tuple[tuple[float, int], ...]]:
    m = h.memory_peaks
    found: dict[str, list[tuple[float, int]]] = {}
    recent = sa.select(m.c.workload, m.c.hour, m.c.bytes).where(m.c.hour >= int(begin // HOUR))
    for workload, hour, taken in c.execute(recent.order_by(m.c.workload, m.c.hour)):
        points = found.setdefault(workload, [])
        at = float(hour * HOUR)
        if points and at - points[-1][0] > GAP:
            points.clear()
        points.append((at, taken))
    return {workload: tuple(points) for workload, points in found.items()}


def _spot(c: sa.Connection, now: float) -> dict[tuple[str, str], tuple[Span, ...]]:
    i = t.instances
    since = now - NOTICES_KEPT
    standing = sa.and_(i.c.launched.is_not(None), sa.or_(i.c.gone.is_(None), i.c.gone > since))
    columns = (i.c.launched, i.c.launched_at, i.c.gone, i.c.ended_at)
    query = sa.select(i.c.site, i.c.instance_type, i.c.quote, *columns).where(standing)
    found: dict[tuple[str, str], list[Span]] = {}
    for row in c.execute(query):
        if (row.quote or {}).get("terms") != SPOT:
            continue
        begin = row.launched if row.launched_at is None else row.launched_at
        end = row.gone if row.ended_at is None else row.ended_at
        span = Span(max(begin, since), now if end is None else min(end, now))
        if span.end > span.begin:
            found.setdefault((row.site, row.instance_type), []).append(span)
    return {key: tuple(spans) for key, spans in found.items()}


def _interruptions(c: sa.Connection, now: float) -> dict[tuple[str, str], tuple[float, ...]]:
    i = h.interruptions
    recent = sa.select(i).where(i.c.at > now - NOTICES_KEPT, i.c.at <= now).order_by(i.c.at)
    found: dict[tuple[str, str], list[float]] = {}
    for row in c.execute(recent):
        found.setdefault((row.site, row.instance_type), []).append(row.at)
    return {key: tuple(times) for key, times in found.items()}
