"""One row in the audit trail for every request that changes something, or tries to, and for reads
of secrets and exports.

The row is written when the outcome is known and **before** the answer leaves: no change is
acknowledged that is not in the trail. If the row cannot be written, the answer is 503, and the
caller repeats the request (with its Idempotency-Key, at no risk). One row after the work, and not
one before and one after it, keeps an answer only one small transaction slower; what it leaves open
is a process that is killed between a change and its row. Such a change was never acknowledged, and
its events carry the request's id.

Strangers, who can change nothing, fill the trail no faster than REFUSED from one address; beyond
that their refusals are only logged.

The middleware stands in two places: right around the routes, so that the row does not wait for
`Prefer: wait`; and before authentication, for what never came that far.
"""

from __future__ import annotations

import json
import logging
import re
import time
from contextvars import Token
from typing import Any

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from porter.db.audit import Audit
from porter.db.rows import current_request
from porter.domain.audit import Entry
from porter.domain.errors import PorterError, Transient
from porter.web.errors import answer_of
from porter.web.noted import Note, noting
from porter.web.rehearsal import is_dry
from porter.web.replay import Answer, collect
from porter.web.templates import Found, place_of

log = logging.getLogger(__name__)

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
READS = re.compile(r"/login/callback|/v1/audit(/export)?|/v1/migrations/[^/]+/receipt\.jws")
"""Paths at which also reading is written down."""
ANONYMOUS = "anonymous"
REFUSED = parse("600/minute")
LONGEST = {"actor": 255, "origin": 255, "action": 255, "target": 1024, "project": 63}
_MOST_READ = 100_000
"""Bytes of an answer in which the id of what was made is looked for."""


class Auditing:
    """Raises nothing of its own; see the module for where it stands."""

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self._app = app
        self._audit = audit
        self._strangers = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        changes = scope["method"] not in SAFE
        if not changes and not READS.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        place = place_of(scope)
        note, token = _note()
        try:
            if changes:
                await self._change(scope, receive, send, note, place)
            else:
                await self._read(scope, receive, send, note, place)
        finally:
            if token is not None:
                noting.reset(token)

    async def _change(
        self, scope: Scope, receive: Receive, send: Send, note: Note, place: Found
    ) -> None:
        """The answer is held back until its row is written."""
        try:
            answer = await collect(self._app, scope, receive)
        except BaseException:
            # A bug, or the process is about to end: what was done was not acknowledged.
            await self._try(_entry(scope, note, place, "aborted", _facts(scope, None)), note)
            raise
        facts = _facts(scope, answer)
        entry = _entry(scope, note, place, str(answer.status), facts, _made(answer))
        refusal = await self._try(entry, note)
        if refusal is None:
            await answer.send(send)
        else:
            await refusal(scope, receive, send)

    async def _read(
        self, scope: Scope, receive: Receive, send: Send, note: Note, place: Found
    ) -> None:
        """The row is written before the first byte leaves; the rest may be long."""
        refused = False

        async def told(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                entry = _entry(scope, note, place, str(message["status"]), {})
                refusal = await self._try(entry, note)
                if refusal is not None:
                    refused = True
                    await refusal(scope, receive, send)
            if not refused:
                await send(message)

        await self._app(scope, receive, told)

    async def _try(self, entry: Entry, note: Note) -> ASGIApp | None:
        """Write the row, if this request has none yet. Returns the answer if that failed."""
        if note.written:
            return None
        if self._flooding(entry):
            log.warning("%s: %s, from %s", entry.action, entry.outcome, entry.origin)
            return None
        try:
            await run_in_threadpool(self._audit.append, entry)
        except PorterError as error:
            log.error("cannot write the audit trail: %s", error)
            return answer_of(
                Transient(
                    "cannot acknowledge this: the audit trail cannot be written",
                    "it may or may not have been done; look, then try again",
                )
            )
        note.written = True
        log.info("%s: %s", entry.action, entry.outcome)
        return None

    def _flooding(self, entry: Entry) -> bool:
        refused = entry.actor == ANONYMOUS and entry.outcome.startswith("4")
        return refused and not self._strangers.hit(REFUSED, entry.origin)


def _note() -> tuple[Note, Token[Note | None] | None]:
    """The note of this request: the outer one's, if there is one."""
    note = noting.get()
    if note is not None:
        return note, None
    note = Note()
    return note, noting.set(note)


def clean(text: str, longest: int) -> str:
    """Without what databases or terminals stumble over, and cut."""
    return "".join(c if c.isprintable() else "�" for c in text)[:longest]


def _entry(
    scope: Scope,
    note: Note,
    place: Found,
    outcome: str,
    details: dict[str, Any],
    made: str = "",
) -> Entry:
    state = scope.get("state", {})
    session = state.get("session")
    principal = state.get("principal") or (session and session.principal)
    if principal is not None and not note.user:
        details = details | {"name": clean(principal.name, 255)}
        if principal.owner:
            details["owner"] = principal.owner
    client = scope.get("client")
    texts: dict[str, str] = {
        "actor": note.user or (principal.id if principal else ANONYMOUS),
        "origin": client[0] if client else "",
        "action": f"{scope['method']} {place.template}",
        "target": "/".join(map(str, place.values.values())) or made,
        "project": note.project,
    }
    cleaned: dict[str, Any] = {name: clean(text, LONGEST[name]) for name, text in texts.items()}
    return Entry(
        at=round(time.time(), 6),
        actor_kind="user" if note.user else principal.kind if principal else "none",
        outcome=outcome,
        request=current_request.get(),
        details=details,
        **cleaned,
    )


def _facts(scope: Scope, answer: Answer | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if is_dry(scope):
        facts["dry_run"] = True
    if answer is not None and "idempotent-replayed" in answer.headers:
        facts["replayed"] = True
    return facts


def _made(answer: Answer) -> str:
    """Id or name of what was made, from the answer; nothing else of it is kept."""
    json_like = "json" in answer.headers.get("content-type", "")
    if answer.status >= 300 or not json_like or len(answer.body) > _MOST_READ:
        return ""
    try:
        content = json.loads(answer.body)
    except ValueError:
        return ""
    found = (content.get("id") or content.get("name")) if isinstance(content, dict) else None
    return found if isinstance(found, str) else ""
