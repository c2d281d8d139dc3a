"""Lets several threads and processes of the services share SQLite files. Standard library only.

oslo.db begins every transaction so that it first reads and later wants to write; SQLite refuses
one of two that do so at once, at once. Here a transaction begins with its first change and has
the right to write from then on: others wait. What is read before sees what is committed, as the
databases that OpenStack is made for have it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

SECONDS = 60.0
READS = ("SELECT", "PRAGMA", "EXPLAIN", "WITH")


class Cursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = ()) -> Cursor:
        if sql == "BEGIN":
            self._wanted = True
            return self
        self._begin(sql)
        super().execute(sql, parameters)
        return self

    def executemany(self, sql: str, parameters: Iterable[Any]) -> Cursor:
        self._begin(sql)
        super().executemany(sql, parameters)
        return self

    @property
    def _wanted(self) -> bool:
        assert isinstance(self.connection, Connection)
        return self.connection.wanted

    @_wanted.setter
    def _wanted(self, value: bool) -> None:
        assert isinstance(self.connection, Connection)
        self.connection.wanted = value

    def _begin(self, sql: str) -> None:
        reads = sql.lstrip().upper().startswith(READS)
        if self._wanted and not reads and not self.connection.in_transaction:
            super().execute("BEGIN IMMEDIATE")


class Connection(sqlite3.Connection):
    wanted = False
    """A transaction was asked for and has not begun yet."""

    def cursor(self, factory: Any = Cursor) -> Any:
        return super().cursor(factory)

    def commit(self) -> None:
        self.wanted = False
        super().commit()

    def rollback(self) -> None:
        self.wanted = False
        super().rollback()


def install() -> None:
    """Make this process's connections of this kind. Nothing needs to survive a power cut."""
    plain = sqlite3.connect

    def connect(*args: Any, **options: Any) -> Any:
        connection = plain(*args, **{**options, "factory": Connection, "timeout": SECONDS})
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    sqlite3.dbapi2.connect = connect
