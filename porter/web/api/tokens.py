"""/v1/tokens: what programs call the API with."""

from __future__ import annotations

import time
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from porter.db.identity import ApiToken, no_token
from porter.domain.errors import Denied
from porter.domain.identity import EVERYWHERE, PROJECT_NAME, Permission, Principal
from porter.web.access import ROOT, Caller, demand
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.paging import Paged
from porter.web.api.people import place
from porter.web.api.schemas.base import Body, Name, moment

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["tokens"])
DAY = 24 * 3600
LONGEST = 365 * DAY


class TokenIn(Body):
    """A token to make. It never may more than whoever makes it."""

    name: Name
    project: Annotated[str, Field(pattern=rf"^(\*|{PROJECT_NAME.pattern})$")] = EVERYWHERE
    """The one in which it is good; `*` without such a limit."""
    scopes: Annotated[
        list[Annotated[Permission, Field(strict=False)]],
        Field(min_length=1, max_length=len(Permission)),
    ]
    """`read` is always among them."""
    expires_in: Annotated[float, Field(ge=1, le=LONGEST)] = 30 * DAY
    """Seconds."""


class TokenOut(BaseModel):
    id: str
    name: str
    owner: str | None
    """The user whose roles it has; null: the control plane's first token made it."""
    parent: str | None
    """The token that it was made with: they end together."""
    project: str
    scopes: list[Permission]
    created_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None
    """To about a minute."""

    @classmethod
    def of(cls, token: ApiToken) -> TokenOut:
        return cls.model_validate(_fields(token))


class NewTokenOut(TokenOut):
    token: str
    """The secret. It is shown here only; Porter keeps its hash."""


def _fields(token: ApiToken) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "owner": token.owner,
        "parent": token.parent,
        "project": token.project,
        "scopes": list(token.scopes),
        "created_at": moment(token.created),
        "expires_at": moment(token.expires),
        "revoked_at": moment(token.revoked),
        "used_at": moment(token.used),
    }


@router.post("/tokens", status_code=HTTPStatus.CREATED)
def create_token(control: Control, caller: Caller, body: TokenIn) -> NewTokenOut:
    """Make a token. Made with a token, it expires with that one at the latest."""
    scopes = frozenset((*body.scopes, Permission.READ))
    _must_have(caller, scopes, body.project)
    now = time.time()
    expires = now + body.expires_in
    parent = control.identity.token(caller.id) if caller.kind == "token" else None
    secret, made = control.identity.add_token(
        body.name,
        _owner(caller),
        body.project,
        sorted(scopes),
        expires if parent is None else min(expires, parent.expires),
        now,
        None if parent is None else parent.id,
    )
    return NewTokenOut.model_validate({**_fields(made), "token": secret})


def _owner(caller: Principal) -> str | None:
    """A user's id; None for whoever holds the first token, and for what is made of that."""
    return None if caller.person == ROOT.id else caller.person


def _must_have(caller: Principal, scopes: frozenset[Permission], project: str) -> None:
    """What is asked for is the caller's own."""
    for scope in sorted(scopes):
        if project != EVERYWHERE:
            demand(caller, scope, project)
        elif caller.only != EVERYWHERE or caller.projects(scope) == frozenset():
            raise Denied(
                f"cannot make a token for {scope} in all projects: {caller.name} has less",
                "name one project, and scopes that you have there",
            )


@router.get("/tokens")
def list_tokens(control: Control, caller: Caller, paged: Paged) -> list[TokenOut]:
    """Newest first: the caller's own, and those in projects that it administers. With a token: that
    one, and those made with it."""
    shown = [one for one in control.identity.tokens() if _shows(caller, one)]
    return [TokenOut.of(one) for one in paged.cut(shown, lambda one: one.id)]


@router.delete("/tokens/{token}")
def revoke_token(control: Control, caller: Caller, token: str) -> TokenOut:
    """End a token at once, by its id, with all that were made with it. Again is the same."""
    if not _shows(caller, control.identity.token(token)):
        raise no_token(token)
    return TokenOut.of(control.identity.revoke(token, time.time()))


def _shows(caller: Principal, token: ApiToken) -> bool:
    if caller.may(Permission.ADMIN, place(token.project)):
        return True
    if caller.kind == "token":
        return caller.id in (token.id, token.parent)
    return token.owner == _owner(caller)
