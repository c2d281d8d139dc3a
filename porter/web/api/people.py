"""/v1/me, /v1/users with their grants, and /v1/projects."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from porter.db.identity import Session, User
from porter.domain.errors import Conflict, Denied
from porter.domain.identity import (
    EVERYWHERE,
    FLEET,
    PROJECT_NAME,
    Grant,
    Permission,
    Principal,
    Role,
)
from porter.web.access import Caller, allowed, demand
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.paging import Paged
from porter.web.api.schemas.base import moment

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["people"])
ADMIN = [allowed(Permission.ADMIN)]
ProjectName = Annotated[
    str,
    Path(
        pattern=rf"^(\*|{PROJECT_NAME.pattern})$",
        description="A project's name; `*` for all, and for hosts, sites, stores and people",
    ),
]


class GrantOut(BaseModel):
    project: str
    """`*`: all projects, and what belongs to none."""
    role: Role


class MeOut(BaseModel):
    """Who the caller is, and what it may do."""

    id: str
    kind: str
    """`user`, `token` or `system` (the control plane's first token)."""
    name: str
    owner: str | None
    """The user who answers for a token."""
    grants: list[GrantOut]
    scopes: list[Permission]
    """What the grants allow counts only as far as it is in here."""
    project: str
    """The one project in which a token is good; `*` without such a limit."""
    fleet: list[Permission]
    """What is allowed for hosts, sites, stores and people."""
    csrf: str | None
    """A browser sends this as `X-CSRF-Token` with everything that changes something."""
    expires_at: datetime | None
    """The end of the session."""


class UserOut(BaseModel):
    id: str
    name: str
    email: str
    issuer: str
    subject: str
    """Who it is for the issuer."""
    created_at: datetime | None
    seen_at: datetime | None
    """The last login."""
    disabled_at: datetime | None
    grants: list[GrantOut]
    """Those that the caller may change."""

    @classmethod
    def of(cls, user: User, caller: Principal) -> UserOut:
        return cls(
            id=user.id,
            name=user.name,
            email=user.email,
            issuer=user.issuer,
            subject=user.subject,
            created_at=moment(user.created),
            seen_at=moment(user.seen),
            disabled_at=moment(user.disabled),
            grants=[_grant(one) for one in user.grants if _governs(caller, one.project)],
        )


class ProjectOut(BaseModel):
    name: str
    workloads: int
    migrations_active: int
    permissions: list[Permission]
    """What the caller may do in it."""


def _grant(grant: Grant) -> GrantOut:
    return GrantOut(project=grant.project, role=grant.role)


def place(project: str) -> str:
    """Where one must be an administrator to give or take what counts in this project."""
    return FLEET if project == EVERYWHERE else project


def _governs(caller: Principal, project: str) -> bool:
    return caller.may(Permission.ADMIN, place(project))


@router.get("/me")
def me(request: Request, caller: Caller) -> MeOut:
    """The caller itself. For a browser also its session's CSRF token."""
    session: Session | None = getattr(request.state, "session", None)
    return MeOut(
        id=caller.id,
        kind=caller.kind,
        name=caller.name,
        owner=caller.owner or None,
        grants=[_grant(one) for one in caller.grants],
        scopes=sorted(caller.scopes),
        project=caller.only,
        fleet=[one for one in Permission if caller.may(one, FLEET)],
        csrf=None if session is None else session.csrf,
        expires_at=None if session is None else moment(session.expires),
    )


@router.get("/users")
def list_users(control: Control, caller: Caller, paged: Paged) -> list[UserOut]:
    """Everybody who has logged in, by name. For administrators of anything."""
    if caller.projects(Permission.ADMIN) == frozenset():
        raise Denied(
            f"cannot list users: {caller.name} administers no project",
            "ask an administrator for a role that does",
        )
    page = paged.cut(control.identity.users(), lambda user: user.id)
    return [UserOut.of(user, caller) for user in page]


@router.get("/users/{user}", dependencies=ADMIN)
def get_user(control: Control, caller: Caller, user: str) -> UserOut:
    """One user, by id."""
    return UserOut.of(control.identity.user(user), caller)


@router.post("/users/{user}/disable", dependencies=ADMIN)
def disable_user(control: Control, caller: Caller, user: str) -> UserOut:
    """Lock somebody out at once, with all sessions and tokens. Again is the same."""
    if user == caller.person:
        raise Conflict("cannot disable the user: that is you", "ask another administrator to do it")
    return UserOut.of(control.identity.disable(user, True, time.time()), caller)


@router.post("/users/{user}/enable", dependencies=ADMIN)
def enable_user(control: Control, caller: Caller, user: str) -> UserOut:
    """Let somebody in again, with the roles and tokens as they were. Sessions are over."""
    return UserOut.of(control.identity.disable(user, False, time.time()), caller)


@router.put("/users/{user}/grants/{project}/{role}")
def grant(control: Control, caller: Caller, user: str, project: ProjectName, role: Role) -> UserOut:
    """Give somebody a role in a project. Again is the same. For administrators of the project."""
    demand(caller, Permission.ADMIN, place(project))
    given = control.identity.grant(user, Grant(project, role), caller.id, time.time())
    return UserOut.of(given, caller)


@router.delete("/users/{user}/grants/{project}/{role}")
def withdraw(
    control: Control, caller: Caller, user: str, project: ProjectName, role: Role
) -> UserOut:
    """Take a role away; one that is not there is fine. For administrators of the project."""
    demand(caller, Permission.ADMIN, place(project))
    return UserOut.of(control.identity.withdraw(user, Grant(project, role)), caller)


@router.get("/projects")
def list_projects(control: Control, caller: Caller, paged: Paged) -> list[ProjectOut]:
    """The projects that the caller may see: those of workloads, and those in which somebody has a
    role."""
    page = paged.cut(control.identity.projects(caller.projects()), lambda one: one.name)
    return [
        ProjectOut(
            name=one.name,
            workloads=one.workloads,
            migrations_active=one.moving,
            permissions=[right for right in Permission if caller.may(right, one.name)],
        )
        for one in page
    ]
