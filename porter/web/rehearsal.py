"""`dry_run=true` on everything that changes something: the request is carried out and undone.

All that it does to the database happens in one transaction, which is rolled back; no message is
sent. So it is checked and answered as the real one would be. What reaches beyond the database asks
`rehearsing` and leaves that out.
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from porter.db.database import Database, Rehearsal, rehearsing
from porter.domain.errors import Invalid
from porter.web.errors import answer_of
from porter.web.replay import collect

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
NAME = "dry_run"


def wish(scope: Scope) -> str | None:
    """What the query says of a dry run, if anything."""
    pairs = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return next((value for name, value in pairs if name == NAME), None)


def is_dry(scope: Scope) -> bool:
    return wish(scope) == "true"


class DryRun:
    """Innermost, right around the routes."""

    def __init__(self, app: ASGIApp, database: Database, below: str) -> None:
        self._app = app
        self._database = database
        self._below = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        changes = scope["type"] == "http" and scope["method"] not in SAFE
        asked = wish(scope) if changes and scope["path"].startswith(self._below) else None
        if asked not in (None, "true", "false"):
            error = Invalid(f"cannot read {NAME}={asked[:20]!r}", "it is true or false")
            await answer_of(error)(scope, receive, send)
            return
        if asked != "true":
            await self._app(scope, receive, send)
            return
        rehearsal = Rehearsal(self._database)
        token = rehearsing.set(rehearsal)
        try:
            answer = await collect(self._app, scope, receive)
        finally:
            rehearsing.reset(token)
            # Not in the routes' pool: all its threads may be waiting for the lock that this frees.
            await asyncio.to_thread(rehearsal.end)
        # Only now: what is written while this is sent (the audit trail) is no part of it.
        answer.headers["Dry-Run"] = "true"
        await answer.send(send)
