"""A whole answer of the application in memory, for what stands before it and changes answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Answer:
    status: int = 500
    headers: MutableHeaders = field(default_factory=lambda: MutableHeaders(raw=[]))
    body: bytes = b""

    async def send(self, send: Send) -> None:
        start = {
            "type": "http.response.start",
            "status": self.status,
            "headers": self.headers.raw,
        }
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


async def read_body(receive: Receive) -> bytes:
    """The request's body. Raises ClientDisconnect if the client leaves before it is whole."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            break
    return b"".join(parts)


def sending(body: bytes, then: Receive) -> Receive:
    """A `receive` that gives a body that was read before, and after that what comes."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            return await then()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def collect(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    """The application's answer, held back."""
    answer, parts = Answer(), list[bytes]()

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = MutableHeaders(raw=list(message.get("headers", [])))
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    answer.body = b"".join(parts)
    return answer


async def look(app: ASGIApp, scope: Scope, path: str) -> Answer:
    """What GET of a path of the same application would answer the same caller."""
    keep = (b"authorization", b"cookie", b"host", b"x-request-id")
    inner = dict(scope)
    inner |= {
        "method": "GET",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": b"",
        "headers": [pair for pair in scope["headers"] if pair[0] in keep],
        "state": dict(scope.get("state", {})),
    }
    # What the router has put there belongs to the outer request.
    for key in ("path_params", "endpoint", "route", "router"):
        inner.pop(key, None)
    return await collect(app, inner, sending(b"", _never))


async def _never() -> Message:
    return {"type": "http.disconnect"}


def header(scope: Scope, name: str) -> str:
    return Headers(scope=scope).get(name, "")
