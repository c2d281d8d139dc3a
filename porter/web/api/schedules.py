"""/v1/schedules: when the optimiser is asked by itself, and what becomes of its answers."""

from __future__ import annotations

import time
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from porter.db.schedules import ScheduleRecord
from porter.domain.identity import FLEET, PROJECT_NAME, Permission
from porter.domain.scheduling import HORIZON_S
from porter.domain.windows import Window, checked, next_opening
from porter.schedule.clockwork import GRACE
from porter.web.access import Caller, demand
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.paging import Paged
from porter.web.api.rebalances import Pattern
from porter.web.api.schemas.base import WHOLE, Body, moment

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["schedules"])
Named = Annotated[str, Path(min_length=1, max_length=63, pattern="^[a-z0-9-]+$")]


class ScheduleIn(Body):
    """When, about what, and what becomes of it."""

    cron: Annotated[str, Field(max_length=200, json_schema_extra={"format": "cron"})]
    """Five fields, as for cron."""
    zone: Annotated[str, Field(max_length=64, json_schema_extra={"format": "time-zone"})] = "UTC"
    """`Europe/Berlin`, `UTC` …"""
    project: Annotated[str, Field(pattern=f"^{PROJECT_NAME.pattern}$")] | None = None
    """Null: workloads of all projects."""
    workloads: Annotated[list[Pattern], Field(min_length=1, max_length=100)] = Field(
        default_factory=lambda: ["*"]
    )
    """Patterns of names."""
    horizon: Annotated[float, Field(ge=3600, le=366 * 86400)] = HORIZON_S
    """Seconds for which what is decided is expected to last."""
    most_moves: Annotated[int, Field(ge=1, le=1000), WHOLE] = 20
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] | None = None
    dry_run: bool = False
    """Only say what would be proposed."""
    auto: Literal["propose", "execute"] = "propose"
    """`execute`: what needs nobody's approval is carried out at once, in open change windows."""
    grace: Annotated[float, Field(ge=60, le=7 * 86400)] = GRACE
    """Seconds for which a run that was missed is caught up with."""
    price_change: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Run also when a price that the last run rested on changed by more than so many percent."""
    interruption: bool = False
    """Run at once when a machine is about to be taken away."""

    def spec(self) -> dict[str, Any]:
        return {
            "workloads": self.workloads,
            "horizon_s": self.horizon,
            "most_moves": self.most_moves,
            "currency": self.currency or "",
            "dry_run": self.dry_run,
            "auto": self.auto,
            "grace": self.grace,
            "price_change": self.price_change,
            "interruption": self.interruption,
        }


class ScheduleOut(BaseModel):
    name: str
    project: str
    """Empty: all."""
    cron: str
    zone: str
    spec: dict[str, Any]
    next_at: datetime | None
    """When its clock comes true next."""
    updated_at: datetime | None
    updated_by: str

    @classmethod
    def of(cls, schedule: ScheduleRecord) -> ScheduleOut:
        return cls(
            name=schedule.name,
            project=schedule.project,
            cron=schedule.cron,
            zone=schedule.zone,
            spec=schedule.spec,
            next_at=moment(next_opening(schedule.cron, schedule.zone, time.time())),
            updated_at=moment(schedule.updated),
            updated_by=schedule.updated_by,
        )


@router.get("/schedules")
def list_schedules(control: Control, caller: Caller, paged: Paged) -> list[ScheduleOut]:
    """Those of the caller's projects, by name."""
    found = paged.cut(control.schedules.all(caller.projects()), lambda one: one.name)
    return [ScheduleOut.of(one) for one in found]


@router.get("/schedules/{name}")
def get_schedule(control: Control, caller: Caller, name: Named) -> ScheduleOut:
    return ScheduleOut.of(control.schedules.get(name, caller.projects()))


@router.put("/schedules/{name}")
def put_schedule(control: Control, caller: Caller, name: Named, body: ScheduleIn) -> ScheduleOut:
    """Add or replace a schedule. Takes an administrator of the project it is about, and of the one
    it was about; for all projects one of the fleet."""
    checked(Window(body.cron, body.zone, 60))
    project = body.project or FLEET
    demand(caller, Permission.ADMIN, project)
    known = control.schedules.find(name)
    if known is not None:
        demand(caller, Permission.ADMIN, known.project)
    kept = control.schedules.put(
        name, project, body.cron, body.zone, body.spec(), caller.person, time.time()
    )
    return ScheduleOut.of(kept)


@router.delete("/schedules/{name}", status_code=HTTPStatus.NO_CONTENT)
def remove_schedule(control: Control, caller: Caller, name: Named) -> None:
    """Its runs and what they proposed stay."""
    known = control.schedules.get(name, caller.projects())
    demand(caller, Permission.ADMIN, known.project)
    control.schedules.remove(name, caller.id, time.time())
