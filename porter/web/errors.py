"""Every error as problem+json (RFC 9457): one sentence in `detail`, what to do in `remedy`."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from porter.db.registry import TokenExpired, TokenUnknown, TokenUsed
from porter.db.rows import current_request
from porter.domain.errors import (
    Conflict,
    Denied,
    InDoubt,
    Invalid,
    NotFound,
    Permanent,
    PorterError,
    Transient,
    Unsupported,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
STATUS: tuple[tuple[type[PorterError], HTTPStatus], ...] = (
    (TokenUnknown, HTTPStatus.UNAUTHORIZED),
    (TokenExpired, HTTPStatus.GONE),
    (TokenUsed, HTTPStatus.FORBIDDEN),
    (Denied, HTTPStatus.FORBIDDEN),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (Invalid, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Unsupported, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Transient, HTTPStatus.SERVICE_UNAVAILABLE),
    # What a provider, a store or a host says no to is no fault of this server.
    (Permanent, HTTPStatus.CONFLICT),
    (InDoubt, HTTPStatus.CONFLICT),
)


PROBLEM_PATH = "/problems/"
"""With a code behind it the stable type of a problem, and the path of a page about it."""
CODES: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "denied",
    HTTPStatus.FORBIDDEN: "denied",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.PRECONDITION_FAILED: "precondition_failed",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many_requests",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal",
}
"""Codes of problems that are no errors of ours."""


class ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE


def problem(
    status: int,
    detail: str,
    remedy: str = "",
    code: str = "",
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    """A problem+json answer."""
    body = {
        "type": PROBLEM_PATH + (code := code or CODES.get(status, "error")),
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "remedy": remedy,
        "code": code,
        "request_id": current_request.get(),
        **more,
    }
    return ProblemResponse(body, status_code=status, headers=headers)


def status_of(error: PorterError) -> HTTPStatus:
    for kind, status in STATUS:
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def answer_of(error: PorterError) -> Response:
    """The answer that an error of ours leaves as."""
    return problem(status_of(error), error.message, error.remedy, error.code, **error.members)


async def _ours(request: Request, error: Exception) -> Response:
    if not isinstance(error, PorterError):
        raise error
    if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("%s %s: %s", request.method, request.url.path, error)
    return answer_of(error)


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail = str(error.detail)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"cannot find {request.url.path}: there is no such resource"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"cannot {request.method} {request.url.path}: this resource does not know how"
        headers |= _allow(request)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # The framework's word for a body that is no text at all.
        return answer_of(Invalid("cannot read the request: its body is no JSON", "send UTF-8"))
    return problem(error.status_code, detail, "see /openapi.json", headers=headers)


def _allow(request: Request) -> dict[str, str]:
    """All methods of the resource; the framework knows those of one route only."""
    path = getattr(request.scope.get("route"), "path", "")
    known = [name.upper() for name in request.app.openapi()["paths"].get(path, ())]
    return {"allow": ", ".join(sorted(known))} if known else {}


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [
        {"field": ".".join(str(part) for part in found["loc"]), "message": str(found["msg"])}
        for found in error.errors()
    ]
    first = errors[0] if errors else {"field": "body", "message": "it is not valid"}
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"cannot read the request: {first['field']}: {first['message']}",
        "see /openapi.json for what is expected",
        Invalid.code,
        errors=errors,
    )


async def _bug(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        f"cannot answer: internal error ({type(error).__name__})",
        "look into the control plane's log for the request id",
        # This answer passes none of what stamps the others.
        headers={"X-Request-Id": current_request.get()},
    )


def install(app: FastAPI) -> None:
    """Let every error of the application leave as problem+json."""
    app.add_exception_handler(PorterError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _bug)
