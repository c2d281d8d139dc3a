"""The agent's durable memory: operations asked of it, handovers, and a few values.

Every write is on disk (fsync) when the call returns; what follows from it comes after.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.domain.container import Link
from porter.domain.workload import WorkloadSpec
from porter.protocol import codec
from porter.protocol.messages import Command, Result

_SCHEMA = """
CREATE TABLE IF NOT EXISTS operations (
    id TEXT PRIMARY KEY, command TEXT NOT NULL, state TEXT NOT NULL, result TEXT,
    acked INTEGER NOT NULL DEFAULT 0, updated REAL NOT NULL);
CREATE TABLE IF NOT EXISTS handovers (
    migration TEXT PRIMARY KEY, workload TEXT NOT NULL, role TEXT NOT NULL, state TEXT NOT NULL,
    settled INTEGER NOT NULL, body TEXT NOT NULL, updated REAL NOT NULL);
CREATE TABLE IF NOT EXISTS remembered (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_KEEP_S = 30 * 86400.0
"""Acknowledged operations and settled handovers are kept this long for late questions."""


@dataclass(frozen=True)
class Record:
    """One handover as this host knows it. `state` is a domain.handover Source or Target."""

    migration: str
    workload: str
    role: str
    """`source` or `target`."""
    generation: int
    state: str
    applied: str = ""
    """The state whose consequences are carried out; differs from `state` while they are due."""
    settled: bool = False
    container: str = ""
    spec: WorkloadSpec | None = None
    link: Link | None = None
    peer_host: str = ""
    peer_address: str = ""
    peer_port: int = 0
    token: str = ""
    via: str = ""
    """Below this prefix of a store the source talks to the target; empty: directly."""
    frozen: bool = False
    """Source: it was frozen once, so that resuming has something to undo."""
    yielded: bool = False
    """Source: its address was given away once."""
    streaming: bool = False
    """Target: the source has begun to send; it never begins twice."""
    note: str = ""
    report: dict[str, Any] | None = None
    """Source: what was measured, kept until the result has been delivered."""


class Journal:
    """SQLite file in the agent's state directory. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # -- operations -------------------------------------------------------------------------

    def begin(self, command: Command) -> Result | None:
        """Note that a command is being carried out; its result if that was done before."""
        with self._lock:
            row = self._row("SELECT state, result FROM operations WHERE id = ?", command.id)
            if row is not None and row[0] == "done":
                again = "UPDATE operations SET acked = 0, updated = ? WHERE id = ?"
                self._write(again, time.time(), command.id)
                return codec.load(Result, json.loads(row[1]))
            if row is None:
                self._write(
                    "INSERT INTO operations (id, command, state, updated) VALUES (?, ?, ?, ?)",
                    *(command.id, json.dumps(codec.dump(command)), "running", time.time()),
                )
            return None

    def finish(self, operation: str, result: Result) -> None:
        """Write an operation's result; it is delivered until acknowledged."""
        self._write(
            "UPDATE operations SET state = 'done', result = ?, acked = 0, updated = ? WHERE id = ?",
            *(json.dumps(codec.dump(result)), time.time(), operation),
        )

    def undelivered(self) -> list[tuple[str, Result, float]]:
        """Results that the control plane has not acknowledged, oldest first, and since when."""
        rows = self._rows(
            "SELECT id, result, updated FROM operations WHERE state = 'done' AND NOT acked "
            "ORDER BY updated"
        )
        return [(row[0], codec.load(Result, json.loads(row[1])), row[2]) for row in rows]

    def delivered(self, operation: str, since: float) -> None:
        """The result is acknowledged, unless it was asked for once more meanwhile."""
        self._write(
            "UPDATE operations SET acked = 1 WHERE id = ? AND updated = ?", operation, since
        )

    def interrupted(self) -> list[Command]:
        """Commands begun and not finished: after a restart, those that the restart broke off."""
        rows = self._rows("SELECT command FROM operations WHERE state = 'running'")
        return [codec.load(Command, json.loads(row[0])) for row in rows]

    # -- handovers --------------------------------------------------------------------------

    def put(self, record: Record) -> None:
        """Write a handover's record."""
        self._write(
            "INSERT OR REPLACE INTO handovers VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(record.migration, record.workload, record.role, record.state),
            *(record.settled, json.dumps(codec.dump(record)), time.time()),
        )

    def get(self, migration: str) -> Record | None:
        row = self._row("SELECT body FROM handovers WHERE migration = ?", migration)
        return None if row is None else codec.load(Record, json.loads(row[0]))

    def unsettled(self) -> list[Record]:
        """Handovers that are not cleared away yet, oldest first."""
        rows = self._rows("SELECT body FROM handovers WHERE NOT settled ORDER BY updated")
        return [codec.load(Record, json.loads(row[0])) for row in rows]

    # -- values -----------------------------------------------------------------------------

    def remember(self, key: str, value: Any) -> None:
        text = json.dumps(value)
        self._write("INSERT OR REPLACE INTO remembered VALUES (?, ?)", key, text)

    def recall(self, key: str) -> Any:
        """None if nothing is remembered under `key`."""
        row = self._row("SELECT value FROM remembered WHERE key = ?", key)
        return None if row is None else json.loads(row[0])

    def forget_old(self) -> None:
        """Drop what nobody can ask for any more."""
        before = time.time() - _KEEP_S
        self._write("DELETE FROM operations WHERE acked AND updated < ?", before)
        self._write("DELETE FROM handovers WHERE settled AND updated < ?", before)

    def _write(self, statement: str, *values: Any) -> None:
        with self._lock:
            self._db.execute(statement, values)

    def _row(self, statement: str, *values: Any) -> Any:
        rows = self._rows(statement, *values)
        return rows[0] if rows else None

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()
