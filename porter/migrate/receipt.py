"""The receipt: what really happened, from what the steps recorded. Also before the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from porter.db.base import CommandRecord, MigrationRecord, StepRecord
from porter.domain.errors import Invalid
from porter.domain.migration import Bytes, MigrationState, Phase, Receipt, StepKind, StepState
from porter.migrate.predict import errors, shown
from porter.migrate.steps.settle import notes
from porter.protocol import codec
from porter.protocol.messages import HandoverReport, Kind, ShippedImage


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def receipt(
    migration: MigrationRecord,
    steps: Sequence[StepRecord],
    commands: Sequence[CommandRecord],
    state: MigrationState,
    reason: str,
    finished: float | None,
) -> Receipt:
    """What is known of a move; complete once it has ended."""
    by_kind = {step.kind: step for step in steps}
    report = _report(by_kind.get(StepKind.HANDOVER), commands)
    succeeded = state is MigrationState.SUCCEEDED
    settle = by_kind.get(StepKind.SETTLE)
    settled = (settle.output or {}) if settle is not None else {}
    publish = by_kind.get(StepKind.PUBLISH)
    published = (publish.output or {}) if publish is not None else {}
    if succeeded:
        handover = by_kind.get(StepKind.HANDOVER)
        decided = ((handover.output or {}) if handover is not None else {}).get("decided", "")
        left = [notes(settled), *published.get("left", [])]
        reason = "; ".join(filter(None, [decided, *left]))
    rewired = by_kind.get(StepKind.REWIRE)
    moved = rewired is not None and rewired.state is StepState.DONE
    found = Receipt(
        id=migration.id,
        workload=migration.workload,
        source=migration.source_name,
        target=migration.target_name,
        mode=migration.mode,
        state=str(state),
        generation=migration.generation + (1 if moved else 0),
        started_at=iso(migration.created),
        finished_at=None if finished is None else iso(finished),
        downtime_ms=report.downtime_ms,
        total_ms=None if finished is None else round((finished - migration.created) * 1000, 1),
        bytes=_bytes(by_kind.get(StepKind.RESERVE), report),
        phases=_phases(steps, report),
        connections=report.connections,
        cost=settled.get("cost") or {},
        endpoints=tuple(published.get("endpoints", ())),
        verified=report.verified,
        reason=reason,
        undoes=str(migration.plan.get("undoes", "")),
        requested_by=migration.created_by,
        plan=migration.plan_id,
        plan_hash=migration.plan_hash,
        forecast=shown(migration.forecast),
    )
    if not succeeded:
        return found  # what was undone came to something else
    return replace(found, forecast_error=errors(found.forecast, found.as_dict()))


def _report(step: StepRecord | None, commands: Sequence[CommandRecord]) -> HandoverReport:
    """What the source measured: as the step recorded it, or as it told later (it was away)."""
    candidates: list[object] = []
    if step is not None and step.output and "downtime_ms" in step.output:
        candidates.append(step.output)
    for command in commands:
        if command.kind == Kind.HANDOVER and command.result and command.result.get("output"):
            candidates.append(command.result["output"])
    best = HandoverReport(state="", peer="")
    for candidate in candidates:
        try:
            report = codec.load(HandoverReport, candidate)
        except Invalid:
            continue  # an agent's malformed report is worth no more than none
        if best.downtime_ms is None:
            best = report
    return best


def _bytes(reserve: StepRecord | None, report: HandoverReport) -> Bytes:
    shipped = ShippedImage(0, 0)
    if reserve is not None and reserve.output and "shipped" in reserve.output:
        shipped = codec.load(ShippedImage, reserve.output["shipped"])
    return replace(
        report.bytes,
        image=report.bytes.image + shipped.image_bytes,
        wire=report.bytes.wire + shipped.wire_bytes,
    )


def _phases(steps: Sequence[StepRecord], report: HandoverReport) -> tuple[Phase, ...]:
    """Every step's duration, the source's own phases after the handover's."""
    phases: list[Phase] = []
    for step in steps:
        if step.started is None or step.ended is None:
            continue
        phases.append(Phase(str(step.kind), round((step.ended - step.started) * 1000, 1)))
        if step.kind is StepKind.HANDOVER:
            phases.extend(report.phases)
    return tuple(phases)
