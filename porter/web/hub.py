"""One look at the database serves all streams of events in this process."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.concurrency import run_in_threadpool

from porter.db.base import EventRecord
from porter.db.happenings import Happenings
from porter.domain.errors import Transient
from porter.web.pulse import Pulse

log = logging.getLogger(__name__)

ROOM = 1000
"""So many events may wait for a slow reader; then its stream ends, and it resumes by number."""
LOOK_AGAIN = 1.0


class Line:
    """What one stream still has to send. `None` comes last, when the stream must end."""

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.queue: asyncio.Queue[EventRecord | None] = asyncio.Queue()

    def put(self, event: EventRecord) -> bool:
        if self.queue.qsize() >= ROOM:
            self.queue.put_nowait(None)
            return False
        self.queue.put_nowait(event)
        return True


class Hub:
    """Use it from one event loop only."""

    def __init__(self, happenings: Happenings, pulse: Pulse) -> None:
        self._happenings = happenings
        self._pulse = pulse
        self._lines: set[Line] = set()
        self._position = 0
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def join(self) -> Line:
        """A line that gets all events after its `begin`. To be given to `leave`."""
        async with self._starting:
            if self._task is None or self._task.done():
                self._position = await run_in_threadpool(self._happenings.newest, time.time())
                line = Line(self._position)
                self._lines.add(line)
                self._task = asyncio.get_running_loop().create_task(self._feed())
            else:
                line = Line(self._position)
                self._lines.add(line)
        return line

    def leave(self, line: Line) -> None:
        self._lines.discard(line)

    async def _feed(self) -> None:
        try:
            while self._lines and not self._pulse.closed:
                mark = self._pulse.mark()
                try:
                    found = await run_in_threadpool(
                        self._happenings.settled, self._position, time.time()
                    )
                except Transient as error:
                    log.warning("cannot look for events: %s", error)
                    found = []
                for event in found:
                    self._position = event.id
                    self._lines = {line for line in self._lines if line.put(event)}
                if not found:
                    await self._pulse.wait(mark, LOOK_AGAIN)
        finally:
            for line in self._lines:
                line.queue.put_nowait(None)
            self._lines = set()
