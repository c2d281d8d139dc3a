"""Connections and transactions, the same for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite

from porter.domain.errors import Invalid, Transient

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"
SCHEMA_LOCK = 0x506F72746572
"""Number of the PostgreSQL advisory lock under which the schema is changed."""

KEPT_OPEN = 15
"""Connections that are not closed after use. A web process has 40 threads, which seldom all look at
the database; opening a connection for one transaction takes longer than the transaction."""


class Database:
    """A pool of connections. Thread-safe; sessions are opened for one transaction only."""

    def __init__(self, url: str) -> None:
        parsed = sa.make_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {"pool_pre_ping": not self.sqlite, "pool_size": KEPT_OPEN}
        if self.sqlite:
            options["connect_args"] = {"timeout": 30}
            if parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.url = url
        self.engine = sa.create_engine(parsed, **options)
        if self.sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        self.writer = self.engine.execution_options(porter_write=True)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One transaction that only reads. Raises Transient when the database is away."""
        rehearsal = rehearsing.get()
        if rehearsal is not None and rehearsal.begun:
            with _translated(), rehearsal.part() as connection:
                yield connection
            return
        with _translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction; committed at the end, rolled back by an exception.

        SQLite takes its write lock at once, so that what was read is still so when writing.
        """
        rehearsal = rehearsing.get()
        if rehearsal is not None:
            with _translated(), rehearsal.part() as connection:
                yield connection
            return
        with _translated(), self.writer.connect() as connection, connection.begin():
            yield connection

    def insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that knows ON CONFLICT."""
        return sqlite.insert(table) if self.sqlite else postgresql.insert(table)

    @contextmanager
    def schema_lock(self) -> Iterator[sa.Connection]:
        """A write transaction that nobody else who changes the schema can enter meanwhile."""
        with self.write() as connection:
            self.alone(connection, SCHEMA_LOCK)
            yield connection

    def alone(self, connection: sa.Connection, lock: int) -> None:
        """Wait until nobody else is between this call with the same number and the end of a
        transaction. On SQLite there is one writer at a time anyway."""
        if not self.sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock)))

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


class Rehearsal:
    """All transactions of one request in one that is rolled back: what they would do is seen, and
    nothing is done. While it is in `rehearsing`, every database method of this context takes part.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sa.Connection | None = None
        self._over = False

    @property
    def begun(self) -> bool:
        """Whether anything was written: until then reads need no part in it."""
        return self._connection is not None

    @contextmanager
    def part(self) -> Iterator[sa.Connection]:
        """What would be a transaction of its own."""
        if self._over:
            raise RuntimeError("a rehearsal that is over was used: its transaction would never end")
        if self._connection is None:
            self._connection = self._database.writer.connect()
            self._connection.begin()
        with self._connection.begin_nested():
            yield self._connection

    def end(self) -> None:
        """Undo everything."""
        self._over = True
        if self._connection is not None:
            self._connection.close()


rehearsing: ContextVar[Rehearsal | None] = ContextVar("rehearsing", default=None)
"""Set while a request is a dry run. What reaches beyond the database leaves that out then."""


@contextmanager
def _translated() -> Iterator[None]:
    """A database that is away or busy is worth another try; everything else is a bug."""
    try:
        yield
    except (sa.exc.DataError, OverflowError) as error:
        raise Invalid(
            "cannot look for that: a name or number in it is none that the database can hold"
        ) from error
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
