"""Every interleaving of two agents, a lossy network, crashes, restarts and lost tasks.

The model is wider than the program: any event may come at any time, a message once sent may be
delivered at any later time, any number of times, in any order, or never (so loss, doubling and
reordering are all in it), and an agent may tell its state as soon as it is written, before it has
acted on it. What the model does demand of an agent is what the docstring of `handover.py` says:
write, then act, and hear nothing in between; after a restart act on the record first; and look
whether the restored tasks still stand at the gate before hearing that the source handed over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

import pytest

from porter.domain import handover
from porter.domain.errors import Conflict
from porter.domain.handover import Source, SourceEvent, Target, TargetEvent


class Tasks(StrEnum):
    """What really is the case on a host, whatever its record says."""

    NONE = "none"
    RUNS = "runs"
    STILL = "still"
    """Frozen on the source, at the gate on the target."""
    LOST = "lost"
    """Were here and died: a power cut, an out-of-memory kill."""


class Broken(AssertionError):
    """A law does not hold in a reachable state."""


@dataclass(frozen=True)
class Rules:
    """How the agents keep to the protocol; the tests of the test turn these off."""

    acts_before_hearing: bool = True
    redoes_after_restart: bool = True
    looks_before_running: bool = True


class World(NamedTuple):
    """One state of everything. `*_todo` is volatile: it dies with the agent."""

    source: Source = Source.RUNNING
    s_tasks: Tasks = Tasks.RUNS
    s_up: bool = True
    s_todo: bool = False
    target: Target = Target.ABSENT
    t_tasks: Tasks = Tasks.NONE
    t_up: bool = True
    t_todo: bool = False
    said: frozenset[Source] = frozenset()
    answered: frozenset[Target] = frozenset()


def source_act(state: Source, tasks: Tasks) -> Tasks:
    """What the source's agent does about its record. What is lost stays lost."""
    if state is Source.GONE:
        return Tasks.NONE
    if tasks is Tasks.LOST:
        return tasks
    return Tasks.RUNS if handover.source_runs(state) else Tasks.STILL


def target_act(state: Target, tasks: Tasks) -> Tasks:
    """What the target's agent does about its record."""
    if state is Target.REFUSED:
        return Tasks.NONE
    if state is Target.RUNNING and tasks is not Tasks.LOST:
        return Tasks.RUNS
    return tasks


def to_source(world: World, state: Source) -> World:
    """The source writes `state`; what follows from it is still to be done."""
    final = (Source.GONE, Source.ABORTED)
    if world.source in final and state is not world.source:
        raise Broken(f"{world.source} changed to {state}: {world}")
    return world if state is world.source else world._replace(source=state, s_todo=True)


def to_target(world: World, state: Target) -> World:
    """The target writes `state`. To accept, it has first restored the tasks, stopped."""
    final = (Target.RUNNING, Target.REFUSED)
    if world.target in final and state is not world.target:
        raise Broken(f"{world.target} changed to {state}: {world}")
    if state is world.target:
        return world
    if state is Target.ACCEPTED:
        world = world._replace(t_tasks=Tasks.STILL)
    if state is Target.RUNNING and world.t_tasks is not Tasks.STILL:
        raise Broken(f"the target takes over without tasks: {world}")
    return world._replace(target=state, t_todo=True)


def source_steps(world: World, rules: Rules) -> Iterator[World]:
    """Everything that can happen at the source next."""
    if world.s_tasks in (Tasks.RUNS, Tasks.STILL):
        yield world._replace(s_tasks=Tasks.LOST)
    if not world.s_up:
        yield world._replace(s_up=True, s_todo=rules.redoes_after_restart)
        return
    yield world._replace(s_up=False, s_todo=False)
    yield world._replace(said=world.said | {world.source})
    if world.s_todo:
        yield world._replace(s_tasks=source_act(world.source, world.s_tasks), s_todo=False)
        if rules.acts_before_hearing:
            return
    for event in SourceEvent:
        yield to_source(world, handover.source_event(world.source, event))
    for peer in world.answered:
        yield to_source(world, handover.source_hears(world.source, peer))


def target_steps(world: World, rules: Rules) -> Iterator[World]:
    """Everything that can happen at the target next."""
    if world.t_tasks in (Tasks.RUNS, Tasks.STILL):
        yield world._replace(t_tasks=Tasks.LOST)
    if not world.t_up:
        yield world._replace(t_up=True, t_todo=rules.redoes_after_restart)
        return
    yield world._replace(t_up=False, t_todo=False)
    yield world._replace(answered=world.answered | {world.target})
    if world.t_todo:
        yield world._replace(t_tasks=target_act(world.target, world.t_tasks), t_todo=False)
        if rules.acts_before_hearing:
            return
    for event in TargetEvent:
        yield to_target(world, handover.target_event(world.target, event))
    if rules.looks_before_running and world.t_tasks is Tasks.LOST:
        return  # an ACCEPTED target without tasks can only refuse
    for peer in world.said:
        yield to_target(world, handover.target_hears(world.target, peer))


def check_safety(world: World) -> None:
    """The laws of every moment."""
    runs_here, runs_there = world.s_tasks is Tasks.RUNS, world.t_tasks is Tasks.RUNS
    if runs_here and runs_there:
        raise Broken(f"two copies run: {world}")
    if runs_there and world.source not in (Source.HANDED_OVER, Source.GONE):
        raise Broken(f"the target runs what was never handed over: {world}")
    if runs_here and handover.target_runs(world.target):
        raise Broken(f"the source runs what the target may run: {world}")


def explore(rules: Rules | None = None) -> set[World]:
    """All reachable states, breadth first. Raises Broken (or Conflict) on the way."""
    rules = rules or Rules()
    start = World()
    seen, queue = {start}, deque([start])
    while queue:
        world = queue.popleft()
        check_safety(world)
        for steps in (source_steps, target_steps):
            for following in steps(world, rules):
                if following not in seen:
                    seen.add(following)
                    queue.append(following)
    return seen


# -- once everything can be reached again ---------------------------------------------------


def calm(world: World) -> World:
    """Both agents are up, have acted on their records and have looked at their tasks."""
    target, t_tasks = world.target, world.t_tasks
    if target is Target.ACCEPTED and t_tasks is Tasks.LOST:
        target = handover.target_event(target, TargetEvent.REFUSE)
    return World(
        source=world.source,
        s_tasks=source_act(world.source, world.s_tasks),
        target=target,
        t_tasks=target_act(target, t_tasks),
    )


def reconciling(world: World, careless: bool = False) -> Iterator[World]:
    """What the two agents and the reconciler may do next, in any order."""
    yield calm(to_source(world, handover.source_hears(world.source, world.target)))
    yield calm(to_target(world, handover.target_hears(world.target, world.source)))
    unready = world.target in (Target.ABSENT, Target.RESERVED)
    # While the source's tasks are there, aborting is right even if the target does not answer.
    alone = careless or world.s_tasks is Tasks.STILL
    if world.source is Source.RUNNING or (world.source is Source.FROZEN and (unready or alone)):
        yield calm(to_source(world, handover.source_event(world.source, SourceEvent.ABORT)))
    if unready and world.source in (Source.RUNNING, Source.FROZEN):
        yield calm(to_target(world, handover.target_event(world.target, TargetEvent.REFUSE)))


def endings(world: World, careless: bool = False) -> set[World]:
    """Where all fair schedules from here end. Raises Broken if one of them never ends."""

    @cache
    def ends(at: World, depth: int = 0) -> frozenset[World]:
        check_safety(at)
        if depth > 12:
            raise Broken(f"no end in sight: {world}")
        following = {step for step in reconciling(at, careless) if step != at}
        if not following:
            return frozenset({at})
        return frozenset().union(*(ends(step, depth + 1) for step in following))

    return set(ends(calm(world)))


def must_survive(world: World) -> bool:
    """Whether an intact copy exists that is still entitled to run."""
    here = world.s_tasks in (Tasks.RUNS, Tasks.STILL) and world.target is not Target.RUNNING
    waiting = world.target in (Target.ACCEPTED, Target.RUNNING)
    there = waiting and world.t_tasks in (Tasks.RUNS, Tasks.STILL)
    # A source that runs, or ran again, has the say: the copy at the gate is stale then.
    return here or (there and world.source in (Source.FROZEN, Source.HANDED_OVER, Source.GONE))


def check_liveness(worlds: set[World], careless: bool = False) -> int:
    """From every state: settled, and one copy runs unless all were really lost. Counts zeros."""
    zeros = 0
    quiet = {calm(w)._replace(said=frozenset(), answered=frozenset()) for w in worlds}
    for start in quiet:
        for end in endings(start, careless):
            if not handover.settled(end.source, end.target):
                raise Broken(f"never settles: {start} ends in {end}")
            running = [end.s_tasks, end.t_tasks].count(Tasks.RUNS)
            if running != 1 and must_survive(start):
                raise Broken(f"an intact copy was thrown away: {start} ends in {end}")
            if running != 1:
                zeros += 1
                owner = start.t_tasks if start.target is Target.RUNNING else start.s_tasks
                if running or owner is not Tasks.LOST:
                    raise Broken(f"{running} copies run: {start} ends in {end}")
    return zeros


def prove(rules: Rules | None = None) -> set[World]:
    worlds = explore(rules)
    check_liveness(worlds)
    return worlds


def test_never_two_and_in_the_end_exactly_one() -> None:
    worlds = explore()
    zeros = check_liveness(worlds)
    pairs = {(w.source, w.target) for w in worlds}
    print(f"handover: {len(worlds)} states, {len(pairs)} pairs of records, {zeros} all lost")
    assert len(worlds) > 5_000
    assert (Source.GONE, Target.RUNNING) in pairs
    assert (Source.ABORTED, Target.REFUSED) in pairs
    assert (Source.ABORTED, Target.RUNNING) not in pairs


# -- the test of the test: break a rule, and the exploration must say so ----------------------

WRONG_SOURCE_EVENTS = [
    (Source.HANDED_OVER, SourceEvent.ABORT, Source.ABORTED),
    (Source.HANDED_OVER, SourceEvent.FREEZE, Source.FROZEN),
    (Source.ABORTED, SourceEvent.FREEZE, Source.FROZEN),
    (Source.GONE, SourceEvent.ABORT, Source.ABORTED),
]
WRONG_SOURCE_NEWS = [
    (Source.FROZEN, Target.RESERVED, Source.HANDED_OVER),
    (Source.FROZEN, Target.ACCEPTED, Source.ABORTED),
    (Source.FROZEN, Target.ACCEPTED, Source.GONE),
    (Source.RUNNING, Target.ACCEPTED, Source.HANDED_OVER),
    (Source.HANDED_OVER, Target.ACCEPTED, Source.GONE),
    (Source.HANDED_OVER, Target.ACCEPTED, Source.ABORTED),
    (Source.HANDED_OVER, Target.REFUSED, Source.HANDED_OVER),
    (Source.HANDED_OVER, Target.RUNNING, Source.HANDED_OVER),
]
WRONG_TARGET_EVENTS = [
    (Target.RESERVED, TargetEvent.ACCEPT, Target.RUNNING),
    (Target.ACCEPTED, TargetEvent.ACCEPT, Target.RUNNING),
    (Target.ACCEPTED, TargetEvent.REFUSE, Target.ACCEPTED),
    (Target.REFUSED, TargetEvent.RESERVE, Target.RESERVED),
    (Target.RUNNING, TargetEvent.REFUSE, Target.REFUSED),
]
WRONG_TARGET_NEWS = [
    (Target.ACCEPTED, Source.FROZEN, Target.RUNNING),
    (Target.ACCEPTED, Source.RUNNING, Target.RUNNING),
    (Target.ACCEPTED, Source.ABORTED, Target.ACCEPTED),
    (Target.ACCEPTED, Source.HANDED_OVER, Target.REFUSED),
    (Target.REFUSED, Source.HANDED_OVER, Target.RUNNING),
]
TABLES: dict[str, list[Any]] = {
    "_SOURCE_LOCAL": WRONG_SOURCE_EVENTS,
    "_SOURCE_HEARS": WRONG_SOURCE_NEWS,
    "_TARGET_LOCAL": WRONG_TARGET_EVENTS,
    "_TARGET_HEARS": WRONG_TARGET_NEWS,
}


@pytest.mark.parametrize(
    ("table", "state", "cause", "wrong"),
    [
        pytest.param(table, *rule, id="-".join(str(part) for part in rule))
        for table, rules in TABLES.items()
        for rule in rules
    ],
)
def test_a_wrong_rule_is_found(
    monkeypatch: pytest.MonkeyPatch, table: str, state: Any, cause: Any, wrong: Any
) -> None:
    monkeypatch.setitem(getattr(handover, table), (state, cause), wrong)
    with pytest.raises((Broken, Conflict)):
        prove()


@pytest.mark.parametrize("habit", ["acts_before_hearing", "looks_before_running"])
def test_a_careless_agent_is_found(habit: str) -> None:
    with pytest.raises((Broken, Conflict)):
        prove(replace(Rules(), **{habit: False}))


def test_aborting_a_source_without_tasks_unasked_is_found() -> None:
    """The target may have everything by then; it must be heard before the source gives up."""
    with pytest.raises(Broken, match="thrown away"):
        check_liveness(explore(), careless=True)


def test_an_agent_that_forgets_its_work_is_found() -> None:
    with pytest.raises((Broken, Conflict)):
        prove(Rules(redoes_after_restart=False))


def test_excluded_news_is_a_conflict_for_a_person() -> None:
    for state in (Source.RUNNING, Source.FROZEN, Source.ABORTED):
        with pytest.raises(Conflict, match="cannot reconcile"):
            handover.source_hears(state, Target.RUNNING)
    with pytest.raises(Conflict, match="cannot reconcile"):
        handover.target_hears(Target.RUNNING, Source.ABORTED)
