"""/v1/hosts and /v1/join-tokens."""

from __future__ import annotations

import secrets
import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Request

from porter.pki import Authority
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.schemas import HostOut, Token, TokenRequest, moment

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["hosts"])


@router.get("/hosts")
def list_hosts(control: Control) -> list[HostOut]:
    """All hosts that have joined, by name."""
    living = control.found.workloads()
    now = time.time()
    return [HostOut.of(host, living, now) for host in control.registry.hosts()]


@router.get("/hosts/{name}")
def get_host(control: Control, name: str) -> HostOut:
    """One host, by name or id."""
    host = control.registry.host(name)
    return HostOut.of(host, control.found.workloads(), time.time())


@router.delete("/hosts/{name}", status_code=HTTPStatus.NO_CONTENT)
def delete_host(control: Control, name: str) -> None:
    """Forget a host: its certificate counts no more. 409 while workloads live there."""
    control.registry.remove(name, time.time())


@router.post("/join-tokens", status_code=HTTPStatus.CREATED)
def create_token(
    request: Request, control: Control, body: Annotated[TokenRequest | None, Body()] = None
) -> Token:
    """A one-time token with which a new host's agent joins. It is shown here only."""
    authority: Authority = request.app.state.authority
    wanted = body or TokenRequest()
    secret = secrets.token_urlsafe(24)
    until = control.registry.add_token(secret, time.time(), wanted.ttl, wanted.name, wanted.site)
    return Token(token=f"{secret}.{authority.pin}", expires_at=moment(until))
