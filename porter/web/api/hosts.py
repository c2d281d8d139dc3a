"""/v1/hosts and /v1/join-tokens."""

from __future__ import annotations

import secrets
import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Request

from porter.db.listing import Listing
from porter.domain.errors import Conflict
from porter.domain.identity import Permission
from porter.pki import Authority
from porter.web.access import Caller, allowed
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.schemas.base import moment
from porter.web.api.schemas.fleet import HostOut, Token, TokenRequest

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["hosts"])
READ, ADMIN = [allowed(Permission.READ)], [allowed(Permission.ADMIN)]


@router.get("/hosts/{name}", dependencies=READ)
def get_host(control: Control, caller: Caller, name: str) -> HostOut:
    """One host, by name or id."""
    found = Listing(control.database).host(name, caller.projects())
    return HostOut.of(found.host, found.workloads, time.time(), found.machine)


@router.delete("/hosts/{name}", status_code=HTTPStatus.NO_CONTENT, dependencies=ADMIN)
def delete_host(control: Control, name: str) -> None:
    """Forget a host: its certificate counts no more. 409 while workloads live there.

    A machine that Porter made is terminated; until that is done the host is still listed.
    """
    host = control.registry.host(name)
    machine = control.ledger.of_host(host.id)
    if machine is None:
        control.registry.remove(name, time.time())
        return
    needed = control.ledger.needed(host.id)
    if needed:
        raise Conflict(f"cannot remove the host {host.name}: {needed}", "move or cancel it first")
    control.ledger.drain(host.id, "removed on request", time.time())
    control.queue.reap(machine.key)


@router.post("/join-tokens", status_code=HTTPStatus.CREATED, dependencies=ADMIN)
def create_token(
    request: Request, control: Control, body: Annotated[TokenRequest | None, Body()] = None
) -> Token:
    """A one-time token with which a new host's agent joins. It is shown here only."""
    authority: Authority = request.app.state.authority
    wanted = body or TokenRequest()
    secret = secrets.token_urlsafe(24)
    until = control.registry.add_token(secret, time.time(), wanted.ttl, wanted.name, wanted.site)
    url = control.settings.agents_url
    return Token(token=f"{secret}.{authority.pin}", url=url, expires_at=moment(until))
