"""Runs commands, each in a thread, and keeps their results until they are delivered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext

from porter.agent.journal import Journal
from porter.agent.operations import ASIDE, Operations
from porter.domain.errors import Permanent, PorterError
from porter.logs import about
from porter.protocol.messages import Command, Failure, Progress, Result

log = logging.getLogger(__name__)
_AT_ONCE = 8


class Executor:
    """One command per migration at a time, eight in all; those that ask or decide go ahead."""

    def __init__(
        self, journal: Journal, operations: Operations, news: Callable[[str, Progress], None]
    ) -> None:
        self._journal = journal
        self._operations = operations
        self._news = news
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._places = threading.Semaphore(_AT_ONCE)
        self._stopped = False
        self.done = threading.Event()
        """Set when a result lies in the journal to be delivered."""

    def submit(self, command: Command) -> None:
        """Begin a command, unless it runs already; one that was done only answers again."""
        with self._lock:
            if self._stopped or command.id in self._running:
                return
            name = f"command-{command.kind}"
            thread = threading.Thread(
                target=self._carry_out, args=(command,), name=name, daemon=True
            )
            self._running[command.id] = thread
        thread.start()

    def stop(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._stopped = True

    def wait(self, seconds: float) -> bool:
        """Whether all commands ended within so long; one that did not is begun anew by the next
        agent."""
        deadline = time.monotonic() + seconds
        with self._lock:
            threads = list(self._running.values())
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _carry_out(self, command: Command) -> None:
        named = {"request": command.request, "migration": command.migration, "command": command.id}
        try:
            if self._journal.begin(command) is None:
                with self._places, self._turn(command), about(**named):
                    self._journal.finish(command.id, self._result(command))
            self.done.set()
        finally:
            with self._lock:
                self._running.pop(command.id, None)

    def _turn(self, command: Command) -> threading.Lock | nullcontext[None]:
        if command.migration is None or command.kind in ASIDE:
            return nullcontext()
        with self._lock:
            return self._turns.setdefault(command.migration, threading.Lock())

    def _result(self, command: Command) -> Result:
        try:
            log.info("%s begins", command.kind)
            output = self._operations.run(command, lambda news: self._news(command.id, news))
        except PorterError as error:
            log.warning("%s: %s", command.kind, error)
            return Result(error=Failure(error.code, error.message, error.remedy))
        except Exception as error:
            log.exception("%s failed", command.kind)
            unforeseen = Permanent(f"cannot {command.kind}: {error!r}", "see the agent's log")
            return Result(error=Failure(unforeseen.code, unforeseen.message, unforeseen.remedy))
        log.info("%s done", command.kind)
        return Result(output=output)
