"""Who may do what: roles in projects, and the principals that hold them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_PROJECT = "default"
"""Where a workload belongs whose container names no project."""

EVERYWHERE = "*"
"""In a grant: all projects, and what belongs to none (hosts, sites, stores, policies, people)."""

FLEET = ""
"""The project of what belongs to none."""

Projects = frozenset[str] | None
"""Those in which somebody may do something; None: all."""

PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Permission(StrEnum):
    """What can be allowed. Also the scopes of API tokens."""

    READ = "read"
    OPERATE = "operate"
    """Move, cancel, keep checkpoints, declare endpoints."""
    APPROVE = "approve"
    """Decide on plans that another person made."""
    ADMIN = "admin"
    """Grants and tokens of others, policies; with a grant everywhere also sites, hosts, stores."""


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


_READ, _OPERATE, _APPROVE = Permission.READ, Permission.OPERATE, Permission.APPROVE
ALLOWS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({_READ}),
    Role.OPERATOR: frozenset({_READ, _OPERATE}),
    Role.APPROVER: frozenset({_READ, _APPROVE}),
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True)
class Grant:
    """A role in one project, or with `EVERYWHERE` in all and in the fleet."""

    project: str
    role: Role

    def allows(self, permission: Permission, project: str) -> bool:
        if permission not in ALLOWS[self.role]:
            return False
        if project == FLEET:
            # Everybody who sees anything sees the machines it runs on.
            return self.project == EVERYWHERE or permission is Permission.READ
        return self.project in (project, EVERYWHERE)


@dataclass(frozen=True)
class Principal:
    """Somebody who calls the API: a user with a session, an API token, or Porter itself.

    A token has its owner's grants, confined to its scopes and project.
    """

    id: str
    kind: str
    """`user`, `token` or `system`."""
    name: str
    grants: tuple[Grant, ...]
    scopes: frozenset[Permission] = frozenset(Permission)
    only: str = EVERYWHERE
    """The one project in which a token is good; EVERYWHERE for no such limit."""
    owner: str = ""
    """The user who answers for it: a token's owner; "" means itself."""

    @property
    def person(self) -> str:
        """By whom it acts: approvals must come from another one than the plan."""
        return self.owner or self.id

    def may(self, permission: Permission, project: str) -> bool:
        """Whether this is allowed in a project, or in the FLEET."""
        if permission not in self.scopes:
            return False
        if self.only != EVERYWHERE and project != self.only:
            fleet = project == FLEET and permission is Permission.READ
            if not fleet:
                return False
        return any(grant.allows(permission, project) for grant in self.grants)

    def projects(self, permission: Permission = Permission.READ) -> Projects:
        """The projects in which this is allowed; None: in all."""
        if permission not in self.scopes:
            return frozenset()
        granted = {one.project for one in self.grants if permission in ALLOWS[one.role]}
        if EVERYWHERE in granted:
            return None if self.only == EVERYWHERE else frozenset({self.only})
        if self.only != EVERYWHERE:
            granted &= {self.only}
        return frozenset(granted)


def root(name: str) -> Principal:
    """Porter itself and the holder of its first token: everything is allowed."""
    return Principal(name, "system", name, (Grant(EVERYWHERE, Role.ADMIN),))


def project_of(label: str) -> str:
    """The project that a container's label names; the default one if it cannot be read."""
    return label if PROJECT_NAME.fullmatch(label) else DEFAULT_PROJECT
