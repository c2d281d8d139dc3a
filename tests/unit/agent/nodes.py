"""Agents without a control plane, on fake hosts, that can die at any write and start again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from porter.agent.context import Context
from porter.agent.facts import Facts
from porter.agent.journal import Journal, Record
from porter.agent.operations import Operations
from porter.agent.peer_server import PeerServer
from porter.agent.recovery import Recovery
from porter.agent.settings import AgentSettings
from porter.agent.source import SourceSide
from porter.agent.target import TargetSide
from porter.domain.errors import NotFound, PorterError, Transient
from porter.domain.handover import Source, Target
from porter.migrate.reconcile import Verdict, next_move
from porter.protocol import codec
from porter.protocol.messages import (
    Command,
    Handover,
    HandoverReport,
    HandoverState,
    Kind,
    Prepare,
    Query,
    Reserve,
    Reserved,
    Resolve,
    Settle,
)
from tests.unit.agent.ca import Authority
from tests.unit.agent.fakes import (
    WORKLOAD,
    Container,
    Crashed,
    FakeHost,
    Power,
    World,
    parts_of,
    spec_of,
)

MEMORY = "everything that Redis knows, " * 40


class FragileJournal(Journal):
    """Dies at the n-th record written, before or after it is on disk."""

    def __init__(self, path: Path, power: Power) -> None:
        super().__init__(path)
        self.power = power
        self.writes = 0
        self.die_at = 0
        self.die_after_write = True
        self.on_death: Any = lambda: None

    def put(self, record: Record) -> None:
        self.power.check()
        self.writes += 1
        dying = self.writes == self.die_at
        if not dying or self.die_after_write:
            super().put(record)
        if dying:
            self.on_death()
            raise Crashed

    def get(self, migration: str) -> Record | None:
        self.power.check()
        return super().get(migration)

    def unsettled(self) -> list[Record]:
        self.power.check()
        return super().unsettled()


class Node:
    """One host with its agent. `start` and `crash` may be called over and over."""

    def __init__(self, world: World, authority: Authority, name: str, place: Path) -> None:
        place.mkdir()
        self.host = FakeHost(world, name, place)
        self.settings = AgentSettings(
            *("https://control.invalid", place / "state"),
            scratch=place / "scratch",
            accept_wait=5.0,
            commit_wait=2.0,
            doubt_wait=0.2,
            dump_wait=0.2,
        )
        self.settings.state.mkdir()
        self.credentials = authority.host(name)
        self.port = 0
        self.start(fresh_port=True)

    def start(self, fresh_port: bool = False) -> None:
        """A new agent process on the same state; recovers."""
        self.power = Power()
        self.journal = FragileJournal(self.settings.journal, self.power)
        self.journal.on_death = self.crash
        self.context = Context(
            *(self.settings, parts_of(self.host, self.power), self.journal, self.credentials),
            end_strays=lambda place, patience: [],
            established=lambda netns: frozenset({"a b", "c d"}),
        )
        facts = Facts(self.context.parts, "127.0.0.1", lambda: self.port)
        self.source, self.target = SourceSide(self.context), TargetSide(self.context)
        self.recovery = Recovery(self.context, self.source, self.target)
        self.operations = Operations(self.context, self.source, self.target, facts)
        self.recovery.at_start()
        self.server = PeerServer(self.context, self.target, "127.0.0.1", self.port)
        self.port = self.server.port

    def crash(self) -> None:
        """kill -9: nothing more is written or done; connections end."""
        self.power.on = False
        self.context.live.cancel_all("crash")
        if hasattr(self, "server"):
            self.server.close()

    def power_cut(self) -> None:
        self.crash()
        self.host.power_cut()

    def restart(self) -> None:
        """Kill the agent if it lives, and start another."""
        self.crash()
        self.journal.close()
        self.start()

    def close(self) -> None:
        self.crash()
        self.journal.close()

    def do(self, kind: Kind, payload: object, migration: str | None = "m1") -> Any:
        """Carry one command out, as the control plane would."""
        command = Command("c", kind, migration, codec.dump(payload))
        return self.operations.run(command, lambda news: None)

    def state(self, kind: Kind = Kind.QUERY, payload: object | None = None) -> HandoverState | None:
        """Query, abort, refuse or resolve; None if the host has no record."""
        try:
            return codec.load(HandoverState, self.do(kind, payload or Query("m1")))
        except NotFound:
            return None


@dataclass
class Pair:
    """A workload on `a` that is to move to `b`."""

    world: World
    a: Node
    b: Node

    def prepare(self) -> Handover:
        """Everything before the handover."""
        spec = spec_of(self.a.host.containers["one"])
        self.b.host.layers.update(spec.image.layers)
        reserve = Reserve("m1", WORKLOAD, 2, spec, "host-a", "secret")
        reserved = codec.load(Reserved, self.b.do(Kind.RESERVE, reserve))
        self.b.do(Kind.PREPARE, Prepare("m1"))
        return Handover(
            *("m1", WORKLOAD, 2, "host-b", reserved.peer_address, reserved.peer_port),
            token="secret",
            streams=2,
        )

    def hand_over(self, order: Handover) -> HandoverReport | None:
        """Run the handover to its end; None if the source's agent died."""
        result: list[HandoverReport] = []

        def run() -> None:
            try:
                result.append(codec.load(HandoverReport, self.a.do(Kind.HANDOVER, order)))
            except Crashed:
                pass
            except PorterError as error:
                result.append(HandoverReport(Source.RUNNING, Target.ABSENT, reason=str(error)))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(60)
        assert not thread.is_alive(), "the handover hangs"
        return result[0] if result else None

    def revive(self) -> None:
        """Start the agents that are dead."""
        for node in (self.a, self.b):
            if not node.power.on:
                node.restart()

    def reconcile(self) -> Verdict:
        """What the control plane does in doubt, with both hosts within reach."""
        for _ in range(30):
            self._tend()
            a, b = self.a.state(), self.b.state()
            source = Source.RUNNING if a is None else Source(a.state)
            target = Target.ABSENT if b is None else Target(b.state)
            move = next_move(source, target, cancelled=False)
            if move.verdict is Verdict.BACK:
                self.b.state(Kind.REFUSE)
            if move.verdict is not Verdict.ACT:
                return move.verdict
            assert move.kind is not None
            node = self.a if move.on_source else self.b
            payload = Resolve("m1", move.peer) if move.kind is Kind.RESOLVE else Query("m1")
            try:
                node.state(move.kind, payload)
            except Transient:
                continue
        raise AssertionError(f"does not come to rest: {a} {b}")

    def _tend(self) -> None:
        for node in (self.a, self.b):
            node.recovery.tend()

    def settle(self) -> None:
        for node in (self.b, self.a):
            node.do(Kind.SETTLE, Settle("m1"))

    def assert_one_runs(self, memory: str = MEMORY) -> str:
        """Exactly one copy runs and nothing is lost. Where?"""
        assert self.world.law == []
        (copy,) = self.world.running()
        host, container = copy
        assert container.memory == memory
        assert not container.cut
        for node in (self.a, self.b):
            assert not node.host.holding, "packets are still being caught"
            assert node.context.live.wait_all(5)
        return host


def new_pair(place: Path) -> Pair:
    world = World()
    authority = Authority(place / "ca")
    a = Node(world, authority, "host-a", place / "a")
    b = Node(world, authority, "host-b", place / "b")
    b.settings = replace(b.settings)
    a.host.containers["one"] = Container("one", WORKLOAD, MEMORY)
    a.host.claimed.add("10.77.1.5")
    return Pair(world, a, b)
