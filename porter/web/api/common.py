"""What all routes of the REST API share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from porter.domain.errors import NotFound
from porter.web.api.schemas.base import Problem
from porter.web.errors import MEDIA_TYPE
from porter.web.openapi import check_query
from porter.web.pulse import Pulse
from porter.wiring import ControlPlane

_SCHEMA: dict[str, Any] = {"model": Problem, "content": {MEDIA_TYPE: {}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: _SCHEMA | {"description": "The token is missing or wrong"},
    403: _SCHEMA | {"description": "The caller's roles or the token's scopes do not allow this"},
    404: _SCHEMA | {"description": "What is named does not exist, or not for the caller"},
    409: _SCHEMA | {"description": "The request contradicts the present state"},
    422: _SCHEMA | {"description": "The request cannot be read"},
}
# The caller is known before routing (access.Authenticate); this only tells OpenAPI of it.
SECURED = [Depends(HTTPBearer(auto_error=False)), Depends(check_query)]


def control_of(request: Request) -> ControlPlane:
    control: ControlPlane = request.app.state.control
    return control


def pulse_of(request: Request) -> Pulse:
    pulse: Pulse = request.app.state.pulse
    return pulse


Control = Annotated[ControlPlane, Depends(control_of)]


def person_name(control: ControlPlane, person: str, known: dict[str, str]) -> str:
    """What somebody is called, by id. `known` remembers the answers of one request."""
    if person not in known:
        try:
            known[person] = control.identity.user(person).name or person
        except NotFound:
            known[person] = person  # root, a schedule, or somebody who was removed
    return known[person]
