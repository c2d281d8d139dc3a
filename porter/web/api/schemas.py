"""What the REST API takes and gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from porter.db.base import EventRecord, HostRecord, WorkloadRecord
from porter.db.moves import Story
from porter.domain.migration import Mode, StepState
from porter.domain.workload import Blocker
from porter.protocol import codec

Name = Annotated[str, Field(min_length=1, max_length=255)]


def moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


class Body(BaseModel):
    """A request: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Move(Body):
    """Where a workload should go. `to` is a host or a site."""

    to: Name
    mode: Annotated[Mode, Field(strict=False)] = Mode.AUTO


class MigrationRequest(Move):
    workload: Name


class TokenRequest(Body):
    """`ttl` in seconds. With `name` or `site` the token is good for that host or site only."""

    ttl: Annotated[float, Field(ge=0, le=30 * 24 * 3600, strict=False)] = 3600.0
    name: Name | None = None
    site: Name | None = None


class Token(BaseModel):
    token: str
    expires_at: datetime | None


class HostOut(BaseModel):
    id: str
    name: str
    site: str
    range: str
    alive: bool
    last_seen: datetime | None
    joined_at: datetime | None
    facts: dict[str, Any] | None
    workloads: list[str]

    @classmethod
    def of(cls, host: HostRecord, living: list[WorkloadRecord], now: float) -> HostOut:
        return cls(
            id=host.id,
            name=host.name,
            site=host.site,
            range=host.range,
            alive=host.alive(now),
            last_seen=moment(host.last_seen),
            joined_at=moment(host.joined_at),
            facts=None if host.facts is None else codec.dump(host.facts),
            workloads=[workload.name for workload in living if workload.host == host.id],
        )


class WorkloadOut(BaseModel):
    id: str
    name: str
    host: str | None
    site: str | None
    container: str
    container_name: str
    state: str
    address: str
    image: str
    memory_bytes: int
    generation: int
    migration: str | None
    """The migration that moves it right now."""

    @classmethod
    def of(
        cls, workload: WorkloadRecord, hosts: dict[str, HostRecord], active: dict[str, str]
    ) -> WorkloadOut:
        home = hosts.get(workload.host or "")
        return cls(
            id=workload.id,
            name=workload.name,
            host=None if home is None else home.name,
            site=None if home is None else home.site,
            container=workload.container,
            container_name=workload.container_name,
            state=workload.state,
            address=workload.address,
            image=workload.image,
            memory_bytes=workload.memory_bytes,
            generation=workload.generation,
            migration=active.get(workload.name),
        )


class StepOut(BaseModel):
    kind: str
    state: str
    attempt: int
    error: str
    started_at: datetime | None
    ended_at: datetime | None


class MigrationOut(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    id: str
    workload: str
    source: Annotated[str, Field(alias="from")]
    target: Annotated[str, Field(alias="to")]
    mode: str
    state: str
    phase: str | None
    """The step that is under way."""
    generation: int
    reason: str
    cancel_requested: bool
    plan_hash: str
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    steps: list[StepOut]

    @classmethod
    def of(cls, story: Story) -> MigrationOut:
        move = story.migration
        running = [step.kind for step in story.steps if step.state is StepState.RUNNING]
        return cls(
            id=move.id,
            workload=move.workload,
            source=move.source_name,
            target=move.target_name,
            mode=move.mode,
            state=move.state,
            phase=running[-1] if running and not move.state.final else None,
            generation=move.generation,
            reason=move.reason,
            cancel_requested=move.cancel_requested,
            plan_hash=move.plan_hash,
            created_at=moment(move.created),
            started_at=moment(move.started),
            finished_at=moment(move.finished),
            steps=[
                StepOut(
                    kind=step.kind,
                    state=step.state,
                    attempt=step.attempt,
                    error=step.error,
                    started_at=moment(step.started),
                    ended_at=moment(step.ended),
                )
                for step in story.steps
            ],
        )


class BlockerOut(BaseModel):
    code: str
    message: str
    remedy: str

    @classmethod
    def of(cls, blocker: Blocker) -> BlockerOut:
        return cls(code=blocker.code, message=blocker.message, remedy=blocker.remedy)


class PreflightOut(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    workload: str
    source: Annotated[str, Field(alias="from")]
    target: Annotated[str, Field(alias="to")]
    mode: str
    ok: bool
    blockers: list[BlockerOut]
    memory_bytes: int | None
    file_bytes: int | None
    missing_layers: int


class EventOut(BaseModel):
    id: int
    at: datetime | None
    migration: str | None
    workload: str
    kind: str
    message: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: EventRecord) -> EventOut:
        return cls(
            id=event.id,
            at=moment(event.at),
            migration=event.migration,
            workload=event.workload,
            kind=event.kind,
            message=event.message,
            data=event.data,
        )


class Health(BaseModel):
    status: str
    hosts: int
    hosts_alive: int
    migrations_active: int


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    code: str
