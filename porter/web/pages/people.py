"""The pages of API tokens, and of users and their roles."""

from __future__ import annotations

import time
from typing import Any

from fastapi import Request, Response

from porter.domain.identity import EVERYWHERE, Permission, Role
from porter.domain.units import moment
from porter.web.access import Caller
from porter.web.pages.api import Reader
from porter.web.pages.ground import pages, render

router = pages()
DAYS = (1, 7, 30, 90, 365)
"""What a token's life can be chosen from."""
MEANS = {
    Permission.READ: "see workloads, hosts and migrations",
    Permission.OPERATE: "move, cancel, roll back, keep checkpoints",
    Permission.APPROVE: "decide on plans that others made",
    Permission.ADMIN: "roles, policies, tokens of others",
}
ROLES = {
    Role.VIEWER: "sees",
    Role.OPERATOR: "sees and moves",
    Role.APPROVER: "sees and approves",
    Role.ADMIN: "all of it, and gives roles",
}


@router.get("/tokens")
async def tokens(request: Request, api: Reader, caller: Caller) -> Response:
    found = await api.all("/v1/tokens")
    users = {one["id"]: one["name"] for one in await api.maybe("/v1/users", [])}
    projects = await api.maybe("/v1/projects", [])
    return render(
        request,
        "tokens.html",
        tokens=[one | {"state": _state(one)} for one in found],
        users=users,
        projects=[one["name"] for one in projects],
        everywhere=caller.projects() is None,
        means={one: text for one, text in MEANS.items() if caller.projects(one) != frozenset()},
        days=DAYS,
    )


def _state(token: dict[str, Any]) -> str:
    if token.get("revoked_at"):
        return "revoked"
    expires = moment(token.get("expires_at"))
    return "expired" if expires is not None and expires < time.time() else "active"


@router.get("/users")
async def users(request: Request, api: Reader, caller: Caller, q: str = "") -> Response:
    found = await api.all("/v1/users")
    projects = await api.maybe("/v1/projects", [])
    return render(
        request,
        "users.html",
        users=[one for one in found if _is(one, q)],
        total=len(found),
        q=q,
        projects=[
            EVERYWHERE,
            *sorted(
                {one["name"] for one in projects}
                | {grant["project"] for one in found for grant in one["grants"]} - {EVERYWHERE}
            ),
        ],
        roles=ROLES,
    )


def _is(user: dict[str, Any], q: str) -> bool:
    return q.lower() in f"{user['name']} {user['email']}".lower()
