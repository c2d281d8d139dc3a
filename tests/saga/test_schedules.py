"""Schedules run once for each time, whatever the clock, beat and workers do."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from porter.db.database import Database
from porter.db.proposals import ProposalState
from porter.db.rebalances import Rebalances
from porter.db.schedules import Schedules
from porter.domain.errors import Transient
from porter.protocol.joining import HostNotice
from porter.schedule.clockwork import ATTEMPTS, LEASE, Clockwork
from porter.schedule.optimiser.model import Bundle, Problem
from tests.saga.port import Port, bundle
from tests.saga.world import World

WEST = "fake:west"
NEW = f"{WEST}/small/on_demand#1"
MONDAY = datetime(2026, 3, 2, 12, 0, tzinfo=UTC).timestamp()


def to_new(problem: Problem) -> list[Bundle]:
    free = [job for job in problem.jobs if job.pinned is None and not job.host.startswith("fake")]
    steps = [(job.name, job.host, NEW) for job in free]
    return [bundle(steps, machines=[NEW])] if steps else []


@pytest.fixture
def port(world: World) -> Port:
    world.now = MONDAY - 600
    world.cloud("fake:east")
    world.cloud(WEST)
    world.start("shop", world.host("old", "fake:east"))
    port = Port(world)
    port.oracle.say = to_new
    return port


def put(port: Port, name: str = "hourly", cron: str = "0 * * * *", **spec: Any) -> None:
    port.schedules.put(name, "", cron, "UTC", spec, "u-ann", port.world.now)


def at(port: Port, moment: float) -> int:
    """The clock says so, and beat asks. How many runs that made."""
    port.world.now = moment
    port.world.beat()
    return port.clockwork.tick()


def runs(port: Port) -> list[tuple[str, float]]:
    """(trigger, minutes after noon), the oldest first."""
    found = port.rebalances.all()[::-1]
    return [(run.trigger, ((run.due_at or 0.0) - MONDAY) / 60) for run in found]


def test_it_runs_when_its_time_comes_and_once(port: Port) -> None:
    put(port)
    assert at(port, MONDAY - 1) == 0
    assert at(port, MONDAY + 1) == 1
    assert at(port, MONDAY + 2) == 0
    assert at(port, MONDAY + 3599) == 0
    assert at(port, MONDAY + 3600) == 1
    assert runs(port) == [("cron", 0), ("cron", 60)]
    run = port.rebalances.all()[0]
    assert (run.state, run.created_by) == ("done", "schedule hourly")


def test_what_is_proposed_waits_for_people(port: Port) -> None:
    put(port)
    at(port, MONDAY)
    [made] = port.proposals.all()
    assert made.state == ProposalState.OPEN
    assert made.created_by == "schedule hourly"
    assert not port.world.moves.active()


def test_auto_execute_carries_out_what_needs_no_approval(port: Port) -> None:
    put(port, auto="execute")
    at(port, MONDAY)
    [made] = port.proposals.all()
    assert made.state == ProposalState.EXECUTING
    done = port.finish(made.id)
    assert done.state == ProposalState.DONE, done.reason
    assert port.where("shop").startswith("fake-west")


def test_auto_execute_waits_where_a_policy_demands_approval(port: Port) -> None:
    text = "version: 1\nname: p\nproject: default\napproval: {}\n"
    port.policies.put("p", "default", text, "root", port.world.now)
    put(port, auto="execute")
    at(port, MONDAY)
    assert [one.state for one in port.proposals.all()] == [ProposalState.WAITING]


def test_nothing_begins_outside_the_windows(port: Port) -> None:
    text = (
        "version: 1\nname: p\nproject: default\n"
        "windows: [{cron: 30 * * * *, zone: UTC, length: 10m}]\n"
    )
    port.policies.put("p", "default", text, "root", port.world.now)
    put(port, cron="*/15 * * * *", auto="execute")
    for minute in (0, 15):
        at(port, MONDAY + minute * 60)
        assert port.proposals.all() == []
    at(port, MONDAY + 30 * 60)
    [made] = port.proposals.all()
    done = port.finish(made.id)
    begun = port.proposals.moves(made.id)[0].begun or 0.0
    assert done.state == ProposalState.DONE
    assert MONDAY + 1800 <= begun < MONDAY + 2400


def test_a_dry_run_keeps_what_it_would_propose(port: Port) -> None:
    put(port, dry_run=True, auto="execute")
    at(port, MONDAY)
    [run] = port.rebalances.all()
    assert len((run.answer or {})["would"]) == 1
    assert port.proposals.all() == []


# -- the clock


def test_missed_runs_are_caught_up_with_once(port: Port) -> None:
    put(port, cron="*/10 * * * *")
    at(port, MONDAY)
    # Nobody looked for 55 minutes: five times were missed, the last is caught up with.
    assert at(port, MONDAY + 55 * 60) == 1
    assert at(port, MONDAY + 55 * 60 + 5) == 0
    assert runs(port) == [("cron", 0), ("catch-up", 50)]


def test_what_is_past_its_grace_is_left_alone(port: Port) -> None:
    put(port, cron="0 0 * * *", grace=1800)
    assert at(port, MONDAY + 12 * 3600 + 1801) == 0
    assert at(port, MONDAY + 36 * 3600 + 1799) == 1
    assert [trigger for trigger, _ in runs(port)] == ["catch-up"]


def test_a_clock_that_jumps_forth_and_back_repeats_nothing(port: Port) -> None:
    put(port)
    at(port, MONDAY)
    at(port, MONDAY + 5 * 3600 + 1)
    assert runs(port) == [("cron", 0), ("cron", 300)]
    # Put back: what it ran ahead for is not run again, what it passed over is run in its time.
    assert at(port, MONDAY + 30) == 0
    assert at(port, MONDAY + 3600) == 1
    for hour in range(2, 7):
        at(port, MONDAY + hour * 3600)
    assert sorted(due for _, due in runs(port)) == [60 * hour for hour in range(7)]


def test_a_schedule_that_was_changed_is_due_after_that_only(port: Port) -> None:
    put(port)
    port.world.now = MONDAY + 600
    put(port, cron="5 * * * *")
    assert at(port, MONDAY + 700) == 0
    assert at(port, MONDAY + 3900) == 1


def test_the_hour_that_comes_twice_comes_once(port: Port) -> None:
    """Berlin, 25 October 2026: 02:30 is there twice."""
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    port.world.now = first - 3000
    port.schedules.put("b", "", "30 2 * * *", "Europe/Berlin", {}, "u-ann", port.world.now)
    assert at(port, first) == 1
    assert at(port, first + 3600) == 0


# -- who dies


def test_a_worker_that_dies_is_replaced_when_its_lease_is_over(port: Port) -> None:
    put(port)

    def dies(problem: Problem) -> list[Bundle]:
        raise KeyboardInterrupt

    port.oracle.say = dies
    with pytest.raises(KeyboardInterrupt):
        at(port, MONDAY)
    port.oracle.say = to_new
    assert at(port, MONDAY + 1) == 0, "somebody has it"
    assert at(port, MONDAY + LEASE + 1) == 1
    [run] = port.rebalances.all()
    assert (run.state, run.attempt) == ("done", 2)
    assert len(port.proposals.all()) == 1


def test_a_run_that_kills_its_workers_is_given_up(port: Port) -> None:
    put(port)

    def dies(problem: Problem) -> list[Bundle]:
        raise KeyboardInterrupt

    port.oracle.say = dies
    for attempt in range(ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            at(port, MONDAY + attempt * (LEASE + 1))
    at(port, MONDAY + ATTEMPTS * (LEASE + 1))
    [run] = port.rebalances.all()
    assert run.state == "failed"
    assert "again and again" in run.reason


def test_a_database_that_was_away_is_tried_again(port: Port) -> None:
    put(port)

    def away(problem: Problem) -> list[Bundle]:
        raise Transient("cannot reach it")

    port.oracle.say = away
    at(port, MONDAY)
    port.oracle.say = to_new
    at(port, MONDAY + LEASE + 1)
    assert [run.state for run in port.rebalances.all()] == ["done"]


def test_whoever_lost_the_lease_writes_nothing(port: Port) -> None:
    put(port)

    def slow(problem: Problem) -> list[Bundle]:
        # While this one thinks, its lease ends and another takes it over.
        port.oracle.say = to_new
        port.world.now += LEASE + 1
        port.world.beat()
        assert port.clockwork.tick() == 1
        return to_new(problem)

    port.oracle.say = slow
    at(port, MONDAY)
    assert len(port.proposals.all()) == 1


def race(database: Database, port: Port, moment: float, many: int = 3) -> int:
    """So many replicas tick at one moment. Returns how many runs there are afterwards."""
    ready = threading.Barrier(many)
    made: list[int] = []

    def replica() -> None:
        own = Database(database.url)
        clockwork = Clockwork(
            Schedules(own), Rebalances(own), port.proposer, port.world.places, lambda: moment
        )
        ready.wait()
        for _ in range(3):
            made.append(clockwork.tick())
        own.close()

    threads = [threading.Thread(target=replica) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(made) == 1
    return len(port.rebalances.all())


def prove_once_only(port: Port) -> None:
    """Also used with PostgreSQL."""
    put(port)
    for hour in range(4):
        port.world.now = MONDAY + hour * 3600
        port.world.beat()
        assert race(port.world.database, port, port.world.now) == hour + 1


def test_of_three_replicas_one_runs(port: Port) -> None:
    prove_once_only(port)


# -- other triggers


def test_a_price_that_changes_triggers(port: Port, world: World) -> None:
    put(port, cron="0 0 1 1 *", price_change=10)
    assert at(port, MONDAY) == 0, "there is nothing to measure against yet"
    put(port, cron="0 12 * * *", price_change=10)
    port.world.now = MONDAY - 60
    port.schedules.remove("hourly", "u", port.world.now)
    put(port, cron="0 12 * * *", price_change=10)
    assert at(port, MONDAY) == 1
    kind, _ = world.clouds[WEST].types["small"]
    world.clouds[WEST].types["small"] = (kind, Decimal("0.0215"))
    assert at(port, MONDAY + 400) == 0, "7.5 % is less than 10"
    world.clouds[WEST].types["small"] = (kind, Decimal("0.03"))
    assert at(port, MONDAY + 500) == 0, "prices are compared now and then"
    assert at(port, MONDAY + 800) == 1
    assert at(port, MONDAY + 1200) == 0, "it is measured against the new price"
    assert [trigger for trigger, _ in runs(port)] == ["cron", "price"]


def test_an_interruption_notice_triggers_at_once(port: Port, world: World) -> None:
    put(port, cron="0 0 1 1 *", interruption=True, auto="execute")
    old = world.hosts["h-old"]
    old.notices = (HostNotice("terminate", "2026-03-02T12:02:00Z"),)
    assert at(port, MONDAY) == 1
    assert at(port, MONDAY + 5) == 0
    [run] = port.rebalances.all()
    assert run.trigger == "interruption"
    node = next(one for one in port.oracle.asked[0].nodes if one.name == "old")
    assert node.doomed > 0
    [made] = port.proposals.all()
    assert port.finish(made.id).state == ProposalState.DONE
    kinds = [event.kind for event in world.moves.news(200)]
    assert kinds.count("host.notice") == 1
    # A notice that is taken back is forgotten.
    old.notices = ()
    world.beat()
    assert port.schedules.notices() == []


def test_without_the_trigger_a_notice_waits(port: Port, world: World) -> None:
    put(port, cron="0 0 1 1 *")
    world.hosts["h-old"].notices = (HostNotice("stop", ""),)
    assert at(port, MONDAY) == 0
