"""settle: both hosts clear away what the move left. Only ever forward."""

from __future__ import annotations

from porter.db.base import HostRecord
from porter.domain.errors import PorterError, Transient
from porter.domain.handover import Source, Target
from porter.domain.migration import StepKind
from porter.migrate.step import Context, Done, Outcome, Retry, Wait
from porter.protocol import codec
from porter.protocol.messages import HandoverState, Kind, Resolve, Settle, Settled

PATIENCE = 4
"""So often a host may fail to clear up before the move ends all the same, and says so."""


class Settlement:
    kind = StepKind.SETTLE

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
        return Done({"removed": removed, "left": left})

    def _settle(self, context: Context, role: str, host: HostRecord) -> Settled | None:
        return context.ask(role, host, Kind.SETTLE, Settle(context.migration.id), Settled)

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
