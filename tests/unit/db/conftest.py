from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.db.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'porter.sqlite3'}")
    database.upgrade()
    yield database
    database.close()
