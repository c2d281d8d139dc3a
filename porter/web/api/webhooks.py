"""/v1/webhooks: events sent to URLs of people's own, signed, and the log of what was sent."""

from __future__ import annotations

import time
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from porter.db.database import rehearsing
from porter.db.deliveries import DeliveryRecord
from porter.db.happenings import Happenings
from porter.db.rows import new_id
from porter.db.webhooks import WebhookRecord
from porter.domain.cloudevents import PREFIX
from porter.domain.errors import Invalid
from porter.domain.identity import (
    DEFAULT_PROJECT,
    EVERYWHERE,
    FLEET,
    PROJECT_NAME,
    Permission,
    Principal,
)
from porter.domain.webhook import GRACE, DeliveryState, Health, kinds
from porter.web.access import Caller, demand
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.paging import Paged
from porter.web.api.schemas.base import WHOLE, Body, Moment, moment
from porter.webhooks.guard import LONGEST, check, parse
from porter.webhooks.signing import Secrets, new_secret, seal, unseal
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["webhooks"])
Hook = Annotated[str, Path(min_length=1, max_length=64)]
Number = Annotated[int, Path(ge=1, lt=2**63)]
Kind = Annotated[str, Field(pattern=r"^[a-z0-9_.-]{1,64}$")]
RESOLVE_S = 5.0


class WebhookIn(Body):
    """A webhook to add."""

    url: Annotated[str, Field(min_length=1, max_length=LONGEST)]
    """By https, to a public address; see docs/events.md."""
    project: Annotated[str, Field(pattern=rf"^(\*|{PROJECT_NAME.pattern})$")] = DEFAULT_PROJECT
    """Whose events it gets; `*`: those of all projects and of the fleet."""
    types: Annotated[list[Kind], Field(default_factory=list, max_length=32)]
    """How the types begin that it gets (`migration.`); none: all. `io.porter.` may be left out."""


class RotateIn(Body):
    grace: Annotated[float, Field(ge=0, le=GRACE)] = GRACE
    """Seconds for which what signed until now signs on; 0: it ends at once."""


class ReplayIn(Body):
    """With neither, all that was given up or cancelled is sent again."""

    event: Annotated[int | None, Field(ge=1, lt=2**63), WHOLE] = None
    since: Annotated[Moment | None, Field(strict=False)] = None
    """All events from then on."""


class WebhookOut(BaseModel):
    id: str
    url: str
    """For those who do not administer its project only up to its host."""
    project: str
    types: list[str]
    created_at: datetime | None
    created_by: str
    disabled_at: datetime | None
    reason: str
    """Why it is disabled."""
    failures: int
    """Attempts since the last one that succeeded."""
    failing_since: datetime | None
    rotated_at: datetime | None

    @classmethod
    def of(cls, record: WebhookRecord, caller: Principal) -> WebhookOut:
        return cls.model_validate(_fields(record, caller))


class NewWebhookOut(WebhookOut):
    secret: str
    """It is shown here only, and never again."""


class DeliveryOut(BaseModel):
    id: str
    """The header `webhook-id`, the same at every attempt."""
    event: int
    type: str
    state: DeliveryState
    attempts: int
    status: int | None
    """The last answer's HTTP status."""
    error: str
    """Why the last attempt failed."""
    created_at: datetime | None
    attempted_at: datetime | None
    next_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, record: DeliveryRecord) -> DeliveryOut:
        return cls(
            id=record.id,
            event=record.event,
            type=PREFIX + record.kind,
            state=record.state,
            attempts=record.attempts,
            status=record.status,
            error=record.error,
            created_at=moment(record.created),
            attempted_at=moment(record.attempted),
            next_at=moment(record.next_at),
            ended_at=moment(record.ended),
        )


class ReplayOut(BaseModel):
    events: int
    """How many will be sent again."""


def _fields(record: WebhookRecord, caller: Principal) -> dict[str, object]:
    return {
        "id": record.id,
        "url": record.url if caller.may(Permission.ADMIN, _home(record.project)) else record.place,
        "project": record.project,
        "types": list(record.types),
        "created_at": moment(record.created),
        "created_by": record.created_by,
        "disabled_at": moment(record.disabled),
        "reason": record.reason,
        "failures": record.health.failures,
        "failing_since": moment(record.health.failing_since),
        "rotated_at": moment(record.rotated),
    }


def _home(project: str) -> str:
    """Where one must be an administrator."""
    return FLEET if project == EVERYWHERE else project


def _mine(control: ControlPlane, caller: Principal, identity: str) -> WebhookRecord:
    """One that the caller may change."""
    record = control.webhooks.get(identity, caller.projects())
    demand(caller, Permission.ADMIN, _home(record.project))
    return record


@router.get("/webhooks")
def list_webhooks(control: Control, caller: Caller, paged: Paged) -> list[WebhookOut]:
    """Those of the caller's projects, oldest first."""
    found = paged.cut(control.webhooks.all(caller.projects()), lambda one: one.id)
    return [WebhookOut.of(record, caller) for record in found]


@router.post("/webhooks", status_code=HTTPStatus.CREATED)
def create_webhook(control: Control, caller: Caller, body: WebhookIn) -> NewWebhookOut:
    """Send events to a URL from now on. Takes an administrator of the project; for `*` one of the
    fleet. 422 where the URL may not lead: by anything but https, or to addresses that are not
    public, unless the operator allows these."""
    demand(caller, Permission.ADMIN, _home(body.project))
    if rehearsing.get() is None:
        check(body.url, control.allow, RESOLVE_S)
    else:
        parse(body.url)
    now, kept, identity = time.time(), Secrets(new_secret()), new_id("wh")
    record = WebhookRecord(
        id=identity,
        url=body.url,
        sealed=seal(control.vault, identity, kept),
        project=body.project,
        types=tuple(kinds(body.types)),
        created=now,
        created_by=caller.name,
        disabled=None,
        reason="",
        cursor=Happenings(control.database).newest(now),
        health=Health(),
        paused_until=None,
        rotated=None,
    )
    made = control.webhooks.add(record)
    return NewWebhookOut.model_validate({**_fields(made, caller), "secret": kept.current})


@router.get("/webhooks/{webhook_id}")
def get_webhook(control: Control, caller: Caller, webhook_id: Hook) -> WebhookOut:
    return WebhookOut.of(control.webhooks.get(webhook_id, caller.projects()), caller)


@router.delete("/webhooks/{webhook_id}", status_code=HTTPStatus.NO_CONTENT)
def remove_webhook(control: Control, caller: Caller, webhook_id: Hook) -> None:
    """With the log of its deliveries."""
    control.webhooks.remove(_mine(control, caller, webhook_id).id)


@router.post("/webhooks/{webhook_id}/disable")
def disable_webhook(control: Control, caller: Caller, webhook_id: Hook) -> WebhookOut:
    """Send it nothing more: what waits is cancelled."""
    record = _mine(control, caller, webhook_id)
    why = f"{caller.name} did so"
    return WebhookOut.of(control.webhooks.disable(record.id, why, time.time()), caller)


@router.post("/webhooks/{webhook_id}/enable")
def enable_webhook(control: Control, caller: Caller, webhook_id: Hook) -> WebhookOut:
    """Send it what happens from now on; a replay sends what it missed."""
    record = _mine(control, caller, webhook_id)
    newest = Happenings(control.database).newest(time.time())
    return WebhookOut.of(control.webhooks.enable(record.id, newest), caller)


@router.post("/webhooks/{webhook_id}/rotate")
def rotate_webhook(
    control: Control, caller: Caller, webhook_id: Hook, body: RotateIn
) -> NewWebhookOut:
    """A new secret. What is sent in the time of grace is signed with both."""
    record, now = _mine(control, caller, webhook_id), time.time()
    kept = unseal(control.vault, record.id, record.sealed).rotated(now, body.grace)
    turned = control.webhooks.rotate(record, seal(control.vault, record.id, kept), now)
    return NewWebhookOut.model_validate({**_fields(turned, caller), "secret": kept.current})


@router.post("/webhooks/{webhook_id}/test", status_code=HTTPStatus.ACCEPTED)
def test_webhook(control: Control, caller: Caller, webhook_id: Hook) -> DeliveryOut:
    """Send it an event `io.porter.webhook.test`, whatever types it takes."""
    record = _mine(control, caller, webhook_id)
    made = control.deliveries.test(record.id, caller.name, time.time())
    control.queue.deliver(record.id)
    return DeliveryOut.of(made)


@router.post("/webhooks/{webhook_id}/replay", status_code=HTTPStatus.ACCEPTED)
def replay_webhook(control: Control, caller: Caller, webhook_id: Hook, body: ReplayIn) -> ReplayOut:
    """Send events again: under their `webhook-id`, with a fresh timestamp."""
    if body.event is not None and body.since is not None:
        raise Invalid("cannot replay one event and all since a time at once", "name one of the two")
    record, now = _mine(control, caller, webhook_id), time.time()
    if body.event is not None:
        count = control.deliveries.replay_event(record.id, body.event, now)
    elif body.since is not None:
        count = control.deliveries.replay_since(record.id, body.since.timestamp(), now)
    else:
        count = control.deliveries.replay_missed(record.id, now)
    control.queue.deliver(record.id)
    return ReplayOut(events=count)


@router.get("/webhooks/{webhook_id}/deliveries")
def list_deliveries(
    control: Control,
    caller: Caller,
    webhook_id: Hook,
    paged: Paged,
    state: Annotated[DeliveryState | None, Query()] = None,
) -> list[DeliveryOut]:
    """What it was sent in the last 30 days, newest events first."""
    record = control.webhooks.get(webhook_id, caller.projects())
    after = paged.after(int)
    page = control.deliveries.page(record.id, paged.limit, int(after[0]) if after else None, state)
    return [DeliveryOut.of(one) for one in paged.give(page)]


@router.get("/webhooks/{webhook_id}/deliveries/{event}")
def get_delivery(control: Control, caller: Caller, webhook_id: Hook, event: Number) -> DeliveryOut:
    """Of one event."""
    record = control.webhooks.get(webhook_id, caller.projects())
    return DeliveryOut.of(control.deliveries.get(record.id, event))
