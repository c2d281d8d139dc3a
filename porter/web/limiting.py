"""So many requests may one principal send. Counted in each process for itself."""

from __future__ import annotations

import math
import time
from http import HTTPStatus

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from porter.domain.errors import Invalid
from porter.web.errors import problem

CODE = "too_many_requests"
POLICY = "principal"


def limit_of(text: str) -> RateLimitItem | None:
    """A limit like `12000/minute`; None for an empty text. Raises Invalid for anything else."""
    if not text:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise Invalid(
            f"cannot read the rate limit {text!r}", "write it like 12000/minute; empty for none"
        ) from error


class RateLimit:
    """Stands below Authenticate. An event stream counts when it is opened, not while it is open."""

    def __init__(self, app: ASGIApp, limit: RateLimitItem | None, below: str) -> None:
        self._app = app
        self._limit = limit
        self._below = below
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._limit
        counts = scope["type"] == "http" and scope["path"].startswith(self._below)
        if limit is None or not counts:
            await self._app(scope, receive, send)
            return
        who = scope["state"]["principal"].id
        allowed = self._limiter.hit(limit, who)
        headers = self._headers(limit, who)
        if not allowed:
            wait = headers["RateLimit"].rpartition("t=")[2]
            answer = problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"cannot answer: more than {limit.amount} requests in {limit.get_expiry()} s",
                f"send it again in {wait} s",
                CODE,
                headers=headers | {"Retry-After": wait},
            )
            await answer(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, counted)

    def _headers(self, limit: RateLimitItem, who: str) -> dict[str, str]:
        """As the draft of the HTTP working group has them: what is allowed, left, and until when
        (seconds)."""
        stats = self._limiter.get_window_stats(limit, who)
        left = max(0, math.floor(stats.remaining))
        again = max(1, math.ceil(stats.reset_time - time.time()))
        return {
            "RateLimit-Policy": f'"{POLICY}";q={limit.amount};w={limit.get_expiry()}',
            "RateLimit": f'"{POLICY}";r={left};t={again}',
        }
