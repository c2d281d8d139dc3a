"""What the REST API takes and gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
)

from porter.db.base import EventRecord, HostRecord, InstanceRecord
from porter.db.listing import Placed
from porter.db.moves import Story
from porter.domain.migration import Mode, StepState
from porter.domain.site import SiteKind
from porter.domain.workload import Blocker
from porter.migrate.predict import shown
from porter.protocol import codec
from porter.web.api.foretold import ForecastOut

Name = Annotated[str, Field(min_length=1, max_length=255)]


_AMOUNT = re.compile(r"(?=.*[1-9])[0-9]{1,9}([.][0-9]{1,9})?")
_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})")


def _amount(value: object) -> object:
    if isinstance(value, str) and _AMOUNT.fullmatch(value) is None:
        raise ValueError("it is no amount of money above 0, like 0.25")
    return value


def _rfc3339(value: object) -> object:
    if isinstance(value, str) and _RFC3339.fullmatch(value) is None:
        raise ValueError("it is no time like 2026-01-31T12:00:00Z")
    return value


Price = Annotated[
    Decimal,
    Field(gt=0, lt=10**9, strict=False),
    BeforeValidator(_amount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**9},
                {"type": "string", "pattern": f"^{_AMOUNT.pattern}$"},
            ]
        }
    ),
]
Moment = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
"""A time of a request (RFC 3339); others than that are not guessed at."""


def moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


class Body(BaseModel):
    """A request: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", strict=True)


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


class StoreIn(Body):
    """A store to add: `s3://BUCKET/PREFIX`, `azure://…`, `gs://…`, `swift://…` or `file:///…`."""

    name: Name
    url: Annotated[str, Field(min_length=1, max_length=2000)]
    settings: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, SecretStr] = Field(default_factory=dict)


class StoreOut(BaseModel):
    name: str
    url: str
    settings: dict[str, str]
    credentials: str
    """`stored` or `environment`."""


class EndpointsIn(Body):
    """Each as in the label `porter.endpoint`: `dns=NAME@SITE`, `lb=TARGETS:PORT@SITE` …"""

    endpoints: Annotated[list[Name], Field(max_length=32)]


class SiteIn(Body):
    """A site to add. `secrets` are stored encrypted and never shown; without any, credentials come
    from the control plane's surroundings (environment, instance role, workload identity)."""

    name: Name
    kind: Annotated[SiteKind, Field(strict=False)]
    region: Annotated[str, Field(max_length=64)] = ""
    settings: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, SecretStr] = Field(default_factory=dict)


class SiteOut(BaseModel):
    name: str
    kind: str
    region: str
    settings: dict[str, str]
    credentials: str
    """`stored` or `environment`."""
    can: list[str]
    """What Porter can do there: hosts, pricing, egress, addressing, balancing, dns."""
    hosts: list[str]
    workloads: list[str]
    verified_at: datetime | None
    missing: list[str]
    """Rights that the last verification missed."""


class RightOut(BaseModel):
    name: str
    granted: bool | None
    purpose: str
    remedy: str


class SweepIn(Body):
    remove: bool = False


class FindingOut(BaseModel):
    kind: str
    id: str
    key: str
    verdict: str
    explanation: str


class OfferOut(BaseModel):
    """A size of machine that would be made."""

    type: str
    cpus: int
    memory_bytes: int
    amount: str | None
    currency: str
    unit: str
    as_of: str
    source: str


class TokenRequest(Body):
    """`ttl` in seconds. With `name` or `site` the token is good for that host or site only."""

    ttl: Annotated[float, Field(ge=0, le=30 * 24 * 3600, strict=False)] = 3600.0
    name: Name | None = None
    site: Name | None = None


class Token(BaseModel):
    token: str
    url: str
    """Where the new host's agent finds the control plane."""
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
    machine: dict[str, Any] | None
    """Type, state and price of a machine that Porter made; null for others."""

    @classmethod
    def of(
        cls,
        host: HostRecord,
        workloads: Sequence[str],
        now: float,
        machine: InstanceRecord | None = None,
    ) -> HostOut:
        return cls(
            id=host.id,
            name=host.name,
            site=host.site,
            range=host.range,
            alive=host.alive(now),
            last_seen=moment(host.last_seen),
            joined_at=moment(host.joined_at),
            facts=None if host.facts is None else codec.dump(host.facts),
            workloads=list(workloads),
            machine=None
            if machine is None
            else {
                "type": machine.instance_type,
                "instance": machine.instance,
                "state": machine.state,
                "reason": machine.reason,
                "quote": machine.quote,
            },
        )


class WorkloadOut(BaseModel):
    id: str
    name: str
    project: str
    host: str | None
    site: str | None
    container: str
    container_name: str
    state: str
    address: str
    image: str
    memory_bytes: int
    generation: int
    endpoints: list[str]
    """Declared by the API, beside those of its label."""
    policies: list[str]
    """Named by its label, beside those whose patterns match."""
    migration: str | None
    """The migration that moves it right now."""

    @classmethod
    def of(cls, placed: Placed) -> WorkloadOut:
        workload = placed.workload
        return cls(
            id=workload.id,
            name=workload.name,
            project=workload.project,
            host=placed.host,
            site=placed.site,
            container=workload.container,
            container_name=workload.container_name,
            state=workload.state,
            address=workload.address,
            image=workload.image,
            memory_bytes=workload.memory_bytes,
            generation=workload.generation,
            endpoints=list(workload.endpoints),
            policies=list(workload.policies),
            migration=placed.migration,
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


class Health(BaseModel):
    status: str
    hosts: int
    hosts_alive: int
    migrations_active: int


class FieldError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    code: str
    request_id: str
    """Also in the answer's X-Request-Id and in the control plane's log."""
    errors: list[FieldError] | None = None
    """With `invalid`: which fields are wrong."""
