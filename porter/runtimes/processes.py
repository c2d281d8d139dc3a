"""Engine processes that work on one container, found and ended without touching any other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

_ENGINE = ("podman", "conmon", "runc", "criu")


def engine_processes(container: str, places: Iterable[Path] = ()) -> list[psutil.Process]:
    """podman, conmon, runc and CRIU processes at work on a container, children included.

    CRIU does not name the container: it is known by its parent, and when that has died by an open
    directory in `places` (where its images or logs lie).
    """
    own = os.getpid()
    prefixes = tuple(str(place) for place in places)
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid == own or not words:
            continue
        names = {os.path.basename(word) for word in words[:5]}
        if not names & set(_ENGINE):
            continue
        if "podman" in names and not {"restore", "cleanup"} & set(words):
            continue  # somebody's `podman logs -f` is none of our business
        if container in words or ("criu" in names and _holds(process.pid, prefixes)):
            found[process.pid] = process
    for process in list(found.values()):
        try:
            found.update({child.pid: child for child in process.children(recursive=True)})
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def _holds(pid: int, prefixes: tuple[str, ...]) -> bool:
    if not prefixes:
        return False
    try:
        targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any(target.startswith(prefixes) for target in targets)


def end(processes: Iterable[psutil.Process], limit: float = 10) -> None:
    """SIGKILL and wait. psutil compares start times: a reused process id is left alone."""
    victims = list(processes)
    for process in victims:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    until = time.monotonic() + limit
    while time.monotonic() < until and any(alive(process) for process in victims):
        time.sleep(0.01)


def name_of(process: psutil.Process) -> str:
    """What the process calls itself; "" once it has ended."""
    try:
        return os.path.basename(process.cmdline()[0])
    except (psutil.NoSuchProcess, IndexError):
        return ""


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs: one that only waits to be reaped does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_for_orphans(container: str, word: str, limit: float) -> bool:
    """Wait while `runc WORD … CONTAINER` of a dead agent still works. False if it never ends."""
    until = time.monotonic() + limit
    while True:
        busy = [
            one
            for one in engine_processes(container)
            if alive(one) and _is_runc(one, word, container)
        ]
        if not busy:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.02)


def _is_runc(process: psutil.Process, word: str, container: str) -> bool:
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return False
    first = [os.path.basename(part) for part in words[:1]]
    return first == ["runc"] and word in words and container in words
