"""Simulated hosts that speak the real command protocol, with accidents on demand.

A `SimHost` keeps what a real agent keeps durably (journal of commands, handover records, which
containers run) apart from what dies with it. Accidents are named by the point at which they
happen; see POINTS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from porter.domain.errors import InDoubt, NotFound, Permanent, PorterError, Transient
from porter.domain.handover import (
    Source,
    SourceEvent,
    Target,
    TargetEvent,
    source_event,
    source_hears,
    target_event,
    target_hears,
)
from porter.domain.host import HostFacts
from porter.domain.migration import Bytes, Connections, Phase
from porter.domain.workload import Blocker, Image, WorkloadSpec
from porter.protocol import codec
from porter.protocol.joining import FoundWorkload, Heartbeat, HostNotice
from porter.protocol.messages import (
    Checked,
    Command,
    Failure,
    Handover,
    HandoverReport,
    HandoverState,
    Kind,
    Prepared,
    Reached,
    Reclaim,
    Reserve,
    Reserved,
    Resolve,
    Result,
    Settled,
    ShippedImage,
)

POINTS = (
    "source: before freeze",
    "source: frozen",
    "target: accepted",
    "source: handed over",
    "target: running",
    "source: gone",
)
"""Moments of a handover, in order. At each, either agent may die or the two may be parted."""


_HOLDING = {Source.FROZEN, Source.HANDED_OVER, Source.GONE}


class Crash(Exception):
    """The agent died; what it had not written is lost."""


def facts(name: str) -> HostFacts:
    number = sum(name.encode()) % 200
    return HostFacts(
        kernel="6.1.0",
        arch="x86_64",
        cpus=2,
        cpu_features=("avx", "sse2"),
        memory_total=8 << 30,
        memory_free=6 << 30,
        disk_free=100 << 30,
        criu_version=(4, 1),
        criu_problem="",
        engine="podman",
        engine_version="5.4.0",
        oci_runtime="runc",
        cgroup="v2",
        underlay=f"10.99.1.{number}",
        peer_port=7443,
    )


def spec(name: str) -> WorkloadSpec:
    return WorkloadSpec(
        name=name,
        container=f"c-{name}",
        container_name=name,
        running=True,
        image=Image(id="sha256:1", names=("redis",), layers=("sha256:a", "sha256:b"), size=1000),
        address="10.77.1.2",
        mac="02:00:00:00:00:01",
        hostname=name,
        labels={"porter.enable": "true"},
        volumes=(),
        create=("--name", name),
        expect={},
        memory_bytes=1 << 20,
        file_bytes=1 << 10,
        shm_bytes=0,
    )


@dataclass
class SimHost:
    """One host. `peers` finds other hosts by id; `linked` says whether two can talk now."""

    id: str
    name: str
    peers: dict[str, SimHost]
    linked: Callable[[str, str], bool] = lambda a, b: True
    # durable
    done: dict[str, Result] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    targets_of: dict[str, str] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    """Workload -> container, for those that are not in a handover."""
    settled: set[str] = field(default_factory=set)
    workload_of: dict[str, str] = field(default_factory=dict)
    # accidents
    alive: bool = True
    crash_at: set[str] = field(default_factory=set)
    fail: dict[Kind, PorterError] = field(default_factory=dict)
    blockers: tuple[Blocker, ...] = ()
    walled: bool = False
    """It reaches no other host."""
    vias: list[str] = field(default_factory=list)
    """The routes that it was told, one per command."""
    notices: tuple[HostNotice, ...] = ()
    """What its place says is about to become of it."""
    made: bool = False
    """It is a machine that Porter made."""
    labels: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ("sha256:b",)
    seen: list[str] = field(default_factory=list)
    """Every command that arrived, with repetitions."""
    slow: int = 0
    """So many ticks pass between the freeze and the rest of the next handover."""
    under_way: dict[str, list[Any]] = field(default_factory=dict)
    """Command -> [the command, ticks left]; lost when the agent dies."""
    hook: Callable[[str], None] | None = None
    """Called at every point of a handover that this host is the source of."""

    lost: str = ""
    """As a target: why the tasks it took over ended at once."""

    def restart(self) -> None:
        self.alive = True
        self.under_way.clear()

    def power_cut(self) -> None:
        """Its tasks and memory are gone; `restart` brings it back as an agent finds it then."""
        self.alive = False
        for migration, state in self.targets.items():
            name = self.workload_of.get(migration, "")
            if state is Target.ACCEPTED:
                self.targets[migration] = target_event(state, TargetEvent.REFUSE)
            elif state is Target.RUNNING and self.running.pop(name, None):
                self.lost = "tasks lost: the host lost its power after it took over"

    def handle(self, command: Command) -> Result | None:
        """The command's result, None if the agent died over it."""
        self.seen.append(command.id)
        if command.id in self.done:
            return self.done[command.id]
        if command.kind is Kind.HANDOVER and self.slow:
            order = codec.load(Handover, command.payload)
            self.workload_of[order.migration] = order.workload
            self._source(order.migration, SourceEvent.FREEZE)
            self.under_way.setdefault(command.id, [command, self.slow])
            return None
        return self._finish(command)

    def late(self) -> list[tuple[Command, Result]]:
        """Handovers that end now. Called every tick."""
        ended = []
        for command_id, entry in list(self.under_way.items()):
            entry[1] -= 1
            if entry[1] <= 0 and self.alive:
                del self.under_way[command_id]
                result = self._finish(entry[0])
                if result is not None:
                    ended.append((entry[0], result))
        return ended

    def _finish(self, command: Command) -> Result | None:
        try:
            result = Result(output=codec.dump(self._run(command)))
        except Crash:
            self.alive = False
            return None
        except PorterError as error:
            result = Result(error=Failure(error.code, error.message, error.remedy))
        self.done[command.id] = result
        return result

    def _run(self, command: Command) -> object:
        if command.kind in self.fail:
            raise self.fail[command.kind]
        payload: dict[str, Any] = command.payload
        migration = str(payload.get("migration", ""))
        if "via" in payload:
            self.vias.append(str(payload["via"]))
        match command.kind:
            case Kind.INSPECT:
                if not self.runs(payload["workload"]):
                    raise NotFound(f"cannot inspect {payload['workload']}: it is not here")
                found = spec(payload["workload"])
                return replace(found, labels={**found.labels, **self.labels})
            case Kind.REACH:
                return Reached(not self.walled, "timed out" if self.walled else "")
            case Kind.CHECK:
                return Checked(self.blockers, self.missing)
            case Kind.RESERVE:
                asked = codec.load(Reserve, payload)
                self.workload_of[migration] = asked.workload
                self._target(migration, TargetEvent.RESERVE)
                if self.targets[migration] is Target.REFUSED:
                    raise Permanent("cannot reserve: the migration was refused")
                return Reserved("10.99.1.1", 7443, self.missing)
            case Kind.SHIP_IMAGE:
                return ShippedImage(1000, 600)
            case Kind.PREPARE:
                if self.targets.get(migration) is not Target.RESERVED:
                    raise Permanent("cannot prepare: nothing is reserved")
                return Prepared(f"c-{self.workload_of[migration]}-{migration}")
            case Kind.HANDOVER:
                return self._handover(codec.load(Handover, payload))
            case Kind.QUERY:
                return self._state(migration)
            case Kind.RESOLVE:
                return self._resolve(codec.load(Resolve, payload))
            case Kind.ABORT:
                self._source(migration, SourceEvent.ABORT)
                return self._state(migration)
            case Kind.RECLAIM:
                codec.load(Reclaim, payload)
                self._source(migration, SourceEvent.FENCE)
                return self._state(migration)
            case Kind.REFUSE:
                self._target(migration, TargetEvent.REFUSE)
                return self._state(migration, "target")
            case Kind.SETTLE:
                if self.sources.get(migration) is Source.GONE:
                    self.running.pop(self.workload_of[migration], None)
                self.settled.add(migration)
                return Settled()

    # -- the handover -----------------------------------------------------------------------

    def _source(self, migration: str, event: SourceEvent) -> None:
        self._be_source(migration, source_event(self.sources.get(migration, Source.RUNNING), event))

    def _target(self, migration: str, event: TargetEvent) -> None:
        self._be_target(migration, target_event(self.targets.get(migration, Target.ABSENT), event))

    def _be_source(self, migration: str, state: Source) -> None:
        self.sources[migration] = state

    def _be_target(self, migration: str, state: Target) -> None:
        if state is Target.RUNNING and self.targets.get(migration) is not Target.RUNNING:
            self.running[self.workload_of[migration]] = f"c-{migration}"
        if state is Target.REFUSED and self.targets.get(migration) is Target.RUNNING:
            self.running.pop(self.workload_of[migration], None)
        self.targets[migration] = state

    def _point(self, point: str) -> None:
        if self.hook is not None:
            self.hook(point)
        if point in self.crash_at:
            self.crash_at.discard(point)
            raise Crash(point)

    def _peer(self, host: str) -> SimHost:
        peer = self.peers[host]
        if not peer.alive or not self.linked(self.id, host):
            raise InDoubt(f"cannot reach {peer.name}")
        return peer

    def _handover(self, order: Handover) -> HandoverReport:
        migration = order.migration
        self.workload_of[migration] = order.workload
        self.targets_of[migration] = order.target_host
        try:
            self._attempt(migration, order.target_host)
        except InDoubt as error:
            return self._report(migration, str(error))
        return self._report(migration, "")

    def _attempt(self, migration: str, host: str) -> None:
        self._point("source: before freeze")
        self._source(migration, SourceEvent.FREEZE)
        self._point("source: frozen")
        if self.sources[migration] is Source.FROZEN:
            peer = self._peer(host)
            peer._target(migration, TargetEvent.ACCEPT)
            peer._die_at("target: accepted")
            self._point("target: accepted")
            self._hear(migration, self._peer(host).targets[migration])
        if self.sources[migration] is Source.HANDED_OVER:
            self._point("source: handed over")
            peer = self._peer(host)
            peer._hear_source(migration, Source.HANDED_OVER)
            peer._die_at("target: running")
            self._point("target: running")
            self._hear(migration, self._peer(host).targets[migration])
        self._point("source: gone")

    def _die_at(self, point: str) -> None:
        if point in self.crash_at:
            self.crash_at.discard(point)
            self.alive = False

    def _hear(self, migration: str, peer: Target) -> None:
        self._be_source(migration, source_hears(self.sources[migration], peer))

    def _hear_source(self, migration: str, peer: Source) -> None:
        self._be_target(migration, target_hears(self.targets.get(migration, Target.ABSENT), peer))

    def _report(self, migration: str, reason: str) -> HandoverReport:
        return HandoverReport(
            state=self.sources[migration],
            peer="absent",
            downtime_ms=120.0,
            bytes=Bytes(memory=1 << 20, files=1 << 10, wire=1 << 19, wire_frozen=1 << 19),
            phases=(Phase("freeze", 5.0), Phase("restore", 80.0)),
            connections=Connections(kept=1),
            verified="blake3:1234",
            reason=reason,
        )

    def _state(self, migration: str, role: str = "") -> HandoverState:
        if migration in self.sources and role != "target":
            return HandoverState("source", self.sources[migration])
        if migration in self.targets:
            lost = self.lost if self.targets[migration] is Target.RUNNING else ""
            return HandoverState("target", self.targets[migration], lost, bool(lost))
        raise NotFound(f"cannot find a handover of {migration}")

    def _resolve(self, asked: Resolve) -> HandoverState:
        if asked.migration in self.sources:
            self._hear(asked.migration, Target(asked.peer))
        else:
            self._hear_source(asked.migration, Source(asked.peer))
        return self._state(asked.migration)

    # -- what runs here ---------------------------------------------------------------------

    def runs(self, workload: str) -> bool:
        """Whether a task of the workload can run on this host right now."""
        held = [
            self.sources[m]
            for m, name in self.workload_of.items()
            if name == workload and m in self.sources and m not in self.settled
        ]
        return workload in self.running and not _HOLDING & set(held)

    def heartbeat(self) -> Heartbeat:
        found = tuple(
            FoundWorkload(name, f"c-{name}", name, "running", "10.77.1.2", "redis", 1 << 20)
            for name in sorted(self.running)
            if self.runs(name)
        )
        return Heartbeat(facts(self.name), found, notices=self.notices)


def transient() -> Transient:
    return Transient("cannot do it now", "try again")
