"""/v1/audit: who did what, and the whole trail to be verified elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from porter.db.audit import Audit
from porter.db.audit import Query as Wanted
from porter.db.listing import Page
from porter.domain.audit import GENESIS, Anchor, Entry
from porter.domain.errors import Denied
from porter.domain.identity import Permission
from porter.web.access import Caller, allowed
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.paging import Paged
from porter.web.api.schemas.base import Moment, moment

router = APIRouter(prefix="/v1/audit", responses=PROBLEMS, dependencies=SECURED, tags=["audit"])
ADMIN = [allowed(Permission.ADMIN)]
LINES = "application/x-ndjson"
HEAD = "Audit-Head"
"""Header of an export: number and hash of the last entry in it."""
Word = Annotated[str, Query(max_length=255)]


class AuditOut(BaseModel):
    """One request that changed something or tried to, or that read a secret or an export."""

    seq: int
    at: datetime | None
    actor: str
    actor_kind: str
    origin: str
    action: str
    target: str
    project: str
    outcome: str
    request: str
    details: dict[str, Any]
    hash: str

    @classmethod
    def of(cls, entry: Entry) -> AuditOut:
        return cls(**asdict(entry) | {"at": moment(entry.at)})


class HeadOut(BaseModel):
    """To be kept elsewhere: with it a trail whose end was cut off is found out."""

    seq: int
    hash: str
    anchor: str
    """Both, as `porter audit verify --head` takes it."""


@router.get("")
def list_audit(
    control: Control,
    caller: Caller,
    paged: Paged,
    actor: Word = "",
    action: Annotated[Word, Query(description="An action, or how it begins or ends")] = "",
    project: Annotated[str | None, Query(max_length=63)] = None,
    outcome: Annotated[Word, Query(description="The answer's HTTP status")] = "",
    since: Moment | None = None,
    until: Moment | None = None,
) -> list[AuditOut]:
    """Newest first. Administrators of projects see what happened in these."""
    projects = caller.projects(Permission.ADMIN)
    if projects is not None and not projects:
        raise Denied(
            f"cannot show the audit trail: {caller.name} is no administrator",
            "ask one of the project",
        )
    wanted = Wanted(
        actor=actor,
        action=action,
        project=project,
        outcome=outcome,
        since=None if since is None else since.timestamp(),
        until=None if until is None else until.timestamp(),
    )
    key = paged.after(int)
    before = int(key[0]) if key else None
    found = Audit(control.database).list(wanted, projects, before, paged.limit + 1)
    page = found[: paged.limit]
    more = (page[-1].seq,) if len(found) > len(page) else None
    return [AuditOut.of(entry) for entry in paged.give(Page(list(page), more))]


@router.get("/head", dependencies=ADMIN)
def audit_head(control: Control) -> HeadOut:
    """Number and hash of the last entry."""
    head = Audit(control.database).head() or Anchor(0, GENESIS)
    return HeadOut(seq=head.seq, hash=head.hash, anchor=str(head))


@router.get(
    "/export",
    dependencies=ADMIN,
    response_class=StreamingResponse,
    responses={200: {"content": {LINES: {}}, "description": "One entry a line, oldest first"}},
)
def export_audit(control: Control) -> StreamingResponse:
    """The whole trail up to now, as `porter audit verify` reads it: one JSON object a line."""
    audit = Audit(control.database)
    head = audit.head() or Anchor(0, GENESIS)

    def lines() -> Iterator[str]:
        for entry in audit.stream(head.seq):
            yield json.dumps(asdict(entry)) + "\n"

    headers = {
        HEAD: str(head),
        "Cache-Control": "no-store",
        "Content-Disposition": 'attachment; filename="porter-audit.ndjson"',
    }
    return StreamingResponse(lines(), media_type=LINES, headers=headers)
