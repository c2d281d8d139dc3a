"""`Prefer: wait=N` on what goes on after it was answered: moves and checkpoints."""

from __future__ import annotations

import json
import re
import time
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from porter.web.pulse import Pulse
from porter.web.rehearsal import is_dry
from porter.web.replay import Answer, collect, look

LONGEST = 60
LOOK_AGAIN = 1.0
_WAIT = re.compile(r"(?:^|[,\s])wait\s*=\s*\"?(\d{1,6})\"?(?=\s*(?:[,;]|$))", re.IGNORECASE)
_PATH = re.compile(r"/v1/(migrations|checkpoints|plans)(?:/|$)")


def seconds(scope: Scope) -> int | None:
    """How long the caller would wait, at most `LONGEST`; None for no such wish."""
    field = ",".join(Headers(scope=scope).getlist("prefer"))
    found = _WAIT.search(field)
    return None if found is None else min(int(found[1]), LONGEST)


def ended(collection: str, body: dict[str, Any]) -> bool:
    if collection == "migrations":
        return body.get("finished_at") is not None
    return (body.get("task") or {}).get("outcome") is not None


class Waiting:
    def __init__(self, app: ASGIApp, pulse: Pulse) -> None:
        self._app = app
        self._pulse = pulse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = None
        if scope["type"] == "http" and scope["method"] == "POST":
            found = _PATH.match(scope["path"])
        wait = seconds(scope) if found else None
        if found is None or wait is None or is_dry(scope):
            await self._app(scope, receive, send)
            return
        answer = await collect(self._app, scope, receive)
        if answer.status == HTTPStatus.ACCEPTED:
            identity = json.loads(answer.body).get("id")
            path = answer.headers.get("location", f"/v1/{found[1]}/{identity}")
            await self._wait(scope, answer, path, wait)
        await answer.send(send)

    async def _wait(self, scope: Scope, answer: Answer, path: str, wait: int) -> None:
        """Let the answer be what is so when it has ended, or when the time is up."""
        deadline = time.monotonic() + wait
        while True:
            mark = self._pulse.mark()
            now = await look(self._app, scope, path)
            if now.status != HTTPStatus.OK:
                return  # it cannot be read any more: the first answer stands
            answer.body = now.body
            answer.headers["Content-Length"] = str(len(now.body))
            answer.headers["Preference-Applied"] = f"wait={wait}"
            if ended(path.split("/")[2], json.loads(now.body)):
                answer.status = HTTPStatus.OK
                return
            left = deadline - time.monotonic()
            if left <= 0 or self._pulse.closed:
                return
            await self._pulse.wait(mark, min(left, LOOK_AGAIN))
