"""What to tell whom when it is unclear how far a handover came.

The agents' own rules (`domain.handover`) are safe whatever they are told and in whatever order;
this module only chooses what brings both sides to rest soonest, with the workload running as long
as possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from porter.domain.handover import Source, Target
from porter.protocol.messages import Kind


class Verdict(StrEnum):
    """How a pair of states ends."""

    FORWARD = "forward"
    """The target runs it."""
    BACK = "back"
    """The source runs it again and for good."""
    ACT = "act"
    UNREACHABLE = "unreachable"
    """The target must be asked, and does not answer."""
    EXCLUDED = "excluded"
    """A pair that the protocol excludes: a record was lost. A person must look."""


@dataclass(frozen=True)
class Move:
    """What to do next: for ACT, a command to the source or the target."""

    verdict: Verdict
    on_source: bool = False
    kind: Kind | None = None
    peer: str = ""


def _tell_source(peer: Target) -> Move:
    return Move(Verdict.ACT, on_source=True, kind=Kind.RESOLVE, peer=peer)


_ABORT = Move(Verdict.ACT, on_source=True, kind=Kind.ABORT)
_REFUSE = Move(Verdict.ACT, on_source=False, kind=Kind.REFUSE)
_COMMIT = Move(Verdict.ACT, on_source=False, kind=Kind.RESOLVE, peer=Source.HANDED_OVER)


def next_move(source: Source, target: Target | None, cancelled: bool) -> Move:
    """The next move for what both sides say of themselves; `target` is None if unreachable.

    Until the source has handed over, letting it run again is always safe, so nobody waits for a
    target that does not answer. Afterwards only the target's word counts.
    """
    if source is Source.FENCED:
        # A person decided, and what the target runs was proven not to.
        return Move(Verdict.BACK)
    if target is Target.RUNNING:
        return _target_runs(source)
    if source is Source.ABORTED:
        # The target's reservation is given back by the undoing of `reserve`.
        return Move(Verdict.BACK)
    if source is Source.GONE:
        return Move(Verdict.UNREACHABLE if target is None else Verdict.EXCLUDED)
    if source is Source.HANDED_OVER:
        return _handed_over(target)
    if source is Source.FROZEN and target is Target.ACCEPTED and not cancelled:
        return _tell_source(Target.ACCEPTED)
    return _ABORT


def _target_runs(source: Source) -> Move:
    if source is Source.GONE:
        return Move(Verdict.FORWARD)
    if source is Source.HANDED_OVER:
        return _tell_source(Target.RUNNING)
    return Move(Verdict.EXCLUDED)


def _handed_over(target: Target | None) -> Move:
    if target is None:
        return Move(Verdict.UNREACHABLE)
    if target is Target.ACCEPTED:
        return _COMMIT
    if target is Target.REFUSED:
        return _tell_source(Target.REFUSED)
    # It can no longer accept what it does not have: its refusal frees the source.
    return _REFUSE
