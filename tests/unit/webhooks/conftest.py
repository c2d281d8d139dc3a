from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.db.database import Database


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with nothing but its schema, made once: that takes longer than most tests here."""
    path = tmp_path_factory.mktemp("blank") / "porter.sqlite3"
    database = Database(f"sqlite:///{path}")
    database.upgrade()
    database.close()
    return path


@pytest.fixture
def database(blank: Path, tmp_path: Path) -> Iterator[Database]:
    path = shutil.copy(blank, tmp_path / "porter.sqlite3")
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()
