"""Schedules and proposals on PostgreSQL: of many who claim or decide at once, one does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from porter.db.database import Database
from porter.db.proposals import ProposalState
from porter.domain.errors import Conflict, PorterError
from porter.schedule.optimiser.model import Bundle, Problem
from tests.saga.port import ANN, BOB, Port, bundle
from tests.saga.test_schedules import MONDAY, WEST, prove_once_only, to_new
from tests.saga.world import World
from tests.together import together

pytestmark = pytest.mark.integration


@pytest.fixture
def port(postgresql_url: str) -> Iterator[Port]:
    database = Database(postgresql_url)
    database.upgrade()
    world = World(database)
    world.now = MONDAY - 600
    world.cloud("fake:east")
    world.cloud(WEST)
    world.start("shop", world.host("old", "fake:east"))
    port = Port(world)
    port.oracle.say = to_new
    yield port
    database.close()


def test_of_three_replicas_one_runs(port: Port) -> None:
    prove_once_only(port)


def test_of_many_who_decide_one_does(port: Port) -> None:
    text = "version: 1\nname: p\nproject: default\napproval: {}\n"
    port.policies.put("p", "default", text, "root", port.world.now)
    [made] = port.rebalance(to_new)
    now = port.world.now

    def approve() -> object:
        return port.proposals.approve(made.id, made.hash, BOB, "", now)

    def decline() -> object:
        return port.proposals.decline(made.id, BOB, "no", now)

    results = together([approve, decline, approve, approve])
    lost = [one for one in results if isinstance(one, Conflict)]
    state = port.proposals.get(made.id).state
    assert state in (ProposalState.APPROVED, ProposalState.DECLINED)
    # An approval may be followed by a decline; else one alone won.
    assert len(lost) >= 2


def test_budgets_hold_across_proposals_that_go_on_at_once(port: Port) -> None:
    """Each of four proposals moves one workload; two an hour are allowed."""
    world = port.world
    old = world.hosts["h-old"]
    names = ["shop", "a", "b", "c"]
    for name in names[1:]:
        world.start(name, old)
    text = "version: 1\nname: p\nproject: default\nbudget: {per_hour: 2}\n"
    port.policies.put("p", "default", text, "root", world.now)

    def each(problem: Problem) -> list[Bundle]:
        new = {name: f"{WEST}/small/on_demand#{n}" for n, name in enumerate(names, 1)}
        return [bundle([(name, "old", new[name])], machines=[new[name]]) for name in names]

    made = port.rebalance(each)
    for one in made:
        port.authority.execute(one.id, ANN, world.now)
    together([partial(port.carrier.advance, one.id) for one in made] * 2)
    states = [port.proposals.moves(one.id)[0].state for one in made]
    assert sorted(states) == ["begun", "begun", "pending", "pending"]


def test_executors_at_once_begin_each_move_once(port: Port) -> None:
    [made] = port.rebalance(to_new)
    begin = [lambda: port.authority.execute(made.id, ANN, port.world.now)] * 4
    assert not [one for one in together([*begin]) if isinstance(one, PorterError)]
    together([lambda: port.carrier.advance(made.id)] * 4)
    [move] = port.proposals.moves(made.id)
    assert move.state == "begun"
    done = port.finish(made.id)
    assert done.state == ProposalState.DONE, done.reason
    assert sum(port.world.clouds[WEST].launches.values()) == 1
