"""What all pages stand on: rendering, access, security headers, and errors shown as pages."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from porter.domain.errors import PorterError
from porter.domain.identity import FLEET, Permission, Principal
from porter.web.errors import status_of
from porter.web.pages import words
from porter.web.pages.api import Refused
from porter.web.pages.files import address, complete

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Pages show what only their reader may see.
    "Cache-Control": "no-store",
}


class Entry(NamedTuple):
    """One of the places that every page leads to. `key` follows g on the keyboard; `also` are the
    other paths that belong to it, each a tab there."""

    label: str
    path: str
    key: str
    also: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether a page is within this place."""
        return any(path == one or path.startswith(f"{one}/") for one in (self.path, *self.also))


NAVIGATION = (
    Entry("Harbour", "/", "h"),
    Entry("Workloads", "/workloads", "w"),
    Entry("Migrations", "/migrations", "m"),
    Entry("Proposals", "/proposals", "p", ("/plans", "/rebalances", "/schedules", "/forecasts")),
    Entry("Hosts", "/hosts", "o"),
    Entry("Sites", "/sites", "s"),
    Entry("Policies", "/policies", "y"),
    Entry("Audit", "/audit", "a"),
    Entry("Tokens", "/tokens", "t", ("/users", "/webhooks")),
)

_routers: list[APIRouter] = []
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= words.FILTERS
_templates.globals["asset"] = address
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def render(
    request: Request, template: str, status: int = HTTPStatus.OK, **content: Any
) -> HTMLResponse:
    """A page. Templates that extend base.html set the block `title`; `now` is in epoch seconds,
    `may(permission, project)` tells what to offer to this reader."""
    principal: Principal | None = getattr(request.state, "principal", None)
    session = getattr(request.state, "session", None)

    def may(permission: str, project: str = FLEET) -> bool:
        return principal is not None and principal.may(Permission(permission), project)

    page = _templates.get_template(template).render(
        now=time.time(),
        me=principal,
        may=may,
        csrf="" if session is None else session.csrf,
        navigation=_navigation(),
        path=request.url.path,
        scripts=complete(),
        **content,
    )
    return HTMLResponse(page, status_code=status, headers=HEADERS)


def _navigation() -> list[Entry]:
    known = {getattr(route, "path", "") for router in _routers for route in router.routes}
    return [entry for entry in NAVIGATION if entry.path in known]


class Page(APIRoute):
    """Shows itself only to people who are logged in, and errors as pages."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            if request.state.principal is None:
                return _to_login(request)
            try:
                return await handle(request)
            except PorterError as error:
                status = error.status if isinstance(error, Refused) else status_of(error)
                if status == HTTPStatus.UNAUTHORIZED:
                    return _to_login(request)
                return failure(request, status, error.message, error.remedy)
            except RequestValidationError:
                return failure(
                    request,
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "cannot read the page's address: a value in it is not valid",
                    "take the part after the question mark away",
                )

        return guarded


def pages() -> APIRouter:
    """A router for pages."""
    _routers.append(APIRouter(route_class=Page, include_in_schema=False))
    return _routers[-1]


def failure(request: Request, status: int, message: str, remedy: str) -> Response:
    """The page that says what went wrong and what to do next."""
    return render(
        request,
        "failure.html",
        status,
        answer=HTTPStatus(status),
        message=message,
        remedy=remedy,
    )


def install(app: FastAPI) -> None:
    """Let a browser that asks for a page that is not there get a page that says so. Programs,
    and all below /v1, get problem+json as ever."""
    otherwise: Any = app.exception_handlers[HTTPException]

    async def missing(request: Request, error: Exception) -> Response:
        wants_page = "text/html" in request.headers.get("accept", "")
        program = request.url.path.startswith(("/v1/", "/static/", "/agent/"))
        status = getattr(error, "status_code", 0)
        if status != HTTPStatus.NOT_FOUND or not wants_page or program:
            answer: Response = await otherwise(request, error)
            return answer
        what = f"cannot find the page {request.url.path}: there is none of that address"
        return failure(request, status, what, "begin at the harbour")

    app.add_exception_handler(HTTPException, missing)


def _to_login(request: Request) -> Response:
    target = request.url.path
    if request.url.query:
        target = f"{target}?{request.url.query}"
    login = f"/login?{urlencode({'next': target})}"
    if "hx-request" in request.headers:
        # htmx follows redirects by itself and would put the login form into the page.
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": "/login"})
    return RedirectResponse(login, HTTPStatus.SEE_OTHER, headers=HEADERS)
