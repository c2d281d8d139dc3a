"""The schema revisions make what the tables say, and take it away again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from porter.db.database import SCRIPTS, Database
from porter.db.tables import metadata


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
