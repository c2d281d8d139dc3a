"""The first process of a lab host: it reaps orphans and keeps the host's agent running.

It reads what agent to run from `agent.json` in the host's directory whenever it gets SIGHUP, and
says in `agent.status` what runs. When the agent dies it starts it again, waiting a little longer
each time. Children of a dead agent live on, as they do on any machine: they become ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FIRST_BACKOFF_S = 0.2
_LAST_BACKOFF_S = 2.0
# An agent that ran this long was healthy: its next death is a new story.
_HEALTHY_S = 10.0
_STOP_GRACE_S = 10.0
_FOREVER_S = 3600.0
_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class Supervisor:
    """Keeps one agent running as `agent.json` wants it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._wanted: dict[str, Any] | None = None
        self._running: dict[str, Any] | None = None
        self._pid = 0
        self._started = 0.0
        self._restarts = 0
        self._backoff = _FIRST_BACKOFF_S
        self._start_at: float | None = None
        self._kill_at: float | None = None

    def reload(self) -> None:
        """Read what is wanted and begin to make it so."""
        try:
            self._wanted = json.loads((self._directory / "agent.json").read_text())
        except (OSError, ValueError):
            self._wanted = None
        if self._pid and self._wanted != self._running:
            self.stop()
        elif not self._pid:
            self._begin()
        self._report()

    def _begin(self) -> None:
        self._backoff = _FIRST_BACKOFF_S
        self._restarts = 0
        self._start_at = time.monotonic() if self._wanted else None

    def stop(self) -> None:
        """Ask the agent to end; it is killed if it has not within 10 s."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
            self._kill_at = time.monotonic() + _STOP_GRACE_S

    def on_exit(self, pid: int) -> None:
        """Take note that the child `pid` ended."""
        if pid != self._pid:
            return
        self._pid = 0
        self._kill_at = None
        now = time.monotonic()
        if self._wanted != self._running:
            self._begin()
        else:
            if now - self._started >= _HEALTHY_S:
                self._backoff = _FIRST_BACKOFF_S
            self._start_at = now + self._backoff
            self._backoff = min(self._backoff * 2, _LAST_BACKOFF_S)
            self._restarts += 1
        self._report()

    def tick(self) -> float:
        """Do what is due now; return the seconds until something is due again."""
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._kill_at = None
        if self._start_at is not None and now >= self._start_at:
            self._start_at = None
            self._start()
        due = [at for at in (self._kill_at, self._start_at) if at is not None]
        return max(0.0, min(due) - now) if due else _FOREVER_S

    def _start(self) -> None:
        if self._wanted is None:
            return
        self._running = self._wanted
        self._started = time.monotonic()
        log = str(self._directory / "agent.log")
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        argv = self._wanted["argv"]
        try:
            self._pid = os.posix_spawnp(
                argv[0],
                argv,
                self._wanted["env"],
                setsid=True,
                setsigmask=(),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, log, append, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
            )
        except OSError as error:
            with Path(log).open("a") as file:
                file.write(f"cannot start the agent: {argv[0]}: {error.strerror}\n")
            self._start_at = time.monotonic() + _LAST_BACKOFF_S
        self._report()

    def _report(self) -> None:
        status = {
            "pid": self._pid,
            "restarts": self._restarts,
            "key": self._running["key"] if self._running and self._pid else "",
        }
        new = self._directory / "agent.status.new"
        new.write_text(json.dumps(status))
        new.replace(self._directory / "agent.status")


def _reap(on_exit: Callable[[int], None]) -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        on_exit(pid)


def serve(directory: Path) -> None:
    """Reap and supervise until SIGTERM. Returning ends the process, and with it the host."""
    # Blocked rather than handled: a blocked signal is kept for us, and the first process of a
    # namespace would otherwise never see those it has no handler for.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    supervisor = Supervisor(directory)
    supervisor.reload()
    while True:
        caught = signal.sigtimedwait(_SIGNALS, supervisor.tick())
        number = caught.si_signo if caught else signal.SIGCHLD
        if number == signal.SIGHUP:
            supervisor.reload()
        elif number in (signal.SIGTERM, signal.SIGINT):
            sys.exit(0)
        _reap(supervisor.on_exit)
