"""Who calls, and what they may: every request below /v1 has a principal before it is routed.

A program sends `Authorization: Bearer TOKEN`. A browser sends the cookie of its session, and with
everything that changes something the session's CSRF token in a header of its own, which no other
site can make it send.
"""

from __future__ import annotations

import hmac
import logging
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request, params
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from porter.db.identity import Identity
from porter.domain.errors import Denied, PorterError
from porter.domain.identity import FLEET, Permission, Principal, root
from porter.web.errors import answer_of, problem
from porter.web.noted import about

log = logging.getLogger(__name__)

SESSION = "porter_session"
CSRF = "X-CSRF-Token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FORMS = frozenset({"/login/token", "/login/claim", "/logout"})
"""Plain forms, which cannot send headers: these routes look for the token in a field themselves."""
ROOT = root("root")
"""Whoever holds the control plane's first token, which lies in a file there."""


class Authenticate:
    """Puts the principal into `request.state.principal`; below a path nobody passes without one."""

    def __init__(self, app: ASGIApp, identity: Identity, token: str, below: str) -> None:
        self._app = app
        self._identity = identity
        self._token = token.encode()
        self._below = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            changes = scope["method"] not in SAFE and scope["path"] not in FORMS
            principal = await self._principal(connection, changes)
        except PorterError as error:
            await answer_of(error)(scope, receive, send)
            return
        connection.state.principal = principal
        if principal is None and scope["path"].startswith(self._below):
            answer = problem(
                HTTPStatus.UNAUTHORIZED,
                "cannot use the API: the token is missing or wrong",
                "send `Authorization: Bearer TOKEN`, or log in",
                code="denied",
                headers={"WWW-Authenticate": "Bearer"},
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _principal(self, connection: HTTPConnection, changes: bool) -> Principal | None:
        header = connection.headers.get("authorization")
        if header is not None:
            kind, _, given = header.partition(" ")
            if kind.lower() != "bearer":
                return None
            return await self._bearer(given.strip())
        cookie = connection.cookies.get(SESSION)
        if not cookie:
            return None
        session = await run_in_threadpool(self._identity.session, cookie)
        if session is None:
            return None
        connection.state.session = session
        if changes and not hmac.compare_digest(
            connection.headers.get(CSRF, "").encode(), session.csrf.encode()
        ):
            raise Denied(
                "cannot do that: the page's CSRF token is missing or wrong",
                "load the page again",
            )
        return session.principal

    async def _bearer(self, given: str) -> Principal | None:
        if hmac.compare_digest(given.encode(), self._token):
            return ROOT
        return await run_in_threadpool(self._identity.of_token, given)


def caller(request: Request) -> Principal:
    """The principal of this request."""
    principal: Principal = request.state.principal
    return principal


Caller = Annotated[Principal, Depends(caller)]


def demand(principal: Principal, permission: Permission, project: str = FLEET) -> None:
    """Raise Denied unless this is allowed. What the caller may not even see must not get here: give
    `principal.projects()` to whatever looks it up, which then does not find it."""
    about(project)
    if not principal.may(permission, project):
        where = f"in the project {project}" if project else "for the whole fleet"
        raise Denied(
            f"cannot do that: {principal.name} lacks the permission {permission} {where}",
            "ask an administrator for a role that has it",
        )


def allowed(permission: Permission) -> params.Depends:
    """A dependency: only callers with this permission for the whole fleet."""

    def check(principal: Caller) -> None:
        demand(principal, permission)

    depends: params.Depends = Depends(check)
    return depends
