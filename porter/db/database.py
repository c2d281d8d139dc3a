"""Connections and transactions, the same for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite

from porter.domain.errors import Transient

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"
SCHEMA_LOCK = 0x506F72746572
"""Number of the PostgreSQL advisory lock under which the schema is changed."""


class Database:
    """A pool of connections. Thread-safe; sessions are opened for one transaction only."""

    def __init__(self, url: str) -> None:
        parsed = sa.make_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {"pool_pre_ping": not self.sqlite}
        if self.sqlite:
            options["connect_args"] = {"timeout": 30}
            if parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.url = url
        self.engine = sa.create_engine(parsed, **options)
        if self.sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        self._writer = self.engine.execution_options(porter_write=True)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One transaction that only reads. Raises Transient when the database is away."""
        with _translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction; committed at the end, rolled back by an exception.

        SQLite takes its write lock at once, so that what was read is still so when writing.
        """
        with _translated(), self._writer.connect() as connection, connection.begin():
            yield connection

    def insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that knows ON CONFLICT."""
        return sqlite.insert(table) if self.sqlite else postgresql.insert(table)

    @contextmanager
    def schema_lock(self) -> Iterator[sa.Connection]:
        """A write transaction that nobody else who changes the schema can enter meanwhile."""
        with self.write() as connection:
            if not self.sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK)))
            yield connection

    def upgrade(self, revision: str = "head") -> None:
        """Bring the schema to a revision. Safe to call from several processes at once."""
        with self.schema_lock() as connection:
            command.upgrade(self._alembic(connection), revision)

    def downgrade(self, revision: str) -> None:
        with self.schema_lock() as connection:
            command.downgrade(self._alembic(connection), revision)

    def _alembic(self, connection: sa.Connection) -> Config:
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        return config

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    """A database that is away or busy is worth another try; everything else is a bug."""
    try:
        yield
    except sa.exc.OperationalError as error:
        raise Transient(
            f"cannot use the database: {error.orig}", "see that it runs and can be reached"
        ) from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not begin transactions by itself: `_begin_sqlite` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "busy_timeout=30000", "foreign_keys=ON", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("porter_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
