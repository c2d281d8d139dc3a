from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.db.database import Database
from tests.schema import upgrade


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'porter.sqlite3'}")
    upgrade(database)
    yield database
    database.close()
