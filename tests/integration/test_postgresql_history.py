"""What was seen decides, on PostgreSQL too; and many may tell of it at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest

from porter.db.database import Database
from porter.db.history import HOUR, History
from porter.domain.money import Quote
from tests.saga.test_history import *  # noqa: F403 - the same tests, another database
from tests.saga.world import World

pytestmark = pytest.mark.integration
NOW = 1_000_000.0


@pytest.fixture
def world(postgresql_url: str) -> Iterator[World]:
    database = Database(postgresql_url)
    database.upgrade()
    yield World(database)
    database.close()


def test_of_many_who_look_at_once_one_does(world: World) -> None:
    history = History(world.database)
    quotes = [
        ("aws:east", Quote(f"m5.{n}", Decimal("0.05"), "USD", "hour", "", "a test", "spot"))
        for n in range(50)
    ]
    ready, turns = threading.Barrier(4), list[int]()

    def look(number: int) -> None:
        ready.wait()
        history.note(reversed(quotes) if number % 2 else quotes, NOW + number)
        due = history.due(NOW + 10, HOUR)
        turns.append(0 if due is None else len(due))

    threads = [threading.Thread(target=look, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(turn > 0 for turn in turns) == 1
    assert len(turns) == 4, "nobody was in another's way"
    courses = history.read(NOW + 20).prices
    assert len(courses) == 50
    assert {one.points[-1][1] for one in courses.values()} == {Decimal("0.05")}
