"""Held handovers: a target that lost its power after it took over, and a person's decision."""

from __future__ import annotations

import pytest

from porter.domain.handover import Source, Target
from porter.protocol.messages import HandoverState, Kind, Query, Reclaim, Resolve, Settle
from tests.unit.agent.fakes import ADDRESS, Crashed
from tests.unit.agent.nodes import Node, Pair

GIVE_UP = Resolve("m1", Source.FENCED, "127.0.0.9")


def lose(pair: Pair) -> None:
    """The target writes that it runs, and loses its power before anything else."""
    pair.b.host.before["open"] = pair.b.power_cut
    report = pair.hand_over(pair.prepare())
    assert report is not None
    assert report.state == Source.HANDED_OVER
    assert pair.world.running() == []


def state(node: Node, kind: Kind = Kind.QUERY, payload: object | None = None) -> HandoverState:
    answer = node.state(kind, payload or Query("m1"))
    assert answer is not None
    return answer


def reclaim(pair: Pair) -> HandoverState:
    return state(pair.a, Kind.RECLAIM, Reclaim("m1", "Ada decided so"))


def test_a_target_that_lost_its_power_never_makes_the_source_let_go(pair: Pair) -> None:
    lose(pair)
    pair.b.restart()
    there = state(pair.b)
    assert (there.state, there.lost) == (Target.RUNNING, True)
    assert pair.b.host.claimed == set(), "it does not take the address either"
    pair.a.recovery.tend()
    assert state(pair.a).state == Source.HANDED_OVER
    assert pair.world.running() == []


def test_the_source_runs_again_while_the_target_is_away(pair: Pair) -> None:
    lose(pair)
    here = reclaim(pair)
    assert (here.state, here.note) == (Source.FENCED, "Ada decided so")
    assert pair.assert_one_runs() == "host-a"
    assert pair.a.host.claimed == {ADDRESS}
    assert not (pair.a.settings.scratch / "m1").exists()
    assert reclaim(pair) == here
    pair.a.restart()
    assert pair.assert_one_runs() == "host-a"

    pair.b.restart()
    there = state(pair.b, Kind.RESOLVE, GIVE_UP)
    assert (there.state, there.lost) == (Target.REFUSED, False)
    assert pair.b.host.containers == {}
    assert pair.b.host.yielded == {ADDRESS: "127.0.0.9"}
    assert state(pair.b, Kind.RESOLVE, GIVE_UP) == there
    pair.a.recovery.tend()
    assert pair.assert_one_runs() == "host-a"


@pytest.mark.parametrize(("write", "after"), [(1, False), (1, True), (2, False)])
def test_the_source_dies_over_the_order(pair: Pair, write: int, after: bool) -> None:
    lose(pair)
    journal = pair.a.journal
    journal.writes, journal.die_at, journal.die_after_write = 0, write, after
    with pytest.raises(Crashed):
        reclaim(pair)
    pair.a.restart()
    assert reclaim(pair).state == Source.FENCED
    assert pair.assert_one_runs() == "host-a"


def test_the_source_lost_its_tasks_too(pair: Pair) -> None:
    lose(pair)
    pair.a.power_cut()
    pair.a.restart()
    assert "start it again" in reclaim(pair).note
    assert pair.world.running() == []


def test_a_copy_that_runs_is_removed_when_it_was_given_up(pair: Pair) -> None:
    """Somebody declared a host off that was not: two run until it hears, and no longer."""
    pair.hand_over(pair.prepare())
    assert pair.world.running()[0][0] == "host-b"
    assert state(pair.b, Kind.RESOLVE, GIVE_UP).state == Target.REFUSED
    assert pair.b.host.claimed == set()
    # The source heard that the target runs, and was not told to clear up.
    assert reclaim(pair).state == Source.FENCED
    assert pair.assert_one_runs() == "host-a"


def test_what_is_settled_is_given_up_no_more(pair: Pair) -> None:
    pair.hand_over(pair.prepare())
    pair.settle()
    assert state(pair.b, Kind.RESOLVE, GIVE_UP).state == Target.RUNNING
    assert pair.assert_one_runs() == "host-b"


def test_lost_tasks_are_settled_as_they_are(pair: Pair) -> None:
    lose(pair)
    pair.b.restart()
    pair.b.do(Kind.SETTLE, Settle("m1", as_it_is=True))
    assert not state(pair.b).lost
    assert pair.b.host.released == ["m1"]
