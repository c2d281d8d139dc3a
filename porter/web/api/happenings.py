"""GET /v1/events: what happens in the fleet, as CloudEvents; a list, or a stream that goes on."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from porter.db.base import EventRecord
from porter.db.happenings import Happenings, told
from porter.domain.cloudevents import PREFIX
from porter.domain.errors import Invalid
from porter.domain.identity import FLEET, Permission, Principal, Projects
from porter.web.access import ROOT, SESSION, Caller
from porter.web.api.common import PROBLEMS, SECURED, control_of
from porter.web.api.paging import LIMIT, MOST
from porter.web.hub import Hub, Line, News

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["events"])
Word = Annotated[str | None, Query(min_length=1, max_length=255)]
NUMBERS = 2**63
SILENCE = 10.0
"""Seconds after which a comment tells that the line is alive."""
ASK_AGAIN = 30.0
"""Seconds between looks whether the caller may still read: a quarter more or less, so that streams
which began together do not ask together."""
PAGE = 500
COME_BACK_MS = (1000, 8000)
"""When a stream whose connection breaks should come back, at least and at most: if a replica dies,
its streams do not all come to the others at one moment."""


@dataclass(frozen=True)
class Wanted:
    kind: str
    project: str | None
    workload: str | None
    migration: str | None

    def fits(self, event: EventRecord) -> bool:
        return (
            event.kind.startswith(self.kind)
            and self.project in (None, event.project)
            and self.workload in (None, event.workload)
            and self.migration in (None, event.migration)
        )


@router.get("/events", response_model=None)
async def list_events(
    request: Request,
    caller: Caller,
    type: Annotated[
        Word, Query(description="How types begin; `io.porter.` may be left out")
    ] = None,
    project: Word = None,
    workload: Word = None,
    migration: Word = None,
    after: Annotated[int, Query(ge=0, lt=NUMBERS, description="Only later ones than this")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST)] = LIMIT,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response | list[dict[str, Any]]:
    """CloudEvents that the caller may read, oldest first. With `Accept: text/event-stream` they are
    sent as they happen: from now on, or all after `Last-Event-ID`."""
    wanted = Wanted(_kind(type), project, workload, migration)
    happenings = Happenings(control_of(request).database)
    if "text/event-stream" in request.headers.get("accept", ""):
        resume = None if last_event_id is None else _number(last_event_id)
        lines = _stream(request, caller, wanted, happenings, resume)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines, media_type="text/event-stream", headers=headers)
    newest = await run_in_threadpool(happenings.newest, time.time())
    found = await run_in_threadpool(
        _page, happenings, after, newest, readable(caller), wanted, limit
    )
    return [told(event) for event in found]


def readable(principal: Principal) -> Projects:
    """Whose events it may read: its projects', and the fleet's if it may read anything."""
    projects = principal.projects()
    if projects is not None and principal.may(Permission.READ, FLEET):
        projects |= {FLEET}
    return projects


def reader(principal: Principal) -> Callable[[str], bool]:
    """Whether it may read a project; every project is looked at once."""
    return lru_cache(lambda project: principal.may(Permission.READ, project))


def _kind(given: str | None) -> str:
    if given is None or PREFIX.startswith(given):
        return ""
    return given.removeprefix(PREFIX)


def _number(given: str) -> int:
    if not (given.isascii() and given.isdigit() and int(given[:20]) < NUMBERS and len(given) < 20):
        raise Invalid(f"cannot resume after event {given[:40]!r}: it is none's number")
    return int(given)


def _page(
    happenings: Happenings, after: int, until: int, projects: Projects, wanted: Wanted, limit: int
) -> list[EventRecord]:
    return happenings.between(
        after,
        until,
        projects,
        limit,
        kind=wanted.kind,
        project=wanted.project,
        workload=wanted.workload,
        migration=wanted.migration,
    )


async def _stream(
    request: Request, caller: Principal, wanted: Wanted, happenings: Happenings, after: int | None
) -> AsyncIterator[bytes]:
    hub: Hub = request.app.state.hub
    line = await hub.join(after)
    try:
        newest = line.begin if after is None else after
        # So that a stream which breaks before its first event misses nothing when it resumes.
        yield f": hello\nid: {newest}\nretry: {random.randint(*COME_BACK_MS)}\n\n".encode()
        while newest < line.begin:
            found = await run_in_threadpool(
                _page, happenings, newest, line.begin, readable(caller), wanted, PAGE
            )
            if found:
                yield b"".join(News(event).frame for event in found)
            newest = found[-1].id if len(found) == PAGE else line.begin
        async for piece in _live(request, caller, wanted, line, newest):
            yield piece
    finally:
        hub.leave(line)


async def _live(
    request: Request, caller: Principal, wanted: Wanted, line: Line, newest: int
) -> AsyncIterator[bytes]:
    sent, present, may_read = time.monotonic(), caller, reader(caller)
    ask = sent + ASK_AGAIN * random.uniform(0.75, 1.25)
    while True:
        if time.monotonic() > ask:
            still = await run_in_threadpool(_again, request, present)
            if still is None:
                return
            present, may_read = still, reader(still)
            ask = time.monotonic() + ASK_AGAIN * random.uniform(0.75, 1.25)
        found = await line.take(max(0.0, sent + SILENCE - time.monotonic()))
        if found is None:
            return
        piece = b"".join(
            news.frame
            for news in found
            if news.event.id > newest and wanted.fits(news.event) and may_read(news.event.project)
        )
        newest = max(newest, found[-1].event.id) if found else newest
        if piece or time.monotonic() - sent >= SILENCE:
            yield piece or f": still here\nid: {newest}\n\n".encode()
            sent = time.monotonic()


def _again(request: Request, present: Principal) -> Principal | None:
    """Who calls, asked once more; None: the token or the session is over."""
    if present is ROOT:
        return present
    identity = control_of(request).identity
    header = request.headers.get("authorization")
    if header is not None:
        return identity.of_token(header.partition(" ")[2].strip())
    session = identity.session(request.cookies.get(SESSION, ""))
    return None if session is None else session.principal
