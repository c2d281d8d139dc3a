"""The audit trail in the database: one chain, whoever writes, and never changed."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import sqlalchemy as sa

from porter.db.audit import Audit, Query
from porter.db.database import Database
from porter.domain.audit import Anchor, Check, Entry
from porter.domain.errors import PorterError

ENTRY = Entry(1.5, "u1", "user", "10.0.0.1", "POST /v1/migrations", "m1", "shop", "202", "r1")


def whole(audit: Audit) -> Check:
    check = Check()
    head = audit.head() or Anchor(0, "")
    assert list(check.read(audit.stream(head.seq))) == []
    return check


def prove_one_chain(databases: list[Database], each: int) -> None:
    """Several processes' worth of writers at once. Also used with PostgreSQL."""
    problems: list[PorterError] = []

    def write(database: Database, who: int) -> None:
        try:
            for turn in range(each):
                Audit(database).append(replace(ENTRY, actor=f"u{who}", details={"turn": turn}))
        except PorterError as error:
            problems.append(error)

    threads = [
        threading.Thread(target=write, args=(database, who))
        for who, database in enumerate(databases)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert whole(Audit(databases[0])).count == each * len(databases)


def prove_append_only(database: Database) -> None:
    """Also used with PostgreSQL."""
    audit = Audit(database)
    placed = audit.append(ENTRY)
    truncate = [] if database.sqlite else ["TRUNCATE audit"]
    replacing = (
        "INSERT OR REPLACE INTO audit SELECT seq, at, 'x', actor_kind, origin, action, target, "
        "project, outcome, request, details, previous, hash FROM audit"
    )
    for statement in (
        "UPDATE audit SET actor = 'x'",
        "DELETE FROM audit",
        *([replacing] if database.sqlite else []),
        *truncate,
    ):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.write() as c:
            c.exec_driver_sql(statement)
    assert audit.head() == Anchor(placed.seq, placed.hash)
    assert whole(audit).count == placed.seq


def test_writers_at_once_make_one_chain(database: Database) -> None:
    others = [Database(database.url) for _ in range(3)]
    prove_one_chain([database, *others], 8)
    for other in others:
        other.close()


def test_the_database_refuses_changes(database: Database) -> None:
    prove_append_only(database)


def test_what_is_listed(database: Database) -> None:
    audit = Audit(database)
    audit.append(ENTRY)
    audit.append(replace(ENTRY, at=2.5, actor="t1", project="", action="DELETE /v1/hosts/{name}"))
    audit.append(replace(ENTRY, at=3.5, project="other", outcome="403", details={"ü": "€"}))

    def seqs(query: Query, projects: frozenset[str] | None = None) -> list[int]:
        return [entry.seq for entry in audit.list(query, projects, None, 10)]

    assert seqs(Query()) == [3, 2, 1]
    assert seqs(Query(), frozenset({"shop"})) == [1]
    assert seqs(Query(actor="t1")) == [2]
    assert seqs(Query(action="DELETE")) == seqs(Query(action="/hosts/{name}")) == [2]
    assert seqs(Query(project="")) == [2]
    assert seqs(Query(outcome="403")) == [3]
    assert seqs(Query(since=2.5, until=3.5)) == [2]
    assert [entry.seq for entry in audit.list(Query(), None, 3, 1)] == [2]
    assert audit.list(Query(), None, None, 1)[0].details == {"ü": "€"}
    assert whole(audit).count == 3
