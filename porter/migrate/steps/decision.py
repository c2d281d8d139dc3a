"""What a person's decision about a held handover has the two hosts do.

`memory` keeps beside the handover's own: `proof` (why the target's copy never runs, in words, once
that is sure), `fencing` (set once the target was asked or its power is being cut: the decision is
then carried out whatever is heard), `power` (the provider's token), `tries` (of each command).
"""

from __future__ import annotations

from porter.db.base import DecisionRecord, HostRecord
from porter.domain.errors import PorterError, Unsupported
from porter.domain.handover import Source, Target
from porter.migrate.ports import Machines
from porter.migrate.step import Context, Failed, Outcome, Wait
from porter.protocol.messages import HandoverState, Kind, Reclaim, Resolve

BACK = (Source.ABORTED, Source.FENCED)
"""States of the source that mean: it runs there again, for good."""


def for_source(context: Context) -> DecisionRecord | None:
    """The decision, if it is for the source."""
    decision = context.claim.decision
    return decision if decision is not None and decision.run_on == "source" else None


def for_target(context: Context) -> DecisionRecord | None:
    """The decision, if it is for the target."""
    decision = context.claim.decision
    return decision if decision is not None and decision.run_on == "target" else None


def give_up_order(context: Context) -> Resolve:
    """To the target: whatever became of your copy, it goes; the source's runs."""
    facts = context.source.facts
    return Resolve(context.migration.id, Source.FENCED, "" if facts is None else facts.underlay)


def in_words(decision: DecisionRecord, host: str) -> str:
    return f"{decision.by_name} decided that it runs on {host}: {decision.reason}"


class Reclaiming:
    """Brings the workload back to the source: first the proof, then the order."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def do(self, context: Context, decision: DecisionRecord) -> Outcome:
        """Until the source runs it again. Never counts as failed: it may be decided anew."""
        memory = context.memory
        if "proof" not in memory:
            outcome = self._prove(context, decision)
            if outcome is not None:
                return outcome
        why = f"{in_words(decision, context.source.name)}; {memory['proof']}"
        order = Reclaim(context.migration.id, why)
        answer = self._ask(context, "reclaim", context.source, Kind.RECLAIM, order)
        if not isinstance(answer, HandoverState):
            return answer
        if answer.state not in BACK:
            return _again(context, "reclaim", f"{context.source.name} says {answer.state}")
        memory["source"] = answer.state
        # The agent's note begins with the order's reason; it may say more, such as lost tasks.
        return Failed(answer.note if answer.note.startswith(why) else why)

    def _prove(self, context: Context, decision: DecisionRecord) -> Outcome | None:
        """None once the target's copy does not run and never will; `memory` says why."""
        if decision.proof == "declared":
            name = context.target.name
            return self._proven(context, f"{decision.by_name} declares that {name} is powered off")
        if decision.proof == "provider":
            return self._power_off(context)
        return self._told(context)

    def _proven(self, context: Context, proof: str) -> Outcome | None:
        context.memory |= {"proof": proof, "fencing": True}
        context.tell("fenced", proof, host=context.target.id)
        return None

    def _power_off(self, context: Context) -> Outcome | None:
        """Have the machine's site cut its power, and see it off."""
        memory, host = context.memory, context.target
        memory["fencing"] = True
        row = self._machines.ledger.of_host(host.id)
        if row is None:
            return self._proven(context, f"{host.name}'s machine is gone from {host.site}")
        try:
            hosts = self._machines.places.open(row.site).hosts
            if hosts is None:
                raise Unsupported(f"cannot power off {host.name}: {row.site} has no machines")
            pending = hosts.power_off(row.key, str(memory.get("power", "")))
        except PorterError as error:
            return Wait(f"cannot power off {host.name} yet: {error}", held=True)
        if pending is not None:
            memory["power"] = pending.token
            return Wait(f"powering off {host.name}", held=True, seconds=pending.seconds)
        return self._proven(context, f"{row.site} has powered off {host.name}")

    def _told(self, context: Context) -> Outcome | None:
        """The target lost it and answers: its refusal is the proof."""
        context.memory["fencing"] = True
        order = give_up_order(context)
        answer = self._ask(context, "give-up", context.target, Kind.RESOLVE, order)
        if not isinstance(answer, HandoverState):
            return answer
        if answer.state != Target.REFUSED:
            return _again(context, "give-up", f"{context.target.name} says {answer.state}")
        context.memory["target"] = answer.state
        return self._proven(context, f"{context.target.name} discarded what was left there")

    def _ask(
        self, context: Context, name: str, host: HostRecord, kind: Kind, order: object
    ) -> HandoverState | Outcome:
        tries = context.memory.setdefault("tries", {})
        number = tries.setdefault(name, 1)
        try:
            answer = context.ask(f"{name}-{number}", host, kind, order, HandoverState)
        except PorterError as error:
            return _again(context, name, f"{host.name}: {error}")
        if answer is None:
            return Wait(f"waiting for {host.name} to carry out the decision", held=True)
        return answer


def _again(context: Context, name: str, why: str) -> Wait:
    """Ask anew in a while, with a fresh command."""
    tries = dict(context.memory.get("tries", {}))
    tries[name] = tries.get(name, 1) + 1
    context.memory["tries"] = tries
    return Wait(f"cannot carry out the decision yet: {why}", held=True)
