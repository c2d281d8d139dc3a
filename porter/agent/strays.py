"""Engine processes that a killed agent left at work on a migration's images.

A dump that still runs holds the tasks by ptrace and expects them frozen: it must have ended before
the container is thawed.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil

_TOOLS = frozenset({"criu", "runc", "crun"})
_STEP_S = 0.1
_AFTER_KILL_S = 5.0


def end_strays(directory: Path, patience: float) -> list[str]:
    """Wait until no checkpoint tool works in `directory`; kill what still does after `patience` s.

    Returns a description of each process killed.
    """
    killed: dict[int, str] = {}
    deadline = time.monotonic() + patience
    while found := working_in(directory):
        if time.monotonic() > deadline + _AFTER_KILL_S:
            break  # unkillable: the freeze that follows the wait is still in place
        if time.monotonic() > deadline:
            for pid, name in found.items():
                killed[pid] = f"{name} ({pid})"
                _kill(pid)
        time.sleep(_STEP_S)
    return list(killed.values())


def working_in(directory: Path) -> dict[int, str]:
    """Checkpoint tools that name `directory` in their arguments or have a file in it open."""
    found: dict[int, str] = {}
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue  # it ended, or is a kernel thread
        tool = next((name for word in words if (name := _program(word)) in _TOOLS), None)
        if tool is None or process.status() == psutil.STATUS_ZOMBIE:
            continue
        if any(str(directory) in word for word in words) or _has_open(process.pid, directory):
            found[process.pid] = tool
    return found


def _program(word: str) -> str:
    """A program's name in an argument; CRIU calls itself `criu:` with a title after it."""
    return Path(word.split(" ", 1)[0]).name.rstrip(":")


def _has_open(pid: int, directory: Path) -> bool:
    place = f"/proc/{pid}/fd"
    try:
        names = [f"{place}/{number}" for number in os.listdir(place)] + [f"/proc/{pid}/cwd"]
    except OSError:
        return False  # it ended
    for name in names:
        try:
            if os.readlink(name).startswith(str(directory)):
                return True
        except OSError:
            continue  # closed meanwhile
    return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself
