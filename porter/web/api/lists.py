"""Lists of the fleet, in pages: hosts, workloads, migrations, checkpoints."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query

from porter.db.base import CheckpointState
from porter.db.listing import Listing
from porter.domain.identity import Permission
from porter.domain.migration import MigrationState
from porter.web.access import Caller, allowed
from porter.web.api.checkpoints import CheckpointOut
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.paging import Paged
from porter.web.api.schemas.base import Moment
from porter.web.api.schemas.fleet import HostOut, WorkloadOut
from porter.web.api.schemas.moves import MigrationOut

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED)
Word = Annotated[str | None, Query(min_length=1, max_length=255)]


@router.get("/hosts", tags=["hosts"], dependencies=[allowed(Permission.READ)])
def list_hosts(
    control: Control, caller: Caller, paged: Paged, site: Word = None, alive: bool | None = None
) -> list[HostOut]:
    """Hosts that have joined, by name; only those of a site, or that are alive or silent."""
    now = time.time()
    page = Listing(control.database).hosts(
        caller.projects(), paged.limit, now, paged.after(str), site=site, alive=alive
    )
    return [HostOut.of(one.host, one.workloads, now, one.machine) for one in paged.give(page)]


@router.get("/workloads", tags=["workloads"])
def list_workloads(
    control: Control,
    caller: Caller,
    paged: Paged,
    host: Word = None,
    site: Word = None,
    state: Word = None,
    project: Word = None,
    name: Annotated[Word, Query(description="How their names begin")] = None,
) -> list[WorkloadOut]:
    """Workloads that some host has and the caller may see, by name."""
    page = Listing(control.database).workloads(
        caller.projects(),
        paged.limit,
        paged.after(str),
        host=host,
        site=site,
        state=state,
        project=project,
        prefix=name,
    )
    return [WorkloadOut.of(one) for one in paged.give(page)]


@router.get("/migrations", tags=["migrations"])
def list_migrations(
    control: Control,
    caller: Caller,
    paged: Paged,
    workload: Word = None,
    state: MigrationState | None = None,
    project: Word = None,
    since: Annotated[Moment | None, Query(description="Asked for at this time or later")] = None,
) -> list[MigrationOut]:
    """Newest first."""
    page = Listing(control.database).migrations(
        caller.projects(),
        paged.limit,
        paged.after(float, str),
        workload=workload,
        state=state,
        project=project,
        since=None if since is None else since.timestamp(),
    )
    return [MigrationOut.of(story) for story in paged.give(page)]


@router.get("/checkpoints", tags=["checkpoints"])
def list_checkpoints(
    control: Control,
    caller: Caller,
    paged: Paged,
    workload: Word = None,
    state: CheckpointState | None = None,
    project: Word = None,
) -> list[CheckpointOut]:
    """Newest first."""
    page = Listing(control.database).checkpoints(
        caller.projects(),
        paged.limit,
        paged.after(float, str),
        workload=workload,
        state=state,
        project=project,
    )
    return [CheckpointOut.of(record) for record in paged.give(page)]
