"""preflight: everything that would stop the move is said before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass

from porter.db.base import HostRecord, WorkloadRecord
from porter.domain.errors import Permanent, Transient
from porter.domain.migration import Mode, StepKind
from porter.domain.workload import Blocker, WorkloadSpec
from porter.migrate.ports import Machines
from porter.migrate.step import Asker, Context, Done, Failed, Outcome
from porter.protocol import codec
from porter.protocol.messages import Check, Checked, Inspect, Kind, Reach, Reached


@dataclass(frozen=True)
class Verdict:
    """What preflight found: the workload as its host describes it, and what stands in the way."""

    spec: WorkloadSpec | None
    blockers: tuple[Blocker, ...]
    missing_layers: tuple[str, ...] = ()
    via: str = ""
    """The store by which the hosts talk, where the source cannot reach the target."""


def assess(
    asker: Asker,
    workload: WorkloadRecord,
    source: HostRecord,
    target: HostRecord,
    mode: str,
    now: float,
    via: str = "",
    fallback: str = "",
) -> Verdict | None:
    """Judge a move; None while a host has yet to answer. Touches nothing, asks both hosts.

    `via` names a store that is to be used, `fallback` one that may be if need be.
    """
    blockers = list(_ours(workload, source, target, mode, now))
    if not source.alive(now) or not target.alive(now) or source.id == target.id:
        return Verdict(None, tuple(blockers))
    try:
        spec = asker.ask("inspect", source, Kind.INSPECT, Inspect(workload.name), WorkloadSpec)
    except Transient:
        raise
    except Permanent as error:
        blockers.append(Blocker(error.code, error.message, error.remedy))
        return Verdict(None, tuple(blockers))
    if spec is None:
        return None
    blockers.extend(spec.blockers)
    if not spec.running:
        blockers.append(
            Blocker(
                "not-running",
                f"cannot move {workload.name}: its container is not running",
                "start it first",
            )
        )
    if source.facts is None:
        raise Transient(f"cannot check the move: {source.name} has not told its facts yet")
    try:
        reached = _reach(asker, source, target, via)
        checked = asker.ask("check", target, Kind.CHECK, Check(spec, source.facts), Checked)
    except Transient:
        raise
    except Permanent as error:
        blockers.append(Blocker(error.code, error.message, error.remedy))
        return Verdict(spec, tuple(blockers))
    if checked is None or reached is None:
        return None
    route = via
    if not reached.ok:
        route = fallback
        if not fallback:
            blockers.append(_out_of_reach(source, target, reached.problem))
    return Verdict(spec, (*blockers, *checked.blockers), checked.missing_layers, route)


def _reach(asker: Asker, source: HostRecord, target: HostRecord, via: str) -> Reached | None:
    """Whether the source can talk to the target; not asked where a store is to carry it anyway."""
    if via or target.facts is None:
        return Reached(True)
    there = Reach(target.facts.underlay, target.facts.peer_port)
    return asker.ask("reach", source, Kind.REACH, there, Reached)


def _out_of_reach(source: HostRecord, target: HostRecord, problem: str) -> Blocker:
    return Blocker(
        "unreachable",
        f"cannot move: {source.name} does not reach {target.name}: {problem}",
        "open that port between them, or add a store that both reach: porter store add",
    )


def _ours(
    workload: WorkloadRecord, source: HostRecord, target: HostRecord, mode: str, now: float
) -> list[Blocker]:
    """What the control plane can see by itself."""
    found = []
    if mode in (Mode.LIVE, Mode.RESTART):
        found.append(
            Blocker(
                "mode-unsupported",
                f"cannot move {workload.name} in mode {mode}: not yet",
                "use --mode cold or auto",
            )
        )
    if source.id == target.id:
        found.append(
            Blocker(
                "same-host",
                f"cannot move {workload.name} to {target.name}: it already runs there",
                "name another host",
            )
        )
        return found
    for role, host in (("source", source), ("target", target)):
        if not host.alive(now):
            found.append(
                Blocker(
                    f"{role}-down",
                    f"cannot move {workload.name}: {role} host {host.name} has not been heard "
                    f"for {host.silent(now):.0f} s",
                    f"start `porter agent` on {host.name}",
                )
            )
    return found


def sentence(blockers: tuple[Blocker, ...]) -> str:
    """All blockers with their remedies, for a person."""
    return "; ".join(f"{b.message} ({b.remedy})" if b.remedy else b.message for b in blockers)


class Preflight:
    kind = StepKind.PREFLIGHT

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def do(self, context: Context) -> Outcome:
        verdict = assess(
            context,
            context.workload,
            context.source,
            context.target,
            context.migration.mode,
            context.now,
            str(context.migration.plan.get("via", "")),
            self._machines.depots.first(),
        )
        if verdict is None:
            return context.wait()
        if verdict.blockers or verdict.spec is None:
            data = {"blockers": [codec.dump(blocker) for blocker in verdict.blockers]}
            return Failed(sentence(verdict.blockers), data)
        if verdict.via:
            context.tell("via", f"the hosts talk through the store {verdict.via}")
        return Done({"spec": codec.dump(verdict.spec), "via": verdict.via})

    def undo(self, context: Context) -> Outcome:
        return Done()
