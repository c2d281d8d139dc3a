"""Agents that die, hosts that lose power and connections that break, at every possible moment.

Each test ends with both hosts within reach and what the control plane does then: exactly one copy
runs, with all its memory, and never did two.
"""

from __future__ import annotations

import os
import random

import pytest

from porter.domain.errors import Permanent, PorterError, Transient
from porter.domain.handover import Source, Target
from porter.migrate.reconcile import Verdict
from porter.protocol.messages import Kind, Resolve
from tests.unit.agent.breaks import Breaks
from tests.unit.agent.conftest import pair as pair
from tests.unit.agent.fakes import Crashed
from tests.unit.agent.nodes import Node, Pair

WRITES = range(1, 8)


def _end(pair: Pair) -> str:
    """Everything is up again; where does the workload run?"""
    for node in (pair.a, pair.b):
        node.context.live.wait_all(5)  # what is still at work may die of what was planned
        node.journal.die_at = 0
    pair.revive()
    for node in (pair.a, pair.b):
        node.recovery.finish_interrupted()
    verdict = pair.reconcile()
    where = pair.assert_one_runs()
    assert where == ("host-b" if verdict is Verdict.FORWARD else "host-a")
    if verdict is Verdict.FORWARD:
        pair.settle()
        assert pair.a.host.containers == {}
        assert len(pair.b.host.containers) == 1
    else:
        assert pair.b.host.containers == {}
    assert pair.assert_one_runs() == where
    return where


def _die(node: Node, write: int, after: bool) -> None:
    node.journal.writes = 0
    node.journal.die_at = write
    node.journal.die_after_write = after


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("side", ["a", "b"])
def test_an_agent_dies_at_a_write(pair: Pair, side: str, write: int, after: bool) -> None:
    order = pair.prepare()
    _die(getattr(pair, side), write, after)
    pair.hand_over(order)
    _end(pair)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("other", WRITES)
def test_both_agents_die(pair: Pair, write: int, other: int) -> None:
    order = pair.prepare()
    _die(pair.a, write, True)
    _die(pair.b, other, True)
    pair.hand_over(order)
    _end(pair)


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("word", range(1, 24))
def test_a_connection_breaks_at_a_word(pair: Pair, word: int, after: bool) -> None:
    order = pair.prepare()
    breaks = Breaks(word, after)
    with breaks.installed():
        pair.hand_over(order)
    _end(pair)


@pytest.mark.parametrize("word", range(1, 24, 2))
@pytest.mark.parametrize("side", ["a", "b"])
def test_a_connection_breaks_and_an_agent_is_restarted(pair: Pair, side: str, word: int) -> None:
    order = pair.prepare()
    with Breaks(word, True).installed():
        pair.hand_over(order)
    getattr(pair, side).restart()
    _end(pair)


@pytest.mark.parametrize("write", range(1, 5))
def test_the_target_loses_power(pair: Pair, write: int) -> None:
    """Before it runs, the source's copy is whole; afterwards it has run, and is lost with it."""
    order = pair.prepare()
    pair.b.journal.on_death = pair.b.power_cut
    _die(pair.b, write, True)
    pair.hand_over(order)
    if (state := _record(pair.b)) == Target.RUNNING:
        assert pair.world.running() == []
        return
    assert state in (Target.RESERVED, Target.ACCEPTED, Target.REFUSED)
    assert _end(pair) == "host-a"


@pytest.mark.parametrize("write", WRITES)
def test_the_source_loses_power(pair: Pair, write: int) -> None:
    """What the target accepted is whole; before that, everything is lost as in any power cut."""
    order = pair.prepare()
    pair.a.journal.on_death = pair.a.power_cut
    _die(pair.a, write, True)
    pair.hand_over(order)
    pair.revive()
    pair.a.recovery.finish_interrupted()
    verdict = pair.reconcile()
    assert pair.world.law == []
    if verdict is Verdict.FORWARD:
        assert pair.assert_one_runs() == "host-b"
    else:
        assert pair.world.running() == []
        assert _record(pair.a) in (Source.RUNNING, Source.ABORTED)


def test_tasks_lost_after_the_dump_are_taken_over_by_the_target(pair: Pair) -> None:
    """The source's host falls when the target has accepted and nobody has committed."""
    order = pair.prepare()
    pair.a.host.before["yield"] = lambda: None
    pair.a.journal.on_death = pair.a.power_cut
    _die(pair.a, 3, False)  # HANDED_OVER was not written
    pair.hand_over(order)
    assert _record(pair.b) == Target.ACCEPTED
    pair.revive()
    state = pair.a.state()
    assert state is not None
    assert state.state == Source.FROZEN
    assert "power cut" in state.note
    assert pair.reconcile() is Verdict.FORWARD
    assert pair.assert_one_runs() == "host-b"


def test_a_target_whose_tasks_were_killed_at_the_gate_refuses(pair: Pair) -> None:
    order = pair.prepare()

    def kill() -> None:
        with pair.world.changed:
            for container in pair.b.host.containers.values():
                container.tasks = container.at_gate = False
            pair.world.check()

    pair.a.host.before["yield"] = kill
    report = pair.hand_over(order)
    assert report is not None
    assert report.state == Source.ABORTED
    assert _end(pair) == "host-a"


def test_effects_that_fail_are_done_later(pair: Pair) -> None:
    order = pair.prepare()
    pair.b.host.fail["restore"] = Permanent("cannot restore")
    pair.a.host.fail["join"] = Transient("cannot join")
    pair.hand_over(order)
    assert pair.world.running() == []
    del pair.a.host.fail["join"]
    pair.a.recovery.tend()
    assert _end(pair) == "host-a"


def _record(node: Node) -> str:
    record = node.journal._row("SELECT state FROM handovers WHERE migration = 'm1'")
    return str(record[0]) if record else ""


@pytest.mark.parametrize("seed", range(1000 if os.environ.get("PORTER_LONG") else 40))
def test_everything_goes_wrong_at_random(pair: Pair, seed: int) -> None:
    """Deaths, cuts, restarts and stray decisions in one move, in any order."""
    dice = random.Random(seed)
    order = pair.prepare()
    for node in (pair.a, pair.b):
        if dice.random() < 0.5:
            _die(node, dice.randint(1, 6), dice.random() < 0.5)
    with Breaks(dice.randint(1, 40), dice.random() < 0.5).installed():
        pair.hand_over(order)
    for _ in range(dice.randint(0, 4)):
        pair.revive()
        _stray(pair, dice)
    _end(pair)


def _stray(pair: Pair, dice: random.Random) -> None:
    """Something that may happen at any time and must do no harm."""
    node = dice.choice((pair.a, pair.b))
    node.journal.die_at = 0
    what = dice.choice(("restart", "tend", "resolve", "abort", "refuse", "die while tending"))
    try:
        if what == "restart":
            node.restart()
        elif what == "tend":
            node.recovery.tend()
        elif what == "resolve":
            a, b = pair.a.state(), pair.b.state()
            if a is not None and b is not None:
                peer = b if node is pair.a else a
                node.state(Kind.RESOLVE, Resolve("m1", peer.state))
        elif what == "abort":
            pair.a.state(Kind.ABORT)
        elif what == "refuse":
            pair.b.state(Kind.REFUSE)
        else:
            _die(node, dice.randint(1, 2), dice.random() < 0.5)
            node.recovery.tend()
    except (PorterError, Crashed):
        pass  # refused, or dead: both are among what may happen
