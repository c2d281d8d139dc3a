"""Every interleaving of two agents, a lossy network, crashes, restarts and lost tasks.

The model is wider than the program: any event may come at any time, a message once sent may be
delivered at any later time, any number of times, in any order, or never (so loss, doubling and
reordering are all in it), and an agent may tell its state as soon as it is written, before it has
acted on it. What the model does demand of an agent is what the docstring of `handover.py` says:
write, then act, and hear nothing in between; after a restart act on the record first; and look
whether the restored tasks still stand at the gate before hearing that the source handed over.

With `Rules.fencing` a person may decide for the source's copy. The model assumes of fencing what
the docstring of `handover.py` says: a fenced host is down, and when it comes back it has no tasks
and hears FENCED before anything runs. A target that is up, but lost its tasks, hears it too, and
its refusal is the proof.
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


class Fence(StrEnum):
    """What was decided, and how the target is made sure of."""

    NO = "no"
    OFF = "off"
    """Its host was powered off, and was seen to be."""
    TOLD = "told"
    """It is up without tasks, and is told to refuse."""


class Broken(AssertionError):
    """A law does not hold in a reachable state."""


@dataclass(frozen=True)
class Rules:
    """How the agents keep to the protocol; the tests of the test turn these off."""

    acts_before_hearing: bool = True
    redoes_after_restart: bool = True
    looks_before_running: bool = True
    fencing: bool = False
    fences_on_proof: bool = True
    told_before_running: bool = True
    keeps_until_answered: bool = True


FENCING = Rules(fencing=True)


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
    fence: Fence = Fence.NO


def source_act(state: Source, tasks: Tasks) -> Tasks:
    """What the source's agent does about its record. What is lost stays lost."""
    if tasks in (Tasks.LOST, Tasks.NONE):
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
    final = (Source.GONE, Source.ABORTED, Source.FENCED)
    fenced = (world.source, state) == (Source.GONE, Source.FENCED)
    if world.source in final and state is not world.source and not fenced:
        raise Broken(f"{world.source} changed to {state}: {world}")
    return world if state is world.source else world._replace(source=state, s_todo=True)


def to_target(world: World, state: Target) -> World:
    """The target writes `state`. To accept, it has first restored the tasks, stopped."""
    final = (Target.RUNNING, Target.REFUSED)
    fenced = world.fence is not Fence.NO and state is Target.REFUSED
    if world.target in final and state is not world.target and not fenced:
        raise Broken(f"{world.target} changed to {state}: {world}")
    if state is world.target:
        return world
    if state is Target.ACCEPTED:
        world = world._replace(t_tasks=Tasks.STILL)
    if state is Target.RUNNING and world.t_tasks is not Tasks.STILL:
        raise Broken(f"the target takes over without tasks: {world}")
    return world._replace(target=state, t_todo=True)


def fence_steps(world: World) -> Iterator[World]:
    """A person decides, by what is known of the source: it handed over, and was not settled."""
    committed = world.source in (Source.HANDED_OVER, Source.GONE)
    if world.fence is not Fence.NO or not committed or world.s_tasks is Tasks.NONE:
        return
    gone = world.t_tasks if world.t_tasks is Tasks.NONE else Tasks.LOST
    yield world._replace(fence=Fence.OFF, t_up=False, t_todo=False, t_tasks=gone)
    if world.target is Target.RUNNING and world.t_tasks is Tasks.LOST:
        yield world._replace(fence=Fence.TOLD)


def fenced_source_steps(world: World, rules: Rules) -> Iterator[World]:
    """What the decision and the end of the migration do to the source."""
    decided = world.fence is not Fence.NO
    proven = world.fence is Fence.OFF or (decided and world.target is Target.REFUSED)
    if proven or not rules.fences_on_proof:
        yield to_source(world, handover.source_event(world.source, SourceEvent.FENCE))
    settles = world.source is Source.GONE and rules.fencing
    if settles and not (decided and rules.keeps_until_answered):
        yield world._replace(s_tasks=Tasks.NONE)


def come_back(world: World, rules: Rules) -> World:
    """The target's agent starts; if its host was fenced, it is told before all else."""
    if world.fence is not Fence.OFF:
        return world._replace(t_up=True, t_todo=rules.redoes_after_restart)
    if rules.told_before_running:
        told = to_target(world, handover.target_hears(world.target, Source.FENCED))
        return told._replace(t_up=True, t_todo=True)
    # The engine starts again what it believes should run.
    restarted = Tasks.RUNS if world.target is Target.RUNNING else world.t_tasks
    return world._replace(t_up=True, t_tasks=restarted)


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
    for event in (SourceEvent.FREEZE, SourceEvent.ABORT):
        yield to_source(world, handover.source_event(world.source, event))
    yield from fenced_source_steps(world, rules)
    for peer in world.answered:
        refused = world.fence is not Fence.NO and world.source is Source.ABORTED
        if refused and peer is Target.RUNNING:
            continue  # stale: it refused since. The agent answers with an error and stays.
        yield to_source(world, handover.source_hears(world.source, peer))


def target_steps(world: World, rules: Rules) -> Iterator[World]:
    """Everything that can happen at the target next."""
    if world.t_tasks in (Tasks.RUNS, Tasks.STILL):
        yield world._replace(t_tasks=Tasks.LOST)
    if not world.t_up:
        yield come_back(world, rules)
        return
    yield world._replace(t_up=False, t_todo=False)
    yield world._replace(answered=world.answered | {world.target})
    if world.t_todo:
        yield world._replace(t_tasks=target_act(world.target, world.t_tasks), t_todo=False)
        if rules.acts_before_hearing:
            return
    for event in TargetEvent:
        yield to_target(world, handover.target_event(world.target, event))
    if world.fence is not Fence.NO:
        yield to_target(world, handover.target_hears(world.target, Source.FENCED))
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
    off = world.fence is Fence.OFF and not world.t_up
    if runs_here and handover.target_runs(world.target) and not off:
        raise Broken(f"the source runs what the target may run: {world}")


def explore(rules: Rules | None = None) -> set[World]:
    """All reachable states, breadth first. Raises Broken (or Conflict) on the way."""
    rules = rules or Rules()
    start = World()
    seen, queue = {start}, deque([start])
    while queue:
        world = queue.popleft()
        check_safety(world)
        following = [*source_steps(world, rules), *target_steps(world, rules)]
        following += fence_steps(world) if rules.fencing else ()
        for one in following:
            if one not in seen:
                seen.add(one)
                queue.append(one)
    return seen


# -- once everything can be reached again ---------------------------------------------------


def calm(world: World) -> World:
    """Both agents are up, have acted on their records and have looked at their tasks."""
    target, t_tasks = world.target, world.t_tasks
    if target is Target.ACCEPTED and t_tasks is Tasks.LOST:
        target = handover.target_event(target, TargetEvent.REFUSE)
    if world.fence is Fence.OFF:
        target = handover.target_hears(target, Source.FENCED)
    return World(
        source=world.source,
        s_tasks=source_act(world.source, world.s_tasks),
        target=target,
        t_tasks=target_act(target, t_tasks),
        fence=world.fence,
    )


def reconciling(world: World, careless: bool = False) -> Iterator[World]:
    """What the two agents and the reconciler may do next, in any order."""
    yield calm(to_source(world, handover.source_hears(world.source, world.target)))
    yield calm(to_target(world, handover.target_hears(world.target, world.source)))
    if world.fence is not Fence.NO:
        yield calm(to_target(world, handover.target_hears(world.target, Source.FENCED)))
        if world.target is Target.REFUSED:
            yield calm(to_source(world, handover.source_event(world.source, SourceEvent.FENCE)))
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
    if world.fence is not Fence.NO:
        return world.s_tasks in (Tasks.RUNS, Tasks.STILL)
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
                there = start.target is Target.RUNNING and start.fence is Fence.NO
                owner = start.t_tasks if there else start.s_tasks
                if running or owner is not Tasks.LOST:
                    raise Broken(f"{running} copies run: {start} ends in {end}")
    return zeros


def check_alone(worlds: set[World]) -> int:
    """The source that a person decided for runs, whether its target ever comes back or not."""
    found = 0
    for world in worlds:
        if world.fence is not Fence.OFF or world.t_up or world.s_tasks is Tasks.LOST:
            continue
        state = handover.source_event(world.source, SourceEvent.FENCE)
        if source_act(state, world.s_tasks) is not Tasks.RUNS:
            raise Broken(f"decided for, but it does not run: {world}")
        found += 1
    return found


def prove(rules: Rules | None = None) -> set[World]:
    worlds = explore(rules)
    check_liveness(worlds)
    check_alone(worlds)
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


def test_a_person_decides_and_still_never_two_and_in_the_end_one() -> None:
    worlds = explore(FENCING)
    zeros, alone = check_liveness(worlds), check_alone(worlds)
    pairs = {(w.source, w.target) for w in worlds}
    print(f"fencing: {len(worlds)} states, {zeros} all lost, {alone} with a target that is off")
    assert len(worlds) > 10_000
    assert alone > 100
    assert {(Source.FENCED, state) for state in (Target.RUNNING, Target.REFUSED)} <= pairs
    # Decided by a person although the source had let go a moment before.
    assert any(w.source is Source.FENCED and Target.RUNNING in w.answered for w in worlds)


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


WRONG_FENCING: list[tuple[str, Any, Any, Any]] = [
    ("_SOURCE_LOCAL", Source.HANDED_OVER, SourceEvent.FENCE, Source.HANDED_OVER),
    ("_SOURCE_LOCAL", Source.GONE, SourceEvent.FENCE, Source.GONE),
    ("_SOURCE_HEARS", Source.FENCED, Target.RUNNING, Source.GONE),
    ("_SOURCE_HEARS", Source.FENCED, Target.ACCEPTED, Source.HANDED_OVER),
    ("_TARGET_HEARS", Target.RUNNING, Source.FENCED, Target.RUNNING),
    ("_TARGET_HEARS", Target.ACCEPTED, Source.FENCED, Target.RUNNING),
    ("_TARGET_HEARS", Target.REFUSED, Source.FENCED, Target.RUNNING),
]


@pytest.mark.parametrize(
    ("table", "state", "cause", "wrong"),
    WRONG_FENCING,
    ids=["-".join(str(part) for part in rule[1:]) for rule in WRONG_FENCING],
)
def test_a_wrong_rule_of_fencing_is_found(
    monkeypatch: pytest.MonkeyPatch, table: str, state: Any, cause: Any, wrong: Any
) -> None:
    monkeypatch.setitem(getattr(handover, table), (state, cause), wrong)
    with pytest.raises((Broken, Conflict)):
        prove(FENCING)


@pytest.mark.parametrize(
    "habit", ["fences_on_proof", "told_before_running", "keeps_until_answered"]
)
def test_careless_fencing_is_found(habit: str) -> None:
    with pytest.raises((Broken, Conflict)):
        prove(replace(FENCING, **{habit: False}))


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
