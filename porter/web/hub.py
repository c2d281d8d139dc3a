"""One look at the database serves all streams of events in this process.

So that many streams do not cost much more than one: an event is put into words once; what happens
within a beat is sent to a stream in one piece, and the beat grows with the number of streams; the
newest events are kept, for streams that come back after a short while; and streams are woken some
at a time, all through the beat, so that other requests are answered in between.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextvars import Context
from functools import cached_property

from starlette.concurrency import run_in_threadpool

from porter.db.base import EventRecord
from porter.db.happenings import Happenings, told
from porter.domain.errors import Transient
from porter.web.pulse import Pulse

log = logging.getLogger(__name__)

ROOM = 1000
"""So many events may wait for a slow reader; then its stream ends, and it resumes by number."""
KEPT = 500
"""So many events are remembered for streams that resume."""
LOOK_AGAIN = 1.0
BEAT_PER_STREAM, LONGEST_BEAT = 0.0005, 0.25
"""Seconds between two pieces that are sent: so much for each stream, but no more than that."""
AT_ONCE = 20
"""So many streams are woken together."""


class News:
    """An event, and what a stream sends of it."""

    def __init__(self, event: EventRecord) -> None:
        self.event = event

    @cached_property
    def frame(self) -> bytes:
        # No name: browsers then hear all of them as messages.
        return f"id: {self.event.id}\ndata: {json.dumps(told(self.event))}\n\n".encode()


class Line:
    """What one stream still has to send: all events after `begin`."""

    def __init__(self, begin: int, waiting: Iterable[News] = ()) -> None:
        self.begin = begin
        self._waiting = list(waiting)
        self._ended = False
        self._something = asyncio.Event()
        if self._waiting:
            self._something.set()

    def put(self, news: Sequence[News]) -> None:
        """What does not fit ends the stream, which is then to be resumed by number."""
        if self._ended:
            return
        if len(self._waiting) + len(news) > ROOM:
            self.end()
            return
        self._waiting += news
        self._something.set()

    def end(self) -> None:
        """Let the stream end when it has sent what waits."""
        self._ended = True
        self._something.set()

    async def take(self, seconds: float) -> list[News] | None:
        """All that waits; nothing after so many seconds of silence; None: it ends."""
        try:
            async with asyncio.timeout(seconds):
                await self._something.wait()
        except TimeoutError:
            return []
        found, self._waiting = self._waiting, []
        if not self._ended:
            self._something.clear()
        return found or (None if self._ended else [])


class Hub:
    """Use it from one event loop only."""

    def __init__(self, happenings: Happenings, pulse: Pulse) -> None:
        self._happenings = happenings
        self._pulse = pulse
        self._lines: set[Line] = set()
        self._position = 0
        self._kept: deque[News] = deque(maxlen=KEPT)
        self._kept_after = 0
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def join(self, after: int | None = None) -> Line:
        """A line that gets all events after its `begin`, which is `after` if those are still
        remembered. To be given to `leave`."""
        async with self._starting:
            if self._task is None or self._task.done():
                self._position = await run_in_threadpool(self._happenings.newest, time.time())
                self._kept.clear()
                self._kept_after = self._position
                line = self._line(after)
                # Of nobody's request: its log lines shall not carry the first listener's id.
                self._task = asyncio.create_task(self._feed(), context=Context())
            else:
                line = self._line(after)
        return line

    def leave(self, line: Line) -> None:
        self._lines.discard(line)

    def _line(self, after: int | None) -> Line:
        if after is None or not self._kept_after <= after <= self._position:
            line = Line(self._position)
        else:
            line = Line(after, (news for news in self._kept if news.event.id > after))
        self._lines.add(line)
        return line

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
                if not found:
                    await self._pulse.wait(mark, LOOK_AGAIN)
                    continue
                await self._spread([News(event) for event in found])
        finally:
            for line in self._lines:
                line.end()
            self._lines = set()

    async def _spread(self, found: list[News]) -> None:
        """Takes one beat."""
        # Together, before anybody else has a turn: a line that joins later begins after these.
        lines = list(self._lines)
        self._position = found[-1].event.id
        overflow = len(self._kept) + len(found) - KEPT
        if overflow > 0:
            self._kept_after = [*self._kept, *found][overflow - 1].event.id
        self._kept.extend(found)
        beat = min(len(lines) * BEAT_PER_STREAM, LONGEST_BEAT)
        for begin in range(0, len(lines), AT_ONCE):
            some = lines[begin : begin + AT_ONCE]
            for line in some:
                line.put(found)
            await asyncio.sleep(beat * len(some) / len(lines))
