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
from porter.domain.errors import (
    Conflict,
    Denied,
    Invalid,
    NotFound,
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
)


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
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "remedy": remedy,
        "code": code,
        **more,
    }
    return ProblemResponse(body, status_code=status, headers=headers)


def status_of(error: PorterError) -> HTTPStatus:
    for kind, status in STATUS:
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


async def _ours(request: Request, error: Exception) -> Response:
    if not isinstance(error, PorterError):
        raise error
    status = status_of(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("%s %s: %s", request.method, request.url.path, error)
    return problem(status, error.message, error.remedy, error.code)


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"cannot find {request.url.path}: there is no such resource"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"cannot {request.method} {request.url.path}: this resource does not know how"
    headers = dict(error.headers or {})
    return problem(error.status_code, detail, "see /openapi.json", headers=headers)


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
        "look into the control plane's log",
    )


def install(app: FastAPI) -> None:
    """Let every error of the application leave as problem+json."""
    app.add_exception_handler(PorterError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _bug)
