"""A migration's events as they happen (server-sent events)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool

from porter.db.base import EventRecord
from porter.web.api.schemas.moves import EventOut
from porter.web.pulse import Pulse
from porter.wiring import ControlPlane

SILENCE = 10.0
"""Seconds after which a comment is sent, so that everybody sees that the line is alive."""
LOOK_AGAIN = 1.0
OVERLAP = 64
"""So many numbers are looked at again: transactions may end in another order than they began."""


async def stream(
    control: ControlPlane, pulse: Pulse, migration_id: str, after: int
) -> AsyncIterator[str]:
    """Events numbered above `after`, each once, until the migration has ended."""
    sent: set[int] = set()
    newest, silent = after, 0.0
    while True:
        mark = pulse.mark()
        ended, found = await run_in_threadpool(
            _look, control, migration_id, max(after, newest - OVERLAP)
        )
        fresh = [event for event in found if event.id not in sent]
        for event in fresh:
            sent.add(event.id)
            newest = max(newest, event.id)
            silent = 0.0
            yield _frame(event)
        if (ended and not fresh) or pulse.closed:
            return
        if not fresh:
            await pulse.wait(mark, LOOK_AGAIN)
            silent += LOOK_AGAIN
            if silent >= SILENCE:
                silent = 0.0
                yield ": still here\n\n"


def _look(control: ControlPlane, migration_id: str, after: int) -> tuple[bool, list[EventRecord]]:
    # The state first: all events of an ended migration are then there to be read.
    ended = control.moves.story(migration_id).migration.state.final
    return ended, control.moves.events(migration_id, after)


def _frame(event: EventRecord) -> str:
    data = EventOut.of(event).model_dump_json()
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n"
