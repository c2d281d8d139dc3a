"""Requests and answers about migrations, what holds them, and what happens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from porter.db.base import EventRecord
from porter.db.moves import Story
from porter.domain.migration import Mode, StepState
from porter.domain.workload import Blocker
from porter.migrate.predict import shown
from porter.web.api.foretold import ForecastOut
from porter.web.api.schemas.base import Body, Name, Price, moment
from porter.web.api.schemas.sites import OfferOut


class Move(Body):
    """Where a workload should go. `to` is a host or a site."""

    to: Name
    mode: Annotated[Mode, Field(strict=False)] = Mode.AUTO

    max_price: Price | None = None
    """Most that a machine made for it may cost an hour."""


class MigrationRequest(Move):
    """`provision`: `auto` makes a machine where a site has no host for it, `always` makes one,
    `never` does not. `release` removes the machine that was left, if Porter made it."""

    workload: Name
    provision: Literal["auto", "always", "never"] = "auto"
    release: bool = False
    via: Name | None = None
    """A store through which the hosts shall talk; without it only where they must."""


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
    project: str
    source: Annotated[str, Field(alias="from")]
    target: Annotated[str, Field(alias="to")]
    mode: str
    state: str
    phase: str | None
    """The step that is under way."""
    generation: int
    reason: str
    cancel_requested: bool
    created_by: str
    """Id of the user or token that asked for it."""
    plan_hash: str
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    steps: list[StepOut]
    forecast: ForecastOut | None = None
    """What was expected of it when it began; null: it is older than forecasts."""
    plan: dict[str, Any] | None = None
    """Only in the answer to a dry run: the plan that would be carried out."""

    @classmethod
    def of(cls, story: Story) -> MigrationOut:
        move = story.migration
        running = [step.kind for step in story.steps if step.state is StepState.RUNNING]
        return cls(
            id=move.id,
            workload=move.workload,
            project=move.project,
            source=move.source_name,
            target=move.target_name,
            mode=move.mode,
            state=move.state,
            phase=running[-1] if running and not move.state.final else None,
            generation=move.generation,
            reason=move.reason,
            cancel_requested=move.cancel_requested,
            created_by=move.created_by,
            plan_hash=move.plan_hash,
            created_at=moment(move.created),
            started_at=moment(move.started),
            finished_at=moment(move.finished),
            forecast=ForecastOut.of(shown(move.forecast)),
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
    offers: list[OfferOut] = []
    """Machines that could be made for it, cheapest first, where the site has no host."""
    forecast: ForecastOut | None = None
    """What the move will come to; null where the hosts could not be asked."""


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
