"""Databases with today's schema, quickly: SQLite's is made once for a process and then copied."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from porter.db.database import Database


@functools.cache
def _template() -> Path:
    folder = tempfile.mkdtemp(prefix="porter-schema-")
    atexit.register(shutil.rmtree, folder)
    path = Path(folder) / "schema.sqlite3"
    database = Database(f"sqlite:///{path}")
    database.upgrade()
    database.close()
    return path


def upgrade(database: Database) -> None:
    """What `Database.upgrade` does, for a database that is new."""
    path = Path(database.engine.url.database or "")
    if database.sqlite and not path.exists():
        shutil.copyfile(_template(), path)
    else:
        database.upgrade()
