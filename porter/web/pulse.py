"""Tells long polls and event streams when it is worth looking at the database again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context

from starlette.concurrency import run_in_threadpool

from porter.domain.errors import Transient

log = logging.getLogger(__name__)

EVERY = 0.05
"""Seconds between looks for what other processes wrote, while anybody waits."""


class Pulse:
    """One look serves all that wait in this process. Use it from one event loop only."""

    def __init__(self, look: Callable[[], tuple[int, ...]]) -> None:
        self._look = look
        self._seen: tuple[int, ...] = ()
        self._changed = asyncio.Event()
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the process is about to end: whoever waits should answer now."""
        return self._closed

    def close(self) -> None:
        self._closed = True
        self.kick()

    def mark(self) -> asyncio.Event:
        """To be taken before looking at the database, and given to `wait` after."""
        return self._changed

    def kick(self) -> None:
        """Something was written in this very process."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, mark: asyncio.Event, timeout: float) -> None:
        """Return at a change since `mark` was taken, or after `timeout` seconds."""
        self._waiting += 1
        if self._task is None or self._task.done():
            # Of nobody's request: its log lines shall not carry the first waiter's id.
            self._task = asyncio.create_task(self._watch(), context=Context())
        try:
            await asyncio.wait_for(mark.wait(), timeout)
        except TimeoutError:
            pass  # the caller looks anyway
        finally:
            self._waiting -= 1

    async def _watch(self) -> None:
        while self._waiting and not self._closed:
            try:
                found = await run_in_threadpool(self._look)
            except Transient as error:
                log.warning("cannot look for news: %s", error)
                await asyncio.sleep(1)
                continue
            if found != self._seen:
                self._seen = found
                self.kick()
            await asyncio.sleep(EVERY)
