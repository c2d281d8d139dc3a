"""What is proved of hosts, workloads, history and commands on SQLite holds on PostgreSQL too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from porter.db.database import Database
from tests.unit.db.test_desk import *  # noqa: F403 - the same tests, another database
from tests.unit.db.test_history import *  # noqa: F403
from tests.unit.db.test_hosts import *  # noqa: F403
from tests.unit.db.test_ledger import *  # noqa: F403

pytestmark = pytest.mark.integration


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    database = Database(postgresql_url)
    database.upgrade()
    yield database
    database.close()
