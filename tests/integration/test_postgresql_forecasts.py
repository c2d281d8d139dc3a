"""Forecasts and what they learn from, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from porter.db.database import Database
from tests.unit.migrate.test_planning import Office
from tests.unit.migrate.test_planning import (
    test_a_cancelled_move_teaches_nothing as test_a_cancelled_move_teaches_nothing,
)
from tests.unit.migrate.test_planning import (
    test_a_policy_holds_for_whom_its_label_names as test_a_policy_holds_for_whom_its_label_names,
)
from tests.unit.migrate.test_planning import (
    test_forecasts_learn_from_receipts as test_forecasts_learn_from_receipts,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def office(postgresql_url: str) -> Iterator[Office]:
    database = Database(postgresql_url)
    database.upgrade()
    yield Office(database)
    database.close()
