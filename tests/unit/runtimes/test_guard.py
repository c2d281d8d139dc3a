"""The guard at CRIU's side: a program that starts another one, and what is done when that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porter.runtimes.guard import Guard

PARENT = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
HAS_A_CHILD = (
    "import subprocess, time; subprocess.Popen(['sleep', '60']); print('up', flush=True); "
    "time.sleep(60)"
)
HEARS = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7))\n"
    "print('up', flush=True); time.sleep(60)"
)


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a parent with a child that runs a program; both have begun when it returns."""
    started = []

    def run(program: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", PARENT, program]
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for one in started:
        if one.poll() is None:
            for child in children(one.pid):
                os.kill(child, signal.SIGKILL)
            one.kill()
        one.communicate()


def children(pid: int) -> list[int]:
    return [int(w) for w in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def up(parent: subprocess.Popen[str]) -> int:
    """The child's process id, once it runs."""
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    (child,) = children(parent.pid)
    return child


def guarded(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()


def await_guard(pid: int) -> None:
    until = time.monotonic() + 10
    while not guarded(pid):
        assert time.monotonic() < until
        time.sleep(0.005)


Start = Callable[[str], "subprocess.Popen[str]"]


def test_a_killed_child_still_holds_everything_when_its_death_is_told(start: Start) -> None:
    parent = start(SLEEPS)
    seen: list[list[str]] = []
    guard = Guard(parent.pid, lambda: seen.append(os.listdir(f"/proc/{child}/fd")))
    child = up(parent)
    await_guard(child)
    os.kill(child, signal.SIGKILL)
    parent.wait(10)
    guard.end()
    assert guard.killed_by == signal.SIGKILL
    assert len(seen) == 1
    assert {"0", "1", "2"} <= set(seen[0])


def test_what_a_killed_child_started_ends_with_it(start: Start) -> None:
    parent = start(HAS_A_CHILD)
    guard = Guard(parent.pid, lambda: None)
    child = up(parent)
    (helper,) = children(child)
    await_guard(child)
    os.kill(child, signal.SIGKILL)
    parent.wait(10)
    guard.end()
    until = time.monotonic() + 10
    while Path(f"/proc/{helper}").exists() and "Z (zombie)" not in _status(helper):
        assert time.monotonic() < until
        time.sleep(0.01)


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "Z (zombie)"


def test_a_child_hears_its_signals_and_may_end_as_it_likes(start: Start) -> None:
    parent = start(HEARS)
    told: list[int] = []
    guard = Guard(parent.pid, lambda: told.append(1))
    child = up(parent)
    await_guard(child)
    os.kill(child, signal.SIGUSR1)
    assert parent.wait(10) == 7
    guard.end()
    assert (guard.killed_by, told) == (0, [])


def test_a_failure_at_the_death_lets_the_child_go(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    parent = start(SLEEPS)

    def fails() -> None:
        raise OSError("no freezer")

    guard = Guard(parent.pid, fails)
    child = up(parent)
    await_guard(child)
    os.kill(child, signal.SIGKILL)
    parent.wait(10)
    guard.end()
    assert "no freezer" in caplog.text
