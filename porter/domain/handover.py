"""The handover: which of two hosts runs a workload, whatever is lost, doubled, late or killed.

Two agents, each with one durable record per migration. The only messages are "my state is X".
An agent writes its new state durably, then does what the state demands (freeze, thaw, open the
gate, destroy), then tells the other side. `HANDED_OVER` is the commit point: until the source has
written it the source may resume by itself; after it, only on proof that the target refused.

The functions are pure. A test explores every interleaving of crashes, restarts, loss, duplication
and reordering. It shows that never two copies run if every agent keeps three habits:

1. Write, act, and only then hear or decide anything else about the same migration. (A source that
   hears ACCEPTED between writing FROZEN and freezing would hand over what still runs.)
2. After a restart, first act on the record again.
3. A target that ACCEPTED looks whether its tasks still stand at the gate before it hears
   HANDED_OVER. If a power cut took them it must refuse, or the source's good copy is destroyed.

A source whose frozen tasks are lost stays FROZEN: it may still hear ACCEPTED, and then the target
has everything. So a FROZEN source may be aborted unasked while its tasks are there; without them
only once the target is heard and has not accepted.

When the target cannot be asked any more, a person may decide for the source's copy. Its agent then
gets the event FENCE, and only on proof that the target's copy does not run and never will:

4. The target's host is seen to be off, or the target itself has answered REFUSED to the order.
5. A host that was powered off comes back without tasks, and hears FENCED before anything of the
   workload runs there again. It refuses then, even what it had RUNNING.
6. Until the source has answered, it is not told to clear up: it may have heard that the target
   runs just before the decision, and FENCE must find its frozen tasks even so.
"""

from __future__ import annotations

from enum import StrEnum

from porter.domain.errors import Conflict


class Source(StrEnum):
    """The source's record. `RUNNING`, `ABORTED` and `FENCED` run; all others hold it frozen."""

    RUNNING = "running"
    FROZEN = "frozen"
    HANDED_OVER = "handed_over"
    GONE = "gone"
    ABORTED = "aborted"
    """Runs here again, and this migration can never be handed over any more."""
    FENCED = "fenced"
    """As `ABORTED`, after the commit: a person decided so, and the target is proven not to run."""


class Target(StrEnum):
    """The target's record. Only `RUNNING` runs."""

    ABSENT = "absent"
    RESERVED = "reserved"
    ACCEPTED = "accepted"
    """Verified and restored, stopped at the gate. It runs only after the source's commit."""
    RUNNING = "running"
    REFUSED = "refused"
    """Does not run this migration and never will."""


class SourceEvent(StrEnum):
    """What happens to a source apart from hearing the target's state."""

    FREEZE = "freeze"
    ABORT = "abort"
    FENCE = "fence"
    """A person decided for this copy, and the target's copy does not run and never will."""


class TargetEvent(StrEnum):
    """What happens to a target apart from hearing the source's state."""

    RESERVE = "reserve"
    ACCEPT = "accept"
    """All layers verified, tasks restored and stopped."""
    REFUSE = "refuse"
    """It cannot or must not run it: restore failed, restored tasks lost, asked to undo."""


_SOURCE_LOCAL: dict[tuple[Source, SourceEvent], Source] = {
    (Source.RUNNING, SourceEvent.FREEZE): Source.FROZEN,
    (Source.RUNNING, SourceEvent.ABORT): Source.ABORTED,
    (Source.FROZEN, SourceEvent.ABORT): Source.ABORTED,
    (Source.HANDED_OVER, SourceEvent.FENCE): Source.FENCED,
    (Source.GONE, SourceEvent.FENCE): Source.FENCED,
}
_SOURCE_HEARS: dict[tuple[Source, Target], Source] = {
    (Source.FROZEN, Target.ACCEPTED): Source.HANDED_OVER,
    (Source.FROZEN, Target.REFUSED): Source.ABORTED,
    (Source.RUNNING, Target.REFUSED): Source.ABORTED,
    (Source.HANDED_OVER, Target.REFUSED): Source.ABORTED,
    (Source.HANDED_OVER, Target.RUNNING): Source.GONE,
}
_TARGET_LOCAL: dict[tuple[Target, TargetEvent], Target] = {
    (Target.ABSENT, TargetEvent.RESERVE): Target.RESERVED,
    (Target.RESERVED, TargetEvent.ACCEPT): Target.ACCEPTED,
    (Target.ABSENT, TargetEvent.REFUSE): Target.REFUSED,
    (Target.RESERVED, TargetEvent.REFUSE): Target.REFUSED,
    (Target.ACCEPTED, TargetEvent.REFUSE): Target.REFUSED,
}
_TARGET_HEARS: dict[tuple[Target, Source], Target] = {
    (Target.ACCEPTED, Source.HANDED_OVER): Target.RUNNING,
    (Target.ABSENT, Source.ABORTED): Target.REFUSED,
    (Target.RESERVED, Source.ABORTED): Target.REFUSED,
    (Target.ACCEPTED, Source.ABORTED): Target.REFUSED,
    (Target.ABSENT, Source.FENCED): Target.REFUSED,
    (Target.RESERVED, Source.FENCED): Target.REFUSED,
    (Target.ACCEPTED, Source.FENCED): Target.REFUSED,
    (Target.RUNNING, Source.FENCED): Target.REFUSED,
}


def source_event(state: Source, event: SourceEvent) -> Source:
    """The source's next state. An event that no longer applies leaves the state as it is.

    Asking to abort after the commit is not an error of the caller's: the answer is the state.
    """
    return _SOURCE_LOCAL.get((state, event), state)


def source_hears(state: Source, peer: Target) -> Source:
    """The source's next state on hearing the target's. Stale news changes nothing.

    Raises Conflict for a pair that the protocol excludes (a target that runs what the source
    never handed over): both must be looked at by a person.
    """
    if peer is Target.RUNNING and state in (Source.RUNNING, Source.FROZEN, Source.ABORTED):
        raise Conflict(f"cannot reconcile: the source is {state} but the target says it runs")
    return _SOURCE_HEARS.get((state, peer), state)


def target_event(state: Target, event: TargetEvent) -> Target:
    """The target's next state. Refusing after it runs, or reserving twice, changes nothing."""
    return _TARGET_LOCAL.get((state, event), state)


def target_hears(state: Target, peer: Source) -> Target:
    """The target's next state on hearing the source's. Stale news changes nothing.

    Raises Conflict where a source that aborted meets a target that runs.
    """
    if peer is Source.ABORTED and state is Target.RUNNING:
        raise Conflict("cannot reconcile: the source aborted but the target runs")
    return _TARGET_HEARS.get((state, peer), state)


def source_runs(state: Source) -> bool:
    """Whether a source in this state lets the workload run."""
    return state in (Source.RUNNING, Source.ABORTED, Source.FENCED)


def target_runs(state: Target) -> bool:
    """Whether a target in this state lets the workload run."""
    return state is Target.RUNNING


def settled(source: Source, target: Target) -> bool:
    """Whether exactly one side owns the workload and neither needs to hear more."""
    return (source, target) in {
        (Source.GONE, Target.RUNNING),
        (Source.ABORTED, Target.REFUSED),
        (Source.FENCED, Target.REFUSED),
    }
