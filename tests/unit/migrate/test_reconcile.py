"""Every pair of states has one next move, and following the moves always ends."""

from __future__ import annotations

import itertools

import pytest

from porter.domain.handover import (
    Source,
    SourceEvent,
    Target,
    TargetEvent,
    source_event,
    source_hears,
    source_runs,
    target_event,
    target_hears,
    target_runs,
)
from porter.migrate.reconcile import Verdict, next_move
from porter.protocol.messages import Kind

BACK = (Source.ABORTED, Source.FENCED)
PAIRS = list(itertools.product(Source, Target))


def follow(source: Source, target: Target, cancelled: bool) -> tuple[Verdict, Source, Target]:
    """Carry out moves as the agents would, until there is none."""
    for _ in range(10):
        move = next_move(source, target, cancelled)
        if move.verdict is not Verdict.ACT:
            return move.verdict, source, target
        if move.kind is Kind.ABORT:
            source = source_event(source, SourceEvent.ABORT)
        elif move.kind is Kind.REFUSE:
            target = target_event(target, TargetEvent.REFUSE)
        elif move.on_source:
            source = source_hears(source, Target(move.peer))
        else:
            target = target_hears(target, Source(move.peer))
        assert not (source_runs(source) and target_runs(target))
        assert source is not Source.FENCED
    raise AssertionError("it never ends")


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_pair_ends(source: Source, target: Target, cancelled: bool) -> None:
    lost = (source is Source.GONE) != (target is Target.RUNNING) and (
        source is Source.GONE or source is not Source.HANDED_OVER
    )
    verdict, source_after, target_after = follow(source, target, cancelled)
    if source is Source.FENCED:
        # Decided by a person: the target's record is put right by the undoing of `reserve`.
        assert (verdict, source_after) == (Verdict.BACK, Source.FENCED)
        return
    if lost:
        assert verdict is Verdict.EXCLUDED
        return
    if verdict is Verdict.FORWARD:
        assert (source_after, target_after) == (Source.GONE, Target.RUNNING)
    else:
        assert verdict is Verdict.BACK
        assert source_after is Source.ABORTED
        assert target_after is not Target.RUNNING


def test_cancelling_stops_what_is_not_decided() -> None:
    assert follow(Source.FROZEN, Target.ACCEPTED, True)[0] is Verdict.BACK
    assert follow(Source.FROZEN, Target.ACCEPTED, False)[0] is Verdict.FORWARD
    assert follow(Source.HANDED_OVER, Target.ACCEPTED, True)[0] is Verdict.FORWARD


@pytest.mark.parametrize("source", list(Source))
def test_a_target_that_does_not_answer(source: Source) -> None:
    move = next_move(source, None, False)
    if source in (Source.HANDED_OVER, Source.GONE):
        assert move.verdict is Verdict.UNREACHABLE
    elif source in BACK:
        assert move.verdict is Verdict.BACK
    else:
        assert move.kind is Kind.ABORT
