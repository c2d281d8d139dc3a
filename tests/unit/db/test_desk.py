"""Commands reach their host at least once, and their first result counts."""

from __future__ import annotations

import pytest

from porter.db.base import NewCommand
from porter.db.database import Database
from porter.db.desk import REDELIVER, Desk
from porter.domain.errors import NotFound
from porter.protocol.messages import Progress, Result

NOW = 1000.0


@pytest.fixture
def desk(database: Database) -> Desk:
    desk = Desk(database)
    commands = [NewCommand(f"dry-1.{n}", "h1", "preflight", "query", {"n": n}) for n in range(3)]
    desk.send(commands, NOW)
    desk.send(commands, NOW)
    return desk


def ids(desk: Desk, now: float = NOW, resume: bool = False, host: str = "h1") -> list[str]:
    return [command.id for command in desk.fetch(host, now, resume)]


def test_each_is_handed_out_once_in_order(desk: Desk) -> None:
    assert ids(desk, host="h2") == []
    assert ids(desk) == ["dry-1.0", "dry-1.1", "dry-1.2"]
    assert ids(desk) == []


def test_a_restarted_agent_gets_what_it_never_answered(desk: Desk) -> None:
    ids(desk)
    desk.finish("h1", "dry-1.1", Result(output={}), NOW)
    assert ids(desk, resume=True) == ["dry-1.0", "dry-1.2"]


def test_what_nothing_is_heard_of_is_handed_out_again(desk: Desk) -> None:
    ids(desk)
    desk.progress("h1", "dry-1.0", Progress("x"), NOW + REDELIVER)
    assert ids(desk, NOW + REDELIVER + 1) == ["dry-1.1", "dry-1.2"]


def test_the_first_result_counts(desk: Desk) -> None:
    ids(desk)
    desk.finish("h1", "dry-1.0", Result(output={"a": 1}), NOW)
    desk.finish("h1", "dry-1.0", Result(output={"a": 2}), NOW)
    (first, *_) = desk.read("dry-1.")
    assert first.result == {"output": {"a": 1}, "error": None}


def test_a_host_answers_for_itself_only(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.finish("h2", "dry-1.0", Result(output={}), NOW)
    with pytest.raises(NotFound):
        desk.progress("h2", "dry-1.0", Progress("x"), NOW)


def test_a_dry_run_leaves_nothing(desk: Desk) -> None:
    desk.forget("dry-1")
    assert desk.read("dry-1") == ()


def test_the_pulse_changes_with_every_new_command(desk: Desk) -> None:
    before = desk.pulse()
    desk.send([NewCommand("dry-2.0", "h1", "preflight", "query", {})], NOW)
    assert desk.pulse() != before
