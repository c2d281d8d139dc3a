"""What the REST API asks of the database beyond tables, on PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from porter.db import tables as t
from porter.db.answers import LEASE_S, Answers
from porter.db.database import Database, Rehearsal, rehearsing
from porter.db.listing import Listing
from porter.db.sites import Sites
from porter.domain.errors import Conflict, Invalid


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    database = Database(postgresql_url)
    database.upgrade()
    yield database
    database.close()


def test_of_many_with_one_key_one_begins(database: Database) -> None:
    answers, now = Answers(database), time.time()
    start, won = threading.Barrier(8), list[float]()

    def ask(mark: float) -> None:
        start.wait()
        if answers.begin("u1", "k", "h", mark) is None:
            won.append(mark)

    threads = [threading.Thread(target=ask, args=(now + n / 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    (mark,) = won
    assert answers.keep("u1", "k", mark, 201, {"a": "b"}, b"body")
    kept = answers.begin("u1", "k", "h", now + LEASE_S * 2)
    assert kept is not None
    assert (kept.status, kept.headers, kept.body) == (201, {"a": "b"}, b"body")


def test_a_rehearsal_goes_on_after_an_error_and_leaves_nothing(database: Database) -> None:
    sites = Sites(database)
    rehearsal = Rehearsal(database)
    token = rehearsing.set(rehearsal)
    try:
        sites.add("a", "aws", "", {}, "", 1.0)
        with pytest.raises(Conflict):
            sites.add("a", "aws", "", {}, "", 1.0)
        with pytest.raises(sa.exc.IntegrityError), database.write() as c:
            c.execute(sa.insert(t.hosts).values(id="h"))
        assert [site.name for site in sites.all()] == ["a"]
    finally:
        rehearsing.reset(token)
        rehearsal.end()
    assert sites.all() == []


def test_texts_that_it_cannot_hold(database: Database) -> None:
    with pytest.raises(Invalid):
        Listing(database).workloads(None, 10, project="a\0b")
