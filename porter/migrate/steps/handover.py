"""handover: the pivot. The agents hand over between themselves; here we ask, and decide in doubt.

`memory` keeps: `round` (number of the reconciliation round; absent while all goes well), `source`
and `target` (as last heard), `why` (what went wrong), `pair` (the pair seen in the round before),
`not_before` (when the next round begins), `said` (what the round before found, and whether it
held the move), `doubt` (a host's error instead of an answer), `lost` (the target took over and lost
it); and what `steps.decision` keeps.
"""

from __future__ import annotations

from porter.db.base import HostRecord
from porter.domain.errors import NotFound, PorterError
from porter.domain.handover import Source, Target
from porter.domain.migration import StepKind
from porter.migrate.ports import Machines
from porter.migrate.reconcile import Move, Verdict, next_move
from porter.migrate.step import (
    CANCELLED,
    GIVE_UP,
    POLL,
    Context,
    Done,
    Failed,
    Outcome,
    Retry,
    Wait,
)
from porter.migrate.steps.decision import BACK, Reclaiming, for_source, for_target, in_words
from porter.migrate.steps.reserve import route
from porter.protocol import codec
from porter.protocol.messages import (
    Handover,
    HandoverReport,
    HandoverState,
    Kind,
    Query,
    Reserved,
    Resolve,
)

BUSY_PATIENCE = 30.0
"""While the source is at work it notices a dead target by itself; a host may be silent for so long
because it is busy before a handover that is under way is broken off from here."""


class HandoverStep:
    kind = StepKind.HANDOVER

    def __init__(self, machines: Machines) -> None:
        self._reclaiming = Reclaiming(machines)

    def do(self, context: Context) -> Outcome:
        decision = for_source(context)
        if decision is not None and context.memory.get("fencing"):
            return self._reclaiming.do(context, decision)
        if context.issued(StepKind.HANDOVER, Kind.HANDOVER) is None:
            refusal = self._before(context)
            if refusal is not None:
                return refusal
        try:
            report = context.ask_once(
                "handover", context.source, Kind.HANDOVER, self._order(context), HandoverReport
            )
        except PorterError as error:
            return self._reconcile(context, str(error), None)
        if report is None:
            return self._under_way(context)
        context.memory |= {"source": report.state, "target": report.peer}
        if report.state == Source.GONE:
            return self._forward(context, report)
        if report.state in BACK:
            return self._back(context, report.reason or "the source took the workload back")
        return self._reconcile(context, report.reason, report)

    def _before(self, context: Context) -> Outcome | None:
        """Nothing is frozen yet: reasons not to begin."""
        if context.cancelled:
            return Failed(CANCELLED)
        for host in (context.source, context.target):
            if not context.alive(host):
                return Failed(
                    f"cannot move {context.workload.name}: host {host.name} went away before the "
                    "workload was frozen"
                )
        return None

    def _order(self, context: Context) -> Handover:
        reserve = context.output(StepKind.RESERVE)
        reserved = codec.load(Reserved, reserve["reserved"])
        return Handover(
            migration=context.migration.id,
            workload=context.workload.name,
            generation=context.generation,
            target_host=context.target.id,
            peer_address=reserved.peer_address,
            peer_port=reserved.peer_port,
            token=reserve["token"],
            via=route(context),
        )

    def _under_way(self, context: Context) -> Outcome:
        """The source is at it. Look closer only when something is wrong."""
        if "round" in context.memory:
            why = str(context.memory.get("why", ""))
            return self._reconcile(context, why, None, under_way=True)
        hosts = (context.source, context.target)
        silent = [host for host in hosts if host.silent(context.now) > GIVE_UP]
        if silent:
            why = f"host {silent[0].name} went away during the handover"
            return self._reconcile(context, why, None, under_way=True)
        if context.desk.sends:
            return Wait()
        if context.cancelled:
            return self._cancel(context)
        return Wait()

    def _cancel(self, context: Context) -> Outcome:
        """Ask the source to take the workload back, once; it answers how far it is."""
        if context.memory.get("too_late"):
            return Wait()
        try:
            query = Query(context.migration.id)
            answer = context.ask("cancel", context.source, Kind.ABORT, query, HandoverState)
        except PorterError as error:
            return self._reconcile(context, str(error), None)
        if answer is None:
            return Wait()
        context.memory["source"] = answer.state
        if answer.state in BACK:
            return self._back(context, CANCELLED)
        context.memory["too_late"] = True
        context.tell("cancel", "the cancel came too late: the workload is handed over")
        return Wait()

    def _forward(self, context: Context, report: HandoverReport | None) -> Outcome:
        output = {} if report is None else codec.dump(report)
        output |= {
            "state": context.memory.get("source", Source.HANDED_OVER),
            "peer": Target.RUNNING,
            "reason": str(context.memory.get("why", "")),
        }
        decision = for_target(context)
        if decision is not None:
            output["decided"] = in_words(decision, context.target.name)
        return Done(output)

    def _back(self, context: Context, why: str) -> Outcome:
        if context.memory.get("source") not in BACK:
            context.memory["source"] = Source.ABORTED
        return Failed(why)

    # -- in doubt ---------------------------------------------------------------------------

    def _reconcile(
        self, context: Context, why: str, report: HandoverReport | None, under_way: bool = False
    ) -> Outcome:
        """Ask both sides and bring them to rest. `under_way`: the source may still be at it."""
        memory = context.memory
        if "round" not in memory:
            memory["round"] = 1
            context.tell("doubt", f"asking both hosts how far the handover came: {why}")
        memory["why"] = why or memory.get("why", "")
        decision = for_source(context)
        if decision is not None:
            return self._reclaiming.do(context, decision)
        if context.now < memory.get("not_before", 0.0):
            return self._pause(context, memory["not_before"] - context.now)
        source = self._hear(context, context.source, "source")
        target = self._hear(context, context.target, "target")
        if target is not None and target.lost and (source is None or source.state != Source.GONE):
            memory |= {"lost": True} | ({"source": source.state} if source is not None else {})
            if for_target(context) is not None:
                # Given up: the source lets go of its copy when `settle` tells it.
                memory["source"] = memory.get("source", Source.HANDED_OVER)
                return self._forward(context, report)
            return self._next_round(context, self._lost(context, target.note))
        if target is not None and target.state == Target.RUNNING and source is None:
            return self._target_runs(context, report)
        if source is None:
            return self._without_source(context, target)
        memory["source"] = source.state
        if target is None and context.alive(context.target):
            return self._pause(context, POLL)
        if target is not None:
            memory["target"] = target.state
        heard = None if target is None else Target(target.state)
        busy = under_way and context.target.silent(context.now) < BUSY_PATIENCE
        if busy and not context.cancelled:
            return self._next_round(context, Wait(str(memory["why"])))
        return self._decide(context, Source(source.state), heard, source.note, report)

    def _hear(self, context: Context, host: HostRecord, role: str) -> HandoverState | None:
        """The host's own word in this round; None while it has not answered."""
        name = f"query-{role}-{context.memory['round']}"
        query = Query(context.migration.id)
        try:
            return context.ask(name, host, Kind.QUERY, query, HandoverState)
        except NotFound:
            # It has no record of this migration: nothing ever began there.
            state = Source.RUNNING if role == "source" else Target.ABSENT
            return HandoverState(role, state)
        except PorterError as error:
            context.memory["doubt"] = str(error)
            return None

    def _target_runs(self, context: Context, report: HandoverReport | None) -> Outcome:
        """The target's word is proof that the source handed over; `settle` waits for the source."""
        if context.alive(context.source):
            return self._pause(context, POLL)
        context.memory |= {"source": Source.HANDED_OVER, "target": Target.RUNNING}
        return self._forward(context, report)

    def _without_source(self, context: Context, target: HandoverState | None) -> Outcome:
        """The source is away. What it once said after the commit it cannot take back by itself, so
        a person may have an accepted target take over; from there on `settle` waits for it."""
        committed = context.memory.get("source") == Source.HANDED_OVER
        accepted = target is not None and target.state == Target.ACCEPTED
        away = not context.alive(context.source)
        if away and committed and accepted and for_target(context) is not None:
            return self._act(context, Move(Verdict.ACT, kind=Kind.RESOLVE, peer=Source.HANDED_OVER))
        if target is not None:
            context.memory["target"] = target.state
        return self._unreachable(context, context.source, "the source")

    def _decide(
        self,
        context: Context,
        source: Source,
        target: Target | None,
        note: str,
        report: HandoverReport | None,
    ) -> Outcome:
        memory = context.memory
        move = next_move(source, target, context.cancelled)
        if move.verdict is Verdict.FORWARD:
            return self._forward(context, report)
        if move.verdict is Verdict.BACK:
            why = CANCELLED if context.cancelled else str(memory["why"])
            return self._back(context, f"{why}; {note}" if note else why)
        if move.verdict is Verdict.UNREACHABLE:
            return self._unreachable(context, context.target, "the target")
        if move.verdict is Verdict.EXCLUDED or self._must_see_twice(context, move, target):
            return self._next_round(context, self._excluded(context, source, target, note))
        return self._act(context, move)

    def _must_see_twice(self, context: Context, move: Move, target: Target | None) -> bool:
        """Answers of one round may be of different times; refusing on the strength of an old one
        would lose the move, so the same pair must be heard again."""
        if move.kind is not Kind.REFUSE:
            return False
        pair = [Source.HANDED_OVER.value, None if target is None else target.value]
        seen = context.memory.get("pair") == pair
        context.memory["pair"] = pair
        return not seen

    def _act(self, context: Context, move: Move) -> Outcome:
        host = context.source if move.on_source else context.target
        if move.kind is None:
            raise AssertionError("a move that acts has a kind")
        name = f"{move.kind}-{context.memory['round']}"
        migration = context.migration.id
        payload: object = Query(migration)
        if move.kind is Kind.RESOLVE:
            payload = Resolve(migration, move.peer)
        try:
            answer = context.ask(name, host, move.kind, payload, HandoverState)
        except PorterError as error:
            context.memory["why"] = str(error)
            return self._next_round(context, Wait(f"{host.name}: {error}", held=True))
        if answer is None:
            if not context.alive(host):
                return self._unreachable(context, host, "the other side")
            return self._pause(context, POLL)
        role = "source" if move.on_source else "target"
        before = context.memory.get(role)
        context.memory[role] = answer.state
        progressed = answer.state != before
        if role == "source" and answer.state in BACK:
            why = CANCELLED if context.cancelled else str(context.memory["why"])
            return self._back(context, f"{why}; {answer.note}" if answer.note else why)
        reason = str(context.memory["why"])
        return self._next_round(context, Wait(reason, seconds=0.0 if progressed else POLL))

    def _next_round(self, context: Context, wait: Wait) -> Outcome:
        context.memory["round"] += 1
        context.memory["not_before"] = context.now + wait.seconds
        context.memory["said"] = [wait.reason, wait.held]
        return wait

    def _pause(self, context: Context, seconds: float) -> Outcome:
        """Wait within a round; what the round before found is still how things stand."""
        doubt = context.memory.pop("doubt", "")
        if doubt:
            return self._next_round(context, Wait(str(doubt), held=True))
        reason, held = context.memory.get("said", [str(context.memory.get("why", "")), False])
        return Wait(reason, held=held, seconds=seconds)

    def _unreachable(self, context: Context, host: HostRecord, role: str) -> Outcome:
        """Nobody may guess what the host did: say so, and keep asking."""
        if context.alive(host):
            return self._pause(context, POLL)
        name = context.workload.name
        frozen = context.memory.get("source") in (Source.FROZEN, Source.HANDED_OVER)
        state = f"{name} stays frozen on {context.source.name}" if frozen else f"{name} is in doubt"
        return Wait(
            f"cannot finish the handover: {role}'s host {host.name} does not answer and must be "
            f"asked; {state} until {host.name} is back, or a person decides: "
            f"porter migration resolve {context.migration.id}",
            held=True,
        )

    def _excluded(self, context: Context, source: Source, target: Target | None, note: str) -> Wait:
        said = f"{context.source.name} says {source}, {context.target.name} says {target}"
        more = f" ({note})" if note else ""
        return Wait(
            f"cannot reconcile the handover: {said}{more}; look at both hosts: one of them has "
            "lost its record",
            held=True,
        )

    def _lost(self, context: Context, note: str) -> Wait:
        """Telling the source that the target runs it would make it destroy the only good copy."""
        return Wait(
            f"cannot finish the handover: {context.target.name} took over and lost it ({note}); "
            f"{context.source.name} holds it frozen, whole as it was handed over; "
            f"decide which copy counts: porter migration resolve {context.migration.id}",
            held=True,
        )

    def undo(self, context: Context) -> Outcome:
        if context.issued(StepKind.HANDOVER, Kind.HANDOVER) is None:
            return Done()
        if context.memory.get("source") in BACK:
            return Done()
        query = Query(context.migration.id)
        try:
            answer = context.ask("undo-abort", context.source, Kind.ABORT, query, HandoverState)
        except PorterError as error:
            return Retry(POLL, f"cannot undo on {context.source.name}: {error}")
        if answer is None:
            return context.wait(undoing=True)
        if answer.state not in (*BACK, Source.RUNNING):
            return Retry(POLL, f"cannot undo on {context.source.name}: it says {answer.state}")
        return Done()
