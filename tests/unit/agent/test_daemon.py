"""The whole daemon against a control plane over HTTPS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.agent import join as joining
from porter.agent.daemon import Daemon
from porter.agent.facts import Facts
from porter.agent.notices import Listener
from porter.agent.settings import AgentSettings
from porter.domain.errors import NotFound, PorterError
from porter.protocol import codec
from porter.protocol.joining import HostNotice
from porter.protocol.messages import Command, Inspect, Kind, Query
from tests.unit.agent.ca import Authority
from tests.unit.agent.control_plane import FakeControlPlane
from tests.unit.agent.fakes import ADDRESS, WORKLOAD, Container, FakeHost, Power, World, parts_of


class Machine:
    """A joined host whose daemon can be stopped and started."""

    def __init__(self, control: FakeControlPlane, place: Path) -> None:
        self.control = control
        self.host = FakeHost(World(), "h", place)
        self.host.containers["one"] = Container("one", WORKLOAD, "memory")
        self.parts = parts_of(self.host, Power())
        self.settings = AgentSettings(
            *(control.url, place / "state"),
            peer_port=0,
            scratch=place / "scratch",
            heartbeat_every=0.2,
            poll_wait=0.3,
            drain=1.0,
        )
        self.settings.state.mkdir()
        facts = Facts(self.parts, "127.0.0.1", lambda: 0).gather()
        self.identity = joining.join(
            *(control.url, control.token, "web1", "onprem", facts, self.settings.state)
        )
        self.daemon: Daemon | None = None

    def start(self) -> None:
        self.daemon = Daemon(self.settings, self.parts, self.identity, "127.0.0.1")
        self.daemon.start()

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.stop()
            self.daemon = None


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    control = FakeControlPlane(Authority(tmp_path / "ca"))
    made = Machine(control, tmp_path)
    made.start()
    yield made
    made.stop()
    control.close()


def _command(name: str, kind: Kind, payload: object) -> dict[str, Any]:
    command: dict[str, Any] = codec.dump(Command(name, kind, None, codec.dump(payload)))
    return command


def test_beats_polls_and_answers(machine: Machine) -> None:
    control = machine.control
    control.commands.append(_command("c1", Kind.INSPECT, Inspect(WORKLOAD)))
    control.commands.append(_command("c2", Kind.QUERY, Query("nowhere")))
    control.wait_for(lambda: {"c1", "c2"} <= set(control.results))
    assert control.results["c1"][0]["output"]["container"] == "one"
    assert control.results["c2"][0]["error"]["code"] == "not_found"
    control.wait_for(lambda: control.heartbeats)
    beat = control.heartbeats[-1]
    assert beat["facts"]["peer_port"] == machine.daemon.peer_port  # type: ignore[union-attr]
    assert [found["name"] for found in beat["workloads"]] == [WORKLOAD]
    assert [network.version for network in machine.host.applied] == [3]
    assert control.resumed[0]
    control.wait_for(lambda: ADDRESS in machine.host.claimed)
    assert not control.resumed[-1]


def test_a_command_done_before_answers_again(machine: Machine) -> None:
    control = machine.control
    order = _command("c1", Kind.INSPECT, Inspect(WORKLOAD))
    control.commands.append(order)
    control.wait_for(lambda: len(control.results.get("c1", [])) == 1)
    machine.host.containers.clear()
    control.commands.append(order)
    control.wait_for(lambda: len(control.results.get("c1", [])) == 2)
    assert control.results["c1"][0] == control.results["c1"][1]


def test_results_survive_outages_and_restarts(machine: Machine) -> None:
    control = machine.control
    control.outages = 10**6
    control.commands.append(_command("c1", Kind.INSPECT, Inspect(WORKLOAD)))
    with control.changed:
        control.changed.wait_for(lambda: not control.commands, 5)
    machine.stop()
    assert control.results == {}
    control.outages = 2
    machine.start()
    control.wait_for(lambda: "c1" in control.results or control.resumed[-1])
    if "c1" not in control.results:  # it was stopped before it had begun: delivered again
        control.commands.append(_command("c1", Kind.INSPECT, Inspect(WORKLOAD)))
    control.wait_for(lambda: "c1" in control.results)


def test_notices_of_the_place_are_told_at_once() -> None:
    told: list[tuple[HostNotice, ...]] = [(), (HostNotice("terminate", "soon"),)]
    beats: list[str] = []
    answers: list[Any] = [*told, NotFound("cannot ask"), *told[::-1]]

    def ask() -> tuple[HostNotice, ...]:
        answer = answers.pop(0)
        if isinstance(answer, PorterError):
            raise answer
        return tuple(answer)

    listener = Listener(ask, lambda: beats.append("now"), threading.Event())
    heard = []
    for _ in range(5):
        listener.look()
        heard.append(listener.heard)
    # What cannot be asked has not changed; what is taken back is forgotten.
    assert heard == [(), told[1], told[1], told[1], ()]
    assert beats == ["now", "now"]


@pytest.mark.parametrize("takes", [0.3, 60.0])
def test_stopping_lets_a_handover_end_or_breaks_it_off(machine: Machine, takes: float) -> None:
    assert machine.daemon is not None
    live = machine.daemon._context.live
    reasons: list[str] = []
    begun, broken_off = threading.Event(), threading.Event()

    def cancel(why: str) -> None:
        reasons.append(why)
        broken_off.set()

    def hand_over() -> None:
        with live.activity("m1", cancel):
            begun.set()
            broken_off.wait(takes)

    thread = threading.Thread(target=hand_over)
    thread.start()
    begun.wait(5)
    machine.stop()
    thread.join(0)
    assert not thread.is_alive()
    assert reasons == ([] if takes < 1 else ["the agent is being stopped"])


def test_a_bug_in_an_operation_is_an_answer(machine: Machine) -> None:
    control = machine.control
    machine.host.inspect = None  # type: ignore[method-assign,assignment]
    control.commands.append(_command("c1", Kind.INSPECT, Inspect(WORKLOAD)))
    control.wait_for(lambda: "c1" in control.results)
    assert control.results["c1"][0]["error"]["code"] == "permanent"
