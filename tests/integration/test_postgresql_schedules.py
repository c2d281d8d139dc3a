"""Schedules and proposals on PostgreSQL: of many who claim or decide at once, one does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from porter.db.database import Database
from porter.db.proposals import ProposalState
from porter.domain.errors import Conflict, PorterError
from tests.saga.port import ANN, BOB, Port
from tests.saga.test_schedules import MONDAY, WEST, prove_once_only, to_new
from tests.saga.world import World

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


def together(calls: list[Callable[[], object]]) -> list[object]:
    """All at once; what each gave, or the error it ended with."""
    ready = threading.Barrier(len(calls))
    results: list[object] = []

    def one(call: Callable[[], object]) -> None:
        ready.wait()
        try:
            results.append(call())
        except PorterError as error:
            results.append(error)

    threads = [threading.Thread(target=one, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


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
