"""Keeps web, worker and beat running as children, restarts what dies, ends all together."""

from __future__ import annotations

import ctypes
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from porter.domain.errors import Conflict
from porter.settings import Settings

log = logging.getLogger(__name__)

CHILDREN = ("web", "worker", "beat")
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
STEADY = 10.0
"""A child that lived so long starts again with the first, short pause."""
GRACE = 4.0
"""Seconds that children have to end before they are killed."""
TICK = 0.1
PR_SET_PDEATHSIG = 1
SELF = (sys.executable, "-m", "porter.cli.up")


def pid_file(settings: Settings, name: str) -> Path:
    return settings.run / f"{name}.pid"


def read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def write_pid(path: Path, pid: int) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{pid}\n")
    os.replace(fresh, path)


def alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def addresses(settings: Settings) -> dict[str, str]:
    """What `porter status` cannot know otherwise."""
    return {"PORTER_LISTEN": settings.listen, "PORTER_AGENTS": settings.agents}


def take_lock(settings: Settings) -> IO[str]:
    """The lock that the one supervisor of a state directory holds. Raises Conflict if taken."""
    settings.run.mkdir(parents=True, exist_ok=True)
    lock = (settings.run / "up.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        pid = read_pid(pid_file(settings, "up"))
        raise Conflict(
            f"cannot start: the control plane in {settings.state} runs already (pid {pid})",
            "`porter down` stops it; give another --state for a second one",
        ) from None
    return lock


def is_running(settings: Settings) -> bool:
    """Whether a supervisor holds the state directory."""
    if not (settings.run / "up.lock").exists():
        return False
    try:
        take_lock(settings).close()
    except Conflict:
        return True
    return False


def _die_with(parent: int) -> Callable[[], None]:
    """For the child, before it becomes another program: end when the supervisor is killed."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # it was killed before we could ask to be told

    return prepare


@dataclass
class Child:
    """One supervised process."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0


@dataclass
class Supervisor:
    """Runs until told to stop. Use from the main thread: it waits for signals."""

    settings: Settings
    command: Sequence[str] = SELF
    children: list[Child] = field(default_factory=lambda: [Child(name) for name in CHILDREN])
    stopping: bool = False

    def run(self) -> None:
        """Start everything and keep it running. Blocks until SIGTERM or SIGINT."""
        with take_lock(self.settings):
            self.settings.log.mkdir(parents=True, exist_ok=True)
            write_pid(pid_file(self.settings, "up"), os.getpid())
            known = self.settings.run / "settings.json"
            known.write_text(json.dumps(addresses(self.settings)))
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            try:
                while not self.stopping:
                    self._tend(time.monotonic())
                    time.sleep(TICK)
            finally:
                self._end()
                pid_file(self.settings, "up").unlink(missing_ok=True)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _tend(self, now: float) -> None:
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._bury(child, now)
            if child.process is None and now >= child.due:
                self._start(child, now)

    def _start(self, child: Child, now: float) -> None:
        path = self.settings.log / f"{child.name}.log"
        with path.open("ab") as output:
            child.process = subprocess.Popen(
                [*self.command, child.name],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.settings.environment()},
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        child.started = now
        write_pid(pid_file(self.settings, child.name), child.process.pid)
        log.info("%s runs as %d", child.name, child.process.pid)

    def _bury(self, child: Child, now: float) -> None:
        if child.process is None:
            return
        code = child.process.returncode
        if now - child.started > STEADY:
            child.pause = FIRST_PAUSE
        log.warning("%s ended (%s), starting it again in %.1f s", child.name, code, child.pause)
        child.process = None
        child.due = now + child.pause
        child.pause = min(LONGEST_PAUSE, child.pause * 2)

    def _end(self) -> None:
        running = [child for child in self.children if child.process is not None]
        for child in running:
            if child.process is not None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        for child in running:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s does not end, killing it", child.name)
                child.process.kill()
                child.process.wait()
            pid_file(self.settings, child.name).unlink(missing_ok=True)
