"""settle: both hosts clear away what the move left. Only ever forward."""

from __future__ import annotations

from porter.db.base import HostRecord
from porter.domain.errors import PorterError, Transient
from porter.domain.handover import Source, Target
from porter.domain.migration import StepKind
from porter.migrate.costs import egress
from porter.migrate.ports import Machines
from porter.migrate.step import Context, Done, Outcome, Retry, Wait
from porter.migrate.steps.decision import for_target
from porter.migrate.steps.reserve import sweep_route
from porter.protocol import codec
from porter.protocol.messages import HandoverState, Kind, Resolve, Settle, Settled

PATIENCE = 4
"""So often a host may fail to clear up before the move ends all the same, and says so."""


class Settlement:
    kind = StepKind.SETTLE

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def do(self, context: Context) -> Outcome:
        if context.output(StepKind.HANDOVER).get("state") != Source.GONE:
            waiting = self._let_go(context)
            if waiting is not None:
                return waiting
        removed: dict[str, object] = {}
        left: list[str] = []
        for role, host in (("target", context.target), ("source", context.source)):
            try:
                answer = self._settle(context, role, host)
            except Transient:
                raise
            except PorterError as error:
                if context.attempt < PATIENCE:
                    return Retry(float(context.attempt), f"cannot clear up on {host.name}: {error}")
                left.append(f"{host.name}: {error}")
                continue
            if answer is not None:
                removed[role] = list(answer.removed)
        if context.desk.waiting:
            return self._wait(context)
        for line in left:
            context.tell("warning", f"something was left behind on {line}")
        try:
            sweep_route(self._machines, context)
        except PorterError as error:
            left.append(f"its store: {error}")
        if context.migration.plan.get("release"):
            self._machines.ledger.drain(context.source.id, "left by its workload", context.now)
        return Done({"removed": removed, "left": left, "cost": self._cost(context)})

    def _cost(self, context: Context) -> dict[str, object]:
        sent = context.output(StepKind.HANDOVER).get("bytes") or {}
        shipped = context.output(StepKind.RESERVE).get("shipped") or {}
        wire = int(sent.get("wire", 0)) + int(shipped.get("wire_bytes", 0))
        moved = egress(self._machines.places, context.source, context.target, wire)
        machine = self._machines.ledger.of_host(context.target.id)
        return {"egress": moved, "target": None if machine is None else machine.quote}

    def _settle(self, context: Context, role: str, host: HostRecord) -> Settled | None:
        order = Settle(context.migration.id, as_it_is=for_target(context) is not None)
        return context.ask(role, host, Kind.SETTLE, order, Settled)

    def _let_go(self, context: Context) -> Outcome | None:
        """The source was away when the target began to run: tell it, until it has let go."""
        tried = context.memory.get("told", 0)
        resolve = Resolve(context.migration.id, Target.RUNNING)
        answer = context.ask(f"gone-{tried}", context.source, Kind.RESOLVE, resolve, HandoverState)
        if answer is None:
            return self._wait(context)
        if answer.state == Source.GONE:
            return None
        context.memory["told"] = tried + 1
        return Wait(f"{context.source.name} still says {answer.state}")

    def _wait(self, context: Context) -> Outcome:
        silent = [host.name for host in context.desk.waiting if not context.alive(host)]
        if silent:
            return Wait(
                f"{context.workload.name} runs on {context.target.name}; waiting for "
                f"{silent[0]} to come back and clear up"
            )
        return Wait()

    def undo(self, context: Context) -> Outcome:
        return Done()


def notes(output: dict[str, object]) -> str:
    """What could not be cleared away, for the receipt's reason."""
    left = codec.load(list[str], output.get("left", []))
    return "left behind on " + "; ".join(left) if left else ""
