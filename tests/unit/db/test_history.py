"""What was seen over time is kept: what changes, for as long as it is of use, and cheaply."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa

from porter.db import tables as t
from porter.db.base import HostRecord
from porter.db.database import Database
from porter.db.found import Found
from porter.db.history import GAP, HOUR, Course, History, Peaks, Span
from porter.db.ledger import Ledger
from porter.db.registry import Identity, Registry
from porter.db.tables.history import memory_peaks, price_points
from porter.domain.money import Quote
from porter.protocol.joining import FoundWorkload, Heartbeat, HostNotice
from tests.saga.simulation import facts

DAY = 86400.0
NOW = 1000 * DAY
EAST = "aws:east"
KEY = (EAST, "m5.large", "spot")


@pytest.fixture
def history(database: Database) -> History:
    return History(database)


def spot(amount: str | None, currency: str = "USD") -> list[tuple[str, Quote]]:
    known = None if amount is None else Decimal(amount)
    return [(EAST, Quote("m5.large", known, currency, "hour", "", "a test", "spot"))]


def course(history: History, now: float = NOW) -> Course | None:
    return history.read(now).prices.get(KEY)


def rows_of(database: Database, table: sa.Table) -> int:
    with database.read() as c:
        return int(c.execute(sa.select(sa.func.count()).select_from(table)).scalar() or 0)


# -- prices


def test_a_price_is_kept_when_it_changes(database: Database, history: History) -> None:
    for hour, amount in enumerate(("0.068", "0.0680", "0.068", "0.071", "0.071")):
        history.note(spot(amount), NOW + hour * HOUR)
    found = course(history, NOW + 5 * HOUR)
    assert found is not None
    assert found.points == ((NOW, Decimal("0.068")), (NOW + 3 * HOUR, Decimal("0.071")))
    assert (found.currency, found.looked) == ("USD", NOW + 4 * HOUR)
    assert rows_of(database, price_points) == 2


def test_what_nobody_knows_or_pays_for_is_not_kept(database: Database, history: History) -> None:
    history.note([*spot(None), *spot("0")], NOW)
    assert course(history) is None
    assert rows_of(database, price_points) == 0


def test_a_price_is_watched_anew_after_a_gap_or_in_another_currency(history: History) -> None:
    history.note(spot("0.05"), NOW)
    history.note(spot("0.07"), NOW + GAP)
    assert len(_points(history, NOW + GAP)) == 2
    history.note(spot("0.07"), NOW + 2 * GAP + 1)
    assert _points(history, NOW + 2 * GAP + 1) == ((NOW + 2 * GAP + 1, Decimal("0.07")),)
    history.note(spot("0.06", "EUR"), NOW + 2 * GAP + 2)
    assert _points(history, NOW + 2 * GAP + 2) == ((NOW + 2 * GAP + 2, Decimal("0.06")),)


def _points(history: History, now: float) -> tuple[tuple[float, Decimal], ...]:
    found = course(history, now)
    assert found is not None
    return found.points


def test_a_clock_that_was_put_back_changes_nothing(history: History) -> None:
    history.note(spot("0.05"), NOW)
    history.note(spot("0.09"), NOW - HOUR)
    assert _points(history, NOW) == ((NOW, Decimal("0.05")),)


def test_only_the_window_is_read_and_begins_with_what_held_then(history: History) -> None:
    for day, amount in enumerate(("0.05", "0.06", "0.07", "0.08")):
        history.note(spot(amount), NOW + day * DAY)
    later = NOW + 3 * DAY
    found = history.read(later, window=1.5 * DAY).prices[KEY]
    assert found.points == (
        (later - 1.5 * DAY, Decimal("0.06")),
        (later - DAY, Decimal("0.07")),
        (later, Decimal("0.08")),
    )


def test_old_prices_are_forgotten_but_for_what_still_holds(
    database: Database, history: History
) -> None:
    amounts = {0: "0.05", 1: "0.06", 2: "0.07"}
    for day in range(41):
        history.note(spot(amounts.get(day, "0.07")), NOW + day * DAY)
    history.prune(NOW + 40 * DAY)
    assert _points(history, NOW + 40 * DAY)[-1][1] == Decimal("0.07")
    assert rows_of(database, price_points) == 1
    history.prune(NOW + 71 * DAY)
    assert course(history, NOW + 71 * DAY) is None
    assert rows_of(database, price_points) == 0


def test_one_looks_once_an_hour_at_what_runs_asked_for(history: History) -> None:
    history.note(spot("0.05"), NOW)
    assert history.due(NOW, HOUR) == [KEY]
    assert history.due(NOW + HOUR - 1, HOUR) is None
    assert history.due(NOW + HOUR + 1, HOUR) == [KEY]
    history.note(spot("0.05"), NOW + 13 * DAY, asked=False)
    assert history.due(NOW + 15 * DAY, HOUR) == [], "no run has asked for two weeks"


# -- memory


@pytest.fixture
def host(database: Database) -> HostRecord:
    return Registry(database).enrol("h-a", "a", EAST, Identity("1", "f"), facts("a"), NOW)


def beat(taken: int, *notices: HostNotice, name: str = "shop") -> Heartbeat:
    mine = FoundWorkload(name, f"c-{name}", name, "running", "10.77.1.2", "redis", taken)
    return Heartbeat(facts("a"), (mine,), (), notices)


def test_the_peak_of_each_hour_is_kept(
    database: Database, history: History, host: HostRecord
) -> None:
    found = Found(database)
    for second, taken in ((0, 5), (10, 9), (3590, 7), (3600, 3), (7190, 4), (7200, 1)):
        found.heartbeat(host, beat(taken), NOW + second)
    [peaks] = history.read(NOW + 7200).memory.values()
    assert peaks == ((NOW, 9), (NOW + HOUR, 4))


def test_no_heartbeat_writes_of_memory_within_an_hour(database: Database, host: HostRecord) -> None:
    found = Found(database)
    found.heartbeat(host, beat(5), NOW)
    written: list[str] = []

    def listen(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "memory_peaks" in statement:
            written.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", listen)
    for second in range(1, 3600, 5):
        found.heartbeat(host, beat(second), NOW + second)
    assert written == []
    found.heartbeat(host, beat(5), NOW + 3600)
    assert len(written) == 1


def test_of_what_two_processes_saw_the_highest_counts(
    database: Database, history: History, host: HostRecord
) -> None:
    first, second = Found(database), Found(database)
    first.heartbeat(host, beat(1), NOW)
    for found, taken in ((first, 9), (second, 5)):
        found.heartbeat(host, beat(taken), NOW + 1)
    for found in (first, second):
        found.heartbeat(host, beat(2), NOW + HOUR)
    [peaks] = history.read(NOW + HOUR).memory.values()
    assert peaks == ((NOW, 9),)


def test_unknown_memory_is_none() -> None:
    peaks = Peaks()
    assert peaks.see("w", 0, NOW) is None
    peaks.see("w", 5, NOW)
    assert peaks.see("w", 0, NOW + HOUR) is None
    assert peaks.see("w", 1, NOW + HOUR) == {"workload": "w", "hour": NOW // HOUR, "bytes": 5}


def test_memory_goes_with_age_and_with_its_workload(
    database: Database, history: History, host: HostRecord
) -> None:
    found = Found(database)
    for hour in range(4):
        found.heartbeat(host, beat(5), NOW + hour * HOUR)
    history.prune(NOW + 14 * DAY + HOUR)
    assert rows_of(database, memory_peaks) == 2
    found.heartbeat(host, Heartbeat(facts("a"), ()), NOW + 5 * HOUR)
    history.prune(NOW + 5 * HOUR)
    assert rows_of(database, memory_peaks) == 0
    found.heartbeat(host, beat(5), NOW + 6 * HOUR)
    found.heartbeat(host, beat(5), NOW + 7 * HOUR)
    assert rows_of(database, memory_peaks) > 0
    with database.write() as c:
        c.execute(sa.delete(t.workloads))
    assert rows_of(database, memory_peaks) == 0


def test_memory_is_watched_anew_after_a_gap(
    database: Database, history: History, host: HostRecord
) -> None:
    found = Found(database)
    for hour in (0, 1, 50, 51):
        found.heartbeat(host, beat(5 + hour), NOW + hour * HOUR)
    [peaks] = history.read(NOW + 51 * HOUR).memory.values()
    assert peaks == ((NOW + 50 * HOUR, 55),)


# -- interruptions

TAKEN = HostNotice("terminate", "2026-01-01T00:02:00Z")


def stand(database: Database, host: HostRecord, terms: str) -> None:
    ledger = Ledger(database)
    ledger.begin("k", host, None, "m5.large", {"terms": terms}, NOW - DAY)
    ledger.running("k", "i-1", "", NOW - DAY, launched_at=NOW - DAY / 2)


def test_a_notice_of_a_spot_machine_is_remembered_once(
    database: Database, history: History, host: HostRecord
) -> None:
    stand(database, host, "spot")
    found = Found(database)
    for second in range(3):
        found.heartbeat(host, beat(5, TAKEN, HostNotice("maintenance", "")), NOW + second)
    past = history.read(NOW + 60)
    assert past.interruptions == {(EAST, "m5.large"): (NOW,)}
    assert past.spot == {(EAST, "m5.large"): (Span(NOW - DAY / 2, NOW + 60),)}
    Ledger(database).gone("k", NOW + 100, ended_at=NOW + 90)
    assert history.read(NOW + DAY).spot[EAST, "m5.large"] == (Span(NOW - DAY / 2, NOW + 90),)
    history.prune(NOW + 61 * DAY)
    past = history.read(NOW + 61 * DAY)
    assert (past.interruptions, past.spot) == ({}, {})


def test_machines_on_demand_are_not_taken_away(
    database: Database, history: History, host: HostRecord
) -> None:
    stand(database, host, "on_demand")
    Found(database).heartbeat(host, beat(5, TAKEN), NOW)
    past = history.read(NOW)
    assert (past.interruptions, past.spot) == ({}, {})


def test_a_notice_of_any_length_is_taken(
    database: Database, history: History, host: HostRecord
) -> None:
    stand(database, host, "spot")
    long = replace(TAKEN, at="x" * 1000)
    Found(database).heartbeat(host, beat(5, long), NOW)
    assert len(history.read(NOW).interruptions) == 1
