"""The schema revisions make what the tables say, and take it away again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from porter.db.database import SCRIPTS, Database
from porter.db.tables import events, instances, metadata
from porter.db.tables.history import interruptions


def tables_of(database: Database) -> set[str]:
    with database.read() as connection:
        return set(sa.inspect(connection).get_table_names())


def prove_up_and_down(database: Database) -> None:
    """Also used with PostgreSQL."""
    database.upgrade()
    database.upgrade()
    assert tables_of(database) == {*metadata.tables, "alembic_version"}
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    database.downgrade("base")
    assert tables_of(database) == {"alembic_version"}
    database.upgrade()
    assert tables_of(database) == {*metadata.tables, "alembic_version"}


def test_up_and_down(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'porter.sqlite3'}")
    prove_up_and_down(database)
    database.close()


def prove_old_notices_are_kept(database: Database) -> None:
    """Those of spot machines from before interruptions had a table. Also used with PostgreSQL."""
    database.upgrade("0007")
    with database.write() as c:
        nothing = ("host_name", "instance", "public_address", "token", "reason")
        machine = dict.fromkeys(nothing, "") | {"site": "aws:east", "instance_type": "m5.large"}
        numbers = {"created": 1.0, "wake_at": 1.0}
        for host, terms in (("h1", "spot"), ("h2", "on_demand")):
            new = {"key": f"k-{host}", "host": host, "state": "gone", "quote": {"terms": terms}}
            c.execute(sa.insert(instances).values(**machine, **numbers, **new))
        told = {"workload": "", "message": "it is taken away", "migration": None}
        for at, host, kind in (
            *((5.0, "h1", "terminate"), (9.0, "h1", "terminate"), (6.0, "h1", "maintenance")),
            *((7.0, "h2", "terminate"), (8.0, "gone", "stop")),
        ):
            data = {"host": host, "kind": kind, "at": ""}
            c.execute(sa.insert(events).values(at=at, kind="host.notice", data=data, **told))
    database.upgrade()
    with database.read() as c:
        kept = [tuple(row) for row in c.execute(sa.select(interruptions))]
    assert kept == [("h1", "terminate", "", "aws:east", "m5.large", 5.0)]
    database.downgrade("0007")
    assert "interruptions" not in tables_of(database)


def test_old_notices_are_kept(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'porter.sqlite3'}")
    prove_old_notices_are_kept(database)
    database.close()


def test_alembics_own_command(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'porter.sqlite3'}"
    for revision in (("upgrade", "head"), ("downgrade", "base"), ("upgrade", "head"), ("check",)):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", "-c", str(SCRIPTS / "alembic.ini"), *revision],
            env={"PORTER_DATABASE_URL": url, "PORTER_STATE": str(tmp_path), "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    database = Database(url)
    assert tables_of(database) == {*metadata.tables, "alembic_version"}
    database.close()


def test_sqlite_is_set_up_for_several_processes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'porter.sqlite3'}")
    with database.read() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
        }
    assert settings == {
        "journal_mode": "wal",
        "busy_timeout": 30000,
        "foreign_keys": 1,
        "synchronous": 2,
    }
    database.close()
