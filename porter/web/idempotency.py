"""`Idempotency-Key` on every POST: the first answer is kept for a day and given again.

What is kept is sealed, as an answer may hold a secret that is shown once. Beneath this a migration
knows the key that made it, so that even a crash between its beginning and its answer makes no
second one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from porter.db.answers import LEASE_S, Answers, Kept
from porter.domain.errors import Conflict, Invalid, PorterError, Transient
from porter.vault import Vault
from porter.web.errors import answer_of, problem
from porter.web.rehearsal import is_dry
from porter.web.replay import Answer, collect, header, read_body, sending

KEY = re.compile(r"[!-~]{1,255}")
RETRY_S = 1
DROPPED_HEADERS = frozenset({"x-request-id", "date", "set-cookie", "ratelimit", "ratelimit-policy"})
NOT_KEPT = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""These say nothing of the request itself: it may be allowed when it is sent again."""


class Idempotency:
    """Stands below Authenticate. Requests without a key, and dry runs, pass as they are."""

    def __init__(self, app: ASGIApp, answers: Answers, vault: Vault, below: str) -> None:
        self._app = app
        self._answers = answers
        self._vault = vault
        self._below = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        post = scope["type"] == "http" and scope["method"] == "POST"
        key = header(scope, "idempotency-key") if post else ""
        named = post and b"idempotency-key" in dict(scope["headers"])
        if not named or not scope["path"].startswith(self._below):
            await self._app(scope, receive, send)
            return
        if KEY.fullmatch(key) is None:
            error = Invalid(
                "cannot use this Idempotency-Key: it has 1 to 255 visible ASCII characters",
                "a random UUID does",
            )
            await answer_of(error)(scope, receive, send)
            return
        if is_dry(scope):
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._answer(scope, receive, key)
        except ClientDisconnect:
            return
        await answer(scope, receive, send) if callable(answer) else await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive, key: str) -> Answer | ASGIApp:
        body = await read_body(receive)
        principal, digest = scope["state"]["principal"].id, _digest(scope, body)
        mark = time.time()
        try:
            known = await run_in_threadpool(self._answers.begin, principal, key, digest, mark)
        except Transient as error:
            return answer_of(error)
        if known is not None:
            return self._repeated(principal, key, digest, known)
        return await self._first(scope, sending(body, receive), principal, key, mark)

    def _repeated(self, principal: str, key: str, digest: str, known: Kept) -> Answer | ASGIApp:
        if known.request_hash != digest:
            return answer_of(
                Conflict(
                    "cannot use this Idempotency-Key: it belongs to another request",
                    "send a fresh key with a new request",
                )
            )
        if known.status is None:
            return problem(
                HTTPStatus.CONFLICT,
                "cannot answer yet: the first request with this Idempotency-Key is at work",
                "send it again in a moment",
                Conflict.code,
                headers={"Retry-After": str(RETRY_S)},
            )
        headers = MutableHeaders(dict(known.headers or {}))
        headers["Idempotent-Replayed"] = "true"
        return Answer(known.status, headers, self._open(principal, key, known.body))

    async def _first(
        self, scope: Scope, receive: Receive, principal: str, key: str, mark: float
    ) -> Answer:
        answer = None
        try:
            async with self._renewing(principal, key, mark) as current:
                answer = await collect(self._app, scope, receive)
        finally:
            if answer is None:
                await run_in_threadpool(self._answers.drop, principal, key, current[0])
        mark = current[0]
        passing = answer.status in NOT_KEPT or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        with contextlib.suppress(PorterError):
            # What cannot be written down is as after a crash: the lease ends, the key is free.
            if passing or "retry-after" in answer.headers:
                await run_in_threadpool(self._answers.drop, principal, key, mark)
            else:
                headers = {k: v for k, v in answer.headers.items() if k not in DROPPED_HEADERS}
                sealed = self._seal(principal, key, answer.body)
                await run_in_threadpool(
                    self._answers.keep, principal, key, mark, answer.status, headers, sealed
                )
        return answer

    @contextlib.asynccontextmanager
    async def _renewing(self, principal: str, key: str, mark: float) -> AsyncIterator[list[float]]:
        """Keeps the key ours while the request is worked on; gives the mark as it is then."""
        current = [mark]

        async def renew() -> None:
            while True:
                await asyncio.sleep(LEASE_S / 3)
                now = time.time()
                with contextlib.suppress(PorterError):
                    if await run_in_threadpool(
                        self._answers.renew, principal, key, current[0], now
                    ):
                        current[0] = now

        task = asyncio.create_task(renew())
        try:
            yield current
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _seal(self, principal: str, key: str, body: bytes) -> bytes:
        content = {"body": body.decode("latin-1")}
        return self._vault.seal(f"answer {principal} {key}", content).encode()

    def _open(self, principal: str, key: str, sealed: bytes) -> bytes:
        found = self._vault.open(f"answer {principal} {key}", sealed.decode())
        return found["body"].encode("latin-1")


def _digest(scope: Scope, body: bytes) -> str:
    line = f"{scope['method']} {scope['path']}?".encode() + scope["query_string"]
    return hashlib.sha256(line + b"\n" + body).hexdigest()
