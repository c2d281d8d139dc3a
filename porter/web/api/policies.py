"""/v1/policies: what moves must keep to, and /v1/verdicts: what the policies say of a move."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from porter.db.policies import PolicyRecord
from porter.domain.errors import Invalid
from porter.domain.identity import EVERYWHERE, FLEET, Permission
from porter.domain.policy import Verdict
from porter.migrate.planning import verdict_dict
from porter.protocol import policies as documents
from porter.web.access import Caller, allowed, demand
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.migrations import asked_of
from porter.web.api.paging import Paged
from porter.web.api.schemas.base import Body, moment
from porter.web.api.schemas.moves import MigrationRequest

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["policies"])
Named = Annotated[str, Path(min_length=1, max_length=63, pattern="^[a-z0-9-]+$")]
EXAMPLE = """version: 1
name: card-data-in-europe
project: payments
workloads: ["card-*"]
residency:
  allow: [onprem, "aws:eu-"]
approval:
  to: ["aws:"]
"""


class PolicyIn(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"document": EXAMPLE}]})

    document: Annotated[str, Field(min_length=1, max_length=documents.LIMIT)]
    """YAML; /v1/schemas/policy describes it."""


class PolicyOut(BaseModel):
    name: str
    project: str
    """`*`: all projects."""
    version: int
    """Grows with every change."""
    document: str
    """As it was written."""
    demands: list[str]
    """Which kinds of rules it has."""
    updated_at: datetime | None
    updated_by: str

    @classmethod
    def of(cls, record: PolicyRecord) -> PolicyOut:
        policy = record.policy
        return cls(
            name=record.name,
            project=policy.project,
            version=record.version,
            document=record.document,
            demands=documents.demands(policy),
            updated_at=moment(record.updated),
            updated_by=record.updated_by,
        )


class FindingOut(BaseModel):
    policy: str
    rule: str
    outcome: str
    why: str
    remedy: str
    """What would change the answer."""


class VerdictOut(BaseModel):
    outcome: str
    """`allowed`, `needs_approval` or `refused`."""
    findings: list[FindingOut]
    opens_at: datetime | None
    """When the change windows open, where only they are in the way."""

    @classmethod
    def of(cls, verdict: Verdict) -> VerdictOut:
        return cls.model_validate(verdict_dict(verdict))


class VerdictRequest(MigrationRequest):
    """A move to be judged, not begun."""

    document: Annotated[str | None, Field(max_length=documents.LIMIT)] = None
    """As if this policy were kept, too."""
    at: Annotated[datetime | None, Field(strict=False)] = None
    """As if it were then; UTC if it names no offset."""


@router.get("/policies", dependencies=[allowed(Permission.READ)])
def list_policies(control: Control, caller: Caller, paged: Paged) -> list[PolicyOut]:
    """Those of the caller's projects and those that hold in all, by name."""
    found = paged.cut(control.policies.all(caller.projects()), lambda one: one.name)
    return [PolicyOut.of(record) for record in found]


@router.get("/policies/{name}", dependencies=[allowed(Permission.READ)])
def get_policy(control: Control, caller: Caller, name: Named) -> PolicyOut:
    return PolicyOut.of(control.policies.get(name, caller.projects()))


@router.put("/policies/{name}")
def put_policy(control: Control, caller: Caller, name: Named, body: PolicyIn) -> PolicyOut:
    """Add or replace a policy. Takes an administrator of the project it holds in, and of the one it
    held in; for `*` one of the fleet. Plans that rest on another document lapse."""
    policy = documents.parse(body.document)
    if policy.name != name:
        raise Invalid(
            f"cannot keep the policy {name}: its document is called {policy.name}",
            "use the same name in both",
        )
    project = FLEET if policy.project == EVERYWHERE else policy.project
    demand(caller, Permission.ADMIN, project)
    known = control.policies.find(name)
    if known is not None:
        demand(caller, Permission.ADMIN, known.project)
    kept = control.policies.put(name, project, body.document, caller.id, time.time())
    return PolicyOut.of(kept)


@router.delete("/policies/{name}", status_code=HTTPStatus.NO_CONTENT)
def remove_policy(control: Control, caller: Caller, name: Named) -> None:
    """Plans that rest on it lapse."""
    known = control.policies.get(name, caller.projects())
    demand(caller, Permission.ADMIN, known.project)
    control.policies.remove(name, caller.id, time.time())


@router.get("/schemas/policy", dependencies=[allowed(Permission.READ)])
def policy_schema() -> dict[str, Any]:
    """JSON Schema of policy documents."""
    return documents.schema()


@router.post("/verdicts")
def judge(control: Control, caller: Caller, body: VerdictRequest) -> VerdictOut:
    """What the policies say of a move, and what would change that. Begins nothing."""
    control.found.workload(body.workload, caller.projects())
    now = time.time()
    prospect = control.planner.look(asked_of(control, body), now)
    extra = None if body.document is None else documents.parse(body.document)
    if body.at is not None:
        at = body.at if body.at.tzinfo is not None else body.at.replace(tzinfo=UTC)
        now = _seconds(at)
    return VerdictOut.of(control.planner.judge(prospect, now, extra=extra).verdict)


def _seconds(at: datetime) -> float:
    """Windows are looked for on both sides of it, so the ends of the calendar are none."""
    if not 1970 < at.year < 9000:
        raise Invalid("cannot judge a move at that time", "name one of this millennium")
    return at.timestamp()
