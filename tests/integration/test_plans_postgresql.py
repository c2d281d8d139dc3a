"""Plans on PostgreSQL: of many who decide or execute at once, one does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from porter.db.database import Database
from porter.db.plans import PlanState
from porter.domain.errors import Invalid
from tests.unit.migrate.test_planning import APPROVAL, BOB, DRIFTS, Office, prove_races

pytestmark = pytest.mark.integration


@pytest.fixture
def office(postgresql_url: str) -> Iterator[Office]:
    database = Database(postgresql_url)
    database.upgrade()
    yield Office(database)
    database.close()


def test_of_many_approvers_and_executors_one_wins(office: Office) -> None:
    for _ in range(3):
        prove_races(office)
        for migration in office.world.moves.active().values():
            office.run(migration)
        if office.world.runners("shop") == ["cloud"]:
            office.run(office.world.move("shop", "onprem"))


def test_plans_lapse_and_are_listed_in_pages(office: Office) -> None:
    office.keep(APPROVAL)
    made = [office.make() for _ in range(3)]
    first = office.plans.all(limit=2)
    rest = office.plans.all(limit=2, after=(first[-1].created, first[-1].id))
    assert {plan.id for plan in (*first, *rest)} == {plan.id for plan in made}
    assert len(rest) == 1
    DRIFTS[1](office)
    office.planner.sweep(office.world.now)
    assert {plan.state for plan in office.plans.all()} == {PlanState.LAPSED}


def test_zero_bytes_are_refused_not_a_fault(office: Office) -> None:
    made = office.make()
    with pytest.raises(Invalid, match="cannot look for that"):
        office.plans.get("\x00")
    with pytest.raises(Invalid, match="cannot look for that"):
        office.plans.decline(made.id, BOB, "no\x00", office.world.now)
    assert office.state(made) == PlanState.OPEN
