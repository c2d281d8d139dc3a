"""What stands before the applications: request ids, the Host header, tokens."""

from __future__ import annotations

import ipaddress
import re
import secrets
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from porter.db.rows import current_request
from porter.web.errors import problem

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestId:
    """Gives every answer an X-Request-Id: the caller's, if it sent a sane one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        current_request.set(request_id)
        await self._app(scope, receive, stamped)


def host_of(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()


class KnownHost:
    """Refuses requests for a Host that is not ours: a web page elsewhere may have had its name
    point here."""

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._allowed = frozenset((*LOOPBACK_NAMES, *(name.lower() for name in allowed)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host = host_of(Headers(scope=scope).get("host", ""))
            if host not in self._allowed:
                answer = problem(
                    HTTPStatus.BAD_REQUEST,
                    f"cannot serve the host {host!r}: this control plane does not go by that name",
                    "use its listen address, or add the name to PORTER_ALLOWED_HOSTS",
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
