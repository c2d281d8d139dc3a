"""Moves judged by policies; plans made, approved, lapsed and executed once."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from porter.db import tables
from porter.db.database import Database
from porter.db.forecasts import Forecasts
from porter.db.plans import PlanRecord, Plans, PlanState
from porter.db.policies import Policies
from porter.domain.errors import (
    ApprovalRequired,
    Conflict,
    Denied,
    Lapsed,
    NotFound,
    PolicyRefused,
    PorterError,
)
from porter.domain.identity import Grant, Principal, Role
from porter.domain.migration import MigrationState
from porter.migrate.forecast import Forecaster
from porter.migrate.plan import plan_hash
from porter.migrate.planning import Planner
from porter.migrate.prospects import Asked, Prospect
from tests.saga.world import World, fresh_database

ANN = Principal("u-ann", "user", "Ann", (Grant("default", Role.ADMIN),))
BOB = Principal("u-bob", "user", "Bob", (Grant("default", Role.APPROVER),))
ANNS_TOKEN = Principal("t-1", "token", "ci", ANN.grants, owner="u-ann")
HEAD = "version: 1\nname: {name}\nproject: default\n"
APPROVAL = HEAD + "approval: {{}}\n"
MOVE = Asked("shop", "cloud")


class Office:
    """A planner over a simulated fleet: `shop` is on onprem, cloud is free."""

    def __init__(self, database: Database) -> None:
        self.database, self.world = database, World(database)
        onprem = self.world.host("onprem", "onprem")
        self.world.host("cloud", "cloudy")
        self.world.start("shop", onprem)
        world = self.world
        self.plans, self.policies = Plans(database), Policies(database)
        self.forecasts = Forecasts(database)
        self.planner = Planner(
            world.moves,
            self.plans,
            self.policies,
            world.registry,
            world.places,
            Forecaster(self.plans, world.ledger, world.places, self.forecasts),
        )

    def keep(self, document: str, name: str = "p", project: str = "default") -> None:
        text = document.format(name=name)
        self.policies.put(name, project, text, "root", self.world.now)

    def label(self, workload: str, *policies: str) -> None:
        w = tables.workloads
        with self.database.write() as c:
            named = sa.update(w).where(w.c.name == workload)
            c.execute(named.values(policies=list(policies) or None))

    def start(self, by: Principal = ANN, asked: Asked = MOVE) -> str:
        prospect = self.planner.look(asked, self.world.now)
        return self.planner.start(prospect, by, self.world.now, None, "")

    def make(self, by: Principal = ANN, asked: Asked = MOVE, lifetime: float = 600.0) -> PlanRecord:
        prospect = self.planner.look(asked, self.world.now)
        return self.planner.make(prospect, by, self.world.now, lifetime)

    def approve(self, made: PlanRecord, by: Principal = BOB, digest: str = "") -> PlanRecord:
        return self.plans.approve(made.id, digest or made.hash, by, "fine", self.world.now)

    def execute(self, made: PlanRecord, by: Principal = ANN) -> str:
        return self.planner.execute(made.id, by, self.world.now)

    def state(self, made: PlanRecord) -> str:
        return self.plans.get(made.id).state

    def run(self, migration: str) -> None:
        self.world.enqueue(migration)
        assert self.world.run(migration).migration.state is MigrationState.SUCCEEDED


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, made once and copied: making it takes longer than most of these tests."""
    folder = tmp_path_factory.mktemp("empty")
    fresh_database(folder).close()
    return folder / "porter.sqlite3"


@pytest.fixture
def office(tmp_path: Path, empty: Path) -> Iterator[Office]:
    copy = shutil.copy(empty, tmp_path / "porter.sqlite3")
    database = Database(f"sqlite:///{copy}")
    yield Office(database)
    database.close()


def test_without_policies_a_move_begins(office: Office) -> None:
    office.run(office.start())
    assert office.plans.all() == []


def test_forecasts_learn_from_receipts(office: Office) -> None:
    office.run(office.start())
    (first,) = office.forecasts.kept()
    assert not first.forecast["known"]
    assert set(first.receipt["forecast_error"]) >= {"downtime", "wire"}
    (past,) = office.forecasts.past()
    known = past.features
    assert (known.workload, known.source_site, known.target_site) == ("shop", "onprem", "cloudy")
    assert past.downtime_ms == 120.0
    assert past.wire == first.receipt["bytes"]["wire"]
    office.world.beat()
    office.run(office.start(asked=Asked("shop", "onprem")))
    second, _ = office.forecasts.kept()
    assert second.forecast["basis"].startswith("1 move of shop; ")
    likely = [one.forecast["downtime_ms"]["likely"] for one in (first, second)]
    assert abs(likely[1] - 120) < abs(likely[0] - 120)
    assert [one.features.source_site for one in office.forecasts.past()] == ["cloudy", "onprem"]


def test_a_cancelled_move_teaches_nothing(office: Office) -> None:
    made = office.start()
    office.world.cancel(made)
    assert office.world.run(made).migration.state is MigrationState.ROLLED_BACK
    assert office.forecasts.past("shop", "x", "y") == []
    assert office.world.receipt(made)["forecast_error"] == {}
    assert office.world.receipt(made)["forecast"]["basis"]


def test_a_plan_says_what_to_expect(office: Office) -> None:
    expected = office.make().content["forecast"]["expected"]
    assert expected["downtime_ms"]["low"] < expected["downtime_ms"]["high"]


def test_a_policy_of_another_project_does_not_hold(office: Office) -> None:
    office.keep("version: 1\nname: {name}\nproject: other\napproval: {{}}\n", project="other")
    office.run(office.start())


def test_residency_refuses(office: Office) -> None:
    office.keep(HEAD + "residency: {{allow: [onprem]}}\n")
    for ask in (office.start, office.make):
        with pytest.raises(PolicyRefused, match="cloudy is not among") as refused:
            ask()
        assert refused.value.members == {"policy": "p", "rule": "residency", "opens_at": None}
    assert office.plans.all() == []


def test_a_policy_for_all_projects_holds_too(office: Office) -> None:
    office.keep("version: 1\nname: {name}\nproject: '*'\nresidency: {{allow: [x]}}\n", project="")
    with pytest.raises(PolicyRefused):
        office.start()


def test_a_policy_holds_for_whom_its_label_names(office: Office) -> None:
    office.keep(HEAD + "workloads: []\nresidency: {{allow: [onprem]}}\n")
    office.policies.remove("p", "root", office.world.now)
    office.label("shop", "p")
    refused = replace(MOVE, scheduled=True)
    with pytest.raises(PolicyRefused, match="names the policy p, which does not exist"):
        office.start(asked=refused)
    office.keep(HEAD + "workloads: []\nresidency: {{allow: [onprem]}}\n")
    with pytest.raises(PolicyRefused, match="cloudy is not among"):
        office.start()
    office.label("shop")
    made = office.make()
    office.label("shop", "p")
    with pytest.raises(Lapsed, match="policies have changed"):
        office.execute(made)
    office.label("shop", "gone")
    office.run(office.start())  # a person's move: told as an event, and let pass


def test_windows_refuse_now_but_not_a_plan(office: Office) -> None:
    # The world's clock says 1970-01-12 13:46 UTC.
    office.keep(HEAD + "windows: [{{cron: 0 15 * * *, zone: UTC, length: 1h}}]\n")
    with pytest.raises(PolicyRefused) as refused:
        office.start()
    assert refused.value.members["opens_at"] == "1970-01-12T15:00:00.000+00:00"
    assert "1970-01-12 15:00 UTC" in refused.value.remedy
    made = office.make(lifetime=86400)
    assert made.state == PlanState.OPEN
    with pytest.raises(PolicyRefused):
        office.execute(made)
    assert office.state(made) == PlanState.OPEN
    office.world.now = 1_000_000 // 86400 * 86400 + 15 * 3600 + 1.0
    office.world.beat()
    office.run(office.execute(made))


def test_approval_by_another_person(office: Office) -> None:
    office.keep(APPROVAL)
    with pytest.raises(ApprovalRequired) as refused:
        office.start()
    (made,) = office.plans.all()
    assert refused.value.members["plan"] == made.id
    assert f"porter plan approve {made.id}" in refused.value.remedy
    with pytest.raises(ApprovalRequired):
        office.start()
    assert len(office.plans.all()) == 1, "the same wish again is the same plan"
    with pytest.raises(ApprovalRequired):
        office.execute(made)
    for same in (ANN, ANNS_TOKEN):
        with pytest.raises(Denied, match="you made it"):
            office.approve(made, same)
    with pytest.raises(Conflict, match="hash"):
        office.approve(made, digest="0" * 64)
    assert office.state(made) == PlanState.WAITING
    assert office.approve(made).decided_by == "u-bob"
    with pytest.raises(Conflict, match="it is approved"):
        office.approve(made)
    with pytest.raises(ApprovalRequired, match="cannot move") as told:
        office.start()
    assert f"porter plan execute {made.id}" in told.value.remedy
    migration = office.execute(made)
    assert office.execute(made) == migration
    assert office.world.moves.story(migration).migration.plan_hash == made.hash
    office.run(migration)
    assert office.execute(made) == migration
    receipt = office.world.receipt(migration)
    assert (receipt["plan"], receipt["plan_hash"]) == (made.id, made.hash)
    assert receipt["requested_by"] == "u-ann"


def test_what_a_person_made_with_a_token_they_cannot_approve(office: Office) -> None:
    office.keep(APPROVAL)
    made = office.make(ANNS_TOKEN)
    with pytest.raises(Denied):
        office.approve(made, ANN)


def test_the_hash_covers_content_and_basis(office: Office) -> None:
    made = office.make()
    whole = {"id": made.id, "content": made.content, "basis": made.basis}
    kept = office.plans.get(made.id)
    assert plan_hash(whole) == made.hash == kept.hash
    assert (kept.content, kept.basis) == (made.content, made.basis)
    for part in whole:
        assert plan_hash({**whole, part: "x"}) != made.hash


def moved(office: Office) -> None:
    office.run(office.world.move("shop", "cloud"))


def changed(office: Office) -> None:
    office.keep(APPROVAL + "price: {{max_hourly: {{amount: 9, currency: USD}}}}\n")


def another(office: Office) -> None:
    office.keep(APPROVAL, "q")


def removed(office: Office) -> None:
    office.policies.remove("p", "root", office.world.now)


def later(office: Office) -> None:
    office.world.now += 601


def no_target(office: Office) -> None:
    office.world.registry.remove("cloud", office.world.now)


def replaced(office: Office) -> None:
    """Removed and written again: the same name and version, another document."""
    removed(office)
    office.keep(APPROVAL + "description: other\n")


DRIFTS = [moved, changed, another, removed, replaced, later, no_target]


@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_ends_what_waits_and_what_was_approved(
    office: Office, drift: Callable[[Office], None]
) -> None:
    office.keep(APPROVAL)
    waiting, approved, swept = (office.make() for _ in range(3))
    office.approve(approved)
    drift(office)
    with pytest.raises(Lapsed):
        office.approve(waiting)
    with pytest.raises(Lapsed):
        office.execute(approved)
    assert office.state(swept) == PlanState.WAITING
    office.planner.sweep(office.world.now)
    for made in (waiting, approved, swept):
        assert office.state(made) == PlanState.LAPSED
        assert office.plans.get(made.id).reason
        with pytest.raises(Conflict, match="it is lapsed"):
            office.execute(made)
    assert office.world.moves.active() == {}


def test_what_has_nothing_to_do_with_it_is_no_drift(office: Office) -> None:
    office.keep(APPROVAL)
    made = office.make()
    office.approve(made)
    office.keep("version: 1\nname: {name}\nproject: default\nworkloads: [x]\napproval: {{}}\n", "q")
    office.keep(APPROVAL)
    office.world.beat()
    office.planner.sweep(office.world.now)
    office.run(office.execute(made))


@pytest.mark.parametrize("drift", [another, later, None])
def test_what_changes_at_the_last_moment_counts(
    office: Office, drift: Callable[[Office], None] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After all that was asked beforehand, and before the transaction that begins the move."""
    office.keep(APPROVAL)
    made = office.make()
    office.approve(made)
    begin = office.planner._begin

    def late(prospect: Prospect, by: Principal, now: float, *rest: Any) -> str:
        if drift is None:
            office.plans.decline(made.id, BOB, "no", now)
        else:
            drift(office)
        return begin(prospect, by, office.world.now, *rest)

    monkeypatch.setattr(office.planner, "_begin", late)
    with pytest.raises(Conflict):
        office.execute(made)
    assert office.world.moves.active() == {}
    office.planner.sweep(office.world.now)
    expected = PlanState.DECLINED if drift is None else PlanState.LAPSED
    assert office.state(made) == expected
    assert office.plans.get(made.id).migration is None


def test_declined_is_declined(office: Office) -> None:
    office.keep(APPROVAL)
    made = office.make()
    office.approve(made)
    assert office.plans.decline(made.id, BOB, "not today", office.world.now).reason == "not today"
    for late in (office.approve, office.execute):
        with pytest.raises(Conflict, match="declined"):
            late(made)
    with pytest.raises(Conflict, match="declined"):
        office.plans.decline(made.id, BOB, "again", office.world.now)


def test_plans_of_other_projects_are_not_there(office: Office) -> None:
    made = office.make()
    with pytest.raises(NotFound):
        office.plans.get(made.id, frozenset({"other"}))
    assert office.plans.all(frozenset({"other"})) == []
    assert office.plans.all(frozenset({"default"})) == [made]


def test_sizes_are_unknown_until_a_move_has_looked(office: Office) -> None:
    office.keep(HEAD + "egress: {{max_bytes: 1 TB, if_unknown: refuse}}\n")
    with pytest.raises(PolicyRefused, match="files and image is unknown"):
        office.start()
    office.run(office.world.move("shop", "cloud"))
    office.run(office.start(asked=Asked("shop", "onprem")))


def test_every_decision_is_an_event(office: Office) -> None:
    office.keep(APPROVAL)
    made = office.make()
    office.approve(made)
    office.execute(made)
    other = office.make(BOB)
    office.plans.decline(other.id, ANN, "no", office.world.now)
    removed(office)
    kinds = {event.kind: event for event in office.world.moves.news()}
    for kind in ("created", "approved", "executed", "declined"):
        assert kinds[f"plan.{kind}"].project == "default"
    assert kinds["plan.approved"].data["person"] == "u-bob"
    assert {"policy.changed", "policy.removed"} <= kinds.keys()


def race(office: Office, what: Callable[[], object], count: int = 6) -> tuple[list[object], int]:
    """What so many at once got, and how many were refused."""
    barrier, got, refused = threading.Barrier(count), list[object](), list[PorterError]()

    def run() -> None:
        barrier.wait()
        try:
            got.append(what())
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got, len(refused)


def prove_races(office: Office) -> None:
    """Also used with PostgreSQL."""
    office.keep(APPROVAL)
    made = office.make()
    approved, late = race(office, lambda: office.approve(made))
    assert (len(approved), late) == (1, 5)
    migrations, late = race(office, lambda: office.execute(made))
    assert (len(set(migrations)), late) == (1, 0)
    assert office.plans.get(made.id).migration == migrations[0]
    assert list(office.world.moves.active().values()) == [migrations[0]]
    office.run(str(migrations[0]))
    torn = office.make(asked=Asked("shop", "onprem"))
    office.approve(torn)
    either = [
        lambda: office.execute(torn),
        lambda: office.plans.decline(torn.id, BOB, "no", office.world.now).id,
    ] * 3
    turns = iter(either)
    race(office, lambda: next(turns)())
    end = office.plans.get(torn.id)
    assert end.state in (PlanState.EXECUTED, PlanState.DECLINED)
    assert (end.state == PlanState.EXECUTED) == bool(office.world.moves.active())


def test_of_many_approvers_and_executors_one_wins(office: Office) -> None:
    prove_races(office)
