"""`ETag`, `If-None-Match` and `If-Match`: strong tags, made of what an answer says.

`If-Match` on what changes a resource compares the tag of GET of that path, or for an action
(`/v1/migrations/ID/cancel`) of its parent. Two requests of one process with `If-Match` for one
resource are served one after the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from http import HTTPStatus
from weakref import WeakValueDictionary

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from porter.web.errors import problem
from porter.web.replay import Answer, header, look

CODE = "precondition_failed"
_TAG = re.compile(r'(?:W/)?"[^"]*"')
READS = frozenset({"GET", "HEAD"})
CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def tag_of(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def matches(field: str, tag: str) -> bool:
    """Whether a field of tags, or `*`, has this one."""
    return field.strip() == "*" or tag in _TAG.findall(field)


def weakly(field: str, tag: str) -> bool:
    """The same for If-None-Match, to which a weak tag is as good."""
    return matches(field.replace("W/", ""), tag)


class Conditional:
    def __init__(self, app: ASGIApp, below: str) -> None:
        self._app = app
        self._below = below
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self._below):
            await self._app(scope, receive, send)
        elif scope["method"] in READS:
            await self._app(scope, receive, _Tagging(send, scope))
        elif scope["method"] in CHANGES:
            await self._change(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _change(self, scope: Scope, receive: Receive, send: Send) -> None:
        match, none = header(scope, "if-match"), header(scope, "if-none-match")
        if not match and not none:
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        lock = self._locks.get(path)
        if lock is None:
            self._locks[path] = lock = asyncio.Lock()
        async with lock:
            tag = await self._tag(scope, path)
            absent = tag is None
            failed = (none and not absent and weakly(none, tag or "")) or (
                # What is not there is the application's to say, except where PUT would make it.
                match and (scope["method"] == "PUT" if absent else not matches(match, tag or ""))
            )
            if failed:
                await _failed(tag)(scope, receive, send)
                return
            await self._app(scope, receive, send)

    async def _tag(self, scope: Scope, path: str) -> str | None:
        """The tag of what is changed by a request to this path; None if there is nothing."""
        answer: Answer = await look(self._app, scope, path)
        action = scope["method"] == "POST" or answer.status == HTTPStatus.METHOD_NOT_ALLOWED
        if answer.status != HTTPStatus.OK and action:
            answer = await look(self._app, scope, path.rpartition("/")[0])
        return tag_of(answer.body) if answer.status == HTTPStatus.OK else None


def _failed(tag: str | None) -> ASGIApp:
    return problem(
        HTTPStatus.PRECONDITION_FAILED,
        "cannot do that: the resource is not as the condition of the request says",
        "read it again and decide anew",
        CODE,
        headers=None if tag is None else {"ETag": tag},
    )


class _Tagging:
    """A `send` that holds a JSON answer back until its tag is known. Streams pass."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send = send
        self._wanted = header(scope, "if-none-match")
        self._held: Message | None = None
        self._parts: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _taggable(message):
            self._held = message
            return
        if self._held is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._parts.append(message.get("body", b""))
        if message.get("more_body", False):
            return
        await self._answer(self._held, b"".join(self._parts))

    async def _answer(self, start: Message, body: bytes) -> None:
        headers = MutableHeaders(scope=start)
        tag = tag_of(body)
        headers["ETag"] = tag
        headers.setdefault("Cache-Control", "private, no-cache")
        if self._wanted and weakly(self._wanted, tag):
            del headers["content-length"]
            del headers["content-type"]
            start["status"] = HTTPStatus.NOT_MODIFIED
            body = b""
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _taggable(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] == HTTPStatus.OK and kind.startswith("application/json")
