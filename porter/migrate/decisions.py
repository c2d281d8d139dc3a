"""Which decisions about a held migration are sound, and what each of them gives up."""

from __future__ import annotations

from porter.db.base import DecisionRecord, HostRecord, InstanceRecord
from porter.db.decisions import not_held
from porter.db.moves import Story
from porter.domain.errors import Conflict
from porter.domain.handover import Source, Target
from porter.domain.migration import MigrationState, StepKind

NEEDS_PROOF = (
    "have Porter power it off (--fence), or power it off yourself and say so (--i-powered-it-off)"
)


def check(
    story: Story,
    decision: DecisionRecord,
    source: HostRecord,
    target: HostRecord,
    machine: InstanceRecord | None,
) -> None:
    """Raise Conflict unless the decision can be carried out. `machine`: the target, if made here.

    `decision.at` is the moment. What is checked here keeps people from mistakes; that never two
    copies run is for the steps and the agents' rules to keep, whatever was decided.
    """
    if story.migration.state is not MigrationState.HELD:
        raise not_held(story.migration.id, story.migration.state)
    memory = next((s.memory for s in story.steps if s.kind is StepKind.HANDOVER), {})
    what = f"cannot decide that {story.migration.workload} runs on"
    if memory.get("source") != Source.HANDED_OVER:
        raise Conflict(
            f"{what} {_host(decision, source, target).name}: {source.name} has not said that it "
            "handed over, so it may run there",
            f"bring {source.name} back",
        )
    if decision.run_on == "target":
        _check_target(f"{what} {target.name}", memory, decision, target)
    else:
        _check_source(f"{what} {source.name}", memory, decision, source, target, machine)


def _host(decision: DecisionRecord, source: HostRecord, target: HostRecord) -> HostRecord:
    return target if decision.run_on == "target" else source


def _check_target(
    what: str, memory: dict[str, object], decision: DecisionRecord, target: HostRecord
) -> None:
    if not target.alive(decision.at):
        raise Conflict(
            f"{what}: it does not answer", f"bring {target.name} back, or run it on the source"
        )
    has_it = memory.get("target") in (Target.ACCEPTED, Target.RUNNING)
    if not has_it and not memory.get("lost"):
        raise Conflict(
            f"{what}: it has not said that it has the whole state", "run it on the source"
        )


def _check_source(
    what: str,
    memory: dict[str, object],
    decision: DecisionRecord,
    source: HostRecord,
    target: HostRecord,
    machine: InstanceRecord | None,
) -> None:
    if not source.alive(decision.at):
        raise Conflict(f"{what}: it does not answer", f"bring {source.name} back")
    answers = target.alive(decision.at)
    if decision.proof == "declared" and answers:
        raise Conflict(
            f"{what}: {target.name} is said to be powered off, but it answers",
            "power it off, and wait until `porter host ls` shows it down",
        )
    if decision.proof == "provider" and machine is None:
        raise Conflict(
            f"{what}: Porter did not make {target.name}, so it cannot power it off",
            "power it off yourself and say so (--i-powered-it-off)",
        )
    if not decision.proof and not (answers and memory.get("lost")):
        raise Conflict(f"{what}: nobody knows that {target.name} does not run it", NEEDS_PROOF)


def consequence(story: Story, decision: DecisionRecord) -> str:
    """What carrying it out gives up, for the person who decided."""
    move = story.migration
    memory = next((s.memory for s in story.steps if s.kind is StepKind.HANDOVER), {})
    lost = bool(memory.get("lost"))
    if decision.run_on == "target":
        if lost:
            return (
                f"{move.target_name} keeps the container with its files as they were handed over; "
                f"memory and connections are lost for good, and {move.source_name} removes its "
                f"frozen copy. Start it with the engine's start command on {move.target_name}."
            )
        return f"{move.target_name} takes over with everything that was handed over."
    kept = (
        f"{move.source_name} lets its frozen copy run again, with memory, files and connections as "
        "they were at the handover; a connection that its peer has closed since is lost."
    )
    if lost:
        return (
            f"{kept} {move.target_name} removes what it has: what it did in the moment that it "
            "ran, if it ran, is lost."
        )
    return (
        f"{kept} What {move.target_name} did since, if it ran, is lost: requests that it answered, "
        "files that it wrote to volumes that moved. When it is back, it removes its copy."
    )
