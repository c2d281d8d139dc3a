"""One handover between two agents over real TLS."""

from __future__ import annotations

import threading

import pytest

from porter.domain.errors import Permanent
from porter.domain.handover import Source, Target
from porter.domain.migration import Connections
from porter.protocol.messages import Kind, Query
from tests.unit.agent.fakes import ADDRESS
from tests.unit.agent.nodes import MEMORY, Pair


def test_moves_and_settles(pair: Pair) -> None:
    report = pair.hand_over(pair.prepare())
    assert report is not None
    assert (report.state, report.peer, report.reason) == (Source.GONE, Target.RUNNING, "")
    assert pair.assert_one_runs() == "host-b"
    assert report.verified
    assert report.bytes.memory == len(MEMORY)
    assert 0 < report.bytes.wire_frozen < report.bytes.wire
    assert report.connections == Connections(kept=2, closed=0)
    names = [phase.name for phase in report.phases]
    assert names == ["freeze", "dump", "transfer", "verify", "restore", "commit", "resume"]
    assert report.downtime_ms is not None
    assert abs(sum(phase.ms for phase in report.phases) - report.downtime_ms) < 20
    assert pair.a.host.yielded == {ADDRESS: "127.0.0.1"}
    assert pair.b.host.claimed == {ADDRESS}
    # While the engine has not said that the tasks run, peers are woken more than once.
    assert set(pair.b.host.replayed) == {b"a caught packet"}

    pair.settle()
    pair.settle()
    assert pair.a.host.removed == ["one"]
    assert pair.a.host.removed_volumes == ["data"]
    assert pair.b.host.released == ["m1"]
    assert not (pair.a.settings.scratch / "m1").exists()
    a, b = pair.a.state(), pair.b.state()
    assert a is not None
    assert b is not None
    assert (a.state, b.state) == (Source.GONE, Target.RUNNING)


def test_a_refusal_gives_the_workload_back(pair: Pair) -> None:
    order = pair.prepare()
    pair.b.host.fail["restore"] = Permanent("cannot restore: no such CPU")
    report = pair.hand_over(order)
    assert report is not None
    assert (report.state, report.peer) == (Source.ABORTED, Target.REFUSED)
    assert "no such CPU" in report.reason
    assert pair.assert_one_runs() == "host-a"
    assert pair.b.host.containers == {}
    assert pair.a.host.replayed == [b"a caught packet"]
    again = pair.hand_over(order)
    assert again is not None
    assert again.state == Source.ABORTED


def test_a_wrong_hash_says_so(pair: Pair) -> None:
    order = pair.prepare()
    pair.b.host.fail["frame"] = Permanent("cannot verify: a wrong hash")
    report = pair.hand_over(order)
    assert report is not None
    assert report.state == Source.ABORTED
    assert "wrong hash" in report.reason
    assert pair.assert_one_runs() == "host-a"


def test_a_failed_dump_gives_the_workload_back(pair: Pair) -> None:
    order = pair.prepare()
    pair.a.host.fail["dump"] = Permanent("cannot dump: a device is open")
    report = pair.hand_over(order)
    assert report is not None
    assert (report.state, report.reason) == (Source.ABORTED, "cannot dump: a device is open")
    assert pair.assert_one_runs() == "host-a"
    assert not (pair.a.settings.scratch / "m1").exists()
    state = pair.b.state(Kind.REFUSE)
    assert state is not None
    assert state.state == Target.REFUSED


def test_an_unforeseen_failure_gives_the_workload_back(pair: Pair) -> None:
    order = pair.prepare()
    pair.a.host.fail["dump"] = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        pair.a.do(Kind.HANDOVER, order)
    assert pair.assert_one_runs() == "host-a"


def test_abort_breaks_a_dump_off(pair: Pair) -> None:
    order = pair.prepare()

    def abort_from_aside() -> None:
        threading.Thread(target=lambda: pair.a.state(Kind.ABORT, Query("m1"))).start()
        with pair.world.changed:
            pair.world.changed.wait(0.2)

    pair.a.host.before["dumping"] = abort_from_aside
    report = pair.hand_over(order)
    assert report is not None
    assert report.state == Source.ABORTED
    assert "called off" in report.reason
    assert pair.assert_one_runs() == "host-a"
